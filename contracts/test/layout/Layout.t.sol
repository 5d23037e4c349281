// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {LicenseStatus, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";

/// @notice docs/spec/storage-layout.md, row by row. Evidence bundles rest on it: a failure here is a broken wire format.
contract LayoutTest is Base {
    function map(bytes32 slot, bytes32 key) internal pure returns (bytes32) {
        return keccak256(abi.encode(key, slot));
    }

    function map(uint256 slot, uint256 key) internal pure returns (bytes32) {
        return map(bytes32(slot), bytes32(key));
    }

    function at(address where, bytes32 slot) internal view returns (uint256) {
        return uint256(vm.load(where, slot));
    }

    function plus(bytes32 slot, uint256 words) internal pure returns (bytes32) {
        return bytes32(uint256(slot) + words);
    }

    function licenseSlot(uint256 id) internal pure returns (bytes32) {
        bytes memory preimage = abi.encodePacked(bytes28(bytes32(id)), hex"7d882553");
        return bytes32(2 * id + uint256(keccak256(preimage)));
    }

    function test_theExampleOfThePage() external pure {
        eq(
            licenseSlot(uint256(7) << 32 | 42),
            bytes32(0x60829001b87d36c0be722f9a387735330ec4301b1f294f78f0c79e6b0b3601c8)
        );
    }

    function test_modelRegistry() external {
        address where = address(models);
        bytes32 id = newModel(1);
        vm.startPrank(licensor);
        uint256 title = uint256(uint160(licensor)) | uint256(START) << 160 | uint256(START) << 200 | uint256(1) << 240;
        eq(at(where, map(0, uint256(id))), title);
        models.setStatus(id, ModelStatus.COMPROMISED);
        eq(at(where, map(0, uint256(id))) >> 240, 3);

        models.lodge(id, 1, 5, keccak256("record"));
        eq(at(where, map(2, uint256(id))), 5);
        eq(bytes32(at(where, map(map(3, uint256(id)), bytes32(uint256(5))))), keccak256("record"));

        models.setGuardian(id, agent, 8 days);
        eq(at(where, map(4, uint256(id))), uint256(uint160(agent)) | uint256(8 days) << 160);
        vm.stopPrank();
        vm.prank(agent);
        models.startRecovery(id, buyer);
        eq(at(where, map(5, uint256(id))), uint256(uint160(buyer)) | uint256(START + 8 days) << 160);
        vm.warp(START + 8 days);
        vm.prank(agent);
        models.finishRecovery(id);
        vm.prank(buyer);
        models.proposeTransfer(id, holder);
        eq(at(where, map(1, uint256(id))), uint256(uint160(holder)) | uint256(1) << 160);
    }

    function test_licenseWord() external {
        PlanTerms memory terms = termsOf(newModel(1));
        terms.transferable = false;
        terms.quota = 9;
        uint32 plan = newPlan(terms);
        newLicense(plan, stranger);
        uint256 id = newLicense(plan, holder);
        vm.prank(holder);
        ledger.bindRuntime(id, keccak256("key"), START + 5 days, bytes20(keccak256("tee")));
        vm.startPrank(licensor);
        ledger.suspend(id, 0);
        ledger.revoke(id, START + 10 days, 0);
        vm.stopPrank();
        uint256 flags = 1 | 4 | 8 | 16 | 64;
        uint256 word = uint256(START + 10 days) << 216 | uint256(terms.grace) << 192 | uint256(1) << 176
            | uint256(uint8(LicenseStatus.REVOKED)) << 168 | flags << 160 | uint160(holder);
        eq(at(address(ledger), licenseSlot(id)), word);

        uint256 seat =
            uint256(START) | uint256(START + 5 days) << 40 | uint256(uint160(bytes20(keccak256("tee")))) << 80;
        eq(at(address(ledger), map(map(4, id), keccak256("key"))), seat);
        eq(at(address(ledger), map(3, id)), uint256(START) << 40);
    }

    function test_floatingAndExtension() external {
        PlanTerms memory terms = termsOf(newModel(1));
        terms.floating = true;
        uint32 plan = newPlan(terms);
        vm.prank(licensor);
        uint256 id = ledger.issue(plan, holder, START + 1 days, 0);
        vm.prank(holder);
        ledger.cancelGrants(id);
        eq(at(address(ledger), licenseSlot(id)) >> 160 & 0xff, 1 | 32);
        eq(at(address(ledger), map(3, id)), uint256(START + 1 days) | uint256(1) << 80);
        vm.prank(holder);
        token.approve(agent, id);
        eq(at(address(ledger), plus(licenseSlot(id), 1)), uint160(agent));
    }

    function test_aTransferWritesTheExtensionAndItsFlag() external {
        uint256 id = newLicense();
        eq(at(address(ledger), licenseSlot(id)) >> 160 & 0xff, 0);
        eq(at(address(ledger), map(3, id)), 0);
        uint256 word = at(address(ledger), licenseSlot(id)) >> 160 << 160;
        vm.prank(holder);
        token.transferFrom(holder, buyer, id);
        eq(at(address(ledger), licenseSlot(id)), word | 1 << 160 | uint160(buyer));
        eq(at(address(ledger), map(3, id)), uint256(1) << 80);
    }

    function test_plan() external {
        address where = address(ledger);
        PlanTerms memory terms = termsOf(newModel(1));
        (terms.supply, terms.refundWindow, terms.quota) = (99, 77, 55);
        terms.payToken = address(0xCAFE);
        uint32 plan = newPlan(terms);
        newLicense(plan, holder);
        grantRole(plan, agent, 9);
        vm.prank(licensor);
        ledger.setPaused(plan, true);
        bytes32 slot = map(1, plan);
        uint256 who = uint160(licensor);
        eq(at(where, bytes32(0)), plan);
        eq(
            at(where, slot),
            who | uint256(1) << 160 | uint256(30) << 208 | uint256(terms.grace) << 224 | uint256(1 | 2 | 16 | 32) << 248
        );
        eq(at(where, plus(slot, 1)), who | uint256(terms.seats) << 176 | uint256(terms.minNotice) << 192);
        eq(
            at(where, plus(slot, 2)),
            uint256(terms.duration) | uint256(terms.supply) << 40 | uint256(terms.leaseTtl) << 72
                | uint256(terms.maxOffline) << 104 | uint256(terms.refundWindow) << 136 | uint256(terms.reissueDelay)
                << 168
        );
        eq(at(where, plus(slot, 3)), uint256(55) | uint256(terms.features) << 64 | uint256(terms.brokerSet) << 128);
        eq(at(where, plus(slot, 4)), uint256(0xCAFE) | uint256(terms.price) << 160);
        eq(bytes32(at(where, plus(slot, 5))), terms.modelId);
        eq(bytes32(at(where, plus(slot, 6))), terms.termsHash);
        eq(bytes32(at(where, plus(slot, 7))), keccak256(abi.encode(keccak256("modeldeed/plan/1"), licensor, terms)));
        eq(at(where, map(2, uint256(plan) << 192 | uint160(agent))), 9);
    }

    function testFuzz_durationsThatAreNoWholeDaysAreMarked(uint40 duration) external {
        PlanTerms memory terms = termsOf(newModel(1));
        terms.duration = duration;
        uint256 inDays = duration % 1 days == 0 && duration / 1 days < 65535 ? duration / 1 days : 65535;
        eq(at(address(ledger), map(1, newPlan(terms))) >> 208 & 0xffff, inDays);
    }

    function test_epochOfAPlanAfterASync() external {
        PlanTerms memory terms = termsOf(newModel(1));
        uint32 plan = newPlan(terms);
        vm.prank(licensor);
        models.proposeTransfer(terms.modelId, buyer);
        vm.prank(buyer);
        models.acceptTransfer(terms.modelId);
        ledger.syncLicensor(plan);
        vm.prank(buyer);
        ledger.setRoles(plan, agent, 3);
        bytes32 slot = map(1, plan);
        uint256 head = uint256(uint160(buyer)) | uint256(1) << 192;
        eq(at(address(ledger), slot) & (1 << 208) - 1, head);
        eq(at(address(ledger), plus(slot, 1)) & (1 << 176) - 1, uint256(uint160(buyer)) | uint256(1) << 160);
        eq(at(address(ledger), map(2, uint256(plan) << 192 | uint256(1) << 160 | uint160(agent))), 3);
    }

    function test_anchors() external {
        address where = address(anchors);
        bytes32 root = keccak256("root");
        anchors.anchor(root);
        eq(at(where, map(0, uint256(root))), uint256(START) | uint256(1000) << 40);
        vm.prank(stranger);
        anchors.commitPhaseA(root);
        vm.prank(licensor);
        anchors.commitPhaseA(root);
        eq(at(where, map(1, uint256(root))), uint256(uint160(stranger)) | uint256(START) << 160 | uint256(1) << 200);
        eq(at(where, map(2, uint160(licensor))), 1);
        eq(
            at(where, map(map(3, uint160(licensor)), root)),
            uint256(uint160(licensor)) | uint256(START) << 160 | uint256(1) << 200
        );
    }

    function test_brokerRegistry() external {
        address where = address(brokers);
        vm.startPrank(agent);
        brokers.registerBroker(keccak256("s"), keccak256("k"), "u");
        brokers.anchorReceipts(1, 1, 0, keccak256("r"), 1);
        brokers.proposeOperator(1, buyer);
        uint64[] memory ids = new uint64[](1);
        ids[0] = 1;
        brokers.createBrokerSet(ids, 1);
        vm.stopPrank();
        eq(at(where, bytes32(0)), 1 | uint256(1) << 64);
        bytes32 slot = map(1, 1);
        eq(at(where, slot), uint256(uint160(agent)) | uint256(1) << 160 | uint256(1) << 192);
        eq(bytes32(at(where, plus(slot, 1))), keccak256("s"));
        eq(bytes32(at(where, plus(slot, 2))), keccak256("k"));
        eq(bytes32(at(where, plus(slot, 3))), keccak256("u"));
        eq(bytes32(at(where, plus(slot, 4))), keccak256("r"));
        eq(at(where, plus(slot, 5)), uint160(buyer));
        slot = map(2, 1);
        eq(at(where, slot), uint256(uint160(agent)) | uint256(1) << 160);
        eq(at(where, plus(slot, 1)), 1);
        eq(at(where, keccak256(abi.encode(plus(slot, 1)))), 1);
    }
}
