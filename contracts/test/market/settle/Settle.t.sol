// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseMarket, Payee, Royalty} from "../../../src/interfaces/ILicenseMarket.sol";
import {MarketBase} from "../MarketBase.sol";

contract SettleTest is MarketBase {
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        sell(NATIVE, PRICE, WINDOW);
        id = bought();
    }

    function open() internal {
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketSaleOpen.selector, id, START + WINDOW));
        market.settle(id);
    }

    function settles() internal {
        seeAccrued(licensor, NATIVE, PRICE);
        seeSettled(id, PRICE);
        vm.prank(stranger);
        market.settle(id);
        eq(market.owed(licensor, NATIVE), PRICE);
        noSale(id);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNoSale.selector, id));
        market.settle(id);
    }

    function testFuzz_withoutASaleThereIsNothingToSettle(uint256 other) external {
        vm.assume(other != id);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNoSale.selector, other));
        market.settle(other);
    }

    function testFuzz_theWindowsEndIsTheFirstMoment(uint32 window, uint40 later) external {
        vm.assume(window != 0);
        sell(NATIVE, PRICE, window);
        id = bought();
        later %= 2 * uint40(window) + 1;
        vm.warp(START + later);
        bool over = later >= window;
        if (!over) refuses(abi.encodeWithSelector(ILicenseMarket.MarketSaleOpen.selector, id, START + window));
        market.settle(id);
        eq(market.owed(licensor, NATIVE), over ? PRICE : 0);
    }

    function test_theLastSecondOfTheWindowIsTooEarly() external {
        vm.warp(START + WINDOW - 1);
        open();
        vm.warp(START + WINDOW);
        settles();
    }

    function test_aLicenseInUseIsSettledEarly() external {
        open();
        bind(id);
        settles();
    }

    function test_aLicenseThatWasInUseIsSettledEarly() external {
        bind(id);
        vm.prank(licensor);
        ledger.evictRuntime(id, KEY);
        settles();
    }

    function test_aLicenseThatWasSublicensedIsSettledEarly() external {
        vm.prank(holder);
        ledger.sublicense(id, stranger, 0, 1);
        settles();
    }

    function test_aRevokedLicenseIsSettledAfterTheWindowOnly() external {
        revokeAt(id, 0);
        vm.warp(START + WINDOW - 1);
        open();
        vm.warp(START + WINDOW);
        settles();
    }

    function test_whoSoldIsPaidAlsoWhenTheTitleHasMoved() external {
        moveTitle(model, stranger);
        ledger.syncLicensor(plan);
        vm.prank(stranger);
        market.setPayees(plan, payeesOf(agent, 10_000, buyer, 0));
        vm.warp(START + WINDOW);
        settles();
        eq(market.owed(agent, NATIVE), 0);
        eq(market.owed(stranger, NATIVE), 0);
    }

    function test_thePayeesAreThoseOfTheDayOfSettlement() external {
        share(payeesOf(agent, 10_000, buyer, 0));
        share(payeesOf(stranger, 4_000, buyer, 1));
        vm.warp(START + WINDOW);
        seeAccrued(stranger, NATIVE, 0.4 ether);
        seeAccrued(buyer, NATIVE, 0.0001 ether);
        seeAccrued(licensor, NATIVE, 0.5999 ether);
        seeSettled(id, PRICE);
        market.settle(id);
        eq(market.owed(agent, NATIVE), 0);
    }

    function test_royaltiesComeFirstPayeesShareTheRest() external {
        sell(NATIVE, PRICE, WINDOW);
        Royalty[] memory royalties = royaltiesOf(1_000, 2_000);
        pin(royalties);
        share(payeesOf(agent, 5_000, stranger, 2_500));
        id = bought();
        vm.warp(START + WINDOW);
        uint256 first = uint256(PRICE) * royalties[0].bps / 10_000;
        uint256 second = uint256(PRICE) * royalties[1].bps / 10_000;
        seeRoyalty(royalties[0].modelId, NATIVE, first);
        seeRoyalty(royalties[1].modelId, NATIVE, second);
        seeAccrued(agent, NATIVE, 0.35 ether);
        seeAccrued(stranger, NATIVE, 0.175 ether);
        seeAccrued(licensor, NATIVE, 0.175 ether);
        seeSettled(id, PRICE);
        market.settle(id);
        eq(market.owedToModel(royalties[0].modelId, NATIVE), first);
        eq(market.owedToModel(royalties[1].modelId, NATIVE), second);
    }

    function test_whenAllIsGivenAwayTheLicensorGetsWhatRoundingLeaves() external {
        sell(NATIVE, 9_999, WINDOW);
        Royalty[] memory royalties = royaltiesOf(5_000, 0);
        pin(royalties);
        share(payeesOf(agent, 5_000, stranger, 5_000));
        id = bought();
        vm.warp(START + WINDOW);
        market.settle(id);
        bytes32 half = royalties[0].bps == 5_000 ? royalties[0].modelId : royalties[1].modelId;
        // 4,999 of 9,999; then twice 2,500 of 5,000.
        eq(market.owedToModel(half, NATIVE), 4_999);
        eq(market.owed(agent, NATIVE), 2_500);
        eq(market.owed(stranger, NATIVE), 2_500);
        eq(market.owed(licensor, NATIVE), 0);
    }

    function testFuzz_theSharesSumToThePrice(uint96 price, uint16[8] calldata bps, uint16[16] calldata parts, bool now_)
        external
    {
        vm.assume(price != 0);
        sell(address(coin), price, now_ ? 0 : WINDOW);
        Royalty[] memory royalties = eightRoyalties(bps);
        pin(royalties);
        Payee[] memory payees = sixteenPayees(parts);
        share(payees);
        id = bought();
        if (!now_) {
            vm.warp(START + WINDOW);
            market.settle(id);
        }
        uint256 left = price;
        for (uint256 i; i < 8; ++i) {
            uint256 part = uint256(price) * royalties[i].bps / 10_000;
            eq(market.owedToModel(royalties[i].modelId, address(coin)), part);
            left -= part;
        }
        isTrue(left >= price / 2);
        uint256 shared = left;
        for (uint256 i; i < 16; ++i) {
            uint256 part = shared * payees[i].bps / 10_000;
            eq(market.owed(payees[i].account, address(coin)), part);
            left -= part;
        }
        eq(market.owed(licensor, address(coin)), left);
        eq(coin.balanceOf(address(market)), price);
    }

    function eightRoyalties(uint16[8] calldata bps) private returns (Royalty[] memory list) {
        list = new Royalty[](8);
        uint256 left = 5_000;
        for (uint256 i; i < 8; ++i) {
            uint256 part = bps[i] % (left + 1);
            left -= part;
            list[i] = Royalty(newModel(200 + i), uint16(part));
            for (uint256 j = i; j != 0 && list[j].modelId < list[j - 1].modelId; --j) {
                (list[j], list[j - 1]) = (list[j - 1], list[j]);
            }
        }
    }

    function sixteenPayees(uint16[16] calldata parts) private pure returns (Payee[] memory list) {
        list = new Payee[](16);
        uint256 left = 10_000;
        for (uint256 i; i < 16; ++i) {
            uint256 part = parts[i] % (left + 1);
            left -= part;
            list[i] = Payee(address(uint160(0xFACE00 + i)), uint16(part));
        }
    }
}
