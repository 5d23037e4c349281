"""Fold events into the state tables: one function an event, no reading of anything but state.

The same events in the same order give the same rows whatever batches they come in; that is what
makes `ledger.index.rebuild` an oracle for the live index.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ledger.errors import IndexUnavailable
from ledger.ids import Address, Digest, keccak256
from ledger.index.decode import Event, Value
from ledger.index.versions import Versions

SEALING = 1
ACTIVE, SUSPENDED, REVOKED = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event stands: block number and Unix time, index of its log, and its transaction."""

    block: int
    time: int
    log_index: int
    tx_hash: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """What one event handler sees."""

    state: Versions
    at: Place
    values: dict[str, Value]
    answer: bytes | None

    def raw(self, name: str) -> bytes:
        """An argument as the bytes that the tables hold."""
        value = self.values[name]
        return value.raw if isinstance(value, (Digest, Address)) else bytes(value)  # type: ignore[arg-type]

    def number(self, name: str) -> int:
        """An argument that is a number."""
        value = self.values[name]
        assert isinstance(value, int)
        return value

    def change(self, table: str, key: tuple[Any, ...], **values: Any) -> dict[str, Any] | None:
        """Give the live row of `key` new values; without one, nothing happens."""
        row = self.state.get(table, key)
        if row is not None:
            self.state.put(table, key, {**row, **values}, self.at.block)
        return row

    def put(self, table: str, key: tuple[Any, ...], **values: Any) -> None:
        """Begin a row, or replace it."""
        self.state.put(table, key, values, self.at.block)

    def concern(self, *subjects: bytes) -> None:
        """Note that this log belongs in the timelines of these subjects (32 bytes each)."""
        for subject in subjects:
            self.state.subject(subject, self.at.block, self.at.log_index)


def license_subject(license_id: int) -> bytes:
    """The 32 bytes under which a license's events are filed."""
    return license_id.to_bytes(32, "big")


def fold(state: Versions, event: Event | None, at: Place, *, answer: bytes | None = None) -> None:
    """Apply one event. `answer` is what the contract told beside it (`ledger.index.fetch`)."""
    handler = None if event is None else _HANDLERS.get((event.contract, event.name))
    if event is not None and handler is not None:
        handler(Step(state, at, event.values, answer))


# -- Anchors -------------------------------------------------------------------------------------


def _root_anchored(s: Step) -> None:
    s.put("anchor", (s.raw("root"),), sender=s.raw("sender"), anchored_at=s.at.time)
    s.concern(s.raw("root"))


def _phase_a_committed(s: Step) -> None:
    s.put(
        "phase_a",
        (s.raw("sender"), s.number("number")),
        commitment=s.raw("commitment"),
        committed_at=s.at.time,
    )


# -- ModelRegistry -------------------------------------------------------------------------------


def _model_registered(s: Step) -> None:
    model_id, licensor = s.raw("modelId"), s.raw("licensor")
    registered, committed = s.number("registeredAt"), s.number("committedAt")
    s.put(
        "model",
        (model_id,),
        licensor=licensor,
        artifact_root=s.raw("artifactRoot"),
        fingerprint_digest=s.raw("fingerprintDigest"),
        watermark_commitment=s.raw("watermarkCommitment"),
        manifest_hash=s.raw("manifestHash"),
        registered_at=registered,
        registered_block=s.at.block,
        registered_tx=s.at.tx_hash,
        committed_at=committed,
        committed=committed < registered or _committed_at_once(s.answer, committed),
        status=ACTIVE,
        title_sequence=0,
        pending_licensor=None,
        guardian=None,
        guardian_delay=None,
        recovery_to=None,
        recovery_ready_at=None,
        sealing_epoch=0,
        sealing_hash=None,
    )
    s.put("title", (model_id, 0), holder=licensor, previous=None, since=registered)
    s.concern(model_id)


def _committed_at_once(answer: bytes | None, committed_at: int) -> bool:
    """Whether a commitment of the very second of registration was proven, by ``modelOf``.

    Blocks may share a second, and then the event's two times are equal with a commitment and
    without. A later, lower commitment is told by an event of its own.
    """
    if answer is None:
        return False
    return bool(answer[159]) and int.from_bytes(answer[64:96], "big") == committed_at


def _parent_declared(s: Step) -> None:
    s.put("parent", (s.raw("modelId"), s.raw("parent")), confirmed_by=None)
    s.concern(s.raw("modelId"))


def _parent_confirmed(s: Step) -> None:
    s.put("parent", (s.raw("modelId"), s.raw("parent")), confirmed_by=s.raw("by"))
    s.concern(s.raw("modelId"))


def _commitment_proven(s: Step) -> None:
    s.change("model", (s.raw("modelId"),), committed=True, committed_at=s.number("committedAt"))
    s.concern(s.raw("modelId"))


def _transfer_proposed(s: Step) -> None:
    to = s.raw("to")
    s.change("model", (s.raw("modelId"),), pending_licensor=to if any(to) else None)
    s.concern(s.raw("modelId"))


def _title_transferred(s: Step) -> None:
    model_id, to, sequence = s.raw("modelId"), s.raw("to"), s.number("sequence")
    s.change(
        "model",
        (model_id,),
        licensor=to,
        title_sequence=sequence,
        pending_licensor=None,
        recovery_to=None,
        recovery_ready_at=None,
    )
    s.put("title", (model_id, sequence), holder=to, previous=s.raw("from"), since=s.at.time)
    s.concern(model_id)


def _guardian_set(s: Step) -> None:
    guardian = s.raw("guardian")
    s.change(
        "model",
        (s.raw("modelId"),),
        guardian=guardian if any(guardian) else None,
        guardian_delay=s.number("delay"),
    )
    s.concern(s.raw("modelId"))


