"""Open the index's database, and bring its tables to this release's shape."""

from __future__ import annotations

import logging
import re
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from weakref import WeakKeyDictionary

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, func, inspect, select, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    OperationalError,
    ProgrammingError,
    SAWarning,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from ledger.errors import (
    ConfigurationError,
    IndexDamaged,
    IndexUnavailable,
    LedgerError,
    UsageError,
)
from ledger.index.belonging import (
    ASK_REVISIONS,
    REVISIONS,
    Place,
    holds_index,
    lacks_ours,
    name_taken,
)
from ledger.index.database_file import DatabaseFile, damage_of, damaged, refusal, undecoded

log = logging.getLogger(__name__)

# Of a value that is neither number nor text, sqlite3 asks first whether it knows how to adapt
# itself, which takes as long as three bindings; unless it was told that nothing is to be done.
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(type(None), lambda nothing: nothing)
# Whoever looks at indexes is told this of one that somebody made besides ours, and on stderr.
warnings.filterwarnings(
    "ignore", "Skipped unsupported reflection of expression-based index", SAWarning
)

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 10
PAGE_BYTES = 16_384
# A process that is stopped in mid-transaction loses it after this, and with it the cursor's lock.
FROZEN_SECONDS = 60
_SAID = 240
# Of the database, and of the pool in front of it.
_FAILURES = (DBAPIError, NoConnectionFree)
# Names the lock under which one process at a time migrates: "deed" in ASCII.
_MIGRATING = 0x64656564
_SERVER: Final = Place(
    "the database that the URL names",
    shared=True,
    other="createdb makes one of the index's own",
    back="put a copy into a new database with pg_restore",
)
# Of PostgreSQL (its appendix A): what stays as it is until somebody changes it.
_NO_RIGHT: Final = "42501"
_REFUSED: Final = re.compile(
    r'(?<=FATAL:  )((database|role) ".*" does not exist|password authentication failed for .*'
    r"|no pg_hba.conf entry for .*)|no password supplied"
)
_NAME_TAKEN: Final = "42P07"
_NAME_UNKNOWN: Final = frozenset({"42P01", "42703"})  # of a table, of a column


