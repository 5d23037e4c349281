// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {PlanState, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

contract SyncLicensorTest is Base {
    uint32 internal plan;
    PlanTerms internal terms;

    function setUp() public override {
        super.setUp();
        terms = termsOf(newModel(1));
        plan = newPlan(terms);
    }

    function move(address from, address to) internal {
        vm.prank(from);
        models.proposeTransfer(terms.modelId, to);
        vm.prank(to);
        models.acceptTransfer(terms.modelId);
    }

    function test_aPlanInSyncIsLeftAlone() external {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanInSync.selector, plan));
        ledger.syncLicensor(plan);
    }

    function test_anyoneBringsThePlanToTheNewHolder() external {
        newLicense(plan, holder);
        vm.prank(licensor);
        ledger.setPaused(plan, true);
        move(licensor, buyer);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.PlanLicensorSynced(plan, licensor, buyer, 1);
        vm.prank(stranger);
        ledger.syncLicensor(plan);

        (PlanTerms memory got, PlanState memory state) = ledger.planOf(plan);
        eq(keccak256(abi.encode(got)), keccak256(abi.encode(terms)));
        eq(state.licensor, buyer);
        eq(state.issued, 1);
        eq(state.roleEpoch, 1);
        isTrue(state.paused);
        eq(state.planDigest, keccak256(abi.encode(keccak256("modeldeed/plan/1"), buyer, terms)));

        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, licensor, GUARDIAN));
        ledger.setPaused(plan, false);
        vm.startPrank(buyer);
        ledger.setPaused(plan, false);
        eq(ledger.issue(plan, holder, 0, 0), uint256(plan) << 32 | 2);
        ledger.revoke(uint256(plan) << 32 | 1, 0, 0);
    }

    function test_rolesDieWithTheTenure() external {
        grantRole(plan, agent, 15);
        move(licensor, buyer);
        ledger.syncLicensor(plan);
        eq(ledger.rolesOf(plan, agent), 0);
        vm.prank(agent);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, agent, ISSUER));
        ledger.issue(plan, agent, 0, 0);

        move(buyer, licensor);
        ledger.syncLicensor(plan);
        eq(ledger.rolesOf(plan, agent), 0);
        (, PlanState memory state) = ledger.planOf(plan);
        eq(state.roleEpoch, 2);
    }

    function test_afterATransferNobodyIssuesUntilSynced() external {
        grantRole(plan, agent, ISSUER);
        move(licensor, buyer);
        bytes memory moved = abi.encodeWithSelector(ILicenseRecords.PlanTitleMoved.selector, plan, licensor, buyer);
        vm.prank(licensor);
        vm.expectRevert(moved);
        ledger.issue(plan, holder, 0, 0);
        vm.prank(agent);
        vm.expectRevert(moved);
        ledger.issue(plan, holder, 0, 0);
        vm.prank(buyer);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, buyer, ISSUER));
        ledger.issue(plan, holder, 0, 0);
    }
}
