// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Errors} from "@openzeppelin/contracts/utils/Errors.sol";

import {ILicenseMarket, Royalty} from "../../../src/interfaces/ILicenseMarket.sol";
import {ModelStatus} from "../../../src/interfaces/IModelRegistry.sol";
import {MarketBase} from "../MarketBase.sol";

contract CollectRoyaltiesTest is MarketBase {
    bytes32 internal parent;

    function setUp() public override {
        super.setUp();
        parent = newModel(50);
        moveTitle(parent, agent);
        offer(NATIVE, PRICE, 2_000);
    }

    function offer(address payToken, uint96 price, uint16 bps) internal {
        sell(payToken, price, 0);
        Royalty[] memory list = new Royalty[](1);
        list[0] = Royalty(parent, bps);
        pin(list);
    }

    function collectAs(address who, address payToken, address to) internal {
        vm.prank(who);
        market.collectRoyalties(parent, payToken, to);
    }

    function testFuzz_onlyTheTitleholderCollects(address who) external {
        vm.assume(who != agent);
        bought();
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNotTitleHolder.selector, parent, who));
        collectAs(who, NATIVE, who);
    }

    function testFuzz_aModelThatIsUnknownIsNobodys(bytes32 unknown, address who) external {
        vm.assume(models.licensorOf(unknown) == address(0) && who != address(0));
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNotTitleHolder.selector, unknown, who));
        vm.prank(who);
        market.collectRoyalties(unknown, NATIVE, who);
    }

    function test_whereNothingIsOwedNothingIsCollected() external {
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNothingOwed.selector, agent, NATIVE));
        collectAs(agent, NATIVE, agent);
        bought();
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNothingOwed.selector, agent, address(coin)));
        collectAs(agent, address(coin), agent);
    }

    function testFuzz_allIsCollectedOnce(uint96 price, uint16 bps, bool native) external {
        address payToken = native ? NATIVE : address(coin);
        offer(payToken, price, bps % 5_001);
        uint256 due = uint256(price) * (bps % 5_001) / 10_000;
        vm.assume(due != 0);
        seeRoyalty(parent, payToken, due);
        bought();
        eq(market.owedToModel(parent, payToken), due);
        emits(address(market));
        emit ILicenseMarket.RoyaltiesCollected(parent, payToken, holder, due);
        collectAs(agent, payToken, holder);
        eq(balanceOf(payToken, holder), due);
        eq(market.owedToModel(parent, payToken), 0);
        eq(balanceOf(payToken, address(market)), price - due);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNothingOwed.selector, agent, payToken));
        collectAs(agent, payToken, holder);
    }

    function test_whatAccruedToTheModelGoesWithItsTitle() external {
        bought();
        moveTitle(parent, stranger);
        bought();
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNotTitleHolder.selector, parent, agent));
        collectAs(agent, NATIVE, agent);
        uint256 before = stranger.balance;
        collectAs(stranger, NATIVE, stranger);
        eq(stranger.balance - before, 0.4 ether);
    }

    function test_aModelThatWasWithdrawnStillCollects() external {
        vm.prank(agent);
        models.setStatus(parent, ModelStatus.WITHDRAWN);
        bought();
        collectAs(agent, NATIVE, agent);
        eq(agent.balance, 0.2 ether);
    }

    function test_renewalsPayRoyaltiesToo() external {
        uint256 id = bought();
        renewAs(buyer, id, PRICE);
        eq(market.owedToModel(parent, NATIVE), 0.4 ether);
    }

    function test_royaltiesAreNotAmongWhatItsHolderIsOwed() external {
        bought();
        eq(market.owed(agent, NATIVE), 0);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNothingOwed.selector, agent, NATIVE));
        withdrawAs(agent, NATIVE, agent);
    }

    function test_aPaymentThatFailsLeavesAllOwed() external {
        bought();
        refuses(abi.encodeWithSelector(Errors.FailedCall.selector));
        collectAs(agent, NATIVE, address(models));
        eq(market.owedToModel(parent, NATIVE), 0.2 ether);
    }

    function testFuzz_neitherNobodyNorTheMarketIsSentAnything(bool native, bool nobody) external {
        address payToken = native ? NATIVE : address(coin);
        if (!native) offer(payToken, PRICE, 2_000);
        bought();
        address to = nobody ? address(0) : address(market);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketRecipientInvalid.selector, to));
        collectAs(agent, payToken, to);
        eq(market.owedToModel(parent, payToken), 0.2 ether);
    }

    function test_aRoyaltyThatRoundsToNothingIsTheLicensors() external {
        offer(NATIVE, 4, 2_000);
        bought();
        eq(market.owedToModel(parent, NATIVE), 0);
        eq(market.owed(licensor, NATIVE), 4);
    }
}
