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
(`ledger.index.keeper.Keeper.retrieve`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, insert, select, update

from ledger.errors import Fenced
from ledger.index import tables
from ledger.index.event_proofs import Gathered, Kept, Kind

BLOCKS_A_TURN: Final = 16
"""Blocks of ours that are looked up at once; each is harvested and committed by itself."""

BACKLOG_COUNTED: Final = 10_000
"""Waiting events beyond these are not counted: every scrape of metrics asks."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much is proved.

    Attributes:
        next_block: final blocks below it are done.
        events: events with every proof that they were meant to have.
        backlog: final events that wait, up to `BACKLOG_COUNTED` of them.
        lost: proofs that could no longer be had.
        size: bytes of all proofs taken.
    """

    next_block: int
    events: int
    backlog: int
    lost: int
    size: int


class EvidenceStore:
    """One chain's proofs in one database; every method runs inside the caller's transaction."""

    def __init__(self, chain_id: int) -> None:
        self.chain_id = chain_id

    # -- what is to be done --------------------------------------------------------------------

    def coverage(self, connection: Connection) -> Coverage:
        """How far harvesting has come."""
        place = self._place(connection)
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
        place = self._place(connection)
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

    def lost(self, connection: Connection, above: int = -1) -> list[list[Row[Any]]]:
        """The next blocks above `above` with events of the journal that have lost a proof."""
        logs, link = tables.raw_log, tables.evidence
        gone = (
            select(link.c.block)
            .distinct()
            .join(logs, self._same_event())
            .where(link.c.chain_id == self.chain_id, link.c.block > above, link.c.lost.is_not(None))
            .order_by(link.c.block)
            .limit(BLOCKS_A_TURN)
        )
        return self._by_block(connection, connection.execute(gone).scalars().all())

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
        return [list(group) for _, group in groupby(rows, key=lambda row: row.block)]

    @staticmethod
    def _same_event() -> ColumnElement[bool]:
        logs, link = tables.raw_log, tables.evidence
        return and_(
            logs.c.chain_id == link.c.chain_id,
            logs.c.block == link.c.block,
            logs.c.log_index == link.c.log_index,
            logs.c.block_hash == link.c.block_hash,
        )

    def _place(self, connection: Connection) -> Row[Any] | None:
        table = tables.evidence_place
        return connection.execute(
            select(table).where(table.c.chain_id == self.chain_id)
        ).one_or_none()

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
        connection.execute(
            select(cursor.c.epoch)
            .where(cursor.c.chain_id == self.chain_id)
            .with_for_update(read=True)
        )
        there = connection.execute(
            select(func.count())
            .select_from(logs)
            .where(
                logs.c.chain_id == self.chain_id,
                logs.c.block == block,
                logs.c.block_hash == block_hash,
            )
        ).scalar_one()
        place = self._place(connection)
        if not there or (place is not None and place.next_block > block):
            raise Fenced(f"the proofs of block {block} are another's, or nobody's any more")
        self._put(connection, gathered.held.values())
        done = {
            (row.log_index, row.kind)
            for row in connection.execute(
                select(tables.evidence.c.log_index, tables.evidence.c.kind).where(
                    tables.evidence.c.chain_id == self.chain_id,
                    tables.evidence.c.block == block,
                    tables.evidence.c.block_hash == block_hash,
                )
            )
        }
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
                *((key, proof, None) for key, proof in gathered.held.items()),
                *((key, None, reason) for key, reason in gathered.lost.items()),
            )
            if (index, kind) not in done
        ]
        if rows:
            connection.execute(insert(tables.evidence), rows)
        whole = {index for index, _ in gathered.held} - {index for index, _ in gathered.lost}
        self._move(
            connection,
            place,
            block + 1,
            events=len(whole),
            lost=len(gathered.lost),
            size=sum(len(proof.body) for proof in set(gathered.held.values())),
        )

    def mend(
        self, connection: Connection, block: int, block_hash: bytes, gathered: Gathered
    ) -> tuple[int, list[str]]:
        """Store what was lost for one block and could be had after all.

        Returns:
            How many proofs that is, and why each of the others is still lost.
        """
        table = tables.evidence
        of_block = (
            table.c.chain_id == self.chain_id,
            table.c.block == block,
            table.c.block_hash == block_hash,
        )
        gone = {
            (row.log_index, row.kind)
            for row in connection.execute(
                select(table.c.log_index, table.c.kind)
                .where(*of_block, table.c.lost.is_not(None))
                .with_for_update()
            )
        }
        had = {key: proof for key, proof in gathered.held.items() if key in gone}
        self._put(connection, had.values())
        for (index, kind), proof in had.items():
            connection.execute(
                update(table)
                .where(*of_block, table.c.log_index == index, table.c.kind == kind)
                .values(hash=proof.hash, lost=None)
            )
        whole = {index for index, _ in had} - {index for index, _ in gone - had.keys()}
        place = tables.evidence_place
        connection.execute(
            update(place)
            .where(place.c.chain_id == self.chain_id)
            .values(
                events=place.c.events + len(whole),
                lost=place.c.lost - len(had),
                bytes=place.c.bytes + sum(len(proof.body) for proof in set(had.values())),
            )
        )
        return len(had), [gathered.lost[key] for key in gone - had.keys()]

    def _put(self, connection: Connection, proofs: Iterable[Kept]) -> None:
        table = tables.proof
        by_hash = {proof.hash: proof for proof in proofs}
        known = set(
            connection.execute(select(table.c.hash).where(table.c.hash.in_(by_hash))).scalars()
        )
        rows = [
            {"hash": hash_, "kind": proof.kind, "body": proof.body, "size": len(proof.body)}
            for hash_, proof in by_hash.items()
            if hash_ not in known
        ]
        if rows:
            connection.execute(insert(table), rows)

    def _move(
        self,
        connection: Connection,
        place: Row[Any] | None,
        next_block: int,
        *,
        events: int,
        lost: int,
        size: int,
    ) -> None:
        table = tables.evidence_place
        if place is None:
            connection.execute(
                insert(table).values(
                    chain_id=self.chain_id,
                    next_block=next_block,
                    events=events,
                    lost=lost,
                    bytes=size,
                )
            )
            return
        moved = connection.execute(
            update(table)
            .where(table.c.chain_id == self.chain_id, table.c.next_block == place.next_block)
            .values(
                next_block=next_block,
                # Of the row as it is then: `mend` may have written since it was read.
                events=table.c.events + events,
                lost=table.c.lost + lost,
                bytes=table.c.bytes + size,
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
            select(stored.c.kind, stored.c.body)
            .join(link, link.c.hash == stored.c.hash)
            .join(logs, self._same_event())
            .where(
                link.c.chain_id == self.chain_id,
                link.c.block == block,
                link.c.log_index == log_index,
            )
        )
        return {cast("Kind", row.kind): Kept(cast("Kind", row.kind), row.body) for row in rows}