def database_url(text: str) -> str:
    """The URL of what a text names: without a scheme it is the path of an SQLite file.

    Raises:
        UsageError: the path is no Unicode text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("the path of the index is no UTF-8", hint=_EXAMPLE) from None
    return text if "://" in text else f"sqlite:///{quote(text)}"


def file_of(url: str) -> Path | None:
    """The file of an SQLite index; None for a database on a server.

    Args:
        url: of the database, or the path of an SQLite file.

    Raises:
        UsageError: no database URL, or of a database that is not supported.
    """
    if not url.strip():
        raise UsageError("the index database is not named", hint=_EXAMPLE)
    try:
        parsed = make_url(database_url(url))
    except ArgumentError:
        raise UsageError("the index database is not a database URL", hint=_EXAMPLE) from None
    if parsed.get_backend_name() == "postgresql":
        return None
    if parsed.get_backend_name() != "sqlite":
        raise UsageError(f"{parsed.get_backend_name()} is not supported", hint=_EXAMPLE)
    name = parsed.database or ":memory:"
    if ":memory:" in name:
        raise UsageError("an index in memory would be lost and cannot be shared", hint=_EXAMPLE)
    if parsed.query or name.startswith("file:"):
        raise UsageError("an SQLite index is named by its path alone", hint=_EXAMPLE)
    return Path(name)


def open_database(url: str, *, create: bool = True) -> Engine:
    """An engine for a path or URL (``postgresql+psycopg://…``), tables up to date.

    An index of an older release gets the tables of this one here, whoever opens it.

    SQLite runs in WAL mode, so that readers never wait for the follower. It is set by whoever
    writes, with its first transaction: a copy of this release that is only read, or refused, keeps
    every byte. Transactions are real: the driver's own rule of when one begins is switched off.
    PostgreSQL may stand behind PgBouncer
    in transaction mode: nothing is kept on a connection between two transactions.

    The engine of an SQLite file knows which file that is. Once another or none stands at the path,
    each connection and each transaction raises `IndexReplaced`.

    Args:
        url: of the database, or the path of an SQLite file.
        create: whether an index is begun where none is: an SQLite file, never its folder, or the
            tables in a database on a server. A file that may only be read is then refused; else
            readers may have it.

    Raises:
        UsageError: no database URL, or of a database that is not supported; there is no index
            (`create`), or another program's tables, or an index that another hand changed; this
            process or role has not the permissions that it takes; of an SQLite file: there is not
            its folder, or it is no database.
        IndexDamaged: the file is damaged.
        ConfigurationError: it was written by a newer release.
        IndexUnavailable: the database cannot be opened or written.
    """
    file = file_of(url)
    url = database_url(url)
    try:
        engine = _postgresql(url) if file is None else _sqlite(url, file, create=create)
        migrate(engine, create=create)
    except (IndexUnavailable, IndexDamaged) as error:
        refused = lasting(file, error.__cause__)
        if refused is not None:
            raise refused from error
        raise
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        refused = lasting(file, error)
        if refused is not None:
            raise refused from error
        raise IndexUnavailable(
            f"the index database does not open: {type(error).__name__}",
            hint="check the path or server, its permissions and the free space",
        ) from error
    return engine


def lasting(file: Path | None, error: BaseException | None) -> ConfigurationError | None:
    """What is said of `error` where to try again is no use; None where it may be.

    Args:
        file: of an SQLite index; None for a database on a server.
        error: at opening or using it.
    """
    if file is not None:
        return refusal(file, error)
    cause = getattr(error, "orig", error)
    state = getattr(cause, "sqlstate", None)
    if state == _NO_RIGHT:
        return UsageError(
            "the role that the URL names may not use the database as an index does",
            hint="let it make, read and write tables there: createdb --owner makes it one of its "
            "own",
        )
    # Of a connection that is refused the driver gives no code, and the server's sentence alone.
    refused = None if state is not None else _REFUSED.search(str(cause))
    if refused is not None:
        return UsageError(
            f"the server refuses the connection: {refused[0]}",
            hint="check the database, the role and its password in the URL; createdb makes a "
            "database, createuser a role",
        )
    if state == _NAME_TAKEN:
        return name_taken(_SERVER)
    if state in _NAME_UNKNOWN:
        return lacks_ours(_SERVER, str(cause).partition("\n")[0])
    return None


_EXAMPLE = "for example /var/lib/modeldeed/index.db, or postgresql+psycopg://USER@HOST/NAME"


def _sqlite(url: str, path: Path, *, create: bool) -> Engine:
    # Once, so that a process that changes its folder goes on with the same file.
    file = DatabaseFile.open(path.absolute(), create=create)
    engine = create_engine(url)
    _files[engine] = file
    # Kept in the file: once there, it stays.
    logged = False

    @event.listens_for(engine, "do_connect")
    def connect(*_: Any) -> sqlite3.Connection:
        return file.connect(timeout=BUSY_SECONDS)

    @event.listens_for(engine, "connect")
    def prepare(raw: Any, _: Any) -> None:
        raw.isolation_level = None
        # Of a file that is not there yet; fewer and larger pages are written twice (WAL, and then
        # the file) in less time than many.
        raw.execute(f"PRAGMA page_size={PAGE_BYTES}")
        raw.execute("PRAGMA foreign_keys=ON")
        # 32 MB of pages, where SQLite's 2 MB would make a backfill read back what it wrote.
        raw.execute("PRAGMA cache_size=-32768")

    @event.listens_for(engine, "handle_error")
    def tell(context: ExceptionContext) -> None:
        # Here, where it was read: of an audit one check ends with it, and not all.
        error = context.original_exception
        if undecoded(error) and (damage := damage_of(error)) is not None:
            raise damage

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        nonlocal logged
        # About a microsecond, where the shortest transaction takes a hundred.
        file.check()
        # A writer takes the lock at once: one that upgrades later can only fail with "busy".
        options = connection.get_execution_options()
        writes = options.get("writes", False)
        if writes:
            # FULL: what was committed outlives a power cut.
            level = "FULL" if options.get("durable", True) else "NORMAL"
            connection.exec_driver_sql(f"PRAGMA synchronous={level}")
            wait = options.get("wait", BUSY_SECONDS)
            connection.exec_driver_sql(f"PRAGMA busy_timeout={int(wait * 1000)}")
            if not logged and options.get("logged", True):
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                logged = True
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


_files: WeakKeyDictionary[Engine, DatabaseFile] = WeakKeyDictionary()


def check_file(engine: Engine) -> None:
    """For those who keep a connection of their own and begin no transactions on it.

    Raises:
        IndexReplaced: the path of an SQLite index no longer leads to the file that is open.
    """
    file = _files.get(engine)
    if file is not None:
        file.check()


def _postgresql(url: str) -> Engine:
    return create_engine(
        url,
        # Reads are of one snapshot, as they are on SQLite. PostgreSQL's default lets every
        # statement see what was committed just before it: an answer torn by a reorganisation.
        isolation_level="REPEATABLE READ",
        # The server may have been restarted, or have ended the connection.
        pool_pre_ping=True,
        # Behind PgBouncer the next transaction has another server connection, which knows none of
        # the statements prepared on this one.
        connect_args={"prepare_threshold": None, "connect_timeout": BUSY_SECONDS},
    )


@contextmanager
def writing(
    engine: Engine, *, durable: bool = True, wait: float = BUSY_SECONDS
) -> Iterator[Connection]:
    """One transaction that writes: committed at the end, or not at all.

    On PostgreSQL each statement sees what is committed: whoever waited for the cursor's row then
    reads what the one before it wrote, and finds itself overtaken.

    Args:
        engine: from `open_database`.
        durable: whether it must outlive a power cut. A backfill need not wait for the disk: after a
            power cut its last transactions may be gone, rows and cursor together, and are read
            again. A transaction is whole or absent either way.
        wait: seconds to wait for others who write; what is not worth it asks for less.

    Raises:
        IndexUnavailable: the database is locked, full, gone, or was changed by another hand, or no
            connection comes free.
        IndexDamaged: SQLite finds the file damaged, or a text that is read is no UTF-8.
    """
    with _writing(engine, "written", durable=durable, wait=wait) as connection:
        yield connection


@contextmanager
def _writing(
    engine: Engine,
    done: str,
    *,
    durable: bool = True,
    wait: float = BUSY_SECONDS,
    logged: bool = True,
) -> Iterator[Connection]:
    options: dict[str, Any] = {"writes": True, "durable": durable, "wait": wait, "logged": logged}
    if engine.dialect.name == "postgresql":
        options["isolation_level"] = "READ COMMITTED"
    try:
        with engine.connect().execution_options(**options) as connection, connection.begin():
            _bound(connection, wait)
            if not durable and engine.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
                # Of tables that grow by the minute there are no statistics, and what a backfill
                # reads it reads by primary key: no plan that goes through a whole table.
                for plan in ("seqscan", "hashjoin", "mergejoin"):
                    connection.exec_driver_sql(f"SET LOCAL enable_{plan} TO off")
            yield connection
    except _FAILURES as error:
        raise _unavailable(engine, done, error) from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that reads: all of it sees one moment.

    Raises:
        IndexUnavailable: the database is gone, or ended the connection, or none comes free; a file
            that may only be read was written meanwhile.
        IndexDamaged: SQLite finds the file damaged, or a text that is read is no UTF-8.
    """
    file = _files.get(engine)
    try:
        with (
            nullcontext() if file is None else file.unwritten(),
            engine.connect() as connection,
        ):
            yield connection
    except _FAILURES as error:
        raise _unavailable(engine, "read", error) from error


def require_sound(connection: Connection) -> None:
    """Let SQLite examine its own file, where rows may be right and an index of them lack some.

    PostgreSQL has ``pg_amcheck`` for that.

    Raises:
        IndexDamaged: the file is damaged.
    """
    if connection.dialect.name != "sqlite":
        return
    found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
    if found != "ok":
        raise damaged(Path(str(connection.engine.url.database)), found)


def _unavailable(engine: Engine, done: str, error: DBAPIError | NoConnectionFree) -> LedgerError:
    if (damage := damage_of(error)) is not None:
        return damage
    if isinstance(error, NoConnectionFree):
        return IndexUnavailable(
            f"the index database cannot be {done}: all connections to it are in use",
            hint="try again shortly; many long questions at once take them all",
        )
    said = type(error).__name__
    if isinstance(error, OperationalError):
        # Locked, full, gone: the driver's first line says which. Of other errors it may say more of
        # the rows than a log should hold.
        line = str(error.orig).partition(chr(10))[0][:_SAID]
        if engine.dialect.name == "postgresql" and done != "opened":
            # It names the server, its address, the user: for the operator who starts this, and for
            # the log. What is said of a later failure reaches whoever asks the service.
            log.warning("the index database cannot be %s: %s", done, line)
            said = type(error.orig).__name__
        else:
            said += f": {line}"
    hint = (
        "check that the server runs, that the URL names it, and its disk's free space"
        if engine.dialect.name == "postgresql"
        else "check the disk's free space and that nothing else holds the database"
    )
    return IndexUnavailable(f"the index database cannot be {done}: {said}", hint=hint)


def _bound(connection: Connection, wait: float) -> None:
    """Let no writer wait, or keep others waiting, without end."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            select(
                # Local to the transaction: the connection may be another's afterwards.
                func.set_config("lock_timeout", f"{int(wait * 1000)}ms", True),  # noqa: FBT003
                func.set_config(
                    "idle_in_transaction_session_timeout",
                    f"{FROZEN_SECONDS}s",
                    True,  # noqa: FBT003
                ),
            )
        )


def migrate(engine: Engine, revision: str = "head", *, create: bool = True) -> None:
    """Run the migrations up to `revision`, in one transaction.

    Processes that start at once migrate one after the other; the later ones find it done.

    Args:
        engine: of the database.
        revision: up to which one.
        create: whether tables are made where there is no index.

    Raises:
        UsageError: there is no index (`create`), or another program's tables.
        ConfigurationError: the database was written by a newer release.
        IndexUnavailable: it cannot be opened.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if engine.dialect.name == "sqlite" and revision == "head" and _is_current(engine, config):
        # Not a byte of what is only read is written, and nobody waits for a lock.
        return
    # Also who will only read does this: at the start, where the server may not be there.
    with _writing(engine, "opened", logged=create) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
            # An SQLite file was looked at before anything could be written into it.
            _require_index(connection, create=create)
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            raise _newer(str(error)) from None


def _is_current(engine: Engine, config: Config) -> bool:
    with reading(engine) as connection:
        found = MigrationContext.configure(connection).get_current_heads()
    scripts = ScriptDirectory.from_config(config)
    if unknown := set(found) - {each.revision for each in scripts.walk_revisions()}:
        raise _newer(f"revision {min(unknown)}")
    return set(found) == set(scripts.get_heads())


def _newer(said: str) -> ConfigurationError:
    return ConfigurationError(
        f"the index database has a shape this release does not know: {said}",
        hint="update modeldeed, or give another database; it is rebuilt from the chain",
    )


def _require_index(connection: Connection, *, create: bool) -> None:
    names = set(inspect(connection).get_table_names())
    revisions: set[str] = set()
    if REVISIONS in names:
        try:
            with connection.begin_nested():
                revisions.update(connection.execute(text(ASK_REVISIONS)).scalars())
        except ProgrammingError as error:
            if getattr(error.orig, "sqlstate", None) not in _NAME_UNKNOWN:
                raise
            # Without that column it is not as ours.
            revisions.add(REVISIONS)
    if not holds_index(_SERVER, names, revisions) and not create:
        raise UsageError(
            f"there is no index in {_SERVER.name}",
            hint="correct the URL; if it was lost, pg_restore puts a copy into a new database; "
            "deed index run --database follows the chain into this one",
        )
