"""From the outbox to deliveries: what each endpoint is to get, and how far the outbox was read.

Any number of processes may do this at once. Each reads from the place at which the table says the
outbox was left, and writes what it made only if that place is still the same; so every entry is
spread once, in order, and a process killed in between has done all of a page or nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, delete, exists, func, or_, select, update

from ledger.errors import UnknownRecord
from ledger.index import tables
from ledger.index.as_of import AsOf
from ledger.index.database import writing
from ledger.index.outbox import Entry, Outbox, Spoken
from ledger.index.views import Index, Snapshot
from ledger.index.webhook_tables import (
    webhook_delivery,
    webhook_endpoint,
    webhook_message,
    webhook_place,
)
from ledger.webhooks.filters import APPLIED, EXPIRING, FINALIZED, MISSED, RETRACTED, Filter
from ledger.webhooks.keeping import Addressed, keep, origin_of, place_of
from ledger.webhooks.messages import Origin, event_members

PAGE: Final = 500
"""Entries of the outbox that one transaction spreads."""

KEPT_MS: Final = 30 * 86_400_000
KEPT_REMINDERS_MS: Final = 400 * 86_400_000
"""Longer than any reminder runs ahead, since a delivery is how it is known to have been sent."""
_IDS_AT_ONCE: Final = 500

Place = tuple[int, int, bytes]


@dataclass(frozen=True, slots=True)
class Listener:
    """An endpoint as spreading sees it."""

    id: str
    filter: Filter
    since_seq: int


class Spreader:
    """Makes messages of one index's outbox.

    Args:
        index: whose.
        write_as_of: the ``as_of`` member that answers of the service have, from a snapshot's.
    """

    def __init__(self, index: Index, write_as_of: Callable[[AsOf], dict[str, Any]]) -> None:
        self._index = index
        self._write_as_of = write_as_of

    def spread(self) -> bool | None:
        """Spread the next page of entries; whether there was one. None: nobody ever asked for any.

        Raises:
            IndexUnavailable: the database does not answer.
        """
        with self._index.reading() as connection:
            begun = place_of(connection, self._index.chain_id)
            last = self._index.journal.outbox.place(connection).last_seq
        if begun is None or begun >= last:
            return None if begun is None else False
        with self._index.snapshot() as snapshot:
            listeners = self._listeners(snapshot.connection)
            if listeners:
                reached, made = self._page(snapshot, begun, listeners)
            else:
                reached, made = self._index.journal.outbox.place(snapshot.connection).last_seq, []
        return self._keep(begun, reached, made)

    def _keep(self, begun: int, reached: int, made: Sequence[Addressed]) -> bool:
        table, chain_id = webhook_place, self._index.chain_id
        with writing(self._index.engine) as connection:
            moved = connection.execute(
                update(table)
                .where(table.c.chain_id == chain_id, table.c.after_seq == begun)
                .values(after_seq=reached)
            )
            if moved.rowcount == 1:
                keep(connection, chain_id, made, int(self._index.now() * 1000))
        return True

    def _listeners(self, connection: Connection) -> list[Listener]:
        table = webhook_endpoint
        rows = connection.execute(
            select(table.c.id, table.c.filters, table.c.since_seq).where(
                table.c.chain_id == self._index.chain_id, table.c.enabled
            )
        )
        return [Listener(row.id, Filter.parse(row.filters), row.since_seq) for row in rows]

    def _page(
        self, snapshot: Snapshot, begun: int, listeners: Sequence[Listener]
    ) -> tuple[int, list[Addressed]]:
        connection, outbox = snapshot.connection, self._index.journal.outbox
        origin = origin_of(connection, self._index.chain_id)
        as_of = self._write_as_of(snapshot.as_of)
        now = self._index.now()
        try:
            page = outbox.read(connection, after=begun, limit=PAGE)
        except UnknownRecord:
            resumed = outbox.place(connection).pruned_seq
            id_ = origin.id("missed", after=begun, resumed_at=resumed)
            message = origin.message(
                MISSED, id_, now, as_of, sequence=resumed, after=begun, resumed_at=resumed
            )
            return resumed, [Addressed(message, frozenset(each.id for each in listeners))]
        return page.after, _Pages(snapshot, origin, as_of, listeners, begun).made(page.entries)

    def prune(self) -> None:
        """Forget deliveries that are long done with, and bodies that no delivery needs."""
        now_ms = int(self._index.now() * 1000)
        with writing(self._index.engine) as connection:
            made, kept = webhook_delivery, webhook_message
            reminders = select(kept.c.id).where(kept.c.type == EXPIRING)
            connection.execute(
                delete(made).where(
                    made.c.state.in_(("delivered", "dead")),
                    or_(
                        made.c.done_at_ms < now_ms - KEPT_REMINDERS_MS,
                        and_(
                            made.c.done_at_ms < now_ms - KEPT_MS,
                            made.c.message.not_in(reminders),
                        ),
                    ),
                )
            )
            gone = ~exists().where(webhook_endpoint.c.id == made.c.endpoint)
            connection.execute(delete(made).where(gone))
            unused = ~exists().where(made.c.message == kept.c.id)
            # What is being made in this moment has no delivery yet.
            connection.execute(delete(kept).where(kept.c.made_at_ms < now_ms - KEPT_MS, unused))


class _Pages:
    """One page of entries, and what is looked up for all of it at once."""

    def __init__(
        self,
        snapshot: Snapshot,
        origin: Origin,
        as_of: dict[str, Any],
        listeners: Sequence[Listener],
        begun: int,
    ) -> None:
        self._snapshot = snapshot
        self._origin = origin
        self._as_of = as_of
        self._listeners = listeners
        self._begun = begun
        # Who is told of an event on this very page, and by which message.
        self._told: dict[str, frozenset[str]] = {}

    def made(self, entries: Sequence[Entry]) -> list[Addressed]:
        connection = self._snapshot.connection
        logs = Outbox(self._snapshot.chain_id).logs(connection, entries)
        returned = self._returned(entries)
        holders = self._holders(entries)
        found = (self._of_entry(entry, logs, returned, holders) for entry in entries)
        return [each for each in found if each is not None and each.to]

    def _of_entry(
        self,
        entry: Entry,
        logs: Mapping[Place, Spoken],
        returned: _Returned,
        holders: _Holders,
    ) -> Addressed | None:
        meant = [each for each in self._listeners if entry.seq > each.since_seq]
        if entry.kind == "finalized":
            id_ = self._origin.id("finalized", block=entry.block, sequence=entry.seq)
            to = frozenset(each.id for each in meant if FINALIZED in each.filter.types)
            at = entry.created_at_ms / 1000
            more: dict[str, Any] = {"block": entry.block}
            message = self._origin.message(
                FINALIZED, id_, at, self._as_of, sequence=entry.seq, **more
            )
            return Addressed(message, to)
        assert entry.log_index is not None
        assert entry.block_hash is not None
        place = (entry.block, entry.log_index, entry.block_hash)
        spoken = logs.get(place)
        if spoken is None:
            return None  # an orphan that somebody deleted by hand
        row, times = spoken.row, returned.before(entry, place)
        licensors = holders.of(entry)
        id_ = self._origin.event_id("applied", row, times)
        to = frozenset(
            each.id for each in meant if each.filter.event(entry.event, entry.subjects, licensors)
        )
        type_, at, more = APPLIED, float(row["block_time"]), {}
        if entry.kind == "applied":
            finality = self._snapshot.as_of.finality(entry.block) if spoken.live else "retracted"
        else:
            type_, at, finality = RETRACTED, entry.created_at_ms / 1000, "retracted"
            more = {"retracts": id_}
            # Whoever was told of it is told that it is no more, whatever the filter says now.
            to |= self._told_of(id_)
            id_ = self._origin.event_id("retracted", row, times)
        to &= {each.id for each in meant if type_ in each.filter.types}
        if entry.kind == "applied":
            self._told[id_] = to
        more["event"] = event_members(row, entry.subjects, finality)
        return Addressed(
            self._origin.message(type_, id_, at, self._as_of, sequence=entry.seq, **more), to
        )

    def _told_of(self, id_: str) -> frozenset[str]:
        table = webhook_delivery
        rows = self._snapshot.connection.execute(
            select(table.c.endpoint).where(table.c.message == id_)
        )
        return self._told.get(id_, frozenset()) | frozenset(rows.scalars())

    def _returned(self, entries: Sequence[Entry]) -> _Returned:
        orphan, chain_id = tables.orphan_log, self._snapshot.chain_id
        blocks = {entry.block for entry in entries if entry.log_index is not None}
        counted = self._snapshot.connection.execute(
            select(orphan.c.block, orphan.c.log_index, orphan.c.block_hash, func.count())
            .where(orphan.c.chain_id == chain_id, orphan.c.block.in_(blocks))
            .group_by(orphan.c.block, orphan.c.log_index, orphan.c.block_hash)
        )
        totals = {(b, i, bytes(h)): int(n) for b, i, h, n in counted}
        later: dict[Place, list[int]] = defaultdict(list)
        if totals:
            box = tables.outbox
            rows = self._snapshot.connection.execute(
                select(box.c.seq, box.c.block, box.c.log_index, box.c.block_hash).where(
                    box.c.chain_id == chain_id,
                    box.c.seq > self._begun,
                    box.c.kind == "retracted",
                    box.c.block.in_({block for block, _, _ in totals}),
                )
            )
            for seq, block, index, hash_ in rows:
                later[block, index, bytes(hash_)].append(seq)
        return _Returned(totals, later)

    def _holders(self, entries: Sequence[Entry]) -> _Holders:
        if not any(each.filter.licensors for each in self._listeners):
            return _Holders({})
        table, found = tables.model, defaultdict(list)
        subjects = sorted({each for entry in entries for each in entry.subjects})
        for at in range(0, len(subjects), _IDS_AT_ONCE):
            rows = self._snapshot.connection.execute(
                select(
                    table.c.model_id, table.c.licensor, table.c.born_block, table.c.died_block
                ).where(
                    table.c.chain_id == self._snapshot.chain_id,
                    table.c.model_id.in_(subjects[at : at + _IDS_AT_ONCE]),
                )
            )
            for model_id, licensor, born, died in rows:
                found[bytes(model_id)].append((bytes(licensor), born, died))
        return _Holders(found)


@dataclass(frozen=True, slots=True)
class _Returned:
    """How often events were taken back: in all, and by which entries after this page's beginning.

    Counted from the orphans, which are kept for ever, so that it is the same however late an entry
    is spread.
    """

    totals: Mapping[Place, int]
    later: Mapping[Place, Sequence[int]]

    def before(self, entry: Entry, place: Place) -> int:
        """How often the event had been taken back before it was applied, or applied last."""
        from_here = sum(seq >= entry.seq for seq in self.later.get(place, ()))
        return max(0, self.totals.get(place, 0) - from_here)


@dataclass(frozen=True, slots=True)
class _Holders:
    """Who held the titles of models, by the state's versions: licensor, born and died block."""

    versions: Mapping[bytes, Sequence[tuple[bytes, int, int | None]]]

    def of(self, entry: Entry) -> frozenset[bytes]:
        """Who holds a title that an event concerns, or held it until this very block."""
        return frozenset(
            licensor
            for subject in entry.subjects
            for licensor, born, died in self.versions.get(subject, ())
            if born <= entry.block and (died is None or died >= entry.block)
        )
