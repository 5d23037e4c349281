// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseMarket} from "../../../src/interfaces/ILicenseMarket.sol";
import {ILicenseRecords} from "../../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus, PlanTerms} from "../../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../../src/interfaces/IModelRegistry.sol";
import {MarketBase} from "../MarketBase.sol";

contract MarketRenewTest is MarketBase {
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        sell(NATIVE, PRICE, 0);
        id = bought();
    }

    function refused(bytes memory why) internal {
        uint256 before = buyer.balance;
        uint40 end = endOf(idOf(plan, 1));
        uint256 owed = market.owed(licensor, NATIVE);
        refuses(why);
        renewAs(buyer, id, PRICE);
        eq(buyer.balance, before);
        eq(endOf(idOf(plan, 1)), end);
        eq(market.owed(licensor, NATIVE), owed);
    }

    function openSale() internal {
        sell(NATIVE, PRICE, WINDOW);
        id = bought();
    }

    // ---------------------------------------------------------------- an open sale

    function testFuzz_whileItCanBeRefundedALicenseIsNotRenewed(uint32 later) external {
        openSale();
        vm.warp(START + later % WINDOW);
        refused(abi.encodeWithSelector(ILicenseMarket.MarketSaleOpen.selector, id, START + WINDOW));
        saleIs(id, NATIVE, PRICE, START + WINDOW);
    }

    function test_onceTheWindowHasPassedItSettlesFirst() external {
        openSale();
        vm.warp(START + WINDOW - 1);
        refused(abi.encodeWithSelector(ILicenseMarket.MarketSaleOpen.selector, id, START + WINDOW));
        vm.warp(START + WINDOW);
        settlesFirst();
    }

    function test_onceTheLicenseIsInUseItSettlesFirst() external {
        openSale();
        bind(id);
        settlesFirst();
    }

    function settlesFirst() private {
        seeAccrued(licensor, NATIVE, PRICE);
        seeSettled(id, PRICE);
        emits(address(ledger));
        emit ILicenseRecords.LicenseRenewed(id, START + 60 days);
        seeAccrued(licensor, NATIVE, PRICE);
        seeRenewalSold(id, buyer, NATIVE, PRICE);
        renewAs(buyer, id, PRICE);
        noSale(id);
        eq(market.owed(licensor, NATIVE), 3 * uint256(PRICE));
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNoSale.selector, id));
        market.settle(id);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNoSale.selector, id));
        refundAs(holder, id);
    }

    function test_whenTheRenewalFailsNothingIsSettled() external {
        openSale();
        vm.warp(START + WINDOW);
        grantRole(plan, address(market), 0);
        refused(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, address(market), ISSUER));
        saleIs(id, NATIVE, PRICE, START + WINDOW);
    }

    // ---------------------------------------------------------------- terms

    function test_anUnknownPlanOrLicenseIsRefused() external {
        id = idOf(99, 1);
        refuses(abi.encodeWithSelector(ILicenseRecords.PlanUnknown.selector, 99));
        renewAs(buyer, id, PRICE);
        id = idOf(plan, 2);
        refused(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id));
        // The same plan and serial, and something above them.
        id = idOf(plan, 1) | 1 << 64;
        refused(abi.encodeWithSelector(ILicenseRecords.LicenseNotFound.selector, id));
    }

    function testFuzz_aPlanThatIsNotTheOneSeenIsRefused(bytes32 seen) external {
        vm.assume(seen != digest);
        bytes memory why = abi.encodeWithSelector(ILicenseMarket.MarketPlanChanged.selector, plan, digest, seen);
        digest = seen;
        refused(why);
    }

    function test_whenTheTitleMovesTheBuyerLooksAgain() external {
        moveTitle(model, stranger);
        refused(abi.encodeWithSelector(ILicenseMarket.MarketTitleMoved.selector, plan, licensor, stranger));
        ledger.syncLicensor(plan);
        bytes32 present = digestOf(plan);
        refused(abi.encodeWithSelector(ILicenseMarket.MarketPlanChanged.selector, plan, present, digest));
        digest = present;
        refused(abi.encodeWithSelector(ILicenseRecords.PlanNotAuthorized.selector, plan, address(market), ISSUER));
        vm.prank(stranger);
        ledger.setRoles(plan, address(market), ISSUER);
        renewAs(buyer, id, PRICE);
        eq(market.owed(stranger, NATIVE), PRICE);
    }

    function test_anOpenSaleOfThePreviousLicensorIsSettledToIt() external {
        openSale();
        uint256 owed = market.owed(licensor, NATIVE);
        moveTitle(model, stranger);
        ledger.syncLicensor(plan);
        digest = digestOf(plan);
        vm.prank(stranger);
        ledger.setRoles(plan, address(market), ISSUER);
        vm.warp(START + WINDOW);
        renewAs(buyer, id, PRICE);
        eq(market.owed(licensor, NATIVE), owed + PRICE);
        eq(market.owed(stranger, NATIVE), PRICE);
    }

    // ---------------------------------------------------------------- payment

    function testFuzz_onlyExactlyThePriceRenews(uint96 price, uint96 value) external {
        sell(NATIVE, price, 0);
        id = bought();
        if (price != value) {
            refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, price, value));
        }
        renewAs(buyer, id, value);
        eq(endOf(id), price == value ? START + 60 days : START + 30 days);
        eq(market.owed(licensor, NATIVE), PRICE + (price == value ? 2 : 1) * uint256(price));
    }

    function test_oneWeiMoreOrLessIsRefused() external {
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, PRICE, PRICE - 1));
        renewAs(buyer, id, PRICE - 1);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, PRICE, PRICE + 1));
        renewAs(buyer, id, PRICE + 1);
    }

    function test_aTokenPaysByAllowanceOrPermit() external {
        sell(address(coin), PRICE, 0);
        id = bought();
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketWrongPayment.selector, 0, PRICE));
        renewAs(buyer, id, PRICE);
        renewAs(buyer, id, 0);
        vm.prank(buyer);
        coin.approve(address(market), 0);
        vm.warp(START + 30 days);
        bytes memory permit = permitOf(BUYER_KEY, PRICE, START + 30 days);
        vm.prank(buyer);
        market.renew(id, digest, permit);
        eq(coin.balanceOf(address(market)), 3 * uint256(PRICE));
        eq(market.owed(licensor, address(coin)), 3 * uint256(PRICE));
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketPermitMalformed.selector, 5));
        vm.prank(buyer);
        market.renew(id, digest, "short");
    }

    function test_aFreePlanRenewsForNothing() external {
        sell(address(0xDEAD), 0, WINDOW);
        id = bought();
        seeRenewalSold(id, stranger, address(0xDEAD), 0);
        renewAs(stranger, id, 0);
        eq(endOf(id), START + 60 days);
    }

    // ---------------------------------------------------------------- the ledger refuses

    function test_noMoreThanTwoDurationsAhead() external {
        renewAs(buyer, id, PRICE);
        refused(abi.encodeWithSelector(ILicenseRecords.LicenseWindowInvalid.selector, START + 60 days, START + 90 days));
        vm.warp(START + 30 days - 1);
        refused(abi.encodeWithSelector(ILicenseRecords.LicenseWindowInvalid.selector, START + 60 days, START + 90 days));
        vm.warp(START + 30 days);
        renewAs(buyer, id, PRICE);
        eq(endOf(id), START + 90 days);
    }

    function test_aPerpetualLicenseIsNotRenewed() external {
        PlanTerms memory terms = termsOf(model);
        terms.duration = 0;
        sell(terms);
        id = bought();
        eq(endOf(id), PERPETUAL);
        refused(abi.encodeWithSelector(ILicenseRecords.LicenseNotLater.selector, id, PERPETUAL, PERPETUAL));
    }

    function test_aRevokedLicenseIsNotRenewed() external {
        revokeAt(id, START + 10 days);
        refused(abi.encodeWithSelector(ILicenseRecords.LicenseUnderNotice.selector, id, START + 10 days));
        vm.warp(START + 10 days);
        refused(abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.REVOKED));
    }

    function test_aSuspendedLicenseIsNotRenewed() external {
        vm.prank(licensor);
        ledger.suspend(id, 0);
        refused(abi.encodeWithSelector(ILicenseRecords.LicenseStatusForbids.selector, id, LicenseStatus.SUSPENDED));
    }

    function test_aSublicenseIsItsParentsToRenew() external {
        vm.prank(holder);
        uint256 child = ledger.sublicense(id, stranger, START + 10 days, 1);
        uint256 parent = id;
        id = child;
        refused(abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, parent, address(market)));
        eq(endOf(child), START + 10 days);
    }

    // ---------------------------------------------------------------- renewed

    function testFuzz_anyonePaysAndTheEndMovesOneDurationOn(address payer, uint32 later, bool native) external {
        vm.assume(payer != address(0) && payer != address(market));
        fund(payer);
        address payToken = native ? NATIVE : address(coin);
        sell(payToken, PRICE, 0);
        id = bought();
        vm.warp(START + later % 90 days);
        uint256 owed = market.owed(licensor, payToken);
        uint256 before = balanceOf(payToken, payer);
        uint40 from = block.timestamp > START + 30 days ? uint40(block.timestamp) : START + 30 days;
        emits(address(ledger));
        emit ILicenseRecords.LicenseRenewed(id, from + 30 days);
        seeAccrued(licensor, payToken, PRICE);
        seeRenewalSold(id, payer, payToken, PRICE);
        renewAs(payer, id, native ? PRICE : 0);
        eq(endOf(id), from + 30 days);
        eq(token.ownerOf(id), holder);
        eq(market.owed(licensor, payToken), owed + PRICE);
        eq(before - balanceOf(payToken, payer), PRICE);
        noSale(id);
    }

    function test_neitherPauseNorWithdrawalStopsARenewal() external {
        vm.startPrank(licensor);
        ledger.setPaused(plan, true);
        models.setStatus(model, ModelStatus.WITHDRAWN);
        vm.stopPrank();
        renewAs(buyer, id, PRICE);
        eq(endOf(id), START + 60 days);
    }

    function test_aLicenseThatWasNotSoldHereIsRenewedHere() external {
        id = newLicense(plan, holder);
        renewAs(holderWithCoins(), id, PRICE);
        eq(endOf(id), START + 60 days);
    }

    function holderWithCoins() private returns (address) {
        fund(holder);
        return holder;
    }
}
