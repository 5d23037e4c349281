// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus, PlanState, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../src/interfaces/IModelRegistry.sol";
import {Sublicensing} from "./Sublicensing.sol";

contract SublicenseTest is Sublicensing {
    event Locked(uint256 tokenId);
    event Transfer(address indexed from, address indexed to, uint256 indexed id);

    function refuse(bytes memory why, address who, uint256 parent, uint40 notAfter, uint16 seats) internal {
        vm.prank(who);
        vm.expectRevert(why);
        ledger.sublicense(parent, client, notAfter, seats);
    }

    // ---------------------------------------------------------------- what it makes

    function test_aPartOfTheSeatsIsLicensedOn() external {
        uint256 made = uint256(plan) << 32 | 2;
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Transfer(address(0), partner, made);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseIssued(made, plan, partner, START, START + 9 days);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseSublicensed(id, made, partner, 3, 1);
        eq(sub(id, partner, START + 9 days, 3), made);

        (
            address owner,
            uint40 notBefore,
            uint40 notAfter,
            LicenseStatus status,
            uint16 used,
            uint64 nonce,
            uint40 held
        ) = ledger.licenseOf(made);
        eq(owner, partner);
        eq(notBefore, 0);
        eq(notAfter, START + 9 days);
        isTrue(status == LicenseStatus.ACTIVE);
        eq(used, 0);
        eq(nonce, 0);
        eq(held, 0);
        isParent(made, id, 3, 1);
        eq(seatsOf(id), 3);
        eq(token.ownerOf(made), partner);
        eq(token.balanceOf(partner), 1);
        isFalse(ledger.locked(made));
        (, PlanState memory state) = ledger.planOf(plan);
        eq(state.issued, 2);
    }

    function isParent(uint256 license, uint256 parent, uint16 seats, uint8 depth) internal view {
        (uint64 gotParent, uint16 gotSeats, uint8 gotDepth) = ledger.parentOf(license);
        eq(gotParent, parent);
        eq(gotSeats, seats);
        eq(gotDepth, depth);
    }

    function test_itAnswersLikeALicenseOfItsOwn() external {
        uint256 made = sub(id, partner, START + 9 days, 3);
        (uint8 code, uint40 notAfter, uint40 graceUntil, uint32 planId) = ledger.check(made, partner, 0, START);
        eq(code, 0);
        eq(notAfter, START + 9 days);
        eq(graceUntil, START + 1 days);
        eq(planId, plan);
        (code,,,) = ledger.check(made, holder, 0, START);
        eq(code, 5);
        (code,,,) = ledger.check(made, partner, KEY, START);
        eq(code, 6);
        eq(codeAt(made, START + 9 days - 1), 0);
        eq(codeAt(made, START + 9 days), 4);
        eq(codeAt(id, START + 9 days), 0);
    }

    function test_itIsSublicensedOnceMoreAndNoFurther() external {
        uint256 middle = sub(id, partner, 0, 5);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseSublicensed(middle, uint256(plan) << 32 | 3, client, 2, 2);
        uint256 leaf = sub(middle, client, 0, 2);
        isParent(id, 0, 0, 0);
        isParent(middle, id, 5, 1);
        isParent(leaf, middle, 2, 2);
        eq(seatsOf(id), 5);
        eq(seatsOf(middle), 2);
        eq(codeOf(leaf), 0);
        refuse(abi.encodeWithSelector(ILicenseRecords.SublicenseTooDeep.selector, leaf, uint8(2)), client, leaf, 0, 1);
        eq(seatsOf(leaf), 0);
        isParent(uint256(plan) << 32 | 4, 0, 0, 0);
    }

    function test_aReceiverIsNotCalled() external {
        uint256 made = sub(id, address(this), 0, 1);
        eq(token.ownerOf(made), address(this));
    }

    function test_aHolderSublicensesToItself() external {
        uint256 made = sub(id, holder, 0, 1);
        eq(token.balanceOf(holder), 2);
        eq(codeOf(made), 0);
        eq(seatsOf(id), 1);
    }

    // ---------------------------------------------------------------- who

    function test_onlyTheHolderSublicenses() external {
        vm.startPrank(holder);
        token.approve(agent, id);
        token.setApprovalForAll(buyer, true);
        vm.stopPrank();
        grantRole(plan, stranger, 15);
        address[4] memory others = [agent, buyer, stranger, licensor];
        for (uint256 i; i < others.length; ++i) {
            refuse(
                abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, others[i]), others[i], id, 0, 1
            );
        }
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, 77), holder, 77, 0, 1);
    }

    function testFuzz_nobodyElseSublicenses(address who) external {
        vm.assume(who != holder && who != address(vm));
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, who), who, id, 0, 1);
    }

    function test_theHolderAboveDoesNotSublicenseWhatItGaveAway() external {
        uint256 middle = sub(id, partner, 0, 5);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, middle, holder), holder, middle, 0, 1);
    }

    function test_nobodyIsNoHolder() external {
        vm.prank(holder);
        vm.expectRevert(bytes4(0xea553b34)); // TransferToZeroAddress()
        ledger.sublicense(id, address(0), 0, 1);
        eq(seatsOf(id), 0);
    }

    // ---------------------------------------------------------------- what may be sublicensed

    function test_whatDoesNotMoveIsNotSublicensed() external {
        PlanTerms memory terms = openTerms(2);
        terms.transferable = false;
        id = newLicense(newPlan(terms), holder);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseUntransferable.selector, id, uint8(1)), holder, id, 0, 1);
    }

    function test_whatIsMeteredIsNotSublicensed() external {
        PlanTerms memory terms = openTerms(2);
        terms.quota = 1;
        id = newLicense(newPlan(terms), holder);
        refuse(abi.encodeWithSelector(ILicenseRecords.SublicenseMetered.selector, id), holder, id, 0, 1);
    }

    function notValid(uint256 parent, uint8 code) internal {
        address owner = token.ownerOf(parent);
        refuse(abi.encodeWithSelector(ILicenseRecords.LicenseNotValid.selector, parent, code), owner, parent, 0, 1);
    }

    function test_aSuspendedLicenseIsNotSublicensed() external {
        suspend(id);
        notValid(id, 2);
        reinstate(id);
        sub(id, partner, 0, 1);
    }

    function test_aLicenseUnderNoticeOrRevokedIsNotSublicensed() external {
        revoke(id, START + 5 days);
        notValid(id, 10);
        vm.warp(START + 5 days - 1);
        notValid(id, 10);
        vm.warp(START + 5 days);
        notValid(id, 3);
    }

    function test_anExpiredLicenseIsNotSublicensed() external {
        vm.warp(END - 1);
        eq(endOf(sub(id, partner, 0, 1)), END);
        vm.warp(END);
        notValid(id, 4);
    }

    function test_aLicenseThatHasNotBegunIsNotSublicensed() external {
        vm.prank(licensor);
        id = ledger.issue(plan, holder, START + 5 days, 0);
        vm.warp(START + 5 days - 1);
        notValid(id, 8);
        vm.warp(START + 5 days);
        sub(id, partner, 0, 1);
    }

    function test_whatStandsAboveCountsToo() external {
        uint256 middle = sub(id, partner, 0, 5);
        suspend(id);
        notValid(middle, 9);
        reinstate(id);
        suspend(middle);
        notValid(middle, 2);
        reinstate(middle);
        revoke(id, START + 5 days);
        notValid(middle, 10);
        vm.warp(START + 5 days);
        notValid(middle, 9);
    }

    // ---------------------------------------------------------------- the plan

    function test_aPausedPlanMakesNone() external {
        vm.prank(licensor);
        ledger.setPaused(plan, true);
        refuse(abi.encodeWithSelector(ILicenseRecords.PlanIsPaused.selector, plan), holder, id, 0, 1);
        eq(seatsOf(id), 0);
        vm.prank(licensor);
        ledger.setPaused(plan, false);
        sub(id, partner, 0, 1);
    }

    /// The supply is what the licensor offers; what holders share of theirs takes nothing of it.
    function test_theSupplyCountsNoneOfThem() external {
        PlanTerms memory terms = openTerms(2);
        terms.supply = 2;
        plan = newPlan(terms);
        id = newLicense(plan, holder);
        chain();
        newLicense(plan, buyer);
        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanSupplyExceeded.selector, plan, uint32(4)));
        ledger.issue(plan, holder, 0, 0);
        uint256 another = sub(id, partner, 0, 1); // nor does a plan that is sold out stop them
        eq(another, uint256(plan) << 32 | 5);
        vm.prank(licensor);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanSupplyExceeded.selector, plan, uint32(5)));
        ledger.issue(plan, holder, 0, 0);
        (, PlanState memory state) = ledger.planOf(plan);
        eq(state.issued, 5);
        eq(seatsOf(id), 6);
    }

    function test_afterTheTitleMovedNoneIsMadeUntilThePlanIsSynced() external {
        (PlanTerms memory terms,) = ledger.planOf(plan);
        vm.prank(licensor);
        models.proposeTransfer(terms.modelId, buyer);
        vm.prank(buyer);
        models.acceptTransfer(terms.modelId);
        refuse(abi.encodeWithSelector(ILicenseRecords.PlanTitleMoved.selector, plan, licensor, buyer), holder, id, 0, 1);
        ledger.syncLicensor(plan);
        sub(id, partner, 0, 1);
    }

    function test_aModelThatIsNotActiveHasNone() external {
        (PlanTerms memory terms,) = ledger.planOf(plan);
        for (uint8 status = 2; status <= 3; ++status) {
            vm.prank(licensor);
            models.setStatus(terms.modelId, ModelStatus(status));
            refuse(
                abi.encodeWithSelector(ILicenseRecords.PlanModelNotIssuable.selector, terms.modelId, status),
                holder,
                id,
                0,
                1
            );
        }
        vm.prank(licensor);
        models.setStatus(terms.modelId, ModelStatus.ACTIVE);
        sub(id, partner, 0, 1);
    }

    // ---------------------------------------------------------------- the window

    function testFuzz_theWindowLiesWithinTheParents(uint40 middleEnd, uint40 leafEnd, uint24 wait) external {
        vm.warp(START + wait % 30 days);
        uint40 end = window(id, partner, END, middleEnd);
        if (end == 0) return;
        uint256 middle = uint256(plan) << 32 | 2;
        eq(endOf(middle), end);
        uint40 last = window(middle, client, end, leafEnd);
        if (last != 0) eq(endOf(uint256(plan) << 32 | 3), last);
    }

    /// @return what end the sublicense has, 0 when it was refused
    function window(uint256 parent, address to, uint40 end, uint40 asked) internal returns (uint40) {
        if (asked != 0 && (asked <= block.timestamp || asked > end)) {
            vm.expectRevert(
                abi.encodeWithSelector(ILicenseRecords.LicenseWindowInvalid.selector, uint40(block.timestamp), asked)
            );
            vm.prank(to == partner ? holder : partner);
            ledger.sublicense(parent, to, asked, 1);
            return 0;
        }
        sub(parent, to, asked, 1);
        return asked == 0 ? end : asked;
    }

    function test_theWindowsLastSecondsAreExact() external {
        bytes4 invalid = ILicenseRecords.LicenseWindowInvalid.selector;
        refuse(abi.encodeWithSelector(invalid, START, START), holder, id, START, 1);
        refuse(abi.encodeWithSelector(invalid, START, END + 1), holder, id, END + 1, 1);
        eq(endOf(sub(id, partner, START + 1, 1)), START + 1);
        eq(endOf(sub(id, partner, END, 1)), END);
    }

    function test_aPerpetualLicenseHasPerpetualSublicenses() external {
        PlanTerms memory terms = openTerms(2);
        terms.duration = 0;
        plan = newPlan(terms);
        id = newLicense(plan, holder);
        (uint256 middle, uint256 leaf) = chain();
        eq(endOf(middle), PERPETUAL);
        eq(endOf(leaf), PERPETUAL);
        eq(codeAt(leaf, PERPETUAL - 1), 0);
    }

    // ---------------------------------------------------------------- seats

    function test_noSeatsIsNoSublicense() external {
        refuse(abi.encodeWithSelector(ILicenseRecords.SublicenseSeatsZero.selector), holder, id, 0, 0);
    }

    function testFuzz_theSeatsAreDebitedUpToTheLimit(uint16 limit, uint16 bound, uint16 first, uint16 second) external {
        PlanTerms memory terms = openTerms(2);
        terms.seats = limit;
        plan = newPlan(terms);
        id = newLicense(plan, holder);
        uint256 most = limit == 0 ? type(uint16).max : limit;
        uint256 used = bound % 4 < most ? bound % 4 : most;
        for (uint256 i; i < used; ++i) {
            bind(id, bytes32(i + 1), 0);
        }
        used = take(used, most, first);
        take(used, most, second);
    }

    function take(uint256 used, uint256 most, uint16 seats) internal returns (uint256) {
        bytes memory why;
        if (seats == 0) why = abi.encodeWithSelector(ILicenseRecords.SublicenseSeatsZero.selector);
        else if (used + seats > most) why = abi.encodeWithSelector(ILicenseRecords.SeatsFull.selector, id, most);
        if (why.length != 0) {
            refuse(why, holder, id, 0, seats);
        } else {
            sub(id, partner, 0, seats);
            used += seats;
        }
        eq(seatsOf(id), used);
        return used;
    }

    function test_theLastSeatIsExact() external {
        refuse(abi.encodeWithSelector(ILicenseRecords.SeatsFull.selector, id, SEATS), holder, id, 0, SEATS + 1);
        uint256 middle = sub(id, partner, 0, SEATS);
        refuse(abi.encodeWithSelector(ILicenseRecords.SeatsFull.selector, id, SEATS), holder, id, 0, 1);
        refuse(abi.encodeWithSelector(ILicenseRecords.SeatsFull.selector, middle, SEATS), partner, middle, 0, SEATS + 1);
        sub(middle, client, 0, SEATS);
        refuse(abi.encodeWithSelector(ILicenseRecords.SeatsFull.selector, middle, SEATS), partner, middle, 0, 1);
    }

    function test_boundAndSublicensedSeatsShareOneLimit() external {
        for (uint256 i = 1; i <= 4; ++i) {
            bind(id, bytes32(i), 0);
        }
        refuse(abi.encodeWithSelector(ILicenseRecords.SeatsFull.selector, id, SEATS), holder, id, 0, 7);
        sub(id, partner, 0, 6);
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatsFull.selector, id, SEATS));
        ledger.bindRuntime(id, bytes32(uint256(5)), 0, 0);
        eq(seatsOf(id), 10);
    }

    function test_aSublicenseBindsWhatItWasGivenAndNoMore() external {
        (uint256 middle, uint256 leaf) = chain();
        for (uint256 i = 1; i <= 3; ++i) {
            bind(middle, bytes32(i), 0);
        }
        vm.prank(partner);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatsFull.selector, middle, uint16(5)));
        ledger.bindRuntime(middle, bytes32(uint256(4)), 0, 0);
        bind(leaf, bytes32(uint256(1)), 0); // each license has keys of its own
        bind(leaf, bytes32(uint256(2)), 0);
        vm.prank(client);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.SeatsFull.selector, leaf, uint16(2)));
        ledger.bindRuntime(leaf, bytes32(uint256(3)), 0, 0);
        (uint8 code,,,) = ledger.check(leaf, client, bytes32(uint256(1)), START);
        eq(code, 0);
    }

    function test_seatsAreTheParentsAloneToBind() external {
        uint256 middle = sub(id, partner, 0, 5);
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, middle, holder));
        ledger.bindRuntime(middle, KEY, 0, 0);
    }

    function test_withoutALimitTheCounterIsTheLimit() external {
        PlanTerms memory terms = openTerms(2);
        terms.seats = 0;
        plan = newPlan(terms);
        id = newLicense(plan, holder);
        uint256 middle = sub(id, partner, 0, type(uint16).max);
        bytes4 full = ILicenseRecords.SeatsFull.selector;
        refuse(abi.encodeWithSelector(full, id, type(uint16).max), holder, id, 0, 1);
        sub(middle, client, 0, type(uint16).max);
        refuse(abi.encodeWithSelector(full, middle, type(uint16).max), partner, middle, 0, 1);
    }

    /// Leases on floating seats leave no trace on chain, so nobody could tell whether a seat given away was free.
    function test_floatingSeatsAreNotGivenAway() external {
        PlanTerms memory terms = openTerms(2);
        terms.floating = true;
        plan = newPlan(terms);
        id = newLicense(plan, holder);
        bytes memory floats = abi.encodeWithSelector(ILicenseRecords.SeatsFloat.selector, id);
        refuse(floats, holder, id, 0, 6);
        refuse(floats, holder, id, 0, 0);
        eq(seatsOf(id), 0);
        isFalse(ledger.everBound(id));
        eq(token.balanceOf(partner), 0);
    }

    // ---------------------------------------------------------------- everBound

    function test_aLicenseThatWasSublicensedWasUsed() external {
        isFalse(ledger.everBound(id));
        (uint256 middle, uint256 leaf) = chain();
        isTrue(ledger.everBound(id));
        isTrue(ledger.everBound(middle));
        isFalse(ledger.everBound(leaf));
        vm.warp(END);
        vm.prank(partner);
        ledger.reclaimSeats(leaf);
        vm.prank(holder);
        ledger.reclaimSeats(middle);
        eq(seatsOf(id), 0);
        isTrue(ledger.everBound(id));
        isTrue(ledger.everBound(middle));
    }

    function test_aSeatGivenBackLeavesItsTrace() external {
        bind(id, KEY, START + 1 days);
        vm.warp(START + 1 days);
        ledger.releaseRuntime(id, KEY);
        eq(seatsOf(id), 0);
        isTrue(ledger.everBound(id));
        vm.prank(holder);
        token.transferFrom(holder, buyer, id);
        isTrue(ledger.everBound(id));
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, 77));
        ledger.everBound(77);
    }
}
