"""Events of LicenseLedger into plans, roles, licenses and seats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ledger.errors import IndexUnavailable, LogFormatError
from ledger.ids import Digest, keccak256
from ledger.index.step import Step
from ledger.licensing.reference import reference_subject

ACTIVE, SUSPENDED, REVOKED = 1, 2, 3
_SERIAL_BITS = 32
_SERIAL = (1 << _SERIAL_BITS) - 1
NOBODY = bytes(20)
"""From whom a license comes that is minted."""

_PLAN_TAG = keccak256(b"modeldeed/plan/1")
# Words of PlanTerms (ILicenseLedger.sol) after modelId and termsHash, in order.
_TERMS = (
    "duration",
    "grace",
    "lease_ttl",
    "max_offline",
    "min_notice",
    "refund_window",
    "reissue_delay",
    "seats",
    "supply",
    "quota",
    "features",
    "broker_set",
    "pay_token",
    "price",
    "floating",
    "warn_only",
    "transferable",
)


def plan_terms(answer: bytes) -> dict[str, Any]:
    """PlanTerms out of the words that ``planOf`` answers, 32 bytes each."""
    words = [answer[32 * i : 32 * i + 32] for i in range(2, 2 + len(_TERMS))]
    terms: dict[str, Any] = {
        name: int.from_bytes(word, "big") for name, word in zip(_TERMS, words, strict=True)
    }
    terms["pay_token"] = terms["pay_token"].to_bytes(32, "big")[12:]
    for name in ("floating", "warn_only", "transferable"):
        terms[name] = bool(terms[name])
    return terms


def plan_words(row: Mapping[str, Any]) -> bytes:
    """The reverse: the 19 words of PlanTerms of a plan's row."""
    values = (row[name] for name in _TERMS)
    words = (int.from_bytes(v, "big") if isinstance(v, bytes) else int(v) for v in values)
    rest = b"".join(word.to_bytes(32, "big") for word in words)
    return bytes(row["model_id"]) + bytes(row["terms_hash"]) + rest


def plan_digest(licensor: bytes, words: bytes) -> bytes:
    """``keccak256(abi.encode(tag, licensor, terms))``, which binds terms to whoever offers them."""
    return keccak256(_PLAN_TAG + licensor.rjust(32, b"\0") + words)


def _plan_created(s: Step) -> None:
    if s.answer is None:
        number = s.number("planId")
        raise LogFormatError(
            f"plan {number} was created, and its terms are not beside it",
            hint="the index was changed by another hand: put a copy of it back, or follow anew",
        )
    s.put(
        "plan",
        (s.number("planId"),),
        licensor=s.raw("licensor"),
        model_id=s.raw("modelId"),
        terms_hash=s.raw("termsHash"),
        plan_digest=s.raw("planDigest"),
        created_at=s.at.time,
        paused=False,
        role_epoch=0,
        issued=0,
        **plan_terms(s.answer),
    )
    s.concern(s.raw("modelId"))


def _change_plan(s: Step, **values: Any) -> None:
    row = s.change("plan", (s.number("planId"),), **values)
    if row is not None:
        s.concern(row["model_id"])


def _plan_paused(s: Step) -> None:
    _change_plan(s, paused=s.values["paused"])


def _plan_licensor_synced(s: Step) -> None:
    row, to = s.state.get("plan", (s.number("planId"),)), s.raw("to")
    if row is not None:
        digest = plan_digest(to, plan_words(row))
        _change_plan(s, licensor=to, role_epoch=s.number("roleEpoch"), plan_digest=digest)


def _role_set(s: Step) -> None:
    key = (s.number("planId"), s.raw("account"))
    if s.number("roles"):
        s.put("role", key, roles=s.number("roles"), role_epoch=s.number("roleEpoch"))
    else:
        s.state.end("role", key, s.at.block)


