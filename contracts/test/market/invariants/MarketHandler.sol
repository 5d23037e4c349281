// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILicenseLedger} from "../../../src/interfaces/ILicenseLedger.sol";
import {ILicenseMarket} from "../../../src/interfaces/ILicenseMarket.sol";
import {PlanState, PlanTerms, Voucher} from "../../../src/interfaces/LicenseTypes.sol";
import {IModelRegistry} from "../../../src/interfaces/IModelRegistry.sol";
import {IToken} from "../../Base.sol";
import {Vm} from "../../Vm.sol";
import {Coin} from "../Coin.sol";
import {Books, MarketAccountant, Sale} from "./MarketAccountant.sol";

/// @notice Lets five accounts buy, refund, settle and withdraw in any order, and watches every step for what must not happen.
/// @dev Calls may fail, that is half of the point; what must never happen is written to `broken`, which the invariants read.
contract MarketHandler {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    /// @dev So that looking at all of them after each step stays quick.
    uint256 private constant MOST_LICENSES = 40;

    ILicenseMarket private immutable market;
    ILicenseLedger private immutable ledger;
    IModelRegistry private immutable models;
    Coin private immutable coin;
    MarketAccountant private immutable accountant;

    address[5] public actors;
    bytes32[3] public modelIds;
    uint32[] public planIds;
    uint256[] public licenseIds;
    string public broken;
    mapping(string action => uint256) public done;
    mapping(uint256 licenseId => Fate) public fates;
    uint256[2] public forced;
    bytes32 public royaltiesPinned;

    enum Fate {
        UNKNOWN,
        OPEN,
        REFUNDED,
        SETTLED
    }

    constructor(
        ILicenseMarket market_,
        IModelRegistry models_,
        Coin coin_,
        MarketAccountant accountant_,
        bytes32[3] memory modelIds_
    ) {
        (market, models, coin, accountant, modelIds) = (market_, models_, coin_, accountant_, modelIds_);
        ledger = ILicenseLedger(market_.ledger());
        for (uint256 i; i < 5; ++i) {
            actors[i] = accountant.actors(i);
            vm.deal(actors[i], type(uint128).max);
            coin.mint(actors[i], type(uint128).max);
            vm.startPrank(actors[i]);
            coin.approve(address(market), type(uint256).max);
            vm.stopPrank();
        }
    }

    function keyOf(uint256 i) public pure returns (uint256) {
        return 0xC0FFEE + i;
    }

    function royaltiesNow() external view returns (bytes32) {
        return accountant.royaltiesNow(planIds);
    }

    function addPlan(uint32 planId) external {
        planIds.push(planId);
        royaltiesPinned = accountant.royaltiesNow(planIds);
    }

    // ---------------------------------------------------------------- sales

    function buy(uint256 who, uint256 plan, uint256 to, uint8 off) external {
        if (licenseIds.length >= MOST_LICENSES) return;
        (PlanTerms memory terms, PlanState memory state) = planOf(plan);
        uint256 money = moneyOf(terms.payToken);
        uint256 value = money == 0 ? terms.price : 0;
        if (off % 8 == 0) ++value;
        Books memory before = look();
        bytes memory call_ = abi.encodeCall(market.buy, (pick(plan), state.planDigest, actors[to % 5], ""));
        if (!run("buy", who, value, call_)) return;
        sold(pick(plan), who, before, money, terms.price, terms.refundWindow);
        if (models.licensorOf(terms.modelId) != state.licensor) broken = "M9: sold without the title";
    }

    function buyWithVoucher(uint256 who, uint256 plan, uint256 to, uint72 price, bool token, uint8 nonce) external {
        if (licenseIds.length >= MOST_LICENSES) return;
        (PlanTerms memory terms, PlanState memory state) = planOf(plan);
        Voucher memory voucher;
        (voucher.signer, voucher.planId, voucher.planDigest) = (state.licensor, pick(plan), state.planDigest);
        (voucher.to, voucher.market) = (actors[to % 5], address(market));
        (voucher.payToken, voucher.price) = (token ? address(coin) : address(0), price);
        (voucher.nonce, voucher.deadline) = (nonce, uint40(block.timestamp));
        Books memory before = look();
        if (!redeem(who, voucher)) return;
        sold(voucher.planId, who, before, token ? 1 : 0, price, terms.refundWindow);
        if (models.licensorOf(terms.modelId) != state.licensor) broken = "M9: sold without the title";
    }

    function redeem(uint256 who, Voucher memory voucher) private returns (bool) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf(indexOf(voucher.signer)), ledger.voucherDigest(voucher));
        bytes memory call_ = abi.encodeCall(market.buyWithVoucher, (voucher, abi.encodePacked(r, s, v), ""));
        return run("buyWithVoucher", who, voucher.payToken == address(0) ? voucher.price : 0, call_);
    }

    function sold(uint32 planId, uint256 who, Books memory before, uint256 money, uint256 price, uint32 window)
        private
    {
        (, PlanState memory state) = ledger.planOf(planId);
        uint256 id = uint256(planId) << 32 | state.issued;
        licenseIds.push(id);
        bool kept = window != 0 && price != 0;
        fates[id] = kept ? Fate.OPEN : Fate.SETTLED;
        Books memory now_ = look();
        tookExactly(before, now_, who, money, price);
        if (now_.accrued[money] - before.accrued[money] != (kept ? 0 : price)) broken = "M2: shares do not sum up";
        if (now_.open[money] - before.open[money] != (kept ? price : 0)) broken = "M2: the price was not kept";
    }

    function renew(uint256 who, uint256 license, uint8 hasty) external {
        uint256 id = some(license);
        uint32 planId = uint32(id >> 32);
        if (planId == 0) return;
        (PlanTerms memory terms, PlanState memory state) = ledger.planOf(planId);
        Sale memory sale = saleOf(id);
        bool ripe = isRipe(id, sale);
        uint256 money = moneyOf(terms.payToken);
        Books memory before = look();
        bytes32 digest = hasty % 8 == 0 ? bytes32(uint256(1)) : state.planDigest;
        if (!run("renew", who, money == 0 ? terms.price : 0, abi.encodeCall(market.renew, (id, digest, "")))) return;
        if (hasty % 8 == 0) broken = "M9: renewed a plan unseen";
        if (sale.amount != 0 && !ripe) broken = "M6: renewed while refundable";
        Books memory now_ = look();
        tookExactly(before, now_, who, money, terms.price);
        if (sale.amount != 0) ends(id, Fate.SETTLED);
        for (uint256 m; m < 2; ++m) {
            uint256 shared = (m == money ? terms.price : 0) + (m == sale.money ? sale.amount : 0);
            if (now_.accrued[m] - before.accrued[m] != shared) broken = "M2: shares do not sum up";
        }
    }

    // ---------------------------------------------------------------- the end of a sale

    function refund(uint256 who, uint256 license) external {
        uint256 id = some(license);
        if (id == 0) return;
        // Strangers try as well, but holders oftener.
        uint256 actor = who % 4 == 0 ? who / 4 % 5 : indexOf(holderOf(id));
        Sale memory sale = saleOf(id);
        bool bound = ledger.everBound(id);
        Books memory before = look();
        if (!run("refund", actor, 0, abi.encodeCall(market.refund, (id)))) return;
        ends(id, Fate.REFUNDED);
        Books memory now_ = look();
        if (bound) broken = "M5: refunded what was in use";
        if (block.timestamp >= sale.until) broken = "M5: refunded too late";
        if (holderOf(id) != actors[actor]) broken = "M5: refunded to another than the holder";
        uint256 place = 5 * sale.money + actor;
        if (now_.owed[place] - before.owed[place] != sale.amount) broken = "M5: not refunded in full";
        if (now_.accrued[sale.money] - before.accrued[sale.money] != sale.amount) broken = "M5: others got a share";
    }

    function settle(uint256 who, uint256 license) external {
        uint256 id = some(license);
        if (id == 0) return;
        Sale memory sale = saleOf(id);
        bool ripe = isRipe(id, sale);
        Books memory before = look();
        if (!run("settle", who, 0, abi.encodeCall(market.settle, (id)))) return;
        ends(id, Fate.SETTLED);
        if (!ripe) broken = "M6: settled too early";
        Books memory now_ = look();
        if (now_.accrued[sale.money] - before.accrued[sale.money] != sale.amount) broken = "M2: shares do not sum up";
        if (now_.accrued[1 - sale.money] != before.accrued[1 - sale.money]) broken = "M2: shared in another money";
    }

    function ends(uint256 id, Fate fate) private {
        if (fates[id] != Fate.OPEN) broken = "M4: a sale ended twice";
        fates[id] = fate;
        if (saleOf(id).licensor != address(0)) broken = "M4: a sale outlived its end";
    }

    function isRipe(uint256 id, Sale memory sale) private view returns (bool) {
        return block.timestamp >= sale.until || ledger.everBound(id);
    }

    // ---------------------------------------------------------------- money out

    function withdraw(uint256 who, bool token, uint256 to) external {
        Books memory before = look();
        uint256 money = token ? 1 : 0;
        address payToken = token ? address(coin) : address(0);
        bytes memory call_ = abi.encodeCall(market.withdraw, (payToken, actors[to % 5]));
        if (!run("withdraw", who, 0, call_)) return;
        paid(before, money, 5 * money + to % 5, before.owed[5 * money + who % 5]);
    }

    function collect(uint256 who, uint256 model, bool token, uint256 to) external {
        Books memory before = look();
        uint256 money = token ? 1 : 0;
        address payToken = token ? address(coin) : address(0);
        bytes memory call_ = abi.encodeCall(market.collectRoyalties, (modelIds[model % 3], payToken, actors[to % 5]));
        if (!run("collect", who, 0, call_)) return;
        if (models.licensorOf(modelIds[model % 3]) != actors[who % 5]) broken = "M7: collected without the title";
        paid(before, money, 5 * money + to % 5, before.due[3 * money + model % 3]);
    }

    function paid(Books memory before, uint256 money, uint256 purse, uint256 amount) private {
        Books memory now_ = look();
        if (amount == 0) broken = "M7: paid what was not owed";
        if (now_.purses[purse] - before.purses[purse] != amount) broken = "M7: not paid in full";
        if (before.there[money] - now_.there[money] != amount) broken = "M7: paid too much";
        if (before.accrued[money] - now_.accrued[money] != amount) broken = "M7: another was charged";
        if (before.open[money] != now_.open[money]) broken = "M7: paid out of an open sale";
    }

    function force(uint96 amount, bool token) external {
        if (token) {
            coin.mint(address(market), amount);
        } else {
            vm.deal(address(market), address(market).balance + amount);
        }
        forced[token ? 1 : 0] += amount;
    }

    // ---------------------------------------------------------------- the books

    function look() public view returns (Books memory) {
        return accountant.look(licenseIds);
    }

    function tookExactly(Books memory before, Books memory now_, uint256 who, uint256 money, uint256 price) private {
        for (uint256 i; i < 10; ++i) {
            uint256 takes = i == 5 * money + who % 5 ? price : 0;
            if (before.purses[i] - now_.purses[i] != takes) broken = "M3: not exactly the price, from its payer";
        }
    }

    /// @dev Whatever it is, it lowers nothing that is owed but to its caller, or to a model whose title its caller holds.
    function run(string memory name, uint256 who, uint256 value, bytes memory call_) private returns (bool ok) {
        Books memory before = look();
        vm.prank(actors[who % 5]);
        (ok,) = address(market).call{value: value}(call_);
        if (ok) ++done[name];
        Books memory now_ = look();
        for (uint256 i; i < 10; ++i) {
            if (now_.owed[i] < before.owed[i] && i % 5 != who % 5) broken = "M7: another was charged";
        }
        for (uint256 i; i < 6; ++i) {
            bool holds = models.licensorOf(modelIds[i % 3]) == actors[who % 5];
            if (now_.due[i] < before.due[i] && !holds) broken = "M7: a model was charged";
        }
    }

    function saleOf(uint256 id) private view returns (Sale memory) {
        return accountant.saleOf(id);
    }

    function moneyOf(address payToken) private pure returns (uint256) {
        return payToken == address(0) ? 0 : 1;
    }

    function holderOf(uint256 id) private view returns (address) {
        return IToken(address(ledger)).ownerOf(id);
    }

    function indexOf(address actor) public view returns (uint256 i) {
        while (actors[i] != actor) ++i;
    }

    function planOf(uint256 plan) private view returns (PlanTerms memory, PlanState memory) {
        return ledger.planOf(pick(plan));
    }

    function pick(uint256 plan) public view returns (uint32) {
        return planIds[plan % planIds.length];
    }

    function some(uint256 license) public view returns (uint256) {
        return licenseIds.length == 0 ? 0 : licenseIds[license % licenseIds.length];
    }

    function planCount() external view returns (uint256) {
        return planIds.length;
    }

    function licenseCount() external view returns (uint256) {
        return licenseIds.length;
    }
}
