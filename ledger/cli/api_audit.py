"""``deed api audit``: verify, export and anchor the service's audit log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.index import audited
from ledger.cli.index_args import opened, operator_name
from ledger.cli.output import Answer, fields
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import UsageError

if TYPE_CHECKING:
    from ledger.access.trail import Head, TrailReport

app = Verbs("The log of who changed access or wrote something.")

Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="The service's; by default DEED_DATABASE, or deed up's own.",
    ),
]


@app.verb("verify")
def verify(
    session: Session,
    *,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="An export, in place of the database."),
    ] = None,
    extends: Annotated[
        Path | None,
        typer.Option(
            "--extends", metavar="FILE", help="An earlier export that it must go on from."
        ),
    ] = None,
    chain: Annotated[
        bool, typer.Option("--chain", help="Ask the chain for the roots that the log names.")
    ] = False,
    anchored_by: Annotated[
        str | None,
        typer.Option(
            "--anchored-by",
            metavar="ACCOUNT",
            help="Who anchors this log, and nothing else: each of their roots must be of it.",
        ),
    ] = None,
    database: Database = None,
) -> Answer:
    """Verify the audit log in numbered checks; an entry that does not hold is named.

    The last entries can be cut off without a trace in what is left: keep an export and use
    --extends, or anchor the log's head and use --anchored-by.
    """
    from ledger.access import trail
    from ledger.ids import Address

    kept = [] if extends is None else [_last(extends)]
    anchored_at = session.anchors.anchored_at if chain or anchored_by is not None else None
    anchored = None
    if anchored_by is not None:
        first = session.network.deployment.block
        anchored = session.anchors.anchored_by(Address.parse(anchored_by), from_block=first)
    asked: dict[str, Any] = {"kept": kept, "anchored_at": anchored_at, "anchored": anchored}
    if file is not None:
        with _reading(file) as lines:
            report = trail.verify(trail.rows_of(lines), **asked)
    else:
        from ledger.index.database import reading

        with opened(session, database) as engine, reading(engine) as connection:
            report = trail.verify(trail.rows(connection), **asked)
    return _answer(report)


@app.verb("export")
def export(
    session: Session,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A new file, JSON Lines.")],
    database: Database = None,
) -> Answer:
    """Write the audit log into a file that verifies without the database."""
    from ledger.access import trail
    from ledger.index.database import reading

    count, last = 0, None
    with opened(session, database) as engine, reading(engine) as connection, out.open("x") as file:
        for last in trail.rows(connection):
            file.write(trail.line_of(last) + "\n")
            count += 1
    hash_ = None if last is None else last.hash
    rows: list[tuple[str, object]] = [
        ("entries", count),
        ("head", "-" if hash_ is None else "0x" + hash_.hex()),
        ("file", out),
    ]
    return Answer({"entries": count, "head": hash_, "file": out}, fields(rows))


@app.verb("anchor", signs="broker", waits=False)
def anchor(session: Session, *, database: Database = None) -> Answer:
    """Put the hash of the newest entry on chain, so that nobody can rewrite what came before.

    Repeating it is safe: a head that is anchored already is not anchored again.
    """
    from ledger.access.store import AccessStore
    from ledger.access.trail import ANCHORED, Act

    with opened(session, database) as engine:
        store = AccessStore(engine, session.network.deployment.chain_id)
        head, fresh = _fresh(store)
        if not fresh:
            return Answer({"anchored": None}, "nothing is in the log that was not anchored")
        known = session.anchors.anchored_at(head.hash)
        receipt = None if known else session.anchors.anchor(session.sender, head.hash)
        final = receipt is not None and settle(session, receipt)
        block = known[1] if known else receipt.block_number if receipt else 0
        detail: dict[str, Any] = {"sequence": head.sequence, "block": block}
        if receipt is not None:
            detail["by"] = str(session.sender.signer.address)
        act = Act(f"local:{operator_name()}", ANCHORED, str(head.hash), detail=detail)
        store.record(act)
    data: dict[str, Any] = {"anchored": head.hash, "sequence": head.sequence, "block": block}
    rows: list[tuple[str, object]] = [
        ("anchored", head.hash),
        ("to entry", head.sequence),
    ]
    if receipt is not None:
        data |= receipt_data(receipt, final=final)
        rows.append(receipt_row(receipt, final=final))
    return Answer(data, fields(rows))


# -- pieces --------------------------------------------------------------------------------------


def _fresh(store: Any) -> tuple[Head, bool]:
    """The head, and whether something other than an anchoring was recorded since the last one."""
    from ledger.access import trail
    from ledger.canonical import parse_json
    from ledger.index.database import reading

    with reading(store.engine) as connection:
        head = trail.head(connection)
        newest = list(trail.rows(connection, after=head.sequence - 1)) if head.sequence else []
    if not newest:
        return head, False
    entry = parse_json(newest[-1].text.encode(), what="the newest entry")
    return head, not (isinstance(entry, dict) and entry.get("act") == trail.ANCHORED)


def _reading(file: Path) -> Any:
    try:
        return file.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None


def _last(file: Path) -> Head:
    from ledger.access.trail import Head, Row, rows_of
    from ledger.ids import ZERO_DIGEST, Digest

    last: Row | None = None
    with _reading(file) as lines:
        for row in rows_of(lines):
            last = row
    return Head(0, ZERO_DIGEST) if last is None else Head(last.sequence, Digest(last.hash))


def _answer(report: TrailReport) -> Answer:
    head = report.head
    return audited(
        report.checks,
        holds=report.holds,
        what="the audit log",
        upto=f"to entry {head.sequence}",
        data={"entries": head.sequence, "head": head.hash},
    )
