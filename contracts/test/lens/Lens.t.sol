// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {EntitlementAnswer, EntitlementQuery, IEntitlementLens} from "../../src/interfaces/IEntitlementLens.sol";
import {ILicenseRecords} from "../../src/interfaces/ILicenseRecords.sol";
import {PlanTerms} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";

contract LensTest is Base {
    bytes32 internal constant KEY = keccak256("runtime");

    IEntitlementLens internal lens;
    /// Valid, bound, revoking, revoked, suspended, expiring, not begun, metered and spent, sublicense, unknown.
    uint256[10] internal ids;

    function setUp() public override {
        super.setUp();
        lens = IEntitlementLens(deploy("EntitlementLens", ""));
        PlanTerms memory terms = termsOf(newModel(0));
        uint32 plan = newPlan(terms);
        terms.quota = 10;
        uint32 metered = newPlan(terms);
        for (uint256 i; i < 5; ++i) {
            ids[i] = newLicense(plan, holder);
        }
        vm.startPrank(licensor);
        ledger.revoke(ids[2], START + 10 days, 0);
        ledger.revoke(ids[3], 0, 0);
        ledger.suspend(ids[4], 0);
        ids[5] = ledger.issue(plan, holder, 0, START + 1 hours);
        ids[6] = ledger.issue(plan, holder, START + 5 days, 0);
        ids[7] = ledger.issue(metered, holder, 0, 0);
        ledger.anchorUsage(ids[7], 10, keccak256("receipts"));
        vm.stopPrank();
        vm.startPrank(holder);
        ledger.bindRuntime(ids[1], KEY, START + 2 days, 0);
        ids[8] = ledger.sublicense(ids[0], agent, 0, 1);
        vm.stopPrank();
        ids[9] = uint256(plan) << 32 | 99;
    }

    function asked(uint256 id, address who, bytes32 key) internal pure returns (EntitlementQuery[] memory queries) {
        queries = new EntitlementQuery[](1);
        queries[0] = EntitlementQuery(id, who, key);
    }

    function answersAre(EntitlementQuery[] memory queries, uint40 at, uint40 checkedAt) internal view {
        EntitlementAnswer[] memory answers = lens.checkMany(address(ledger), queries, at);
        eq(answers.length, queries.length);
        for (uint256 i; i < queries.length; ++i) {
            (uint8 code, uint40 notAfter, uint40 graceUntil, uint32 planId) =
                ledger.check(queries[i].licenseId, queries[i].holder, queries[i].runtimeKey, checkedAt);
            eq(answers[i].code, code);
            eq(answers[i].notAfter, notAfter);
            eq(answers[i].graceUntil, graceUntil);
            eq(answers[i].planId, planId);
        }
    }

    function test_everyCodeComesThroughInItsPlace() external {
        vm.warp(START + 3 days);
        EntitlementQuery[] memory queries = new EntitlementQuery[](12);
        for (uint256 i; i < 10; ++i) {
            queries[i].licenseId = ids[i];
        }
        queries[10] = EntitlementQuery(ids[0], stranger, 0);
        queries[11] = EntitlementQuery(ids[1], holder, KEY);
        uint8[12] memory codes = [0, 0, 10, 10, 2, 4, 8, 11, 0, 1, 5, 7];
        EntitlementAnswer[] memory answers = lens.checkMany(address(ledger), queries, 0);
        for (uint256 i; i < 12; ++i) {
            eq(answers[i].code, codes[i]);
        }
        answersAre(queries, 0, START + 3 days);
        vm.warp(START + 7 days);
        eq(lens.checkMany(address(ledger), asked(ids[3], address(0), 0), 0)[0].code, 3);
        eq(lens.checkMany(address(ledger), asked(ids[0], holder, KEY), 0)[0].code, 6);
    }

    function testFuzz_itAnswersAsCheckDoes(uint8[20] calldata which, uint8[20] calldata who, uint40 ahead, uint8 count)
        external
        view
    {
        address[3] memory holders = [address(0), holder, agent];
        EntitlementQuery[] memory queries = new EntitlementQuery[](count % 21);
        for (uint256 i; i < queries.length; ++i) {
            bytes32 key = who[i] % 2 == 0 ? bytes32(0) : who[i] % 5 == 0 ? keccak256("another") : KEY;
            queries[i] = EntitlementQuery(ids[which[i] % 10], holders[who[i] % 3], key);
        }
        uint40 at = START + ahead % 40 days;
        answersAre(queries, at, at);
    }

    function testFuzz_anyQueryAtAllIsAnsweredAsCheckDoes(EntitlementQuery[] calldata queries, uint40 at) external view {
        vm.assume(at >= START);
        answersAre(queries, at, at);
    }

    function testFuzz_zeroMeansNow(uint24 later, uint8 which) external {
        vm.warp(START + later);
        answersAre(asked(ids[which % 10], holder, 0), 0, START + later);
    }

    function testFuzz_thePastIsRefused(uint40 at, uint24 later) external {
        vm.assume(at != 0);
        vm.warp(START + later);
        at = uint40(at % (START + later));
        if (at == 0) at = 1;
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.CheckInPast.selector, at, START + later));
        lens.checkMany(address(ledger), asked(ids[0], holder, 0), at);
    }

    function test_theSecondBeforeNowIsThePast() external {
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.CheckInPast.selector, START - 1, START));
        lens.checkMany(address(ledger), asked(ids[0], holder, 0), START - 1);
        answersAre(asked(ids[0], holder, 0), START, START);
    }

    function test_noQueriesGetNoAnswers() external view {
        EntitlementQuery[] memory none = new EntitlementQuery[](0);
        eq(lens.checkMany(address(ledger), none, 0).length, 0);
        eq(lens.checkMany(address(ledger), none, 1).length, 0);
        eq(lens.checkMany(address(0xDEAD), none, 0).length, 0);
    }

    function test_whatIsNoLedgerAnswersNothing() external {
        vm.expectRevert();
        lens.checkMany(address(0xDEAD), asked(ids[0], holder, 0), 0);
        vm.expectRevert();
        lens.checkMany(address(models), asked(ids[0], holder, 0), 0);
    }
}
