"""Finding plans and licenses by their events, straight from the chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.ids import Digest

if TYPE_CHECKING:
    from ledger.cli.session import Session
    from ledger.ids import Address


def plans(
    session: Session, *, licensor: Address | None = None, model: Digest | None = None
) -> list[int]:
    """Numbers of the plans created, oldest first."""
    topics = [None, _word(licensor), None if model is None else Digest(model.raw)]
    return _found(session, "LicenseLedger", "PlanCreated", topics, "planId")


def licenses(session: Session, *, plan: int | None = None, to: Address | None = None) -> list[int]:
    """Token ids of the licenses issued, oldest first."""
    number = None if plan is None else Digest(plan.to_bytes(32, "big"))
    return _found(session, "LicenseLedger", "LicenseIssued", [None, number, _word(to)], "licenseId")


def _found(
    session: Session, name: str, event: str, topics: list[Digest | None], argument: str
) -> list[int]:
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
    return [int(entry.arguments[argument]) for entry in found]


def _word(address: Address | None) -> Digest | None:
    return None if address is None else Digest(address.raw.rjust(32, b"\0"))
