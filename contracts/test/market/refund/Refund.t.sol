// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseMarket, Royalty} from "../../../src/interfaces/ILicenseMarket.sol";
import {ILicenseRecords} from "../../../src/interfaces/ILicenseRecords.sol";
import {LicenseStatus, PlanTerms} from "../../../src/interfaces/LicenseTypes.sol";
import {ModelStatus} from "../../../src/interfaces/IModelRegistry.sol";
import {MarketBase} from "../MarketBase.sol";

contract RefundTest is MarketBase {
    uint256 internal id;

    function setUp() public override {
        super.setUp();
        sell(NATIVE, PRICE, WINDOW);
        id = bought();
    }

    function refused(address who, bytes memory why) internal {
        LicenseStatus status = statusOf(id);
        refuses(why);
        refundAs(who, id);
        isTrue(statusOf(id) == status);
        eq(market.owed(who, NATIVE), 0);
    }

    function refusedUsed() internal {
        allowSurrender(id);
        refused(holder, abi.encodeWithSelector(ILicenseMarket.MarketLicenseUsed.selector, id));
    }

    function refunded(address who) internal {
        seeAccrued(who, NATIVE, PRICE);
        seeRefunded(id, who, NATIVE, PRICE);
        refundAs(who, id);
        eq(market.owed(who, NATIVE), PRICE);
        noSale(id);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNoSale.selector, id));
        refundAs(who, id);
    }

    // ---------------------------------------------------------------- refused

    function testFuzz_withoutASaleThereIsNothingToRefund(uint256 other) external {
        vm.assume(other != id);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNoSale.selector, other));
        refundAs(holder, other);
    }

    function test_whatWasIssuedFreeOrWithoutWindowIsNoSale() external {
        id = newLicense(plan, holder);
        refused(holder, abi.encodeWithSelector(ILicenseMarket.MarketNoSale.selector, id));
        sell(NATIVE, 0, WINDOW);
        id = bought();
        refused(holder, abi.encodeWithSelector(ILicenseMarket.MarketNoSale.selector, id));
        sell(NATIVE, PRICE, 0);
        id = bought();
        refused(holder, abi.encodeWithSelector(ILicenseMarket.MarketNoSale.selector, id));
    }

    function testFuzz_theWindowsEndIsOutside(uint32 window, uint40 later) external {
        vm.assume(window != 0);
        sell(NATIVE, PRICE, window);
        id = bought();
        allowSurrender(id);
        later %= 2 * uint40(window) + 1;
        vm.warp(START + later);
        if (later < window) {
            refundAs(holder, id);
            eq(market.owed(holder, NATIVE), PRICE);
        } else {
            refused(holder, abi.encodeWithSelector(ILicenseMarket.MarketRefundOver.selector, id, START + window));
        }
    }

    function test_theLastSecondOfTheWindowIsInside() external {
        allowSurrender(id);
        vm.warp(START + WINDOW);
        refused(holder, abi.encodeWithSelector(ILicenseMarket.MarketRefundOver.selector, id, START + WINDOW));
        vm.warp(START + WINDOW - 1);
        refunded(holder);
    }

    function testFuzz_onlyTheHolderIsRefunded(address who) external {
        vm.assume(who != holder);
        allowSurrender(id);
        refused(who, abi.encodeWithSelector(ILicenseMarket.MarketNotHolder.selector, id, who));
    }

    function test_neitherWhoPaidNorWhoSoldNorWhoMayMoveItIsRefunded() external {
        vm.prank(holder);
        token.setApprovalForAll(agent, true);
        allowSurrender(id);
        address[3] memory others = [buyer, licensor, agent];
        for (uint256 i; i < 3; ++i) {
            refused(others[i], abi.encodeWithSelector(ILicenseMarket.MarketNotHolder.selector, id, others[i]));
        }
    }

    function test_aLicenseInUseIsNotRefunded() external {
        bind(id);
        refusedUsed();
    }

    function test_aLicenseThatWasInUseIsNotRefunded() external {
        bind(id);
        vm.prank(licensor);
        ledger.evictRuntime(id, KEY);
        eq(seatsOf(id), 0);
        refusedUsed();
    }

    function test_aLicenseWhoseSeatLapsedIsNotRefunded() external {
        vm.prank(holder);
        ledger.bindRuntime(id, KEY, START + 1, 0);
        vm.warp(START + 1);
        ledger.releaseRuntime(id, KEY);
        refusedUsed();
    }

    function test_aLicenseThatWasSublicensedIsNotRefundedNorIsTheSublicense() external {
        vm.prank(holder);
        uint256 child = ledger.sublicense(id, stranger, START + 1 days, 1);
        refusedUsed();
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNoSale.selector, child));
        refundAs(stranger, child);
        vm.warp(START + 1 days);
        vm.prank(holder);
        ledger.reclaimSeats(child);
        refusedUsed();
    }

    function test_withoutApprovalTheLedgerDoesNotLetItGo() external {
        refused(holder, abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, address(market)));
        saleIs(id, NATIVE, PRICE, START + WINDOW);
    }

    function test_anApprovalThatHasBeenTakenBackIsNone() external {
        allowSurrender(id);
        vm.prank(holder);
        token.approve(address(0), id);
        refused(holder, abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, address(market)));
    }

    // ---------------------------------------------------------------- refunded

    function testFuzz_theHolderGetsTheWholePrice(uint96 price, bool native, bool forAll, uint24 later) external {
        vm.assume(price != 0);
        address payToken = native ? NATIVE : address(coin);
        sell(payToken, price, WINDOW);
        pin(royaltiesOf(1_000, 2_000));
        share(payeesOf(agent, 3_000, stranger, 7_000));
        id = bought();
        if (forAll) {
            vm.prank(holder);
            token.setApprovalForAll(address(market), true);
        } else {
            allowSurrender(id);
        }
        vm.warp(START + later % WINDOW);
        seeAccrued(holder, payToken, price);
        emits(address(ledger));
        emit ILicenseRecords.LicenseRevoked(id, address(market), uint40(block.timestamp), 0);
        seeRefunded(id, holder, payToken, price);
        refundAs(holder, id);
        eq(market.owed(holder, payToken), price);
        eq(market.owed(licensor, payToken), 0);
        eq(market.owed(agent, payToken), 0);
        Royalty[] memory royalties = market.royaltiesOf(plan);
        eq(market.owedToModel(royalties[0].modelId, payToken), 0);
        eq(market.owedToModel(royalties[1].modelId, payToken), 0);
        isTrue(statusOf(id) == LicenseStatus.REVOKED);
        eq(codeOf(id), 3);
        noSale(id);
        uint256 before = balanceOf(payToken, holder);
        withdrawAs(holder, payToken, holder);
        eq(balanceOf(payToken, holder) - before, price);
        // What is left is the sale of setUp.
        eq(balanceOf(payToken, address(market)), native ? PRICE : 0);
    }

    function test_aSaleIsRefundedOnce() external {
        allowSurrender(id);
        refunded(holder);
        vm.warp(START + WINDOW);
        refuses(abi.encodeWithSelector(ILicenseMarket.MarketNoSale.selector, id));
        market.settle(id);
    }

    function test_afterSettlementThereIsNoRefund() external {
        allowSurrender(id);
        vm.warp(START + WINDOW);
        market.settle(id);
        refused(holder, abi.encodeWithSelector(ILicenseMarket.MarketNoSale.selector, id));
    }

    function test_afterARenewalThereIsNoRefund() external {
        vm.warp(START + WINDOW);
        renewAs(buyer, id, PRICE);
        allowSurrender(id);
        refused(holder, abi.encodeWithSelector(ILicenseMarket.MarketNoSale.selector, id));
    }

    function test_whoHasSurrenderedNeedsNoApproval() external {
        vm.prank(holder);
        ledger.surrender(id);
        refunded(holder);
    }

    function test_whomTheLicensorRevokedIsRefunded() external {
        revokeAt(id, START + 8 days);
        refused(holder, abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, address(market)));
        vm.warp(START + 8 days);
        refunded(holder);
        eq(endOf(id), START + 8 days);
    }

    function test_underNoticeARefundEndsTheLicenseAtOnce() external {
        revokeAt(id, START + 8 days);
        allowSurrender(id);
        vm.warp(START + 2 days);
        refunded(holder);
        eq(endOf(id), START + 2 days);
    }

    function test_aRevokedLicenseStaysRefundableOnlyWithinTheWindow() external {
        revokeAt(id, 0);
        vm.warp(START + WINDOW);
        refused(holder, abi.encodeWithSelector(ILicenseMarket.MarketRefundOver.selector, id, START + WINDOW));
    }

    function test_aSuspendedLicenseIsRefunded() external {
        vm.prank(licensor);
        ledger.suspend(id, 0);
        allowSurrender(id);
        refunded(holder);
        isTrue(statusOf(id) == LicenseStatus.REVOKED);
    }

    function test_aLicenseThatExpiredWithinTheWindowIsRefundedAndRevoked() external {
        PlanTerms memory terms = termsOf(model);
        (terms.duration, terms.refundWindow) = (1 days, WINDOW);
        sell(terms);
        id = bought();
        vm.warp(START + 2 days);
        eq(codeOf(id), 4);
        refused(holder, abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, address(market)));
        allowSurrender(id);
        refunded(holder);
        eq(codeOf(id), 3);
        eq(endOf(id), START + 1 days);
    }

    function test_whoHoldsATransferredLicenseIsRefunded() external {
        allowSurrender(id);
        vm.prank(holder);
        token.transferFrom(holder, stranger, id);
        refused(holder, abi.encodeWithSelector(ILicenseMarket.MarketNotHolder.selector, id, holder));
        // The approval went with the transfer.
        refused(stranger, abi.encodeWithSelector(ILicenseRecords.LicenseNotHolder.selector, id, address(market)));
        allowSurrender(id);
        refunded(stranger);
        eq(market.owed(holder, NATIVE), 0);
    }

    /// No licensor gets the money of a sale back by taking the license away: the window is over before a reissue is ready.
    function test_whoHoldsAReissuedLicenseComesTooLate() external {
        vm.startPrank(licensor);
        ledger.startReissue(id, stranger);
        vm.warp(START + WINDOW - 1);
        vm.expectRevert(abi.encodeWithSelector(ILicenseRecords.ReissuePending.selector, id, START + WINDOW));
        ledger.finishReissue(id);
        vm.warp(START + WINDOW);
        ledger.finishReissue(id);
        vm.stopPrank();
        bytes memory over = abi.encodeWithSelector(ILicenseMarket.MarketRefundOver.selector, id, START + WINDOW);
        refused(holder, over);
        refused(stranger, over);
    }

    function test_nothingTheLicensorDoesToPlanOrModelStopsARefund() external {
        vm.startPrank(licensor);
        ledger.setRoles(plan, address(market), 0);
        ledger.setPaused(plan, true);
        models.setStatus(model, ModelStatus.COMPROMISED);
        vm.stopPrank();
        moveTitle(model, stranger);
        ledger.syncLicensor(plan);
        allowSurrender(id);
        refunded(holder);
    }

    function test_aRefundOfOneSaleLeavesTheOthers() external {
        uint256 other = bought();
        allowSurrender(id);
        refunded(holder);
        saleIs(other, NATIVE, PRICE, START + WINDOW);
        eq(address(market).balance, 2 * uint256(PRICE));
        eq(codeOf(other), 0);
    }

    /// One price, returned each turn, would use a plan up for gas alone.
    function test_refundsUseUpNoSupply() external {
        PlanTerms memory terms = termsOf(model);
        (terms.refundWindow, terms.supply) = (WINDOW, 3);
        sell(terms);
        vm.prank(holder);
        token.setApprovalForAll(address(market), true);
        for (uint256 i; i < 10; ++i) {
            refundAs(holder, bought());
        }
        for (uint256 i; i < 3; ++i) {
            bought();
        }
        refuses(abi.encodeWithSelector(ILicenseRecords.PlanSupplyExceeded.selector, plan, 13));
        buyAs(buyer, PRICE, "");
    }
}
