// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseMarket, Royalty} from "../../../src/interfaces/ILicenseMarket.sol";
import {ILicenseRecords} from "../../../src/interfaces/ILicenseRecords.sol";
import {MarketBase} from "../MarketBase.sol";

contract PinRoyaltiesTest is MarketBase {
    function setUp() public override {
        super.setUp();
        sell(NATIVE, PRICE, 0);
    }

    /// @dev The first `count` models of a rising list.
    function rising(uint256 count, uint16 bps) internal returns (Royalty[] memory list) {
        list = new Royalty[](count);
        for (uint256 i; i < count; ++i) {
            list[i] = Royalty(newModel(300 + i), bps);
            for (uint256 j = i; j != 0 && list[j].modelId < list[j - 1].modelId; --j) {
                (list[j], list[j - 1]) = (list[j - 1], list[j]);
            }
        }
    }

    function refused(Royalty[] memory list, bytes memory why) internal {
        refuses(why);
        pin(list);
        eq(market.royaltiesOf(plan).length, 0);
    }

    function test_anUnknownPlanIsRefused() external {
        plan = 99;
        refuses(abi.encodeWithSelector(ILicenseRecords.PlanUnknown.selector, 99));
        pin(new Royalty[](0));
    }

    function testFuzz_onlyTheLicensorPins(address who) external {
        vm.assume(who != licensor);
        Royalty[] memory list = rising(1, 100);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNotLicensor.selector, plan, who));
        vm.prank(who);
        market.pinRoyalties(plan, list);
    }

    function test_whoGaveTheTitleAwayPinsNothing() external {
        Royalty[] memory list = rising(1, 5_000);
        moveTitle(model, stranger);
        refused(list, abi.encodeWithSelector(ILicenseMarket.MarketTitleMoved.selector, plan, licensor, stranger));
    }

    function test_whoTakesTheTitlePinsAfterTheSync() external {
        Royalty[] memory list = rising(1, 100);
        moveTitle(model, stranger);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNotLicensor.selector, plan, stranger));
        vm.prank(stranger);
        market.pinRoyalties(plan, list);
        ledger.syncLicensor(plan);
        refused(list, abi.encodeWithSelector(ILicenseMarket.MarketNotLicensor.selector, plan, licensor));
        vm.prank(stranger);
        market.pinRoyalties(plan, list);
        eq(market.royaltiesOf(plan), list);
    }

    function test_afterTheFirstLicenseItIsTooLate() external {
        Royalty[] memory list = rising(1, 100);
        bought();
        refused(list, abi.encodeWithSelector(ILicenseMarket.RoyaltiesPinned.selector, plan));
    }

    function test_afterTheFirstBatchItIsTooLate() external {
        Royalty[] memory list = rising(1, 100);
        vm.prank(licensor);
        ledger.anchorBatch(plan, keccak256("root"), 1, 0);
        refused(list, abi.encodeWithSelector(ILicenseMarket.RoyaltiesPinned.selector, plan));
    }

    function test_theyArePinnedOnce() external {
        Royalty[] memory list = rising(2, 100);
        pin(list);
        refuses(abi.encodeWithSelector(ILicenseMarket.RoyaltiesPinned.selector, plan));
        pin(list);
        eq(market.royaltiesOf(plan), list);
    }

    function test_noneIsAlsoPinnedOnce() external {
        pin(new Royalty[](0));
        Royalty[] memory list = rising(1, 100);
        refused(list, abi.encodeWithSelector(ILicenseMarket.RoyaltiesPinned.selector, plan));
    }

    function test_eightAreEnough() external {
        Royalty[] memory list = rising(8, 625);
        refused(new Royalty[](9), abi.encodeWithSelector(ILicenseMarket.RoyaltiesTooMany.selector, 9, 8));
        pin(list);
        eq(market.royaltiesOf(plan), list);
    }

    function testFuzz_theIdsRiseStrictly(uint8 place, uint8 how) external {
        Royalty[] memory list = rising(4, 1);
        uint256 at = place % 4;
        if (at == 0) list[0].modelId = 0;
        else if (how % 2 == 0) list[at].modelId = list[at - 1].modelId;
        else (list[at], list[at - 1]) = (list[at - 1], list[at]);
        refused(list, abi.encodeWithSelector(ILicenseMarket.RoyaltiesNotSorted.selector, at));
    }

    function testFuzz_everyModelIsRegistered(bytes32 unknown) external {
        vm.assume(unknown != 0 && models.licensorOf(unknown) == address(0));
        Royalty[] memory list = new Royalty[](1);
        list[0] = Royalty(unknown, 1);
        refused(list, abi.encodeWithSelector(ILicenseMarket.RoyaltyModelUnknown.selector, unknown));
    }

    function test_halfThePriceIsTheMost() external {
        Royalty[] memory list = rising(2, 2_500);
        list[1].bps = 2_501;
        refused(list, abi.encodeWithSelector(ILicenseMarket.RoyaltiesTooHigh.selector, 5_001, 5_000));
        list[1].bps = type(uint16).max;
        refused(list, abi.encodeWithSelector(ILicenseMarket.RoyaltiesTooHigh.selector, 68_035, 5_000));
        list[1].bps = 2_500;
        pin(list);
        eq(market.royaltiesOf(plan), list);
    }

    function testFuzz_theSumDecides(uint16[8] calldata bps, uint8 count) external {
        uint256 n = count % 9;
        Royalty[] memory list = rising(n, 0);
        uint256 sum;
        for (uint256 i; i < n; ++i) {
            list[i].bps = bps[i] % 1_500;
            sum += list[i].bps;
        }
        if (sum > 5_000) {
            refused(list, abi.encodeWithSelector(ILicenseMarket.RoyaltiesTooHigh.selector, sum, 5_000));
            // What is refused pins nothing.
            pin(new Royalty[](0));
            return;
        }
        for (uint256 i; i < n; ++i) {
            emits(address(market));
            emit ILicenseMarket.RoyaltyPinned(plan, list[i].modelId, list[i].bps);
        }
        pin(list);
        eq(market.royaltiesOf(plan), list);
    }

    function test_theyOutliveTheLicensor() external {
        Royalty[] memory list = rising(2, 500);
        pin(list);
        moveTitle(model, stranger);
        ledger.syncLicensor(plan);
        eq(market.royaltiesOf(plan), list);
        refuses(abi.encodeWithSelector(ILicenseMarket.RoyaltiesPinned.selector, plan));
        vm.prank(stranger);
        market.pinRoyalties(plan, list);
    }

    function test_thePlansOwnModelMayBeAmongThem() external {
        Royalty[] memory list = new Royalty[](1);
        list[0] = Royalty(model, 5_000);
        pin(list);
        bought();
        eq(market.owedToModel(model, NATIVE), PRICE / 2);
    }
}
