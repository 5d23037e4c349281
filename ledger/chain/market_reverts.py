# ruff: noqa: D101  each class below is its own three lines of documentation: signature, sentence, hint
"""The errors of LicenseMarket and of the libraries it uses; import from ``reverts``."""

from __future__ import annotations

from ledger.chain.solidity_error import SolidityError

# -- sales ----------------------------------------------------------------------------------------


class MarketPlanChanged(SolidityError):
    signature = "MarketPlanChanged(uint32 planId,bytes32 planDigest,bytes32 expected)"
    sentence = "plan {planId} is not the one you looked at: its digest is {planDigest}"
    default_hint = "look at the plan again (deed plan show) and buy what you see"


class MarketTitleMoved(SolidityError):
    signature = "MarketTitleMoved(uint32 planId,address planLicensor,address titleHolder)"
    sentence = "plan {planId} is {planLicensor}'s, but the title is now {titleHolder}'s"
    default_hint = "bring the plan in step with the title first (deed plan sync)"


class MarketModelCompromised(SolidityError):
    signature = "MarketModelCompromised(bytes32 modelId)"
    sentence = "model {modelId} is compromised: brokers release no keys for it"
    default_hint = "ask the licensor"


class MarketNotLicensor(SolidityError):
    signature = "MarketNotLicensor(uint32 planId,address caller)"
    sentence = "{caller} is not the licensor of plan {planId}"
    default_hint = "use the licensor's wallet"


class MarketWrongPayment(SolidityError):
    signature = "MarketWrongPayment(uint256 want,uint256 got)"
    sentence = "the price is {want} in the chain's coin, {got} were sent"
    default_hint = "send exactly the price"


class MarketTokenShort(SolidityError):
    signature = "MarketTokenShort(address token,uint256 want,uint256 got)"
    sentence = "token {token} delivered {got} of {want}"
    default_hint = "tokens that take a fee on transfer cannot pay for licenses"


class MarketTokenMissing(SolidityError):
    signature = "MarketTokenMissing(address token)"
    sentence = "there is no token at {token}"
    default_hint = "the plan names a token that does not exist on this chain; ask the licensor"


class MarketPermitMalformed(SolidityError):
    signature = "MarketPermitMalformed(uint256 length)"
    sentence = "the permit of {length} bytes is not deadline, v, r and s"
    default_hint = "give the four ABI-encoded in 128 bytes, v in one byte, or no permit at all"


class MarketVoucherElsewhere(SolidityError):
    signature = "MarketVoucherElsewhere(address market)"
    sentence = "the voucher is for market {market}"
    default_hint = "redeem it there"


# -- refunds and settlement -----------------------------------------------------------------------


class MarketNoSale(SolidityError):
    signature = "MarketNoSale(uint256 licenseId)"
    sentence = "license {licenseId} has no open sale here"
    default_hint = "it was not bought here, or is settled or refunded already"


class MarketSaleOpen(SolidityError):
    signature = "MarketSaleOpen(uint256 licenseId,uint40 refundableUntil)"
    sentence = "the sale of license {licenseId} can be refunded until {refundableUntil}"
    default_hint = "wait until then, or until a runtime is bound"


class MarketRefundOver(SolidityError):
    signature = "MarketRefundOver(uint256 licenseId,uint40 refundableUntil)"
    sentence = "the sale of license {licenseId} could be refunded until {refundableUntil}"
    default_hint = "the time is over; ask the licensor"


class MarketLicenseUsed(SolidityError):
    signature = "MarketLicenseUsed(uint256 licenseId)"
    sentence = "license {licenseId} has had a runtime bound to it, or seats licensed on"
    default_hint = "only unused licenses are refunded"


class MarketNotHolder(SolidityError):
    signature = "MarketNotHolder(uint256 licenseId,address caller)"
    sentence = "license {licenseId} is not held by {caller}"
    default_hint = "use the holder's wallet"


class MarketRecipientInvalid(SolidityError):
    signature = "MarketRecipientInvalid(address to)"
    sentence = "nothing sent to {to} would ever come back"
    default_hint = "name an account that somebody controls, neither address zero nor the market"


class MarketNothingOwed(SolidityError):
    signature = "MarketNothingOwed(address account,address payToken)"
    sentence = "nothing is owed to {account} in {payToken}"
    default_hint = "check the token; the zero address is the chain's coin"


class MarketNotTitleHolder(SolidityError):
    signature = "MarketNotTitleHolder(bytes32 modelId,address caller)"
    sentence = "{caller} does not hold the title of model {modelId}"
    default_hint = "royalties go to whoever holds the title"


# -- royalties and payees -------------------------------------------------------------------------


class RoyaltiesPinned(SolidityError):
    signature = "RoyaltiesPinned(uint32 planId)"
    sentence = "the royalties of plan {planId} are fixed"
    default_hint = "they are set once, before its first license; create another plan"


class RoyaltiesTooMany(SolidityError):
    signature = "RoyaltiesTooMany(uint256 count,uint256 max)"
    sentence = "{count} royalties are more than {max}"
    default_hint = "name fewer models"


class RoyaltiesTooHigh(SolidityError):
    signature = "RoyaltiesTooHigh(uint256 bps,uint256 max)"
    sentence = "royalties of {bps}/10000 in sum are above {max}/10000"
    default_hint = "lower them"


class RoyaltiesNotSorted(SolidityError):
    signature = "RoyaltiesNotSorted(uint256 index)"
    sentence = "royalty {index} is out of order"
    default_hint = "name each model once, by rising id"


class RoyaltyModelUnknown(SolidityError):
    signature = "RoyaltyModelUnknown(bytes32 modelId)"
    sentence = "model {modelId} is not registered"
    default_hint = "royalties go to registered models"


class PayeesTooMany(SolidityError):
    signature = "PayeesTooMany(uint256 count,uint256 max)"
    sentence = "{count} payees are more than {max}"
    default_hint = "name fewer accounts"


class PayeesTooHigh(SolidityError):
    signature = "PayeesTooHigh(uint256 bps,uint256 max)"
    sentence = "payees share {bps}/10000, above {max}/10000"
    default_hint = "lower their shares"


class PayeeInvalid(SolidityError):
    signature = "PayeeInvalid(uint256 index,address account)"
    sentence = "payee {index} is {account}, which can never withdraw"
    default_hint = "name an account that somebody controls, neither address zero nor the market"


# -- libraries (OpenZeppelin) ---------------------------------------------------------------------


class FailedCall(SolidityError):
    signature = "FailedCall()"
    sentence = "the account that was to be paid refused the coins"
    default_hint = "name another account to pay to"


class InsufficientBalance(SolidityError):
    signature = "InsufficientBalance(uint256 balance,uint256 needed)"
    sentence = "the contract holds {balance} of {needed}"
    default_hint = "please report this: it should never happen"


class ReentrancyGuardReentrantCall(SolidityError):
    signature = "ReentrancyGuardReentrantCall()"
    sentence = "the market was called from within its own call"
    default_hint = "call it from outside"


class SafeERC20FailedOperation(SolidityError):
    signature = "SafeERC20FailedOperation(address token)"
    sentence = "token {token} refused the transfer"
    default_hint = "check balance and allowance for the market"
