"""Open the index's database, and bring its tables to this release's shape."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from ledger.errors import ConfigurationError, IndexUnavailable, UsageError

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 10


def open_database(url: str) -> Engine:
    """An engine for `url` (``sqlite:///path`` or ``postgresql+psycopg://…``), tables up to date.

    SQLite runs in WAL mode, so that readers never wait for the follower, with real transactions:
    the driver's own rule of when one begins is switched off.

    Raises:
        UsageError: no database URL, or of a database that is not supported.
        IndexUnavailable: the database cannot be opened or written.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UsageError("the index database is not a database URL", hint=_EXAMPLE) from None
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise UsageError(f"{parsed.get_backend_name()} is not supported", hint=_EXAMPLE)
    try:
        engine = _sqlite(url) if parsed.get_backend_name() == "sqlite" else create_engine(url)
        migrate(engine)
    except (SQLAlchemyError, OSError) as error:
        raise IndexUnavailable(
            f"the index database does not open: {type(error).__name__}",
            hint="check the path or server, its permissions and the free space",
        ) from error
    return engine


_EXAMPLE = "for example sqlite:////var/lib/modeldeed/index.db"


def _sqlite(url: str) -> Engine:
    database = make_url(url).database
    if database in {None, "", ":memory:"}:
        raise UsageError("an index in memory would be lost and cannot be shared", hint=_EXAMPLE)
    Path(str(database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def prepare(raw: Any, _: Any) -> None:
        raw.isolation_level = None
        raw.execute("PRAGMA journal_mode=WAL")
        # FULL: after a power cut the cursor never names rows that the disk has lost.
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes the lock at once: one that upgrades later can only fail with "busy".
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that writes: committed at the end, or not at all.

    Raises:
        IndexUnavailable: the database is locked, full, gone, or was changed by another hand.
    """
    try:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection
    except DBAPIError as error:
        raise IndexUnavailable(
            f"the index database cannot be written: {type(error).__name__}",
            hint="check the disk's free space and that nothing else holds the database",
        ) from error


def migrate(engine: Engine, revision: str = "head") -> None:
    """Run the migrations up to `revision`, in one transaction.

    Raises:
        ConfigurationError: the database was written by a newer release.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            raise ConfigurationError(
                f"the index database has a shape this release does not know: {error}",
                hint="update modeldeed, or give another database; it is rebuilt from the chain",
            ) from None
