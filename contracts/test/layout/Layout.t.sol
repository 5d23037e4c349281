// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {BatchLeaf, LicenseStatus, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Claim, ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Base} from "../Base.sol";
import {Tree} from "../Tree.sol";

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

    // ---------------------------------------------------------------- the ledger's later words

    function test_theScopeWordKeepsTheResaleRoyalty() external {
        PlanTerms memory terms = termsOf(newModel(1));
        (terms.quota, terms.features, terms.brokerSet) = (type(uint64).max, type(uint64).max, type(uint64).max);
        uint32 plan = newPlan(terms);
        bytes32 slot = plus(map(1, plan), 3);
        uint256 scope = type(uint256).max >> 64;
        eq(at(address(ledger), slot), scope);
        vm.startPrank(licensor);
        ledger.setResaleRoyalty(plan, 1_000);
        eq(at(address(ledger), slot), scope | uint256(1_000) << 192);
        ledger.setResaleRoyalty(plan, 7);
        eq(at(address(ledger), slot), scope | uint256(7) << 192);
        vm.stopPrank();
    }

    function test_timesAtTheirLargest() external {
        PlanTerms memory terms = termsOf(newModel(1));
        (terms.duration, terms.supply, terms.leaseTtl) = (type(uint40).max, type(uint32).max, type(uint32).max - 1 days);
        (terms.maxOffline, terms.refundWindow, terms.reissueDelay) =
        (type(uint32).max, type(uint32).max, type(uint32).max);
        uint32 plan = newPlan(terms);
        uint256 word = at(address(ledger), plus(map(1, plan), 2));
        eq(word, (1 << 200) - 1 - (uint256(1 days) << 72));
        eq(at(address(ledger), map(1, plan)) >> 208 & 0xffff, 65535);
    }

    function test_touchedPlansAreMarked() external {
        PlanTerms memory terms = termsOf(newModel(1));
        uint32 plan = newPlan(terms);
        newPlan(termsOf(newModel(2)));
        uint32 second = newPlan(terms);
        eq(at(address(ledger), map(1, plan)) >> 248, 16);
        vm.prank(licensor);
        models.setStatus(terms.modelId, ModelStatus.WITHDRAWN);
        eq(at(address(ledger), map(1, plan)) >> 248, 16 | 64);
        eq(at(address(ledger), map(1, second)) >> 248, 16 | 64);
        eq(at(address(ledger), map(1, 2)) >> 248, 16);
        vm.prank(licensor);
        models.setStatus(terms.modelId, ModelStatus.ACTIVE);
        ledger.syncLicensor(plan);
        eq(at(address(ledger), map(1, plan)) >> 248, 16);
    }

    function test_warnOnlyAndPaused() external {
        PlanTerms memory terms = termsOf(newModel(1));
        (terms.warnOnly, terms.floating, terms.transferable) = (true, true, false);
        uint32 plan = newPlan(terms);
        vm.prank(licensor);
        ledger.setPaused(plan, true);
        eq(at(address(ledger), map(1, plan)) >> 248, 1 | 4 | 8);
    }

    function test_plansOfAModel() external {
        bytes32 model = newModel(1);
        newPlan(termsOf(newModel(2)));
        for (uint256 i; i < 9; ++i) {
            newPlan(termsOf(model)); // plans 2 to 10
        }
        bytes32 slot = map(11, uint256(model));
        eq(at(address(ledger), slot), 9);
        uint256 first;
        for (uint256 i; i < 8; ++i) {
            first |= (2 + i) << 32 * i; // eight a word, low bits first
        }
        eq(at(address(ledger), keccak256(abi.encode(slot))), first);
        eq(at(address(ledger), plus(keccak256(abi.encode(slot)), 1)), 10);
        eq(at(address(ledger), bytes32(0)), 10);
    }

    function test_extensionOfASublicense() external {
        PlanTerms memory terms = termsOf(newModel(1));
        terms.seats = 9;
        uint256 id = newLicense(newPlan(terms), holder);
        vm.prank(holder);
        uint256 child = ledger.sublicense(id, buyer, START + 5 days, 7);
        vm.prank(buyer);
        uint256 leaf = ledger.sublicense(child, agent, 0, 3);
        eq(at(address(ledger), map(3, id)), 0);
        eq(at(address(ledger), map(3, child)), id << 144 | uint256(7) << 208 | uint256(1) << 224);
        eq(at(address(ledger), map(3, leaf)), child << 144 | uint256(3) << 208 | uint256(2) << 224);
        uint256 word = uint256(START + 5 days) << 216 | uint256(terms.grace) << 192 | uint256(1) << 168;
        eq(at(address(ledger), licenseSlot(leaf)), word | uint256(1 | 2) << 160 | uint160(agent));
        eq(
            at(address(ledger), licenseSlot(child)),
            word | uint256(3) << 176 | uint256(1 | 2 | 8) << 160 | uint160(buyer)
        );
        eq(at(address(ledger), licenseSlot(id)) >> 160 & 0xff, 8);
        eq(at(address(ledger), licenseSlot(id)) >> 176 & 0xffff, 7);
        vm.prank(agent);
        ledger.surrender(leaf);
        vm.warp(START + 1 hours + 1 days);
        vm.prank(buyer);
        ledger.reclaimSeats(leaf);
        eq(at(address(ledger), map(3, leaf)), child << 144 | uint256(2) << 224);
    }

    function test_everyFieldOfTheExtension() external {
        PlanTerms memory terms = termsOf(newModel(1));
        uint256 parent = newLicense(newPlan(terms), holder);
        vm.prank(holder);
        uint256 id = ledger.sublicense(parent, buyer, 0, 2);
        vm.prank(buyer);
        ledger.cancelGrants(id);
        vm.prank(licensor);
        ledger.suspend(id, 0);
        eq(
            at(address(ledger), map(3, id)),
            uint256(START) << 40 | uint256(1) << 80 | parent << 144 | uint256(2) << 208 | uint256(1) << 224
        );
    }

    function test_batchAndItsBits() external {
        address where = address(ledger);
        PlanTerms memory terms = termsOf(newModel(1));
        terms.minNotice = 0;
        uint32 plan = newPlan(terms);
        newLicense(plan, holder);
        grantRole(plan, agent, ISSUER);
        bytes32[] memory hashes = new bytes32[](300);
        BatchLeaf memory leaf;
        (leaf.index, leaf.to) = (257, buyer);
        for (uint256 i; i < 300; ++i) {
            hashes[i] = keccak256(abi.encode(i));
        }
        hashes[257] = ledger.batchLeafHash(plan, leaf);
        bytes32 root = Tree.root(hashes, 0, 300);
        vm.prank(agent);
        ledger.anchorBatch(plan, root, 300, 0);
        bytes32 slot = map(map(5, plan), root);
        eq(at(where, slot), uint256(300) | uint256(2) << 32 | uint256(START) << 64 | uint256(1) << 104);
        eq(at(where, map(1, plan)) >> 160 & 0xffffffff, 301);

        ledger.claim(plan, root, leaf, Tree.path(hashes, 257));
        eq(at(where, map(map(map(6, plan), root), bytes32(uint256(1)))), 1 << 1);
        eq(at(where, map(map(map(6, plan), root), bytes32(0))), 0);
        vm.prank(licensor);
        ledger.revokeInBatch(plan, root, 1, 1 << 43, 0);
        eq(at(where, map(map(map(7, plan), root), bytes32(uint256(1)))), 1 << 43);
        vm.prank(licensor);
        ledger.anchorBatch(plan, keccak256("by the licensor"), 1, 0);
        eq(at(where, map(map(5, plan), keccak256("by the licensor"))) >> 104, 0);
        vm.prank(licensor);
        ledger.closeBatch(plan, root, 0);
        eq(
            at(where, slot),
            uint256(300) | uint256(2) << 32 | uint256(START) << 64 | uint256(1) << 104 | uint256(START) << 112
        );
    }

    function test_aCappedPlanCountsWhatIsSublicensed() external {
        for (uint256 i; i < 2; ++i) {
            PlanTerms memory terms = termsOf(newModel(1 + i));
            terms.supply = i == 0 ? 2 : 0;
            uint32 plan = newPlan(terms);
            uint256 id = newLicense(plan, holder);
            bytes32 slot = plus(map(1, plan), 1);
            uint256 before = at(address(ledger), slot);
            eq(before >> 224, 0);
            vm.startPrank(holder);
            ledger.sublicense(id, buyer, 0, 1);
            ledger.sublicense(id, buyer, 0, 1);
            vm.stopPrank();
            eq(at(address(ledger), slot), before | (i == 0 ? uint256(2) << 224 : 0));
        }
    }

    function test_nonces() external {
        vm.startPrank(holder);
        ledger.cancelVouchers(5, 1 << 255 | 1);
        ledger.cancelVouchers(5, 1 << 7);
        vm.stopPrank();
        bytes32 slot = map(map(8, uint160(holder)), bytes32(uint256(5)));
        eq(at(address(ledger), slot), 1 << 255 | 1 << 7 | 1);
    }

    function test_usage() external {
        PlanTerms memory terms = termsOf(newModel(1));
        terms.quota = 1;
        uint256 id = newLicense(newPlan(terms), holder);
        vm.prank(licensor);
        ledger.anchorUsage(id, type(uint64).max, keccak256("receipts"));
        bytes32 slot = map(9, id);
        eq(at(address(ledger), slot), uint256(type(uint64).max) | uint256(START) << 64);
        eq(bytes32(at(address(ledger), plus(slot, 1))), keccak256("receipts"));
    }

    function test_reissue() external {
        uint256 id = newLicense();
        vm.prank(holder);
        ledger.cancelGrants(id);
        vm.prank(licensor);
        ledger.startReissue(id, buyer);
        bytes32 slot = map(10, id);
        eq(at(address(ledger), slot), uint256(uint160(buyer)) | uint256(START + 7 days) << 160 | uint256(1) << 200);
        vm.prank(holder);
        ledger.vetoReissue(id);
        eq(at(address(ledger), slot), 0);
    }

    function test_confirmedParents() external {
        bytes32 parent = newModel(1);
        Claim memory claim = claimOf(buyer, 2);
        claim.parents = new bytes32[](1);
        claim.parents[0] = parent;
        vm.prank(buyer);
        bytes32 id = models.register(claim, noProof());
        vm.prank(licensor);
        models.confirmParent(claim, parent);
        eq(at(address(models), map(map(6, uint256(id)), parent)), uint160(licensor));
    }

    /// Of its own the extension keeps nothing: what is written through the ledger stands in the ledger.
    function test_theExtensionsStorageStaysEmpty() external {
        uint256 id = newLicense();
        address where = ledger.extension();
        eq(at(where, bytes32(0)), 0);
        eq(at(where, map(1, id >> 32)), 0);
        eq(at(where, licenseSlot(id)), 0);
    }

    // ---------------------------------------------------------------- the other contracts

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
