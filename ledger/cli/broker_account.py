"""``deed broker anchor|audit|receipt|holds|release-hold``: what a broker answers for."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.broker_audit import audit_url
from ledger.cli.broker_keys import broker_secret
from ledger.cli.kinds import require_kind
from ledger.cli.output import Answer, fields, table, time_text
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import LedgerError, UsageError
from ledger.files import write_whole
from ledger.ids import LicenseId

if TYPE_CHECKING:
    from ledger.broker.home import BrokerHome

_Home = Annotated[Path, typer.Option("--home", metavar="DIR", help="The broker's folder.")]


def add(app: Verbs) -> None:
    """Add these commands to the group."""
    app.verb("anchor", signs="broker", waits=False)(anchor)
    app.verb("audit")(audit)
    app.verb("receipt", waits=False)(receipt)
    app.verb("holds", waits=False)(holds)
    app.verb("release-hold", waits=False)(release_hold)


def _open(session: Session, home: Path) -> BrokerHome:
    from ledger.broker.home import BrokerHome

    asks = BrokerHome.key_file(home).asks
    return BrokerHome.open(home, broker_secret(session, asks, f"the broker in {home}"))


def anchor(session: Session, *, home: _Home = Path("broker")) -> Answer:
    """Put the root of the broker's new receipts on chain; safe to repeat after a crash."""
    from ledger.broker import anchoring
    from ledger.broker.store import BrokerStore
    from ledger.cli.receipts import settle_block

    made = _open(session, home)
    store = BrokerStore(made.database)
    try:
        done = anchoring.anchor(store, session.brokers, session.sender, made.identity.id)
    finally:
        store.close()
    if done is None:
        return Answer({"anchored": None}, "every receipt is anchored already")
    if session.wait:
        settle_block(session, session.rpc.block("latest").number)
    data = {
        "anchored": {
            "sequence": done.sequence,
            "first": done.first,
            "last": done.last,
            "root": done.root,
            "transaction": done.transaction,
        }
    }
    rows: list[tuple[str, object]] = [
        ("anchoring", done.sequence),
        ("receipts", f"{done.first} to {done.last}"),
        ("root", done.root),
        ("transaction", done.transaction),
    ]
    return Answer(data, fields(rows))


def audit(
    session: Session,
    where: Annotated[
        str, typer.Argument(help="The broker's folder, or the URL of anybody's broker.")
    ] = "broker",
    *,
    seen: Annotated[
        Path | None,
        typer.Option(
            "--seen",
            metavar="FILE",
            help="With a URL: the signed head of the last audit; written anew when all passes.",
        ),
    ] = None,
    receipts: Annotated[
        list[Path] | None,
        typer.Option("--receipt", metavar="FILE", help="With a URL: a receipt proof at hand."),
    ] = None,
) -> Answer:
    """Verify a broker's whole log, step by step: hashes, signatures, seats, quota, roots on chain.

    Changes nothing and may run beside the service. Exit code 1 unless every step passes. From
    outside only hashes are to be had: steps 3 to 7 stay open, and the others must pass.
    """
    from ledger.broker import audit as auditing

    if where.lower().startswith(("http://", "https://")):
        return audit_url(session, where, seen, tuple(receipts or ()))
    if seen is not None or receipts:
        raise UsageError("--seen and --receipt are for a URL", hint="a folder needs neither")
    made = _open(session, Path(where))
    identity, deployment = made.identity, session.network.deployment
    report = auditing.audit(
        auditing.Book.read(made.database),
        [made.signing.public, *made.former],
        identity.domain,
        broker_id=identity.id,
        chain=auditing.ChainSource(
            session.rpc,
            identity.ledger,
            identity.broker_registry,
            from_block=deployment.block,
        ),
    )
    data = {"holds": report.holds, "steps": [each.to_json() for each in report.findings]}
    verdict = "the log holds" if report.holds else "the log does NOT hold"
    return Answer(data, f"{report.text()}\n{verdict}", ok=report.holds)


def receipt(
    session: Session,
    which: Annotated[str, typer.Argument(help="A receipt's number, or a receipt proof's file.")],
    *,
    home: _Home = Path("broker"),
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the proof there.")
    ] = None,
) -> Answer:
    """Export one receipt with its path to an anchored root; or verify such a file, offline."""
    from ledger.broker import anchoring
    from ledger.broker.store import BrokerStore

    if not (which.isascii() and which.isdigit()):
        return _verified(Path(which))
    made = _open(session, home)
    store = BrokerStore(made.database)
    try:
        proof = anchoring.receipt_proof(
            store,
            [made.signing.public, *made.former],
            int(which),
            made.identity.chain_json(),
            made.identity.id,
        )
    finally:
        store.close()
    text = json.dumps(proof, indent=2)
    if out is None:
        return Answer(proof, text)
    try:
        write_whole(out, text.encode() + b"\n")
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from None
    return Answer(
        {"file": out, "anchoring": proof["anchor"]["sequence"]},
        fields([("file", out), ("anchoring", proof["anchor"]["sequence"])]),
    )


def _verified(file: Path) -> Answer:
    from ledger.broker import anchoring
    from ledger.canonical import parse_json

    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read {file}: {error.strerror}", hint="give a number or a receipt proof"
        ) from None
    try:
        document = parse_json(raw, what=str(file))
    except LedgerError as error:
        return Answer({"holds": False, "why": error.message}, f"NO: {error.message}", ok=False)
    require_kind(document, file, "modeldeed/receipt-proof")
    try:
        proven = anchoring.verify_receipt(document)
    except LedgerError as error:
        return Answer({"holds": False, "why": error.message}, f"NO: {error.message}", ok=False)
    reply = proven.entry["reply"]
    rows: list[tuple[str, object]] = [
        ("holds", "yes, if the chain shows the next two"),
        ("broker", f"{proven.broker}, with signingKeyHash {proven.signing_key_hash}"),
        ("root", f"{proven.root} in ReceiptsAnchored {proven.anchoring} of that broker"),
        ("kind", reply["type"]),
        ("granted", reply.get("granted")),
        ("time", time_text(int(reply["time"]))),
    ]
    data: dict[str, Any] = {
        "holds": True,
        "broker": proven.broker,
        "signing_key_hash": proven.signing_key_hash,
        "anchoring": proven.anchoring,
        "root": proven.root,
        "entry": proven.entry,
    }
    return Answer(data, fields(rows))


def holds(session: Session, *, home: _Home = Path("broker")) -> Answer:
    """List the licenses that this broker holds, and why."""
    from ledger.broker.service import defence_of

    with defence_of(_open(session, home)) as defence:
        found = defence.held()
    data = {
        "holds": [
            {"license": name, "rule": each.rule, "reason": each.reason, "since": each.since}
            for name, each in found
        ]
    }
    lines = [(str(name), time_text(each.since), each.rule, each.reason) for name, each in found]
    return Answer(data, table(("license", "since", "rule", "reason"), lines, empty="none is held"))


def release_hold(
    session: Session,
    license_id: Annotated[str, typer.Argument(metavar="LICENSE", help="As PLAN.SERIAL.")],
    *,
    home: _Home = Path("broker"),
) -> Answer:
    """End this broker's hold on a license; the release is a receipt in the log."""
    from ledger.broker.service import defence_of

    wanted = LicenseId.parse(license_id)
    with defence_of(_open(session, home)) as defence:
        reply = defence.release(wanted, by="operator", now=int(time.time()))
    number = reply["receipt"]["sequence"]
    return Answer(
        {"license": wanted, "receipt": number},
        fields([("released", wanted), ("receipt", number)]),
    )
