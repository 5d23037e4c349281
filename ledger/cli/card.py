"""What a license card needs, gathered before the license is issued, and its signature after."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from ledger.cli import publications
from ledger.errors import ClaimMismatch, LedgerError, UsageError
from ledger.licensing.card import BrokerSet, CardBroker, CardFile, build
from ledger.licensing.terms import Terms, parse, terms_hash
from ledger.sealed.record import SealingRecord

if TYPE_CHECKING:
    from ledger.cli.session import Session
    from ledger.ids import Digest, LicenseId


_MAX_TERMS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Material:
    """Everything on a card but the license's number."""

    record: SealingRecord
    terms: dict[str, Any]
    brokers: BrokerSet
    files: tuple[CardFile, ...]


def gather(
    session: Session,
    plan: int,
    card: Path,
    *,
    folder: Path | None,
    urls: tuple[str, ...],
    terms_file: Path | None = None,
) -> Material:
    """Collect a card's parts from the publication, and compare them with the chain.

    Args:
        session: the chain.
        plan: under which the license will be issued.
        card: where the card will be written; the sealed file is named relative to it.
        folder: the publication's, or None to look around.
        urls: where the sealed file can be downloaded.
        terms_file: the plan's terms, where they are not those of the publication.

    Raises:
        UsageError: the publication is not found, or the plan names no brokers.
        ManifestError: a part of it is missing or malformed.
        ClaimMismatch: the publication is not what the plan on chain is about.
    """
    offer, _ = session.licenses.plan_of(plan)
    chain_id = session.network.deployment.chain_id
    epoch, lodged = session.registry.sealing_of(offer.model_id)
    found = publications.find(
        folder,
        lambda f: (
            f.steps.get("register", {}).get("model_id") == str(offer.model_id)
            and f.inputs.get("chain_id") == chain_id
        ),
        what=f"plan {plan}",
        best=lambda f: sealing_hash(f) == lodged,
    )
    record = SealingRecord.from_json(found.result("seal", "record"))
    if terms_file is None:
        terms, source = found.document("terms.json"), found.path / "terms.json"
    else:
        terms, source = dict(read_terms(terms_file).document), terms_file
    if terms_hash(terms) != offer.terms_hash:
        raise ClaimMismatch(
            f"{source} is not the terms of plan {plan}",
            hint="name the file that the plan was made with: --terms FILE",
        )
    if (epoch, lodged) != (record.epoch, record.hash()):
        raise ClaimMismatch(
            f"the sealing in {found.path}, of epoch {record.epoch}, is not the one lodged on chain "
            f"(epoch {epoch})",
            hint="finish it with the same deed publish or deed reseal, or name the newer one's "
            "folder: --from FOLDER",
        )
    sealed = found.sealed
    size = sealed.stat().st_size
    relative = os.path.relpath(sealed, card.parent)
    files = tuple(
        CardFile(url, size, record.root) for url in (*urls, quote(Path(relative).as_posix()))
    )
    return Material(record, terms, _brokers(session, offer.broker_set), files)


def sealing_hash(folder: publications.Folder) -> Digest | None:
    """Hash of the sealing record in a publication's folder, if it has come that far."""
    try:
        return SealingRecord.from_json(folder.steps["seal"]["record"]).hash()
    except (KeyError, LedgerError):
        return None


def read_terms(path: Path) -> Terms:
    """A terms document, in either spelling.

    Raises:
        ManifestError: it is none.
    """
    with path.open("rb") as handle:
        return parse(handle.read(_MAX_TERMS))


def sign(session: Session, material: Material, license_id: LicenseId) -> dict[str, Any]:
    """The card of an issued license, signed by the licensor's wallet."""
    deployment = session.network.deployment
    return build(
        session.signer,
        chain_id=deployment.chain_id,
        ledger=deployment.addresses["LicenseLedger"],
        registry=deployment.addresses["ModelRegistry"],
        broker_registry=deployment.addresses["BrokerRegistry"],
        license_id=license_id,
        model=material.record.model_id,
        sealing=material.record.to_json(),
        sealing_hash=material.record.hash(),
        terms=material.terms,
        brokers=material.brokers,
        files=material.files,
    )


def _brokers(session: Session, set_id: int) -> BrokerSet:
    if not set_id:
        raise UsageError(
            "the plan names no brokers, so nobody would release the key",
            hint="create a plan with --broker-set",
        )
    found = session.brokers.broker_set_of(set_id)
    members = []
    for broker_id in sorted(found.broker_ids):
        broker = session.brokers.broker_of(broker_id)
        url = session.brokers.url_of(broker_id, from_block=session.network.deployment.block)
        members.append(
            CardBroker(
                id=broker_id,
                signing_key_hash=broker.signing_key_hash,
                kem_key_hash=broker.kem_key_hash,
                urls=(url,) if url else (),
            )
        )
    return BrokerSet(set_id, found.threshold, tuple(members))
