# ruff: noqa: D101  each class below is its own three lines of documentation: signature, sentence, hint
"""LicenseLedger's errors on licenses, plans, seats and checks; import from ``reverts``."""

from __future__ import annotations

from typing import ClassVar

from ledger.chain.solidity_error import SolidityError
from ledger.chain.title_reverts import MODEL_STATUS
from ledger.ids import ZERO_ADDRESS

_ROLES = {0: "licensor", 1: "ISSUER", 2: "REVOKER", 4: "METER", 8: "GUARDIAN"}
_LICENSE_STATUS = {0: "not issued", 1: "active", 2: "suspended", 3: "revoked"}
_UNTRANSFERABLE = {
    1: "its plan forbids transfers",
    2: "it is suspended",
    3: "it is revoked or under notice",
    4: "runtimes are bound to it",
}

# -- LicenseLedger: licenses ---------------------------------------------------------------------


class LicenseNotFound(SolidityError):
    signature = "LicenseNotFound(uint256 licenseId)"
    sentence = "license {licenseId} does not exist"
    default_hint = "check the number and the network: deed license list"


class LicenseNotHolder(SolidityError):
    signature = "LicenseNotHolder(uint256 licenseId,address caller)"
    sentence = "license {licenseId} is not held by {caller}"
    default_hint = "use the holder's wallet (--wallet)"


class LicenseStatusForbids(SolidityError):
    signature = "LicenseStatusForbids(uint256 licenseId,uint8 status)"
    sentence = "license {licenseId} is {status}, which forbids this"
    default_hint = "a suspension can be lifted by the licensor; a revocation is final"
    enums: ClassVar = {"status": _LICENSE_STATUS}


class LicenseExpired(SolidityError):
    signature = "LicenseExpired(uint256 licenseId,uint40 notAfter)"
    sentence = "license {licenseId} expired on {notAfter}"
    default_hint = "ask the licensor to renew it, or issue a new one"


class LicenseUnderNotice(SolidityError):
    signature = "LicenseUnderNotice(uint256 licenseId,uint40 effectiveAt)"
    sentence = "license {licenseId} is under notice and ends on {effectiveAt}"
    default_hint = "notice cannot be taken back; issue a new license instead"


class LicenseNotLater(SolidityError):
    signature = "LicenseNotLater(uint256 licenseId,uint40 notAfter,uint40 offered)"
    sentence = "license {licenseId} runs until {notAfter}; {offered} is not later"
    default_hint = "renew to a later time"


class LicenseWindowInvalid(SolidityError):
    signature = "LicenseWindowInvalid(uint40 notBefore,uint40 notAfter)"
    sentence = "a license cannot run from {notBefore} to {notAfter}"
    default_hint = (
        "the end must be later than the beginning, and in the future; a role issues for at most "
        "the plan's duration, and renews to at most two of them from now"
    )


class LicenseUntransferable(SolidityError):
    signature = "LicenseUntransferable(uint256 licenseId,uint8 why)"
    sentence = "license {licenseId} cannot be transferred: {why}"
    default_hint = "ask the licensor"
    enums: ClassVar = {"why": _UNTRANSFERABLE}


class LicenseNoticeTooShort(SolidityError):
    signature = "LicenseNoticeTooShort(uint40 effectiveAt,uint40 earliest)"
    sentence = "the plan's notice lets this take effect on {earliest} at the earliest"
    default_hint = "give no time, or one not before {earliest}"


class LicenseNotSuspended(SolidityError):
    signature = "LicenseNotSuspended(uint256 licenseId)"
    sentence = "license {licenseId} is not suspended"
    default_hint = "there is nothing to reinstate"


class LicensePaymentRefused(SolidityError):
    signature = "LicensePaymentRefused(uint256 value)"
    sentence = "the license ledger takes no money ({value} wei were sent)"
    default_hint = "send the call without value"


# -- LicenseLedger: plans, seats, checks ---------------------------------------------------------


class PlanUnknown(SolidityError):
    signature = "PlanUnknown(uint32 planId)"
    sentence = "plan {planId} does not exist"
    default_hint = "check the number and the network: deed plan list"


class PlanNotAuthorized(SolidityError):
    signature = "PlanNotAuthorized(uint32 planId,address caller,uint8 role)"
    sentence = "{caller} lacks the role {role} on plan {planId}"
    default_hint = "use the licensor's wallet, or ask the licensor for the role"
    enums: ClassVar = {"role": _ROLES}


class PlanNotTitleHolder(SolidityError):
    signature = "PlanNotTitleHolder(bytes32 modelId,address caller,address licensor)"
    sentence = "{caller} cannot sell licenses of model {modelId}: its licensor is {licensor}"
    default_hint = "use the wallet of {licensor}"

    @classmethod
    def of(cls, words: bytes) -> SolidityError:
        """Build from the argument words; a model that nobody registered has nobody's title."""
        error = super().of(words)
        if error.arguments["licensor"] != ZERO_ADDRESS:
            return error
        return cls(
            f"model {error.arguments['modelId']} is not registered, so nobody can sell licenses",
            error_name=error.error_name,
            arguments=error.arguments,
            hint="register the model first",
        )


class PlanModelNotIssuable(SolidityError):
    signature = "PlanModelNotIssuable(bytes32 modelId,uint8 status)"
    sentence = "model {modelId} is {status}, so no license of it can be issued"
    default_hint = "an active model is needed"
    enums: ClassVar = {"status": MODEL_STATUS}


