// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

contract SurrenderTest is Base {
    event MetadataUpdate(uint256 _tokenId);

    bytes32 internal constant KEY = keccak256("key");

    uint32 internal plan;
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        id = newLicense(plan, holder);
    }

    function surrenderAs(address who) internal {
        vm.prank(who);
        ledger.surrender(id);
    }

    function ended(address by, uint40 end) internal {
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseRevoked(id, by, end, 0);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit MetadataUpdate(id);
        surrenderAs(by);
        isTrue(statusOf(id) == LicenseStatus.REVOKED);
        eq(endOf(id), end);
        eq(codeOf(id), 3);
        eq(token.ownerOf(id), holder);
    }

    function test_theHolderEndsItAtOnceWhateverTheNotice() external {
        vm.warp(START + 3 days);
        ended(holder, START + 3 days);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.REVOKED)
        );
        surrenderAs(holder);
    }

    // ---------------------------------------------------------------- the supply

    function capped(bool floating) internal returns (PlanTerms memory terms) {
        terms = termsOf(newModel(70));
        (terms.supply, terms.floating) = (1, floating);
        plan = newPlan(terms);
        id = newLicense(plan, holder);
    }

    function soldOut(uint32 limit) internal {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanSupplyExceeded.selector, plan, limit));
        vm.prank(licensor);
        ledger.issue(plan, buyer, 0, 0);
    }

    function test_unusedItGivesItsPlaceBack() external {
        capped(false);
        soldOut(1);
        surrenderAs(holder);
        eq(newLicense(plan, buyer), id + 1);
        soldOut(2);
    }

    function test_underNoticeItDoesToo() external {
        capped(false);
        vm.prank(licensor);
        ledger.revoke(id, 0, 0);
        surrenderAs(holder);
        newLicense(plan, buyer);
        soldOut(2);
    }

    function test_usedItDoesNot() external {
        capped(false);
        vm.prank(holder);
        ledger.bindRuntime(id, KEY, 0, 0);
        vm.prank(licensor);
        ledger.evictRuntime(id, KEY);
        surrenderAs(holder);
        soldOut(1);
    }

    function test_afterItsEndItDoesNot() external {
        capped(false);
        vm.warp(endOf(id));
        surrenderAs(holder);
        soldOut(1);
    }

    function test_floatingItDoesNot() external {
        capped(true);
        surrenderAs(holder);
        soldOut(1);
    }

    function test_aSublicenseGivesNoneBack() external {
        capped(false);
        vm.prank(holder);
        uint256 below = ledger.sublicense(id, buyer, 0, 1);
        soldOut(2);
        vm.prank(buyer);
        ledger.surrender(below);
        soldOut(2);
    }

    function test_theApprovedEndsIt() external {
        vm.prank(holder);
        token.approve(agent, id);
        ended(agent, START);
    }

    function test_anOperatorEndsIt() external {
        vm.prank(holder);
        token.setApprovalForAll(agent, true);
        ended(agent, START);
    }

    function testFuzz_nobodyElseEndsIt(address who) external {
        vm.assume(who != holder && who != address(0) && who != address(vm)); // no one calls as address zero
        grantRole(plan, who, 15);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, who));
        surrenderAs(who);
        eq(codeOf(id), 0);
    }

    function test_neitherTheLicensorNorAFormerHolderNorHisApproved() external {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, licensor));
        surrenderAs(licensor);
        vm.startPrank(holder);
        token.approve(agent, id);
        token.transferFrom(holder, buyer, id);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, holder));
        surrenderAs(holder);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, agent));
        surrenderAs(agent);
        id = 77;
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id));
        surrenderAs(holder);
    }

    function test_boundSeatsHoldItBack() external {
        vm.prank(holder);
        ledger.bindRuntime(id, KEY, START + 1 days, 0);
        bytes memory inUse = abi.encodeWithSelector(ILicenseRecords.LicenseSeatsInUse.selector, id, uint16(1));
        vm.expectRevert(inUse);
        surrenderAs(holder);
        vm.warp(START + 1 days);
        vm.expectRevert(inUse);
        surrenderAs(holder);
        ledger.releaseRuntime(id, KEY);
        ended(holder, START + 1 days);
    }

    function test_sublicensedSeatsHoldItBack() external {
        vm.startPrank(holder);
        uint256 child = ledger.sublicense(id, buyer, 0, 2);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseSeatsInUse.selector, id, uint16(2)));
        ledger.surrender(id);
        vm.stopPrank();
        vm.prank(buyer);
        ledger.surrender(child);
        vm.warp(START + 1 hours + 1 days); // what was answered for the child may run so long
        vm.prank(holder);
        ledger.reclaimSeats(child);
        ended(holder, START + 1 hours + 1 days);
    }

    function test_underNoticeItEndsNow() external {
        vm.prank(licensor);
        ledger.revoke(id, START + 10 days, 0);
        vm.warp(START + 10 days - 1);
        ended(holder, START + 10 days - 1);
    }

    function test_onceTheNoticeIsOverThereIsNothingToEnd() external {
        vm.prank(licensor);
        ledger.revoke(id, START + 10 days, 0);
        vm.warp(START + 10 days);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.REVOKED)
        );
        surrenderAs(holder);
    }

    function testFuzz_anEndThatHasPassedStands(uint24 wait) external {
        vm.warp(START + wait);
        ended(holder, wait < 30 days ? START + wait : START + 30 days);
    }

    function test_anExpiredLicenseIsEndedForGood() external {
        vm.warp(START + 40 days);
        eq(codeOf(id), 4);
        ended(holder, START + 30 days);
        vm.prank(licensor);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.REVOKED)
        );
        ledger.renew(id, 0);
    }

    function test_aSuspendedLicenseIsSurrenderedAndStaysSuspended() external {
        vm.prank(licensor);
        ledger.suspend(id, 0);
        ended(holder, START);
        (,,,,,, uint40 suspendedAt) = ledger.licenseOf(id);
        eq(suspendedAt, START);
        vm.prank(licensor);
        ledger.reinstate(id, 0);
        eq(codeOf(id), 3);
    }

    function test_aLicenseThatHasNotBegunNeverBegins() external {
        vm.prank(licensor);
        id = ledger.issue(plan, holder, START + 5 days, 0);
        ended(holder, START);
        eq(codeAt(id, START + 6 days), 3);
    }

    function test_aLockedLicenseIsSurrendered() external {
        PlanTerms memory terms = termsOf(newModel(2));
        terms.transferable = false;
        id = newLicense(newPlan(terms), holder);
        ended(holder, START);
    }

    function test_aReissueUnderWayEndsWithTheLicense() external {
        vm.prank(licensor);
        ledger.startReissue(id, buyer);
        ended(holder, START);
        vm.warp(START + 3 days);
        vm.prank(licensor);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.REVOKED)
        );
        ledger.finishReissue(id);
    }
}
