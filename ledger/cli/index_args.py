"""What the commands that open an index share: which database, and who they are."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ledger.cli.session import Session
from ledger.errors import IndexDamaged, IndexUnavailable, UsageError

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

    A stack that was stopped has no network, and what its index holds is there all the same.

    Raises:
        UsageError: none of them names one.
    """
    from ledger.chain.network import kept_home

    url = session.settings.get("database") if database is None else database
    if url is not None:
        return url
    home = session.network.home if session.has_network else kept_home(Path.cwd())
    if home is None:
        raise UsageError(
            "no index database is named", hint="pass --database index.sqlite, or set DEED_DATABASE"
        )
    return str(home / "index.sqlite3")


def chain_of(session: Session, engine: Engine) -> int:
    """Id of the network's chain; where none is chosen or live, of the one that a database holds.

    Raises:
        IndexUnavailable: nothing was followed into it yet.
        UsageError: it holds several.
    """
    if session.has_network:
        return session.network.deployment.chain_id
    found = chains_in(engine)
    if not found:
        raise IndexUnavailable(
            "the index has read nothing yet", hint="deed index run follows the chain into it"
        )
    if len(found) > 1:
        raise UsageError(
            f"the index holds chains {', '.join(map(str, found))}",
            hint="say which with --network; deed network add NAME makes one",
        )
    return found[0]


def require_own(session: Session, engine: Engine) -> None:
    """See that a database is of the network, where one is chosen or live.

    Raises:
        WrongNetwork: it is of another chain, or of other contracts.
        IndexDamaged: it does not say of which.
    """
    from ledger.index.database import reading
    from ledger.index.journal import Journal

    if session.has_network:
        deployment = session.network.deployment
        with reading(engine) as connection:
            Journal(deployment.chain_id).belongs(connection, deployment)


def place_of(session: Session, database: str | None) -> str:
    """What may be shown of where an index is: the path; of a server nothing."""
    from ledger.index.database import file_of

    file = file_of(named(session, database))
    return "the database" if file is None else str(file)


def chains_in(engine: Engine) -> tuple[int, ...]:
    """Ids of the chains that were followed into a database, however little of them."""
    from ledger.index.database import reading
    from ledger.index.standing import chains

    with reading(engine) as connection:
        return chains(connection)


@contextmanager
def opened(session: Session, database: str | None, *, create: bool = False) -> Iterator[Engine]:
    """The index's database: the one named, the settings', or the local stack's.

    An index of an older release gets the tables of this one; nothing else is written here.

    Args:
        session: of the command.
        database: what ``--database`` names.
        create: whether it is made where it is not there.

    Raises:
        UsageError: none is named, or none is there, or another program's, or it was changed by
            another hand, or it must be written and may only be read.
        IndexDamaged: it is damaged.
        ConfigurationError: it was written by a newer release.
        IndexUnavailable: it cannot be opened, read or written now.
    """
    from ledger.index.database import file_of, lasting, open_database

    url = named(session, database)
    engine = open_database(url, create=create)
    try:
        yield engine
    except (IndexUnavailable, IndexDamaged) as error:
        # With the path, which those do not say who may speak to strangers.
        refused = lasting(file_of(url), error.__cause__)
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
