// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Base64} from "solady/utils/Base64.sol";
import {LibString} from "solady/utils/LibString.sol";

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {ILicenseRenderer} from "../../src/interfaces/ILicenseRenderer.sol";
import {PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {LicenseWord} from "../../src/types/LicenseWord.sol";
import {Base} from "../Base.sol";

contract RendererTest is Base {
    string internal constant JSON = "data:application/json;base64,";
    string internal constant SVG = "data:image/svg+xml;base64,";

    /// A license's word without holder and seats.
    uint256 internal constant BARE = ~uint256(type(uint160).max) & ~(uint256(type(uint16).max) << 176);

    uint32 internal plan;
    uint256 internal id;
    PlanTerms internal terms;

    function setUp() public override {
        super.setUp();
        terms = termsOf(newModel(0));
        terms.minNotice = 0;
        plan = newPlan(terms);
        id = newLicense(plan, holder);
    }

    // ---------------------------------------------------------------- reading

    /// What stands behind a prefix, decoded. Encoded again it is the same: no letter is outside the alphabet.
    function behind(string memory prefix, string memory uri) internal pure returns (string memory) {
        require(LibString.startsWith(uri, prefix), "another prefix");
        string memory rest = LibString.slice(uri, bytes(prefix).length);
        bytes memory decoded = Base64.decode(rest);
        eq(Base64.encode(decoded), rest);
        return string(decoded);
    }

    function jsonOf(uint256 license) internal view returns (string memory) {
        return behind(JSON, token.tokenURI(license));
    }

    function text(string memory json, string memory key) internal pure returns (string memory) {
        return vm.parseJsonString(json, key);
    }

    function attribute(string memory json, uint256 at, string memory name) internal pure returns (string memory key) {
        key = string.concat(".attributes[", vm.toString(at), "]");
        eq(text(json, string.concat(key, ".trait_type")), name);
        return string.concat(key, ".value");
    }

    function statusIn(string memory json) internal pure returns (string memory) {
        return text(json, attribute(json, 3, "status"));
    }

    function has(string memory where, string memory what) internal pure {
        require(LibString.contains(where, what), string.concat(what, " is missing"));
    }

    function hasNot(string memory json, string memory key) internal view {
        isFalse(vm.keyExistsJson(json, key));
    }

    function hasNoHolder(string memory where, address who) internal pure {
        isFalse(LibString.contains(where, cut(hexOf(abi.encodePacked(who)), 18)));
        isFalse(LibString.contains(where, "held by"));
    }

    function hexOf(bytes memory value) internal pure returns (string memory) {
        bytes memory digits = "0123456789abcdef";
        bytes memory out = new bytes(2 + 2 * value.length);
        (out[0], out[1]) = ("0", "x");
        for (uint256 i; i < value.length; ++i) {
            (out[2 + 2 * i], out[3 + 2 * i]) = (digits[uint8(value[i]) >> 4], digits[uint8(value[i]) & 15]);
        }
        return string(out);
    }

    function cut(string memory value, uint256 length) internal pure returns (string memory) {
        bytes memory out = new bytes(length);
        for (uint256 i; i < length; ++i) {
            out[i] = bytes(value)[i];
        }
        return string(out);
    }

    // ---------------------------------------------------------------- the JSON

    function test_everyFieldOfTheJson() external {
        vm.prank(holder);
        ledger.bindRuntime(id, keccak256("key"), 0, 0);
        string memory json = jsonOf(id);
        eq(text(json, ".name"), string.concat("License ", vm.toString(id)));
        eq(text(json, ".description"), "A license for a sealed model. Whether it is valid now: check().");
        eq(text(json, attribute(json, 0, "plan")), vm.toString(plan));
        eq(text(json, attribute(json, 1, "model")), hexOf(abi.encode(terms.modelId)));
        eq(text(json, attribute(json, 2, "terms")), hexOf(abi.encode(terms.termsHash)));
        eq(text(json, attribute(json, 3, "status")), "active");
        eq(vm.parseJsonUint(json, attribute(json, 4, "not after")), START + 30 days);
        eq(text(json, ".attributes[4].display_type"), "date");
        eq(text(json, attribute(json, 5, "kind")), "license");
        hasNot(json, ".attributes[6]"); // seats come and go without a sign to wallets
    }

    function test_aPerpetualLicenseSaysSo() external {
        terms.duration = 0;
        string memory json = jsonOf(newLicense(newPlan(terms), holder));
        eq(text(json, attribute(json, 4, "not after")), "perpetual");
    }

    function test_theImageIsASvg() external view {
        string memory svg = behind(SVG, text(jsonOf(id), ".image"));
        has(svg, '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 350 200"');
        has(svg, string.concat(">", vm.toString(id), "<"));
        has(svg, string.concat("model ", cut(hexOf(abi.encode(terms.modelId)), 18), "..."));
        has(svg, string.concat("plan ", vm.toString(plan)));
        hasNoHolder(svg, holder);
        has(svg, ">active<");
        isTrue(LibString.endsWith(svg, "</svg>"));
    }

    // ---------------------------------------------------------------- the status

    function shows(string memory status, string memory colour) internal view {
        string memory json = jsonOf(id);
        eq(statusIn(json), status);
        string memory svg = behind(SVG, text(json, ".image"));
        has(svg, string.concat(">", status, "</text>"));
        has(svg, string.concat('fill="', colour, '"'));
    }

    function test_activeSuspendedRevoked() external {
        shows("active", "#1b6e3c");
        vm.prank(licensor);
        ledger.suspend(id, 0);
        shows("suspended", "#b26a00");
        vm.prank(licensor);
        ledger.reinstate(id, 0);
        shows("active", "#1b6e3c");
        vm.prank(licensor);
        ledger.revoke(id, START + 5 days, 0);
        shows("revoked", "#b3261e");
        vm.warp(START + 5 days);
        shows("revoked", "#b3261e");
    }

    function test_underNoticeAndSuspendedItIsRevoked() external {
        vm.startPrank(licensor);
        ledger.revoke(id, START + 5 days, 0);
        ledger.suspend(id, 0);
        vm.stopPrank();
        shows("revoked", "#b3261e");
    }

    function test_anExpiredLicenseAndOneAheadAreDrawnActive() external {
        vm.warp(START + 30 days);
        shows("active", "#1b6e3c");
        vm.prank(licensor);
        id = ledger.issue(plan, holder, START + 40 days, 0);
        shows("active", "#1b6e3c");
    }

    /// A transfer is told by no event of ERC-4906, so no picture speaks of the holder, nor of the seats.
    function test_aTransferAndASeatChangeNothing() external {
        string memory before = token.tokenURI(id);
        vm.prank(holder);
        token.transferFrom(holder, buyer, id);
        eq(token.tokenURI(id), before);
        vm.prank(buyer);
        ledger.bindRuntime(id, keccak256("key"), 0, 0);
        eq(token.tokenURI(id), before);
    }

    /// No event of its own tells when a license above it ends.
    function test_aSublicenseShowsItsOwnEndAndThatItIsOne() external {
        vm.prank(holder);
        uint256 below = ledger.sublicense(id, buyer, START + 20 days, 1);
        has(jsonOf(below), string.concat('"value":', vm.toString(uint256(START + 20 days))));
        vm.prank(licensor);
        ledger.revoke(id, START + 5 days, 0);
        has(jsonOf(below), string.concat('"value":', vm.toString(uint256(START + 20 days))));
        has(jsonOf(below), '{"trait_type":"kind","value":"sublicense"}');
        has(jsonOf(id), '{"trait_type":"kind","value":"license"}');
        eq(statusIn(jsonOf(below)), "active");
    }

    function test_whatDoesNotExistHasNoUri() external {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id + 1));
        token.tokenURI(id + 1);
    }

    // ---------------------------------------------------------------- any word

    /// Whatever stands in the word, the renderer makes JSON of it that reads back.
    function testFuzz_anyLicenseIsDrawn(
        uint64 license,
        bytes32 model,
        bytes32 hash,
        address owner,
        uint40 end,
        uint16 seats
    ) external view {
        uint256 word = uint256(end) << 216 | uint256(seats) << 176 | uint256(1) << 168 | uint160(owner);
        string memory uri = ILicenseRenderer(ledger.renderer()).render(license, model, hash, LicenseWord.wrap(word));
        string memory json = behind(JSON, uri);
        eq(text(json, ".name"), string.concat("License ", vm.toString(license)));
        eq(text(json, attribute(json, 0, "plan")), vm.toString(license >> 32));
        eq(text(json, attribute(json, 1, "model")), hexOf(abi.encode(model)));
        eq(text(json, attribute(json, 2, "terms")), hexOf(abi.encode(hash)));
        if (end != PERPETUAL) eq(vm.parseJsonUint(json, attribute(json, 4, "not after")), end);
        else eq(text(json, attribute(json, 4, "not after")), "perpetual");
        hasNot(json, ".attributes[6]");
        has(behind(SVG, text(json, ".image")), string.concat(">plan ", vm.toString(license >> 32), "<"));
        // Neither holder nor seats enter: without them it is the same.
        eq(ILicenseRenderer(ledger.renderer()).render(license, model, hash, LicenseWord.wrap(word & BARE)), uri);
    }

    function testFuzz_theStatusFollowsTheWord(uint8 status, uint8 flags) external view {
        status = 1 + status % 3;
        uint256 word = uint256(status) << 168 | uint256(flags) << 160 | uint160(holder);
        string memory uri = ILicenseRenderer(ledger.renderer()).render(id, 0, 0, LicenseWord.wrap(word));
        string memory want = status == 3 ? "revoked" : flags & 64 != 0 ? "suspended" : "active";
        eq(statusIn(behind(JSON, uri)), want);
    }

    // ---------------------------------------------------------------- interfaces

    function testFuzz_theInterfacesItHasAndNoOthers(bytes4 other) external view {
        bytes4[7] memory known =
            [bytes4(0x01ffc9a7), 0x80ac58cd, 0x5b5e139f, 0x2a55205a, 0x49064906, 0xb45a3c0e, 0x84b0196e];
        bool isKnown;
        for (uint256 i; i < known.length; ++i) {
            isTrue(token.supportsInterface(known[i]));
            isKnown = isKnown || known[i] == other;
        }
        isTrue(token.supportsInterface(other) == isKnown);
        isFalse(token.supportsInterface(0xffffffff));
    }
}
