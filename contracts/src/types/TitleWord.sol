// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ModelStatus} from "../interfaces/IModelRegistry.sol";

/// @notice The one storage word of a title, low bits first:
/// `licensor 160 | registeredAt 40 | committedAt 40 | status 8 | flags 8`.
/// @dev Evidence bundles prove it: docs/spec/storage-layout.md fixes it.
type TitleWord is uint256;

using TitleWordLib for TitleWord global;

/// @title TitleWordLib
/// @notice Reads and rewrites the fields of a TitleWord. Every writer leaves the other fields as they are.
library TitleWordLib {
    uint256 internal constant COMMITTED = 1 << 248;

    uint256 private constant REGISTERED_SHIFT = 160;
    uint256 private constant COMMITTED_SHIFT = 200;
    uint256 private constant STATUS_SHIFT = 240;

    /// @notice The word of a model that is registered now.
    function fresh(address licensor_, uint40 registeredAt_, uint40 committedAt_, bool committed)
        internal
        pure
        returns (TitleWord)
    {
        return TitleWord.wrap(
            uint256(uint160(licensor_)) | uint256(registeredAt_) << REGISTERED_SHIFT | uint256(committedAt_)
                << COMMITTED_SHIFT | uint256(ModelStatus.ACTIVE) << STATUS_SHIFT | (committed ? COMMITTED : 0)
        );
    }

    function licensor(TitleWord word) internal pure returns (address) {
        return address(uint160(TitleWord.unwrap(word)));
    }

    function registeredAt(TitleWord word) internal pure returns (uint40) {
        return uint40(TitleWord.unwrap(word) >> REGISTERED_SHIFT);
    }

    function committedAt(TitleWord word) internal pure returns (uint40) {
        return uint40(TitleWord.unwrap(word) >> COMMITTED_SHIFT);
    }

    function status(TitleWord word) internal pure returns (ModelStatus) {
        return ModelStatus(uint8(TitleWord.unwrap(word) >> STATUS_SHIFT));
    }

    function isCommitted(TitleWord word) internal pure returns (bool) {
        return TitleWord.unwrap(word) & COMMITTED != 0;
    }

    function withLicensor(TitleWord word, address value) internal pure returns (TitleWord) {
        return TitleWord.wrap(TitleWord.unwrap(word) >> 160 << 160 | uint160(value));
    }

    /// @notice Also marks the model as committed.
    function withCommittedAt(TitleWord word, uint40 value) internal pure returns (TitleWord) {
        uint256 rest = TitleWord.unwrap(word) & ~(uint256(type(uint40).max) << COMMITTED_SHIFT);
        return TitleWord.wrap(rest | uint256(value) << COMMITTED_SHIFT | COMMITTED);
    }

    function withStatus(TitleWord word, ModelStatus value) internal pure returns (TitleWord) {
        uint256 rest = TitleWord.unwrap(word) & ~(uint256(type(uint8).max) << STATUS_SHIFT);
        return TitleWord.wrap(rest | uint256(value) << STATUS_SHIFT);
    }
}
