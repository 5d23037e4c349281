# ruff: noqa: D101  each class below is its own three lines of documentation: signature, sentence, hint
"""LicenseLedger's errors on batches, vouchers, sublicenses, reissue; import from ``reverts``."""

from __future__ import annotations

from typing import ClassVar

from ledger.chain.solidity_error import SolidityError

_CODES = {
    1: "unknown",
    2: "suspended",
    3: "revoked",
    4: "expired",
    8: "not valid yet",
    9: "without a valid parent",
    10: "under notice",
    11: "out of quota",
}


# -- batches --------------------------------------------------------------------------------------


class BatchEmpty(SolidityError):
    signature = "BatchEmpty()"
    sentence = "a batch needs at least one license and a root"
    default_hint = "give at least one holder"


class BatchExists(SolidityError):
    signature = "BatchExists(uint32 planId,bytes32 root)"
    sentence = "plan {planId} has a batch with root {root} already"
    default_hint = "nothing needs to be done twice; new salts make a new root"


class BatchUnknown(SolidityError):
    signature = "BatchUnknown(uint32 planId,bytes32 root)"
    sentence = "plan {planId} has no batch with root {root}"
    default_hint = "check plan, root and network"


class BatchProofInvalid(SolidityError):
    signature = "BatchProofInvalid(bytes32 root,uint32 index)"
    sentence = "the proof of leaf {index} does not lead to root {root}"
    default_hint = "take leaf and proof from the file that came with the batch, unchanged"


class BatchLeafClaimed(SolidityError):
    signature = "BatchLeafClaimed(bytes32 root,uint32 index)"
    sentence = "leaf {index} of batch {root} is a license already"
    default_hint = "nothing needs to be done: deed license show"


class BatchLeafRevoked(SolidityError):
    signature = "BatchLeafRevoked(bytes32 root,uint32 index)"
    sentence = "leaf {index} of batch {root} was revoked, or the batch is closed"
    default_hint = "a revocation is final; ask the licensor for a new license"


class BatchIndexBeyond(SolidityError):
    signature = "BatchIndexBeyond(bytes32 root,uint256 word,uint256 mask)"
    sentence = "batch {root} has no leaves at some of the places in word {word}"
    default_hint = "give indexes below the batch's count"


class BatchIsClosed(SolidityError):
    signature = "BatchIsClosed(bytes32 root,uint40 closesAt)"
    sentence = "batch {root} closes at {closesAt} already"
    default_hint = "a batch is closed once; what was claimed of it is revoked license by license"


class BatchNothingToRevoke(SolidityError):
    signature = "BatchNothingToRevoke(bytes32 root,uint256 word,uint256 mask)"
    sentence = "everything named in word {word} of batch {root} is revoked already"
    default_hint = "nothing needs to be done"


class BatchNoticeDue(SolidityError):
    signature = "BatchNoticeDue(uint32 planId,uint32 minNotice)"
    sentence = "plan {planId} promises {minNotice} s of notice, which an unclaimed leaf cannot get"
    default_hint = "claim the leaf for its holder, then revoke the license"


# -- vouchers and signatures ----------------------------------------------------------------------


class VoucherExpired(SolidityError):
    signature = "VoucherExpired(uint40 deadline)"
    sentence = "the voucher was good until {deadline}"
    default_hint = "ask its signer for a new one"


class VoucherMarketOnly(SolidityError):
    signature = "VoucherMarketOnly(address market,address caller)"
    sentence = "only market {market} may redeem this voucher, not {caller}"
    default_hint = "buy through the market that the voucher names"


class VoucherNotSigned(SolidityError):
    signature = "VoucherNotSigned(address signer)"
    sentence = "the voucher does not carry the signature of {signer}"
    default_hint = "take the voucher as it was given, unchanged, on the chain it is for"


class VoucherPlanChanged(SolidityError):
    signature = "VoucherPlanChanged(uint32 planId,bytes32 planDigest,bytes32 signedDigest)"
    sentence = "plan {planId} is no longer the one that the voucher was signed for"
    default_hint = "ask its signer for a new one"


class VoucherSignerNotIssuer(SolidityError):
    signature = "VoucherSignerNotIssuer(uint32 planId,address signer)"
    sentence = "{signer} may not issue licenses of plan {planId}"
    default_hint = "the signer must be the licensor or hold the role ISSUER now"


class NonceSpent(SolidityError):
    signature = "NonceSpent(address signer,uint256 nonce)"
    # The number itself has up to 78 digits and tells a person nothing.
    sentence = "what {signer} signed was used or cancelled already"
    default_hint = "ask for another: it carries a number of its own"


class BindingExpired(SolidityError):
    signature = "BindingExpired(uint40 deadline)"
    sentence = "the signed binding was good until {deadline}"
    default_hint = "have the holder sign again"


class BindingNotSigned(SolidityError):
    signature = "BindingNotSigned(uint256 licenseId,address holder)"
    sentence = "the binding does not carry the signature of {holder}, who holds license {licenseId}"
    default_hint = "have the present holder sign; cancelled grants void earlier signatures"


