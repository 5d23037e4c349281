"""The part of ``deed broker audit`` that looks at a broker from outside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.canonical import parse_json
from ledger.cli.kinds import require_kind
from ledger.cli.output import Answer
from ledger.cli.session import Session
from ledger.cli.settings import checked_url, write_text
from ledger.errors import ClaimMismatch, UsageError

if TYPE_CHECKING:
    from ledger.broker.remote_audit import SeenHead
    from ledger.ids import Digest


def audit_url(session: Session, url: str, seen: Path | None, receipts: Sequence[Path]) -> Answer:
    """Verify a broker's log by its hashes, against the chain.

    Raises:
        UsageError: a file cannot be read, or is another broker's.
        BrokerUnavailable: the broker does not answer.
        SignatureInvalid: it answers with other keys than those on chain.
    """
    from ledger.broker import remote_audit
    from ledger.broker.audit import ChainSource
    from ledger.broker.client import BrokerClient
    from ledger.broker.link import BrokerPin

    earlier = None if seen is None or not seen.exists() else _seen(seen)
    with BrokerClient(checked_url(url, what="a broker")) as client:
        identity = client.facts().identity
        session.check_place(identity.chain_id, identity.ledger, what="this broker")
        record = session.brokers.broker_of(identity.id)
        client.pin(BrokerPin(identity.id, record.signing_key_hash, record.kem_key_hash))
        if earlier is not None and earlier.reply["audience"] != identity.audience:
            raise UsageError(
                f"{seen} is the head of another broker", hint="name a file of its own for each"
            )
        report = remote_audit.audit_remote(
            client,
            broker_id=identity.id,
            chain=ChainSource(
                session.rpc,
                identity.ledger,
                session.brokers.address,
                from_block=session.network.deployment.block,
            ),
            seen=None if earlier is None else earlier.head,
            receipts=dict(_receipt(path, identity.id) for path in receipts),
        )
        holds = remote_audit.sound(report)
        if holds and seen is not None:
            least = 0 if earlier is None else earlier.head.sequence
            kept = remote_audit.signed_head(client, least)
            write_text(seen, json.dumps(kept.to_json(), indent=2) + "\n")
    data: dict[str, Any] = {
        "holds": holds,
        "from": "outside",
        "broker": identity.id,
        "steps": [each.to_json() for each in report.findings],
    }
    verdict = (
        "what can be checked from outside holds" if holds else "what was checked does NOT all hold"
    )
    return Answer(data, f"{report.text()}\n{verdict}", ok=holds)


def _read(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes(), what=str(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _seen(path: Path) -> SeenHead:
    from ledger.broker.remote_audit import SeenHead

    return SeenHead.from_json(require_kind(_read(path), path, "modeldeed/broker-head"))


def _receipt(path: Path, broker_id: int) -> tuple[int, Digest]:
    from ledger.broker.anchoring import verify_receipt
    from ledger.broker.protocol import receipt_hash

    proof = require_kind(_read(path), path, "modeldeed/receipt-proof")
    proven = verify_receipt(proof)
    if proven.broker != broker_id:
        raise ClaimMismatch(f"{path} is a receipt of broker {proven.broker}, not of {broker_id}")
    return int(proof["sequence"]), receipt_hash(proven.entry)
