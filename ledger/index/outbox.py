"""What happened to the journal, as rows that others can follow by number (docs/spec/index.md).

Every row is written in the transaction that did what it says. Writers are serialised by the cursor,
so numbers rise without gaps in the order of commits, and whoever has read up to one number has
missed nothing before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from ledger.errors import IndexDamaged, UnknownRecord
from ledger.index import tables
from ledger.index.bulk import insert_rows
from ledger.index.packed import Told

Kind = Literal["applied", "retracted", "finalized"]

KEPT_DAYS: Final = 30
"""Days that an entry is kept: longer than any receiver should be away."""

SUBJECT: Final = 32
_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One row.

    Attributes:
        seq: its number; the next entry has the next number.
        kind: ``applied``: the event is in the journal; ``retracted``: a reorganisation took it
            back; ``finalized``: every event up to and including `block` is final.
        block, log_index, block_hash: the event's place; the last two are None in ``finalized``.
        event: its name, empty in ``finalized`` and for events this release has no name for.
        subjects: models, licenses, roots … that it concerns, 32 bytes each.
        created_at_ms: Unix milliseconds.
    """

    seq: int
    kind: Kind
    block: int
    log_index: int | None
    block_hash: bytes | None
    event: str
    subjects: tuple[bytes, ...]
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """An event that an entry speaks of.

    Attributes:
        row: with the columns of `ledger.index.tables.raw_log`.
        live: whether it is in the journal now, rather than taken back.
    """

    row: Mapping[Any, Any]
    live: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in order, and the number to read on from: `entries` may be few though more follow."""

    entries: tuple[Entry, ...]
    after: int


@dataclass(frozen=True, slots=True)
class OutboxPlace:
    """Where the outbox stands.

    Attributes:
        last_seq: number of the newest entry, 0 before the first.
        pruned_seq: entries up to this number are no longer kept.
        final_block: the block up to which ``finalized`` was told.
        applied, retracted: entries of these kinds ever written.
    """

    last_seq: int = 0
    pruned_seq: int = 0
    final_block: int = -1
    applied: int = 0
    retracted: int = 0


class Outbox:
    """One chain's outbox in one database; every method runs inside the caller's transaction.

    Those that write need the cursor's row to be locked by the caller, as a moved cursor is.
    """

    def __init__(self, chain_id: int) -> None:
        self.chain_id = chain_id

    def place(self, connection: Connection) -> OutboxPlace:
        """Where it stands; zeros before the first entry.

        Raises:
            IndexDamaged: what is there is none.
        """
        table = tables.outbox_place
        row = connection.execute(
            select(*[table.c[name] for name in OutboxPlace.__dataclass_fields__]).where(
                table.c.chain_id == self.chain_id
            )
        ).one_or_none()
        if row is None:
            return OutboxPlace()
        tables.require_kinds(table, row)
        return OutboxPlace(*row)

    def require_place(self, connection: Connection) -> None:
        """See that a journal with events has its place here, or counts and numbers begin anew.

        Raises:
            IndexDamaged: it has none.
        """
        place, logs = tables.outbox_place, tables.raw_log
        own = select(place.c.last_seq).where(place.c.chain_id == self.chain_id)
        # In one statement: the first of both may come between two.
        query = select(logs.c.block).where(logs.c.chain_id == self.chain_id, ~own.exists())
        if connection.execute(query.limit(1)).first() is not None:
            raise IndexDamaged("outbox_place is gone, and the journal has events")

    # -- writing -------------------------------------------------------------------------------

    def applied(
        self,
        connection: Connection,
        logs: Sequence[Told],
        filed: Iterable[tuple[bytes, int, int]],
        now_ms: int,
    ) -> None:
        """Say that these events came into the journal.

        Args:
            connection: the transaction that adds them.
            logs: the events, in chain order.
            filed: what they concern: subject, block, log index.
            now_ms: Unix milliseconds.
        """
        if not logs:
            return
        subjects: dict[tuple[int, int], bytes] = {}
        for subject, block, index in filed:
            subjects[block, index] = subjects.get((block, index), b"") + subject
        place = self.place(connection)
        rows = [
            (
                self.chain_id,
                seq,
                "applied",
                log.block,
                log.log_index,
                log.block_hash,
                "" if log.event is None else log.event.name,
                subjects.get((log.block, log.log_index), b""),
                now_ms,
            )
            for seq, log in enumerate(logs, place.last_seq + 1)
        ]
        insert_rows(connection, tables.outbox, rows)
        self._move(
            connection,
            place,
            last_seq=place.last_seq + len(rows),
            applied=place.applied + len(rows),
        )

    def counted(self, connection: Connection, count: int, final: int) -> bool:
        """Count events of a first backfill without an entry each, as if pruned at once.

        What was final before anybody could follow is no news. Numbers go on as if they had been
        written, so that who asks for them is sent to the events themselves (`read`).

        Args:
            connection: the transaction that adds them.
            count: how many; all at or below `final`.
            final: a final block.

        Returns:
            Whether it was done: not once an entry of any other kind was written.
        """
        place = self.place(connection)
        if not place.pruned_seq == place.last_seq == place.applied:
            return False
        if count:
            last = place.last_seq + count
            self._move(
                connection, place, last_seq=last, pruned_seq=last, applied=last, final_block=final
            )
        return True

    def retracted(self, connection: Connection, ancestor: int, now_ms: int) -> None:
        """Say that the events after block `ancestor` are taken back; call it before they are.

        Newest first: a receiver that undoes them one by one meets them in the right order.
        """
        gone, link = tables.raw_log, tables.log_subject
        subjects: dict[tuple[int, int], bytes] = {}
        for row in connection.execute(
            select(link.c.block, link.c.log_index, link.c.subject)
            .where(link.c.chain_id == self.chain_id, link.c.block > ancestor)
            .order_by(link.c.subject)
        ):
            at = (row.block, row.log_index)
            subjects[at] = subjects.get(at, b"") + row.subject
        place = self.place(connection)
        found = connection.execute(
            select(gone.c.block, gone.c.log_index, gone.c.block_hash, gone.c.event)
            .where(gone.c.chain_id == self.chain_id, gone.c.block > ancestor)
            .order_by(gone.c.block.desc(), gone.c.log_index.desc())
        )
        count = 0
        for part in found.partitions(_PAGE):
            rows = [
                (
                    self.chain_id,
                    seq,
                    "retracted",
                    row.block,
                    row.log_index,
                    row.block_hash,
                    row.event,
                    subjects.get((row.block, row.log_index), b""),
                    now_ms,
                )
                for seq, row in enumerate(part, place.last_seq + count + 1)
            ]
            insert_rows(connection, tables.outbox, rows)
            count += len(rows)
        final = min(place.final_block, ancestor)
        if count or final != place.final_block:
            self._move(
                connection,
                place,
                last_seq=place.last_seq + count,
                retracted=place.retracted + count,
                final_block=final,
            )

    def finalized(self, connection: Connection, block: int, now_ms: int) -> None:
        """Say that all events up to and including `block` are final, where there are new ones."""
        place = self.place(connection)
        if block <= place.final_block:
            return
        logs = tables.raw_log
        newest = connection.execute(
            select(logs.c.block)
            .where(
                logs.c.chain_id == self.chain_id,
                logs.c.block > place.final_block,
                logs.c.block <= block,
            )
            .limit(1)
        ).scalar_one_or_none()
        if newest is None:
            # Nothing of ours became final: a row would tell nobody anything, and neither would a
            # change of this one, once a block on an idle chain.
            return
        connection.execute(
            insert(tables.outbox).values(
                chain_id=self.chain_id,
                seq=place.last_seq + 1,
                kind="finalized",
                block=block,
                log_index=None,
                block_hash=None,
                event="",
                subjects=b"",
                created_at_ms=now_ms,
            )
        )
        self._move(connection, place, last_seq=place.last_seq + 1, final_block=block)

    def _move(self, connection: Connection, before: OutboxPlace, **values: int) -> None:
        table = tables.outbox_place
        moved = connection.execute(
            update(table).where(table.c.chain_id == self.chain_id).values(**values)
        )
        if moved.rowcount == 0:
            fresh = {name: getattr(before, name) for name in OutboxPlace.__dataclass_fields__}
            connection.execute(
                insert(table).values(**{**fresh, **values, "chain_id": self.chain_id})
            )

    # -- reading -------------------------------------------------------------------------------

    def read(
        self,
        connection: Connection,
        *,
        after: int = 0,
        limit: int = 1000,
        subject: bytes | None = None,
    ) -> Page:
        """Entries with numbers above `after`, in order.

        Args:
            connection: any reading transaction.
            after: the number up to which the caller has read; 0 from the beginning.
            limit: entries to look at.
            subject: only events that concern it; ``finalized`` concerns all.

        Raises:
            UnknownRecord: entries after `after` were pruned; the journal has the events.
        """
        place = self.place(connection)
        if after < place.pruned_seq or after > place.last_seq:
            raise UnknownRecord(
                f"the outbox holds entries {place.pruned_seq + 1} to {place.last_seq}, and not "
                f"what follows {after}",
                hint="read the events themselves, from the last block you know to be final",
            )
        table = tables.outbox
        query = select(*[table.c[name] for name in Entry.__dataclass_fields__]).where(
            table.c.chain_id == self.chain_id, table.c.seq > after
        )
        found = connection.execute(query.order_by(table.c.seq).limit(limit)).all()
        entries = tuple(_entry(row) for row in found)
        last = entries[-1].seq if entries else after
        if subject is not None:
            entries = tuple(e for e in entries if e.kind == "finalized" or subject in e.subjects)
        return Page(entries, last)

    def logs(
        self, connection: Connection, entries: Iterable[Entry]
    ) -> dict[tuple[int, int, bytes], Spoken]:
        """The events that entries speak of, by place and block hash."""
        blocks = {entry.block for entry in entries if entry.log_index is not None}
        found: dict[tuple[int, int, bytes], Spoken] = {}
        for table in (tables.orphan_log, tables.raw_log):
            query = select(table).where(
                table.c.chain_id == self.chain_id, table.c.block.in_(blocks)
            )
            for row in connection.execute(query).mappings():
                at = (row["block"], row["log_index"], bytes(row["block_hash"]))
                found[at] = Spoken(row, table is tables.raw_log)
        return found

    # -- pruning -------------------------------------------------------------------------------

    def prune(self, connection: Connection, before_ms: int) -> int:
        """Forget entries that were written before `before_ms`; how many there were."""
        table = tables.outbox
        place = self.place(connection)
        keep = connection.execute(
            select(func.min(table.c.seq)).where(
                table.c.chain_id == self.chain_id, table.c.created_at_ms >= before_ms
            )
        ).scalar_one_or_none()
        last = place.last_seq - 1 if keep is None else keep - 1
        if last <= place.pruned_seq:
            return 0
        connection.execute(
            delete(table).where(table.c.chain_id == self.chain_id, table.c.seq <= last)
        )
        connection.execute(
            update(tables.outbox_place)
            .where(tables.outbox_place.c.chain_id == self.chain_id)
            .values(pruned_seq=last)
        )
        return last - place.pruned_seq


def _entry(row: Row[Any]) -> Entry:
    held = row._asdict()
    blob = bytes(held["subjects"])
    subjects = tuple(blob[i : i + SUBJECT] for i in range(0, len(blob), SUBJECT))
    return Entry(**{**held, "subjects": subjects})
