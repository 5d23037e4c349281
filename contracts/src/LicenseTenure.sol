// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {SignatureCheckerLib} from "solady/utils/SignatureCheckerLib.sol";

import {ILicenseExtension} from "./interfaces/ILicenseExtension.sol";
import {LicenseStatus} from "./interfaces/LicenseTypes.sol";
import {LicensePlans} from "./LicensePlans.sol";
import {LicenseWord, LicenseWordLib} from "./types/LicenseWord.sol";

/// @title LicenseTenure
/// @notice The part of the LicenseExtension about licenses at work: suspension, reissue, seats given back, usage.
abstract contract LicenseTenure is LicensePlans {
    bytes32 private constant BIND_TYPEHASH = keccak256(
        "BindRuntime(uint256 licenseId,bytes32 runtimeKey,uint40 until,bytes20 measurement,uint64 grantNonce,uint256 nonce,uint40 deadline)"
    );
    /// @dev Under this a plan could promise a veto that nobody has time for.
    uint40 private constant MIN_REISSUE_DELAY = 3 days;

    // ---------------------------------------------------------------- suspend and reissue

    /// @inheritdoc ILicenseExtension
    function suspend(uint256 licenseId, bytes32 reason) external {
        LicenseWord word = _load(licenseId);
        _checkAuthority(_planIdOf(licenseId), ROLE_GUARDIAN);
        LicenseStatus status = word.status();
        if (word.has(LicenseWordLib.HELD)) revert LicenseStatusForbids(licenseId, LicenseStatus.SUSPENDED);
        if (word.isRevoked() && block.timestamp >= word.notAfter()) {
            revert LicenseStatusForbids(licenseId, status);
        }
        if (status == LicenseStatus.ACTIVE) word = word.withStatus(LicenseStatus.SUSPENDED);
        _store(licenseId, word.withFlag(LicenseWordLib.HELD | LicenseWordLib.HAS_EXT));
        _exts[licenseId].suspendedAt = _now();
        emit LicenseSuspended(licenseId, reason);
        emit MetadataUpdate(licenseId);
    }

    /// @inheritdoc ILicenseExtension
    function reinstate(uint256 licenseId, bytes32 reason) external {
        LicenseWord word = _load(licenseId);
        _checkAuthority(_planIdOf(licenseId), ROLE_GUARDIAN);
        if (!word.has(LicenseWordLib.HELD)) revert LicenseNotSuspended(licenseId);
        if (word.status() == LicenseStatus.SUSPENDED) word = word.withStatus(LicenseStatus.ACTIVE);
        _store(licenseId, word.withoutFlag(LicenseWordLib.HELD));
        _exts[licenseId].suspendedAt = 0;
        emit LicenseReinstated(licenseId, reason);
        emit MetadataUpdate(licenseId);
    }

    /// @inheritdoc ILicenseExtension
    function startReissue(uint256 licenseId, address to) external {
        LicenseWord word = _load(licenseId);
        Plan storage plan = _checkAuthority(_planIdOf(licenseId), 0);
        _checkNotRevoked(licenseId, word);
        address holder = word.holder();
        if (to == holder || to == address(0)) revert ReissueToHolder(licenseId, to);
        uint40 delay = plan.times.reissueDelay();
        if (delay < MIN_REISSUE_DELAY) delay = MIN_REISSUE_DELAY;
        // Neither the notice of a revocation nor the time to be refunded can be got round this way.
        if (delay < plan.minNotice) delay = plan.minNotice;
        if (delay < plan.times.refundWindow()) delay = plan.times.refundWindow();
        uint40 readyAt = _now() + delay;
        _reissues[licenseId] = Reissue(to, readyAt, uint56(_exts[licenseId].grantNonce));
        emit ReissueStarted(licenseId, holder, to, readyAt);
    }

    /// @inheritdoc ILicenseExtension
    function vetoReissue(uint256 licenseId) external {
        LicenseWord word = _load(licenseId);
        if (word.holder() != msg.sender) _checkAuthority(_planIdOf(licenseId), 0);
        if (_reissues[licenseId].to == address(0)) revert ReissueNone(licenseId);
        delete _reissues[licenseId];
        emit ReissueVetoed(licenseId, msg.sender);
    }

    /// @inheritdoc ILicenseExtension
    function reissueOf(uint256 licenseId) external view returns (address to, uint40 readyAt) {
        Reissue memory reissue = _reissues[licenseId];
        if (_outdated(licenseId, reissue)) return (address(0), 0);
        return (reissue.to, reissue.readyAt);
    }

    // ---------------------------------------------------------------- seats and grants

    /// @inheritdoc ILicenseExtension
    function bindRuntimeBySig(
        uint256 licenseId,
        bytes32 runtimeKey,
        uint40 until,
        bytes20 measurement,
        uint256 nonce,
        uint40 deadline,
        bytes calldata signature
    ) external {
        if (block.timestamp > deadline) revert BindingExpired(deadline);
        LicenseWord word = _load(licenseId);
        address holder = word.holder();
        bytes32 structHash = keccak256(
            abi.encode(
                BIND_TYPEHASH, licenseId, runtimeKey, until, measurement, _exts[licenseId].grantNonce, nonce, deadline
            )
        );
        if (!SignatureCheckerLib.isValidSignatureNowCalldata(holder, _hashTypedData(structHash), signature)) {
            revert BindingNotSigned(licenseId, holder);
        }
        _spendNonce(holder, nonce);
        _bind(licenseId, word, runtimeKey, until, measurement);
    }

    /// @inheritdoc ILicenseExtension
    function releaseRuntime(uint256 licenseId, bytes32 runtimeKey) external {
        LicenseWord word = _load(licenseId);
        Seat storage seat = _seats[licenseId][runtimeKey];
        if (seat.boundAt == 0) revert SeatNotBound(licenseId, runtimeKey);
        uint40 notAfter = _endOf(licenseId, word);
        if (!_lapsed(seat, notAfter)) {
            uint40 until = seat.until;
            revert SeatHeldUntil(licenseId, runtimeKey, until == 0 || until > notAfter ? notAfter : until);
        }
        _free(licenseId, runtimeKey, word);
        emit RuntimeReleased(licenseId, runtimeKey);
    }

    /// @inheritdoc ILicenseExtension
    function evictRuntime(uint256 licenseId, bytes32 runtimeKey) external {
        LicenseWord word = _load(licenseId);
        _checkAuthority(_planIdOf(licenseId), ROLE_REVOKER);
        if (_seats[licenseId][runtimeKey].boundAt == 0) revert SeatNotBound(licenseId, runtimeKey);
        _free(licenseId, runtimeKey, word);
        emit RuntimeEvicted(licenseId, runtimeKey, msg.sender);
    }

    function _free(uint256 licenseId, bytes32 runtimeKey, LicenseWord word) private {
        delete _seats[licenseId][runtimeKey];
        _store(licenseId, word.withSeatsUsed(word.seatsUsed() - 1));
    }

    /// @inheritdoc ILicenseExtension
    function cancelGrants(uint256 licenseId) external {
        _raiseGrantNonce(licenseId, _checkHolder(licenseId));
    }

    /// @inheritdoc ILicenseExtension
    function reclaimSeats(uint256 licenseId) external {
        LicenseWord word = _load(licenseId);
        Ext storage ext = _exts[licenseId];
        uint16 seats = ext.seatsGranted;
        if (seats == 0) revert LicenseNotSublicense(licenseId); // or reclaimed before
        uint256 parentId = ext.parentId;
        LicenseWord parent = _load(parentId);
        // A sublicensee who does not take its own seats back must not lock those above it.
        if (
            parent.holder() != msg.sender
                && (!parent.has(LicenseWordLib.HAS_PARENT) || _read(_exts[parentId].parentId).holder() != msg.sender)
        ) revert LicenseNotHolder(parentId, msg.sender);
        uint40 end = _endOf(licenseId, word);
        uint40 quiet = end;
        // What ended before its time may have left answers and leases that run on: its seats are free when those are over.
        if (word.isRevoked()) quiet = _plusAll(end, _plans[_planIdOf(licenseId)].times.leaseTtl(), word.grace());
        if (block.timestamp < quiet) revert LicenseNotEnded(licenseId, quiet);
        uint16 used = word.seatsUsed();
        if (used != 0) revert LicenseSeatsInUse(licenseId, used);

        ext.seatsGranted = 0;
        if (!word.isRevoked() || word.notAfter() > end) _revoke(licenseId, word, end, 0);
        _store(parentId, parent.withSeatsUsed(parent.seatsUsed() - seats));
        emit SeatsReclaimed(parentId, licenseId, seats);
    }

    // ---------------------------------------------------------------- usage

    function _plusAll(uint40 start, uint32 leaseTtl, uint24 grace) private pure returns (uint40) {
        uint256 sum = uint256(start) + leaseTtl + grace;
        return sum < PERPETUAL ? uint40(sum) : PERPETUAL;
    }

    /// @inheritdoc ILicenseExtension
    function anchorUsage(uint256 licenseId, uint64 cumulative, bytes32 receiptsRoot) external {
        LicenseWord word = _load(licenseId);
        _checkAuthority(_planIdOf(licenseId), ROLE_METER);
        if (!word.has(LicenseWordLib.METERED)) revert UsageNotMetered(licenseId);
        uint64 present = _usages[licenseId].cumulative;
        if (cumulative <= present) revert UsageNotRising(licenseId, present, cumulative);
        _usages[licenseId] = Usage(cumulative, _now(), receiptsRoot);
        emit UsageAnchored(licenseId, msg.sender, cumulative, receiptsRoot);
    }

    /// @inheritdoc ILicenseExtension
    function usageOf(uint256 licenseId)
        external
        view
        returns (uint64 cumulative, uint40 anchoredAt, bytes32 receiptsRoot)
    {
        Usage memory usage = _usages[licenseId];
        return (usage.cumulative, usage.anchoredAt, usage.receiptsRoot);
    }
}