def _license_issued(s: Step) -> None:
    license_id, plan_id = s.number("licenseId"), s.number("planId")
    plan = s.state.get("plan", (plan_id,))
    if plan is None:
        raise IndexUnavailable(
            f"license {license_id} is of plan {plan_id}, whose creation the journal does not hold",
            hint="the index began too late or missed a log; follow again into an empty database",
        )
    if license_id >> _SERIAL_BITS != plan_id:
        # The contract numbers them so, and `unissued` rests on it.
        raise IndexUnavailable(
            f"license {license_id} is not numbered as one of plan {plan_id}",
            hint="the endpoint shows what the contract cannot emit; follow from another one",
        )
    # A license claimed out of a batch was counted when the batch was anchored.
    s.change("plan", (plan_id,), issued=max(plan["issued"], license_id & _SERIAL))
    s.put(
        "license",
        (license_id,),
        plan_id=plan_id,
        model_id=plan["model_id"],
        holder=s.raw("to"),
        issued_at=s.at.time,
        not_before=s.number("notBefore"),
        not_after=s.number("notAfter"),
        status=ACTIVE,
        reason=None,
        revoked_by=None,
        revoked_at=None,
        held=False,
        suspended_at=0,
        seats_used=0,
        grant_nonce=0,
    )
    s.concern(plan["model_id"], license_subject(license_id))


def plan_of(license_id: int) -> int:
    """The plan that a license's number names."""
    return license_id >> _SERIAL_BITS


def unissued(license_id: int, plan: Mapping[str, Any]) -> bool:
    """Whether a plan's row says that there can be no row of this license yet.

    `issued` never falls, and whatever makes a license's row raises it to the license's serial.
    """
    return bool(license_id & _SERIAL > plan["issued"])


def _change_license(s: Step, **values: Any) -> Mapping[str, Any] | None:
    license_id = s.number("licenseId")
    row = s.change("license", (license_id,), **values)
    if row is not None:
        s.concern(row["model_id"], license_subject(license_id))
    return row


def _license_renewed(s: Step) -> None:
    _change_license(s, not_after=s.number("notAfter"))


def _license_suspended(s: Step) -> None:
    # A suspension is a hold of its own: under a revocation's notice the status stays REVOKED.
    row = s.state.get("license", (s.number("licenseId"),))
    if row is not None:
        status = SUSPENDED if row["status"] == ACTIVE else row["status"]
        _change_license(s, status=status, held=True, suspended_at=s.at.time, reason=s.raw("reason"))


def _license_reinstated(s: Step) -> None:
    row = s.state.get("license", (s.number("licenseId"),))
    if row is not None:
        status = ACTIVE if row["status"] == SUSPENDED else row["status"]
        _change_license(s, status=status, held=False, suspended_at=0, reason=s.raw("reason"))


def _license_revoked(s: Step) -> None:
    # effectiveAt is never later than the end before it, so it is the new end.
    _change_license(
        s,
        status=REVOKED,
        reason=s.raw("reason"),
        revoked_by=s.raw("by"),
        revoked_at=s.at.time,
        not_after=s.number("effectiveAt"),
    )


def _runtime_bound(s: Step) -> None:
    license_id = s.number("licenseId")
    key = (license_id, s.raw("runtimeKey"))
    row = s.state.get("license", (license_id,))
    if row is not None and s.state.get("seat", key) is None:
        _change_license(s, seats_used=row["seats_used"] + 1)
    s.put(
        "seat",
        key,
        bound_at=s.at.time,
        until=s.number("until"),
        measurement=s.raw("measurement"),
    )


def _seat_ended(s: Step) -> None:
    license_id = s.number("licenseId")
    key = (license_id, s.raw("runtimeKey"))
    row = s.state.get("license", (license_id,))
    if row is not None and s.state.get("seat", key) is not None:
        _change_license(s, seats_used=max(0, row["seats_used"] - 1))
    s.state.end("seat", key, s.at.block)


def _grants_cancelled(s: Step) -> None:
    _change_license(s, grant_nonce=s.number("grantNonce"))


