"""A model's story as one ordered list: what happened, when, in which block, how settled it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ledger.claim import commitment_leaf
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.index.decode import Event, decode, json_values
from ledger.index.journal import topics_of
from ledger.index.views import RowMap, Snapshot
from ledger.licensing.entitlement import moment

_LODGED = {1: "sealing record", 2: "detection report", 3: "dispute", 4: "identity attestation"}
_STATUS = {1: "active", 2: "withdrawn", 3: "compromised"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a timeline.

    Attributes:
        kind: a word for programs, such as ``registered`` or ``license revoked``.
        text: one sentence for people.
        block, log_index, time, tx: where it stands; None for a commitment whose anchor cannot be
            told from the chain alone (a batch of commitments under one root).
        finality: finalized, safe or included.
        license: the license concerned, as PLAN.SERIAL.
        arguments: of the event, as JSON.
    """

    kind: str
    text: str
    block: int | None
    log_index: int | None
    time: int
    tx: Digest | None
    finality: str
    event: str
    license: str | None
    arguments: dict[str, Any]


def timeline(snapshot: Snapshot, model_id: ModelId, *, limit: int = 1000) -> Sequence[Entry]:
    """The model's events in chain order, beginning with its commitment.

    Raises:
        UnknownRecord: no such model.
    """
    model = snapshot.model(model_id)
    rows = snapshot.events(subject=model_id.raw, limit=limit)
    entries = [entry for row in rows if (entry := _entry(snapshot, row)) is not None]
    if model["committed"]:
        entries.insert(0, _committed(snapshot, model_id, model))
    return entries


def _committed(snapshot: Snapshot, model_id: ModelId, model: RowMap) -> Entry:
    leaf = commitment_leaf(model_id)
    anchor = snapshot.commitment(leaf, model["committed_at"])
    logs = [] if anchor is None else snapshot.events(subject=anchor["root"], name="RootAnchored")
    log = logs[0] if logs else None
    text = "the commitment to this model was anchored"
    block = model["registered_block"] if anchor is None else anchor["born_block"]
    return Entry(
        "committed",
        text if anchor is None else f"{text} by {Address(bytes(anchor['sender']))}",
        None if anchor is None else anchor["born_block"],
        None if log is None else log["log_index"],
        model["committed_at"],
        None if log is None else Digest(bytes(log["tx_hash"])),
        snapshot.as_of.finality(block),
        "RootAnchored",
        None,
        {"leaf": str(leaf), "root": None if anchor is None else str(Digest(bytes(anchor["root"])))},
    )


def _entry(snapshot: Snapshot, row: RowMap) -> Entry | None:
    event = decode(row["contract"], topics_of(row["topics"]), row["data"])
    if event is None or event.name not in _TELL:
        return None
    kind, sentence = _TELL[event.name]
    license_id = event.values.get("licenseId", event.values.get("tokenId"))
    return Entry(
        _LODGED.get(int(str(event.values["kind"])), "record") + " lodged"
        if event.name == "RecordLodged"
        else kind,
        sentence(event),
        row["block"],
        row["log_index"],
        row["block_time"],
        Digest(bytes(row["tx_hash"])),
        snapshot.as_of.finality(row["block"]),
        event.name,
        str(LicenseId(license_id)) if isinstance(license_id, int) else None,
        json_values(event),
    )


def _v(event: Event, name: str) -> Any:
    return event.values[name]


def _license(event: Event) -> str:
    return f"license {LicenseId(_v(event, 'licenseId'))}"


_TELL: dict[str, tuple[str, Callable[[Event], str]]] = {
    "ModelRegistered": ("registered", lambda e: f"registered by {_v(e, 'licensor')}"),
    "ParentDeclared": ("parent declared", lambda e: f"names {_v(e, 'parent').short} as parent"),
    "ParentConfirmed": (
        "parent confirmed",
        lambda e: f"parent {_v(e, 'parent').short} confirmed by {_v(e, 'by')}",
    ),
    "CommitmentProven": (
        "earlier commitment proven",
        lambda e: f"a commitment of {moment(_v(e, 'committedAt'))} was proven",
    ),
    "TitleTransferProposed": (
        "title offered",
        lambda e: f"title offered by {_v(e, 'from')} to {_v(e, 'to')}",
    ),
    "TitleTransferred": (
        "title transferred",
        lambda e: f"title passed from {_v(e, 'from')} to {_v(e, 'to')}",
    ),
    "GuardianSet": ("guardian set", lambda e: f"guardian set to {_v(e, 'guardian')}"),
    "RecoveryStarted": (
        "recovery started",
        lambda e: f"guardian {_v(e, 'guardian')} asks to move the title to {_v(e, 'to')}",
    ),
    "RecoveryVetoed": ("recovery vetoed", lambda e: f"recovery vetoed by {_v(e, 'by')}"),
    "ModelStatusSet": (
        "status set",
        lambda e: f"marked {_STATUS.get(_v(e, 'status'), _v(e, 'status'))}",
    ),
    "RecordLodged": (
        "record lodged",
        lambda e: (
            f"{_LODGED.get(_v(e, 'kind'), 'record')} {_v(e, 'recordHash').short} lodged by "
            f"{_v(e, 'sender')}" + (f", epoch {_v(e, 'epoch')}" if _v(e, "epoch") else "")
        ),
    ),
    "PlanCreated": (
        "plan created",
        lambda e: f"plan {_v(e, 'planId')} offered by {_v(e, 'licensor')}",
    ),
    "PlanPaused": (
        "plan paused",
        lambda e: f"plan {_v(e, 'planId')} {'paused' if _v(e, 'paused') else 'resumed'}",
    ),
    "PlanLicensorSynced": (
        "plan moved",
        lambda e: f"plan {_v(e, 'planId')} follows the title to {_v(e, 'to')}",
    ),
    "LicenseIssued": (
        "license issued",
        lambda e: f"{_license(e)} issued to {_v(e, 'to')} until {moment(_v(e, 'notAfter'))}",
    ),
    "LicenseRenewed": (
        "license renewed",
        lambda e: f"{_license(e)} renewed until {moment(_v(e, 'notAfter'))}",
    ),
    "LicenseSuspended": ("license suspended", lambda e: f"{_license(e)} suspended"),
    "LicenseReinstated": ("license reinstated", lambda e: f"{_license(e)} reinstated"),
    "LicenseRevoked": (
        "license revoked",
        lambda e: (
            f"{_license(e)} revoked by {_v(e, 'by')} with effect from "
            f"{moment(_v(e, 'effectiveAt'))}"
        ),
    ),
    "RuntimeBound": (
        "runtime bound",
        lambda e: f"{_license(e)} bound to runtime {_v(e, 'runtimeKey').short}",
    ),
    "RuntimeReleased": (
        "runtime released",
        lambda e: f"{_license(e)} released runtime {_v(e, 'runtimeKey').short}",
    ),
    "RuntimeEvicted": (
        "runtime evicted",
        lambda e: f"{_license(e)}: runtime {_v(e, 'runtimeKey').short} evicted by {_v(e, 'by')}",
    ),
    "GrantsCancelled": ("grants cancelled", lambda e: f"all grants on {_license(e)} cancelled"),
    "Transfer": (
        "license transferred",
        lambda e: (
            f"license {LicenseId(_v(e, 'tokenId'))} passed from {_v(e, 'from')} to {_v(e, 'to')}"
        ),
    ),
}
