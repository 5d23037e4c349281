// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

contract FinishReissueTest is Base {
    event Transfer(address indexed from, address indexed to, uint256 indexed id);

    bytes32 internal constant KEY = keccak256("key");

    uint32 internal plan;
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        plan = newPlan();
        id = newLicense(plan, holder);
    }

    function start(address to) internal {
        vm.prank(licensor);
        ledger.startReissue(id, to);
    }

    function finishAs(address who) internal {
        vm.prank(who);
        ledger.finishReissue(id);
    }

    function finishLater() internal {
        vm.warp(block.timestamp + 7 days);
        finishAs(licensor);
    }

    function refuse(bytes memory why) internal {
        vm.expectRevert(why);
        finishAs(licensor);
    }

    // ---------------------------------------------------------------- what it does

    function test_theLicenseMoves() external {
        vm.prank(holder);
        token.approve(agent, id);
        start(buyer);
        vm.warp(START + 7 days);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Transfer(holder, buyer, id);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.GrantsCancelled(id, 1);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseReissued(id, holder, buyer);
        finishAs(licensor);

        eq(token.ownerOf(id), buyer);
        eq(token.balanceOf(holder), 0);
        eq(token.balanceOf(buyer), 1);
        eq(token.getApproved(id), address(0));
        eq(ledger.grantNonceOf(id), 1);
        eq(endOf(id), START + 30 days);
        isTrue(statusOf(id) == LicenseStatus.ACTIVE);
        (uint8 code,,,) = ledger.check(id, buyer, 0, START + 7 days);
        eq(code, 0);
        (code,,,) = ledger.check(id, holder, 0, START + 7 days);
        eq(code, 5);
        (address to,) = ledger.reissueOf(id);
        eq(to, address(0));
        refuse(abi.encodeWithSelector(ILicenseRecords.ReissueNone.selector, id));
    }

    function test_whatStoodReadyForTwoWeeksIsOver() external {
        start(buyer);
        vm.warp(START + 21 days - 1);
        (address to, uint40 readyAt) = ledger.reissueOf(id);
        eq(to, buyer);
        eq(readyAt, START + 7 days);
        vm.warp(START + 21 days);
        (to, readyAt) = ledger.reissueOf(id);
        eq(to, address(0));
        eq(readyAt, 0);
        refuse(abi.encodeWithSelector(ILicenseRecords.ReissueOutdated.selector, id));
        start(buyer);
        vm.warp(START + 42 days - 1);
        finishAs(licensor);
        eq(token.ownerOf(id), buyer);
    }

    function test_seatsStayBoundAndCounted() external {
        vm.prank(holder);
        ledger.bindRuntime(id, KEY, 0, bytes20(keccak256("tee")));
        start(buyer);
        finishLater();
        eq(seatsOf(id), 1);
        (uint40 boundAt, uint40 until, bytes20 measurement) = ledger.seatOf(id, KEY);
        eq(boundAt, START);
        eq(until, 0);
        isTrue(measurement == bytes20(keccak256("tee")));
        (uint8 code,,,) = ledger.check(id, buyer, KEY, START + 7 days);
        eq(code, 0);
        isTrue(ledger.everBound(id));
        vm.prank(buyer);
        ledger.bindRuntime(id, keccak256("second"), 0, 0);
        vm.prank(buyer);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatsFull.selector, id, uint16(2)));
        ledger.bindRuntime(id, keccak256("third"), 0, 0);
    }

    function test_sublicensesStayBelow() external {
        vm.prank(holder);
        uint256 child = ledger.sublicense(id, stranger, START + 10 days, 2);
        start(buyer);
        finishLater();
        eq(seatsOf(id), 2);
        eq(codeOf(child), 0);
        vm.prank(buyer);
        ledger.renew(child, 0);
        eq(endOf(child), START + 30 days);
    }

    function test_aSublicenseIsReissuedAndStaysBelow() external {
        vm.prank(holder);
        uint256 parent = id;
        id = ledger.sublicense(parent, stranger, 0, 2);
        start(buyer);
        finishLater();
        (uint64 above, uint16 seats, uint8 depth) = ledger.parentOf(id);
        eq(above, parent);
        eq(seats, 2);
        eq(depth, 1);
        eq(token.ownerOf(id), buyer);
    }

    function test_usageStays() external {
        PlanTerms memory terms = termsOf(newModel(2));
        terms.quota = 10;
        id = newLicense(newPlan(terms), holder);
        vm.prank(licensor);
        ledger.anchorUsage(id, 10, keccak256("receipts"));
        start(buyer);
        finishLater();
        (uint64 cumulative, uint40 anchoredAt, bytes32 root) = ledger.usageOf(id);
        eq(cumulative, 10);
        eq(anchoredAt, START);
        eq(root, keccak256("receipts"));
        eq(codeOf(id), 11);
    }

    function test_aLockedLicenseMovesAndStaysLocked() external {
        PlanTerms memory terms = termsOf(newModel(2));
        terms.transferable = false;
        id = newLicense(newPlan(terms), holder);
        start(buyer);
        finishLater();
        eq(token.ownerOf(id), buyer);
        isTrue(ledger.locked(id));
    }

    function test_aSuspendedLicenseMovesAndStaysSuspended() external {
        start(buyer);
        vm.prank(licensor);
        ledger.suspend(id, 0);
        finishLater();
        eq(token.ownerOf(id), buyer);
        eq(codeOf(id), 2);
        (,,,,,, uint40 suspendedAt) = ledger.licenseOf(id);
        eq(suspendedAt, START);
        vm.prank(licensor);
        ledger.reinstate(id, 0);
        eq(codeOf(id), 0);
    }

    function test_anExpiredLicenseMovesAndIsRenewed() external {
        vm.warp(START + 53 days);
        start(buyer);
        finishLater();
        eq(codeOf(id), 4);
        vm.prank(licensor);
        ledger.renew(id, 0);
        (uint8 code,,,) = ledger.check(id, buyer, 0, START + 60 days);
        eq(code, 0);
    }

    function test_aBeginningThatLiesAheadStays() external {
        vm.prank(licensor);
        id = ledger.issue(plan, holder, START + 9 days, 0);
        start(buyer);
        finishLater();
        (, uint40 notBefore,,,,,) = ledger.licenseOf(id);
        eq(notBefore, START + 9 days);
        eq(codeOf(id), 8);
    }

    function test_aReceiverIsNotCalled() external {
        start(address(this));
        finishLater();
        eq(token.ownerOf(id), address(this));
    }

    function test_aPauseDoesNotStopIt() external {
        start(buyer);
        vm.prank(licensor);
        ledger.setPaused(plan, true);
        finishLater();
        eq(token.ownerOf(id), buyer);
    }

    // ---------------------------------------------------------------- when

    function testFuzz_notBeforeTheDelayIsOver(uint32 delay, uint32 wait) external {
        PlanTerms memory terms = termsOf(newModel(2));
        terms.reissueDelay = delay;
        id = newLicense(newPlan(terms), holder);
        start(buyer);
        uint40 readyAt = START + (delay < 7 days ? 7 days : delay);
        vm.warp(uint256(START) + wait);
        bool early = block.timestamp < readyAt;
        bool late = block.timestamp >= uint256(readyAt) + 14 days;
        if (early) vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.ReissuePending.selector, id, readyAt));
        if (late) vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.ReissueOutdated.selector, id));
        finishAs(licensor);
        eq(token.ownerOf(id), early || late ? holder : buyer);
    }

    function test_theDelayIsExact() external {
        start(buyer);
        vm.warp(START + 7 days - 1);
        refuse(abi.encodeWithSelector(ILicenseRecords.ReissuePending.selector, id, uint40(START + 7 days)));
        vm.warp(START + 7 days);
        finishAs(licensor);
    }

    function test_aPlanWithoutADelayStillLeavesThreeDays() external {
        PlanTerms memory terms = termsOf(newModel(2));
        (terms.reissueDelay, terms.minNotice) = (0, 0);
        id = newLicense(newPlan(terms), holder);
        start(buyer);
        vm.warp(START + 3 days - 1);
        refuse(abi.encodeWithSelector(ILicenseRecords.ReissuePending.selector, id, uint40(START + 3 days)));
        vm.warp(START + 3 days);
        finishAs(licensor);
    }

    /// What was promised about notice and refund holds for a reissue too.
    function test_neitherNoticeNorRefundWindowIsGotRound() external {
        PlanTerms memory terms = termsOf(newModel(2));
        (terms.minNotice, terms.refundWindow) = (9 days, 14 days);
        for (uint256 i; i < 2; ++i) {
            uint40 readyAt = START + (i == 0 ? 14 days : 20 days);
            id = newLicense(newPlan(terms), holder);
            start(buyer);
            vm.warp(readyAt - 1);
            refuse(abi.encodeWithSelector(ILicenseRecords.ReissuePending.selector, id, readyAt));
            vm.warp(readyAt);
            finishAs(licensor);
            eq(token.ownerOf(id), buyer);
            vm.warp(START);
            terms.minNotice = 20 days;
        }
    }

    // ---------------------------------------------------------------- who

    function testFuzz_onlyTheLicensorFinishes(address who) external {
        vm.assume(who != licensor && who != address(vm));
        grantRole(plan, who, 15);
        start(buyer);
        vm.warp(START + 7 days);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, who, uint8(0)));
        finishAs(who);
    }

    function test_whatWasNeverStartedIsNotFinished() external {
        refuse(abi.encodeWithSelector(ILicenseRecords.ReissueNone.selector, id));
        id = 77;
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id));
    }

    function test_afterASyncTheNewLicensorFinishesAndTheFormerDoesNot() external {
        start(stranger);
        (PlanTerms memory terms,) = ledger.planOf(plan);
        vm.prank(licensor);
        models.proposeTransfer(terms.modelId, buyer);
        vm.prank(buyer);
        models.acceptTransfer(terms.modelId);
        ledger.syncLicensor(plan);
        vm.warp(START + 7 days);
        refuse(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, licensor, uint8(0)));
        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, licensor, uint8(0)));
        ledger.vetoReissue(id);
        finishAs(buyer);
        eq(token.ownerOf(id), stranger);
    }

    // ---------------------------------------------------------------- what ends it

    function test_aTransferOutdatesIt() external {
        start(buyer);
        vm.prank(holder);
        token.transferFrom(holder, stranger, id);
        vm.warp(START + 7 days - 1);
        refuse(abi.encodeWithSelector(ILicenseRecords.ReissuePending.selector, id, uint40(START + 7 days)));
        vm.warp(START + 7 days);
        refuse(abi.encodeWithSelector(ILicenseRecords.ReissueOutdated.selector, id));
        vm.prank(stranger);
        token.transferFrom(stranger, holder, id); // nor does coming back help
        refuse(abi.encodeWithSelector(ILicenseRecords.ReissueOutdated.selector, id));
        eq(token.ownerOf(id), holder);
    }

    function test_aTransferToItselfOutdatesItToo() external {
        start(buyer);
        vm.prank(holder);
        token.transferFrom(holder, holder, id);
        vm.warp(START + 7 days);
        refuse(abi.encodeWithSelector(ILicenseRecords.ReissueOutdated.selector, id));
    }

    function test_cancelledGrantsOutdateIt() external {
        start(buyer);
        vm.prank(holder);
        ledger.cancelGrants(id);
        vm.warp(START + 7 days);
        refuse(abi.encodeWithSelector(ILicenseRecords.ReissueOutdated.selector, id));
        start(buyer);
        finishLater();
        eq(token.ownerOf(id), buyer);
        eq(ledger.grantNonceOf(id), 2);
    }

    function test_aNoticeAndARevocationRefuseIt() external {
        start(buyer);
        vm.prank(licensor);
        ledger.revoke(id, START + 10 days, 0);
        vm.warp(START + 10 days - 1);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseUnderNotice.selector, id, uint40(START + 10 days)));
        vm.warp(START + 10 days);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.REVOKED));
    }

    function test_aSuspensionUnderNoticeRefusesItToo() external {
        start(buyer);
        vm.startPrank(licensor);
        ledger.revoke(id, START + 10 days, 0);
        ledger.suspend(id, 0);
        vm.stopPrank();
        vm.warp(START + 5 days);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseUnderNotice.selector, id, uint40(START + 10 days)));
    }
}