class PlanTitleMoved(SolidityError):
    signature = "PlanTitleMoved(uint32 planId,address planLicensor,address titleHolder)"
    sentence = "plan {planId} is {planLicensor}'s, but the title is now {titleHolder}'s"
    default_hint = "bring the plan in step with the title first (deed plan sync)"


class PlanIsPaused(SolidityError):
    signature = "PlanIsPaused(uint32 planId)"
    sentence = "plan {planId} is paused and issues no licenses"
    default_hint = "ask the licensor to resume it"


class PlanSupplyExceeded(SolidityError):
    signature = "PlanSupplyExceeded(uint32 planId,uint32 limit)"
    sentence = "plan {planId} has issued all of its {limit} licenses, sublicenses included"
    default_hint = "create another plan"


class PlanOfflineTooLong(SolidityError):
    signature = "PlanOfflineTooLong(uint256 leaseTtlPlusGrace,uint32 maxOffline)"
    sentence = (
        "lease time and grace add up to {leaseTtlPlusGrace} s, above the {maxOffline} s shown"
    )
    default_hint = "lower lease time or grace, or state a longer offline time"


class PlanInSync(SolidityError):
    signature = "PlanInSync(uint32 planId)"
    sentence = "plan {planId} follows the title already"
    default_hint = "nothing needs to be done"


class SeatsFull(SolidityError):
    signature = "SeatsFull(uint256 licenseId,uint16 seats)"
    sentence = "all {seats} seats of license {licenseId} are taken"
    default_hint = "release a seat, or ask the licensor for more"


class SeatAlreadyBound(SolidityError):
    signature = "SeatAlreadyBound(uint256 licenseId,bytes32 runtimeKey)"
    sentence = "runtime {runtimeKey} has a seat of license {licenseId} already"
    default_hint = "nothing needs to be done"


class SeatNotBound(SolidityError):
    signature = "SeatNotBound(uint256 licenseId,bytes32 runtimeKey)"
    sentence = "runtime {runtimeKey} has no seat of license {licenseId}"
    default_hint = "check the runtime's key"


class SeatHeldUntil(SolidityError):
    signature = "SeatHeldUntil(uint256 licenseId,bytes32 runtimeKey,uint40 until)"
    sentence = "the seat of runtime {runtimeKey} on license {licenseId} is held until {until}"
    default_hint = "release it after {until}"


class SeatWindowInvalid(SolidityError):
    signature = "SeatWindowInvalid(uint40 until,uint40 notAfter)"
    sentence = "a seat until {until} does not fit a license until {notAfter}"
    default_hint = "choose a time in the future and not after the license's end"


class SeatKeyZero(SolidityError):
    signature = "SeatKeyZero(uint256 licenseId)"
    sentence = "a seat of license {licenseId} needs a runtime key that is not zero"
    default_hint = "give the key that deed runtime init made"


class SeatsFloat(SolidityError):
    signature = "SeatsFloat(uint256 licenseId)"
    sentence = "seats of license {licenseId} are leased by its brokers, not bound on chain"
    default_hint = "just load the model; or use a plan with bound seats"


class PlanRolesUnknown(SolidityError):
    signature = "PlanRolesUnknown(uint8 roles)"
    sentence = "role bits {roles} name a role that does not exist"
    default_hint = "roles are 1 ISSUER, 2 REVOKER, 4 METER, 8 GUARDIAN, or their sum"


class CheckInPast(SolidityError):
    signature = "CheckInPast(uint40 at,uint40 now_)"
    sentence = "entitlement was asked for {at}, before the chain's time {now_}"
    default_hint = "ask for now or later; the past is shown by receipts"


# -- the token standard's own (solady ERC-721) -------------------------------------------------


class AccountBalanceOverflow(SolidityError):
    signature = "AccountBalanceOverflow()"
    sentence = "the account holds as many licenses as it can"


class BalanceQueryForZeroAddress(SolidityError):
    signature = "BalanceQueryForZeroAddress()"
    sentence = "the zero address holds no licenses"
    default_hint = "give an account"


class NotOwnerNorApproved(SolidityError):
    signature = "NotOwnerNorApproved()"
    sentence = "the sender neither holds this license nor was approved by its holder"
    default_hint = "use the holder's wallet (--wallet)"


class TokenAlreadyExists(SolidityError):
    signature = "TokenAlreadyExists()"
    sentence = "the license exists already"


class TokenDoesNotExist(SolidityError):
    signature = "TokenDoesNotExist()"
    sentence = "the license does not exist"
    default_hint = "check the number and the network: deed license list"


class TransferFromIncorrectOwner(SolidityError):
    signature = "TransferFromIncorrectOwner()"
    sentence = "the license is not held by the account it should come from"
    default_hint = "check who holds it: deed license show"


class TransferToNonERC721ReceiverImplementer(SolidityError):
    signature = "TransferToNonERC721ReceiverImplementer()"
    sentence = "the receiving contract cannot hold licenses"
    default_hint = "name an account, or a contract that takes ERC-721 tokens"


class TransferToZeroAddress(SolidityError):
    signature = "TransferToZeroAddress()"
    sentence = "a license cannot be given to the zero address"
    default_hint = "name the new holder"
