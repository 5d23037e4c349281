// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Base64} from "solady/utils/Base64.sol";
import {LibString} from "solady/utils/LibString.sol";

import {LicenseStatus} from "../interfaces/ILicenseLedger.sol";
import {LicenseWord} from "../types/LicenseWord.sol";

/// @title LicenseMetadata
/// @notice ERC-721 metadata as a data URI: wallets show a license without asking any server.
/// @dev Only numbers, hashes and fixed words enter, so there is nothing to escape.
library LicenseMetadata {
    function uri(uint256 licenseId, bytes32 modelId, bytes32 termsHash, LicenseWord word)
        internal
        pure
        returns (string memory)
    {
        bytes memory json = abi.encodePacked(
            '{"name":"License ',
            LibString.toString(licenseId),
            '","description":"A license for a sealed model. Whether it is valid now: check().","attributes":[',
            _attribute("plan", LibString.toString(licenseId >> 32)),
            ",",
            _attribute("model", LibString.toHexString(uint256(modelId), 32)),
            ",",
            _attribute("terms", LibString.toHexString(uint256(termsHash), 32)),
            ",",
            _attribute("status", _status(word)),
            ",",
            _end(word.notAfter()),
            "]}"
        );
        return string.concat("data:application/json;base64,", Base64.encode(json));
    }

    function _status(LicenseWord word) private pure returns (string memory) {
        LicenseStatus status = word.status();
        if (status == LicenseStatus.REVOKED) return "revoked";
        return status == LicenseStatus.SUSPENDED ? "suspended" : "active";
    }

    function _end(uint40 notAfter) private pure returns (bytes memory) {
        if (notAfter == type(uint40).max) return _attribute("not after", "perpetual");
        return
            abi.encodePacked(
                '{"trait_type":"not after","display_type":"date","value":', LibString.toString(notAfter), "}"
            );
    }

    function _attribute(string memory trait, string memory value) private pure returns (bytes memory) {
        return abi.encodePacked('{"trait_type":"', trait, '","value":"', value, '"}');
    }
}
