// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseMarket} from "../../../src/interfaces/ILicenseMarket.sol";
import {MarketBase} from "../MarketBase.sol";

contract ForcedCoinsTest is MarketBase {
    /// @dev SELFDESTRUCT while being created still sends (EIP-6780), and nobody can refuse.
    function force(uint256 amount) internal {
        vm.deal(address(this), amount);
        bytes memory code = abi.encodePacked(hex"73", address(market), hex"ff");
        assembly {
            if iszero(create(amount, add(code, 32), mload(code))) { revert(0, 0) }
        }
    }

    function testFuzz_forcedCoinsAreOwedToNobodyAndDisturbNoSum(uint96 forced, uint96 price, uint32 window) external {
        vm.assume(price != 0);
        force(forced);
        eq(address(market).balance, forced);
        sell(NATIVE, price, window);
        uint256 id = bought();
        force(forced);
        if (window != 0) {
            vm.warp(uint256(START) + window);
            market.settle(id);
        }
        eq(market.owed(licensor, NATIVE), price);
        withdrawAs(licensor, NATIVE, agent);
        eq(agent.balance, price);
        eq(address(market).balance, 2 * uint256(forced));
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNothingOwed.selector, licensor, NATIVE));
        withdrawAs(licensor, NATIVE, agent);
    }

    function test_forcedCoinsBuyNothing() external {
        force(PRICE);
        coin.mint(address(market), PRICE);
        sell(NATIVE, PRICE, 0);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, PRICE, 0));
        buyAs(buyer, 0, "");
        sell(address(coin), PRICE, 0);
        vm.expectRevert();
        buyAs(agent, 0, "");
        eq(issuedOf(plan), 0);
    }

    function testFuzz_tokensThatNobodyPaidAreOwedToNobody(uint96 given, uint96 price) external {
        vm.assume(price != 0);
        coin.mint(address(market), given);
        sell(address(coin), price, 0);
        bought();
        withdrawAs(licensor, address(coin), agent);
        eq(coin.balanceOf(agent), price);
        eq(coin.balanceOf(address(market)), given);
    }
}
