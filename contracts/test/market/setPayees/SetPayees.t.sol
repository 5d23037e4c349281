// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseMarket, Payee} from "../../../src/interfaces/ILicenseMarket.sol";
import {ILicenseRecords} from "../../../src/interfaces/ILicenseRecords.sol";
import {MarketBase} from "../MarketBase.sol";

contract SetPayeesTest is MarketBase {
    function setUp() public override {
        super.setUp();
        sell(NATIVE, PRICE, 0);
    }

    function many(uint256 count, uint16 bps) internal pure returns (Payee[] memory list) {
        list = new Payee[](count);
        for (uint256 i; i < count; ++i) {
            list[i] = Payee(address(uint160(0xFACE00 + i)), bps);
        }
    }

    function refused(Payee[] memory list, bytes memory why) internal {
        Payee[] memory before = market.payeesOf(plan);
        refuses(why);
        share(list);
        eq(market.payeesOf(plan), before);
    }

    function test_anUnknownPlanIsRefused() external {
        plan = 99;
        refuses(abi.encodeWithSelector(ILicenseRecords.PlanUnknown.selector, 99));
        share(many(1, 1));
    }

    function testFuzz_onlyTheLicensorSetsPayees(address who) external {
        vm.assume(who != licensor);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNotLicensor.selector, plan, who));
        vm.prank(who);
        market.setPayees(plan, many(1, 1));
    }

    function test_sixteenAreEnough() external {
        refused(many(17, 1), abi.encodeWithSelector(ILicenseMarket.PayeesTooMany.selector, 17, 16));
        share(many(16, 625));
        eq(market.payeesOf(plan), many(16, 625));
    }

    function testFuzz_neitherNobodyNorTheMarketIsPaid(uint8 place) external {
        Payee[] memory list = many(16, 1);
        address who = place < 128 ? address(0) : address(market);
        list[place % 16].account = who;
        share(many(2, 7));
        refused(list, abi.encodeWithSelector(ILicenseMarket.PayeeInvalid.selector, place % 16, who));
    }

    function test_whoGaveTheTitleAwaySetsNone() external {
        moveTitle(model, stranger);
        refused(many(1, 1), abi.encodeWithSelector(ILicenseMarket.MarketTitleMoved.selector, plan, licensor, stranger));
    }

    function testFuzz_theSumDecides(uint16[16] calldata bps, uint8 count) external {
        uint256 n = count % 17;
        Payee[] memory list = many(n, 0);
        uint256 sum;
        for (uint256 i; i < n; ++i) {
            list[i].bps = bps[i] % 1_300;
            sum += list[i].bps;
        }
        share(many(3, 3_333));
        if (sum > 10_000) {
            refused(list, abi.encodeWithSelector(ILicenseMarket.PayeesTooHigh.selector, sum, 10_000));
            return;
        }
        emits(address(market));
        emit ILicenseMarket.PayeesSet(plan, licensor, list);
        share(list);
        eq(market.payeesOf(plan), list);
    }

    function test_allButNoMoreMayBeGivenAway() external {
        Payee[] memory list = payeesOf(agent, 5_000, stranger, 5_001);
        refused(list, abi.encodeWithSelector(ILicenseMarket.PayeesTooHigh.selector, 10_001, 10_000));
        list = payeesOf(agent, type(uint16).max, stranger, type(uint16).max);
        refused(list, abi.encodeWithSelector(ILicenseMarket.PayeesTooHigh.selector, 131_070, 10_000));
        share(payeesOf(agent, 5_000, stranger, 5_000));
        bought();
        eq(market.owed(licensor, NATIVE), 0);
        eq(market.owed(agent, NATIVE), PRICE / 2);
        eq(market.owed(stranger, NATIVE), PRICE / 2);
    }

    function test_theNewReplaceTheOld() external {
        share(many(16, 100));
        share(many(1, 200));
        eq(market.payeesOf(plan), many(1, 200));
        share(new Payee[](0));
        eq(market.payeesOf(plan).length, 0);
        bought();
        eq(market.owed(licensor, NATIVE), PRICE);
    }

    function test_theyDoNotComeBackWithATitleThatDoes() external {
        share(many(2, 5_000));
        moveTitle(model, stranger);
        ledger.syncLicensor(plan);
        moveTitle(model, licensor);
        ledger.syncLicensor(plan);
        eq(market.payeesOf(plan).length, 0);
        digest = digestOf(plan);
        grantRole(plan, address(market), ISSUER);
        bought();
        eq(market.owed(licensor, NATIVE), PRICE);
        share(many(1, 10_000));
        eq(market.payeesOf(plan).length, 1);
    }

    function test_whatWasSoldUnderThemIsSharedByThem() external {
        sell(NATIVE, PRICE, WINDOW);
        share(many(2, 5_000));
        uint256 id = bought();
        moveTitle(model, stranger);
        ledger.syncLicensor(plan);
        moveTitle(model, licensor);
        ledger.syncLicensor(plan);
        vm.warp(START + WINDOW);
        market.settle(id);
        eq(market.owed(licensor, NATIVE), 0);
        eq(market.owed(address(0xFACE00), NATIVE), PRICE / 2);
    }

    function test_whatWasSoldUnderThemIsNotSharedByOthers() external {
        sell(NATIVE, PRICE, WINDOW);
        uint256 id = bought();
        moveTitle(model, stranger);
        ledger.syncLicensor(plan);
        moveTitle(model, licensor);
        ledger.syncLicensor(plan);
        share(many(2, 5_000));
        vm.warp(START + WINDOW);
        market.settle(id);
        eq(market.owed(licensor, NATIVE), PRICE);
    }

    /// The next licensor's payees take nothing from those of the one before.
    function test_theNextLicensorsPayeesLeaveTheseAlone() external {
        sell(NATIVE, PRICE, WINDOW);
        share(payeesOf(agent, 5_000, holder, 4_000));
        uint256 first = bought();
        uint256 second = bought();
        moveTitle(model, stranger);
        ledger.syncLicensor(plan);
        bind(first);
        market.settle(first);
        vm.prank(stranger);
        market.setPayees(plan, many(1, 10_000));
        bind(second);
        market.settle(second);
        eq(market.owed(agent, NATIVE), PRICE);
        eq(market.owed(holder, NATIVE), 2 * uint256(PRICE) * 4 / 10);
        eq(market.owed(licensor, NATIVE), uint256(PRICE) / 5);
    }

    function test_theSameAccountTwiceIsPaidTwice() external {
        share(payeesOf(agent, 1_000, agent, 2_000));
        bought();
        eq(market.owed(agent, NATIVE), 0.3 ether);
    }

    function test_anotherLicensorsPayeesAreVoid() external {
        share(many(2, 5_000));
        moveTitle(model, stranger);
        eq(market.payeesOf(plan).length, 2);
        ledger.syncLicensor(plan);
        eq(market.payeesOf(plan).length, 0);
        digest = digestOf(plan);
        vm.prank(stranger);
        ledger.setRoles(plan, address(market), ISSUER);
        bought();
        eq(market.owed(stranger, NATIVE), PRICE);

        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNotLicensor.selector, plan, licensor));
        share(many(1, 1));
        emits(address(market));
        emit ILicenseMarket.PayeesSet(plan, stranger, many(1, 10_000));
        vm.prank(stranger);
        market.setPayees(plan, many(1, 10_000));
        bought();
        eq(market.owed(stranger, NATIVE), PRICE);
        eq(market.owed(address(0xFACE00), NATIVE), PRICE);
    }
}
