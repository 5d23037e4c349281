// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {LicenseWord} from "../types/LicenseWord.sol";

/// @title LicenseRenderer
/// @notice ERC-721 metadata as a data URI: wallets show a license, picture included, without asking any server.
interface ILicenseRenderer {
    /// @param word the license as stored: docs/spec/storage-layout.md
    /// @return uri `data:application/json;base64,…` with an SVG data URI inside
    function render(uint256 licenseId, bytes32 modelId, bytes32 termsHash, LicenseWord word)
        external
        pure
        returns (string memory uri);
}
