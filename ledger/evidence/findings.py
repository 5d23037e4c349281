"""What proven words and events say together: the title's history, its sealings, its licenses.

State shows how things stand, events how they came about; each must explain the other. An event left
out of a bundle therefore shows: the history no longer ends where the state stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ledger.claim import Claim
from ledger.errors import ClaimMismatch, StateProofInvalid
from ledger.evidence.events import Event
from ledger.evidence.layout import Ext, License, Title
from ledger.ids import Address, Digest, LicenseId, ModelId

SEALING_KIND = 1
ACTIVE, SUSPENDED, REVOKED = 1, 2, 3


@dataclass(frozen=True, slots=True)
class TitleHistory:
    """How a title came to its present holder.

    Attributes:
        transfers: in order; empty when the first holder still has it.
        lowered: proofs of an earlier commitment, after registration.
        statuses: changes of status, in order.
    """

    registration: Event
    transfers: tuple[Event, ...]
    lowered: tuple[Event, ...]
    statuses: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class LicenseFinding:
    """One license: how it stands at the proved block, and the events that made it so."""

    license_id: LicenseId
    state: License
    ext: Ext
    plan_licensor: Address
    terms_hash: Digest
    events: tuple[Event, ...]

    def standing(self, at: int) -> str:
        """In words, at a Unix second: valid, not yet valid, suspended, expired, revoked."""
        revoked = self.state.status == REVOKED
        if at >= self.state.not_after:
            return "revoked" if revoked else "expired"
        if self.state.held:
            return "suspended"
        if self.state.has_ext and at < self.ext.not_before:
            return "not yet valid"
        return "revoked, with notice running" if revoked else "valid"


def title_history(
    claim: Claim, title: Title, sequence: int, events: Iterable[Event], *, step: int = 0
) -> TitleHistory:
    """Replay a title's events and compare with how it stands.

    Args:
        claim: the opened claim.
        title: the proven title word.
        sequence: the proven number of transfers.
        events: every registry event of the bundle, in order.
        step: number put on a failure.

    Raises:
        ClaimMismatch: the registration is of another claim.
        StateProofInvalid: events are missing, or do not lead to the proven words.
    """
    model = claim.model_id()
    mine = [event for event in events if event.args.get("modelId") == model_digest(model)]
    registrations = _named(mine, "ModelRegistered")
    if len(registrations) != 1:
        raise StateProofInvalid("the bundle lacks the model's registration", step=step)
    registration = registrations[0]
    _check_registration(claim, registration, step)

    holder = claim.licensor
    transfers = _named(mine, "TitleTransferred")
    for count, event in enumerate(transfers, start=1):
        if event.number("sequence") != count or event.address("from") != holder:
            raise StateProofInvalid(
                f"the title's transfers do not follow each other: number {count} is missing",
                step=step,
            )
        holder = event.address("to")
    if len(transfers) != sequence or holder != title.licensor:
        raise StateProofInvalid(
            f"the title moved {sequence} times, ending with {title.licensor}, "
            f"but the bundle shows {len(transfers)} transfers, ending with {holder}",
            step=step,
        )

    lowered = _named(mine, "CommitmentProven")
    committed_at = (lowered[-1] if lowered else registration).number("committedAt")
    statuses = _named(mine, "ModelStatusSet")
    status = statuses[-1].number("status") if statuses else ACTIVE
    shown = (registration.time, committed_at, status)
    if shown != (title.registered_at, title.committed_at, title.status):
        raise StateProofInvalid(
            "the events shown do not lead to the title's registration time, commitment time and "
            "status in the proven state",
            step=step,
        )
    return TitleHistory(registration, tuple(transfers), tuple(lowered), tuple(statuses))


def sealings(
    model: ModelId, epoch: int, record_hash: Digest, events: Iterable[Event], *, step: int = 0
) -> tuple[Event, ...]:
    """The sealings lodged, oldest first, compared with the latest in the proven state.

    Raises:
        StateProofInvalid: the latest one's event is missing, or epochs do not rise.
    """
    lodged = [
        event
        for event in _named(events, "RecordLodged")
        if event.args["modelId"] == model_digest(model) and event.number("kind") == SEALING_KIND
    ]
    epochs = [event.number("epoch") for event in lodged]
    if epochs != sorted(set(epochs)):
        raise StateProofInvalid("the sealings' epochs do not rise", step=step)
    latest = (epochs[-1], lodged[-1].digest("recordHash")) if lodged else (0, Digest(bytes(32)))
    if latest != (epoch, record_hash):
        raise StateProofInvalid(
            f"the proven state has sealing epoch {epoch}, the events shown end with {latest[0]}",
            step=step,
        )
    return tuple(lodged)


def license_events(
    license_id: LicenseId, state: License, events: Sequence[Event], *, step: int = 0
) -> tuple[Event, ...]:
    """Replay one license's events and compare with its proven word.

    Raises:
        StateProofInvalid: the events do not lead to the word.
    """
    mine = [
        event
        for event in events
        if event.contract == "LicenseLedger"
        and (event.args.get("licenseId", event.args.get("id")) == int(license_id))
    ]
    if not _named(mine, "LicenseIssued"):
        raise StateProofInvalid(f"the bundle lacks the issue of license {license_id}", step=step)
    holder, not_after, status, held = Address(bytes(20)), 0, 0, False
    for event in mine:
        match event.name:
            case "LicenseIssued":
                not_after, status = event.number("notAfter"), ACTIVE
            case "Transfer":
                holder = event.address("to")
            case "LicenseRenewed":
                not_after = event.number("notAfter")
            case "LicenseSuspended":
                held = True
            case "LicenseReinstated":
                held = False
            case "LicenseRevoked":
                not_after, status = event.number("effectiveAt"), REVOKED
    if held and status == ACTIVE:
        status = SUSPENDED
    if (holder, not_after, status, held) != (
        state.holder,
        state.not_after,
        state.status,
        state.held,
    ):
        raise StateProofInvalid(
            f"the events shown do not lead to how license {license_id} stands", step=step
        )
    return tuple(event for event in mine if event.name != "Transfer")


def model_digest(model: ModelId) -> Digest:
    """A model id as events carry it: dataclasses of different classes are never equal."""
    return Digest(model.raw)


def _check_registration(claim: Claim, event: Event, step: int) -> None:
    shown = (
        event.args["licensor"],
        event.args["artifactRoot"],
        event.args["fingerprintDigest"],
        event.args["watermarkCommitment"],
        event.args["manifestHash"],
    )
    claimed = (
        claim.licensor,
        claim.artifact_root,
        claim.fingerprint_digest,
        claim.watermark_commitment,
        claim.manifest_hash,
    )
    if shown != claimed:
        raise ClaimMismatch("the registration shown is of another claim", step=step)
    if event.number("registeredAt") != event.time:
        raise StateProofInvalid("the registration's time is not its block's", step=step)


def _named(events: Iterable[Event], name: str) -> list[Event]:
    return [event for event in events if event.name == name]
