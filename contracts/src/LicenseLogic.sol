// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {LicenseStatus} from "./interfaces/LicenseTypes.sol";
import {LicenseStorage} from "./LicenseStorage.sol";
import {LicenseWord, LicenseWordLib} from "./types/LicenseWord.sol";

/// @title LicenseLogic
/// @notice What the LicenseLedger and its extension both do: end licenses, count seats, decide.
abstract contract LicenseLogic is LicenseStorage {
    // ---------------------------------------------------------------- ending

    /// @dev Terminal: from here on nothing raises the end.
    function _revoke(uint256 licenseId, LicenseWord word, uint40 effectiveAt, bytes32 reason) internal {
        uint40 present = word.notAfter();
        if (effectiveAt > present) effectiveAt = present;
        _store(licenseId, word.withNotAfter(effectiveAt).withStatus(LicenseStatus.REVOKED));
        emit LicenseRevoked(licenseId, msg.sender, effectiveAt, reason);
        emit MetadataUpdate(licenseId);
    }

    function _checkNotRevoked(uint256 licenseId, LicenseWord word) internal view {
        if (!word.isRevoked()) return;
        uint40 notAfter = word.notAfter();
        if (block.timestamp < notAfter) revert LicenseUnderNotice(licenseId, notAfter);
        revert LicenseStatusForbids(licenseId, LicenseStatus.REVOKED);
    }

    /// @return word of the license, which exists
    function _checkHolder(uint256 licenseId) internal view returns (LicenseWord word) {
        word = _load(licenseId);
        if (word.holder() != msg.sender) revert LicenseNotHolder(licenseId, msg.sender);
    }

    /// @dev Voids every RuntimeGrant, every signed binding and every reissue under way.
    function _raiseGrantNonce(uint256 licenseId, LicenseWord word) internal {
        uint64 nonce = ++_exts[licenseId].grantNonce;
        if (!word.has(LicenseWordLib.HAS_EXT)) _store(licenseId, word.withFlag(LicenseWordLib.HAS_EXT));
        emit GrantsCancelled(licenseId, nonce);
    }

    // ---------------------------------------------------------------- seats

    function _bind(uint256 licenseId, LicenseWord word, bytes32 runtimeKey, uint40 until, bytes20 measurement)
        internal
    {
        if (runtimeKey == 0) revert SeatKeyZero(licenseId);
        if (word.has(LicenseWordLib.FLOATING)) revert SeatsFloat(licenseId);
        uint40 notAfter = _endOf(licenseId, word);
        if (block.timestamp >= notAfter) revert LicenseExpired(licenseId, notAfter);
        if (word.has(LicenseWordLib.HELD)) revert LicenseStatusForbids(licenseId, LicenseStatus.SUSPENDED);
        if (until != 0 && (until <= block.timestamp || until > notAfter)) revert SeatWindowInvalid(until, notAfter);

        Seat storage seat = _seats[licenseId][runtimeKey];
        if (seat.boundAt == 0) {
            _takeSeats(licenseId, word, 1);
        } else if (!_lapsed(seat, notAfter)) {
            revert SeatAlreadyBound(licenseId, runtimeKey);
        }
        _seats[licenseId][runtimeKey] = Seat(_now(), until, measurement);
        emit RuntimeBound(licenseId, runtimeKey, until, measurement);
    }

    /// @dev A sublicense has the seats it was given; any other license those of its plan, where 0 is no limit.
    function _takeSeats(uint256 licenseId, LicenseWord word, uint16 count) internal {
        uint16 seats;
        if (word.has(LicenseWordLib.HAS_PARENT)) {
            seats = _exts[licenseId].seatsGranted;
        } else {
            seats = _plans[_planIdOf(licenseId)].seats;
            if (seats == 0) seats = type(uint16).max;
        }
        uint256 used = uint256(word.seatsUsed()) + count;
        if (used > seats) revert SeatsFull(licenseId, seats);
        _store(licenseId, word.withSeatsUsed(uint16(used)).withFlag(LicenseWordLib.EVER_BOUND));
    }

    function _lapsed(Seat storage seat, uint40 notAfter) internal view returns (bool) {
        uint40 until = seat.until;
        return block.timestamp >= notAfter || until != 0 && block.timestamp >= until;
    }

    // ---------------------------------------------------------------- the answer

    function _checkPresent(uint40 at) internal view {
        if (at < block.timestamp) revert CheckInPast(at, _now());
    }

    function _check(uint256 licenseId, address holder, bytes32 runtimeKey, uint40 at)
        internal
        view
        returns (uint8 code, uint40 notAfter, uint40 graceUntil, uint32 planId)
    {
        LicenseWord word = _read(licenseId);
        if (word.holder() == address(0)) return (NOT_FOUND, 0, 0, 0);
        planId = _planIdOf(licenseId);
        (code, notAfter) = _decide(licenseId, word, holder, runtimeKey, at);
        if (code == VALID || code == REVOKING) {
            graceUntil = _graceUntil(at, word.grace(), notAfter);
            if (runtimeKey != 0 && !word.has(LicenseWordLib.FLOATING)) {
                uint40 until = _seats[licenseId][runtimeKey].until;
                if (until != 0 && until < graceUntil) graceUntil = until;
            }
        }
    }

    function _graceUntil(uint40 at, uint24 grace, uint40 notAfter) internal pure returns (uint40) {
        uint256 until = uint256(at) + grace;
        return until < notAfter ? uint40(until) : notAfter;
    }

    /// @return code
    /// @return notAfter the license's own end, or that of a license above it that comes first
    function _decide(uint256 licenseId, LicenseWord word, address holder, bytes32 runtimeKey, uint40 at)
        internal
        view
        returns (uint8 code, uint40 notAfter)
    {
        notAfter = word.notAfter();
        bool revoked = word.isRevoked();
        // Over for good. What ended it first may be a license above it.
        if (at >= notAfter) return (revoked ? REVOKED : EXPIRED, _endOf(licenseId, word));
        uint8 above;
        if (word.hasAny(LicenseWordLib.HELD | LicenseWordLib.HAS_EXT | LicenseWordLib.METERED)) {
            if (word.has(LicenseWordLib.HAS_PARENT)) (above, notAfter) = _above(licenseId, notAfter, at);
            if (word.has(LicenseWordLib.HELD)) return (SUSPENDED, notAfter);
            if (at < _exts[licenseId].notBefore) return (NOT_YET_VALID, notAfter);
            if (holder != address(0) && holder != word.holder()) return (WRONG_HOLDER, notAfter);
            if (above == PARENT_INVALID) return (PARENT_INVALID, notAfter);
            if (
                word.has(LicenseWordLib.METERED)
                    && _usages[licenseId].cumulative >= _plans[_planIdOf(licenseId)].scope.quota()
            ) return (QUOTA_SPENT, notAfter);
        } else if (holder != address(0) && holder != word.holder()) {
            return (WRONG_HOLDER, notAfter);
        }
        if (runtimeKey != 0 && !word.has(LicenseWordLib.FLOATING)) {
            Seat storage seat = _seats[licenseId][runtimeKey];
            if (seat.boundAt == 0) return (RUNTIME_NOT_BOUND, notAfter);
            uint40 until = seat.until;
            if (until != 0 && at >= until) return (SEAT_LAPSED, notAfter);
        }
        return (revoked ? REVOKING : above, notAfter);
    }

    /// @dev What the licenses above a sublicense say, two at most.
    /// @return code VALID, REVOKING or PARENT_INVALID
    /// @return end `notAfter`, or the end of a license above that comes first
    function _above(uint256 licenseId, uint40 notAfter, uint40 at) private view returns (uint8 code, uint40 end) {
        end = notAfter;
        LicenseWord word;
        do {
            licenseId = _exts[licenseId].parentId;
            word = _read(licenseId);
            uint40 itsEnd = word.notAfter();
            if (itsEnd < end) end = itsEnd;
            bool begun = !word.has(LicenseWordLib.HAS_EXT) || at >= _exts[licenseId].notBefore;
            if (at >= itsEnd || word.has(LicenseWordLib.HELD) || !begun) code = PARENT_INVALID;
            else if (word.isRevoked() && code == VALID) code = REVOKING;
        } while (word.has(LicenseWordLib.HAS_PARENT));
    }
}
