// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseMarket, Payee, Royalty} from "../../src/interfaces/ILicenseMarket.sol";
import {PlanState, PlanTerms, Voucher} from "../../src/interfaces/LicenseTypes.sol";
import {Base} from "../Base.sol";
import {Coin} from "./Coin.sol";

/// @notice A market with a model to sell, a coin to pay in, and the shortest way to a sale.
/// @dev `plan` and `digest` are those of the latest `sell`. A helper that ends in a call to the market asks nothing else first,
/// so that `expectRevert` before it means that call.
abstract contract MarketBase is Base {
    uint96 internal constant PRICE = 1 ether;
    uint32 internal constant WINDOW = 14 days;
    uint256 internal constant BUYER_KEY = 0xB0B;
    bytes32 internal constant KEY = keccak256("runtime");
    address internal constant NATIVE = address(0);

    ILicenseMarket internal market;
    Coin internal coin;
    bytes32 internal model;
    uint32 internal plan;
    bytes32 internal digest;

    function setUp() public virtual override {
        super.setUp();
        buyer = vm.addr(BUYER_KEY);
        market = ILicenseMarket(deploy("LicenseMarket", abi.encode(ledger)));
        coin = Coin(deploy("Coin", ""));
        model = newModel(0);
        fund(buyer);
        fund(stranger);
    }

    /// @dev Everybody who pays has all there is and has let the market take it.
    function fund(address account) internal {
        vm.deal(account, type(uint128).max);
        coin.mint(account, type(uint128).max);
        vm.prank(account);
        coin.approve(address(market), type(uint256).max);
    }

    // ---------------------------------------------------------------- plans

    function sell(PlanTerms memory terms) internal returns (uint32) {
        plan = newPlan(terms);
        grantRole(plan, address(market), ISSUER);
        digest = digestOf(plan);
        return plan;
    }

    function sell(address payToken, uint96 price, uint32 refundWindow) internal returns (uint32) {
        PlanTerms memory terms = termsOf(model);
        (terms.payToken, terms.price, terms.refundWindow) = (payToken, price, refundWindow);
        return sell(terms);
    }

    function digestOf(uint32 planId) internal view returns (bytes32) {
        (, PlanState memory state) = ledger.planOf(planId);
        return state.planDigest;
    }

    function issuedOf(uint32 planId) internal view returns (uint32) {
        (, PlanState memory state) = ledger.planOf(planId);
        return state.issued;
    }

    function idOf(uint32 planId, uint256 serial) internal pure returns (uint256) {
        return uint256(planId) << 32 | serial;
    }

    function moveTitle(bytes32 modelId, address to) internal {
        address from = models.licensorOf(modelId);
        vm.prank(from);
        models.proposeTransfer(modelId, to);
        vm.prank(to);
        models.acceptTransfer(modelId);
    }

    function pin(Royalty[] memory royalties) internal {
        vm.prank(licensor);
        market.pinRoyalties(plan, royalties);
    }

    function share(Payee[] memory payees) internal {
        vm.prank(licensor);
        market.setPayees(plan, payees);
    }

    /// @dev Royalties to two models of their own licensor, in their order.
    function royaltiesOf(uint16 first, uint16 second) internal returns (Royalty[] memory list) {
        list = new Royalty[](2);
        (bytes32 a, bytes32 b) = (newModel(101), newModel(102));
        (list[0], list[1]) = a < b ? (Royalty(a, first), Royalty(b, second)) : (Royalty(b, first), Royalty(a, second));
    }

    function payeesOf(address a, uint16 first, address b, uint16 second) internal pure returns (Payee[] memory list) {
        list = new Payee[](2);
        (list[0], list[1]) = (Payee(a, first), Payee(b, second));
    }

    // ---------------------------------------------------------------- sales

    function buyAs(address who, uint256 value, bytes memory permit) internal returns (uint256) {
        vm.prank(who);
        return market.buy{value: value}(plan, digest, holder, permit);
    }

    /// @dev `buyer` pays for `holder`.
    function bought() internal returns (uint256) {
        (PlanTerms memory terms,) = ledger.planOf(plan);
        return buyAs(buyer, terms.payToken == NATIVE ? terms.price : 0, "");
    }

    function renewAs(address who, uint256 id, uint256 value) internal {
        vm.prank(who);
        market.renew{value: value}(id, digest, "");
    }

    function refundAs(address who, uint256 id) internal {
        vm.prank(who);
        market.refund(id);
    }

    function allowSurrender(uint256 id) internal {
        address owner = token.ownerOf(id);
        vm.prank(owner);
        token.approve(address(market), id);
    }

    function bind(uint256 id) internal {
        address owner = token.ownerOf(id);
        vm.prank(owner);
        ledger.bindRuntime(id, KEY, 0, 0);
    }

    function revokeAt(uint256 id, uint40 effectiveAt) internal {
        vm.prank(licensor);
        ledger.revoke(id, effectiveAt, 0);
    }

    function voucherOf(address payToken, uint96 price) internal view returns (Voucher memory voucher) {
        voucher.signer = licensor;
        voucher.planId = plan;
        voucher.to = holder;
        voucher.market = address(market);
        (voucher.payToken, voucher.price) = (payToken, price);
        voucher.planDigest = digest;
        voucher.extHash = keccak256("order");
        voucher.nonce = 7;
        voucher.deadline = START + 1 days;
    }

    function signed(Voucher memory voucher, uint256 key) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, ledger.voucherDigest(voucher));
        return abi.encodePacked(r, s, v);
    }

    function redeemAs(address who, Voucher memory voucher, bytes memory signature, uint256 value)
        internal
        returns (uint256)
    {
        vm.prank(who);
        return market.buyWithVoucher{value: value}(voucher, signature, "");
    }

    function permitOf(uint256 key, uint256 amount, uint256 deadline) internal view returns (bytes memory) {
        address owner = vm.addr(key);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, coin.permitDigest(owner, address(market), amount, deadline));
        return abi.encode(deadline, v, r, s);
    }

    function withdrawAs(address who, address payToken, address to) internal {
        vm.prank(who);
        market.withdraw(payToken, to);
    }

    // ---------------------------------------------------------------- expectations

    function refuses(bytes memory why) internal {
        vm.expectRevert(why);
    }

    function emits(address emitter) internal {
        vm.expectEmit(true, true, true, true, emitter);
    }

    function seeAccrued(address account, address payToken, uint256 amount) internal {
        emits(address(market));
        emit ILicenseMarket.Accrued(account, payToken, amount);
    }

    function seeRoyalty(bytes32 modelId, address payToken, uint256 amount) internal {
        emits(address(market));
        emit ILicenseMarket.RoyaltyAccrued(modelId, payToken, amount);
    }

    function seeSold(uint256 id, address payer, address payToken, uint256 amount, uint40 refundableUntil) internal {
        emits(address(market));
        emit ILicenseMarket.LicenseSold(id, payer, licensor, payToken, amount, refundableUntil);
    }

    function seeSettled(uint256 id, uint256 amount) internal {
        emits(address(market));
        emit ILicenseMarket.SaleSettled(id, amount);
    }

    function seeRenewalSold(uint256 id, address payer, address payToken, uint256 amount) internal {
        emits(address(market));
        emit ILicenseMarket.LicenseRenewalSold(id, payer, licensor, payToken, amount);
    }

    function seeRefunded(uint256 id, address to, address payToken, uint256 amount) internal {
        emits(address(market));
        emit ILicenseMarket.SaleRefunded(id, to, payToken, amount);
    }

    // ---------------------------------------------------------------- assertions

    function balanceOf(address payToken, address account) internal view returns (uint256) {
        return payToken == NATIVE ? account.balance : coin.balanceOf(account);
    }

    function saleIs(uint256 id, address payToken, uint256 amount, uint40 refundableUntil) internal view {
        (address who, address token_, uint256 amount_, uint40 until) = market.saleOf(id);
        eq(who, licensor);
        eq(token_, payToken);
        eq(amount_, amount);
        eq(until, refundableUntil);
    }

    function noSale(uint256 id) internal view {
        (address who, address token_, uint256 amount, uint40 until) = market.saleOf(id);
        eq(who, address(0));
        eq(token_, address(0));
        eq(amount, 0);
        eq(until, 0);
    }

    function eq(Royalty[] memory got, Royalty[] memory want) internal pure {
        eq(keccak256(abi.encode(got)), keccak256(abi.encode(want)));
    }

    function eq(Payee[] memory got, Payee[] memory want) internal pure {
        eq(keccak256(abi.encode(got)), keccak256(abi.encode(want)));
    }
}