def _recovery_started(s: Step) -> None:
    s.change(
        "model",
        (s.raw("modelId"),),
        recovery_to=s.raw("to"),
        recovery_ready_at=s.number("readyAt"),
    )
    s.concern(s.raw("modelId"))


def _recovery_vetoed(s: Step) -> None:
    s.change("model", (s.raw("modelId"),), recovery_to=None, recovery_ready_at=None)
    s.concern(s.raw("modelId"))


def _model_status_set(s: Step) -> None:
    s.change("model", (s.raw("modelId"),), status=s.number("status"))
    s.concern(s.raw("modelId"))


def _record_lodged(s: Step) -> None:
    model_id, record_hash = s.raw("modelId"), s.raw("recordHash")
    if s.number("kind") == SEALING:
        epoch = s.number("epoch")
        s.put("sealing", (model_id, epoch), record_hash=record_hash, lodged_at=s.at.time)
        s.change("model", (model_id,), sealing_epoch=epoch, sealing_hash=record_hash)
    else:
        s.put(
            "record",
            (model_id, s.at.log_index),
            kind=s.number("kind"),
            sender=s.raw("sender"),
            record_hash=record_hash,
            lodged_at=s.at.time,
        )
    s.concern(model_id)


# -- LicenseLedger -------------------------------------------------------------------------------

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


def plan_words(row: dict[str, Any]) -> bytes:
    """The reverse: the 19 words of PlanTerms of a plan's row."""
    values = (row[name] for name in _TERMS)
    words = (int.from_bytes(v, "big") if isinstance(v, bytes) else int(v) for v in values)
    rest = b"".join(word.to_bytes(32, "big") for word in words)
    return bytes(row["model_id"]) + bytes(row["terms_hash"]) + rest


def plan_digest(licensor: bytes, words: bytes) -> bytes:
    """``keccak256(abi.encode(tag, licensor, terms))``, which binds terms to whoever offers them."""
    return keccak256(_PLAN_TAG + licensor.rjust(32, b"\0") + words)


def _plan_created(s: Step) -> None:
    assert s.answer is not None
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
    s.change("plan", (plan_id,), issued=plan["issued"] + 1)
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


def _change_license(s: Step, **values: Any) -> dict[str, Any] | None:
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
    if any(s.raw("from")):
        row = s.change("license", (license_id,), holder=to)
        if row is not None:
            s.concern(row["model_id"], license_subject(license_id))


# -- BrokerRegistry ------------------------------------------------------------------------------


def _broker_registered(s: Step) -> None:
    s.put(
        "broker",
        (s.number("brokerId"),),
        operator=s.raw("operator"),
        pending_operator=None,
        epoch=0,
        signing_key_hash=None,
        kem_key_hash=None,
        url_hash=None,
        url="",
    )


def _broker_keys_set(s: Step) -> None:
    # PostgreSQL's text holds no NUL; the exact bytes stay in the journal.
    url = str(s.values["url"]).replace("\0", "�")
    s.change(
        "broker",
        (s.number("brokerId"),),
        epoch=s.number("epoch"),
        signing_key_hash=s.raw("signingKeyHash"),
        kem_key_hash=s.raw("kemKeyHash"),
        url_hash=s.raw("urlHash"),
        url=url,
    )


def _operator_proposed(s: Step) -> None:
    to = s.raw("to")
    s.change("broker", (s.number("brokerId"),), pending_operator=to if any(to) else None)


def _operator_changed(s: Step) -> None:
    s.change("broker", (s.number("brokerId"),), operator=s.raw("to"), pending_operator=None)


def _broker_set_created(s: Step) -> None:
    ids = s.values["brokerIds"]
    assert isinstance(ids, tuple)
    s.put(
        "broker_set",
        (s.number("setId"),),
        owner=s.raw("owner"),
        threshold=s.number("threshold"),
        broker_ids=json.dumps([str(number) for number in ids]),
    )


def _receipts_anchored(s: Step) -> None:
    s.put(
        "receipt_root",
        (s.number("brokerId"), s.number("seq")),
        prev_root=s.raw("prevRoot"),
        root=s.raw("root"),
        count=s.number("count"),
        anchored_at=s.at.time,
    )


_HANDLERS: dict[tuple[str, str], Callable[[Step], None]] = {
    ("Anchors", "RootAnchored"): _root_anchored,
    ("Anchors", "PhaseACommitted"): _phase_a_committed,
    ("ModelRegistry", "ModelRegistered"): _model_registered,
    ("ModelRegistry", "ParentDeclared"): _parent_declared,
    ("ModelRegistry", "ParentConfirmed"): _parent_confirmed,
    ("ModelRegistry", "CommitmentProven"): _commitment_proven,
    ("ModelRegistry", "TitleTransferProposed"): _transfer_proposed,
    ("ModelRegistry", "TitleTransferred"): _title_transferred,
    ("ModelRegistry", "GuardianSet"): _guardian_set,
    ("ModelRegistry", "RecoveryStarted"): _recovery_started,
    ("ModelRegistry", "RecoveryVetoed"): _recovery_vetoed,
    ("ModelRegistry", "ModelStatusSet"): _model_status_set,
    ("ModelRegistry", "RecordLodged"): _record_lodged,
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
    ("BrokerRegistry", "BrokerRegistered"): _broker_registered,
    ("BrokerRegistry", "BrokerKeysSet"): _broker_keys_set,
    ("BrokerRegistry", "BrokerOperatorProposed"): _operator_proposed,
    ("BrokerRegistry", "BrokerOperatorChanged"): _operator_changed,
    ("BrokerRegistry", "BrokerSetCreated"): _broker_set_created,
    ("BrokerRegistry", "ReceiptsAnchored"): _receipts_anchored,
}
