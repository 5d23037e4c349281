// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {ILicenseLedger} from "./interfaces/ILicenseLedger.sol";
import {ILicenseMarket, Payee, Royalty} from "./interfaces/ILicenseMarket.sol";
import {IModelRegistry, ModelStatus} from "./interfaces/IModelRegistry.sol";
import {LicenseStatus, PlanState, PlanTerms, Voucher} from "./interfaces/LicenseTypes.sol";

/// @title LicenseMarket
/// @notice Implements {ILicenseMarket}, where everything is documented.
contract LicenseMarket is ILicenseMarket, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @dev What was sold, in storage while it can still be refunded.
    struct Sale {
        address licensor;
        uint40 refundableUntil;
        uint16 roleEpoch; // of the plan when it was sold, like the licensor
        address payToken;
        uint96 amount;
    }

    uint256 private constant BPS = 10_000;
    uint256 private constant MAX_ROYALTIES = 8;
    uint256 private constant MAX_ROYALTY_BPS = 5_000;
    uint256 private constant MAX_PAYEES = 16;
    uint256 private constant PERMIT_LENGTH = 128;

    ILicenseLedger private immutable _ledger;
    IModelRegistry private immutable _registry;

    mapping(uint32 planId => Royalty[]) private _royalties; // slot 0
    mapping(uint32 planId => bool) private _pinned; // slot 1
    /// @dev By tenure, so that they count for what was sold in theirs, and come back with no title that does.
    mapping(uint32 planId => mapping(uint256 tenure => Payee[])) private _payees; // slot 2
    mapping(uint256 licenseId => Sale) private _sales; // slot 3
    mapping(address account => mapping(address payToken => uint256)) private _owed; // slot 4
    mapping(bytes32 modelId => mapping(address payToken => uint256)) private _owedToModel; // slot 5

    constructor(address ledger_) {
        _ledger = ILicenseLedger(ledger_);
        _registry = IModelRegistry(ILicenseLedger(ledger_).registry());
    }

    // ---------------------------------------------------------------- what a plan pays to whom

    /// @inheritdoc ILicenseMarket
    function pinRoyalties(uint32 planId, Royalty[] calldata royalties) external {
        (, PlanState memory state) = _planOfCaller(planId);
        if (state.issued != 0 || _pinned[planId]) revert RoyaltiesPinned(planId);
        if (royalties.length > MAX_ROYALTIES) revert RoyaltiesTooMany(royalties.length, MAX_ROYALTIES);
        _pinned[planId] = true;
        uint256 sum;
        bytes32 last;
        for (uint256 i; i < royalties.length; ++i) {
            (bytes32 modelId, uint16 bps) = (royalties[i].modelId, royalties[i].bps);
            if (modelId <= last) revert RoyaltiesNotSorted(i);
            if (_registry.licensorOf(modelId) == address(0)) revert RoyaltyModelUnknown(modelId);
            last = modelId;
            sum += bps;
            _royalties[planId].push(Royalty(modelId, bps));
            emit RoyaltyPinned(planId, modelId, bps);
        }
        if (sum > MAX_ROYALTY_BPS) revert RoyaltiesTooHigh(sum, MAX_ROYALTY_BPS);
    }

    /// @inheritdoc ILicenseMarket
    function setPayees(uint32 planId, Payee[] calldata payees) external {
        (, PlanState memory state) = _planOfCaller(planId);
        if (payees.length > MAX_PAYEES) revert PayeesTooMany(payees.length, MAX_PAYEES);
        uint256 tenure = _tenure(msg.sender, state.roleEpoch);
        delete _payees[planId][tenure];
        Payee[] storage list = _payees[planId][tenure];
        uint256 sum;
        for (uint256 i; i < payees.length; ++i) {
            address account = payees[i].account;
            // This contract never withdraws.
            if (account == address(0) || account == address(this)) revert PayeeInvalid(i, account);
            sum += payees[i].bps;
            list.push(payees[i]);
        }
        if (sum > BPS) revert PayeesTooHigh(sum, BPS);
        emit PayeesSet(planId, msg.sender, payees);
    }

    function _planOfCaller(uint32 planId) private view returns (PlanTerms memory terms, PlanState memory state) {
        (terms, state) = _ledger.planOf(planId);
        if (state.licensor != msg.sender) revert MarketNotLicensor(planId, msg.sender);
        // Before `syncLicensor` the plan still names who held the title. Nothing lasting is that account's to fix.
        address titleHolder = _registry.licensorOf(terms.modelId);
        if (titleHolder != msg.sender) revert MarketTitleMoved(planId, msg.sender, titleHolder);
    }

    // ---------------------------------------------------------------- sales

    /// @inheritdoc ILicenseMarket
    function buy(uint32 planId, bytes32 planDigest, address to, bytes calldata permit)
        external
        payable
        nonReentrant
        returns (uint256 licenseId)
    {
        (PlanTerms memory terms, PlanState memory state) = _plan(planId, planDigest);
        _collect(terms.payToken, terms.price, permit);
        licenseId = _ledger.issue(planId, to, 0, 0);
        _record(licenseId, _sale(state, terms.payToken, terms.price), terms.refundWindow);
    }

    /// @inheritdoc ILicenseMarket
    function buyWithVoucher(Voucher calldata voucher, bytes calldata signature, bytes calldata permit)
        external
        payable
        nonReentrant
        returns (uint256 licenseId)
    {
        if (voucher.market != address(this)) revert MarketVoucherElsewhere(voucher.market);
        (PlanTerms memory terms, PlanState memory state) = _plan(voucher.planId, voucher.planDigest);
        _collect(voucher.payToken, voucher.price, permit);
        licenseId = _ledger.redeem(voucher, signature);
        _record(licenseId, _sale(state, voucher.payToken, voucher.price), terms.refundWindow);
    }

    /// @inheritdoc ILicenseMarket
    function renew(uint256 licenseId, bytes32 planDigest, bytes calldata permit) external payable nonReentrant {
        Sale storage sale = _sales[licenseId];
        if (sale.licensor != address(0)) {
            if (!_settleable(licenseId, sale)) revert MarketSaleOpen(licenseId, sale.refundableUntil);
            _settle(licenseId, sale);
        }
        uint32 planId = uint32(licenseId >> 32);
        (PlanTerms memory terms, PlanState memory state) = _plan(planId, planDigest);
        _collect(terms.payToken, terms.price, permit);
        _ledger.renew(licenseId, 0);
        _distribute(planId, _sale(state, terms.payToken, terms.price));
        emit LicenseRenewalSold(licenseId, msg.sender, state.licensor, terms.payToken, terms.price);
    }

    /// @dev The plan as the buyer saw it, of a licensor who holds the title.
    function _plan(uint32 planId, bytes32 planDigest)
        private
        view
        returns (PlanTerms memory terms, PlanState memory state)
    {
        (terms, state) = _ledger.planOf(planId);
        if (state.planDigest != planDigest) revert MarketPlanChanged(planId, state.planDigest, planDigest);
        (address titleHolder, ModelStatus status) = _registry.titleOf(terms.modelId);
        if (titleHolder != state.licensor) revert MarketTitleMoved(planId, state.licensor, titleHolder);
        // Brokers release nothing for it, so there is nothing to sell, not even a renewal.
        if (status == ModelStatus.COMPROMISED) revert MarketModelCompromised(terms.modelId);
    }

    /// @dev Takes exactly `amount` from the caller.
    function _collect(address payToken, uint256 amount, bytes calldata permit) private {
        uint256 wantCoins = payToken == address(0) ? amount : 0;
        if (msg.value != wantCoins) revert MarketWrongPayment(wantCoins, msg.value);
        if (payToken == address(0) || amount == 0) return;
        // A call to an account without code succeeds and moves nothing.
        if (payToken.code.length == 0) revert MarketTokenMissing(payToken);
        if (permit.length != 0) _permit(payToken, amount, permit);
        uint256 before = IERC20(payToken).balanceOf(address(this));
        IERC20(payToken).safeTransferFrom(msg.sender, address(this), amount);
        uint256 got = IERC20(payToken).balanceOf(address(this)) - before;
        if (got != amount) revert MarketTokenShort(payToken, amount, got);
    }

    /// @dev A permit that someone else has used already left the allowance it is for, so its failure is no failure yet.
    function _permit(address payToken, uint256 amount, bytes calldata permit) private {
        if (permit.length != PERMIT_LENGTH) revert MarketPermitMalformed(permit.length);
        (uint256 deadline, uint256 v, bytes32 r, bytes32 s) = abi.decode(permit, (uint256, uint256, bytes32, bytes32));
        if (v > type(uint8).max) revert MarketPermitMalformed(permit.length);
        try IERC20Permit(payToken).permit(msg.sender, address(this), amount, deadline, uint8(v), r, s) {} catch {}
    }

    function _sale(PlanState memory state, address payToken, uint96 amount) private pure returns (Sale memory) {
        return Sale(state.licensor, 0, uint16(state.roleEpoch), payToken, amount);
    }

    function _record(uint256 licenseId, Sale memory sale, uint32 refundWindow) private {
        if (refundWindow == 0 || sale.amount == 0) {
            _distribute(uint32(licenseId >> 32), sale);
        } else {
            sale.refundableUntil = uint40(block.timestamp) + refundWindow;
            _sales[licenseId] = sale;
        }
        emit LicenseSold(licenseId, msg.sender, sale.licensor, sale.payToken, sale.amount, sale.refundableUntil);
    }

    // ---------------------------------------------------------------- refunds and settlement

    /// @inheritdoc ILicenseMarket
    function refund(uint256 licenseId) external nonReentrant {
        Sale memory sale = _sales[licenseId];
        if (sale.licensor == address(0)) revert MarketNoSale(licenseId);
        if (block.timestamp >= sale.refundableUntil) revert MarketRefundOver(licenseId, sale.refundableUntil);
        if (_ledger.everBound(licenseId)) revert MarketLicenseUsed(licenseId);
        (address holder,, uint40 notAfter, LicenseStatus status,,,) = _ledger.licenseOf(licenseId);
        if (holder != msg.sender) revert MarketNotHolder(licenseId, msg.sender);

        delete _sales[licenseId];
        _accrue(holder, sale.payToken, sale.amount);
        if (status != LicenseStatus.REVOKED || block.timestamp < notAfter) _ledger.surrender(licenseId);
        emit SaleRefunded(licenseId, holder, sale.payToken, sale.amount);
    }

    /// @inheritdoc ILicenseMarket
    function settle(uint256 licenseId) external nonReentrant {
        Sale storage sale = _sales[licenseId];
        if (sale.licensor == address(0)) revert MarketNoSale(licenseId);
        if (!_settleable(licenseId, sale)) revert MarketSaleOpen(licenseId, sale.refundableUntil);
        _settle(licenseId, sale);
    }

    function _settleable(uint256 licenseId, Sale storage sale) private view returns (bool) {
        return block.timestamp >= sale.refundableUntil || _ledger.everBound(licenseId);
    }

    function _settle(uint256 licenseId, Sale storage record) private {
        Sale memory sale = record;
        delete _sales[licenseId];
        _distribute(uint32(licenseId >> 32), sale);
        emit SaleSettled(licenseId, sale.amount);
    }

    // ---------------------------------------------------------------- shares

    /// @dev The shares sum to `amount`: what rounding leaves is the licensor's.
    function _distribute(uint32 planId, Sale memory sale) private {
        uint256 amount = sale.amount;
        if (amount == 0) return;
        address payToken = sale.payToken;
        uint256 left = amount;
        Royalty[] storage royalties = _royalties[planId];
        uint256 count = royalties.length; // at most MAX_ROYALTIES
        for (uint256 i; i < count; ++i) {
            Royalty memory royalty = royalties[i];
            uint256 share = amount * royalty.bps / BPS;
            if (share == 0) continue;
            left -= share;
            _owedToModel[royalty.modelId][payToken] += share;
            emit RoyaltyAccrued(royalty.modelId, payToken, share);
        }
        Payee[] storage payees = _payees[planId][_tenure(sale.licensor, sale.roleEpoch)];
        uint256 shared = left;
        count = payees.length; // at most MAX_PAYEES
        for (uint256 i; i < count; ++i) {
            Payee memory payee = payees[i];
            uint256 share = shared * payee.bps / BPS;
            left -= share;
            _accrue(payee.account, payToken, share);
        }
        _accrue(sale.licensor, payToken, left);
    }

    /// @dev A licensor's time with a plan: the role epoch rises each time the plan changes hands.
    function _tenure(address licensor, uint32 roleEpoch) private pure returns (uint256) {
        return uint256(roleEpoch) << 160 | uint160(licensor);
    }

    function _accrue(address account, address payToken, uint256 amount) private {
        if (amount == 0) return;
        _owed[account][payToken] += amount;
        emit Accrued(account, payToken, amount);
    }

    /// @inheritdoc ILicenseMarket
    function withdraw(address payToken, address to) external nonReentrant {
        uint256 amount = _owed[msg.sender][payToken];
        if (amount == 0) revert MarketNothingOwed(msg.sender, payToken);
        _owed[msg.sender][payToken] = 0;
        emit Withdrawn(msg.sender, payToken, to, amount);
        _pay(payToken, to, amount);
    }

    /// @inheritdoc ILicenseMarket
    function collectRoyalties(bytes32 modelId, address payToken, address to) external nonReentrant {
        if (_registry.licensorOf(modelId) != msg.sender) revert MarketNotTitleHolder(modelId, msg.sender);
        uint256 amount = _owedToModel[modelId][payToken];
        if (amount == 0) revert MarketNothingOwed(msg.sender, payToken);
        _owedToModel[modelId][payToken] = 0;
        emit RoyaltiesCollected(modelId, payToken, to, amount);
        _pay(payToken, to, amount);
    }

    function _pay(address payToken, address to, uint256 amount) private {
        // From here nothing comes back, and many tokens take address zero for a receiver.
        if (to == address(0) || to == address(this)) revert MarketRecipientInvalid(to);
        if (payToken == address(0)) Address.sendValue(payable(to), amount);
        else IERC20(payToken).safeTransfer(to, amount);
    }

    // ---------------------------------------------------------------- reads

    /// @inheritdoc ILicenseMarket
    function owed(address account, address payToken) external view returns (uint256) {
        return _owed[account][payToken];
    }

    /// @inheritdoc ILicenseMarket
    function owedToModel(bytes32 modelId, address payToken) external view returns (uint256) {
        return _owedToModel[modelId][payToken];
    }

    /// @inheritdoc ILicenseMarket
    function saleOf(uint256 licenseId)
        external
        view
        returns (address licensor, address payToken, uint256 amount, uint40 refundableUntil)
    {
        Sale memory sale = _sales[licenseId];
        return (sale.licensor, sale.payToken, sale.amount, sale.refundableUntil);
    }

    /// @inheritdoc ILicenseMarket
    function royaltiesOf(uint32 planId) external view returns (Royalty[] memory) {
        return _royalties[planId];
    }

    /// @inheritdoc ILicenseMarket
    function payeesOf(uint32 planId) external view returns (Payee[] memory) {
        (, PlanState memory state) = _ledger.planOf(planId);
        return _payees[planId][_tenure(state.licensor, state.roleEpoch)];
    }

    /// @inheritdoc ILicenseMarket
    function ledger() external view returns (address) {
        return address(_ledger);
    }
}
