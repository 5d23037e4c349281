"""``deed license issue-batch``: many holders at once, as tokens or under one root."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ledger.cli import holders
from ledger.cli.accounts import account
from ledger.cli.holders import Holder
from ledger.cli.license_args import Plan
from ledger.cli.license_batch import read_batch
from ledger.cli.output import Answer, console, fields, time_text
from ledger.cli.quantities import moment
from ledger.cli.receipts import receipt_data, receipt_row, settle
from ledger.cli.session import Session
from ledger.cli.settings import write_text
from ledger.cli.verb import Verbs
from ledger.errors import LedgerError, UsageError
from ledger.ids import ZERO_ADDRESS
from ledger.licensing import batch as batches
from ledger.licensing.batch import Batch, BatchRow
from ledger.licensing.reference import reference_hash

if TYPE_CHECKING:
    from ledger.chain.transactions import TxReceipt

app = Verbs()

CHUNK: Final = 100
BATCH_FILE: Final = "batch.json"
CLAIMS: Final = "claims"


@app.verb("issue-batch", signs="licensor", waits=False)
def issue_batch(
    session: Session,
    *,
    plan: Plan,
    list_: Annotated[
        Path | None,
        typer.Argument(
            metavar="HOLDERS", help="CSV (to, not_before, not_after, external_ref) or JSON."
        ),
    ] = None,
    merkle: Annotated[
        Path | None,
        typer.Option(
            "--merkle", metavar="FOLDER", help="Anchor one root; write batch and claim files here."
        ),
    ] = None,
    not_before: Annotated[
        str | None, typer.Option("--not-before", metavar="TIME", help="Begin, where rows say none.")
    ] = None,
    not_after: Annotated[
        str | None, typer.Option("--not-after", metavar="TIME", help="End, where rows say none.")
    ] = None,
    skip: Annotated[
        int, typer.Option("--skip", min=0, metavar="ROWS", help="Rows that are issued already.")
    ] = 0,
) -> Answer:
    """Issue a license to each of many holders.

    Without --merkle each becomes a token at once, 100 in a transaction. With --merkle one
    transaction anchors a root over all of them, for the same fee at any number, and each holder
    claims theirs with a file of their own. Keep the folder: the chain has only its root. When
    anchoring did not come through, run it again without HOLDERS to anchor what is there.
    """
    now = int(time.time())
    rows: tuple[Holder, ...] = ()
    if list_ is not None:
        rows = holders.read(
            list_, lambda text: account(session, text), lambda text: moment(text, now=now)
        )
        begin = moment(not_before, now=now) if not_before else 0
        end = moment(not_after, now=now) if not_after else 0
        rows = tuple(
            Holder(r.to, r.not_before or begin, r.not_after or end, r.external_ref) for r in rows
        )[skip:]
        _check_rows(rows, now=now, before=skip)
    if merkle is not None:
        if skip:
            raise UsageError(
                "--skip is for rows that are tokens already",
                hint="leave it away: a batch under one root is anchored whole",
            )
        return _anchored(session, plan, rows, merkle)
    if list_ is None:
        raise UsageError("no holders are named", hint="name a CSV or JSON file of them")
    if not rows:
        raise UsageError("no row is left", hint="give a lower --skip")
    if any(row.external_ref for row in rows):
        raise UsageError(
            "only a batch under one root carries external references",
            hint="add --merkle FOLDER, or leave the column external_ref away",
        )
    return _issued(session, plan, rows, skip)


def _check_rows(rows: Sequence[Holder], *, now: int, before: int) -> None:
    """See that every row can become a license: under one root nobody else would before it is late.

    Raises:
        UsageError: a row cannot; the message names it.
    """
    for number, row in enumerate(rows, before + 1):
        if row.to == ZERO_ADDRESS:
            raise UsageError(
                f"row {number} names the zero address, which holds nothing", hint="name a holder"
            )
        if row.not_after and row.not_after <= max(row.not_before, now):
            raise UsageError(
                f"row {number}: the license would have ended on {time_text(row.not_after)}, "
                "before it begins",
                hint="give a later not_after",
            )


def _issued(session: Session, plan: int, rows: Sequence[Holder], skip: int) -> Answer:
    issued: list[dict[str, Any]] = []
    receipts: list[TxReceipt] = []
    for chunk in _chunks(rows):
        window = chunk[0].not_before, chunk[0].not_after
        try:
            ids, receipt = session.licenses.issue_batch(
                session.sender, plan, [row.to for row in chunk], *window
            )
        except (LedgerError, KeyboardInterrupt) as error:
            if issued:
                console.note(
                    f"issued before this: {issued[0]['license']} and {len(issued) - 1} more"
                )
                further = f"go on with --skip {skip + len(issued)}"
                if isinstance(error, LedgerError):
                    error.hint = f"{error.hint or 'mend that'}; {further}"
                else:  # what was under way may have come through
                    console.note(f"look at deed license list --plan {plan}, then {further}")
            raise
        receipts.append(receipt)
        issued += [
            {"license": number, "holder": row.to} for number, row in zip(ids, chunk, strict=True)
        ]
        console.step(f"issued {len(issued)} of {len(rows)}")
    final = settle(session, receipts[-1])
    return Answer(
        {
            "plan": plan,
            "licenses": issued,
            "transactions": [receipt_data(receipt, final=final) for receipt in receipts],
        },
        fields(
            [
                ("plan", plan),
                ("issued", f"{len(issued)}: {issued[0]['license']} to {issued[-1]['license']}"),
                *(receipt_row(receipt, final=final) for receipt in receipts),
            ]
        ),
    )


def _chunks(rows: Sequence[Holder]) -> Iterator[Sequence[Holder]]:
    """Neighbours with one window, at most `CHUNK` at a time."""
    start = 0
    for i in range(1, len(rows) + 1):
        first = rows[start]
        if (
            i == len(rows)
            or i - start == CHUNK
            or (rows[i].not_before, rows[i].not_after) != (first.not_before, first.not_after)
        ):
            yield rows[start:i]
            start = i


def _anchored(session: Session, plan: int, rows: Sequence[Holder], folder: Path) -> Answer:
    file = folder / BATCH_FILE
    if rows:
        if file.exists():
            raise UsageError(
                f"{file} exists",
                hint="leave HOLDERS away to anchor what is there, or name another folder",
            )
        session.licenses.plan_of(plan)  # nothing is written for a plan that does not exist
        made = _built(session, plan, rows)
    else:
        made = _of_this_plan(session, plan, file)
    _write(made, folder)
    record = session.licenses.batch_of(plan, made.root)
    data: dict[str, Any] = {
        "plan": plan,
        "root": made.root,
        "count": len(made.leaves),
        "folder": folder,
    }
    told: list[tuple[str, object]] = [
        ("plan", plan),
        ("root", made.root),
        ("licenses", len(made.leaves)),
        ("batch", file),
        ("claims", folder / CLAIMS),
    ]
    notes = (f"next: keep {file}, give each holder their file in {folder / CLAIMS}",)
    if record is not None:
        told.append(("anchored", f"already, on {time_text(record.anchored_at)}"))
        return Answer(data | {"anchored_at": record.anchored_at}, fields(told), notes=notes)
    first, receipt = session.licenses.anchor_batch(
        session.sender, plan, made.root, len(made.leaves)
    )
    final = settle(session, receipt)
    told += [("first license", first), receipt_row(receipt, final=final)]
    return Answer(
        data | {"first_license": first} | receipt_data(receipt, final=final),
        fields(told),
        notes=notes,
    )


def _built(session: Session, plan: int, rows: Sequence[Holder]) -> Batch:
    leaves = [
        BatchRow(row.to, row.not_before, row.not_after, reference_hash(row.external_ref))
        for row in rows
    ]
    return batches.build(
        leaves,
        (secrets.token_bytes(32) for _ in leaves),
        chain_id=session.network.deployment.chain_id,
        ledger=session.licenses.address,
        plan=plan,
    )


def _of_this_plan(session: Session, plan: int, file: Path) -> Batch:
    if not file.exists():
        raise UsageError("no holders are named", hint="name a CSV or JSON file of them")
    made = read_batch(session, file)
    if made.plan != plan:
        raise UsageError(f"{file} is of plan {made.plan}", hint=f"name plan {made.plan}")
    return made


def _write(made: Batch, folder: Path) -> None:
    """The batch first and safely: with it every claim can be made again."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / BATCH_FILE, json.dumps(made.to_json(), indent=1) + "\n", private=True)
    claims = folder / CLAIMS
    claims.mkdir(mode=0o700, exist_ok=True)
    width = len(str(len(made.leaves) - 1))
    for claim in made.claims():
        path = claims / f"{claim.leaf.index:0{width}}-{claim.leaf.to}.claim.json"
        path.write_text(json.dumps(claim.to_json(), indent=1) + "\n", encoding="utf-8")
