"""Since when a sealing record stands on chain, for ``deed investigate``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ledger.broker.leaks import Lodging
from ledger.cli.events import found_events
from ledger.cli.output import time_text
from ledger.errors import ChainError, ConfigurationError, UnavailableError
from ledger.ids import Digest

if TYPE_CHECKING:
    from ledger.claim import Claim
    from ledger.cli.session import Session
    from ledger.ids import LicenseId
    from ledger.sealed.record import SealingRecord


def lodging(
    session: Session, claim: Claim | None, *, offline: bool
) -> Callable[[SealingRecord, Sequence[LicenseId]], Lodging]:
    """What asks the chain; of a chain that cannot be asked it says why.

    Args:
        session: names the network.
        claim: of the model, which names its chain and registry.
        offline: ask nobody.
    """

    def ask(record: SealingRecord, licenses: Sequence[LicenseId]) -> Lodging:
        if offline:
            return _unchecked("--offline was given")
        try:
            place = session.network.deployment
            if claim is not None and (claim.chain_id, claim.registry) != (
                place.chain_id,
                place.addresses["ModelRegistry"],
            ):
                return _unchecked(
                    f"the model is registered at {claim.registry} on chain {claim.chain_id}, not "
                    f"on {session.network.name}; choose its network with --network"
                )
            return _lodging(session, record, licenses)
        except (ChainError, ConfigurationError, UnavailableError) as error:
            return _unchecked(error.message)

    return ask


def _unchecked(why: str) -> Lodging:
    return Lodging("not checked", why)


def _lodging(session: Session, record: SealingRecord, licenses: Sequence[LicenseId]) -> Lodging:
    from ledger.chain.finality import finalized_block
    from ledger.chain.registry import KIND_SEALING

    what = f"epoch {record.epoch} of model {record.model_id.short} on {session.network.name}"
    final = finalized_block(session.rpc, session.network.profile)
    lodged = session.registry.sealing_at(record.model_id, record.epoch, final.number)
    if lodged != record.hash():
        if session.registry.sealing_at(record.model_id, record.epoch) == record.hash():
            return Lodging("fail", f"{what}: lodged, but not final yet")
        if lodged == Digest(bytes(32)):
            return Lodging("fail", f"{what}: nothing was lodged")
        return Lodging("fail", f"{what}: another sealing, {lodged.short}, was lodged")
    try:
        topics = [Digest(record.model_id.raw), _word(KIND_SEALING)]
        found = found_events(session, "ModelRegistry", "RecordLodged", topics)
        blocks = [
            one.block
            for one in found
            if (one.arguments["epoch"], one.arguments["recordHash"]) == (record.epoch, lodged)
        ]
    except (ChainError, UnavailableError):
        blocks = []
    block = blocks[0] if blocks else None
    if block is None:
        return Lodging("pass", f"{what}; since when, the endpoints do not show")
    time = session.rpc.block(block).timestamp
    said = [f"{what}, since block {block}, {time_text(time)}"]
    said += [_against(session, license_id, block) for license_id in licenses]
    return Lodging("pass", "; ".join(said), block, time)


def _against(session: Session, license_id: LicenseId, block: int) -> str:
    """How the lodging stands to a license's issue."""
    try:
        found = found_events(session, "LicenseLedger", "LicenseIssued", [_word(int(license_id))])
        issued = next((one.block for one in found if one.block is not None), None)
        if issued is None:
            return f"when license {license_id} was issued, the endpoints do not show"
        at = time_text(session.rpc.block(issued).timestamp)
    except (ChainError, UnavailableError):
        return f"when license {license_id} was issued, the endpoints do not show"
    if block <= issued:
        return f"lodged before license {license_id} was issued ({at})"
    # The ordinary case of a further epoch.
    return f"license {license_id} was issued earlier ({at}), and had this sealing only afterwards"


def _word(number: int) -> Digest:
    return Digest(number.to_bytes(32, "big"))
