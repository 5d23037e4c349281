// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {LicenseStatus} from "../interfaces/LicenseTypes.sol";

/// @notice The one storage word of a license, high bits first:
/// `notAfter 40 | grace 24 | seatsUsed 16 | status 8 | flags 8 | holder 160`.
/// @dev It is solady's ERC-721 owner word with its spare 96 bits in use. Evidence bundles prove it:
/// docs/spec/storage-layout.md fixes it.
type LicenseWord is uint256;

using LicenseWordLib for LicenseWord global;

/// @title LicenseWordLib
/// @notice Reads and rewrites the fields of a LicenseWord. Every writer leaves the other fields as they are.
library LicenseWordLib {
    uint8 internal constant HAS_EXT = 1;
    uint8 internal constant HAS_PARENT = 2;
    uint8 internal constant METERED = 4;
    uint8 internal constant EVER_BOUND = 8;
    uint8 internal constant LOCKED = 16;
    uint8 internal constant FLOATING = 32;
    /// @dev Suspended. A flag and not the status alone, so that a suspension outlives a revocation's notice.
    uint8 internal constant HELD = 64;

    uint256 private constant FLAGS_SHIFT = 160;
    uint256 private constant STATUS_SHIFT = 168;
    uint256 private constant SEATS_SHIFT = 176;
    uint256 private constant GRACE_SHIFT = 192;
    uint256 private constant NOT_AFTER_SHIFT = 216;

    /// @notice The upper 96 bits of a fresh, ACTIVE license without seats.
    function fresh(uint40 notAfter_, uint24 grace_, uint8 flags_) internal pure returns (uint96) {
        return
            uint96(
                uint256(notAfter_) << 56 | uint256(grace_) << 32 | uint256(uint8(LicenseStatus.ACTIVE)) << 8 | flags_
            );
    }

    function holder(LicenseWord word) internal pure returns (address) {
        return address(uint160(LicenseWord.unwrap(word)));
    }

    function notAfter(LicenseWord word) internal pure returns (uint40) {
        return uint40(LicenseWord.unwrap(word) >> NOT_AFTER_SHIFT);
    }

    function grace(LicenseWord word) internal pure returns (uint24) {
        return uint24(LicenseWord.unwrap(word) >> GRACE_SHIFT);
    }

    function seatsUsed(LicenseWord word) internal pure returns (uint16) {
        return uint16(LicenseWord.unwrap(word) >> SEATS_SHIFT);
    }

    function status(LicenseWord word) internal pure returns (LicenseStatus) {
        return LicenseStatus(uint8(LicenseWord.unwrap(word) >> STATUS_SHIFT));
    }

    function isRevoked(LicenseWord word) internal pure returns (bool) {
        return uint8(LicenseWord.unwrap(word) >> STATUS_SHIFT) == uint8(LicenseStatus.REVOKED);
    }

    function has(LicenseWord word, uint8 flag) internal pure returns (bool) {
        return LicenseWord.unwrap(word) & uint256(flag) << FLAGS_SHIFT != 0;
    }

    /// @param flags one or several
    function hasAny(LicenseWord word, uint8 flags) internal pure returns (bool) {
        return LicenseWord.unwrap(word) & uint256(flags) << FLAGS_SHIFT != 0;
    }

    function withNotAfter(LicenseWord word, uint40 value) internal pure returns (LicenseWord) {
        return _with(word, NOT_AFTER_SHIFT, type(uint40).max, value);
    }

    function withSeatsUsed(LicenseWord word, uint16 value) internal pure returns (LicenseWord) {
        return _with(word, SEATS_SHIFT, type(uint16).max, value);
    }

    function withStatus(LicenseWord word, LicenseStatus value) internal pure returns (LicenseWord) {
        return _with(word, STATUS_SHIFT, type(uint8).max, uint8(value));
    }

    function withFlag(LicenseWord word, uint8 flag) internal pure returns (LicenseWord) {
        return LicenseWord.wrap(LicenseWord.unwrap(word) | uint256(flag) << FLAGS_SHIFT);
    }

    function withoutFlag(LicenseWord word, uint8 flag) internal pure returns (LicenseWord) {
        return LicenseWord.wrap(LicenseWord.unwrap(word) & ~(uint256(flag) << FLAGS_SHIFT));
    }

    function _with(LicenseWord word, uint256 shift, uint256 mask, uint256 value) private pure returns (LicenseWord) {
        return LicenseWord.wrap(LicenseWord.unwrap(word) & ~(mask << shift) | value << shift);
    }
}
