"""``deed index``: follow the chain into tables, look at them, derive them anew."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ledger.cli.output import Answer, console, fields, time_text
from ledger.cli.session import Session
from ledger.cli.verb import Verbs
from ledger.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

app = Verbs("Follow the chain into tables.")

_Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="Such as sqlite:////srv/index.sqlite; by default DEED_DATABASE, or deed up's own.",
    ),
]


@app.verb("run", waits=False)
def run(session: Session, database: _Database = None) -> Answer:
    """Follow the chain until Ctrl-C. Killed at any point, it resumes where it was."""
    from ledger.index.follow import Follower

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    engine = _engine(session, database)
    network = session.network
    follower = Follower(session.rpc, engine, network.deployment, network.profile)
    console.note(f"following {network.name}; Ctrl-C stops")
    follower.run(stop)
    answer = _status(session, engine)
    engine.dispose()
    return answer


@app.verb("status")
def status(session: Session, database: _Database = None) -> Answer:
    """Show how far the index has come, and how far that is behind the chain's head."""
    engine = _engine(session, database)
    answer = _status(session, engine)
    engine.dispose()
    return answer


@app.verb("rebuild", waits=False)
def rebuild(session: Session, database: _Database = None) -> Answer:
    """Derive all tables anew from the journal of events; nothing is fetched."""
    from ledger.index.database import writing
    from ledger.index.journal import Journal

    engine = _engine(session, database)
    journal = Journal(session.network.deployment.chain_id)
    with writing(engine) as connection:
        # A follower that runs meanwhile loses its turn, and takes over again when this is done.
        journal.take_over(connection, f"rebuild:{os.getpid()}")
        folded = journal.refold(connection)
    engine.dispose()
    return Answer({"events": folded}, fields([("rebuilt from", f"{folded} events")]))


def _engine(session: Session, database: str | None) -> Engine:
    from ledger.index.database import open_database

    url = database or session.settings.get("database")
    if url is None and session.network.home is not None:
        url = f"sqlite:///{session.network.home / 'index.sqlite3'}"
    if url is None:
        raise UsageError(
            "no index database is named", hint="pass --database sqlite:///index.sqlite"
        )
    return open_database(url)


def _status(session: Session, engine: Engine) -> Answer:
    from ledger.index.journal import Journal

    with engine.connect() as connection:
        cursor = Journal(session.network.deployment.chain_id).cursor(connection)
    head = session.rpc.block("latest")
    behind = max(0, head.number - cursor.block)
    rows: list[tuple[str, object]] = [
        ("network", session.network.name),
        ("read to", f"block {cursor.block}, {time_text(cursor.last_time)}"),
        ("head", f"block {head.number}"),
        ("behind", f"{behind} blocks"),
        ("finalized", f"block {cursor.finalized}"),
        ("writer", cursor.holder or "none"),
    ]
    data: dict[str, Any] = {
        "block": cursor.block,
        "time": cursor.last_time,
        "head": head.number,
        "behind": behind,
        "finalized": cursor.finalized,
        "epoch": cursor.epoch,
        "holder": cursor.holder,
    }
    return Answer(data, fields(rows))
