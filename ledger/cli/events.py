"""Finding models, plans and licenses by their events, straight from the chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ledger.errors import UsageError
from ledger.ids import Digest, LicenseId, ModelId

if TYPE_CHECKING:
    from ledger.chain.abi_codec import Event
    from ledger.cli.session import Session
    from ledger.ids import Address
    from ledger.tracing.accusation import Candidate

_MOST_WORDS = 1 << 18


def models(session: Session, *, licensor: Address, artifact_root: Digest) -> list[ModelId]:
    """Models that an account registered with this very content, oldest first."""
    topics = [None, _word(licensor), artifact_root]
    found = _found(session, "ModelRegistry", "ModelRegistered", topics, "modelId")
    return [ModelId(entry.raw) for entry in found]


def plans(
    session: Session, *, licensor: Address | None = None, model: Digest | None = None
) -> list[int]:
    """Numbers of the plans, oldest first.

    Args:
        session: the chain.
        licensor: only those that were ever this account's: made by it, or synced to it.
        model: only those of this model.
    """
    topics = [None, _word(licensor), None if model is None else Digest(model.raw)]
    found = _found(session, "LicenseLedger", "PlanCreated", topics, "planId")
    numbers = {int(entry) for entry in found}
    if licensor is not None:
        topics = [None, None, _word(licensor)]
        synced = _found(session, "LicenseLedger", "PlanLicensorSynced", topics, "planId")
        of_model = set(plans(session, model=model)) if synced and model is not None else None
        numbers |= {int(n) for n in synced if of_model is None or int(n) in of_model}
    return sorted(numbers)


def resale_bps(session: Session, plan: int) -> int:
    """What a plan asks of resales, in 1/10,000: the newest word counts, none is nothing.

    The contract itself tells it of one license and one price at a time (ERC-2981).
    """
    of_plan = Digest(plan.to_bytes(32, "big"))
    found = _found(session, "LicenseLedger", "PlanResaleRoyaltySet", [of_plan], "bps")
    return int(found[-1]) if found else 0


def licenses(
    session: Session, *, plan: int | None = None, holder: Address | None = None
) -> list[LicenseId]:
    """The licenses issued, by plan and serial.

    Args:
        session: the chain.
        plan: only this plan's.
        holder: only those that this account ever held; a license can have been passed on.
    """
    if holder is None:
        topics = [None, None if plan is None else Digest(plan.to_bytes(32, "big"))]
        found = _found(session, "LicenseLedger", "LicenseIssued", topics, "licenseId")
    else:
        found = _found(session, "LicenseLedger", "Transfer", [None, _word(holder)], "id")
    numbers = {LicenseId(int(entry)) for entry in found}
    return sorted(number for number in numbers if plan in {None, number.plan})


def released_words(session: Session, model: ModelId) -> list[Candidate]:
    """Every word that may have been released for a model's licenses, in whoever's hands.

    A license's word follows its holder and grant nonce. Every nonce that each holder can have had
    is listed, however many there are: whoever could push an old word off the list, by cancelling
    grants, would not be named. Some of these pairs never stood, and only make the bounds wider.

    Raises:
        UsageError: more than can be tested.
    """
    from ledger.tracing.accusation import Candidate

    found: set[Candidate] = set()
    for plan in plans(session, model=Digest(model.raw)):
        for license_id in licenses(session, plan=plan):
            word = Digest(int(license_id).to_bytes(32, "big"))
            holders = _found(session, "LicenseLedger", "Transfer", [None, None, word], "to")
            now = session.licenses.grant_nonce_of(license_id)
            for holder, tenures in tenures_of(holders, now):
                if len(found) + len(tenures) > _MOST_WORDS:
                    raise UsageError(
                        f"more than {_MOST_WORDS} words may have been released for this model",
                        hint="give the likely ones with --candidates",
                    )
                found |= {Candidate(license_id, holder, tenure) for tenure in tenures}
    return sorted(found)


def tenures_of(holders: list[Address], now: int) -> list[tuple[Address, range]]:
    """The grant nonces that each holder of a license can have had, in the order they held it.

    Every transfer and reissue raises the nonce by one, and so does every cancelling of grants in
    between: the holder before the last k transfers saw none of the last k nonces.

    Args:
        holders: to whom it went, oldest first; zero where it was burned.
        now: its grant nonce.
    """
    last = len(holders) - 1
    return [
        (holder, range(min(number, now), max(number, now - (last - number)) + 1))
        for number, holder in enumerate(holders)
        if any(holder.raw)
    ]


def found_events(
    session: Session, name: str, event: str, topics: Sequence[Digest | None]
) -> list[Event]:
    """Events of one of our contracts, with the blocks they are in, oldest first.

    Raises:
        ChainError, ChainUnavailable: as `find_events`.
    """
    from ledger.chain.abi_codec import contract
    from ledger.chain.logs import find_events

    deployment = session.network.deployment
    return find_events(
        session.rpc,
        contract(name),
        deployment.addresses[name],
        event,
        topics,
        from_block=deployment.block,
    )


def _found(
    session: Session, name: str, event: str, topics: list[Digest | None], argument: str
) -> list[Any]:
    return [entry.arguments[argument] for entry in found_events(session, name, event, topics)]


def _word(address: Address | None) -> Digest | None:
    return None if address is None else Digest(address.raw.rjust(32, b"\0"))
