"""What the commands that open an index share: which database, and who they are."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.session import Session
from ledger.errors import IndexUnavailable, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="A path (SQLite) or a database URL; by default DEED_DATABASE, or deed up's own.",
    ),
]


def named(session: Session, database: str | None) -> str:
    """The path or URL of the database: what ``--database`` says, the settings, the local stack's.

    Raises:
        UsageError: none of them names one.
    """
    url = session.settings.get("database") if database is None else database
    if url is None and session.network.home is not None:
        return str(session.network.home / "index.sqlite3")
    if url is None:
        raise UsageError("no index database is named", hint="pass --database index.sqlite")
    return url


@contextmanager
def opened(session: Session, database: str | None, *, create: bool = False) -> Iterator[Engine]:
    """The index's database: the one named, the settings', or the local stack's.

    Args:
        session: of the command.
        database: what ``--database`` names.
        create: whether it is made where it is not there.

    Raises:
        UsageError: none is named, or none is there, or it must be written and may only be read.
    """
    from ledger.index.database import file_of, open_database
    from ledger.index.database_file import refusal

    url = named(session, database)
    engine = open_database(url, create=create)
    try:
        yield engine
    except IndexUnavailable as error:
        file = file_of(url)
        refused = None if file is None else refusal(file, error.__cause__)
        if refused is None:
            raise
        raise refused from error
    finally:
        engine.dispose()


def operator_name() -> str:
    """Who sits at this machine, as the database's logs name them."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}"
