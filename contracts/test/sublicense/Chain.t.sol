// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus, PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Sublicensing} from "./Sublicensing.sol";

/// @notice What becomes of the licenses of a chain, root (`id`), middle and leaf, when something happens to one of them.
contract ChainTest is Sublicensing {
    event MetadataUpdate(uint256 _tokenId);

    uint256 internal middle;
    uint256 internal leaf;

    function setUp() public override {
        super.setUp();
        (middle, leaf) = chain();
    }

    function codesAt(uint40 at, uint8 ofRoot, uint8 ofMiddle, uint8 ofLeaf) internal view {
        eq(codeAt(id, at), ofRoot);
        eq(codeAt(middle, at), ofMiddle);
        eq(codeAt(leaf, at), ofLeaf);
    }

    // ---------------------------------------------------------------- check

    function test_aSuspensionReachesAllBelow() external {
        codesAt(START, 0, 0, 0);
        suspend(id);
        codesAt(START, 2, 9, 9);
        suspend(middle);
        codesAt(START, 2, 2, 9);
        reinstate(id);
        codesAt(START, 0, 2, 9);
        suspend(leaf);
        codesAt(START, 0, 2, 2);
        reinstate(middle);
        codesAt(START, 0, 0, 2);
        reinstate(leaf);
        codesAt(START, 0, 0, 0);
    }

    function test_aNoticeAtTheTopReachesAllBelow() external {
        revoke(id, START + 5 days);
        codesAt(START, 10, 10, 10);
        codesAt(START + 5 days - 1, 10, 10, 10);
        codesAt(START + 5 days, 3, 9, 9);
        (uint8 code, uint40 notAfter, uint40 graceUntil,) = ledger.check(leaf, client, 0, START + 5 days - 10);
        eq(code, 10);
        eq(notAfter, START + 5 days);
        eq(graceUntil, START + 5 days);
        (code, notAfter, graceUntil,) = ledger.check(leaf, client, 0, START + 5 days);
        eq(code, 9);
        eq(notAfter, START + 5 days);
        eq(graceUntil, 0);
        eq(endOf(leaf), START + 5 days); // the end that counts
        isTrue(statusOf(leaf) == LicenseStatus.ACTIVE);
    }

    function test_aNoticeInTheMiddleReachesBelowOnly() external {
        revoke(middle, START + 5 days);
        codesAt(START, 0, 10, 10);
        codesAt(START + 5 days, 0, 3, 9);
    }

    function test_theNearestEndCounts() external {
        revoke(id, START + 8 days);
        revoke(middle, START + 4 days);
        (uint8 code, uint40 notAfter,,) = ledger.check(leaf, client, 0, START);
        eq(code, 10);
        eq(notAfter, START + 4 days);
        revoke(id, START + 2 days);
        (, notAfter,,) = ledger.check(leaf, client, 0, START);
        eq(notAfter, START + 2 days);
        codesAt(START + 2 days, 3, 9, 9);
        codesAt(START + 4 days, 3, 3, 9);
        codesAt(END, 3, 3, 4);
    }

    function test_aNoticeAboveDoesNotCoverASuspensionFurtherUp() external {
        suspend(id);
        revoke(middle, START + 5 days);
        codesAt(START, 2, 9, 9);
        reinstate(id);
        suspend(middle);
        revoke(id, START + 6 days);
        codesAt(START, 10, 2, 9);
    }

    function test_whatConcernsTheLicenseComesFirst() external {
        suspend(id);
        (uint8 code,,,) = ledger.check(leaf, stranger, KEY, START);
        eq(code, 5);
        (code,,,) = ledger.check(leaf, client, KEY, START);
        eq(code, 9);
        suspend(leaf);
        (code,,,) = ledger.check(leaf, stranger, KEY, START);
        eq(code, 2);
        eq(codeAt(leaf, END), 4);
        revoke(leaf, START + 1 days);
        eq(codeAt(leaf, START + 1 days), 3);
    }

    function test_belowANoticeSeatsAreStillLookedAt() external {
        bind(leaf, KEY, START + 1 days);
        revoke(id, START + 5 days);
        (uint8 code,,,) = ledger.check(leaf, client, KEY, START);
        eq(code, 10);
        (code,,,) = ledger.check(leaf, client, keccak256("other"), START);
        eq(code, 6);
        (code,,,) = ledger.check(leaf, client, KEY, START + 1 days);
        eq(code, 7);
    }

    struct Level {
        uint24 length;
        bool suspended;
        bool revoked;
        uint24 effect;
    }

    /// The decision about a chain, written a second time from the words of the interface.
    function testFuzz_theChainAnswersAsTheInterfaceSays(Level[3] memory levels, uint32 askedIn, uint24 graceSeed)
        external
    {
        uint256[3] memory ends;
        uint256[3] memory ids = arrange(levels, ends, graceSeed);
        uint256 at = uint256(START) + askedIn % (2 * uint256(type(uint24).max));
        uint256 cap = type(uint256).max;
        bool blocked;
        bool notice;
        for (uint256 i; i < 3; ++i) {
            uint256 want;
            if (at >= ends[i]) want = levels[i].revoked ? 3 : 4;
            else if (levels[i].suspended) want = 2;
            else if (blocked) want = 9;
            else if (levels[i].revoked || notice) want = 10;
            if (ends[i] < cap) cap = ends[i];
            (uint8 code, uint40 notAfter, uint40 graceUntil,) = ledger.check(ids[i], address(0), 0, uint40(at));
            eq(code, want);
            eq(notAfter, cap);
            uint256 until = at + graceSeed < cap ? at + graceSeed : cap;
            eq(graceUntil, want == 0 || want == 10 ? until : 0);
            blocked = blocked || levels[i].suspended || at >= ends[i];
            notice = notice || levels[i].revoked;
        }
    }

    function arrange(Level[3] memory levels, uint256[3] memory ends, uint24 grace)
        internal
        returns (uint256[3] memory ids)
    {
        PlanTerms memory terms = openTerms(2);
        terms.grace = grace;
        terms.maxOffline = type(uint32).max;
        plan = newPlan(terms);
        for (uint256 i; i < 3; ++i) {
            ends[i] = uint256(START) + 1 + levels[i].length;
            if (i == 0) {
                vm.prank(licensor);
                ids[0] = ledger.issue(plan, holder, 0, uint40(ends[0]));
                continue;
            }
            if (ends[i] > ends[i - 1]) ends[i] = ends[i - 1];
            ids[i] = sub(ids[i - 1], i == 1 ? partner : client, uint40(ends[i]), 1);
        }
        for (uint256 i; i < 3; ++i) {
            if (levels[i].suspended) suspend(ids[i]);
            if (!levels[i].revoked) continue;
            uint256 effect = uint256(START) + levels[i].effect;
            revoke(ids[i], uint40(effect));
            if (effect < ends[i]) ends[i] = effect;
        }
    }

    // ---------------------------------------------------------------- renew

    function renewAs(address who, uint256 license, uint40 notAfter) internal {
        vm.prank(who);
        ledger.renew(license, notAfter);
    }

    function test_onlyTheParentsHolderRenews() external {
        grantRole(plan, agent, ISSUER);
        revoke(leaf, START + 1 days);
        leaf = sub(middle, client, START + 2 days, 1);
        address[4] memory others = [licensor, agent, holder, client];
        for (uint256 i; i < others.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, middle, others[i]));
            renewAs(others[i], leaf, 0);
        }
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseRenewed(leaf, START + 3 days);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit MetadataUpdate(leaf);
        renewAs(partner, leaf, START + 3 days);
        eq(endOf(leaf), START + 3 days);
        renewAs(partner, leaf, 0);
        eq(endOf(leaf), END);
    }

    function test_aRenewalStaysWithinTheParents() external {
        uint256 short = sub(id, partner, START + 5 days, 1);
        uint256 shorter = sub(short, client, START + 2 days, 1);
        bytes4 invalid = ILicenseRecords.LicenseWindowInvalid.selector;
        vm.expectRevert(abi.encodeWithSelector(invalid, START + 2 days, START + 5 days + 1));
        renewAs(partner, shorter, START + 5 days + 1);
        renewAs(partner, shorter, START + 5 days);
        vm.expectRevert(
            abi.encodeWithSelector(
                ILicenseRecords.LicenseNotLater.selector, shorter, START + 5 days, uint40(START + 5 days)
            )
        );
        renewAs(partner, shorter, 0);
        vm.expectRevert(abi.encodeWithSelector(invalid, START + 5 days, END + 1));
        renewAs(holder, short, END + 1);
        renewAs(holder, short, END);
        renewAs(partner, shorter, 0);
        eq(endOf(shorter), END);
    }

    function test_aRenewalEndsWithAnyNoticeAbove() external {
        uint256 short = sub(id, partner, START + 9 days, 1);
        uint256 shorter = sub(short, client, START + 2 days, 1);
        revoke(id, START + 5 days);
        vm.expectRevert(
            abi.encodeWithSelector(
                ILicenseRecords.LicenseWindowInvalid.selector, START + 2 days, uint40(START + 5 days + 1)
            )
        );
        renewAs(partner, shorter, START + 5 days + 1);
        renewAs(partner, shorter, 0);
        eq(endOf(shorter), START + 5 days);
    }

    function test_theParentIsRenewedFirst() external {
        vm.prank(licensor);
        ledger.renew(id, 0);
        eq(endOf(id), START + 60 days);
        codesAt(END, 0, 4, 4);
        renewAs(holder, middle, 0);
        codesAt(END, 0, 0, 4);
        renewAs(partner, leaf, 0);
        codesAt(END, 0, 0, 0);
        eq(endOf(leaf), START + 60 days);
    }

    function test_anEndedSublicenseIsRenewedWhileItsSeatsAreOut() external {
        uint256 short = sub(id, partner, START + 5 days, 1);
        vm.warp(START + 6 days);
        eq(codeOf(short), 4);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseWindowInvalid.selector, START + 6 days, START + 6 days)
        );
        renewAs(holder, short, START + 6 days);
        renewAs(holder, short, START + 6 days + 1);
        eq(codeOf(short), 0);
        eq(seatsOf(id), 6);
    }

    function test_aSublicenseThatIsNotActiveIsNotRenewed() external {
        uint256 short = sub(id, partner, START + 5 days, 1);
        suspend(short);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, short, LicenseStatus.SUSPENDED)
        );
        renewAs(holder, short, 0);
        revoke(short, START + 2 days);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseUnderNotice.selector, short, uint40(START + 2 days))
        );
        renewAs(holder, short, 0);
        vm.warp(START + 2 days);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, short, LicenseStatus.REVOKED)
        );
        renewAs(holder, short, 0);
    }

    function testFuzz_noRenewalPassesAnEndAbove(uint40 end, uint24 wait, uint24 effect) external {
        uint256 short = sub(middle, client, START + 1, 1);
        uint40 cap = START + 1 + effect % 30 days;
        revoke(id, cap);
        vm.warp(START + wait % 40 days);
        vm.prank(partner);
        (bool renewed,) = address(ledger).call(abi.encodeCall(ledger.renew, (short, end)));
        uint40 want = end == 0 ? cap : end;
        eq(renewed ? 1 : 0, want <= cap && want > START + 1 && want > block.timestamp ? 1 : 0);
        eq(endOf(short), renewed ? want : START + 1);
    }

    // ---------------------------------------------------------------- revoke

    function test_theParentsHolderRevokes() external {
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.LicenseRevoked(leaf, partner, START, keccak256("breach"));
        vm.prank(partner);
        ledger.revoke(leaf, 0, keccak256("breach"));
        codesAt(START, 0, 0, 3);
    }

    function test_whoeverHoldsTheParentNowRevokes() external {
        vm.warp(START + 1 days);
        reissue(id, buyer);
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, holder, REVOKER));
        ledger.revoke(middle, 0, 0);
        vm.prank(buyer);
        ledger.revoke(middle, 0, 0);
        eq(codeOf(middle), 3);
        eq(codeOf(leaf), 9);
    }

    function reissue(uint256 license, address to) internal {
        vm.prank(licensor);
        ledger.startReissue(license, to);
        vm.warp(block.timestamp + 3 days);
        vm.prank(licensor);
        ledger.finishReissue(license);
    }

    function test_nobodyElseOfTheChainRevokes() external {
        address[3] memory others = [holder, client, stranger]; // the root's holder did not make the leaf
        for (uint256 i; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(
                abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, others[i], REVOKER)
            );
            ledger.revoke(leaf, 0, 0);
        }
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, holder, REVOKER));
        ledger.revoke(id, 0, 0);
    }

    function testFuzz_theParentsHolderKeepsTheNoticeToo(uint32 minNotice, uint40 effectiveAt) external {
        PlanTerms memory terms = openTerms(2);
        terms.minNotice = minNotice;
        plan = newPlan(terms);
        id = newLicense(plan, holder);
        middle = sub(id, partner, 0, 1);
        uint40 earliest = START + minNotice;
        if (effectiveAt != 0 && effectiveAt < earliest) {
            vm.expectRevert(
                abi.encodeWithSelector(ILicenseRecords.LicenseNoticeTooShort.selector, effectiveAt, earliest)
            );
        }
        vm.prank(holder);
        ledger.revoke(middle, effectiveAt, 0);
        bool refused = effectiveAt != 0 && effectiveAt < earliest;
        uint40 end = effectiveAt == 0 ? earliest : effectiveAt;
        eq(endOf(middle), refused || end > END ? END : end);
    }

    // ---------------------------------------------------------------- seats below an end

    function test_aSeatEndsWithTheFirstLicenseAboveThatEnds() external {
        bind(leaf, KEY, 0);
        revoke(id, START + 5 days);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.SeatHeldUntil.selector, leaf, KEY, uint40(START + 5 days))
        );
        ledger.releaseRuntime(leaf, KEY);
        vm.warp(START + 5 days);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILicenseRecords.RuntimeReleased(leaf, KEY);
        vm.prank(stranger);
        ledger.releaseRuntime(leaf, KEY);
        eq(seatsOf(leaf), 0);
    }

    function test_aSeatIsHeldUntilItsOwnEndOrThatOfTheChain() external {
        bind(leaf, KEY, START + 8 days);
        bind(leaf, keccak256("short"), START + 2 days);
        revoke(middle, START + 5 days);
        vm.expectRevert(
            abi.encodeWithSelector(ILicenseRecords.SeatHeldUntil.selector, leaf, KEY, uint40(START + 5 days))
        );
        ledger.releaseRuntime(leaf, KEY);
        vm.expectRevert(
            abi.encodeWithSelector(
                ILicenseRecords.SeatHeldUntil.selector, leaf, keccak256("short"), uint40(START + 2 days)
            )
        );
        ledger.releaseRuntime(leaf, keccak256("short"));
    }

    function test_aSeatIsBoundWithinTheChain() external {
        revoke(id, START + 5 days);
        vm.startPrank(client);
        vm.expectRevert(
            abi.encodeWithSelector(
                ILicenseRecords.SeatWindowInvalid.selector, START + 5 days + 1, uint40(START + 5 days)
            )
        );
        ledger.bindRuntime(leaf, KEY, START + 5 days + 1, 0);
        ledger.bindRuntime(leaf, KEY, START + 5 days, 0);
        vm.warp(START + 5 days);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseExpired.selector, leaf, uint40(START + 5 days)));
        ledger.bindRuntime(leaf, keccak256("late"), 0, 0);
        vm.stopPrank();
    }

    // ---------------------------------------------------------------- transfers

    function test_aParentWithSeatsOutStays() external {
        vm.prank(holder);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseUntransferable.selector, id, uint8(4)));
        token.transferFrom(holder, buyer, id);
        vm.prank(partner);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseUntransferable.selector, middle, uint8(4)));
        token.transferFrom(partner, buyer, middle);
    }

    function test_aSublicenseMovesAndStaysUnderItsParent() external {
        vm.prank(client);
        token.transferFrom(client, buyer, leaf);
        (uint64 parent, uint16 seats, uint8 depth) = ledger.parentOf(leaf);
        eq(parent, middle);
        eq(seats, 2);
        eq(depth, 2);
        eq(ledger.grantNonceOf(leaf), 1);
        codesAt(START, 0, 0, 0);
        bind(leaf, KEY, 0);
        suspend(id);
        codesAt(START, 2, 9, 9);
        revoke(leaf, 0);
        vm.prank(client);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, middle, client));
        ledger.reclaimSeats(leaf);
    }

    function test_whenAllSeatsAreBackTheParentMovesAndKeepsNothingBelow() external {
        vm.warp(START + 1 days);
        revoke(leaf, 0);
        revoke(middle, 0);
        vm.warp(START + 2 days + 1 hours); // what was answered before runs so long
        vm.prank(partner);
        ledger.reclaimSeats(leaf);
        vm.prank(holder);
        ledger.reclaimSeats(middle);
        vm.prank(holder);
        token.transferFrom(holder, buyer, id);
        codesAt(START + 2 days + 1 hours, 0, 3, 3);
        uint256 another = sub(id, partner, 0, SEATS);
        eq(codeOf(another), 0);
    }

    // ---------------------------------------------------------------- no seat twice

    uint256[] internal tree;
    uint256 internal constant KEYS = 4;

    /// Whatever is done in a chain, at no time do more keys pass than the plan has seats.
    function testFuzz_noSeatIsUsableTwice(uint256[40] memory steps, uint16 limit, bool floating) external {
        PlanTerms memory terms = openTerms(2);
        terms.seats = 1 + limit % 6;
        terms.floating = floating;
        plan = newPlan(terms);
        tree.push(newLicense(plan, holder));
        for (uint256 i; i < steps.length; ++i) {
            step(steps[i]);
            uint256 usable;
            for (uint256 j; j < tree.length; ++j) {
                usable += floating ? unleased(tree[j]) : passing(tree[j]);
            }
            require(usable <= terms.seats, "a seat is usable twice");
        }
    }

    /// Seats that brokers may lease on a floating license: those it has, less those it gave away.
    function unleased(uint256 license) internal view returns (uint256) {
        uint8 code = codeOf(license);
        if (code != 0 && code != 10) return 0;
        (uint64 parent, uint16 granted,) = ledger.parentOf(license);
        (PlanTerms memory terms,) = ledger.planOf(plan);
        return (parent == 0 ? terms.seats : granted) - seatsOf(license);
    }

    function passing(uint256 license) internal view returns (uint256 keys) {
        for (uint256 key = 1; key <= KEYS; ++key) {
            (uint8 code,,,) = ledger.check(license, address(0), bytes32(key), uint40(block.timestamp));
            if (code == 0 || code == 10) ++keys;
        }
    }

    function step(uint256 seed) internal {
        uint256 license = tree[(seed >> 8 & 0xff) % tree.length];
        uint256 kind = seed % 12;
        uint40 time = uint40(block.timestamp) + uint40((seed >> 24) % 6 days);
        if (seed >> 64 & 1 == 0) time = 0;
        if (kind < 3) sublicenseSome(license, time, uint16(1 + (seed >> 72) % 3));
        else if (kind < 6) atTheSeats(license, kind, bytes32(1 + (seed >> 16) % KEYS), time);
        else if (kind < 10) fromAbove(license, kind, time);
        else if (kind == 10) attempt(token.ownerOf(license), abi.encodeCall(ledger.surrender, (license)));
        else vm.warp(block.timestamp + (seed >> 88) % 5 days);
    }

    function sublicenseSome(uint256 license, uint40 time, uint16 seats) internal {
        attempt(token.ownerOf(license), abi.encodeCall(ledger.sublicense, (license, client, time, seats)));
        uint256 next = uint256(plan) << 32 | (tree.length + 1);
        if (codeOf(next) != 1) tree.push(next);
    }

    function atTheSeats(uint256 license, uint256 kind, bytes32 key, uint40 time) internal {
        if (kind < 5) {
            attempt(token.ownerOf(license), abi.encodeCall(ledger.bindRuntime, (license, key, time, 0)));
        } else {
            attempt(stranger, abi.encodeCall(ledger.releaseRuntime, (license, key)));
            if (time == 0) attempt(licensor, abi.encodeCall(ledger.evictRuntime, (license, key)));
        }
    }

    function fromAbove(uint256 license, uint256 kind, uint40 time) internal {
        (uint64 parent,,) = ledger.parentOf(license);
        address above = parent == 0 ? licensor : token.ownerOf(parent);
        if (kind < 8) attempt(above, abi.encodeCall(ledger.reclaimSeats, (license)));
        else if (kind == 8) attempt(above, abi.encodeCall(ledger.renew, (license, time)));
        else attempt(above, abi.encodeCall(ledger.revoke, (license, time, 0)));
    }

    function attempt(address who, bytes memory call_) internal {
        vm.prank(who);
        (bool ok,) = address(ledger).call(call_);
        ok;
    }
}
