"""Fold the journal again, beside the live tables or in their place, and say what differs."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Engine,
    Table,
    bindparam,
    create_engine,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
)

from ledger.errors import IndexDamaged, IndexUnavailable, LedgerError, LogFormatError
from ledger.ids import Address
from ledger.index import tables
from ledger.index.audit_report import Faults
from ledger.index.database import reading, writing
from ledger.index.decode import EVENTS, EventType, Stored
from ledger.index.fold import fold, preload
from ledger.index.journal import Journal
from ledger.index.leaves import Leaves, examine, hold_documents
from ledger.index.outbox_faults import misfiled
from ledger.index.refuting import refuted
from ledger.index.shape import lacking, make_indexes
from ledger.index.step import Place
from ledger.index.versions import Versions, clear

_PAGE: Final = 5000
_LOGS_AT_ONCE: Final = 10_000
_ENTRIES_AT_ONCE: Final = 20_000
_FIELDS: Final = (
    "block", "log_index", "block_time", "tx_hash", "contract", "event", "topics", "data",
)  # fmt: skip
_FOLDED: Final = {**tables.STATE, tables.log_subject.name: tables.log_subject}


@dataclass(frozen=True, slots=True)
class Difference:
    """One table in which live rows and folded rows are not the same.

    Attributes:
        table: its name.
        extra: live rows that the journal does not give.
        missing: rows that the journal gives and the live table lacks.
    """

    table: str
    extra: int
    missing: int


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did.

    Attributes:
        events: folded.
        differences: tables that were not what the journal gives, before.
        leaves: what deriving the tensor leaves came to.
        indexes: names of indexes of the database that were not there, and are now.
        outbox: entries that named other subjects than their event is filed under now.
        lacking: what of the database's shape is not this release's, and was not mended, in words.
    """

    events: int
    differences: tuple[Difference, ...]
    leaves: Leaves
    indexes: tuple[str, ...]
    outbox: int
    lacking: tuple[str, ...]


def rebuild(
    engine: Engine,
    journal: Journal,
    holder: str,
    addresses: Mapping[str, Address] | None = None,
) -> Rebuilt:
    """Derive every state table and the tensor leaves anew, in one transaction.

    A follower that runs meanwhile is fenced off, and takes over again when this is done. What the
    tables come to is what the journal gives; whether that is the chain's, only the chain says.

    Args:
        engine: the index's database.
        journal: of the chain.
        holder: who rebuilds, for the cursor.
        addresses: of our contracts, where a manifest tells them.

    Raises:
        IndexDamaged: an event of the journal is not as it was read, or kept proofs show it
            otherwise; nothing was changed.
        IndexUnavailable: the database is locked, full or gone; likewise.
    """
    # Before anybody is held up: each event takes a fraction of a millisecond.
    with reading(engine) as connection:
        _require_unrefuted(connection, journal.chain_id, addresses)
    with writing(engine) as connection:
        journal.take_over(connection, holder)
        for table in _FOLDED.values():
            # Only this connection sees it, and it ends with the transaction.
            # No parameter: a statement that makes a table takes none on PostgreSQL.
            chain = f"{journal.chain_id:d}"
            of = f"SELECT * FROM {table.name} WHERE chain_id = {chain}"  # noqa: S608  our own
            connection.execute(text(f"CREATE TEMPORARY TABLE before_{table.name} AS {of}"))
        events = refold(connection, journal.chain_id)
        differences = []
        for name, table in _FOLDED.items():
            extra, missing = _compared(connection, table, journal.chain_id)
            if extra or missing:
                differences.append(Difference(name, extra, missing))
        for table in _FOLDED.values():
            connection.execute(text(f"DROP TABLE before_{table.name}"))
        outbox = _refile(connection, journal.chain_id)
        hold_documents(connection)
        leaves = examine(connection, journal.chain_id, repair=True)
        # A first backfill leaves them out, and makes them itself.
        under_way = not journal.cursor(connection).synced_at_ms
        indexes = [] if under_way else make_indexes(connection)
        unmended = lacking(connection, backfill=under_way)
        journal.release(connection)
    return Rebuilt(events, tuple(differences), leaves, tuple(indexes), outbox, tuple(unmended))


