"""Proofs of our events, taken while nodes still have them: at finality.

Nodes keep the state of recent blocks only, so a proof that nobody took in time can never be had
again. For every final event three kinds are kept, each by the SHA-256 of its bytes:

``header``   the block's raw RLP; its Keccak-256 is the block hash;
``receipt``  the transaction's receipt under the header's receipts root, and the transaction itself
             where it was cheap;
``state``    account and storage of the contract under the header's state root, at the event's own
             block: the slots that the event changed.

Nothing is kept that does not verify against the block hash in the journal. What could no longer be
had is written down with its reason, and asked for again only when an operator says so
(`ledger.index.mending`).
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from ledger.errors import Fenced
from ledger.index import tables
from ledger.index.event_proofs import KINDS, OTHERWISE, Gathered, Kept, Kind, sound
from ledger.index.evidence_rows import put_bodies, raw, same_event, same_proof, whole

BLOCKS_A_TURN: Final = 16
"""Blocks of ours that are looked up at once; each is harvested and committed by itself."""

BACKLOG_COUNTED: Final = 10_000
"""Waiting events beyond these are not counted: every scrape of metrics asks."""

# Of an entry; without why a proof is lost: text that cannot be read must not keep it from us.
_NAMED: Final = ("log_index", "kind", "hash")


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much is proved, as counted when it was: whether all of it is still there, an audit says.

    Attributes:
        next_block: final blocks below it are done.
        events: events with every proof that they were meant to have, also retracted ones.
        backlog: final events that wait, up to `BACKLOG_COUNTED` of them.
        lost: proofs that could no longer be had.
        size: bytes of all proofs taken.
    """

    next_block: int
    events: int
    backlog: int
    lost: int
    size: int

    @property
    def begun(self) -> bool:
        """Whether anything was harvested."""
        return self.next_block > 0


@dataclass(frozen=True, slots=True)
class Filed:
    """What filing one block's proofs came to.

    Attributes:
        proofs: how many are new.
        events, lost: by how much these counts change; `size`: bytes that were added.
        lacking: why, of those that could not be had.
    """

    proofs: int
    events: int
    lost: int
    size: int
    lacking: tuple[str, ...]