# -- sublicenses and surrender --------------------------------------------------------------------


class LicenseNotValid(SolidityError):
    signature = "LicenseNotValid(uint256 licenseId,uint8 code)"
    sentence = "license {licenseId} is {code}, so nothing can be licensed out of it"
    default_hint = "a valid license that is not under notice is needed"
    enums: ClassVar = {"code": _CODES}


class LicenseNotSublicense(SolidityError):
    signature = "LicenseNotSublicense(uint256 licenseId)"
    sentence = "license {licenseId} holds no seats of another license"
    default_hint = "only sublicenses give seats back, once"


class LicenseNotEnded(SolidityError):
    signature = "LicenseNotEnded(uint256 licenseId,uint40 until)"
    sentence = "license {licenseId}, or a lease of it, may run until {until}"
    default_hint = "wait until then; a sublicense can be revoked with the plan's notice"


class LicenseSeatsInUse(SolidityError):
    signature = "LicenseSeatsInUse(uint256 licenseId,uint16 seatsUsed)"
    sentence = "{seatsUsed} seats of license {licenseId} are in use"
    default_hint = "release them first: deed license release"


class SublicenseTooDeep(SolidityError):
    signature = "SublicenseTooDeep(uint256 licenseId,uint8 max)"
    sentence = "license {licenseId} is {max} levels below a plan already"
    default_hint = "license from one of the licenses above it"


class SublicenseMetered(SolidityError):
    signature = "SublicenseMetered(uint256 licenseId)"
    sentence = "license {licenseId} is metered, and its quota cannot be shared"
    default_hint = "use a plan without a quota"


class SublicenseSeatsZero(SolidityError):
    signature = "SublicenseSeatsZero()"
    sentence = "a sublicense needs at least one seat"
    default_hint = "name the number of seats"


# -- reissue and usage ----------------------------------------------------------------------------


class ReissueNone(SolidityError):
    signature = "ReissueNone(uint256 licenseId)"
    sentence = "no reissue of license {licenseId} is under way"
    default_hint = "start one: deed license reissue"


class ReissuePending(SolidityError):
    signature = "ReissuePending(uint256 licenseId,uint40 readyAt)"
    sentence = "the reissue of license {licenseId} is ready on {readyAt}"
    default_hint = "wait: the holder may veto it until then"


class ReissueToHolder(SolidityError):
    signature = "ReissueToHolder(uint256 licenseId,address to)"
    sentence = "license {licenseId} cannot be reissued to {to}"
    default_hint = "name the new wallet, another than the present one"


class ReissueOutdated(SolidityError):
    signature = "ReissueOutdated(uint256 licenseId)"
    sentence = "the holder of license {licenseId} acted since the reissue was started"
    default_hint = "the wallet is not lost; start again only if it is"


class UsageNotMetered(SolidityError):
    signature = "UsageNotMetered(uint256 licenseId)"
    sentence = "license {licenseId} is not metered"
    default_hint = "only licenses of plans with a quota count usage"


class UsageNotRising(SolidityError):
    signature = "UsageNotRising(uint256 licenseId,uint64 cumulative,uint64 offered)"
    sentence = "usage of license {licenseId} stands at {cumulative}; {offered} is not more"
    default_hint = "usage is cumulative: give the sum since the license began"


# -- plans ----------------------------------------------------------------------------------------


class PlanNotRegistry(SolidityError):
    signature = "PlanNotRegistry(address caller)"
    sentence = "{caller} is not the registry"
    default_hint = "only the model registry makes this call"


class PlanRefundFloats(SolidityError):
    signature = "PlanRefundFloats()"
    sentence = "a plan with a refund window cannot lease its seats"
    default_hint = "use bound seats: only they show that nothing was used"


class PlanRoyaltyTooHigh(SolidityError):
    signature = "PlanRoyaltyTooHigh(uint16 bps,uint16 max)"
    sentence = "a resale royalty of {bps}/10000 is above {max}/10000"
    default_hint = "lower it"


class PlanRolesClosed(SolidityError):
    signature = "PlanRolesClosed(uint32 planId)"
    sentence = "plan {planId} has changed hands so often that it takes no roles any more"
    default_hint = "create another plan"


class BatchTooLarge(SolidityError):
    signature = "BatchTooLarge(uint32 count,uint32 max)"
    sentence = "an ISSUER anchors at most {max} licenses at a time, not {count}"
    default_hint = "anchor several batches, or have the licensor anchor it"


class LicenseLedgerMisplaced(SolidityError):
    signature = "LicenseLedgerMisplaced(address ledger,address expected)"
    sentence = "the registry expects its ledger at {expected}, not at {ledger}"
    default_hint = "deploy the release as a whole: deed chain deploy"


class LicenseExtensionMissing(SolidityError):
    signature = "LicenseExtensionMissing(address extension)"
    sentence = "there is no ledger extension at {extension}"
    default_hint = "deploy the release as a whole: deed chain deploy"
