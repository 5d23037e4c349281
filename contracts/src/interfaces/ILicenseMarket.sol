// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Voucher} from "./LicenseTypes.sol";

/// @notice What a model that the plan's model builds on is due of each sale, in 1/10,000 of the price.
struct Royalty {
    bytes32 modelId;
    uint16 bps;
}

/// @notice Who shares what a sale leaves after royalties, in 1/10,000 of it.
struct Payee {
    address account;
    uint16 bps;
}

/// @title LicenseMarket
/// @notice Sells and renews licenses at a plan's pinned terms, for the chain's coin or an ERC-20 token. Just an address with the
/// ISSUER role: the ledger never holds money, this contract never decides an entitlement. Nobody owns it, and all it pays is pulled.
/// @dev Needed for correctness: the plan's token moves exactly what it is told to; a token that takes a fee, lies or fails is
/// refused at the sale. A token that may change a balance by itself (rebasing) is the licensor's risk: the shares stand in units.
/// Needed for liveness: the licensor has given this contract ISSUER on the plan; the registry of the ledger answers.
/// Warning: royalties are due on sales through this market only. A licensor who issues by itself owes them nowhere on chain.
/// Warning: a token that refuses to pay one account locks that account's share, and nobody else's.
/// Warning: plans with a refund window should have brokers that release keys to on-chain seats only: `refund` asks whether a seat
/// was ever bound, and nothing else shows use.
interface ILicenseMarket {
    event RoyaltyPinned(uint32 indexed planId, bytes32 indexed modelId, uint16 bps);
    event PayeesSet(uint32 indexed planId, address indexed licensor, Payee[] payees);
    event LicenseSold(
        uint256 indexed licenseId,
        address indexed payer,
        address indexed licensor,
        address payToken,
        uint256 amount,
        uint40 refundableUntil
    );
    event LicenseRenewalSold(
        uint256 indexed licenseId, address indexed payer, address indexed licensor, address payToken, uint256 amount
    );
    event SaleSettled(uint256 indexed licenseId, uint256 amount);
    event SaleRefunded(uint256 indexed licenseId, address indexed to, address payToken, uint256 amount);
    event Accrued(address indexed account, address indexed payToken, uint256 amount);
    event RoyaltyAccrued(bytes32 indexed modelId, address indexed payToken, uint256 amount);
    event Withdrawn(address indexed account, address indexed payToken, address indexed to, uint256 amount);
    event RoyaltiesCollected(bytes32 indexed modelId, address indexed payToken, address indexed to, uint256 amount);

    error MarketPlanChanged(uint32 planId, bytes32 planDigest, bytes32 expected);
    error MarketTitleMoved(uint32 planId, address planLicensor, address titleHolder);
    error MarketModelCompromised(bytes32 modelId);
    error MarketNotLicensor(uint32 planId, address caller);
    error MarketWrongPayment(uint256 want, uint256 got);
    error MarketTokenShort(address token, uint256 want, uint256 got);
    error MarketTokenMissing(address token);
    error MarketPermitMalformed(uint256 length);
    error MarketVoucherElsewhere(address market);
    error MarketNoSale(uint256 licenseId);
    error MarketSaleOpen(uint256 licenseId, uint40 refundableUntil);
    error MarketRefundOver(uint256 licenseId, uint40 refundableUntil);
    error MarketLicenseUsed(uint256 licenseId);
    error MarketNotHolder(uint256 licenseId, address caller);
    error MarketRecipientInvalid(address to);
    error MarketNothingOwed(address account, address payToken);
    error MarketNotTitleHolder(bytes32 modelId, address caller);
    error RoyaltiesPinned(uint32 planId);
    error RoyaltiesTooMany(uint256 count, uint256 max);
    error RoyaltiesTooHigh(uint256 bps, uint256 max);
    error RoyaltiesNotSorted(uint256 index);
    error RoyaltyModelUnknown(bytes32 modelId);
    error PayeesTooMany(uint256 count, uint256 max);
    error PayeesTooHigh(uint256 bps, uint256 max);
    error PayeeInvalid(uint256 index, address account);

    /// @notice Fixes for good what the plan's sales here owe other models: once, before the plan's first license. Licensor only, who must
    /// still hold the model's title. Pin before this market gets its role: one purchase, refunded or not, and it is too late.
    /// @param royalties at most 8, strictly rising model ids, each registered, at most 5,000 in sum. Accrues to each model and is
    /// collected by who holds its title then. One level: what a parent owes its own parents is its own sales' affair.
    function pinRoyalties(uint32 planId, Royalty[] calldata royalties) external;

    /// @notice Says who shares what the licensor gets of what was or is sold under its present tenure, settled from now on. Licensor only,
    /// who must still hold the model's title. What the next licensor sells is not theirs, nor what this one sells after the title came back.
    /// @param payees at most 16, at most 10,000 in sum, none of them address zero or this market; the rest stays the licensor's
    function setPayees(uint32 planId, Payee[] calldata payees) external;

    /// @notice Buys one license at the plan's price and duration for `to`.
    /// @param planDigest of the plan as the buyer saw it: licensor, model, terms, price, token, duration, everything
    /// @param permit empty, or ERC-2612 `abi.encode(uint256 deadline, uint8 v, bytes32 r, bytes32 s)` over exactly the price. One that the
    /// token refuses is passed over: the allowance decides.
    function buy(uint32 planId, bytes32 planDigest, address to, bytes calldata permit)
        external
        payable
        returns (uint256 licenseId);

    /// @notice Buys what a voucher promises, at the voucher's price. The voucher names this market.
    function buyWithVoucher(Voucher calldata voucher, bytes calldata signature, bytes calldata permit)
        external
        payable
        returns (uint256 licenseId);

    /// @notice Pays for one plan duration more. Anyone may pay for anyone. Not while the purchase can still be refunded.
    function renew(uint256 licenseId, bytes32 planDigest, bytes calldata permit) external payable;

    /// @notice Gives the holder the price back within the plan's refund window, while nothing was ever bound; the license ends.
    /// @dev The holder lets this contract move the token first (`approve`), or surrenders the license itself: ending a
    /// license takes its holder's word. A license that its licensor revoked meanwhile is refunded as well.
    function refund(uint256 licenseId) external;

    /// @notice Pays out a sale whose refund window has passed, or whose license is in use. Anyone may.
    function settle(uint256 licenseId) external;

    /// @notice Sends the caller all it is owed in `payToken`.
    /// @param payToken address(0): the chain's coin
    /// @param to neither address(0) nor this market
    function withdraw(address payToken, address to) external;

    /// @notice Sends the titleholder of a model all royalties the model is owed in `payToken`.
    /// @param to neither address(0) nor this market
    function collectRoyalties(bytes32 modelId, address payToken, address to) external;

    /// @return what `account` may withdraw
    function owed(address account, address payToken) external view returns (uint256);

    /// @return what the titleholder of the model may collect
    function owedToModel(bytes32 modelId, address payToken) external view returns (uint256);

    /// @return licensor address(0) when there is no unsettled sale
    /// @return payToken
    /// @return amount
    /// @return refundableUntil seconds
    function saleOf(uint256 licenseId)
        external
        view
        returns (address licensor, address payToken, uint256 amount, uint40 refundableUntil);

    /// @return what the plan's sales owe other models
    function royaltiesOf(uint32 planId) external view returns (Royalty[] memory);

    /// @return who shares the present licensor's part
    function payeesOf(uint32 planId) external view returns (Payee[] memory);

    /// @return the LicenseLedger whose licenses are sold here
    function ledger() external view returns (address);
}
