// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "./ILicenseRecords.sol";
import {BatchLeaf, Voucher} from "./LicenseTypes.sol";

/// @title What the LicenseLedger answers itself: issuing, ending, binding, and the check that decides
interface ILicenseCore is ILicenseRecords {
    /// @notice Issues one license. Licensor or ISSUER; the title must still be the plan's and the model ACTIVE.
    /// @dev An ISSUER cannot go beyond the plan's duration; the licensor can. No call is made to `to`.
    /// @param notBefore 0 or a time that has passed: now
    /// @param notAfter 0: notBefore + plan duration (perpetual, type(uint40).max, when that is 0)
    function issue(uint32 planId, address to, uint40 notBefore, uint40 notAfter) external returns (uint256 licenseId);

    /// @notice Issues one license to each of `to`, all with the same window. Rules as for `issue`; all or none.
    /// @return firstId of consecutive ids
    function issueBatch(uint32 planId, address[] calldata to, uint40 notBefore, uint40 notAfter)
        external
        returns (uint256 firstId);

    /// @notice Issues what the voucher promises. One that names a market goes through that market only, whatever its price; a free one
    /// that names none may be sent by anyone; a priced one that names none by nobody.
    /// @dev The signer may be a contract (ERC-1271); an account with code (ERC-7702) is asked as one. Its right to issue is looked at
    /// now, not when it signed. A voucher that leaves its beginning open begins when it is redeemed, by whoever saw it.
    /// Warning: the market is trusted to have collected: the signer names it.
    function redeem(Voucher calldata voucher, bytes calldata signature) external returns (uint256 licenseId);

    /// @notice Issues `count` licenses under one root. Licensor or ISSUER, under the rules of `issue`.
    /// @dev A license of a batch has its id (`planId << 32 | firstSerial + index`) and its supply from now on. Claiming makes it
    /// a token; until then `checkBatchLeaf` answers for it. An ISSUER anchors at most 2^20 at a time, and its leaves end at most
    /// one plan duration after they begin: `claim` and `checkBatchLeaf` cut off what is beyond.
    /// @param root T2 root over the leaves; the same root may be anchored once per plan
    /// @param uriHash hash of where the leaves are kept, zero when nowhere public
    function anchorBatch(uint32 planId, bytes32 root, uint32 count, bytes32 uriHash) external;

    /// @notice Makes one license of a batch a token of `leaf.to`. Anyone may. Each leaf once, and never after its revocation or the
    /// closing of its batch.
    /// @dev Neither a pause nor a moved title stops it: the license was issued when its batch was anchored.
    function claim(uint32 planId, bytes32 root, BatchLeaf calldata leaf, bytes32[] calldata path)
        external
        returns (uint256 licenseId);

    /// @notice Moves the end of an ACTIVE license to a later time. Licensor or ISSUER; of a sublicense, its parent's holder,
    /// within the parent's end.
    /// @dev An ISSUER may add at most one plan duration, counted from the present end or from now, whichever is later, and
    /// reach at most two durations from now however often it renews; else LicenseWindowInvalid. A perpetual plan (duration
    /// 0) sets it no bound. The licensor has none.
    /// @param notAfter must be later than the present one and than now; 0: one plan duration more
    function renew(uint256 licenseId, uint40 notAfter) external;

    /// @notice Ends a license for good. Licensor or REVOKER; of a sublicense, its parent's holder too. Terminal: the end can only come
    /// nearer, never go away.
    /// @dev A suspended license stays suspended while the notice runs. The event tells the end that now stands.
    /// From now on it is neither renewed, moved, sublicensed nor reissued, however far off its end is: that needs no notice.
    /// @param effectiveAt at least now + the plan's minimum notice; 0: exactly that. An earlier end stands as it is.
    function revoke(uint256 licenseId, uint40 effectiveAt, bytes32 reason) external;

