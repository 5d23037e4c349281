"""What the evidence store lacks of what it harvested, and what puts it right at an operator's word.

Harvesting goes forward only (`ledger.index.evidence_store`). Here all of it is gone over again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection, Row, ScalarSelect, func, insert, select, update

from ledger.errors import LedgerError
from ledger.index import tables
from ledger.index.event_proofs import KINDS, Gathered, verify_event
from ledger.index.evidence_rows import same_event, same_proof, spoilt
from ledger.index.evidence_store import EvidenceStore
from ledger.index.faults import proved

_PAGE: Final = 500


def wanting(connection: Connection, store: EvidenceStore) -> dict[int, int]:
    """How many proofs each block lacks that was harvested: all are looked through.

    A proof is lacking where none is on record, where it could not be had, where its bytes are
    gone or not those that were kept, and where it does not lead to its event's block.
    """
    place = store.place(connection)
    if place is None:
        return {}
    logs = tables.raw_log
    events = (
        select(logs.c.block, (len(KINDS) - _held()).label("lacks"))
        .where(logs.c.chain_id == store.chain_id, logs.c.block < place.next_block)
        .subquery()
    )
    lacks = {
        int(block): int(count)
        for block, count in connection.execute(
            select(events.c.block, func.sum(events.c.lacks))
            .where(events.c.lacks > 0)
            .group_by(events.c.block)
        )
    }
    link, found = tables.evidence, spoilt(connection)
    while some := list(islice(found, _PAGE)):
        named = select(link.c.block).join(logs, same_event()).where(link.c.hash.in_(some))
        for block in connection.execute(named).scalars():
            lacks[block] = lacks.get(block, 0) + 1
    for event, kept in proved(connection, store.chain_id):
        try:
            verify_event(event, kept)
        except LedgerError:
            lacks.setdefault(event.block, len(kept))
    return dict(sorted(lacks.items()))


def _held() -> ScalarSelect[int]:
    """How many proofs of an event of `raw_log` are there, in a query of it."""
    link, stored = tables.evidence, tables.proof
    return (
        select(func.count())
        .select_from(link)
        .join(stored, same_proof())
        .where(same_event(), link.c.kind.in_(KINDS))
        .correlate(tables.raw_log)
        .scalar_subquery()
    )


def mend(
    connection: Connection,
    store: EvidenceStore,
    events: Sequence[Row[Any]],
    gathered: Gathered,
) -> tuple[int, list[str]]:
    """Store what one block lacked and could be had after all.

    Args:
        connection: a transaction that writes.
        store: of the chain.
        events: the journal's entries of that block.
        gathered: of them.

    Returns:
        How many proofs that is, and why each of the others still lacks.
    """
    place = tables.evidence_place
    store.place(connection, hold=True)
    block, hash_ = int(events[0].block), bytes(events[0].block_hash)
    filed = store.file(connection, block, hash_, gathered, events)
    connection.execute(
        update(place)
        .where(place.c.chain_id == store.chain_id)
        .values(
            events=place.c.events + filed.events,
            lost=place.c.lost + filed.lost,
            bytes=place.c.bytes + filed.size,
        )
    )
    return filed.proofs, list(filed.lacking)


def recount(connection: Connection, store: EvidenceStore, final: int) -> None:
    """Set the counts, and how far proofs were taken, to what is on record, whatever they were.

    Args:
        connection: a transaction that writes.
        store: of the chain.
        final: the last block that is final, beyond which none are taken.
    """
    held = store.place(connection, hold=True)
    link, table = tables.evidence, tables.evidence_place
    if held is None:
        newest = select(func.max(link.c.block)).where(link.c.chain_id == store.chain_id)
        last = connection.execute(newest).scalar_one()
        if last is None:
            return
        reached = {"chain_id": store.chain_id, "next_block": last + 1}
        connection.execute(insert(table).values(**reached, events=0, lost=0, bytes=0))
    else:
        last = held.next_block - 1
    events, lost = store.tally(connection)
    connection.execute(
        update(table)
        .where(table.c.chain_id == store.chain_id)
        .values(
            next_block=min(last, final) + 1,
            events=events,
            lost=lost,
            bytes=store.size(connection),
        )
    )
