// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

import {ILicenseMarket} from "../../../src/interfaces/ILicenseMarket.sol";
import {MarketBase} from "../MarketBase.sol";

/// @dev An honest token of the years before permits.
contract OldCoin is ERC20 {
    constructor(address to) ERC20("Old", "OLD") {
        _mint(to, 10 ether);
    }
}

contract BuyPermitTest is MarketBase {
    function setUp() public override {
        super.setUp();
        sell(address(coin), PRICE, 0);
    }

    function disallow() internal {
        vm.prank(buyer);
        coin.approve(address(market), 0);
    }

    function testFuzz_aPermitOfAnyOtherLengthIsMalformed(bytes calldata permit) external {
        vm.assume(permit.length != 0 && permit.length != 128);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketPermitMalformed.selector, permit.length));
        buyAs(buyer, 0, permit);
    }

    function test_aPermitOneByteOffIsMalformed() external {
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketPermitMalformed.selector, 127));
        buyAs(buyer, 0, new bytes(127));
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketPermitMalformed.selector, 129));
        buyAs(buyer, 0, new bytes(129));
    }

    function test_aPermitWhoseVIsNoByteIsRefused() external {
        bytes memory permit = abi.encode(uint256(START), uint256(256), bytes32(0), bytes32(0));
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketPermitMalformed.selector, 128));
        buyAs(buyer, 0, permit);
        // The largest byte is no malformed permit: it fails, and the allowance decides.
        permit = abi.encode(uint256(START), uint256(255), bytes32(0), bytes32(0));
        buyAs(buyer, 0, permit);
        eq(issuedOf(plan), 1);
    }

    function testFuzz_aPermitAllowsExactlyThePrice(uint96 price, uint32 ahead) external {
        vm.assume(price != 0);
        sell(address(coin), price, 0);
        disallow();
        bytes memory permit = permitOf(BUYER_KEY, price, block.timestamp + ahead);
        buyAs(buyer, 0, permit);
        eq(coin.allowance(buyer, address(market)), 0);
        eq(coin.nonces(buyer), 1);
        eq(coin.balanceOf(address(market)), price);
        eq(token.ownerOf(idOf(plan, 1)), holder);
    }

    function test_aPermitThatAnotherHasUsedBeforeIsNoObstacle() external {
        disallow();
        bytes memory permit = permitOf(BUYER_KEY, PRICE, START);
        (uint256 deadline, uint8 v, bytes32 r, bytes32 s) = abi.decode(permit, (uint256, uint8, bytes32, bytes32));
        vm.prank(stranger);
        coin.permit(buyer, address(market), PRICE, deadline, v, r, s);
        eq(coin.allowance(buyer, address(market)), PRICE);
        buyAs(buyer, 0, permit);
        eq(issuedOf(plan), 1);
        eq(coin.allowance(buyer, address(market)), 0);
    }

    function test_thePermitOfAnotherBuysNothing() external {
        disallow();
        bytes memory permit = permitOf(BUYER_KEY, PRICE, START);
        refuses(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(market), 0, PRICE));
        buyAs(agent, 0, permit);
    }

    function testFuzz_whenAPermitFailsTheAllowanceDecides(uint8 how, bool allowed) external {
        if (!allowed) disallow();
        bytes memory permit = permitOf(BUYER_KEY, PRICE, START);
        if (how % 4 == 0) permit = permitOf(BUYER_KEY, PRICE, START - 1);
        else if (how % 4 == 1) permit = permitOf(BUYER_KEY, PRICE + 1, START);
        else if (how % 4 == 2) permit = permitOf(LICENSOR_KEY, PRICE, START);
        else permit[127] ^= 0x01;
        if (!allowed) {
            refuses(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(market), 0, PRICE));
        }
        buyAs(buyer, 0, permit);
        eq(issuedOf(plan), allowed ? 1 : 0);
        eq(coin.nonces(buyer), 0);
    }

    function test_aTokenWithoutPermitsTakesTheAllowance() external {
        OldCoin old = new OldCoin(buyer);
        sell(address(old), PRICE, 0);
        vm.prank(buyer);
        old.approve(address(market), PRICE);
        buyAs(buyer, 0, new bytes(128));
        eq(old.balanceOf(address(market)), PRICE);
    }
}
