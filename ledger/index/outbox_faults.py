"""Checks (4) and (5) of an audit: the outbox, read backwards from the journal as it is now.

The journal is a stack in the order of places: ``applied`` lays an event on top, ``retracted`` takes
the topmost off. So its entries, read from the newest to the oldest, must take the journal apart
again, whatever was pruned before them. What they say of finality is held against the
reorganisations, the only thing that takes blocks back; nothing here goes by a clock.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, case, exists, func, or_, select, tuple_

from ledger.index import tables
from ledger.index.faults import pages
from ledger.index.outbox import OutboxPlace

_ABOUT_EVENTS: Final = ("applied", "retracted")


def misshapen(connection: Connection, chain_id: int) -> Iterator[str]:
    """Entries of no kind that there is, or not of the shape of their kind."""
    table = tables.outbox
    query = (
        select(table.c.seq, table.c.kind)
        .where(
            table.c.chain_id == chain_id,
            or_(
                table.c.kind.not_in((*_ABOUT_EVENTS, "finalized")),
                and_(
                    table.c.kind == "finalized",
                    or_(
                        table.c.log_index.is_not(None),
                        table.c.block_hash.is_not(None),
                        table.c.event != "",
                        func.length(table.c.subjects) > 0,
                    ),
                ),
                and_(
                    table.c.kind != "finalized",
                    or_(table.c.log_index.is_(None), table.c.block_hash.is_(None)),
                ),
            ),
        )
        .order_by(table.c.seq)
    )
    for row in pages(connection, query):
        yield f"entry {row.seq} is called {row.kind}, and is not of that shape"


def miscounted(connection: Connection, chain_id: int, place: OutboxPlace) -> Iterator[str]:
    """Kinds of which other entries are kept than were ever written, less those forgotten."""
    table = tables.outbox
    found = connection.execute(
        select(table.c.kind, func.count().label("number"))
        .where(table.c.chain_id == chain_id, table.c.kind.in_(_ABOUT_EVENTS))
        .group_by(table.c.kind)
    )
    kept = dict.fromkeys(_ABOUT_EVENTS, 0) | {row.kind: row.number for row in found}
    forgotten = place.applied - kept["applied"], place.retracted - kept["retracted"]
    if min(forgotten) < 0 or sum(forgotten) > place.pruned_seq:
        yield (
            f"{place.applied} applied and {place.retracted} retracted were ever written, of which "
            f"{kept['applied']} and {kept['retracted']} are kept and {place.pruned_seq} entries "
            "were forgotten"
        )


def untrue(connection: Connection, chain_id: int) -> Iterator[str]:
    """Entries that do not lead to the journal, up to the first from which nothing more follows.

    Memory: the number of an event that was taken back, until its own entry is met.
    """
    table, logs = tables.outbox, tables.raw_log
    live = pages(
        connection,
        select(logs.c.block, logs.c.log_index, logs.c.block_hash, logs.c.event)
        .where(logs.c.chain_id == chain_id)
        .order_by(logs.c.block.desc(), logs.c.log_index.desc()),
    )
    entries = pages(
        connection,
        select(table)
        .where(table.c.chain_id == chain_id, table.c.kind != "finalized")
        .order_by(table.c.seq.desc()),
    )
    # The journal of the moment: what is still there, and what was taken back later, above it.
    below, above = next(live, None), array("q")
    top = below
    for entry in entries:
        if entry.log_index is None or entry.block_hash is None or entry.kind not in _ABOUT_EVENTS:
            return  # `misshapen` says so
        at = f"{entry.block}-{entry.log_index}"
        if entry.kind == "retracted":
            if top is not None and _place(entry) <= _place(top):
                yield (
                    f"entry {entry.seq} takes back event {at}, above which there was "
                    f"{top.block}-{top.log_index} then"
                )
                return
            above.append(entry.seq)
            top = entry
            continue
        # Also an event of the journal that has no entry ends here, if it lies above the first one
        # that has a kept entry: only a prefix of the numbers is pruned or left out by a backfill,
        # and of what is in the journal the order of numbers is the order of places. What is left
        # of the journal at the end was told by that prefix; `miscounted` holds it to its length.
        if top is None or _event(entry) != _event(top):
            belongs = "none" if top is None else f"{top.block}-{top.log_index}, or its other form,"
            yield f"entry {entry.seq} applies event {at}, where by what follows {belongs} belongs"
            return
        # A release that had no name for it told it without; a rebuild has named it since.
        unnamed = entry.event == "" and not entry.subjects
        if entry.event != top.event and not unnamed:
            yield f"entry {entry.seq} calls event {at} by another name than it has since"
        if above:
            if entry.subjects != top.subjects and not unnamed:
                yield f"entry {entry.seq} names other subjects than entry {top.seq}, of the same"
            above.pop()
        else:
            below = next(live, None)
        top = _entry(connection, chain_id, above[-1]) if above else below


def _place(row: Row[Any]) -> tuple[int, int]:
    return row.block, row.log_index


def _event(row: Row[Any]) -> tuple[int, int, bytes]:
    return row.block, row.log_index, bytes(row.block_hash)


def _entry(connection: Connection, chain_id: int, seq: int) -> Row[Any]:
    table = tables.outbox
    return connection.execute(
        select(table).where(table.c.chain_id == chain_id, table.c.seq == seq)
    ).one()


def misfiled(
    connection: Connection, chain_id: int, since: tuple[int, int] = (-1, -1)
) -> Iterator[tuple[Row[Any], bytes]]:
    """Entries that name other subjects than the journal's event is filed under, with those.

    Args:
        connection: any transaction.
        chain_id: of the chain.
        since: the place of the first event, in whose order they come.
    """
    table, logs, link = tables.outbox, tables.raw_log, tables.log_subject
    entries = pages(
        connection,
        select(table.c.seq, table.c.block, table.c.log_index, table.c.subjects)
        .join(
            logs,
            and_(
                logs.c.chain_id == table.c.chain_id,
                logs.c.block == table.c.block,
                logs.c.log_index == table.c.log_index,
                logs.c.block_hash == table.c.block_hash,
                logs.c.event == table.c.event,
            ),
        )
        .where(table.c.chain_id == chain_id)
        .order_by(table.c.block, table.c.log_index, table.c.seq),
    )
    filed = pages(
        connection,
        select(link.c.block, link.c.log_index, link.c.subject)
        .where(
            link.c.chain_id == chain_id, tuple_(link.c.block, link.c.log_index) >= tuple_(*since)
        )
        .order_by(link.c.block, link.c.log_index, link.c.subject),
    )
    subject, at, whole = next(filed, None), (-1, -1), b""
    for entry in entries:
        # Asked of the database, SQLite would go through all entries for each event.
        if (entry.block, entry.log_index) < since:
            continue
        if (entry.block, entry.log_index) != at:
            at, whole = (entry.block, entry.log_index), b""
            while subject is not None and (subject.block, subject.log_index) <= at:
                if (subject.block, subject.log_index) == at:
                    whole += bytes(subject.subject)
                subject = next(filed, None)
        if bytes(entry.subjects) != whole:
            yield entry, whole


def unfounded(connection: Connection, chain_id: int, cursor_block: int) -> Iterator[str]:
    """Entries that no order of steps and of this chain's reorganisations can have written.

    What was called final had been read; so had what lies above the cursor now. It comes again, or
    is gone, only where a reorganisation took that block back: the first that went below it began
    above it. Without an entry, where it held no events.
    """
    table = tables.outbox
    final = func.max(case((table.c.kind == "finalized", table.c.block))).over(
        order_by=table.c.seq, rows=(None, -1)
    )
    entry = (
        select(table.c.seq, table.c.kind, table.c.block, final.label("final"))
        .where(table.c.chain_id == chain_id)
        .subquery()
    )
    query = (
        select(entry)
        .where(
            or_(
                and_(entry.c.kind != "retracted", entry.c.block <= entry.c.final),
                entry.c.block > cursor_block,
            ),
            ~_taken_back(chain_id, entry.c.block),
        )
        .order_by(entry.c.seq)
    )
    for row in pages(connection, query):
        if row.block > cursor_block:
            yield f"entry {row.seq} speaks of block {row.block}, which was never read"
        else:
            yield (
                f"entry {row.seq} is {row.kind} at block {row.block}, after all up to "
                f"{row.final} was called final"
            )


def _taken_back(chain_id: int, block: ColumnElement[int]) -> ColumnElement[bool]:
    reorg = tables.reorg
    return exists().where(
        reorg.c.chain_id == chain_id, reorg.c.ancestor < block, block <= reorg.c.old_head
    )


def misplaced(connection: Connection, chain_id: int, place: OutboxPlace) -> Iterator[str]:
    """How far the place says that finality was told, where the newest kept entry says otherwise."""
    table, reorg = tables.outbox, tables.reorg
    told = connection.execute(
        select(table.c.block)
        .where(table.c.chain_id == chain_id, table.c.kind == "finalized")
        .order_by(table.c.seq.desc())
        .limit(1)
    ).scalar_one_or_none()
    if told is None or place.final_block == told:
        return
    lowered = connection.execute(
        select(reorg.c.id)
        .where(reorg.c.chain_id == chain_id, reorg.c.ancestor == place.final_block)
        .limit(1)
    ).scalar_one_or_none()
    if place.final_block > told or lowered is None:
        yield f"block {told} was the last to be called final, and it says {place.final_block}"


def unorphaned(connection: Connection, chain_id: int) -> Iterator[str]:
    """Entries of events taken back that are not among those taken back, under that name."""
    table, gone = tables.outbox, tables.orphan_log
    same = exists().where(
        gone.c.chain_id == table.c.chain_id,
        gone.c.block == table.c.block,
        gone.c.log_index == table.c.log_index,
        gone.c.block_hash == table.c.block_hash,
        gone.c.event == table.c.event,
    )
    query = (
        select(table.c.seq, table.c.block, table.c.log_index)
        .where(table.c.chain_id == chain_id, table.c.kind == "retracted", ~same)
        .order_by(table.c.seq)
    )
    for row in pages(connection, query):
        yield (
            f"the outbox takes event {row.block}-{row.log_index} back in entry {row.seq}, and it "
            "is not among the retracted ones"
        )
