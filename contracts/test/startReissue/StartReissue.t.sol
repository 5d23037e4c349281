// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

contract StartReissueTest is Base {
    uint32 internal plan;
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        id = newLicense(plan, holder);
    }

    function startAs(address who, address to) internal {
        vm.prank(who);
        ledger.startReissue(id, to);
    }

    function underWay(address to, uint40 readyAt) internal view {
        (address gotTo, uint40 gotReady) = ledger.reissueOf(id);
        eq(gotTo, to);
        eq(gotReady, readyAt);
    }

    function testFuzz_theDelayIsTheLongestThePlanPromisesAndThreeDaysAtLeast(
        uint32 delay,
        uint32 notice,
        uint32 refund,
        uint8 small,
        uint24 wait,
        address to
    ) external {
        vm.assume(to != address(0) && to != holder);
        // Each is now and then short, so that each is now and then the longest.
        if (small & 1 != 0) delay %= 5 days;
        if (small & 2 != 0) notice %= 5 days;
        if (small & 4 != 0) refund %= 5 days;
        PlanTerms memory terms = termsOf(newModel(2));
        (terms.reissueDelay, terms.minNotice, terms.refundWindow) = (delay, notice, refund);
        terms.duration = 0;
        id = newLicense(newPlan(terms), holder);
        underWay(address(0), 0);
        vm.warp(START + wait);
        uint256 longest = 3 days;
        if (delay > longest) longest = delay;
        if (notice > longest) longest = notice;
        if (refund > longest) longest = refund;
        uint40 readyAt = uint40(START + wait + longest);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.ReissueStarted(id, holder, to, readyAt);
        startAs(licensor, to);
        underWay(to, readyAt);
        eq(token.ownerOf(id), holder);
        eq(codeOf(id), 0);
    }

    function testFuzz_onlyTheLicensorStarts(address who) external {
        vm.assume(who != licensor && who != address(vm));
        grantRole(plan, who, 15);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, who, uint8(0)));
        startAs(who, buyer);
    }

    function test_whatDoesNotExistIsNotReissued() external {
        id = 77;
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id));
        startAs(licensor, buyer);
        underWay(address(0), 0);
    }

    function test_itLeadsSomewhereElse() external {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.ReissueToHolder.selector, id, holder));
        startAs(licensor, holder);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.ReissueToHolder.selector, id, address(0)));
        startAs(licensor, address(0));
    }

    function test_underNoticeAndRevokedItIsRefused() external {
        vm.prank(licensor);
        ledger.revoke(id, START + 10 days, 0);
        vm.warp(START + 10 days - 1);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseUnderNotice.selector, id, uint40(START + 10 days))
        );
        startAs(licensor, buyer);
        vm.warp(START + 10 days);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.REVOKED)
        );
        startAs(licensor, buyer);
    }

    function test_lockedSuspendedAndExpiredLicensesAreReissued() external {
        PlanTerms memory terms = termsOf(newModel(2));
        terms.transferable = false;
        id = newLicense(newPlan(terms), holder);
        startAs(licensor, buyer);
        vm.prank(licensor);
        ledger.suspend(id, 0);
        startAs(licensor, buyer);
        vm.warp(START + 40 days);
        startAs(licensor, buyer);
        underWay(buyer, START + 47 days);
    }

    function test_aSecondStartBeginsAnew() external {
        startAs(licensor, buyer);
        vm.warp(START + 2 days);
        startAs(licensor, stranger);
        underWay(stranger, START + 9 days);
        vm.warp(START + 9 days - 1);
        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.ReissuePending.selector, id, uint40(START + 9 days)));
        ledger.finishReissue(id);
    }

    function test_aTransferAndCancelledGrantsEndIt() external {
        startAs(licensor, buyer);
        vm.prank(holder);
        ledger.cancelGrants(id);
        underWay(address(0), 0);
        startAs(licensor, buyer);
        underWay(buyer, START + 7 days);
        vm.prank(holder);
        token.transferFrom(holder, stranger, id);
        underWay(address(0), 0);
        startAs(licensor, holder); // he no longer holds it
        underWay(holder, START + 7 days);
    }

    function test_afterASyncTheFormerLicensorStartsNone() external {
        (PlanTerms memory terms,) = ledger.planOf(plan);
        vm.prank(licensor);
        models.proposeTransfer(terms.modelId, buyer);
        vm.prank(buyer);
        models.acceptTransfer(terms.modelId);
        ledger.syncLicensor(plan);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, licensor, uint8(0)));
        startAs(licensor, stranger);
        startAs(buyer, stranger);
        underWay(stranger, START + 7 days);
    }
}
