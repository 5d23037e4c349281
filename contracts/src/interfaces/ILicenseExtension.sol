// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "./ILicenseRecords.sol";
import {BatchLeaf, LicenseStatus, PlanState, PlanTerms, Voucher} from "./LicenseTypes.sol";

/// @title What the LicenseLedger has its extension answer: plans, roles, and all that is seldom called
/// @dev Called at the ledger's address, which delegates here. The extension's own storage means nothing.
interface ILicenseExtension is ILicenseRecords {
    /// @notice Offers licenses of a model. The caller holds its title and the model is ACTIVE.
    /// @return planId the first is 1
    /// @dev The registry tells 256 plans of a model at once when its title or status changes; any further one asks the registry at
    /// each issue. A refund window needs on-chain seats: only they show that nothing was ever bound.
    function createPlan(PlanTerms calldata terms) external returns (uint32 planId);

    /// @notice Sets the ERC-2981 royalty that the licensor asks of resales. Licensor only.
    /// @param bps in 1/10,000 of the price, at most 1,000
    function setResaleRoyalty(uint32 planId, uint16 bps) external;

    /// @notice Stops or restarts issuance; never `check`, `renew` or `revoke`. Licensor or GUARDIAN.
    function setPaused(uint32 planId, bool paused) external;

    /// @notice Gives the plan to whoever holds the model's title now and voids every role on it. Anyone may.
    /// @dev When the title went away and came back with no sync in between, nothing changes hands and roles stay.
    /// @dev Also ends the slower, fully checked issuing of a plan whose model was touched and is in order again.
    function syncLicensor(uint32 planId) external;

    /// @notice The registry tells that title or status of a model changed: from now on every issue on its plans asks the registry,
    /// until `syncLicensor` finds all in order. Registry only.
    function titleTouched(bytes32 modelId) external;

    /// @notice Sets all roles of `account` on one plan. Licensor only.
    /// @param roles bits: 1 ISSUER (issue, anchor batches, sign vouchers, renew), 2 REVOKER (revoke, evict, also in batches), 4 METER (usage),
    /// 8 GUARDIAN (pause, suspend, reinstate)
    function setRoles(uint32 planId, address account, uint8 roles) external;

    /// @notice A plan's terms as made, and its state. Reverts PlanUnknown.
    /// @dev planDigest = keccak256(abi.encode(keccak256("modeldeed/plan/1"), licensor, terms)); it changes with the licensor.
    function planOf(uint32 planId) external view returns (PlanTerms memory terms, PlanState memory state);

    /// @return the roles that hold now; those of an earlier licensor are void
    function rolesOf(uint32 planId, address account) external view returns (uint8);

    /// @notice ERC-2981: the licensor's share of a resale. Reverts LicenseNotFound.
    function royaltyInfo(uint256 licenseId, uint256 salePrice) external view returns (address receiver, uint256 amount);

    /// @notice `check` answers SUSPENDED until reinstated; the end does not move. Licensor or GUARDIAN. Also possible while
    /// a revocation's notice runs.
    /// @dev Warning: it asks for no notice and has no end of its own. What it leaves is a record: who, when, why.
    function suspend(uint256 licenseId, bytes32 reason) external;

    /// @notice Ends a suspension; the status is what it was before it. Licensor or GUARDIAN.
    function reinstate(uint256 licenseId, bytes32 reason) external;

    /// @notice The licensor starts to move the license of a lost wallet to `to`.
    /// @dev Ready after the plan's reissue delay, minimum notice or refund window, whichever is longest, and 3 days at least: what
    /// those promise a holder cannot be got round. It stands ready for 14 days: kept in store it would take the place of a later notice.
    /// Any transfer, `cancelGrants` or veto by the holder ends it.
    function startReissue(uint256 licenseId, address to) external;

    /// @notice The holder, or the licensor, stops a reissue that is under way.
    function vetoReissue(uint256 licenseId) external;

    /// @return to address(0) when no reissue is under way
    /// @return readyAt seconds
    function reissueOf(uint256 licenseId) external view returns (address to, uint40 readyAt);

