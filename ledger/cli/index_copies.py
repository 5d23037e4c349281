"""``deed index backup`` and ``restore``: copies of an SQLite index, one file each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.index_args import Database, named
from ledger.cli.output import Answer, console, fields, size_text
from ledger.cli.session import Session
from ledger.cli.signals import ended_like_interrupts
from ledger.cli.verb import Verbs
from ledger.errors import UsageError

app = Verbs()


@app.verb("backup", waits=False)
def backup(
    session: Session,
    *,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.")],
    database: Database = None,
) -> Answer:
    """Copy an SQLite index to FILE, whole and of one moment, while it is followed and served.

    While it is in use the database's file alone is no copy: its newest part lies in the log beside
    it. A PostgreSQL index is copied by pg_dump.
    """
    return _copied(_file(session, database), to, "copied to")


@app.verb("restore", waits=False)
def restore(
    session: Session,
    *,
    copy: Annotated[Path, typer.Argument(metavar="FILE", help="What deed index backup made.")],
    database: Database = None,
) -> Answer:
    """Put a copy of an SQLite index where none is; what stands there is not replaced.

    What the chain has had since is read from it again. API keys, sign-ins, webhooks and the audit
    log are those of the copy: what was revoked since holds again until it is revoked again.
    """
    notes = (
        "start the follower and the service again: they go on from that block",
        "API keys and webhooks are those of the copy: revoke again what was revoked since",
    )
    return _copied(copy, _file(session, database), "restored to", notes, restores=True)


def _copied(
    source: Path, dest: Path, done: str, notes: tuple[str, ...] = (), *, restores: bool = False
) -> Answer:
    from ledger.index.copying import copy_index

    with ended_like_interrupts(), console.progress("copying", "pages") as show:
        made = copy_index(source, dest, restores=restores, progress=show)
    data = {"file": str(dest), "bytes": made.size, "block": made.block}
    block = "none yet" if made.block is None else made.block
    rows = [(done, dest), ("size", size_text(made.size)), ("last block", block)]
    return Answer(data, fields(rows), notes=notes)


def _file(session: Session, database: str | None) -> Path:
    from ledger.index.database import file_of

    file = file_of(named(session, database))
    if file is None:
        raise UsageError(
            "the index is on a PostgreSQL server",
            hint="copy it with pg_dump --format=custom, put it back with pg_restore",
        )
    return file
