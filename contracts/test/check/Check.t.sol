// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

contract CheckTest is Base {
    bytes32 internal constant KEY = keccak256("key");

    function testFuzz_thePastIsNotAnswered(uint40 at) external {
        uint256 id = newLicense();
        if (at < START) vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.CheckInPast.selector, at, START));
        ledger.check(id, address(0), 0, at);
    }

    function testFuzz_whatDoesNotExistIsNotFound(uint256 id) external {
        uint256 real = newLicense();
        vm.assume(id != real);
        (uint8 code, uint40 notAfter, uint40 graceUntil, uint32 planId) = ledger.check(id, address(0), 0, START);
        eq(code, 1);
        eq(notAfter, 0);
        eq(graceUntil, 0);
        eq(planId, 0);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id));
        ledger.licenseOf(id);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id));
        ledger.locked(id);
    }

    struct Case {
        uint24 startIn;
        uint24 length;
        uint24 grace;
        bool revoked;
        uint24 revokedIn;
        bool suspended;
        bool rightHolder;
        uint8 seat; // 0 not asked, 1 asked and never bound, 2 bound
        uint24 seatIn;
        uint32 askedIn;
    }

    /// The decision, written a second time as the list in the interface reads.
    function expected(Case memory c, uint256 start, uint256 end, uint256 seatUntil, uint256 at)
        internal
        pure
        returns (uint8)
    {
        if (c.revoked && at >= end) return 3;
        if (at >= end) return 4;
        if (c.suspended) return 2;
        if (at < start) return 8;
        if (!c.rightHolder) return 5;
        if (c.seat == 1) return 6;
        if (c.seat == 2 && at >= seatUntil) return 7;
        return c.revoked ? 10 : 0;
    }

    struct Arranged {
        uint256 id;
        uint256 start;
        uint256 end;
        uint256 seatUntil;
    }

    function arrange(Case memory c) internal returns (Arranged memory a) {
        PlanTerms memory terms = termsOf(newModel(1));
        terms.grace = c.grace;
        terms.maxOffline = type(uint32).max;
        terms.minNotice = 0;
        a.start = uint256(START) + c.startIn;
        a.end = a.start + 1 + c.length;
        uint32 plan = newPlan(terms);
        vm.prank(licensor);
        a.id = ledger.issue(plan, holder, uint40(a.start), uint40(a.end));
        a.seatUntil = uint256(START) + 1 + c.seatIn;
        if (a.seatUntil > a.end) a.seatUntil = a.end;
        if (c.seat == 2) {
            vm.prank(holder);
            ledger.bindRuntime(a.id, KEY, uint40(a.seatUntil), 0);
        }
        vm.startPrank(licensor);
        if (c.suspended) ledger.suspend(a.id, 0);
        if (c.revoked) {
            uint256 effect = uint256(START) + c.revokedIn;
            ledger.revoke(a.id, uint40(effect), 0);
            if (effect < a.end) a.end = effect;
        }
        vm.stopPrank();
    }

    function testFuzz_theAnswerIsTheFirstThatHolds(Case memory c) external {
        c.seat %= 3;
        Arranged memory a = arrange(c);
        uint256 at = uint256(START) + c.askedIn % (3 * 2 ** 24);
        uint8 want = expected(c, a.start, a.end, a.seatUntil, at);
        address asker = c.rightHolder ? holder : stranger;
        (uint8 code, uint40 notAfter, uint40 graceUntil, uint32 planId) =
            ledger.check(a.id, asker, c.seat == 0 ? bytes32(0) : KEY, uint40(at));
        eq(code, want);
        eq(notAfter, a.end);
        eq(planId, a.id >> 32);
        uint256 grace = at + c.grace < a.end ? at + c.grace : a.end;
        if (c.seat == 2 && a.seatUntil < grace) grace = a.seatUntil; // no answer outlives the seat it is about
        eq(graceUntil, want == 0 || want == 10 ? grace : 0);
    }

    function test_aPerpetualLicenseNeverEnds() external {
        PlanTerms memory terms = termsOf(newModel(1));
        terms.duration = 0;
        uint256 id = newLicense(newPlan(terms), holder);
        (uint8 code, uint40 notAfter, uint40 graceUntil,) = ledger.check(id, holder, 0, PERPETUAL - 1);
        eq(code, 0);
        eq(notAfter, PERPETUAL);
        eq(graceUntil, PERPETUAL);
    }
}
