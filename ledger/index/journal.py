"""The journal and its cursor: every step forward or back is one compare-and-set transaction.

A step names the cursor it started from: next block, hash and epoch. If another process has moved
the cursor or taken the epoch in between, the step commits nothing and `Fenced` says so. Rows and
cursor change together or not at all, so a process may be killed between any two statements.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from ledger.canonical import canonical_json
from ledger.errors import Fenced, IndexUnavailable, WrongNetwork
from ledger.ids import Digest
from ledger.index import tables
from ledger.index.decode import EVENTS, decode
from ledger.index.fetch import Header, Heads, Log
from ledger.index.fold import fold
from ledger.index.step import Place
from ledger.index.versions import Versions, clear, undo

REBUILD_BATCH = 2000


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the index stands.

    Attributes:
        next_block: the first block not yet read.
        last_hash: hash of the block before it; None when nothing was read.
        last_time: that block's Unix time.
        safe, finalized, head: the endpoint's numbers when it was last asked.
        epoch, holder: who may commit.
        synced_at_ms: when the index last stood on the endpoint's head, Unix milliseconds.
    """

    next_block: int
    last_hash: bytes | None
    last_time: int
    safe: int
    finalized: int
    head: int
    epoch: int
    holder: str
    synced_at_ms: int
    updated_at_ms: int

    @property
    def block(self) -> int:
        """The last block that was read."""
        return self.next_block - 1


def topics_blob(topics: Sequence[bytes]) -> bytes:
    """Topics as the journal holds them: 32 bytes each, one after the other."""
    return b"".join(topics)


def topics_of(blob: bytes) -> list[bytes]:
    """The reverse of `topics_blob`."""
    return [blob[i : i + 32] for i in range(0, len(blob), 32)]