def _require_unrefuted(
    connection: Connection, chain_id: int, addresses: Mapping[str, Address] | None
) -> None:
    """See that no kept proof shows the journal otherwise: its tables may be right, and stay."""
    faults = Faults()
    for sentence in refuted(connection, chain_id, addresses):
        faults.add(sentence)
    verdict, said = faults.said("")
    if verdict == "fail":
        raise IndexDamaged(
            f"what is kept beside the journal contradicts it, so no tables are made of it: {said}",
            hint="nothing was changed; put a copy back (deed index restore, or pg_restore), or "
            "follow the chain into a new database; deed index audit says what else is wrong",
        )


def refold(connection: Connection, chain_id: int) -> int:
    """Empty the state tables and fold the whole journal anew; the number of logs folded.

    Events that an older release had no name for are folded with the others, and named.

    Raises:
        IndexDamaged: an event is of no shape that its contract emits, or lacks what it builds on.
    """
    clear(connection, chain_id)
    count, after = 0, (-1, -1)
    while rows := _page(connection, chain_id, after):
        state = Versions(connection, chain_id)
        events = [_read(row) for row in rows]
        preload(state, events)
        for row, (kind, arguments) in zip(rows, events, strict=True):
            at = Place(row.block, row.block_time, row.log_index, row.tx_hash)
            try:
                fold(state, kind, arguments, at, row.answer)
            except (LogFormatError, IndexUnavailable) as error:
                raise _unfolded(row, error) from error
        state.flush()
        _name(connection, chain_id, rows, [kind for kind, _ in events])
        count += len(rows)
        after = (rows[-1].block, rows[-1].log_index)
    return count


def _refile(connection: Connection, chain_id: int) -> int:
    """Have kept outbox entries name what their event is filed under; how many did not.

    A release may file an event otherwise than the one that told it, and what a follower tells of
    it from then on, such as that it was taken back, must go with what was told before.
    """
    table, count, since = tables.outbox, 0, (-1, -1)
    change = (
        update(table)
        .where(table.c.chain_id == chain_id, table.c.seq == bindparam("number"))
        .values(subjects=bindparam("filed"))
    )
    # Read and written by turns: a statement that is being read must not meet its own changes.
    while found := list(itertools.islice(misfiled(connection, chain_id, since), _ENTRIES_AT_ONCE)):
        connection.execute(change, [{"number": e.seq, "filed": filed} for e, filed in found])
        count += len(found)
        since = (found[-1][0].block, found[-1][0].log_index)
    return count


def _name(
    connection: Connection,
    chain_id: int,
    rows: Sequence[Any],
    kinds: Sequence[EventType | None],
) -> None:
    table = tables.raw_log
    for row, kind in zip(rows, kinds, strict=True):
        name = "" if kind is None else kind.name
        if name != row.event:
            connection.execute(
                update(table)
                .where(
                    table.c.chain_id == chain_id,
                    table.c.block == row.block,
                    table.c.log_index == row.log_index,
                )
                .values(event=name)
            )


def _page(connection: Connection, chain_id: int, after: tuple[int, int]) -> Sequence[Any]:
    """The next logs: whole blocks, since a block's events make one version of each entity."""
    logs, reads = tables.raw_log, tables.raw_read
    query = (
        select(
            *(logs.c[name] for name in _FIELDS),
            reads.c.answer,
        )
        .outerjoin(
            reads,
            (reads.c.chain_id == logs.c.chain_id)
            & (reads.c.block == logs.c.block)
            & (reads.c.log_index == logs.c.log_index),
        )
        .where(logs.c.chain_id == chain_id)
        .order_by(logs.c.block, logs.c.log_index)
    )
    place = tuple_(logs.c.block, logs.c.log_index)
    rows = list(connection.execute(query.where(place > tuple_(*after)).limit(_LOGS_AT_ONCE)).all())
    if len(rows) == _LOGS_AT_ONCE:
        last = (rows[-1].block, rows[-1].log_index)
        rest = query.where(logs.c.block == last[0], logs.c.log_index > last[1])
        rows += connection.execute(rest).all()
    return rows


