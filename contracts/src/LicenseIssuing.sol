// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC721} from "solady/tokens/ERC721.sol";
import {SignatureCheckerLib} from "solady/utils/SignatureCheckerLib.sol";

import {ILicenseCore} from "./interfaces/ILicenseCore.sol";
import {IModelRegistry, ModelStatus} from "./interfaces/IModelRegistry.sol";
import {BatchLeaf, Voucher} from "./interfaces/LicenseTypes.sol";
import {LicenseLeaves} from "./LicenseLeaves.sol";
import {IssueWord, IssueWordLib} from "./types/IssueWord.sol";
import {LicenseWord, LicenseWordLib} from "./types/LicenseWord.sol";
import {VoucherLib} from "./libraries/VoucherLib.sol";

/// @title LicenseIssuing
/// @notice The part of the LicenseLedger that brings licenses into being: one, many, by voucher, by Merkle root, or out of another.
abstract contract LicenseIssuing is LicenseLeaves, ILicenseCore, ERC721 {
    using VoucherLib for Voucher;

    uint8 private constant MAX_DEPTH = 2;
    /// @dev So that no single call of an ISSUER takes every serial there is.
    uint32 private constant MAX_ROLE_BATCH = 1 << 20;

    IModelRegistry internal immutable _registry;

    /// @inheritdoc ILicenseCore
    function issue(uint32 planId, address to, uint40 notBefore, uint40 notAfter) external returns (uint256 licenseId) {
        (IssueWord word, bool byRole) = _authorizedIssue(planId);
        Plan storage plan = _plans[planId];
        (notBefore, notAfter) = _window(plan, word, byRole, notBefore, notAfter);
        licenseId = _take(planId, plan, word, 1);
        _mintLicense(to, licenseId, notBefore, notAfter, word);
    }

    /// @inheritdoc ILicenseCore
    function issueBatch(uint32 planId, address[] calldata to, uint40 notBefore, uint40 notAfter)
        external
        returns (uint256 firstId)
    {
        (IssueWord word, bool byRole) = _authorizedIssue(planId);
        Plan storage plan = _plans[planId];
        (notBefore, notAfter) = _window(plan, word, byRole, notBefore, notAfter);
        if (to.length == 0) revert BatchEmpty();
        firstId = _take(planId, plan, word, to.length);
        for (uint256 i; i < to.length; ++i) {
            unchecked {
                // `_take` has seen that all the serials fit.
                _mintLicense(to[i], firstId + i, notBefore, notAfter, word);
            }
        }
    }

    /// @inheritdoc ILicenseCore
    function redeem(Voucher calldata voucher, bytes calldata signature) external returns (uint256 licenseId) {
        if (block.timestamp > voucher.deadline) revert VoucherExpired(voucher.deadline);
        // A price is for a market to collect; so is the buyer's protection that comes with a market.
        if (voucher.market != msg.sender && (voucher.price != 0 || voucher.market != address(0))) {
            revert VoucherMarketOnly(voucher.market, msg.sender);
        }
        uint32 planId = voucher.planId;
        address signer = voucher.signer;
        Plan storage plan = _plans[planId];
        IssueWord word = plan.issue;
        address licensor = word.licensor();
        if (licensor == address(0)) revert PlanUnknown(planId);
        bool byRole = signer != licensor;
        if (byRole && !_hasRole(planId, word.roleEpoch(), signer, ROLE_ISSUER)) {
            revert VoucherSignerNotIssuer(planId, signer);
        }
        bytes32 digest = plan.digest;
        if (voucher.planDigest != digest) revert VoucherPlanChanged(planId, digest, voucher.planDigest);
        if (!SignatureCheckerLib.isValidSignatureNowCalldata(signer, _hashTypedData(voucher.structHash()), signature)) {
            revert VoucherNotSigned(signer);
        }
        _spendNonce(signer, voucher.nonce);
        (uint40 notBefore, uint40 notAfter) = _window(plan, word, byRole, voucher.notBefore, voucher.notAfter);
        licenseId = _take(planId, plan, word, 1);
        _mintLicense(voucher.to, licenseId, notBefore, notAfter, word);
        emit VoucherRedeemed(licenseId, signer, voucher.nonce, voucher.extHash);
    }

    /// @inheritdoc ILicenseCore
    function anchorBatch(uint32 planId, bytes32 root, uint32 count, bytes32 uriHash) external {
        (IssueWord word, bool byRole) = _authorizedIssue(planId);
        if (count == 0 || root == 0) revert BatchEmpty();
        if (byRole && count > MAX_ROLE_BATCH) revert BatchTooLarge(count, MAX_ROLE_BATCH);
        if (_batches[planId][root].count != 0) revert BatchExists(planId, root);
        uint32 firstSerial = uint32(_take(planId, _plans[planId], word, count));
        _batches[planId][root] = Batch(count, firstSerial, _now(), byRole, 0);
        emit BatchAnchored(planId, root, msg.sender, firstSerial, count, uriHash);
    }

    /// @inheritdoc ILicenseCore
    function claim(uint32 planId, bytes32 root, BatchLeaf calldata leaf, bytes32[] calldata path)
        external
        returns (uint256 licenseId)
    {
        Batch memory batch = _batches[planId][root];
        if (batch.count == 0) revert BatchUnknown(planId, root);
        if (!_stands(planId, root, batch, leaf, path)) revert BatchProofInvalid(root, leaf.index);
        (uint256 word, uint256 bit) = _place(leaf.index);
        uint256 claimed = _batchClaimed[planId][root][word];
        if (claimed & bit != 0) revert BatchLeafClaimed(root, leaf.index);
        if (_batchRevoked[planId][root][word] & bit != 0) revert BatchLeafRevoked(root, leaf.index);
        // Else it would become an expired token, which can be renewed.
        if (batch.closesAt != 0 && block.timestamp >= batch.closesAt) revert BatchLeafRevoked(root, leaf.index);
        (uint40 start, uint40 end) = _leafWindow(planId, batch, leaf);
        if (end <= start) revert LicenseWindowInvalid(start, end);

        _batchClaimed[planId][root][word] = claimed | bit;
        licenseId = _leafId(planId, batch, leaf.index);
        _mintLicense(leaf.to, licenseId, start, end, _plans[planId].issue);
        emit BatchClaimed(licenseId, root, leaf.index, leaf.extHash);
    }

    /// @inheritdoc ILicenseCore
    function sublicense(uint256 parentId, address to, uint40 notAfter, uint16 seats)
        external
        returns (uint256 licenseId)
    {
        LicenseWord parent = _checkHolder(parentId);
        if (parent.has(LicenseWordLib.LOCKED)) revert LicenseUntransferable(parentId, 1);
        if (parent.has(LicenseWordLib.METERED)) revert SublicenseMetered(parentId);
        if (parent.has(LicenseWordLib.FLOATING)) revert SeatsFloat(parentId);
        if (seats == 0) revert SublicenseSeatsZero();
        (uint8 code, uint40 end) = _decide(parentId, parent, address(0), 0, _now());
        if (code != VALID) revert LicenseNotValid(parentId, code);
        uint8 depth = _exts[parentId].depth;
        if (depth >= MAX_DEPTH) revert SublicenseTooDeep(parentId, MAX_DEPTH);
        if (notAfter == 0) notAfter = end;
        if (notAfter <= block.timestamp || notAfter > end) revert LicenseWindowInvalid(_now(), notAfter);

        _takeSeats(parentId, parent, seats);
        uint32 planId = _planIdOf(parentId);
        Plan storage plan = _plans[planId];
        IssueWord word = plan.issue;
        // A holder shares what it has: it cannot use up the licensor's supply.
        if (word.has(IssueWordLib.CAPPED)) ++plan.besideSupply;
        licenseId = _take(planId, plan, word, 1);
        _exts[licenseId] = Ext(0, 0, 0, uint64(parentId), seats, depth + 1);
        _mintWith(to, licenseId, _now(), notAfter, word, LicenseWordLib.HAS_EXT | LicenseWordLib.HAS_PARENT);
        emit LicenseSublicensed(parentId, licenseId, to, seats, depth + 1);
    }

    // ---------------------------------------------------------------- shared

    /// @dev The caller may issue on the plan: licensor or ISSUER.
    function _authorizedIssue(uint32 planId) private view returns (IssueWord word, bool byRole) {
        word = _plans[planId].issue;
        address licensor = word.licensor();
        byRole = msg.sender != licensor;
        if (byRole) {
            if (licensor == address(0)) revert PlanUnknown(planId);
            _checkRole(planId, word.roleEpoch(), ROLE_ISSUER);
        }
    }

    /// @dev Takes `count` serials, if pause, supply and title allow.
    /// @param word the plan's, just read
    /// @return the id of the first
    function _take(uint32 planId, Plan storage plan, IssueWord word, uint256 count) private returns (uint256) {
        if (word.has(IssueWordLib.PAUSED)) revert PlanIsPaused(planId);
        uint256 issued = word.issued();
        uint256 limit = type(uint32).max;
        if (word.has(IssueWordLib.CAPPED)) {
            uint256 cap = uint256(plan.times.supply()) + plan.besideSupply;
            if (cap < limit) limit = cap;
        }
        if (count > limit - issued) revert PlanSupplyExceeded(planId, uint32(limit));
        // Without the flag the registry has told of no change since the title was looked at.
        if (word.has(IssueWordLib.TOUCHED)) _checkTitle(planId, plan.modelId, word.licensor());
        plan.issue = word.plus(uint32(count));
        unchecked {
            return uint256(planId) << 32 | (issued + 1);
        }
    }

    function _checkTitle(uint32 planId, bytes32 modelId, address licensor) private view {
        (address titleHolder, ModelStatus status) = _registry.titleOf(modelId);
        if (titleHolder != licensor) revert PlanTitleMoved(planId, licensor, titleHolder);
        if (status != ModelStatus.ACTIVE) revert PlanModelNotIssuable(modelId, uint8(status));
    }

    /// @dev Fills in what was left to the plan and holds an ISSUER to its duration.
    function _window(Plan storage plan, IssueWord word, bool byRole, uint40 notBefore, uint40 notAfter)
        private
        view
        returns (uint40 start, uint40 end)
    {
        start = notBefore > block.timestamp ? notBefore : _now();
        end = notAfter;
        if (byRole || notAfter == 0) {
            uint40 longest = _plus(start, _duration(plan, word));
            if (notAfter == 0) end = longest;
            else if (notAfter > longest) revert LicenseWindowInvalid(start, notAfter);
        }
        if (end <= start) revert LicenseWindowInvalid(start, end);
    }

    function _mintLicense(address to, uint256 licenseId, uint40 notBefore, uint40 notAfter, IssueWord plan) private {
        bool later = notBefore > block.timestamp;
        if (later) _exts[licenseId].notBefore = notBefore;
        _mintWith(to, licenseId, notBefore, notAfter, plan, later ? LicenseWordLib.HAS_EXT : 0);
    }

    /// @dev Not the safe mint: a receiver's callback could refuse, or re-enter.
    function _mintWith(address to, uint256 licenseId, uint40 notBefore, uint40 notAfter, IssueWord plan, uint8 flags)
        private
    {
        if (plan.has(IssueWordLib.FLOATING)) flags |= LicenseWordLib.FLOATING;
        if (plan.has(IssueWordLib.METERED)) flags |= LicenseWordLib.METERED;
        bool isLocked = !plan.has(IssueWordLib.TRANSFERABLE);
        if (isLocked) flags |= LicenseWordLib.LOCKED;
        _mintAndSetExtraDataUnchecked(to, licenseId, LicenseWordLib.fresh(notAfter, plan.grace(), flags));
        if (isLocked) emit Locked(licenseId);
        emit LicenseIssued(licenseId, _planIdOf(licenseId), to, notBefore, notAfter);
    }
}