class Journal:
    """One chain's journal in one database; every method runs inside the caller's transaction."""

    def __init__(self, chain_id: int) -> None:
        self.chain_id = chain_id

    # -- the cursor ----------------------------------------------------------------------------

    def pin(
        self, connection: Connection, *, genesis: Digest, deployment: Mapping[str, str], first: int
    ) -> None:
        """Tie the database to one chain and one set of contracts, or check that it is tied to them.

        Raises:
            WrongNetwork: the database belongs to another chain or other contracts.
        """
        of = hashlib.sha256(canonical_json(dict(deployment))).digest()
        row = connection.execute(
            select(tables.chain).where(tables.chain.c.chain_id == self.chain_id)
        ).one_or_none()
        if row is None:
            connection.execute(
                insert(tables.chain).values(
                    chain_id=self.chain_id,
                    genesis_hash=genesis.raw,
                    deployment_hash=of,
                    first_block=first,
                )
            )
            connection.execute(
                insert(tables.cursor).values(
                    chain_id=self.chain_id,
                    next_block=first,
                    last_hash=None,
                    last_time=0,
                    safe=0,
                    finalized=0,
                    head=0,
                    epoch=0,
                    holder="",
                    synced_at_ms=0,
                    updated_at_ms=0,
                )
            )
        elif row.genesis_hash != genesis.raw or row.deployment_hash != of:
            what = "chain" if row.genesis_hash != genesis.raw else "set of contracts"
            raise WrongNetwork(
                f"the index database holds another {what} of chain id {self.chain_id}",
                hint="give an empty database, or start afresh with deed up --fresh",
            )

    def cursor(self, connection: Connection) -> Cursor:
        """Read the cursor.

        Raises:
            IndexUnavailable: nothing was ever followed into this database.
        """
        row = connection.execute(
            select(*[tables.cursor.c[name] for name in Cursor.__dataclass_fields__]).where(
                tables.cursor.c.chain_id == self.chain_id
            )
        ).one_or_none()
        if row is None:
            raise IndexUnavailable(
                f"the index has read nothing of chain {self.chain_id} yet",
                hint="wait until the follower has reached the chain",
            )
        return Cursor(*row)

    def take_over(self, connection: Connection, holder: str) -> int:
        """Become the only process that may commit; whoever holds the old epoch no longer can."""
        connection.execute(
            update(tables.cursor)
            .where(tables.cursor.c.chain_id == self.chain_id)
            .values(epoch=tables.cursor.c.epoch + 1, holder=holder)
        )
        return self.cursor(connection).epoch

    def _move(self, connection: Connection, old: Cursor, **values: Any) -> None:
        moved = connection.execute(
            update(tables.cursor)
            .where(
                tables.cursor.c.chain_id == self.chain_id,
                tables.cursor.c.next_block == old.next_block,
                # IS on SQLite, IS NOT DISTINCT FROM on PostgreSQL: the first hash is NULL.
                tables.cursor.c.last_hash.is_not_distinct_from(old.last_hash),
                tables.cursor.c.epoch == old.epoch,
            )
            .values(**values)
        )
        if moved.rowcount != 1:
            raise Fenced("another follower has moved the cursor or taken over")

    def note(self, connection: Connection, old: Cursor, heads: Heads, now_ms: int) -> None:
        """Record that nothing is new: the index stands on the endpoint's head."""
        self._move(
            connection,
            old,
            head=heads.latest.number,
            safe=max(old.safe, heads.safe),
            finalized=max(old.finalized, heads.finalized),
            synced_at_ms=now_ms,
            updated_at_ms=now_ms,
        )

    # -- forward -------------------------------------------------------------------------------

    def append(
        self,
        connection: Connection,
        old: Cursor,
        heads: Heads,
        *,
        headers: Sequence[Header],
        logs: Sequence[Log],
        answers: Mapping[tuple[int, int], bytes],
        keep: int,
        now_ms: int,
    ) -> None:
        """Add a checked range that begins at the cursor; fold it; move the cursor past it.

        Blocks that hold no logs of ours are forgotten once they are `keep` below finality.

        Raises:
            Fenced: the cursor is no longer where the range was read from.
        """
        last = headers[-1]
        finalized = max(old.finalized, heads.finalized)
        self._move(
            connection,
            old,
            next_block=last.number + 1,
            last_hash=last.hash,
            last_time=last.time,
            head=heads.latest.number,
            safe=max(old.safe, heads.safe),
            finalized=finalized,
            synced_at_ms=now_ms if last.number >= heads.latest.number else old.synced_at_ms,
            updated_at_ms=now_ms,
        )
        busy = {log.block for log in logs}
        floor = min(finalized, last.number) - keep
        kept = [h for h in headers if h.number in busy or h.number >= floor]
        connection.execute(
            insert(tables.block),
            [
                {
                    "chain_id": self.chain_id,
                    "number": header.number,
                    "hash": header.hash,
                    "parent_hash": header.parent_hash,
                    "time": header.time,
                    "has_logs": header.number in busy,
                }
                for header in kept
            ],
        )
        times = {header.number: header.time for header in headers}
        if logs:
            connection.execute(
                insert(tables.raw_log), [self._row(log, times[log.block]) for log in logs]
            )
        if answers:
            connection.execute(
                insert(tables.raw_read),
                [
                    {"chain_id": self.chain_id, "block": b, "log_index": i, "answer": answer}
                    for (b, i), answer in answers.items()
                ],
            )
        state = Versions(connection, self.chain_id)
        for log in logs:
            place = Place(log.block, times[log.block], log.log_index, log.tx_hash)
            answer = answers.get((log.block, log.log_index))
            fold(state, decode(log.contract, log.topics, log.data), place, answer=answer)
        state.flush()
        # Nothing walks back over the others again.
        connection.execute(
            delete(tables.block).where(
                tables.block.c.chain_id == self.chain_id,
                tables.block.c.number < floor,
                tables.block.c.has_logs.is_(False),
            )
        )

    def _row(self, log: Log, time: int) -> dict[str, Any]:
        kind = EVENTS[log.contract].get(log.topics[0]) if log.topics else None
        return {
            "chain_id": self.chain_id,
            "block": log.block,
            "log_index": log.log_index,
            "block_hash": log.block_hash,
            "block_time": time,
            "tx_hash": log.tx_hash,
            "tx_index": log.tx_index,
            "contract": log.contract,
            "address": log.address,
            "event": kind.name if kind is not None else "",
            "topics": topics_blob(log.topics),
            "data": log.data,
        }

    # -- back ----------------------------------------------------------------------------------

    def known_blocks(self, connection: Connection) -> Iterator[tuple[int, bytes]]:
        """Numbers and hashes of the blocks kept, from the newest down."""
        rows = connection.execute(
            select(tables.block.c.number, tables.block.c.hash)
            .where(tables.block.c.chain_id == self.chain_id)
            .order_by(tables.block.c.number.desc())
        )
        yield from rows

    def first_block(self, connection: Connection) -> int:
        """The block at which following began."""
        value = connection.execute(
            select(tables.chain.c.first_block).where(tables.chain.c.chain_id == self.chain_id)
        ).scalar_one()
        return int(value)

    def roll_back(
        self, connection: Connection, old: Cursor, ancestor: int, heads: Heads, now_ms: int
    ) -> None:
        """Forget what came after block `ancestor`, keeping its logs as orphans.

        Raises:
            Fenced: the cursor is no longer where the walk back began.
        """
        chain_id = self.chain_id
        kept = connection.execute(
            select(tables.block.c.hash, tables.block.c.time).where(
                tables.block.c.chain_id == chain_id, tables.block.c.number == ancestor
            )
        ).one_or_none()
        self._move(
            connection,
            old,
            next_block=ancestor + 1,
            last_hash=None if kept is None else kept.hash,
            last_time=0 if kept is None else kept.time,
            head=heads.latest.number,
            safe=min(old.safe, ancestor),
            finalized=min(old.finalized, ancestor),
            updated_at_ms=now_ms,
        )
        reorg_id = connection.execute(
            insert(tables.reorg)
            .values(
                chain_id=chain_id,
                ancestor=ancestor,
                old_head=old.block,
                old_hash=old.last_hash or bytes(32),
                depth=old.block - ancestor,
                past_finality=ancestor < old.finalized,
                detected_at_ms=now_ms,
            )
            .returning(tables.reorg.c.id)
        ).scalar_one()
        gone = tables.raw_log
        names = [column.name for column in gone.columns]
        rows = connection.execute(
            select(gone).where(gone.c.chain_id == chain_id, gone.c.block > ancestor)
        ).mappings()
        orphans = [
            {**{name: row[name] for name in names}, "reorg_id": reorg_id, "retracted_at_ms": now_ms}
            for row in rows
        ]
        if orphans:
            connection.execute(insert(tables.orphan_log), orphans)
        for table in (tables.raw_log, tables.raw_read):
            connection.execute(
                delete(table).where(table.c.chain_id == chain_id, table.c.block > ancestor)
            )
        connection.execute(
            delete(tables.block).where(
                tables.block.c.chain_id == chain_id, tables.block.c.number > ancestor
            )
        )
        undo(connection, chain_id, ancestor)

    # -- again ---------------------------------------------------------------------------------

    def refold(self, connection: Connection) -> int:
        """Empty the state tables and fold the whole journal anew; the number of logs folded."""
        clear(connection, self.chain_id)
        state = Versions(connection, self.chain_id)
        logs, reads = tables.raw_log, tables.raw_read
        place = (-1, -1)
        count = unwritten = 0
        while rows := self._page(connection, logs, reads, place):
            for row in rows:
                # Between blocks only: a block's events make one version of each entity.
                if row.block != place[0] and unwritten >= REBUILD_BATCH:
                    state.flush()
                    unwritten = 0
                event = decode(row.contract, topics_of(row.topics), row.data)
                at = Place(row.block, row.block_time, row.log_index, row.tx_hash)
                fold(state, event, at, answer=row.answer)
                place = (row.block, row.log_index)
                count += 1
                unwritten += 1
        state.flush()
        return count

    def _page(
        self, connection: Connection, logs: Any, reads: Any, after: tuple[int, int]
    ) -> Sequence[Row[Any]]:
        return connection.execute(
            select(logs, reads.c.answer)
            .outerjoin(
                reads,
                (reads.c.chain_id == logs.c.chain_id)
                & (reads.c.block == logs.c.block)
                & (reads.c.log_index == logs.c.log_index),
            )
            .where(
                logs.c.chain_id == self.chain_id,
                (logs.c.block > after[0])
                | ((logs.c.block == after[0]) & (logs.c.log_index > after[1])),
            )
            .order_by(logs.c.block, logs.c.log_index)
            .limit(REBUILD_BATCH)
        ).all()
