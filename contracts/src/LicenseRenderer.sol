// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Base64} from "solady/utils/Base64.sol";
import {LibString} from "solady/utils/LibString.sol";

import {ILicenseRenderer} from "./interfaces/ILicenseRenderer.sol";
import {LicenseWord, LicenseWordLib} from "./types/LicenseWord.sol";

/// @title LicenseRenderer
/// @notice Implements {ILicenseRenderer}. A contract of its own, because a contract may have 24,576 bytes.
/// @dev Only numbers, hashes and fixed words enter, so there is nothing to escape; and only what changes with an event of ERC-4906,
/// so that no wallet shows what is over. The end of a sublicense is thus its own, whatever ends above it.
contract LicenseRenderer is ILicenseRenderer {
    /// @inheritdoc ILicenseRenderer
    function render(uint256 licenseId, bytes32 modelId, bytes32 termsHash, LicenseWord word)
        external
        pure
        returns (string memory uri)
    {
        string memory id = LibString.toString(licenseId);
        string memory plan = LibString.toString(licenseId >> 32);
        (string memory status, string memory colour) = _status(word);
        string memory model = LibString.toHexString(uint256(modelId), 32);
        string memory json = string.concat(
            '{"name":"License ',
            id,
            '","description":"A license for a sealed model. Whether it is valid now: check().","image":"',
            _image(id, plan, model, status, colour),
            '","attributes":[',
            _attribute("plan", plan),
            ",",
            _attribute("model", model),
            ",",
            _attribute("terms", LibString.toHexString(uint256(termsHash), 32)),
            ",",
            _attribute("status", status),
            ",",
            word.notAfter() == type(uint40).max
                ? _attribute("not after", "perpetual")
                : _date("not after", word.notAfter()),
            ",",
            _attribute("kind", word.has(LicenseWordLib.HAS_PARENT) ? "sublicense" : "license"),
            "]}"
        );
        return string.concat("data:application/json;base64,", Base64.encode(bytes(json)));
    }

    /// @dev The status when the picture was drawn: a stripe of its colour, and the word, for those who do not see colours.
    function _image(
        string memory id,
        string memory plan,
        string memory model,
        string memory status,
        string memory colour
    ) private pure returns (string memory) {
        string memory svg = string.concat(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 350 200" font-family="monospace" font-size="13">',
            '<rect width="350" height="200" fill="#f7f7f4"/><rect width="10" height="200" fill="',
            colour,
            '"/>',
            _line("40", "modeldeed license"),
            _line("66", id),
            _line("106", string.concat("model ", LibString.slice(model, 0, 18), "...")),
            _line("128", string.concat("plan ", plan)),
            _line("168", status),
            "</svg>"
        );
        return string.concat("data:image/svg+xml;base64,", Base64.encode(bytes(svg)));
    }

    function _line(string memory y, string memory text) private pure returns (string memory) {
        return string.concat('<text x="30" y="', y, '" fill="#222">', text, "</text>");
    }

    function _status(LicenseWord word) private pure returns (string memory status, string memory colour) {
        if (word.isRevoked()) return ("revoked", "#b3261e");
        if (word.has(LicenseWordLib.HELD)) return ("suspended", "#b26a00");
        return ("active", "#1b6e3c");
    }

    function _date(string memory trait, uint256 value) private pure returns (string memory) {
        return
            string.concat('{"trait_type":"', trait, '","display_type":"date","value":', LibString.toString(value), "}");
    }

    function _attribute(string memory trait, string memory value) private pure returns (string memory) {
        return string.concat('{"trait_type":"', trait, '","value":"', value, '"}');
    }
}
