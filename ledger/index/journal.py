"""The journal and its cursor: every step forward or back is one compare-and-set transaction.

A step names the cursor it started from: next block, hash and epoch. If another process has moved
the cursor or taken the epoch in between, the step commits nothing and `Fenced` says so. Rows and
cursor change together or not at all, so a process may be killed between any two statements.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, bindparam, delete, insert, select, update

from ledger.canonical import canonical_json
from ledger.errors import Fenced, IndexDamaged, IndexUnavailable, WrongNetwork
from ledger.ids import Digest
from ledger.index import tables
from ledger.index.blocks import Heads
from ledger.index.bulk import insert_packed, insert_rows
from ledger.index.decode import EVENTS
from ledger.index.evidence_store import EvidenceStore
from ledger.index.fold import fold_packed, preload_keys
from ledger.index.given import Contracted
from ledger.index.outbox import Outbox
from ledger.index.packed import COLUMNS, Packed, kinds, merged
from ledger.index.versions import Versions, undo

assert tuple(tables.raw_log.columns.keys()) == COLUMNS, "the journal's columns are in another order"
CLOCKS_APART = 1.0
"""Seconds by which the clocks of two machines may differ."""


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

    def lag_s(self, now: float) -> float | None:
        """Seconds since the index stood on the chain's head; None before it ever did.

        Of a time that is still to come by `now`, the clock of who wrote it or of who reads it is
        wrong by as much: that is no freshness, and so counts like age. A second is let pass.
        """
        return lag_s(self.synced_at_ms, now)


@dataclass(frozen=True, slots=True)
class Position:
    """The cursor, and what else changes answers: documents ever deposited, and outbox entries."""

    cursor: Cursor
    deposits: int
    last_seq: int


# Characters of a hash that tell two chains apart.
_SHOWN: Final = 18
# How a database of another chain or other contracts is put right; the one that is there stays.
_OWN: Final = (
    "name another database, or put back the copy that is of this chain and these contracts (deed "
    "index restore); into an empty one the chain is read anew"
)
# Built once: every answer begins with one of these.
_CURSOR: Final = select(*[tables.cursor.c[name] for name in Cursor.__dataclass_fields__]).where(
    tables.cursor.c.chain_id == bindparam("chain_id")
)
_library, _outbox = tables.library_place, tables.outbox_place
_POSITION: Final = _CURSOR.add_columns(
    select(_library.c.deposits).where(_library.c.id == 1).scalar_subquery(),
    select(_outbox.c.last_seq).where(_outbox.c.chain_id == bindparam("chain_id")).scalar_subquery(),
)


def lag_s(synced_at_ms: int, now: float) -> float | None:
    """As `Cursor.lag_s`."""
    if not synced_at_ms:
        return None
    lag = now - synced_at_ms / 1000
    return round(lag if lag >= 0 else 0.0 if lag >= -CLOCKS_APART else -lag, 1)


def pinned(addresses: Mapping[str, str]) -> bytes:
    """32 bytes that name a deployment and which of its contracts are followed.

    A release that follows more of them starts anew: the logs of the others were never asked for.
    """
    return hashlib.sha256(canonical_json({**addresses, "follows": sorted(EVENTS)})).digest()


def topics_of(blob: bytes) -> list[bytes]:
    """Topics one by one; the journal holds them one after the other, 32 bytes each."""
    return [blob[i : i + 32] for i in range(0, len(blob), 32)]


class Journal:
    """One chain's journal in one database; every method runs inside the caller's transaction."""

    def __init__(self, chain_id: int) -> None:
        self.chain_id = chain_id
        self.outbox = Outbox(chain_id)

    # -- the cursor ----------------------------------------------------------------------------

    def belongs(self, connection: Connection, of: Contracted) -> bool:
        """Whether the database is tied to this chain and these contracts; False: to none so far.

        Raises:
            WrongNetwork: the database belongs to another chain or other contracts.
            IndexDamaged: it does not say to which, and stands on one.
        """
        named = {name: str(address) for name, address in of.addresses.items()}
        return self._tied(connection, of.genesis_hash, pinned(named))

    def _tied(self, connection: Connection, genesis: Digest, of: bytes) -> bool:
        row = connection.execute(
            select(tables.chain).where(tables.chain.c.chain_id == self.chain_id)
        ).one_or_none()
        if row is None:
            query = select(tables.cursor.c.epoch).where(tables.cursor.c.chain_id == self.chain_id)
            if connection.execute(query).first() is not None:
                raise IndexDamaged(
                    "the index database does not say of which contracts of chain "
                    f"{self.chain_id} it is"
                )
            return False
        tables.require_kinds(tables.chain, row)
        if row.genesis_hash != genesis.raw:
            raise WrongNetwork(
                f"the index database holds another chain of id {self.chain_id}: its first block is "
                f"0x{bytes(row.genesis_hash).hex()[: _SHOWN - 2]}…, not {str(genesis)[:_SHOWN]}…",
                hint=_OWN,
            )
        if row.deployment_hash != of:
            raise WrongNetwork(
                f"the index database holds other contracts of chain {self.chain_id}, or is of a "
                "release that followed fewer of them",
                hint=_OWN,
            )
        return True

    def pin(
        self, connection: Connection, *, genesis: Digest, deployment: Mapping[str, str], first: int
    ) -> None:
        """Tie the database to one chain and one set of contracts, or check that it is tied to them.

        Raises:
            WrongNetwork: the database belongs to another chain or other contracts.
        """
        of = pinned(deployment)
        if not self._tied(connection, genesis, of):
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

    def cursor(self, connection: Connection) -> Cursor:
        """Read the cursor.

        Raises:
            IndexUnavailable: nothing was ever followed into this database.
            WrongNetwork: only other chains were.
            IndexDamaged: the cursor is gone, or no cursor.
        """
        return Cursor(*tuple(self._stands(connection, _CURSOR)))

    def position(self, connection: Connection) -> Position:
        """Read it and the other places.

        Raises:
            IndexUnavailable, WrongNetwork, IndexDamaged: as `cursor`.
        """
        *cursor, deposits, last_seq = tuple(self._stands(connection, _POSITION))
        if last_seq is None:
            self.outbox.require_place(connection)
        return Position(Cursor(*cursor), deposits or 0, last_seq or 0)

    def _stands(self, connection: Connection, query: Select[Any]) -> Row[Any]:
        row = connection.execute(query, {"chain_id": self.chain_id}).one_or_none()
        if row is None:
            self._require_nothing(connection)
            found = tables.cursor.c.chain_id
            others = connection.execute(select(found).order_by(found)).scalars().all()
            if others:
                held = f"chain{'s' if len(others) > 1 else ''} {', '.join(map(str, others))}"
                raise WrongNetwork(
                    f"the index database holds {held}, and nothing of chain {self.chain_id}",
                    hint="name the database that is meant, or give an index command that chain's "
                    "--network; or move this one away, and the chain is read anew",
                )
            raise IndexUnavailable(
                f"the index has read nothing of chain {self.chain_id} yet",
                hint="wait until the follower has reached the chain; deed index run is one",
            )
        tables.require_kinds(tables.cursor, row)
        return row

    def _require_nothing(self, connection: Connection) -> None:
        for table in (tables.chain, tables.raw_log, tables.block):
            query = select(table.c.chain_id).where(table.c.chain_id == self.chain_id).limit(1)
            if connection.execute(query).first() is not None:
                raise IndexDamaged(
                    "the index database does not say how far it has read chain "
                    f"{self.chain_id}, of which it holds something"
                )

    def take_over(self, connection: Connection, holder: str) -> int:
        """Become the only process that may commit; whoever holds the old epoch no longer can.

        Raises:
            IndexUnavailable, WrongNetwork: as `cursor`.
            IndexDamaged: likewise; or the outbox's place is gone.
        """
        connection.execute(
            update(tables.cursor)
            .where(tables.cursor.c.chain_id == self.chain_id)
            .values(epoch=tables.cursor.c.epoch + 1, holder=holder)
        )
        # Here, too, since it may be long until an event comes.
        self.outbox.require_place(connection)
        return self.cursor(connection).epoch

    def release(self, connection: Connection) -> None:
        """Leave the cursor to whoever stands by, who then need not wait for this one's silence."""
        connection.execute(
            update(tables.cursor)
            .where(tables.cursor.c.chain_id == self.chain_id)
            .values(updated_at_ms=0)
        )

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
            safe=max(old.safe, min(heads.safe, old.block)),
            finalized=max(old.finalized, min(heads.finalized, old.block)),
            synced_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        self.outbox.finalized(connection, min(heads.finalized, old.block), now_ms)

    # -- forward -------------------------------------------------------------------------------

    def append(
        self,
        connection: Connection,
        old: Cursor,
        heads: Heads,
        *,
        parts: Sequence[Packed],
        keep: int,
        now_ms: int,
        backfill: bool = False,
    ) -> None:
        """Add a checked range that begins at the cursor; fold it; move the cursor past it.

        Blocks that hold no logs of ours are forgotten once they are `keep` below finality. In a
        first `backfill` the outbox counts what is final already, and tells nobody of it.

        Raises:
            Fenced: the cursor is no longer where the range was read from.
            IndexDamaged: the outbox's place is gone.
        """
        last = parts[-1].headers[-1]
        # No higher than what is read: a far head, shown once, would call all to come final.
        finalized = max(old.finalized, min(heads.finalized, last.number))
        self._move(
            connection,
            old,
            next_block=last.number + 1,
            last_hash=last.hash,
            last_time=last.time,
            head=heads.latest.number,
            safe=max(old.safe, min(heads.safe, last.number)),
            finalized=finalized,
            # A backfill has indexes to make before anybody should ask.
            synced_at_ms=now_ms
            if last.number >= heads.latest.number and not backfill
            else old.synced_at_ms,
            updated_at_ms=now_ms,
        )
        self.outbox.require_place(connection)
        busy: set[int] = set().union(*(part.busy() for part in parts))
        floor = finalized - keep
        chain_id = self.chain_id
        insert_rows(
            connection,
            tables.block,
            [
                (chain_id, h.number, h.hash, h.parent_hash, h.time, h.number in busy)
                for part in parts
                for h in part.headers
                if h.number in busy or h.number >= floor
            ],
        )
        insert_packed(connection, tables.raw_log, [part.rows for part in parts])
        insert_rows(
            connection,
            tables.raw_read,
            [
                (chain_id, block, index, answer)
                for part in parts
                for (block, index), answer in part.answers.items()
            ],
        )
        state = Versions(connection, chain_id)
        preload_keys(state, merged(parts))
        for part in parts:
            fold_packed(state, kinds(), part.entries, part.answers)
        old_news = backfill and last.number <= heads.finalized
        if old_news and self.outbox.counted(
            connection, sum(part.count for part in parts), last.number
        ):
            state.flush()
        else:
            filed = state.filed
            state.flush()
            told = [log for part in parts for log in part.told()]
            self.outbox.applied(connection, told, filed, now_ms)
            self.outbox.finalized(connection, finalized, now_ms)
        # Nothing walks back over the others again.
        if last.number >= floor:
            connection.execute(
                delete(tables.block).where(
                    tables.block.c.chain_id == chain_id,
                    tables.block.c.number < floor,
                    tables.block.c.has_logs.is_(False),
                )
            )

    # -- back ----------------------------------------------------------------------------------

    def newest_kept(self, connection: Connection, number: int) -> tuple[int, bytes] | None:
        """Number and hash of the newest kept block at or below `number`."""
        row = connection.execute(
            select(tables.block.c.number, tables.block.c.hash)
            .where(tables.block.c.chain_id == self.chain_id, tables.block.c.number <= number)
            .order_by(tables.block.c.number.desc())
            .limit(1)
        ).one_or_none()
        return None if row is None else (int(row.number), bytes(row.hash))

    def lowest_above(self, connection: Connection, number: int) -> tuple[int, bytes]:
        """Number and hash of the lowest kept block above `number`; the last block is always kept.

        Raises:
            Fenced: there is none any more.
        """
        row = connection.execute(
            select(tables.block.c.number, tables.block.c.hash)
            .where(tables.block.c.chain_id == self.chain_id, tables.block.c.number > number)
            .order_by(tables.block.c.number)
            .limit(1)
        ).one_or_none()
        if row is None:
            raise Fenced("another follower has taken these blocks back")
        return int(row.number), bytes(row.hash)

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
        self.outbox.retracted(connection, ancestor, now_ms)
        EvidenceStore(chain_id).rewind(connection, ancestor)
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
