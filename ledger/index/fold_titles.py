"""Events of Anchors and ModelRegistry into anchors, models, titles, sealings and records."""

from __future__ import annotations

from collections.abc import Callable

from ledger.index.step import Step

ACTIVE = 1
SEALING = 1


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
        committed=committed < registered or committed_at_once(s.answer, committed),
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


def committed_at_once(answer: bytes | None, committed_at: int) -> bool:
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
            (model_id, s.at.block, s.at.log_index),
            kind=s.number("kind"),
            sender=s.raw("sender"),
            record_hash=record_hash,
            lodged_at=s.at.time,
        )
    s.concern(model_id)


HANDLERS: dict[tuple[str, str], Callable[[Step], None]] = {
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
}
