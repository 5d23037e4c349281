// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Vm} from "./Vm.sol";
import {IAnchors, InclusionProof} from "../src/interfaces/IAnchors.sol";
import {IBrokerRegistry} from "../src/interfaces/IBrokerRegistry.sol";
import {ILicenseLedger} from "../src/interfaces/ILicenseLedger.sol";
import {LicenseStatus, PlanTerms} from "../src/interfaces/LicenseTypes.sol";
import {Claim, IModelRegistry} from "../src/interfaces/IModelRegistry.sol";

/// @notice What an ERC-721 wallet calls on the ledger.
interface IToken {
    function ownerOf(uint256 id) external view returns (address);
    function balanceOf(address owner) external view returns (uint256);
    function transferFrom(address from, address to, uint256 id) external payable;
    function safeTransferFrom(address from, address to, uint256 id) external payable;
    function approve(address account, uint256 id) external payable;
    function setApprovalForAll(address operator, bool approved) external;
    function getApproved(uint256 id) external view returns (address);
    function tokenURI(uint256 id) external view returns (string memory);
    function name() external view returns (string memory);
    function symbol() external view returns (string memory);
    function supportsInterface(bytes4 id) external view returns (bool);
    function eip712Domain()
        external
        view
        returns (bytes1, string memory, string memory, uint256, address, bytes32, uint256[] memory);
}

/// @notice A deployed stack, named accounts and the shortest way to a model, a plan and a license.
/// @dev The contracts come from forge's own build by name, so tests compile in seconds (no via-IR) and still run the code of
/// src/ exactly as it ships.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint40 internal constant PERPETUAL = type(uint40).max;
    uint40 internal constant START = 1_800_000_000;
    bytes32 internal constant SALT = keccak256("test");
    uint256 internal constant LICENSOR_KEY = 0xA11CE;

    uint8 internal constant ISSUER = 1;
    uint8 internal constant REVOKER = 2;
    uint8 internal constant METER = 4;
    uint8 internal constant GUARDIAN = 8;

    IAnchors internal anchors;
    IModelRegistry internal models;
    ILicenseLedger internal ledger;
    IBrokerRegistry internal brokers;
    IToken internal token;

    address internal licensor = vm.addr(LICENSOR_KEY);
    address internal holder = address(0x10001);
    address internal agent = address(0x10002);
    address internal stranger = address(0x10003);
    address internal buyer = address(0x10004);

    function setUp() public virtual {
        vm.warp(START);
        vm.roll(1000);
        anchors = IAnchors(deploy("Anchors", ""));
        (models, ledger) = deployLicensing(address(anchors));
        brokers = IBrokerRegistry(deploy("BrokerRegistry", ""));
        token = IToken(address(ledger));
    }

    /// @dev Registry and ledger know each other: the registry computes where its ledger will be.
    function deployLicensing(address anchors_) internal returns (IModelRegistry models_, ILicenseLedger ledger_) {
        address renderer = deploy("LicenseRenderer", "");
        address extension = deploy("LicenseExtension", "");
        bytes memory ledgerCode = codeOf("LicenseLedger");
        models_ = IModelRegistry(
            deploy("ModelRegistry", abi.encode(anchors_, address(this), SALT, ledgerCode, renderer, extension))
        );
        ledger_ = ILicenseLedger(deploy("LicenseLedger", abi.encode(models_, renderer, extension)));
    }

    function deploy(string memory name, bytes memory arguments) internal returns (address at) {
        bytes memory code = abi.encodePacked(codeOf(name), arguments);
        bytes32 salt = SALT;
        assembly {
            at := create2(0, add(code, 32), mload(code), salt)
        }
        require(at != address(0), "deployment failed");
    }

    function codeOf(string memory name) internal view returns (bytes memory) {
        return vm.getCode(string.concat(name, ".sol:", name));
    }

    // ---------------------------------------------------------------- shortest ways

    function claimOf(address owner, uint256 seed) internal pure returns (Claim memory claim) {
        claim.licensor = owner;
        claim.artifactRoot = keccak256(abi.encode("artifact", seed));
        claim.fingerprintDigest = keccak256(abi.encode("fingerprint", seed));
        claim.watermarkCommitment = keccak256(abi.encode("watermark", seed));
        claim.manifestHash = keccak256(abi.encode("manifest", seed));
        claim.salt = keccak256(abi.encode("salt", seed));
    }

    function noProof() internal pure returns (InclusionProof memory proof) {}

    function commitmentOf(bytes32 modelId) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes1(0), "modeldeed/commit/1", modelId));
    }

    function newModel(uint256 seed) internal returns (bytes32) {
        vm.prank(licensor);
        return models.register(claimOf(licensor, seed), noProof());
    }

    function termsOf(bytes32 modelId) internal pure returns (PlanTerms memory terms) {
        terms.modelId = modelId;
        terms.termsHash = keccak256("terms");
        terms.duration = 30 days;
        terms.grace = 1 days;
        terms.leaseTtl = 1 hours;
        terms.maxOffline = 2 days;
        terms.minNotice = 7 days;
        terms.reissueDelay = 3 days;
        terms.seats = 2;
        terms.features = 5;
        terms.brokerSet = 1;
        terms.price = 1 ether;
        terms.transferable = true;
    }

    function newPlan(PlanTerms memory terms) internal returns (uint32) {
        vm.prank(licensor);
        return ledger.createPlan(terms);
    }

    function newPlan() internal returns (uint32) {
        return newPlan(termsOf(newModel(0)));
    }

    function newLicense(uint32 planId, address to) internal returns (uint256) {
        vm.prank(licensor);
        return ledger.issue(planId, to, 0, 0);
    }

    function newLicense() internal returns (uint256) {
        return newLicense(newPlan(), holder);
    }

    function grantRole(uint32 planId, address account, uint8 roles) internal {
        vm.prank(licensor);
        ledger.setRoles(planId, account, roles);
    }

    function codeOf(uint256 id) internal view returns (uint8 code) {
        (code,,,) = ledger.check(id, address(0), 0, uint40(block.timestamp));
    }

    function codeAt(uint256 id, uint40 at) internal view returns (uint8 code) {
        (code,,,) = ledger.check(id, address(0), 0, at);
    }

    function endOf(uint256 id) internal view returns (uint40 notAfter) {
        (,, notAfter,,,,) = ledger.licenseOf(id);
    }

    function statusOf(uint256 id) internal view returns (LicenseStatus status) {
        (,,, status,,,) = ledger.licenseOf(id);
    }

    function seatsOf(uint256 id) internal view returns (uint16 seats) {
        (,,,, seats,,) = ledger.licenseOf(id);
    }

    // ---------------------------------------------------------------- assertions

    function eq(uint256 got, uint256 want) internal pure {
        require(got == want, string.concat("got ", vm.toString(got), ", want ", vm.toString(want)));
    }

    function eq(bytes32 got, bytes32 want) internal pure {
        require(got == want, "words differ");
    }

    function eq(address got, address want) internal pure {
        require(got == want, "addresses differ");
    }

    function eq(string memory got, string memory want) internal pure {
        require(keccak256(bytes(got)) == keccak256(bytes(want)), string.concat("got ", got, ", want ", want));
    }

    function isTrue(bool value) internal pure {
        require(value, "want true");
    }

    function isFalse(bool value) internal pure {
        require(!value, "want false");
    }
}