def _read(row: Any) -> tuple[EventType | None, tuple[Stored, ...]]:
    try:
        tables.require_kinds(tables.raw_log, row)
        kind = EVENTS.get(row.contract, {}).get(row.topics[:32])
        return kind, () if kind is None else kind.arguments(row.topics, row.data)
    except (IndexDamaged, LogFormatError) as error:
        raise _unfolded(row, error) from error


def _unfolded(row: Any, error: LedgerError) -> IndexDamaged:
    """What is said of such an event here, where no endpoint showed it and none is asked."""
    return IndexDamaged(
        f"event {row.block}-{row.log_index} of the journal cannot be folded: {error.message}"
    )


def _compared(connection: Connection, table: Table, chain_id: int) -> tuple[int, int]:
    """Rows that only the table before had, and rows that only the one now has."""
    columns = ", ".join(column.name for column in table.columns)
    before = f"SELECT {columns} FROM before_{table.name}"  # noqa: S608  our own names
    now = f"SELECT {columns} FROM {table.name} WHERE chain_id = :chain_id"  # noqa: S608  as above
    found = [
        connection.execute(
            text(f"SELECT count(*) FROM ({one} EXCEPT {other}) AS only_one"),  # noqa: S608  as above
            {"chain_id": chain_id},
        ).scalar_one()
        for one, other in ((before, now), (now, before))
    ]
    return int(found[0]), int(found[1])


def compare_folded(connection: Connection, journal: Journal) -> tuple[int, list[Difference]]:
    """Fold the journal into a database of its own and hold it against the live tables.

    Nothing is written to the index, so a follower is not held up.

    Args:
        connection: a reading transaction that sees one state of the database.
        journal: of the chain.

    Returns:
        The number of events folded, and the tables that differ.
    """
    with _scratch() as scratch:
        for table in (tables.raw_log, tables.raw_read):
            _copy(connection, scratch, table, journal.chain_id)
        events = refold(scratch, journal.chain_id)
        differences = []
        for name, table in _FOLDED.items():
            extra, missing = _merged(
                _ordered(connection, table, journal.chain_id),
                _ordered(scratch, table, journal.chain_id),
            )
            if extra or missing:
                differences.append(Difference(name, extra, missing))
    return events, differences


@contextmanager
def _scratch() -> Iterator[Connection]:
    with tempfile.TemporaryDirectory(prefix="modeldeed-") as folder:
        engine = create_engine(f"sqlite:///{Path(folder) / 'folded.sqlite3'}")
        tables.metadata.create_all(engine)
        try:
            with engine.connect() as connection, connection.begin():
                yield connection
        finally:
            engine.dispose()


def _copy(source: Connection, target: Connection, table: Table, chain_id: int) -> None:
    rows = source.execute(
        select(table).where(table.c.chain_id == chain_id).execution_options(yield_per=_PAGE)
    )
    for part in rows.mappings().partitions():
        target.execute(insert(table), [dict(row) for row in part])


def _ordered(connection: Connection, table: Table, chain_id: int) -> Iterator[tuple[Any, ...]]:
    keys = table.primary_key.columns
    rows = connection.execute(
        select(table)
        .where(table.c.chain_id == chain_id)
        .order_by(*keys)
        .execution_options(yield_per=_PAGE)
    )
    for row in rows:
        yield tuple(bytes(v) if isinstance(v, memoryview) else v for v in row)


def _merged(live: Iterator[tuple[Any, ...]], folded: Iterator[tuple[Any, ...]]) -> tuple[int, int]:
    """How many rows only the first has, and only the second.

    Both come in the order of their keys, but two databases may order text differently; so rows
    that do not meet at once wait for each other.
    """
    extra: dict[tuple[Any, ...], int] = {}
    missing: dict[tuple[Any, ...], int] = {}
    for one, other in itertools.zip_longest(live, folded):
        if one == other:
            continue
        for row, mine, theirs in ((one, extra, missing), (other, missing, extra)):
            if row is None:
                continue
            if row in theirs:
                del theirs[row]
            else:
                mine[row] = 1
    return len(extra), len(missing)


def counted(connection: Connection, table: Table, chain_id: int) -> int:
    """Rows of a table that belong to a chain."""
    return int(
        connection.execute(
            select(func.count()).select_from(table).where(table.c.chain_id == chain_id)
        ).scalar_one()
    )
