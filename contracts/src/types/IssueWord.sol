// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @notice What issuing reads and writes of a plan, in one word, low bits first:
/// `licensor 160 | issued 32 | roleEpoch 16 | durationDays 16 | grace 24 | flags 8`.
/// @dev durationDays is 0 for a perpetual plan and ODD_DURATION when the duration is no number of whole days that fits:
/// then the exact seconds stand in the plan's third word, which most plans thus never load.
type IssueWord is uint256;

using IssueWordLib for IssueWord global;

/// @title IssueWordLib
/// @notice Reads and rewrites the fields of an IssueWord. Every writer leaves the other fields as they are.
library IssueWordLib {
    uint8 internal constant PAUSED = 1;
    uint8 internal constant CAPPED = 2;
    uint8 internal constant FLOATING = 4;
    uint8 internal constant WARN_ONLY = 8;
    uint8 internal constant TRANSFERABLE = 16;
    uint8 internal constant METERED = 32;
    /// @dev Ask the registry before issuing: title or status of the model changed since the plan was made or synced, or the registry
    /// has 256 other plans of the model to tell of a change.
    uint8 internal constant TOUCHED = 64;

    uint16 internal constant ODD_DURATION = type(uint16).max;

    uint256 private constant ISSUED_SHIFT = 160;
    uint256 private constant EPOCH_SHIFT = 192;
    uint256 private constant DURATION_SHIFT = 208;
    uint256 private constant GRACE_SHIFT = 224;
    uint256 private constant FLAGS_SHIFT = 248;

    /// @notice The word of a plan that has issued nothing, licensor and epoch still unset.
    function fresh(uint40 duration, uint24 grace_, uint8 flags_) internal pure returns (IssueWord) {
        uint256 inDays = duration / 1 days;
        if (duration % 1 days != 0 || inDays >= ODD_DURATION) inDays = ODD_DURATION;
        return
            IssueWord.wrap(inDays << DURATION_SHIFT | uint256(grace_) << GRACE_SHIFT | uint256(flags_) << FLAGS_SHIFT);
    }

    function licensor(IssueWord word) internal pure returns (address) {
        return address(uint160(IssueWord.unwrap(word)));
    }

    function issued(IssueWord word) internal pure returns (uint32) {
        return uint32(IssueWord.unwrap(word) >> ISSUED_SHIFT);
    }

    function roleEpoch(IssueWord word) internal pure returns (uint16) {
        return uint16(IssueWord.unwrap(word) >> EPOCH_SHIFT);
    }

    function durationDays(IssueWord word) internal pure returns (uint16) {
        return uint16(IssueWord.unwrap(word) >> DURATION_SHIFT);
    }

    function grace(IssueWord word) internal pure returns (uint24) {
        return uint24(IssueWord.unwrap(word) >> GRACE_SHIFT);
    }

    function has(IssueWord word, uint8 flag) internal pure returns (bool) {
        return IssueWord.unwrap(word) & uint256(flag) << FLAGS_SHIFT != 0;
    }

    /// @notice So many more issued. The caller has checked that `issued` stays within its 32 bits.
    function plus(IssueWord word, uint32 count) internal pure returns (IssueWord) {
        unchecked {
            return IssueWord.wrap(IssueWord.unwrap(word) + (uint256(count) << ISSUED_SHIFT));
        }
    }

    function withLicensor(IssueWord word, address account, uint16 epoch) internal pure returns (IssueWord) {
        uint256 rest = IssueWord.unwrap(word) >> 160 << 160 & ~(uint256(type(uint16).max) << EPOCH_SHIFT);
        return IssueWord.wrap(rest | uint256(epoch) << EPOCH_SHIFT | uint160(account));
    }

    function withFlag(IssueWord word, uint8 flag, bool on) internal pure returns (IssueWord) {
        uint256 bit = uint256(flag) << FLAGS_SHIFT;
        return IssueWord.wrap(on ? IssueWord.unwrap(word) | bit : IssueWord.unwrap(word) & ~bit);
    }
}
