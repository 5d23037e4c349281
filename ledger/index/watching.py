"""Whether the index has moved, told so cheaply that every request can ask.

Steps of docs/spec/entitlement-cache.md, "The mark".

A `Mark` is what the database says of where the index stands. A watch tells the mark of a moment
that is not before the question: whoever keeps answers compares their mark with it, and so never
gives one that a commit has overtaken, by whatever process on whatever machine it was made.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from typing import Any, Final, NamedTuple, Protocol, cast

from psycopg import Error as PostgresError
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from ledger.errors import IndexUnavailable
from ledger.index.database import check_file
from ledger.index.database_file import damage_of

TRIP_SECONDS: Final = 5.0
"""After which a question to the server counts as lost."""
_RETRY_SECONDS: Final = 1.0
# Between two looks whether the path of an SQLite file still leads to it.
_FILE_SECONDS: Final = 0.5
_TOGETHER: Final = 64
_MEMBERS: Final = 8
# Which transactions have ended, by the word of which server; see `PostgresWatch`.
_ENDED: Final = "pg_current_snapshot(), pg_postmaster_start_time(), pg_is_in_recovery()"
_VERSION: Final = f"SELECT {_ENDED}".encode()
_Row = tuple[bytes | None, ...]


class State(NamedTuple):
    """What decides every row of the state tables: block, its hash, and who wrote them last."""

    next_block: int
    last_hash: bytes | None
    epoch: int


class Mark(NamedTuple):
    """Where the index stands.

    Attributes:
        state: decides the rows of the state tables.
        safe, finalized: blocks; with `state` and `deposits` they decide a page but for its age.
        deposits: documents ever deposited.
        synced_at_ms: when the index last stood on the chain's head, Unix milliseconds.
        last_seq: number of the outbox's newest entry.
    """

    state: State
    safe: int
    finalized: int
    deposits: int
    synced_at_ms: int
    last_seq: int

    @property
    def page(self) -> tuple[State, int, int, int]:
        """What decides a page but for its age."""
        return self[:4]


class Watch(Protocol):
    """One chain's mark in one database. All methods belong to one event loop."""

    def look(self) -> Mark | None:
        """The mark of this moment; None where it must be asked for.

        Raises:
            IndexUnavailable: the database does not answer, or holds nothing of the chain.
        """
        ...

    async def ask(self) -> Mark:
        """The mark of a moment after the call.

        Raises:
            IndexUnavailable: as above.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


def watch_of(engine: Engine, chain_id: int) -> Watch:
    """A watch of the database of `engine`; it takes a connection of its own when first asked."""
    if engine.dialect.name == "sqlite":
        return SqliteWatch(engine, chain_id)
    return PostgresWatch(engine, chain_id)


def mark_in(connection: Connection, chain_id: int) -> Mark:
    """The mark of a reading transaction.

    Raises:
        IndexUnavailable: nothing was ever followed into this database.
    """
    row = connection.execute(text(_query(chain_id, "c.last_hash"))).one_or_none()
    return _mark(None if row is None else tuple(row))


def _query(chain_id: int, last_hash: str, more: str = "") -> str:
    # No parameter: one text for both drivers, and the server need not remember a statement.
    return (
        f"SELECT c.next_block, {last_hash}, c.epoch, c.safe, c.finalized, "  # noqa: S608 - a number
        "(SELECT deposits FROM library_place WHERE id = 1), c.synced_at_ms, "
        f"(SELECT last_seq FROM outbox_place o WHERE o.chain_id = c.chain_id){more} "
        f"FROM cursor c WHERE c.chain_id = {chain_id:d}"
    )


def _mark(row: tuple[Any, ...] | None) -> Mark:
    if row is None:
        raise IndexUnavailable("the index has read nothing of this chain yet")
    next_block, last_hash, epoch, safe, finalized, deposits, synced, seq = row
    state = State(next_block, None if last_hash is None else bytes(last_hash), epoch)
    return Mark(state, safe, finalized, deposits or 0, synced, seq or 0)


class SqliteWatch:
    """The mark of an SQLite file.

    SQLite counts the commits of all other connections, in whichever process (``PRAGMA
    data_version``, read from memory that the processes share): some microseconds, and the cursor
    is read only when that number has changed.
    """

    def __init__(self, engine: Engine, chain_id: int) -> None:
        self._engine = engine
        self._query = _query(chain_id, "c.last_hash")
        self._cursor: sqlite3.Cursor | None = None
        self._version: Any = None
        self._mark: Mark | None = None
        self._checked_at = float("-inf")

    def look(self) -> Mark:
        """The mark of this moment.

        Raises:
            IndexUnavailable: the file cannot be read, or holds nothing of the chain.
            IndexReplaced: the path leads to another file, or none; told within half a second.
            IndexDamaged: SQLite finds the file damaged.
        """
        now = time.monotonic()
        if now - self._checked_at > _FILE_SECONDS:
            check_file(self._engine)
            self._checked_at = now
        try:
            cursor = self._cursor
            if cursor is None:
                cursor = self._cursor = self._open()
            # First the number: a commit after it changes it, and the next look reads again.
            version = cursor.execute("PRAGMA data_version").fetchone()
            if version != self._version or self._mark is None:
                self._mark = None
                found = _mark(cursor.execute(self._query).fetchone())
                self._version, self._mark = version, found
        except (sqlite3.Error, SQLAlchemyError) as error:
            raise damage_of(error) or IndexUnavailable(
                f"the index database does not answer: {type(error).__name__}"
            ) from error
        return self._mark

    async def ask(self) -> Mark:
        """As `look`."""
        return self.look()

    def close(self) -> None:
        """Let go of the connection."""
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            cursor.connection.close()

    def _open(self) -> sqlite3.Cursor:
        connection = _own(self._engine)
        # It never writes, and must not keep pages for which the readers have use.
        connection.execute("PRAGMA cache_size=-256")
        connection.execute("PRAGMA query_only=ON")
        return cast("sqlite3.Cursor", connection.cursor())


class PostgresWatch:
    """The mark of a PostgreSQL database, by one question for all who ask at once.

    A question is under way for some tenths of a millisecond; those who come meanwhile wait for the
    next one, which is sent after they came. It is a statement of its own, so that it sees what was
    committed before it, and prepares nothing: the connection may lead through PgBouncer.

    What the server is asked is its own snapshot, which is in its memory: a tenth of the price of
    reading the mark. Each transaction that writes changes it by ending ("System Information
    Functions"), so the mark is read only when it is another one, or that of another server. A
    standby's does not tell of all that was replayed: there the mark is read each time.
    """

    def __init__(self, engine: Engine, chain_id: int) -> None:
        self._engine = engine
        self._query = _query(chain_id, "encode(c.last_hash, 'hex')", f", {_ENDED}").encode()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Any = None
        self._server: PGconn | None = None
        self._socket = -1
        self._opening: asyncio.Task[None] | None = None
        self._opened_at = float("-inf")
        # Who waits for the question under way, and for the one after it.
        self._under_way: list[asyncio.Future[Mark]] | None = None
        self._next: list[asyncio.Future[Mark]] = []
        self._lost: asyncio.TimerHandle | None = None
        self._mark: Mark | None = None
        # The mark's row, and what the server said of itself in the same statement.
        self._row: _Row = ()
        self._ended: _Row | None = None

    def look(self) -> None:
        """Always None."""
        return

    async def ask(self) -> Mark:
        """The mark of a moment after the call.

        Raises:
            IndexUnavailable: the server does not answer; or it is only now being called.
        """
        if self._server is None:
            await self._call()
        loop = asyncio.get_running_loop()
        if self._under_way is None and not self._next:
            # After all that have arrived by now: they share it.
            loop.call_soon(self._gather, 0)
        found: asyncio.Future[Mark] = loop.create_future()
        self._next.append(found)
        return await found

    def close(self) -> None:
        """Let go of the connection."""
        if self._opening is not None:
            self._opening.cancel()
        self._drop()

    # -- the connection --------------------------------------------------------------------------

    async def _call(self) -> None:
        """Open the connection; all who come meanwhile wait for it.

        Raises:
            IndexUnavailable: the server does not answer, or has not a moment ago.
        """
        if self._opening is None:
            if time.monotonic() - self._opened_at < _RETRY_SECONDS:
                raise IndexUnavailable("the index database does not answer")
            self._opened_at = time.monotonic()
            self._opening = asyncio.create_task(self._open())
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            connection = await self._loop.run_in_executor(None, _own, self._engine)
            connection.autocommit = True
            server: PGconn = connection.pgconn
            server.nonblocking = 1
            self._socket = server.socket
            self._loop.add_reader(self._socket, self._readable)
            self._connection, self._server = connection, server
        except (PostgresError, SQLAlchemyError, OSError) as error:
            raise IndexUnavailable(
                f"the index database does not answer: {type(error).__name__}"
            ) from error
        finally:
            self._opening = None

    def _drop(self) -> None:
        """Forget the connection; who waits is told."""
        server, connection = self._server, self._connection
        self._server = self._connection = None
        if self._lost is not None:
            self._lost.cancel()
            self._lost = None
        if server is not None and self._loop is not None:
            # By the number it had: a broken connection no longer tells.
            if not self._loop.is_closed():
                self._loop.remove_reader(self._socket)
            connection.close()
        self._mark, self._row, self._ended = None, (), None
        waiting = [*(self._under_way or ()), *self._next]
        self._under_way, self._next = None, []
        _refuse(waiting, "the index database does not answer")

    # -- one question ----------------------------------------------------------------------------

    def _gather(self, before: int) -> None:
        """Send, unless this turn of the loop has brought more: then the next may, too."""
        if self._loop is not None and before < len(self._next) < _TOGETHER:
            self._loop.call_soon(self._gather, len(self._next))
        else:
            self._send()

    def _send(self) -> None:
        server, loop = self._server, self._loop
        if self._under_way is not None or not self._next:
            return
        if server is None or loop is None:
            self._drop()
            return
        self._under_way, self._next = self._next, []
        self._lost = loop.call_later(TRIP_SECONDS, self._drop)
        self._put(server, self._query if self._ended is None else _VERSION)

    def _put(self, server: PGconn, query: bytes) -> None:
        try:
            server.send_query(query)
            server.flush()
        except PostgresError:
            self._drop()

    def _readable(self) -> None:
        server = self._server
        if server is None:
            return
        try:
            server.consume_input()
            if server.is_busy():
                return
            result = server.get_result()
            if result is None:
                return
            while server.get_result() is not None:
                pass
        except PostgresError:
            self._drop()
            return
        if result.status != ExecStatus.TUPLES_OK:
            self._drop()
            return
        row = tuple(result.get_value(0, n) for n in range(result.nfields if result.ntuples else 0))
        if result.nfields < _MEMBERS and row != self._ended:
            # Something has been committed, and who came meanwhile has come before this question.
            self._under_way, self._next = [*(self._under_way or ()), *self._next], []
            self._put(server, self._query)
            return
        if self._lost is not None:
            self._lost.cancel()
            self._lost = None
        waiting, self._under_way = self._under_way or [], None
        known = self._mark if result.nfields < _MEMBERS else None
        try:
            mark = known or self._read(row)
        except IndexUnavailable as error:
            _refuse(waiting, error.message)
        else:
            for each in waiting:
                if not each.done():  # as one is that was cancelled
                    each.set_result(mark)
        self._send()

    def _read(self, row: _Row) -> Mark:
        before, self._mark, self._ended = self._mark, None, None
        state, ended = row[:_MEMBERS], row[_MEMBERS:]
        # The same object for the same mark: whoever compares them is quick about it.
        self._mark = before if before and state == self._row else _mark(_values(*state))
        self._row = state
        self._ended = None if ended[-1] == b"t" else ended
        return self._mark


def _values(*row: bytes | None) -> tuple[Any, ...] | None:
    """A row from the text that the server sends."""
    if not row:
        return None
    block, digest, *rest = row
    numbers = (None if value is None else int(value) for value in (block, *rest))
    hash_ = None if digest is None else bytes.fromhex(digest.decode())
    return next(numbers), hash_, *numbers


def _refuse(waiting: list[asyncio.Future[Mark]], message: str) -> None:
    for each in waiting:
        if not each.done():
            each.set_exception(IndexUnavailable(message))


def _own(engine: Engine) -> Any:
    """A connection of the driver, made as the engine makes them, that no pool takes back."""
    found = engine.raw_connection()
    driver = found.driver_connection
    found.detach()
    return driver
