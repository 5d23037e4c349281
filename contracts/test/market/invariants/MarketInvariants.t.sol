// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseMarket, Payee, Royalty} from "../../../src/interfaces/ILicenseMarket.sol";
import {LicenseStatus, PlanTerms} from "../../../src/interfaces/LicenseTypes.sol";
import {Base} from "../../Base.sol";
import {Coin} from "../Coin.sol";
import {Books} from "./MarketAccountant.sol";
import {MarketHandler} from "./MarketHandler.sol";
import {MarketWorld} from "./MarketWorld.sol";

/// @notice What holds of the market's money after any sequence of calls by anyone.
contract MarketInvariantsTest is Base {
    ILicenseMarket internal market;
    Coin internal coin;
    MarketHandler internal handler;
    MarketWorld internal world;
    bytes32[3] internal modelIds;

    /// Actor 0 sells models 0 and 1, actor 1 holds model 2. Four plans: coin and token, with and without a refund window;
    /// those of model 1 pay royalties to models 0 and 2, and share the rest.
    function setUp() public override {
        super.setUp();
        market = ILicenseMarket(deploy("LicenseMarket", abi.encode(ledger)));
        coin = Coin(deploy("Coin", ""));
        licensor = vm.addr(0xC0FFEE);
        for (uint256 i; i < 3; ++i) {
            address owner = i == 2 ? vm.addr(0xC0FFEF) : licensor;
            vm.prank(owner);
            modelIds[i] = models.register(claimOf(owner, i), noProof());
        }
        address[5] memory actors;
        for (uint256 i; i < 5; ++i) {
            actors[i] = vm.addr(0xC0FFEE + i);
        }
        address accountant = deploy("MarketAccountant", abi.encode(market, coin, actors, modelIds));
        handler = MarketHandler(deploy("MarketHandler", abi.encode(market, models, coin, accountant, modelIds)));
        world = MarketWorld(deploy("MarketWorld", abi.encode(handler, market, models)));
        addPlan(0, address(0), 1 ether, 2 days);
        addPlan(0, address(coin), 777, 0);
        addPlan(1, address(coin), 1 ether + 1, 2 days);
        addPlan(1, address(0), 12_345, 0);
        begin();
    }

    /// @dev So that short runs, too, have sales to end.
    function begin() private {
        for (uint256 i; i < 4; ++i) {
            handler.buy(i, 0, i, 1);
            handler.buy(i, 2, i, 1);
            world.approve(i, i != 3);
        }
    }

    function addPlan(uint256 model, address payToken, uint96 price, uint32 window) private {
        PlanTerms memory terms = termsOf(modelIds[model]);
        (terms.payToken, terms.price, terms.refundWindow) = (payToken, price, window);
        (terms.duration, terms.minNotice) = (10 days, 1 days);
        uint32 planId = newPlan(terms);
        grantRole(planId, address(market), ISSUER);
        if (model == 1) {
            Royalty[] memory royalties = new Royalty[](2);
            (bytes32 a, bytes32 b) = (modelIds[0], modelIds[2]);
            (royalties[0], royalties[1]) =
                a < b ? (Royalty(a, 333), Royalty(b, 1_111)) : (Royalty(b, 333), Royalty(a, 7));
            Payee[] memory payees = new Payee[](2);
            (payees[0], payees[1]) = (Payee(handler.actors(3), 1_234), Payee(handler.actors(4), 4_321));
            vm.startPrank(licensor);
            market.pinRoyalties(planId, royalties);
            market.setPayees(planId, payees);
            vm.stopPrank();
        }
        handler.addPlan(planId);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](2);
        (targets[0], targets[1]) = (address(handler), address(world));
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function excludeSelectors() external view returns (FuzzSelector[] memory excluded) {
        excluded = new FuzzSelector[](1);
        bytes4[] memory selectors = new bytes4[](1);
        selectors[0] = handler.addPlan.selector;
        excluded[0] = FuzzSelector(address(handler), selectors);
    }

    /// One campaign checks them all after each of its calls.
    function invariant_everyStatementHolds() external view {
        noForbiddenTransition();
        whatIsThereIsWhatIsOwed();
        everySaleHasOneFate();
        require(handler.royaltiesNow() == handler.royaltiesPinned(), "M8: pinned royalties changed");
    }

    function noForbiddenTransition() private view {
        string memory broken = string.concat(handler.broken(), world.broken());
        require(bytes(broken).length == 0, broken);
    }

    function whatIsThereIsWhatIsOwed() private view {
        Books memory books = handler.look();
        for (uint256 m; m < 2; ++m) {
            require(
                books.there[m] == books.accrued[m] + books.open[m] + handler.forced(m),
                "M1: the balance is not what is owed"
            );
        }
    }

    function everySaleHasOneFate() private view {
        for (uint256 i; i < handler.licenseCount(); ++i) {
            uint256 id = handler.licenseIds(i);
            MarketHandler.Fate fate = handler.fates(id);
            (address seller,, uint256 amount, uint40 until) = market.saleOf(id);
            bool open = fate == MarketHandler.Fate.OPEN;
            require((seller != address(0)) == open, "M4: a sale vanished, or came back");
            require((amount != 0) == open && (until != 0) == open, "M4: half a sale");
            if (fate != MarketHandler.Fate.REFUNDED) continue;
            require(statusOf(id) == LicenseStatus.REVOKED && codeOf(id) == 3, "M5: refunded and still licensed");
            require(!ledger.everBound(id), "M5: refunded and used");
        }
    }

    /// After everyone has settled and withdrawn, nothing is left but what nobody paid.
    function afterInvariant() external {
        vm.warp(block.timestamp + 2 days);
        for (uint256 i; i < handler.licenseCount(); ++i) {
            uint256 id = handler.licenseIds(i);
            if (handler.fates(id) == MarketHandler.Fate.OPEN) market.settle(id);
        }
        for (uint256 m; m < 2; ++m) {
            address payToken = m == 0 ? address(0) : address(coin);
            for (uint256 i; i < 5; ++i) {
                address actor = handler.actors(i);
                if (market.owed(actor, payToken) == 0) continue;
                vm.prank(actor);
                market.withdraw(payToken, actor);
            }
            for (uint256 i; i < 3; ++i) {
                if (market.owedToModel(modelIds[i], payToken) == 0) continue;
                address owner = models.licensorOf(modelIds[i]);
                vm.prank(owner);
                market.collectRoyalties(modelIds[i], payToken, owner);
            }
            uint256 left = m == 0 ? address(market).balance : coin.balanceOf(address(market));
            require(left == handler.forced(m), "M10: value is stuck");
        }
    }

    /// Not an invariant: shows that the handler reaches every action, so that the invariants above say something.
    function test_theHandlerReachesEveryAction() external {
        handler.force(5, false);
        handler.force(5, true);
        handler.buy(3, 1, 3, 1);
        handler.buyWithVoucher(4, 2, 3, 1_000, true, 9);
        world.setPayees(1, 2, 3, 4_001, 100);
        world.pinAgain(0);
        // License 2 * i is actor i's of plan 0, the next one its of plan 2.
        handler.refund(1, 2);
        world.transfer(4, 4);
        world.bind(5);
        handler.settle(4, 5);
        world.evict(5);
        handler.renew(4, 5, 1);
        world.surrender(6);
        world.revoke(0);
        handler.withdraw(1, false, 1);
        handler.withdraw(0, true, 1);
        handler.collect(1, 2, true, 1);
        world.pass(2 days);
        handler.renew(4, 1, 1);
        world.moveTitle(0, 3, 0);
        world.sync(0, 1);
        string[17] memory names = [
            "buy",
            "buyWithVoucher",
            "renew",
            "refund",
            "settle",
            "withdraw",
            "collect",
            "setPayees",
            "accept",
            "sync",
            "setRoles",
            "bind",
            "evict",
            "transfer",
            "approve",
            "surrender",
            "revoke"
        ];
        for (uint256 i; i < names.length; ++i) {
            require(handler.done(names[i]) + world.done(names[i]) != 0, names[i]);
        }
        eq(world.done("pinAgain"), 0);
        noForbiddenTransition();
        whatIsThereIsWhatIsOwed();
        everySaleHasOneFate();
    }
}