    /// @notice `bindRuntime`, sent by anyone with the holder's EIP-712 signature (ERC-1271 aware) of `BindRuntime(uint256
    /// licenseId,bytes32 runtimeKey,uint40 until,bytes20 measurement,uint64 grantNonce,uint256 nonce,uint40 deadline)`.
    /// @dev Signs the license's present grant nonce, so `cancelGrants` voids it too.
    /// @param nonce unordered: any number that the holder has not spent
    function bindRuntimeBySig(
        uint256 licenseId,
        bytes32 runtimeKey,
        uint40 until,
        bytes20 measurement,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external;

    /// @notice Frees a seat that has lapsed (its `until` or the license's end has passed). Anyone may.
    /// @dev A live seat is nobody's to free but the licensor's, or seats could be passed around faster than leases run out.
    function releaseRuntime(uint256 licenseId, bytes32 runtimeKey) external;

    /// @notice Frees a seat at once. Licensor or REVOKER.
    function evictRuntime(uint256 licenseId, bytes32 runtimeKey) external;

    /// @notice Raises the grant nonce: every RuntimeGrant signed with a lower one is void. Holder only.
    /// @dev Every transfer does the same, GrantsCancelled included, after its Transfer: the grants of a holder who takes a
    /// license back stay void. Issuing does not: the first nonce is 0.
    function cancelGrants(uint256 licenseId) external;

    /// @notice Takes the seats of a sublicense back that has ended and whose own seats are free. The parent's holder, or the holder
    /// of the license above that: a sublicensee who stays idle must not lock those above it.
    /// @dev What was revoked or surrendered before its time may have left answers and leases that run on: its seats are free one
    /// lease and grace after its end. It is REVOKED from then on, so that nothing brings it back beside the seats.
    function reclaimSeats(uint256 licenseId) external;

    /// @notice Anchors what a metered license has used. Licensor or METER, who thereby can end its use. From the plan's quota on, `check`
    /// says 11.
    /// @param cumulative units since the license began; must rise
    /// @param receiptsRoot T1 root of the receipts that show it
    function anchorUsage(uint256 licenseId, uint64 cumulative, bytes32 receiptsRoot) external;

    /// @return cumulative 0 when nothing was anchored
    /// @return anchoredAt seconds
    /// @return receiptsRoot
    function usageOf(uint256 licenseId)
        external
        view
        returns (uint64 cumulative, uint40 anchoredAt, bytes32 receiptsRoot);

    /// @notice A license as stored, but for the end of a sublicense. Reverts LicenseNotFound.
    /// @return holder
    /// @return notBefore 0: valid since it was issued (the time of its LicenseIssued event)
    /// @return notAfter type(uint40).max when perpetual; of a sublicense, the end of a license above it when that comes first
    /// @return status SUSPENDED only while not revoked; of a license under notice, `suspendedAt` tells
    /// @return seatsUsed
    /// @return grantNonce
    /// @return suspendedAt 0 when not suspended
    function licenseOf(uint256 licenseId)
        external
        view
        returns (
            address holder,
            uint40 notBefore,
            uint40 notAfter,
            LicenseStatus status,
            uint16 seatsUsed,
            uint64 grantNonce,
            uint40 suspendedAt
        );

    /// @return boundAt 0 when there is no such seat
    /// @return until 0: as long as the license
    /// @return measurement
    function seatOf(uint256 licenseId, bytes32 runtimeKey)
        external
        view
        returns (uint40 boundAt, uint40 until, bytes20 measurement);

    /// @return parentId 0 when it is no sublicense
    /// @return seatsGranted by the parent
    /// @return depth 1 or 2
    function parentOf(uint256 licenseId) external view returns (uint64 parentId, uint16 seatsGranted, uint8 depth);

    /// @return whether a seat was ever bound or sublicensed
    function everBound(uint256 licenseId) external view returns (bool);

    /// @return the only nonce a RuntimeGrant may carry
    function grantNonceOf(uint256 licenseId) external view returns (uint64);

    /// @notice Spends nonces of the caller unused: bit i of `mask` is nonce `256 * word + i`.
    /// @dev Vouchers and `bindRuntimeBySig` draw on the same nonces.
    function cancelVouchers(uint256 word, uint256 mask) external;

    /// @return bit i: nonce `256 * word + i` is spent
    function noncesSpent(address signer, uint256 word) external view returns (uint256);

    /// @return the digest that the signer signs
    function voucherDigest(Voucher calldata voucher) external view returns (bytes32);

    /// @notice Revokes up to 256 licenses of a batch for good: those at `256 * word + i` for each bit i of `mask`. Licensor or REVOKER.
    /// @dev What is claimed is revoked as a license, with the plan's minimum notice. What is not claimed ends at once, so a plan
    /// that promises notice refuses (BatchNoticeDue): claim it for its holder, then revoke the license.
    function revokeInBatch(uint32 planId, bytes32 root, uint256 word, uint256 mask, bytes32 reason) external;

    /// @notice Ends, with the plan's minimum notice, every license of a batch that is not claimed: the way out when leaves are lost
    /// or were anchored by an ISSUER who must not be trusted any more. Licensor or REVOKER. Once.
    /// @dev What is claimed in the notice becomes a license that ends when the batch closes, and that may be renewed like any other.
    /// From the closing on nothing is claimed, and `checkBatchLeaf` answers REVOKED. The serials it took stay taken, a supply included.
    function closeBatch(uint32 planId, bytes32 root, bytes32 reason) external;

    /// @notice What `check` would answer about a license of a batch, claimed or not. NOT_FOUND when the proof does not hold.
    /// @dev It asks for no seat: on a plan with on-chain seats a license is claimed and bound before it can be used. A leaf whose window
    /// is empty never becomes valid; `claim` refuses it.
    /// @param holder address(0): do not check
    /// @param at seconds; reverts CheckInPast when lower than block.timestamp
    function checkBatchLeaf(
        uint32 planId,
        bytes32 root,
        BatchLeaf calldata leaf,
        bytes32[] calldata path,
        address holder,
        uint40 at
    ) external view returns (uint8 code, uint40 notAfter, uint40 graceUntil, uint256 licenseId);

    /// @return the leaf's hash in this plan on this chain
    function batchLeafHash(uint32 planId, BatchLeaf calldata leaf) external view returns (bytes32);

    /// @return count 0 when there is no such batch
    /// @return firstSerial serial of the license at index 0
    /// @return anchoredAt seconds
    /// @return byRole whether an ISSUER anchored it
    /// @return closesAt when what is not claimed ends, 0 when it was not closed
    function batchOf(uint32 planId, bytes32 root)
        external
        view
        returns (uint32 count, uint32 firstSerial, uint40 anchoredAt, bool byRole, uint40 closesAt);

    /// @return claimed bit i: the leaf at `256 * word + i` is a token
    /// @return revoked bit i: it was revoked unclaimed
    function batchBits(uint32 planId, bytes32 root, uint256 word)
        external
        view
        returns (uint256 claimed, uint256 revoked);
}