    /// @notice The holder, or an account it approved for the token, ends a license at once and for good. Its seats must be free.
    /// @dev Warning: an ERC-721 approval, `setApprovalForAll` included, thus lets an operator end licenses as well as move them. The
    /// refund of a market needs it. On a plan with a supply, a license with on-chain seats that was never used gives its place back.
    function surrender(uint256 licenseId) external;

    /// @notice The holder takes a seat for a runtime key. BOUND plans only.
    /// @param until when the seat may be given up, later than now and at most the license's end; 0: as long as the license
    /// @param measurement of the runtime's TEE, zero when none
    function bindRuntime(uint256 licenseId, bytes32 runtimeKey, uint40 until, bytes20 measurement) external;

    /// @notice The holder licenses a part of its seats on, within its own window. Depth at most 2.
    /// @dev The plan must let licenses move, bind seats on chain and meter nothing. The seats are debited until `reclaimSeats`; the
    /// sublicense is issued under the plan's pause and title rules, beside its supply. It is valid only while every license above it is. Its parent's holder renews it,
    /// within the parent's end, and revokes it; licensor, REVOKER and GUARDIAN act on it as on any license.
    /// @param notAfter 0: the parent's end
    /// @param seats at least 1
    function sublicense(uint256 parentId, address to, uint40 notAfter, uint16 seats)
        external
        returns (uint256 licenseId);

    /// @notice After the delay, the licensor moves the license: same id, window, seats, sublicenses and usage; grants are void.
    /// @dev Moves locked and suspended licenses too, and those with seats bound: this is no trade. Refused under notice. Warning: ready
    /// or not, it is the licensor's power over the holder; what bounds it is the delay, in which the holder vetoes.
    function finishReissue(uint256 licenseId) external;

    /// @notice Codes: 0 VALID 1 NOT_FOUND 2 SUSPENDED 3 REVOKED 4 EXPIRED 5 WRONG_HOLDER 6 RUNTIME_NOT_BOUND 7 SEAT_LAPSED
    /// 8 NOT_YET_VALID 9 PARENT_INVALID 10 REVOKING (grants, capped at the revocation's effect) 11 QUOTA_SPENT.
    /// @dev The first that holds is answered, in this order: 1, 3, 4, 2, 8, 5, 9, 11, 6, 7, 10, 0. So what is final comes
    /// before what can be mended, and what concerns the license before what concerns the asker. Final is what the license itself says: where
    /// only one above a sublicense has ended, the answer is 9, after 2 and 5.
    /// Seats of FLOATING plans are leases of the brokers: `runtimeKey` is not looked at.
    /// @param holder address(0): do not check. @param runtimeKey 0: do not check the seat.
    /// @param at seconds; reverts CheckInPast when lower than block.timestamp
    /// @return code
    /// @return notAfter end of the license (lowered by revocation), or of one above it that comes first; 0 when not found
    /// @return graceUntil with codes 0 and 10: min(at + grace, notAfter, end of the seat), how long software that saw this answer at
    /// `at` may go on without a newer one; with every other code 0
    /// @return planId 0 when not found
    function check(uint256 licenseId, address holder, bytes32 runtimeKey, uint40 at)
        external
        view
        returns (uint8 code, uint40 notAfter, uint40 graceUntil, uint32 planId);

    /// @notice ERC-5192: whether the plan forbids transfers. Reverts LicenseNotFound.
    /// @dev An unlocked license still does not move while it is suspended, revoked or has seats bound: see
    /// LicenseUntransferable, whose `why` is 1 locked by its plan, 2 suspended, 3 revoked or under notice, 4 seats bound or
    /// sublicensed.
    function locked(uint256 licenseId) external view returns (bool);

    /// @return the ModelRegistry whose titles count here
    function registry() external view returns (address);

    /// @return the contract that draws `tokenURI`
    function renderer() external view returns (address);

    /// @return the contract that answers for the rest of {ILicenseLedger}, in this contract's storage
    function extension() external view returns (address);
}
