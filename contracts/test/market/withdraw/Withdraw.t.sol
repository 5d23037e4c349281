// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Errors} from "@openzeppelin/contracts/utils/Errors.sol";

import {ILicenseMarket} from "../../../src/interfaces/ILicenseMarket.sol";
import {MarketBase} from "../MarketBase.sol";

contract WithdrawTest is MarketBase {
    function owe(address payToken, uint96 price) internal {
        sell(payToken, price, 0);
        bought();
    }

    function refused(address who, address payToken) internal {
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNothingOwed.selector, who, payToken));
        withdrawAs(who, payToken, who);
    }

    function testFuzz_whoIsOwedNothingGetsNothing(address who, address payToken) external {
        vm.assume(who != licensor || payToken != NATIVE);
        owe(NATIVE, PRICE);
        refused(who, payToken);
    }

    function testFuzz_allThatIsOwedIsSentOnce(uint96 price, bool native, address to) external {
        // Precompiles and contracts do not take coins.
        vm.assume(price != 0 && uint160(to) > 0xffff && to.code.length == 0 && to != address(market));
        address payToken = native ? NATIVE : address(coin);
        owe(payToken, price);
        uint256 before = balanceOf(payToken, to);
        emits(address(market));
        emit ILicenseMarket.Withdrawn(licensor, payToken, to, price);
        withdrawAs(licensor, payToken, to);
        eq(balanceOf(payToken, to) - before, price);
        eq(balanceOf(payToken, address(market)), 0);
        eq(market.owed(licensor, payToken), 0);
        refused(licensor, payToken);
    }

    function test_whatSeveralSalesOweIsSentTogether() external {
        owe(NATIVE, PRICE);
        owe(NATIVE, 3 * PRICE);
        withdrawAs(licensor, NATIVE, agent);
        eq(agent.balance, 4 * uint256(PRICE));
    }

    function test_oneTokenIsNotPaidInAnother() external {
        owe(NATIVE, PRICE);
        refused(licensor, address(coin));
        owe(address(coin), 2 * PRICE);
        withdrawAs(licensor, NATIVE, agent);
        eq(agent.balance, PRICE);
        eq(coin.balanceOf(address(market)), 2 * uint256(PRICE));
        withdrawAs(licensor, address(coin), agent);
        eq(coin.balanceOf(agent), 2 * uint256(PRICE));
    }

    function test_oneAccountIsNotPaidWhatAnotherIsOwed() external {
        sell(NATIVE, PRICE, 0);
        share(payeesOf(agent, 4_000, stranger, 0));
        bought();
        refused(stranger, NATIVE);
        withdrawAs(agent, NATIVE, agent);
        eq(agent.balance, 0.4 ether);
        eq(address(market).balance, 0.6 ether);
        eq(market.owed(licensor, NATIVE), 0.6 ether);
    }

    function test_anOpenSaleIsNobodysYet() external {
        sell(NATIVE, PRICE, WINDOW);
        bought();
        refused(licensor, NATIVE);
    }

    function test_aPaymentThatFailsLeavesAllOwed() external {
        owe(NATIVE, PRICE);
        // The registry takes no coins.
        refuses(abi.encodeWithSelector(Errors.FailedCall.selector));
        withdrawAs(licensor, NATIVE, address(models));
        eq(market.owed(licensor, NATIVE), PRICE);
    }

    function testFuzz_neitherNobodyNorTheMarketIsSentAnything(bool native, bool nobody) external {
        address payToken = native ? NATIVE : address(coin);
        owe(payToken, PRICE);
        address to = nobody ? address(0) : address(market);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketRecipientInvalid.selector, to));
        withdrawAs(licensor, payToken, to);
        eq(market.owed(licensor, payToken), PRICE);
        eq(balanceOf(payToken, address(market)), PRICE);
    }

    function test_theMarketTakesNoCoinsThatBuyNothing() external {
        vm.deal(address(this), 1 ether);
        (bool ok,) = address(market).call{value: 1}("");
        isFalse(ok);
        (ok,) = address(market).call{value: 1}(abi.encodeCall(market.withdraw, (NATIVE, agent)));
        isFalse(ok);
    }
}
