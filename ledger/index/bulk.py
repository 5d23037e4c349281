"""Many rows into one table in one statement: what a backfill spends most of its time on.

Rows are tuples in the order of the table's columns. PostgreSQL takes them by binary ``COPY``,
inside the transaction that is under way; SQLite by statements of a hundred rows and more. Not by
``executemany``: sqlite3 gives the interpreter's lock away once a row, and beside a thread that
computes, getting it back takes up to five milliseconds each time.
"""

from __future__ import annotations

import functools
import gc
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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
"""Of rows that are packed one by one, sent at once: the server works while the next are packed.
Not fewer either: after each piece, and each statement, this thread must get the interpreter's lock
back from those that read ahead, which takes up to five milliseconds."""


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
    if connection.dialect.name == "postgresql":
        held = [part for part in parts if isinstance(part, bytes) and part]
        if held:
            _copy_packed(connection, table, held)
        return
    width = len(table.columns)
    for part in parts:
        assert isinstance(part, list)
        for values in part:
            connection.exec_driver_sql(_statement(table, len(values) // width), values)


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
    return f'INSERT INTO "{table.name}" ({names}) VALUES {", ".join([row] * count)}'  # noqa: S608  ours


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
        _refusals(),
        raw.cursor() as cursor,
        cursor.copy(statement, writer=_pieces()(cursor)) as copy,
    ):
        copy.set_types(types)
        write = copy.write_row
        for row in rows:
            write(row)


_COPY_BEGINS = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_ENDS = b"\xff\xff"


def _copy_packed(connection: Connection, table: Table, parts: Sequence[bytes]) -> None:
    raw: Any = connection.connection.driver_connection
    with _refusals(), raw.cursor() as cursor, cursor.copy(_copying(table)[0]) as copy:
        copy.write(_COPY_BEGINS)
        for part in parts:
            copy.write(part)
        copy.write(_COPY_ENDS)


@contextmanager
def _refusals() -> Iterator[None]:
    """What PostgreSQL's driver raises outside SQLAlchemy, in the tree's words."""
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