class EvidenceStore:
    """One chain's proofs in one database; every method runs inside the caller's transaction."""

    def __init__(self, chain_id: int) -> None:
        self.chain_id = chain_id

    # -- what is to be done --------------------------------------------------------------------

    def coverage(self, connection: Connection) -> Coverage:
        """How far harvesting has come."""
        place = self.place(connection)
        logs, cursor = tables.raw_log, tables.cursor
        final = (
            select(cursor.c.finalized).where(cursor.c.chain_id == self.chain_id).scalar_subquery()
        )
        next_block = 0 if place is None else int(place.next_block)
        backlog = connection.execute(
            select(func.count()).select_from(
                select(logs.c.block)
                .where(
                    logs.c.chain_id == self.chain_id,
                    logs.c.block >= next_block,
                    logs.c.block <= final,
                )
                .limit(BACKLOG_COUNTED)
                .subquery()
            )
        ).scalar_one()
        if place is None:
            return Coverage(0, 0, int(backlog), 0, 0)
        return Coverage(next_block, place.events, int(backlog), place.lost, place.bytes)

    def waiting(self, connection: Connection, finalized: int) -> list[list[Row[Any]]]:
        """The next final blocks with events of ours that have no proofs yet, in order."""
        place = self.place(connection)
        logs = tables.raw_log
        start = 0 if place is None else place.next_block
        blocks = (
            select(logs.c.block)
            .distinct()
            .where(
                logs.c.chain_id == self.chain_id,
                logs.c.block >= start,
                logs.c.block <= finalized,
            )
            .order_by(logs.c.block)
            .limit(BLOCKS_A_TURN)
        )
        return self._by_block(connection, blocks)

    def _by_block(
        self, connection: Connection, blocks: Select[tuple[int]] | Sequence[int]
    ) -> list[list[Row[Any]]]:
        """The journal's events of these blocks, in order."""
        logs = tables.raw_log
        rows = connection.execute(
            select(logs)
            .where(logs.c.chain_id == self.chain_id, logs.c.block.in_(blocks))
            .order_by(logs.c.block, logs.c.log_index)
        ).all()
        for row in rows:
            tables.require_kinds(logs, row)
        return [list(group) for _, group in groupby(rows, key=lambda row: row.block)]

    def place(self, connection: Connection) -> Row[Any] | None:
        """How far it has come; None before the first block.

        Raises:
            IndexDamaged: what is there is none.
        """
        table = tables.evidence_place
        query = select(table).where(table.c.chain_id == self.chain_id)
        row = connection.execute(query).one_or_none()
        if row is not None:
            tables.require_kinds(table, row)
        return row

    # -- keeping -------------------------------------------------------------------------------

    def keep(
        self, connection: Connection, block: int, block_hash: bytes, gathered: Gathered
    ) -> None:
        """Store what was gathered for one block, and go on to the next.

        Raises:
            Fenced: the block is no longer in the journal, or another process has done it.
        """
        logs, cursor = tables.raw_log, tables.cursor
        # A rollback locks the cursor's row first: it is over, or waits until this is.
        final = connection.execute(
            select(cursor.c.finalized)
            .where(cursor.c.chain_id == self.chain_id)
            .with_for_update(read=True)
        ).scalar_one()
        there = connection.execute(
            select(func.count())
            .select_from(logs)
            .where(
                logs.c.chain_id == self.chain_id,
                logs.c.block == block,
                logs.c.block_hash == block_hash,
            )
        ).scalar_one()
        place = self.place(connection)
        if block > final or not there or (place is not None and place.next_block > block):
            raise Fenced(f"the proofs of block {block} are another's, or nobody's any more")
        entries = self.entries(connection, block, block_hash)
        good = {key for key, proof in entries.items() if proof is not None}
        self._move(
            connection, place, block + 1, self._file(connection, block, block_hash, gathered, good)
        )

    def mend(
        self, connection: Connection, events: Sequence[Row[Any]], gathered: Gathered
    ) -> tuple[Filed, set[tuple[int, Kind]]]:
        """Put what was gathered in place of what the events of one block lack; leave what holds.

        Whoever else writes to this chain waits until the transaction is over. An event that lacks
        entries was counted when it was harvested, until one says what could not be had.

        Args:
            connection: a transaction that writes.
            events: of one block, of the journal or taken back.
            gathered: of them.

        Returns:
            What came of it, and the proofs that the events lack still.
        """
        self.alone(connection)
        block, block_hash = int(events[0].block), bytes(events[0].block_hash)
        entries = self.entries(connection, block, block_hash)
        by_event: dict[int, dict[Kind, Kept]] = {}
        for (at, kind), proof in entries.items():
            if proof is not None:
                by_event.setdefault(at, {})[kind] = proof
        good: set[tuple[int, Kind]] = set()
        held: set[tuple[int, Kind]] = set()
        for event in events:
            at = event.log_index
            kept = by_event.get(at, {})
            other = gathered.held.get((at, "header"))
            good |= {(at, kind) for kind in sound(event, kept, other)}
            shown = {kind: proof for (n, kind), proof in gathered.held.items() if n == at}
            held |= {(at, kind) for kind in sound(event, shown, kept.get("header"))}
        before = self._unproved(connection, block, block_hash)
        filed = self._file(connection, block, block_hash, gathered, good)
        filed = replace(
            filed,
            proofs=len(held - good),
            events=before - self._unproved(connection, block, block_hash),
            lacking=(*filed.lacking, *(OTHERWISE for _ in gathered.held.keys() - held - good)),
        )
        held |= good
        left = {(event.log_index, kind) for event in events for kind in KINDS} - held
        self._forget_unknown(connection, block, block_hash, held)
        if (filed.events, filed.lost, filed.size) == (0, 0, 0):
            return filed, left
        place = tables.evidence_place
        connection.execute(
            update(place)
            .where(place.c.chain_id == self.chain_id)
            .values(
                events=place.c.events + filed.events,
                lost=place.c.lost + filed.lost,
                bytes=place.c.bytes + filed.size,
            )
        )
        return filed, left

    def _forget_unknown(
        self,
        connection: Connection,
        block: int,
        block_hash: bytes,
        held: AbstractSet[tuple[int, Kind]],
    ) -> None:
        """Drop entries of a kind that there is none of, once what they name is named rightly.

        Until then one may be all that says where a body belongs.
        """
        link, of_block = tables.evidence, self._of_block(block, block_hash)
        entries = select(*(link.c[name] for name in _NAMED)).where(*of_block)
        rows = connection.execute(entries).all()
        rightly = {(row.log_index, row.hash) for row in rows if row.kind in KINDS}
        for row in rows:
            at = row.log_index
            whole_event = all((at, kind) in held for kind in KINDS)
            if row.kind not in KINDS and (whole_event or (at, row.hash) in rightly):
                connection.execute(
                    delete(link).where(*of_block, link.c.log_index == at, link.c.kind == row.kind)
                )

    def alone(self, connection: Connection) -> None:
        """Wait for whoever writes to this chain, and have others wait: the cursor's row is ours.

        SQLite has one writer anyway.
        """
        cursor = tables.cursor
        connection.execute(
            select(cursor.c.chain_id).where(cursor.c.chain_id == self.chain_id).with_for_update()
        )

    def tally(self, connection: Connection, *where: ColumnElement[bool]) -> tuple[int, int]:
        """Events with every proof on record, and proofs that could not be had; of all or some."""
        link = tables.evidence
        events = (
            select(func.count(link.c.hash).label("held"), func.count(link.c.lost).label("lost"))
            .where(link.c.chain_id == self.chain_id, link.c.kind.in_(KINDS), *where)
            .group_by(link.c.block, link.c.block_hash, link.c.log_index)
            .subquery()
        )
        proved = case((events.c.held == len(KINDS), 1), else_=0)
        counts = (func.coalesce(func.sum(count), 0) for count in (proved, events.c.lost))
        held, lost = connection.execute(select(*counts)).one()
        return int(held), int(lost)

    def _unproved(self, connection: Connection, block: int, block_hash: bytes) -> int:
        """Events of a block of which something could not be had."""
        link = tables.evidence
        lost = select(func.count(link.c.log_index.distinct())).where(
            *self._of_block(block, block_hash), link.c.lost.is_not(None)
        )
        return int(connection.execute(lost).scalar_one())

    def speaks(self, connection: Connection) -> bool:
        """Whether there is any entry, of whatever event."""
        link = tables.evidence
        some = select(link.c.kind).where(link.c.chain_id == self.chain_id).limit(1)
        return connection.execute(some).first() is not None

    def size(self, connection: Connection) -> int:
        """Bytes of all proofs that are named and there."""
        stored, link = tables.proof, tables.evidence
        named = select(link.c.hash).where(link.c.chain_id == self.chain_id)
        size = select(func.coalesce(func.sum(stored.c.size), 0)).where(stored.c.hash.in_(named))
        return int(connection.execute(size).scalar_one())

    def _file(
        self,
        connection: Connection,
        block: int,
        block_hash: bytes,
        gathered: Gathered,
        good: AbstractSet[tuple[int, Kind]],
    ) -> Filed:
        """Write down what was gathered of a block, but for what is `good` as it is.

        Of a block that is not the one kept there nothing is lost: the journal is wrong.
        """
        link = tables.evidence
        of_block = self._of_block(block, block_hash)
        named = {
            (row.log_index, cast("Kind", row.kind)): row.hash
            for row in connection.execute(
                select(link.c.log_index, link.c.kind, link.c.hash).where(*of_block)
            )
        }
        # Two counts tell how the totals change.
        before = self.tally(connection, *of_block[1:]) if named else (0, 0)
        new = {key: proof for key, proof in gathered.held.items() if key not in good}
        lost = {key: why for key, why in gathered.lost.items() if key not in good}
        written = lost if self._is_kept(connection, block, block_hash) else {}
        for index, kind in named.keys() & new.keys():
            connection.execute(
                delete(link).where(*of_block, link.c.log_index == index, link.c.kind == kind)
            )
        size = put_bodies(connection, new.values())
        rows = [
            {
                "chain_id": self.chain_id,
                "block": block,
                "block_hash": block_hash,
                "log_index": index,
                "kind": kind,
                "hash": None if proof is None else proof.hash,
                "lost": reason,
            }
            for (index, kind), proof, reason in (
                *((key, new[key], None) for key in sorted(new)),
                # What could not be had keeps its entry: the body may be in a copy.
                *((key, None, reason) for key, reason in written.items() if key not in named),
            )
        ]
        if rows:
            connection.execute(insert(link), rows)
        after = self.tally(connection, *of_block[1:])
        return Filed(
            len(new), after[0] - before[0], after[1] - before[1], size, tuple(lost.values())
        )

    def entries(
        self, connection: Connection, block: int, block_hash: bytes
    ) -> dict[tuple[int, Kind], Kept | None]:
        """A block's entries, and of each the proof where it is there as it was kept."""
        link, stored = tables.evidence, tables.proof
        of_block = self._of_block(block, block_hash)
        named = select(link.c.hash).where(*of_block, link.c.hash.is_not(None))
        there = {
            bytes(row.hash): Kept(row.kind, bytes(row.body))
            for row in connection.execute(select(stored).where(stored.c.hash.in_(named)))
            if whole(row.body, row.hash)
        }
        found: dict[tuple[int, Kind], Kept | None] = {}
        entries = select(*(link.c[name] for name in _NAMED)).where(*of_block)
        for row in connection.execute(entries):
            tables.require_kinds(link, row)
            kind = cast("Kind", row.kind)
            kept = None if row.hash is None else there.get(bytes(row.hash))
            found[row.log_index, kind] = kept if kept is not None and kept.kind == kind else None
        return found

    def lost(self, connection: Connection, block: int, block_hash: bytes) -> set[tuple[int, Kind]]:
        """The proofs of a block that could not be had."""
        link = tables.evidence
        query = select(link.c.log_index, link.c.kind).where(
            *self._of_block(block, block_hash), link.c.lost.is_not(None)
        )
        return {(row.log_index, cast("Kind", row.kind)) for row in connection.execute(query)}

    def _is_kept(self, connection: Connection, block: int, block_hash: bytes) -> bool:
        blocks = tables.block
        query = select(blocks.c.number).where(
            blocks.c.chain_id == self.chain_id,
            blocks.c.number == block,
            blocks.c.hash == block_hash,
        )
        return connection.execute(query).first() is not None

    def _of_block(self, block: int, block_hash: bytes) -> tuple[ColumnElement[bool], ...]:
        link = tables.evidence
        return (
            link.c.chain_id == self.chain_id,
            link.c.block == block,
            link.c.block_hash == block_hash,
        )

    def _move(
        self, connection: Connection, place: Row[Any] | None, next_block: int, filed: Filed
    ) -> None:
        table = tables.evidence_place
        if place is None:
            events, lost = self.tally(connection)
            connection.execute(
                insert(table).values(
                    chain_id=self.chain_id,
                    next_block=next_block,
                    events=events,
                    lost=lost,
                    bytes=self.size(connection),
                )
            )
            return
        moved = connection.execute(
            update(table)
            .where(table.c.chain_id == self.chain_id, table.c.next_block == place.next_block)
            .values(
                next_block=next_block,
                events=table.c.events + filed.events,
                lost=table.c.lost + filed.lost,
                bytes=table.c.bytes + filed.size,
            )
        )
        if moved.rowcount != 1:
            raise Fenced("another process keeps the proofs of this chain")

    def rewind(self, connection: Connection, ancestor: int) -> None:
        """After a rollback below finality: blocks above `ancestor` are to be proved anew."""
        table = tables.evidence_place
        connection.execute(
            update(table)
            .where(table.c.chain_id == self.chain_id, table.c.next_block > ancestor + 1)
            .values(next_block=ancestor + 1)
        )

    # -- reading -------------------------------------------------------------------------------

    def of(self, connection: Connection, block: int, log_index: int) -> dict[Kind, Kept]:
        """The proofs of one event of the journal, by kind; those there are."""
        link, stored, logs = tables.evidence, tables.proof, tables.raw_log
        rows = connection.execute(
            select(link.c.kind, stored.c.body)
            .join(stored, same_proof())
            .join(logs, same_event())
            .where(
                link.c.chain_id == self.chain_id,
                link.c.block == block,
                link.c.log_index == log_index,
            )
        )
        return {cast("Kind", row.kind): Kept(cast("Kind", row.kind), raw(row.body)) for row in rows}
