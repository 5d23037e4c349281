// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseExtension} from "./interfaces/ILicenseExtension.sol";
import {BatchLeaf, LicenseStatus, Voucher} from "./interfaces/LicenseTypes.sol";
import {VoucherLib} from "./libraries/VoucherLib.sol";
import {LicenseTenure} from "./LicenseTenure.sol";
import {LicenseWord, LicenseWordLib} from "./types/LicenseWord.sol";

/// @title LicenseExtension
/// @notice Implements {ILicenseExtension}, where everything is documented, in the storage of the LicenseLedger that delegates to it.
contract LicenseExtension is LicenseTenure {
    using VoucherLib for Voucher;

    // ---------------------------------------------------------------- batches

    /// @inheritdoc ILicenseExtension
    function revokeInBatch(uint32 planId, bytes32 root, uint256 word, uint256 mask, bytes32 reason) external {
        uint32 minNotice = _checkAuthority(planId, ROLE_REVOKER).minNotice;
        Batch memory batch = _batches[planId][root];
        if (batch.count == 0) revert BatchUnknown(planId, root);
        if (mask == 0) revert BatchNothingToRevoke(root, word, mask);
        if (word > batch.count >> 8 || mask & ~_bitsBelow(batch.count - (word << 8)) != 0) {
            revert BatchIndexBeyond(root, word, mask);
        }
        uint256 claimed = _batchClaimed[planId][root][word];
        uint256 revoked = _batchRevoked[planId][root][word];
        uint256 unclaimed = mask & ~claimed & ~revoked;
        if (unclaimed != 0 && minNotice != 0) revert BatchNoticeDue(planId, minNotice);

        if (unclaimed != 0) _batchRevoked[planId][root][word] = revoked | unclaimed;
        uint256 ended = _revokeClaimed(_leafId(planId, batch, word << 8), mask & claimed, minNotice, reason);
        if (unclaimed == 0 && ended == 0) revert BatchNothingToRevoke(root, word, mask);
        emit BatchRevoked(planId, root, msg.sender, word, mask, reason);
    }

    /// @dev Licenses that are revoked already keep the end they have.
    function _revokeClaimed(uint256 firstId, uint256 mask, uint32 minNotice, bytes32 reason)
        private
        returns (uint256 ended)
    {
        for (uint256 i; mask >> i != 0; ++i) {
            if (mask >> i & 1 == 0) continue;
            LicenseWord word = _read(firstId + i);
            if (word.isRevoked()) continue;
            _revoke(firstId + i, word, _now() + minNotice, reason);
            ++ended;
        }
    }

    /// @inheritdoc ILicenseExtension
    function closeBatch(uint32 planId, bytes32 root, bytes32 reason) external {
        uint40 closesAt = _now() + _checkAuthority(planId, ROLE_REVOKER).minNotice;
        Batch storage batch = _batches[planId][root];
        if (batch.count == 0) revert BatchUnknown(planId, root);
        uint40 present = batch.closesAt;
        if (present != 0) revert BatchIsClosed(root, present); // the notice is fixed, so another would come later
        batch.closesAt = closesAt;
        emit BatchClosed(planId, root, msg.sender, closesAt, reason);
    }

    /// @inheritdoc ILicenseExtension
    function checkBatchLeaf(
        uint32 planId,
        bytes32 root,
        BatchLeaf calldata leaf,
        bytes32[] calldata path,
        address holder,
        uint40 at
    ) external view returns (uint8 code, uint40 notAfter, uint40 graceUntil, uint256 licenseId) {
        _checkPresent(at);
        Batch memory batch = _batches[planId][root];
        if (leaf.to == address(0) || !_stands(planId, root, batch, leaf, path)) return (NOT_FOUND, 0, 0, 0);
        licenseId = _leafId(planId, batch, leaf.index);
        (uint256 word, uint256 bit) = _place(leaf.index);
        if (_batchClaimed[planId][root][word] & bit != 0) {
            (code, notAfter, graceUntil,) = _check(licenseId, holder, 0, at);
            return (code, notAfter, graceUntil, licenseId);
        }
        if (_batchRevoked[planId][root][word] & bit != 0) return (REVOKED, 0, 0, licenseId);
        uint40 start;
        (start, notAfter) = _leafWindow(planId, batch, leaf);
        // Final is only what `claim` refuses already: before its batch has closed, a leaf is claimed and may be renewed.
        bool closed = batch.closesAt != 0 && block.timestamp >= batch.closesAt;
        if (closed) code = REVOKED;
        else if (at >= notAfter) code = EXPIRED;
        else if (at < start) code = NOT_YET_VALID;
        else if (holder != address(0) && holder != leaf.to) code = WRONG_HOLDER;
        else graceUntil = _graceUntil(at, _plans[planId].issue.grace(), notAfter);
    }

    /// @inheritdoc ILicenseExtension
    function batchLeafHash(uint32 planId, BatchLeaf calldata leaf) external view returns (bytes32) {
        return _leafHash(planId, leaf);
    }

    /// @inheritdoc ILicenseExtension
    function batchOf(uint32 planId, bytes32 root)
        external
        view
        returns (uint32 count, uint32 firstSerial, uint40 anchoredAt, bool byRole, uint40 closesAt)
    {
        Batch memory batch = _batches[planId][root];
        return (batch.count, batch.firstSerial, batch.anchoredAt, batch.byRole, batch.closesAt);
    }

    /// @inheritdoc ILicenseExtension
    function batchBits(uint32 planId, bytes32 root, uint256 word)
        external
        view
        returns (uint256 claimed, uint256 revoked)
    {
        return (_batchClaimed[planId][root][word], _batchRevoked[planId][root][word]);
    }

    function _bitsBelow(uint256 count) private pure returns (uint256) {
        return count >= 256 ? type(uint256).max : (1 << count) - 1;
    }

    // ---------------------------------------------------------------- signed nonces

    /// @inheritdoc ILicenseExtension
    function cancelVouchers(uint256 word, uint256 mask) external {
        _noncesSpent[msg.sender][word] |= mask;
        emit NoncesCancelled(msg.sender, word, mask);
    }

    /// @inheritdoc ILicenseExtension
    function noncesSpent(address signer, uint256 word) external view returns (uint256) {
        return _noncesSpent[signer][word];
    }

    /// @inheritdoc ILicenseExtension
    function voucherDigest(Voucher calldata voucher) external view returns (bytes32) {
        return _hashTypedData(voucher.structHash());
    }

    // ---------------------------------------------------------------- reads

    /// @inheritdoc ILicenseExtension
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
        )
    {
        LicenseWord word = _load(licenseId);
        Ext memory ext = _exts[licenseId];
        return (
            word.holder(),
            ext.notBefore,
            _endOf(licenseId, word),
            word.status(),
            word.seatsUsed(),
            ext.grantNonce,
            ext.suspendedAt
        );
    }

    /// @inheritdoc ILicenseExtension
    function seatOf(uint256 licenseId, bytes32 runtimeKey)
        external
        view
        returns (uint40 boundAt, uint40 until, bytes20 measurement)
    {
        Seat memory seat = _seats[licenseId][runtimeKey];
        return (seat.boundAt, seat.until, seat.measurement);
    }

    /// @inheritdoc ILicenseExtension
    function grantNonceOf(uint256 licenseId) external view returns (uint64) {
        return _exts[licenseId].grantNonce;
    }

    /// @inheritdoc ILicenseExtension
    function parentOf(uint256 licenseId) external view returns (uint64 parentId, uint16 seatsGranted, uint8 depth) {
        Ext memory ext = _exts[licenseId];
        return (ext.parentId, ext.seatsGranted, ext.depth);
    }

    /// @inheritdoc ILicenseExtension
    function everBound(uint256 licenseId) external view returns (bool) {
        return _load(licenseId).has(LicenseWordLib.EVER_BOUND);
    }
}
