"""Finding models, plans and licenses by their events, straight from the chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.ids import Digest, LicenseId, ModelId

if TYPE_CHECKING:
    from ledger.cli.session import Session
    from ledger.ids import Address
    from ledger.tracing.accusation import Candidate

_MOST_TENURES = 64


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

    A license's word follows its holder and grant nonce. Each holder it ever had is listed with
    each nonce up to now: some of these pairs never stood, and only make the bounds wider.
    """
    from ledger.tracing.accusation import Candidate

    found: set[Candidate] = set()
    for plan in plans(session, model=Digest(model.raw)):
        for license_id in licenses(session, plan=plan):
            word = Digest(int(license_id).to_bytes(32, "big"))
            holders = _found(session, "LicenseLedger", "Transfer", [None, None, word], "to")
            now = session.licenses.grant_nonce_of(license_id)
            found |= {
                Candidate(license_id, holder, tenure)
                for holder in holders
                if any(holder.raw)
                for tenure in range(max(0, now - _MOST_TENURES), now + 1)
            }
    return sorted(found)


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
