// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {ILicenseMarket, Payee, Royalty} from "../../../src/interfaces/ILicenseMarket.sol";
import {Voucher} from "../../../src/interfaces/LicenseTypes.sol";
import {MarketBase} from "../MarketBase.sol";
import {HookToken, IHook} from "./Tokens.sol";

/// @notice Called in the middle of something, calls the market with all it was given.
contract Reenterer is IHook {
    address private immutable market;
    bytes[] private calls;
    uint256 public refused;
    uint256 public through;

    constructor(address market_) {
        market = market_;
    }

    function add(bytes calldata call_) external {
        calls.push(call_);
    }

    function onMove() external {
        strike();
    }

    receive() external payable {
        strike();
    }

    function strike() private {
        for (uint256 i; i < calls.length; ++i) {
            (bool ok, bytes memory why) = market.call(calls[i]);
            if (!ok && bytes4(why) == ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector) ++refused;
            else ++through;
        }
    }
}

contract ReentrancyAttacksTest is MarketBase, IHook {
    HookToken internal hooked;
    Reenterer internal reenterer;
    bytes32 internal parent;
    uint256 internal looks;
    uint256 internal entryPoints;

    function setUp() public override {
        super.setUp();
        hooked = new HookToken();
        hooked.mint(buyer, 100 ether);
        reenterer = new Reenterer(address(market));
        parent = newModel(50);
        moveTitle(parent, address(reenterer));
    }

    /// @dev A plan whose money goes to the attacker by every way there is.
    function offer(address payToken, uint32 window) internal {
        sell(payToken, PRICE, window);
        Royalty[] memory royalties = new Royalty[](1);
        royalties[0] = Royalty(parent, 2_000);
        pin(royalties);
        share(payeesOf(address(reenterer), 5_000, address(this), 2_500));
    }

    /// @dev Every entry point that is guarded, each in a form that would go through otherwise.
    function arm(uint256 id) internal {
        Voucher memory voucher = voucherOf(NATIVE, 0);
        bytes[7] memory calls = [
            abi.encodeCall(market.buy, (plan, digest, address(reenterer), "")),
            abi.encodeCall(market.buyWithVoucher, (voucher, signed(voucher, LICENSOR_KEY), "")),
            abi.encodeCall(market.renew, (id, digest, "")),
            abi.encodeCall(market.refund, (id)),
            abi.encodeCall(market.settle, (id)),
            abi.encodeCall(market.withdraw, (NATIVE, address(reenterer))),
            abi.encodeCall(market.collectRoyalties, (parent, NATIVE, address(reenterer)))
        ];
        for (uint256 i; i < calls.length; ++i) {
            reenterer.add(calls[i]);
        }
        entryPoints = calls.length;
    }

    function allShut(uint256 times) internal view {
        eq(reenterer.refused(), times * entryPoints);
        eq(reenterer.through(), 0);
    }

    // ---------------------------------------------------------------- every door is shut

    function test_aTokenCannotReenterABuy() external {
        offer(address(hooked), WINDOW);
        uint256 first = bought();
        arm(first);
        hooked.tell(address(reenterer));
        bought();
        allShut(2);
        eq(issuedOf(plan), 2);
        saleIs(first, address(hooked), PRICE, START + WINDOW);
    }

    function test_aTokenCannotReenterAVoucher() external {
        offer(address(hooked), WINDOW);
        arm(bought());
        hooked.tell(address(reenterer));
        Voucher memory voucher = voucherOf(address(hooked), PRICE);
        voucher.nonce = 8;
        redeemAs(buyer, voucher, signed(voucher, LICENSOR_KEY), 0);
        allShut(2);
    }

    function test_aTokenCannotReenterARenewal() external {
        offer(address(hooked), WINDOW);
        uint256 id = bought();
        arm(id);
        hooked.tell(address(reenterer));
        vm.warp(START + WINDOW);
        renewAs(buyer, id, 0);
        allShut(2);
        eq(market.owedToModel(parent, address(hooked)), 0.4 ether);
    }

    function test_aTokenCannotReenterAWithdrawal() external {
        offer(address(hooked), 0);
        arm(bought());
        hooked.tell(address(reenterer));
        withdrawAs(address(reenterer), address(hooked), address(reenterer));
        allShut(2);
        eq(hooked.balanceOf(address(reenterer)), 0.4 ether);
        vm.prank(address(reenterer));
        market.collectRoyalties(parent, address(hooked), address(reenterer));
        allShut(4);
        eq(hooked.balanceOf(address(reenterer)), 0.6 ether);
    }

    function test_aReceiverOfCoinsCannotReenter() external {
        offer(NATIVE, 0);
        uint256 id = bought();
        arm(id);
        withdrawAs(address(reenterer), NATIVE, address(reenterer));
        allShut(1);
        eq(address(reenterer).balance, 0.4 ether);
        vm.prank(address(reenterer));
        market.collectRoyalties(parent, NATIVE, address(reenterer));
        allShut(2);
        eq(address(reenterer).balance, 0.6 ether);
        eq(address(market).balance, 0.4 ether);
    }

    function test_nobodyIsCalledWhenALicenseIsMinted() external {
        offer(NATIVE, WINDOW);
        arm(bought());
        vm.prank(buyer);
        uint256 id = market.buy{value: PRICE}(plan, digest, address(reenterer), "");
        allShut(0);
        eq(token.ownerOf(id), address(reenterer));
    }

    // ---------------------------------------------------------------- the two that are not guarded

    function test_aLicensorWhoChangesPayeesFromWithinStillSharesThePrice() external {
        sell(address(hooked), PRICE, 0);
        share(payeesOf(agent, 10_000, stranger, 0));
        PayeeChanger changer = new PayeeChanger(market, plan, stranger);
        moveTitle(model, address(changer));
        ledger.syncLicensor(plan);
        vm.prank(address(changer));
        ledger.setRoles(plan, address(market), ISSUER);
        digest = digestOf(plan);
        hooked.tell(address(changer));
        bought();
        eq(market.owed(stranger, address(hooked)), 0.3 ether);
        eq(market.owed(address(changer), address(hooked)), 0.7 ether);
        eq(market.owed(agent, address(hooked)), 0);
        eq(hooked.balanceOf(address(market)), PRICE);
    }

    // ---------------------------------------------------------------- whoever only reads

    function onMove() external {
        look(address(hooked));
    }

    receive() external payable {
        look(NATIVE);
    }

    /// @dev No more is owed, or held for an open sale, than is there.
    function look(address payToken) private {
        ++looks;
        uint256 there = payToken == NATIVE ? address(market).balance : hooked.balanceOf(address(market));
        uint256 owed = market.owed(licensor, payToken) + market.owed(address(this), payToken)
            + market.owed(address(reenterer), payToken) + market.owed(holder, payToken)
            + market.owedToModel(parent, payToken);
        for (uint256 serial = 1; serial <= 3; ++serial) {
            (, address token_, uint256 amount,) = market.saleOf(idOf(plan, serial));
            if (token_ == payToken) owed += amount;
        }
        require(owed <= there, "more is owed than is there");
    }

    function test_whoReadsWhileATokenMovesSeesNoMoreOwedThanIsThere() external {
        offer(address(hooked), WINDOW);
        hooked.tell(address(this));
        uint256 id = bought();
        bought();
        vm.warp(START + WINDOW);
        renewAs(buyer, id, 0);
        withdrawAs(address(this), address(hooked), agent);
        withdrawAs(licensor, address(hooked), agent);
        vm.prank(address(reenterer));
        market.collectRoyalties(parent, address(hooked), agent);
        eq(looks, 12);
    }

    function test_whoReadsWhileCoinsMoveSeesNoMoreOwedThanIsThere() external {
        offer(NATIVE, WINDOW);
        uint256 id = bought();
        bought();
        vm.warp(START + WINDOW);
        market.settle(id);
        withdrawAs(address(this), NATIVE, address(this));
        withdrawAs(licensor, NATIVE, address(this));
        vm.prank(address(reenterer));
        market.collectRoyalties(parent, NATIVE, address(this));
        eq(looks, 3);
    }
}

/// @notice A licensor whose token changes the payees while it is being paid.
contract PayeeChanger is IHook {
    ILicenseMarket private immutable market;
    uint32 private immutable plan;
    address private immutable friend;

    constructor(ILicenseMarket market_, uint32 plan_, address friend_) {
        (market, plan, friend) = (market_, plan_, friend_);
    }

    function onMove() external {
        Payee[] memory list = new Payee[](1);
        list[0] = Payee(friend, 3_000);
        market.setPayees(plan, list);
    }
}
