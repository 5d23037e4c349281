// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {Base} from "../Base.sol";

contract SetRolesTest is Base {
    uint32 internal plan;
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        id = newLicense(plan, holder);
    }

    function refused(uint8 role) internal {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, agent, role));
    }

    function testFuzz_onlyTheLicensorGivesRoles(uint8 roles) external {
        roles %= 16;
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.RoleSet(plan, agent, roles, 0);
        grantRole(plan, agent, roles);
        eq(ledger.rolesOf(plan, agent), roles);
        refused(0);
        vm.prank(agent);
        ledger.setRoles(plan, agent, 15);
        grantRole(plan, agent, 0);
        eq(ledger.rolesOf(plan, agent), 0);
    }

    function testFuzz_unknownBitsAreRefused(uint8 roles) external {
        vm.assume(roles > 15);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanRolesUnknown.selector, roles));
        grantRole(plan, agent, roles);
    }

    function test_aRoleHoldsOnItsPlanOnly() external {
        uint32 other = newPlan(termsOf(newModel(2)));
        grantRole(other, agent, 15);
        eq(ledger.rolesOf(plan, agent), 0);
        refused(ISSUER);
        vm.prank(agent);
        ledger.issue(plan, holder, 0, 0);
    }

    function testFuzz_eachRoleOpensItsOwnFunctions(uint8 roles) external {
        roles %= 16;
        vm.prank(holder);
        ledger.bindRuntime(id, keccak256("key"), 0, 0);
        grantRole(plan, agent, roles);
        vm.startPrank(agent);

        if (roles & ISSUER == 0) refused(ISSUER);
        ledger.issue(plan, holder, 0, 0);
        if (roles & ISSUER == 0) refused(ISSUER);
        ledger.renew(id, START + 31 days);

        if (roles & GUARDIAN == 0) refused(GUARDIAN);
        ledger.setPaused(plan, true);
        if (roles & GUARDIAN == 0) refused(GUARDIAN);
        ledger.suspend(id, 0);
        if (roles & GUARDIAN == 0) refused(GUARDIAN);
        ledger.reinstate(id, 0);

        if (roles & REVOKER == 0) refused(REVOKER);
        ledger.evictRuntime(id, keccak256("key"));
        if (roles & REVOKER == 0) refused(REVOKER);
        ledger.revoke(id, 0, 0);
    }

    function test_aPauseStopsIssuanceAndNothingElse() external {
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.PlanPaused(plan, true);
        vm.startPrank(licensor);
        ledger.setPaused(plan, true);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanIsPaused.selector, plan));
        ledger.issue(plan, holder, 0, 0);
        eq(codeOf(id), 0);
        ledger.renew(id, START + 40 days);
        ledger.suspend(id, 0);
        ledger.reinstate(id, 0);
        ledger.revoke(id, 0, 0);
        ledger.setPaused(plan, false);
        ledger.issue(plan, holder, 0, 0);
    }
}
