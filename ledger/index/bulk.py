"""Many rows into one table in one statement: what a backfill spends most of its time on.

Rows are tuples in the order of the table's columns. PostgreSQL takes them by binary ``COPY``,
inside the transaction that is under way; SQLite by statements of a hundred rows and more. Not by
``executemany``: sqlite3 gives the interpreter's lock away once a row, and beside a thread that
computes, getting it back takes up to five milliseconds each time.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
)

from ledger.errors import IndexUnavailable
from ledger.index.packed import in_statements
from ledger.index.tables import Uint

if TYPE_CHECKING:
    from psycopg.copy import LibpqWriter

Row = tuple[Any, ...]

PIECE_BYTES = 1 << 17
"""Of a COPY, sent at once: no more than a local socket holds, so that who sends it can go on with
something else while the server works it off. Not fewer either: after each piece this thread must
get the interpreter's lock back from those that read ahead."""


@contextmanager
def without_collection() -> Iterator[None]:
    """Spare the search for cyclic garbage: a transaction makes a million objects and no cycle.

    Around all of a turn: what it made is gone before the next search, which else looks at it all.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows whose values are those the database holds (`bound`).

    Raises:
        IndexUnavailable: PostgreSQL refused them; nothing of the transaction will be kept.
    """
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        _copy(connection, table, rows)
    else:
        values = list(itertools.chain.from_iterable(rows))
        insert_packed(connection, table, [in_statements(values, len(table.columns))])


def insert_packed(
    connection: Connection, table: Table, parts: Sequence[bytes | list[tuple[Any, ...]]]
) -> None:
    """Insert rows in the form of `ledger.index.packed.Packed.rows`.

    Raises:
        IndexUnavailable: as `insert_rows`.
    """
    with Inflow(connection, table, parts):
        pass


class Inflow:
    """Packed rows on their way into one table, while the caller computes something else.

    PostgreSQL works off what was sent while the caller goes on. A connection in the middle of a
    COPY answers nothing else: whoever wants to ask it calls `end` first. What is left when the
    ``with`` block ends is sent then; SQLite works in the caller's time anyway.

    Raises:
        IndexUnavailable: PostgreSQL refused rows; nothing of the transaction will be kept.
    """

    def __init__(
        self, connection: Connection, table: Table, parts: Sequence[bytes | list[tuple[Any, ...]]]
    ) -> None:
        self._connection = connection
        self._table = table
        self._postgres = connection.dialect.name == "postgresql"
        self._left: Iterator[Any] = (
            _in_pieces([part for part in parts if isinstance(part, bytes) and part])
            if self._postgres
            else itertools.chain.from_iterable(part for part in parts if isinstance(part, list))
        )
        self._stack = contextlib.ExitStack()
        self._write: Callable[[Any], None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.end()
        else:
            # What the server says of a COPY that is broken off is not what went wrong.
            with contextlib.suppress(Exception):
                self._stack.__exit__(kind, error, trace)

    def more(self) -> None:
        """Send the next piece; waits for room, and not for the rows to be there."""
        for piece in itertools.islice(self._left, 1):
            self._send(piece)

    def end(self) -> None:
        """Send the rest, and wait until all rows are there."""
        for piece in self._left:
            self._send(piece)
        with _refusals(postgres=self._postgres):
            self._stack.close()

    def _send(self, piece: Any) -> None:
        if not self._postgres:
            rows = len(piece) // len(self._table.columns)
            self._connection.exec_driver_sql(_statement(self._table, rows), piece)
            return
        with _refusals(postgres=self._postgres):
            if self._write is None:
                raw: Any = self._connection.connection.driver_connection
                cursor = self._stack.enter_context(raw.cursor())
                copy = self._stack.enter_context(cursor.copy(_copying(self._table)[0]))
                self._write = copy.write
            self._write(piece)


def _in_pieces(parts: Sequence[bytes]) -> Iterator[bytes]:
    if parts:
        yield _COPY_BEGINS
        for part in parts:
            for start in range(0, len(part), PIECE_BYTES):
                yield part[start : start + PIECE_BYTES]
        yield _COPY_ENDS


@functools.cache
def bound(table: Table) -> tuple[Callable[[Any], Any] | None, ...]:
    """For each column how a value becomes what the driver is given; None where it already is."""
    return tuple(
        _digits(column.type.digits) if isinstance(column.type, Uint) else None
        for column in table.columns
    )


def loaded(column: Column[Any]) -> Callable[[Any], Any] | None:
    """The reverse for one column: how what the driver gives becomes the value."""
    if isinstance(column.type, Uint):
        return int
    # SQLite has no booleans.
    return bool if isinstance(column.type, Boolean) else None


def _digits(count: int) -> Callable[[int], str]:
    return lambda value: str(value).zfill(count)


@functools.lru_cache(maxsize=512)
def _statement(table: Table, count: int) -> str:
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    row = f"({', '.join('?' for _ in table.columns)})"
    return f'INSERT INTO "{table.name}" ({names}) VALUES {", ".join([row] * count)}'  # noqa: S608


@functools.cache
def _copying(table: Table) -> tuple[str, list[str]]:
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    types = [pg_type(column.type) for column in table.columns]
    return f'COPY "{table.name}" ({names}) FROM STDIN (FORMAT BINARY)', types


def pg_type(kind: Any) -> str:
    """PostgreSQL's name of a column's type."""
    # Binary COPY converts nothing: each value must be of the column's own type.
    match kind:
        case SmallInteger():
            return "int2"
        case BigInteger():
            return "int8"
        case Integer():
            return "int4"
        case Boolean():
            return "bool"
        case LargeBinary():
            return "bytea"
        case String() | Uint():
            return "text"
    raise AssertionError(f"no binary form of {kind!r}")


def _copy(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    statement, types = _copying(table)
    raw: Any = connection.connection.driver_connection
    with (
        _refusals(postgres=True),
        raw.cursor() as cursor,
        cursor.copy(statement, writer=_pieces()(cursor)) as copy,
    ):
        copy.set_types(types)
        write = copy.write_row
        for row in rows:
            write(row)


_COPY_BEGINS = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_ENDS = b"\xff\xff"


@contextmanager
def _refusals(*, postgres: bool) -> Iterator[None]:
    """What PostgreSQL's driver raises outside SQLAlchemy, in the tree's words."""
    if not postgres:
        yield
        return
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise _refused(error) from error


def _refused(error: Exception) -> IndexUnavailable:
    return IndexUnavailable(
        f"the index database cannot be written: {type(error).__name__}",
        hint="check the server's free space and its log",
    )


@functools.cache
def _pieces() -> type[LibpqWriter]:
    """A writer of larger pieces; made here, since psycopg need not be installed."""
    from psycopg.copy import LibpqWriter

    class Pieces(LibpqWriter):
        def __init__(self, cursor: Any) -> None:
            super().__init__(cursor)
            self._held = bytearray()

        def write(self, data: Any) -> None:
            self._held += data
            if len(self._held) >= PIECE_BYTES:
                self._send()

        def finish(self, exc: BaseException | None = None) -> None:
            if exc is None:
                self._send()
            super().finish(exc)

        def _send(self) -> None:
            if self._held:
                super().write(bytes(self._held))
                self._held.clear()

    return Pieces
