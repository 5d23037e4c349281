// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MarketBase} from "../MarketBase.sol";

/// @notice Takes coins as it is told: not at all, or with all the gas there is.
contract BadReceiver {
    error NotToday();

    bool private burns;

    constructor(bool burns_) {
        burns = burns_;
    }

    receive() external payable {
        if (!burns) revert NotToday();
        assembly {
            invalid()
        }
    }
}

contract ReceiverAttacksTest is MarketBase {
    address internal refuser;
    address internal burner;
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        refuser = address(new BadReceiver(false));
        burner = address(new BadReceiver(true));
        sell(NATIVE, PRICE, WINDOW);
        share(payeesOf(refuser, 2_500, burner, 2_500));
        id = bought();
    }

    function test_aPayeeStopsNoSettlementAndNobodyElsesMoney() external {
        vm.warp(START + WINDOW);
        market.settle{gas: 300_000}(id);
        withdrawAs(licensor, NATIVE, licensor);
        eq(licensor.balance, PRICE / 2);
        eq(market.owed(refuser, NATIVE), PRICE / 4);
        eq(market.owed(burner, NATIVE), PRICE / 4);
    }

    function test_aPayeeStopsNoRenewal() external {
        bind(id);
        renewAs(buyer, id, PRICE);
        eq(market.owed(licensor, NATIVE), PRICE);
    }

    function test_aReceiverThatRevertsIsStillOwedAndMayNameAnother() external {
        vm.warp(START + WINDOW);
        market.settle(id);
        refuses(abi.encodeWithSelector(BadReceiver.NotToday.selector));
        withdrawAs(refuser, NATIVE, refuser);
        eq(market.owed(refuser, NATIVE), PRICE / 4);
        withdrawAs(refuser, NATIVE, agent);
        eq(agent.balance, PRICE / 4);
    }

    function test_aReceiverThatBurnsGasBurnsItsOwn() external {
        vm.warp(START + WINDOW);
        market.settle(id);
        vm.prank(burner);
        (bool ok,) = address(market).call{gas: 1_000_000}(abi.encodeCall(market.withdraw, (NATIVE, burner)));
        isFalse(ok);
        eq(market.owed(burner, NATIVE), PRICE / 4);
        withdrawAs(burner, NATIVE, agent);
        eq(agent.balance, PRICE / 4);
    }

    function test_aHolderThatTakesNoCoinsIsRefundedAllTheSame() external {
        vm.prank(holder);
        token.transferFrom(holder, refuser, id);
        allowSurrender(id);
        refundAs(refuser, id);
        withdrawAs(refuser, NATIVE, agent);
        eq(agent.balance, PRICE);
    }
}
