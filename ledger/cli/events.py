"""Finding models, plans and licenses by their events, straight from the chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.ids import Digest, ModelId

if TYPE_CHECKING:
    from ledger.cli.session import Session
    from ledger.ids import Address


def models(session: Session, *, licensor: Address, artifact_root: Digest) -> list[ModelId]:
    """Models that an account registered with this very content, oldest first."""
    topics = [None, _word(licensor), artifact_root]
    found = _found(session, "ModelRegistry", "ModelRegistered", topics, "modelId")
    return [ModelId(entry.raw) for entry in found]


def plans(
    session: Session, *, licensor: Address | None = None, model: Digest | None = None
) -> list[int]:
    """Numbers of the plans created, oldest first."""
    topics = [None, _word(licensor), None if model is None else Digest(model.raw)]
    found = _found(session, "LicenseLedger", "PlanCreated", topics, "planId")
    return [int(entry) for entry in found]


def licenses(session: Session, *, plan: int | None = None, to: Address | None = None) -> list[int]:
    """Token ids of the licenses issued, oldest first."""
    number = None if plan is None else Digest(plan.to_bytes(32, "big"))
    topics = [None, number, _word(to)]
    found = _found(session, "LicenseLedger", "LicenseIssued", topics, "licenseId")
    return [int(entry) for entry in found]


def _found(
    session: Session, name: str, event: str, topics: list[Digest | None], argument: str
) -> list[Any]:
    from ledger.chain.abi_codec import contract
    from ledger.chain.logs import find_events

    deployment = session.network.deployment
    found = find_events(
        session.rpc,
        contract(name),
        deployment.addresses[name],
        event,
        topics,
        from_block=deployment.block,
    )
    return [entry.arguments[argument] for entry in found]


def _word(address: Address | None) -> Digest | None:
    return None if address is None else Digest(address.raw.rjust(32, b"\0"))
