// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

contract EntitlementProbeTest is Base {
    bytes32 internal constant KEY = keccak256("runtime");

    bytes32 internal model;
    /// Valid, bound, revoking, revoked, suspended, expiring, not begun, without a set, sublicense, unknown.
    uint256[10] internal ids;

    function setUp() public override {
        super.setUp();
        vm.startPrank(agent);
        uint64[] memory members = new uint64[](3);
        for (uint64 i; i < 3; ++i) {
            members[i] = brokers.registerBroker(keccak256("signing"), keccak256("kem"), "https://broker.example");
        }
        uint64 set = brokers.createBrokerSet(members, 2);
        vm.stopPrank();
        model = newModel(0);
        PlanTerms memory terms = termsOf(model);
        terms.brokerSet = set;
        uint32 plan = newPlan(terms);
        terms.brokerSet = set + 1;
        uint32 setless = newPlan(terms);
        for (uint256 i; i < 5; ++i) {
            ids[i] = newLicense(plan, holder);
        }
        vm.startPrank(licensor);
        ledger.revoke(ids[2], START + 10 days, 0);
        ledger.revoke(ids[3], 0, 0);
        ledger.suspend(ids[4], 0);
        ids[5] = ledger.issue(plan, holder, 0, START + 1 hours);
        ids[6] = ledger.issue(plan, holder, START + 5 days, 0);
        ids[7] = ledger.issue(setless, holder, 0, 0);
        models.lodge(model, 1, 4, keccak256("sealing"));
        vm.stopPrank();
        vm.startPrank(holder);
        ledger.bindRuntime(ids[1], KEY, START + 2 days, 0);
        ids[8] = ledger.sublicense(ids[0], agent, 0, 1);
        vm.stopPrank();
        ids[9] = uint256(plan) << 32 | 99;
    }

    function probed(uint256 id, bytes32 modelId, bytes32 key, uint40 at) internal returns (bytes memory) {
        // What creation code returns becomes the code of a contract, where it is run as a creation.
        return createProbe(id, modelId, key, at).code;
    }

    function raw(address to, bytes memory question) internal view returns (bytes memory) {
        (bool good, bytes memory answer) = to.staticcall(question);
        return good ? answer : bytes("");
    }

    function apart(uint256 id, bytes32 modelId, bytes32 key, uint40 at) internal view returns (bytes memory answers) {
        (uint8 code,,,) = ledger.check(id, address(0), key, at);
        answers = bytes.concat(
            raw(address(ledger), abi.encodeCall(ledger.check, (id, address(0), key, at))),
            raw(address(models), abi.encodeCall(models.modelOf, (modelId))),
            raw(address(models), abi.encodeCall(models.sealingOf, (modelId)))
        );
        eq(answers.length, 11 * 32);
        if (code == 1) return answers;
        (PlanTerms memory terms,) = ledger.planOf(uint32(id >> 32));
        answers = bytes.concat(
            answers,
            raw(address(ledger), abi.encodeCall(ledger.licenseOf, (id))),
            raw(address(ledger), abi.encodeCall(ledger.seatOf, (id, key))),
            raw(address(ledger), abi.encodeCall(ledger.planOf, (uint32(id >> 32))))
        );
        eq(answers.length, 45 * 32);
        return bytes.concat(answers, raw(address(brokers), abi.encodeCall(brokers.brokerSetOf, (terms.brokerSet))));
    }

    function answersAre(uint256 id, bytes32 modelId, bytes32 key, uint40 at) internal {
        eq(keccak256(probed(id, modelId, key, at)), keccak256(apart(id, modelId, key, at)));
    }

    function test_everyKindOfLicenseIsAnsweredAsTheContractsDo() external {
        for (uint256 i; i < ids.length; ++i) {
            answersAre(ids[i], model, KEY, START);
            answersAre(ids[i], model, 0, START + 3 days);
            answersAre(ids[i], keccak256("no model"), KEY, START + 7 days);
        }
        eq(probed(ids[0], model, KEY, START).length, (45 + 4 + 3) * 32);
        eq(probed(ids[7], model, KEY, START).length, 45 * 32);
        eq(probed(ids[9], model, KEY, START).length, 11 * 32);
    }

    function testFuzz_anyQuestionIsAnsweredAsTheContractsDo(uint8 which, bytes32 modelId, bytes32 key, uint40 ahead)
        external
    {
        uint40 at = START + ahead % 40 days;
        answersAre(ids[which % 10], which % 3 == 0 ? model : modelId, which % 2 == 0 ? KEY : key, at);
    }

    function testFuzz_anyLicenseAtAll(uint256 id, bytes32 key) external {
        answersAre(id, model, key, START);
    }

    function test_aSetOfAllTheBrokersThereCanBeFits() external {
        uint64[] memory members = new uint64[](255);
        vm.startPrank(agent);
        for (uint64 i; i < 255; ++i) {
            members[i] = brokers.registerBroker(keccak256("signing"), keccak256("kem"), "");
        }
        PlanTerms memory terms = termsOf(model);
        terms.brokerSet = brokers.createBrokerSet(members, 200);
        vm.stopPrank();
        uint256 id = newLicense(newPlan(terms), holder);
        answersAre(id, model, KEY, START);
        eq(probed(id, model, KEY, START).length, (45 + 3 + 1 + 255) * 32);
    }

    function test_thePastIsRefusedAsCheckDoes() external {
        try this.createProbe(ids[0], model, KEY, START - 1) {
            revert("answered");
        } catch (bytes memory why) {
            eq(
                keccak256(why),
                keccak256(abi.encodeWithSelector(ILicenseRecords.CheckInPast.selector, START - 1, START))
            );
        }
    }

    function createProbe(uint256 id, bytes32 modelId, bytes32 key, uint40 at) public returns (address made) {
        bytes memory code = bytes.concat(
            codeOf("EntitlementProbe"),
            abi.encode(address(ledger), address(models), address(brokers), id, modelId, key, at)
        );
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
            if iszero(made) {
                returndatacopy(0, 0, returndatasize())
                revert(0, returndatasize())
            }
        }
    }
}
