"""How much of a chain's evidence is said to be there, and how much there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Connection, Select, Table, func, insert, select, update

from ledger.errors import IndexDamaged
from ledger.index import tables
from ledger.index.event_proofs import KINDS
from ledger.index.evidence_rows import owned, same_block, same_event
from ledger.index.evidence_store import EvidenceStore
from ledger.index.journal import Journal
from ledger.index.strays import Strays, block_of


@dataclass(frozen=True, slots=True)
class Account:
    """How far proofs were taken and how many there are: as it is written, and by what is there.

    Attributes:
        written, found: next block, events with every proof, proofs that are lost, bytes.
        called_lost: events that were counted as proved and of which a proof is said to be lost now.
    """

    written: tuple[int, int, int, int] | None
    found: tuple[int, int, int, int] | None
    called_lost: int = 0

    @classmethod
    def of(cls, connection: Connection, store: EvidenceStore, strays: Strays) -> Self:
        """Count, which takes a while.

        Proofs are taken in order, so those of the newest event say how far: where its entries are
        gone, too, its header among the strays does.

        Raises:
            IndexDamaged: what is there is no number.
        """
        cursor = Journal(store.chain_id).cursor(connection)
        place, link, logs = store.place(connection), tables.evidence, tables.raw_log
        of = logs.c.chain_id == store.chain_id
        newest = select(func.max(logs.c.block)).join(link, same_event()).where(of)
        last = connection.execute(newest).scalar_one()
        if not isinstance(last, int | None):
            raise IndexDamaged("block of raw_log in the index database is not of its kind")
        marks = [] if last is None else [last + 1]
        if place is not None:
            marks.append(place.next_block)
        if any(subject[0] == "header" for subject in strays.hashes):
            rows = connection.execute(select(logs.c.block_hash, logs.c.block).distinct().where(of))
            blocks = (block_of(logs, row) for row in rows)
            marks += [n + 1 for n, hash_ in blocks if ("header", hash_) in strays.hashes]
        written = (
            None if place is None else (place.next_block, place.events, place.lost, place.bytes)
        )
        if not marks and not store.speaks(connection):
            return cls(written, None)
        final = min(cursor.finalized, cursor.block)
        # Where all that was proved was taken back, what comes is to be proved from the beginning.
        reached = min(max(marks, default=1), final + 1)
        _, lost = store.tally(connection)
        events, unsure = meant(connection, store.chain_id, reached)
        if place is not None:
            events = min(max(events, place.events), events + unsure)
        called = 0 if place is None else _called_lost(connection, store.chain_id, place.lost)
        return cls(written, (reached, events, lost, store.size(connection)), called)

    @property
    def right(self) -> bool:
        """Whether what is written is what was found."""
        return self.found is None or self.found == self.written

    @property
    def fewer(self) -> int:
        """How many events fewer there are than are written."""
        return max(0, self.written[1] - self.found[1]) if self.written and self.found else 0

    def settle(self, connection: Connection, store: EvidenceStore, *, lower: bool) -> bool:
        """Write what was found; not where somebody has written since, and False then.

        Args:
            connection: a transaction that writes.
            store: of the chain.
            lower: whether fewer events are set, too: nothing else may tell that some are gone.
        """
        table, place = tables.evidence_place, store.place(connection)
        now = None if place is None else (place.next_block, place.events, place.lost, place.bytes)
        if now != self.written or self.found is None:
            return self.found is None
        names = ("next_block", "events", "lost", "bytes")
        values = dict(zip(names, self.found, strict=True))
        values["events"] += 0 if lower else max(0, self.fewer - self.called_lost)
        if place is None:
            connection.execute(insert(table).values(chain_id=store.chain_id, **values))
        else:
            of = table.c.chain_id == store.chain_id
            connection.execute(update(table).where(of).values(**values))
        return True


def _called_lost(connection: Connection, chain_id: int, counted: int) -> int:
    """Of how many events more a proof is said to be lost than the lost ones that are counted have.

    Args:
        connection: a transaction that reads.
        chain_id: whose events.
        counted: lost proofs, of the fewest events that have as many.
    """
    link = tables.evidence
    lost = func.count(link.c.lost).label("n")
    of_each = (
        select(lost)
        .where(link.c.chain_id == chain_id, link.c.kind.in_(KINDS))
        .group_by(link.c.block, link.c.block_hash, link.c.log_index)
        .having(lost > 0)
        .subquery()
    )
    query = select(of_each.c.n, func.count()).group_by(of_each.c.n).order_by(of_each.c.n.desc())
    counted, more = max(0, counted), 0
    for proofs, events in connection.execute(query):
        known = min(events, -(-counted // proofs))
        counted = max(0, counted - known * proofs)
        more += events - known
    return more


def meant(connection: Connection, chain_id: int, below: int) -> tuple[int, int]:
    """Events that were to have every proof: none is said to be lost, though all may be gone.

    Args:
        connection: a transaction that reads.
        chain_id: whose events.
        below: events of blocks of the journal below were harvested.

    Returns:
        Those with entries; and those of which nothing says whether they were counted: events that
        have none any more, of the journal and retracted ones in whose block others have some, and
        entries of no event.
    """
    link, logs, gone = tables.evidence, tables.raw_log, tables.orphan_log
    spoken_of = (
        select(link.c.log_index)
        .where(link.c.chain_id == chain_id, link.c.kind.in_(KINDS))
        .group_by(link.c.block, link.c.block_hash, link.c.log_index)
        .having(func.count(link.c.lost) == 0)
    )

    def silent(events: Table) -> Select[Any]:
        entry = select(link.c.kind).where(same_event(events), link.c.kind.in_(KINDS))
        return (
            select(events.c.block, events.c.block_hash, events.c.log_index)
            .distinct()
            .where(events.c.chain_id == chain_id, ~entry.exists())
        )

    live = silent(logs).where(logs.c.block < below)
    beside = select(link.c.kind).where(same_block(gone), link.c.kind.in_(KINDS))
    retracted = silent(gone).where(beside.exists())
    counts = [
        int(connection.execute(select(func.count()).select_from(each.subquery())).scalar_one())
        for each in (spoken_of.where(owned()), live, retracted, spoken_of.where(~owned()))
    ]
    return counts[0], sum(counts[1:])