def _token_transferred(s: Step) -> None:
    # A mint comes with LicenseIssued, which says more.
    license_id, to = s.number("tokenId"), s.raw("to")
    if s.raw("from") != NOBODY:
        row = s.change("license", (license_id,), holder=to)
        if row is not None:
            s.concern(row["model_id"], license_subject(license_id))


def _batch_anchored(s: Step) -> None:
    # Its licenses have their serials from now on.
    row = s.state.get("plan", (s.number("planId"),))
    if row is not None:
        last = s.number("firstSerial") + s.number("count") - 1
        _change_plan(s, issued=max(row["issued"], last))


def _plan_touched(s: Step) -> None:
    _change_plan(s)


def _batch_closed(s: Step) -> None:
    _change_plan(s)
    # By which a list of batches finds until when each can be claimed.
    s.concern(s.raw("root"))


def _sublicensed(s: Step) -> None:
    _take_seats(s, s.number("seats"))
    _license_touched(s)


def _seats_reclaimed(s: Step) -> None:
    _take_seats(s, -s.number("seats"))
    _license_touched(s)


def _take_seats(s: Step, seats: int) -> None:
    """A sublicense's seats are in use in the license above it."""
    parent = s.number("parentId")
    row = s.state.get("license", (parent,))
    if row is not None:
        s.change("license", (parent,), seats_used=max(0, row["seats_used"] + seats))
        s.concern(license_subject(parent))


def _license_touched(s: Step) -> None:
    _change_license(s)


def _license_referenced(s: Step) -> None:
    ext_hash = Digest(s.raw("extHash"))
    if _change_license(s) is not None and not ext_hash.is_zero:
        s.concern(reference_subject(ext_hash).raw)


def license_subject(license_id: int) -> bytes:
    """The 32 bytes under which a license's events are filed."""
    return license_id.to_bytes(32, "big")


HANDLERS: dict[tuple[str, str], Callable[[Step], None]] = {
    ("LicenseLedger", "PlanCreated"): _plan_created,
    ("LicenseLedger", "PlanPaused"): _plan_paused,
    ("LicenseLedger", "PlanLicensorSynced"): _plan_licensor_synced,
    ("LicenseLedger", "RoleSet"): _role_set,
    ("LicenseLedger", "LicenseIssued"): _license_issued,
    ("LicenseLedger", "LicenseRenewed"): _license_renewed,
    ("LicenseLedger", "LicenseSuspended"): _license_suspended,
    ("LicenseLedger", "LicenseReinstated"): _license_reinstated,
    ("LicenseLedger", "LicenseRevoked"): _license_revoked,
    ("LicenseLedger", "RuntimeBound"): _runtime_bound,
    ("LicenseLedger", "RuntimeReleased"): _seat_ended,
    ("LicenseLedger", "RuntimeEvicted"): _seat_ended,
    ("LicenseLedger", "GrantsCancelled"): _grants_cancelled,
    ("LicenseLedger", "Transfer"): _token_transferred,
    ("LicenseLedger", "BatchAnchored"): _batch_anchored,
    ("LicenseLedger", "BatchRevoked"): _plan_touched,
    ("LicenseLedger", "BatchClosed"): _batch_closed,
    ("LicenseLedger", "PlanResaleRoyaltySet"): _plan_touched,
    ("LicenseLedger", "BatchClaimed"): _license_referenced,
    ("LicenseLedger", "VoucherRedeemed"): _license_referenced,
    ("LicenseLedger", "LicenseSublicensed"): _sublicensed,
    ("LicenseLedger", "SeatsReclaimed"): _seats_reclaimed,
    ("LicenseLedger", "ReissueStarted"): _license_touched,
    ("LicenseLedger", "ReissueVetoed"): _license_touched,
    ("LicenseLedger", "LicenseReissued"): _license_touched,
    ("LicenseLedger", "UsageAnchored"): _license_touched,
}
