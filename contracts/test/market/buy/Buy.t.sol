// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

import {ILicenseMarket} from "../../../src/interfaces/ILicenseMarket.sol";
import {ILicenseRecords} from "../../../src/interfaces/ILicenseRecords.sol";
import {PlanTerms} from "../../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../../src/interfaces/IModelRegistry.sol";
import {MarketBase} from "../MarketBase.sol";

contract BuyTest is MarketBase {
    error TransferToZeroAddress();

    function setUp() public override {
        super.setUp();
        sell(NATIVE, PRICE, 0);
    }

    function sellCoin() internal {
        sell(address(coin), PRICE, 0);
    }

    // ---------------------------------------------------------------- the plan

    function test_anUnknownPlanIsRefused() external {
        refuses(abi.encodeWithSelector(ILicenseRecords.PlanUnknown.selector, 99));
        market.buy{value: PRICE}(99, digest, holder, "");
    }

    function testFuzz_aPlanThatIsNotTheOneSeenIsRefused(bytes32 seen) external {
        vm.assume(seen != digest);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketPlanChanged.selector, plan, digest, seen));
        vm.prank(buyer);
        market.buy{value: PRICE}(plan, seen, holder, "");
    }

    function test_thePlanOfALicensorWithoutTitleSellsNothing() external {
        moveTitle(model, stranger);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketTitleMoved.selector, plan, licensor, stranger));
        buyAs(buyer, PRICE, "");
    }

    function test_afterTheSyncItSellsForTheNewLicensorOnceTheMarketHasItsRole() external {
        moveTitle(model, stranger);
        ledger.syncLicensor(plan);
        bytes32 present = digestOf(plan);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketPlanChanged.selector, plan, present, digest));
        buyAs(buyer, PRICE, "");

        digest = present;
        refuses(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, address(market), ISSUER));
        buyAs(buyer, PRICE, "");

        vm.prank(stranger);
        ledger.setRoles(plan, address(market), ISSUER);
        emits(address(market));
        emit ILicenseMarket.LicenseSold(idOf(plan, 1), buyer, stranger, NATIVE, PRICE, 0);
        buyAs(buyer, PRICE, "");
        eq(market.owed(stranger, NATIVE), PRICE);
        eq(market.owed(licensor, NATIVE), 0);
    }

    // ---------------------------------------------------------------- paying in the chain's coin

    function test_oneWeiMoreOrLessIsRefused() external {
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, PRICE, PRICE - 1));
        buyAs(buyer, PRICE - 1, "");
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, PRICE, PRICE + 1));
        buyAs(buyer, PRICE + 1, "");
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, PRICE, 0));
        buyAs(buyer, 0, "");
    }

    function testFuzz_onlyExactlyThePriceBuys(uint96 price, uint96 value) external {
        sell(NATIVE, price, 0);
        uint256 before = buyer.balance;
        if (value != price) {
            refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, price, value));
        }
        buyAs(buyer, value, "");
        bool sold = value == price;
        eq(before - buyer.balance, sold ? price : 0);
        eq(address(market).balance, sold ? price : 0);
        eq(market.owed(licensor, NATIVE), sold ? price : 0);
        eq(issuedOf(plan), sold ? 1 : 0);
    }

    function test_aPermitForThePlansOfTheChainsCoinIsNotRead() external {
        buyAs(buyer, PRICE, hex"00");
        eq(issuedOf(plan), 1);
    }

    // ---------------------------------------------------------------- paying in a token

    function test_coinsSentToAPlanPricedInATokenAreRefused() external {
        sellCoin();
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, 0, PRICE));
        buyAs(buyer, PRICE, "");
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, 0, 1));
        buyAs(buyer, 1, "");
    }

    function test_aTokenWithoutCodeIsRefused() external {
        sell(address(0xDEAD), PRICE, 0);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketTokenMissing.selector, address(0xDEAD)));
        buyAs(buyer, 0, "");
    }

    function test_withoutAllowanceTheTokenSaysNo() external {
        sellCoin();
        vm.prank(buyer);
        coin.approve(address(market), PRICE - 1);
        refuses(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(market), PRICE - 1, PRICE)
        );
        buyAs(buyer, 0, "");
    }

    function test_withoutBalanceTheTokenSaysNo() external {
        sellCoin();
        vm.prank(agent);
        coin.approve(address(market), PRICE);
        coin.mint(agent, PRICE - 1);
        refuses(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, agent, PRICE - 1, PRICE));
        buyAs(agent, 0, "");
    }

    function testFuzz_aTokenPaysExactlyThePriceToo(uint96 price, uint96 allowed) external {
        sell(address(coin), price, 0);
        vm.prank(buyer);
        coin.approve(address(market), allowed);
        uint256 before = coin.balanceOf(buyer);
        bool sold = allowed >= price;
        if (!sold) {
            refuses(
                abi.encodeWithSelector(
                    IERC20Errors.ERC20InsufficientAllowance.selector, address(market), allowed, price
                )
            );
        }
        buyAs(buyer, 0, "");
        eq(before - coin.balanceOf(buyer), sold ? price : 0);
        eq(coin.balanceOf(address(market)), sold ? price : 0);
        eq(market.owed(licensor, address(coin)), sold ? price : 0);
        eq(address(market).balance, 0);
    }

    // ---------------------------------------------------------------- the ledger refuses

    function refusedAndUntouched(bytes memory why, address to) internal {
        uint256 before = buyer.balance;
        uint32 issued = issuedOf(plan);
        refuses(why);
        vm.prank(buyer);
        market.buy{value: PRICE}(plan, digest, to, "");
        eq(buyer.balance, before);
        eq(issuedOf(plan), issued);
        eq(market.owed(licensor, NATIVE), address(market).balance);
    }

    function test_aPausedPlanSellsNothing() external {
        vm.prank(licensor);
        ledger.setPaused(plan, true);
        refusedAndUntouched(abi.encodeWithSelector(ILicenseRecords.PlanIsPaused.selector, plan), holder);
        vm.prank(licensor);
        ledger.setPaused(plan, false);
        bought();
    }

    function test_aPlanThatIsSoldOutSellsNothing() external {
        PlanTerms memory terms = termsOf(model);
        terms.supply = 1;
        sell(terms);
        bought();
        refusedAndUntouched(abi.encodeWithSelector(ILicenseRecords.PlanSupplyExceeded.selector, plan, 1), holder);
    }

    function test_aModelThatIsNotActiveSellsNothing() external {
        vm.prank(licensor);
        models.setStatus(model, ModelStatus.WITHDRAWN);
        refusedAndUntouched(abi.encodeWithSelector(ILicenseRecords.PlanModelNotIssuable.selector, model, 2), holder);
        vm.prank(licensor);
        models.setStatus(model, ModelStatus.COMPROMISED);
        refusedAndUntouched(abi.encodeWithSelector(ILicenseMarket.MarketModelCompromised.selector, model), holder);
        vm.prank(licensor);
        models.setStatus(model, ModelStatus.ACTIVE);
        bought();
    }

    function test_aMarketWithoutItsRoleSellsNothing() external {
        bytes memory why =
            abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, address(market), ISSUER);
        grantRole(plan, address(market), REVOKER | METER | GUARDIAN);
        refusedAndUntouched(why, holder);
        grantRole(plan, address(market), 0);
        refusedAndUntouched(why, holder);
    }

    function test_nothingIsSoldToNobody() external {
        refusedAndUntouched(abi.encodeWithSelector(TransferToZeroAddress.selector), address(0));
    }

    // ---------------------------------------------------------------- sold

    function test_aPriceOfZeroTakesNothingAndKeepsNoSale() external {
        sell(NATIVE, 0, WINDOW);
        seeSold(idOf(plan, 1), buyer, NATIVE, 0, 0);
        noSale(buyAs(buyer, 0, ""));
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, 0, 1));
        buyAs(buyer, 1, "");

        sell(address(0xDEAD), 0, WINDOW);
        seeSold(idOf(plan, 1), agent, address(0xDEAD), 0, 0);
        noSale(buyAs(agent, 0, hex"01"));
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, 0, 1));
        buyAs(buyer, 1, "");
        eq(market.owed(licensor, NATIVE), 0);
    }

    function testFuzz_withoutARefundWindowThePriceIsSharedOutAtOnce(uint96 price, bool native) external {
        vm.assume(price != 0);
        address payToken = native ? NATIVE : address(coin);
        sell(payToken, price, 0);
        uint256 id = idOf(plan, 1);
        emits(address(ledger));
        emit ILicenseRecords.LicenseIssued(id, plan, holder, START, START + 30 days);
        seeAccrued(licensor, payToken, price);
        seeSold(id, buyer, payToken, price, 0);
        eq(buyAs(buyer, native ? price : 0, ""), id);
        noSale(id);
        eq(market.owed(licensor, payToken), price);
        eq(token.ownerOf(id), holder);
        eq(endOf(id), START + 30 days);
        eq(codeOf(id), 0);
    }

    function testFuzz_withARefundWindowThePriceIsKept(uint96 price, bool native, uint32 window, uint24 later) external {
        vm.assume(price != 0 && window != 0);
        address payToken = native ? NATIVE : address(coin);
        sell(payToken, price, window);
        vm.warp(START + later);
        uint256 id = idOf(plan, 1);
        uint40 until = uint40(block.timestamp) + window;
        seeSold(id, buyer, payToken, price, until);
        buyAs(buyer, native ? price : 0, "");
        saleIs(id, payToken, price, until);
        eq(market.owed(licensor, payToken), 0);
        eq(balanceOf(payToken, address(market)), price);
    }

    function test_aKeptSaleAccruesToNobody() external {
        sell(NATIVE, PRICE, WINDOW);
        vm.recordLogs();
        bought();
        // Transfer and LicenseIssued of the ledger, LicenseSold of the market.
        eq(vm.getRecordedLogs().length, 3);
    }

    function testFuzz_eachSaleHasItsOwnLicenseAndRecord(uint8 count) external {
        sell(NATIVE, PRICE, WINDOW);
        uint256 n = 1 + count % 8;
        for (uint256 i; i < n; ++i) {
            vm.warp(START + i);
            eq(bought(), idOf(plan, i + 1));
        }
        for (uint256 i; i < n; ++i) {
            saleIs(idOf(plan, i + 1), NATIVE, PRICE, uint40(START + i + WINDOW));
        }
        eq(address(market).balance, n * PRICE);
    }
}
