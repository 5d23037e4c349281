// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Sublicensing} from "../sublicense/Sublicensing.sol";

contract ReclaimSeatsTest is Sublicensing {
    event MetadataUpdate(uint256 _tokenId);

    /// The plan's lease and grace.
    uint40 internal constant QUIET = 1 hours + 1 days;

    uint256 internal short;

    function setUp() public override {
        super.setUp();
        short = sub(id, partner, START + 5 days, 4);
    }

    function reclaimAs(address who, uint256 license) internal {
        vm.prank(who);
        ledger.reclaimSeats(license);
    }

    function refuse(bytes memory why, address who, uint256 license) internal {
        vm.expectRevert(why);
        reclaimAs(who, license);
    }

    function test_theSeatsOfAnEndedSublicenseComeBack() external {
        vm.warp(START + 6 days);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseRevoked(short, holder, START + 5 days, 0);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit MetadataUpdate(short);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.SeatsReclaimed(id, short, 4);
        reclaimAs(holder, short);

        eq(seatsOf(id), 0);
        isTrue(statusOf(short) == LicenseStatus.REVOKED);
        eq(endOf(short), START + 5 days);
        eq(codeOf(short), 3);
        (uint64 parent, uint16 seats, uint8 depth) = ledger.parentOf(short);
        eq(parent, id);
        eq(seats, 0);
        eq(depth, 1);
        eq(token.ownerOf(short), partner);
        sub(id, client, 0, SEATS);
    }

    function test_aSecondTimeTheyAreNotThere() external {
        vm.warp(START + 5 days);
        sub(id, client, 0, 6);
        reclaimAs(holder, short);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotSublicense.selector, short), holder, short);
        eq(seatsOf(id), 6);
    }

    function test_onlyASublicenseHasSeatsToGiveBack() external {
        vm.warp(END);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotSublicense.selector, id), holder, id);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, 77), holder, 77);
    }

    function testFuzz_onlyTheParentsHolderReclaims(address who) external {
        vm.assume(who != holder && who != address(vm));
        vm.warp(START + 5 days);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, who), who, short);
    }

    function test_neitherLicensorNorApprovedNorSublicenseeReclaims() external {
        vm.startPrank(holder);
        token.approve(agent, id);
        token.setApprovalForAll(buyer, true);
        vm.stopPrank();
        grantRole(plan, stranger, 15);
        vm.warp(START + 5 days);
        address[5] memory others = [licensor, agent, buyer, stranger, partner];
        for (uint256 i; i < others.length; ++i) {
            refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, others[i]), others[i], short);
        }
    }

    function testFuzz_notBeforeTheEnd(uint24 length, uint24 wait) external {
        uint40 end = START + 1 + length % 30 days;
        uint256 made = sub(id, client, end, 2);
        vm.warp(START + wait);
        if (block.timestamp < end) {
            refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotEnded.selector, made, end), holder, made);
            eq(seatsOf(id), 6);
        } else {
            reclaimAs(holder, made);
            eq(seatsOf(id), 4);
        }
    }

    function test_theEndIsExact() external {
        vm.warp(START + 5 days - 1);
        refuse(
            abi.encodeWithSelector(ILicenseRecords.LicenseNotEnded.selector, short, uint40(START + 5 days)),
            holder,
            short
        );
        vm.warp(START + 5 days);
        reclaimAs(holder, short);
    }

    function test_aRevocationBringsThemBackOneLeaseAndGraceAfterItsNotice() external {
        revoke(short, START + 2 days);
        notEnded(START + 2 days + QUIET);
        vm.warp(START + 2 days + QUIET - 1);
        notEnded(START + 2 days + QUIET);
        vm.warp(START + 2 days + QUIET);
        vm.recordLogs();
        reclaimAs(holder, short);
        eq(vm.getRecordedLogs().length, 1); // the revocation that stands is not told again
        eq(endOf(short), START + 2 days);
        eq(seatsOf(id), 0);
    }

    function test_whoRevokesASublicenseAtOnceHasItsSeatsOneLeaseAndGraceLater() external {
        vm.prank(holder);
        ledger.revoke(short, 0, 0);
        notEnded(START + QUIET);
        vm.warp(START + QUIET - 1);
        notEnded(START + QUIET);
        eq(seatsOf(id), 4);
        vm.warp(START + QUIET);
        reclaimAs(holder, short);
        eq(seatsOf(id), 0);
    }

    function test_aSurrenderBringsThemBackOneLeaseAndGraceLater() external {
        vm.prank(partner);
        ledger.surrender(short);
        notEnded(START + QUIET);
        vm.warp(START + QUIET - 1);
        notEnded(START + QUIET);
        vm.warp(START + QUIET);
        reclaimAs(holder, short);
        eq(seatsOf(id), 0);
        eq(endOf(short), START);
    }

    /// The lease time and the grace are the plan's; what ran to its end as agreed waits for nothing.
    function testFuzz_theWaitIsThePlansLeaseAndGrace(uint32 lease, uint24 grace, bool surrendered) external {
        PlanTerms memory terms = openTerms(2);
        (terms.leaseTtl, terms.grace, terms.maxOffline) = (lease % 1000 days, grace, type(uint32).max);
        plan = newPlan(terms);
        id = newLicense(plan, holder);
        short = sub(id, partner, START + 5 days, 4);
        vm.prank(surrendered ? partner : holder);
        if (surrendered) ledger.surrender(short);
        else ledger.revoke(short, 0, 0);
        uint40 quiet = START + terms.leaseTtl + grace;
        if (quiet > START) {
            vm.warp(quiet - 1);
            notEnded(quiet);
        }
        vm.warp(quiet);
        reclaimAs(holder, short);
        eq(seatsOf(id), 0);
    }

    function notEnded(uint40 until) internal {
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotEnded.selector, short, until), holder, short);
    }

    // ---------------------------------------------------------------- two levels above

    function test_whoHoldsTheLicenseAboveTheParentReclaimsToo() external {
        uint256 leaf = sub(short, client, 0, 1);
        vm.warp(START + 5 days);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseSeatsInUse.selector, short, uint16(1)), holder, short);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseRevoked(leaf, holder, START + 5 days, 0);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit MetadataUpdate(leaf);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.SeatsReclaimed(short, leaf, 1);
        reclaimAs(holder, leaf);
        eq(seatsOf(short), 0);
        reclaimAs(holder, short);
        eq(seatsOf(id), 0);
    }

    function testFuzz_nobodyElseReclaimsTwoLevelsBelow(address who) external {
        vm.assume(who != holder && who != partner && who != address(vm));
        uint256 leaf = sub(short, client, 0, 1);
        grantRole(plan, who, 15);
        vm.warp(START + 5 days);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, short, who), who, leaf);
    }

    function test_theEndOfALicenseAboveIsAnEndToo() external {
        uint256 leaf = sub(short, client, 0, 1);
        revoke(id, START + 2 days);
        vm.warp(START + 2 days - 1);
        refuse(
            abi.encodeWithSelector(ILicenseRecords.LicenseNotEnded.selector, leaf, uint40(START + 2 days)),
            partner,
            leaf
        );
        vm.warp(START + 2 days);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseRevoked(leaf, partner, START + 2 days, 0);
        reclaimAs(partner, leaf);
        reclaimAs(holder, short);
        eq(endOf(leaf), START + 2 days);
        eq(endOf(short), START + 2 days);
        eq(seatsOf(id), 0);
    }

    function test_seatsInUseDoNotComeBack() external {
        bind(short, KEY, 0);
        uint256 leaf = sub(short, client, 0, 2);
        vm.warp(START + 5 days);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseSeatsInUse.selector, short, uint16(3)), holder, short);
        reclaimAs(partner, leaf);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseSeatsInUse.selector, short, uint16(1)), holder, short);
        ledger.releaseRuntime(short, KEY);
        reclaimAs(holder, short);
        eq(seatsOf(id), 0);
    }

    function test_nothingBringsTheSublicenseBack() external {
        vm.warp(START + 5 days);
        reclaimAs(holder, short);
        bytes memory revoked =
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, short, LicenseStatus.REVOKED);
        vm.prank(holder);
        vm.expectRevert(revoked);
        ledger.renew(short, 0);
        vm.prank(licensor);
        vm.expectRevert(revoked);
        ledger.startReissue(short, buyer);
        vm.prank(licensor);
        vm.expectRevert(revoked);
        ledger.suspend(short, 0);
        vm.startPrank(partner);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseExpired.selector, short, uint40(START + 5 days)));
        ledger.bindRuntime(short, KEY, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseUntransferable.selector, short, uint8(3)));
        token.transferFrom(partner, buyer, short);
        vm.expectRevert(revoked);
        ledger.surrender(short);
        vm.stopPrank();
        vm.prank(licensor);
        ledger.renew(id, 0);
        eq(codeOf(short), 3);
    }

    /// A parent that ran out and is renewed does not bring back what it had below it.
    function test_aRenewedParentHasItsSeatsAndTheOldSublicenseHasNone() external {
        uint256 whole = sub(id, client, 0, 6);
        vm.warp(END);
        reclaimAs(holder, whole);
        vm.prank(licensor);
        ledger.renew(id, 0);
        eq(codeOf(id), 0);
        eq(codeOf(whole), 3);
        uint256 next = sub(id, client, 0, 6);
        eq(codeOf(next), 0);
    }

    function test_aSuspendedSublicenseThatEndedGivesThemBack() external {
        suspend(short);
        vm.warp(START + 5 days);
        reclaimAs(holder, short);
        reinstate(short);
        eq(codeOf(short), 3);
        isTrue(statusOf(short) == LicenseStatus.REVOKED);
        eq(seatsOf(id), 0);
    }

    function test_theHolderOfAReissuedParentReclaims() external {
        vm.prank(licensor);
        ledger.startReissue(id, buyer);
        vm.warp(START + 5 days);
        vm.prank(licensor);
        ledger.finishReissue(id);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, holder), holder, short);
        reclaimAs(buyer, short);
        eq(seatsOf(id), 0);
    }

    function test_neitherAPauseNorAMovedTitleHoldsThemBack() external {
        (PlanTerms memory terms,) = ledger.planOf(plan);
        vm.startPrank(licensor);
        ledger.setPaused(plan, true);
        models.proposeTransfer(terms.modelId, buyer);
        vm.stopPrank();
        vm.prank(buyer);
        models.acceptTransfer(terms.modelId);
        vm.warp(START + 5 days);
        reclaimAs(holder, short);
        eq(seatsOf(id), 0);
    }

    /// A floating license has nothing below it, so nothing comes back.
    function test_floatingSeatsAreNotGivenAway() external {
        PlanTerms memory terms = openTerms(2);
        terms.floating = true;
        plan = newPlan(terms);
        id = newLicense(plan, holder);
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatsFloat.selector, id));
        ledger.sublicense(id, partner, START + 5 days, SEATS);
        eq(seatsOf(id), 0);
        vm.warp(END);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotSublicense.selector, id), holder, id);
    }
}
