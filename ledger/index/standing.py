"""Where the index stands, in one read: what operators, readiness and metrics show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select, union

from ledger.errors import IndexDamaged
from ledger.index import tables
from ledger.index.evidence_store import Coverage, EvidenceStore
from ledger.index.journal import Cursor, Journal
from ledger.index.outbox import OutboxPlace

REORGS_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Reorganisation:
    """One rollback, as the table ``reorg`` remembers it."""

    ancestor: int
    old_head: int
    depth: int
    past_finality: bool
    detected_at_ms: int
    accepted_by: str | None
    accepted_why: str | None

    def to_json(self) -> dict[str, Any]:
        """For the command."""
        return {
            "ancestor": self.ancestor,
            "old_head": self.old_head,
            "depth": self.depth,
            "past_finality": self.past_finality,
            "detected_at": self.detected_at_ms / 1000,
            "accepted_by": self.accepted_by,
            "accepted_why": self.accepted_why,
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """The whole.

    Attributes:
        cursor: the follower's.
        reorgs: how many there were; `last_reorgs` the newest of them, newest first.
        deepest: blocks of the deepest.
        events: in the journal.
        orphans: events that were taken back.
        outbox: its place.
        coverage: of the evidence store.
    """

    cursor: Cursor
    reorgs: int
    last_reorgs: tuple[Reorganisation, ...]
    deepest: int
    events: int
    orphans: int
    outbox: OutboxPlace
    coverage: Coverage

    def lag_s(self, now: float) -> float | None:
        """Seconds since the index stood on the chain's head; None before it ever did."""
        return self.cursor.lag_s(now)


def chains(connection: Connection) -> tuple[int, ...]:
    """Ids of all chains that were ever followed into this database, in rising order."""
    found = tables.cursor.c.chain_id
    # Of one whose cursor is gone there is more to be said than that nothing was followed.
    every = union(select(found), select(tables.chain.c.chain_id)).order_by(found)
    return tuple(connection.execute(every).scalars())


def standing(connection: Connection, chain_id: int) -> Standing:
    """Read it, inside the caller's transaction.

    Raises:
        IndexUnavailable: nothing was followed into this database yet.
        IndexDamaged: what is there is not of its kind.
    """
    journal = Journal(chain_id)
    cursor = journal.cursor(connection)
    table = tables.reorg
    count, deepest = connection.execute(
        select(func.count(), func.max(table.c.depth)).where(table.c.chain_id == chain_id)
    ).one()
    last = connection.execute(
        select(*[table.c[name] for name in Reorganisation.__dataclass_fields__])
        .where(table.c.chain_id == chain_id)
        .order_by(table.c.id.desc())
        .limit(REORGS_SHOWN)
    ).all()
    for row in last:
        tables.require_kinds(table, row)
    if not isinstance(deepest, int | None):
        raise IndexDamaged("depth of reorg in the index database is not of its kind")
    journal.outbox.require_place(connection)
    place = journal.outbox.place(connection)
    gone = connection.execute(
        select(func.count())
        .select_from(tables.orphan_log)
        .where(tables.orphan_log.c.chain_id == chain_id)
    ).scalar_one()
    return Standing(
        cursor=cursor,
        reorgs=int(count),
        last_reorgs=tuple(Reorganisation(*row) for row in last),
        deepest=deepest or 0,
        # Counted as they come and go, so that a scrape does not count a million rows.
        events=place.applied - place.retracted,
        orphans=int(gone),
        outbox=place,
        coverage=EvidenceStore(chain_id).coverage(connection),
    )
