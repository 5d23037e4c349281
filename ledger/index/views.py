"""What the index answers: reads of one consistent snapshot, at its head or as of any block.

A snapshot is one read transaction, so every row of an answer and its `AsOf` belong together even
while the follower commits. Rows come back as mappings with the column names of
`ledger.index.tables`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    and_,
    exists,
    func,
    or_,
    select,
    tuple_,
)
from sqlalchemy.exc import SQLAlchemyError

from ledger.errors import IndexUnavailable, Reorganised, UnknownRecord, UsageError
from ledger.ids import Digest, LicenseId, ModelId
from ledger.index import tables
from ledger.index.journal import Cursor, Journal

RowMap = Mapping[str, Any]
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class AsOf:
    """What an answer rests on.

    Attributes:
        block: the last block that counts.
        hash: its hash; None for a past block whose header is no longer kept.
        time: its Unix time, None likewise.
        finalized: the highest final block at or below it.
        safe: the highest safe block at or below it.
        lag_s: seconds since the index last stood on the chain's head.
    """

    block: int
    hash: Digest | None
    time: int | None
    finalized: int
    safe: int
    lag_s: float

    def finality(self, block: int) -> str:
        """How settled a block is, in a word: finalized, safe, or included."""
        if block <= self.finalized:
            return "finalized"
        return "safe" if block <= self.safe else "included"


class Index:
    """The reading side of one chain's index.

    Args:
        engine: from `ledger.index.database.open_database`.
        chain_id: whose rows.
        now: Unix time in seconds.
    """

    def __init__(
        self, engine: Engine, chain_id: int, *, now: Callable[[], float] = time.time
    ) -> None:
        self.engine = engine
        self.chain_id = chain_id
        self.now = now
        self.journal = Journal(chain_id)

    @contextmanager
    def snapshot(self, block: int | None = None) -> Iterator[Snapshot]:
        """A consistent view at the index's head, or as of `block`.

        Raises:
            IndexUnavailable: nothing was read of the chain yet, or the database does not answer.
            UnknownRecord: `block` was not read yet.
        """
        try:
            with self.engine.connect() as connection, connection.begin():
                cursor = self.journal.cursor(connection)
                if block is not None and block > cursor.block:
                    raise UnknownRecord(
                        f"the index has read up to block {cursor.block}, not {block}",
                        hint="ask without a block, or again later",
                    )
                yield Snapshot(connection, self.chain_id, self._as_of(connection, cursor, block))
        except SQLAlchemyError as error:
            raise IndexUnavailable(
                f"the index database does not answer: {type(error).__name__}"
            ) from error

    def _as_of(self, connection: Connection, cursor: Cursor, block: int | None) -> AsOf:
        lag = max(0.0, self.now() - cursor.synced_at_ms / 1000)
        number = cursor.block if block is None else block
        hash_ = None if cursor.last_hash is None else Digest(cursor.last_hash)
        when: int | None = cursor.last_time
        if number != cursor.block:
            kept = connection.execute(
                select(tables.block.c.hash, tables.block.c.time).where(
                    tables.block.c.chain_id == self.chain_id, tables.block.c.number == number
                )
            ).one_or_none()
            hash_ = None if kept is None else Digest(kept.hash)
            when = None if kept is None else kept.time
        return AsOf(
            number,
            hash_,
            when,
            min(cursor.finalized, number),
            min(cursor.safe, number),
            round(lag, 1),
        )


class Snapshot:
    """One consistent view; ends with its transaction."""

    def __init__(self, connection: Connection, chain_id: int, as_of: AsOf) -> None:
        self.connection = connection
        self.chain_id = chain_id
        self.as_of = as_of

    # -- pieces ----------------------------------------------------------------------------------

    def _alive(self, table: Table) -> ColumnElement[bool]:
        block = self.as_of.block
        return and_(
            table.c.chain_id == self.chain_id,
            table.c.born_block <= block,
            or_(table.c.died_block.is_(None), table.c.died_block > block),
        )

    def _all(self, query: Select[Any]) -> Sequence[RowMap]:
        return cast("Sequence[RowMap]", self.connection.execute(query).mappings().all())

    def _one(self, query: Select[Any]) -> RowMap | None:
        return cast("RowMap | None", self.connection.execute(query).mappings().one_or_none())

    # -- models ----------------------------------------------------------------------------------

    def model(self, model_id: ModelId) -> RowMap:
        """One model.

        Raises:
            UnknownRecord: not registered, as far as the index has read.
        """
        table = tables.model
        row = self._one(select(table).where(self._alive(table), table.c.model_id == model_id.raw))
        if row is None:
            raise UnknownRecord(
                f"no model {model_id} is registered as of block {self.as_of.block}",
                hint="check the id and the network; a new registration takes a moment to be read",
            )
        return row

    def models(
        self,
        *,
        licensor: bytes | None = None,
        artifact_root: bytes | None = None,
        parent: bytes | None = None,
        after: tuple[int, bytes] | None = None,
        limit: int = 50,
    ) -> Sequence[RowMap]:
        """Models in order of registration (block, then id)."""
        table = tables.model
        place = (table.c.registered_block, table.c.model_id)
        query = select(table).where(self._alive(table)).order_by(*place).limit(limit)
        if licensor is not None:
            query = query.where(table.c.licensor == licensor)
        if artifact_root is not None:
            query = query.where(table.c.artifact_root == artifact_root)
        if parent is not None:
            link = tables.parent
            query = query.where(
                exists().where(
                    self._alive(link),
                    link.c.model_id == table.c.model_id,
                    link.c.parent == parent,
                )
            )
        if after is not None:
            query = query.where(tuple_(*place) > after)
        return self._all(query)

    def claims(self, column: str, values: Select[Any], *, limit: int) -> Sequence[RowMap]:
        """Models whose `column` is among `values`, earliest commitment first."""
        table = tables.model
        return self._all(
            select(table)
            .where(self._alive(table), table.c[column].in_(values))
            .order_by(table.c.committed_at, table.c.registered_block, table.c.model_id)
            .limit(limit)
        )

    def titles(self, model_id: ModelId) -> Sequence[RowMap]:
        """Holders of the title, first to last."""
        return self._of_model(tables.title, model_id, "sequence")

    def sealings(self, model_id: ModelId) -> Sequence[RowMap]:
        """Lodged sealing records, by rising epoch."""
        return self._of_model(tables.sealing, model_id, "epoch")

    def records(self, model_id: ModelId) -> Sequence[RowMap]:
        """Other lodged records, in time order."""
        return self._of_model(tables.record, model_id, "block", "log_index")

    def parents(self, model_id: ModelId) -> Sequence[RowMap]:
        """Declared parents."""
        return self._of_model(tables.parent, model_id, "parent")

    def plans(self, model_id: ModelId) -> Sequence[RowMap]:
        """Plans of a model, by number."""
        return self._of_model(tables.plan, model_id, "plan_id")

    def _of_model(self, table: Table, model_id: ModelId, *order: str) -> Sequence[RowMap]:
        return self._all(
            select(table)
            .where(self._alive(table), table.c.model_id == model_id.raw)
            .order_by(*(table.c[name] for name in order))
        )

    def commitment(self, leaf: Digest, committed_at: int) -> RowMap | None:
        """The anchor behind a model's commitment, or None.

        It is the leaf itself as a root, else the only root anchored in that second.
        """
        table = tables.anchor
        found = self._one(select(table).where(self._alive(table), table.c.root == leaf.raw))
        if found is not None:
            return found
        same = self._all(
            select(table).where(self._alive(table), table.c.anchored_at == committed_at).limit(2)
        )
        return same[0] if len(same) == 1 else None

    # -- licenses --------------------------------------------------------------------------------

    def plan(self, plan_id: int) -> RowMap:
        """One plan.

        Raises:
            UnknownRecord: no such plan.
        """
        table = tables.plan
        row = self._one(select(table).where(self._alive(table), table.c.plan_id == plan_id))
        if row is None:
            raise UnknownRecord(f"there is no plan {plan_id} as of block {self.as_of.block}")
        return row

    def license(self, license_id: LicenseId) -> RowMap | None:
        """One license, or None."""
        table = tables.license_
        if license_id.value >= 1 << 63:
            return None
        return self._one(
            select(table).where(self._alive(table), table.c.license_id == license_id.value)
        )

    def licenses(
        self,
        *,
        holder: bytes | None = None,
        model_id: bytes | None = None,
        plan_id: int | None = None,
        after: int | None = None,
        limit: int = 50,
    ) -> Sequence[RowMap]:
        """Licenses by number."""
        table = tables.license_
        query = select(table).where(self._alive(table)).order_by(table.c.license_id).limit(limit)
        for column, value in (("holder", holder), ("model_id", model_id), ("plan_id", plan_id)):
            if value is not None:
                query = query.where(table.c[column] == value)
        if after is not None:
            query = query.where(table.c.license_id > after)
        return self._all(query)

    def seats(self, license_id: LicenseId) -> Sequence[RowMap]:
        """A license's recorded seats, by time of binding."""
        table = tables.seat
        return self._all(
            select(table)
            .where(self._alive(table), table.c.license_id == license_id.value)
            .order_by(table.c.bound_at, table.c.runtime_key)
        )

    def seat(self, license_id: LicenseId, runtime_key: Digest) -> RowMap | None:
        """One runtime's seat, or None."""
        table = tables.seat
        return self._one(
            select(table).where(
                self._alive(table),
                table.c.license_id == license_id.value,
                table.c.runtime_key == runtime_key.raw,
            )
        )

    # -- events ----------------------------------------------------------------------------------

    def events(
        self,
        *,
        contract: str | None = None,
        name: str | None = None,
        subject: bytes | None = None,
        first: int = 0,
        after: Place | None = None,
        limit: int = 100,
    ) -> Sequence[RowMap]:
        """Journal entries in chain order."""
        table = tables.raw_log
        query = (
            select(table)
            .where(
                table.c.chain_id == self.chain_id,
                table.c.block.between(first, self.as_of.block),
            )
            .order_by(table.c.block, table.c.log_index)
            .limit(limit)
        )
        if contract is not None:
            query = query.where(table.c.contract == contract)
        if name is not None:
            query = query.where(table.c.event == name)
        if subject is not None:
            link = tables.log_subject
            query = query.join(
                link,
                and_(
                    link.c.chain_id == table.c.chain_id,
                    link.c.block == table.c.block,
                    link.c.log_index == table.c.log_index,
                ),
            ).where(link.c.subject == subject)
        if after is not None:
            query = query.where(tuple_(table.c.block, table.c.log_index) > after)
        return self._all(query)

    def check_place(self, place: Place, block_hash: bytes) -> None:
        """Make sure that a page which ended at `place` is still part of the chain.

        Raises:
            Reorganised: that block was replaced.
        """
        table = tables.raw_log
        found = self.connection.execute(
            select(table.c.block_hash).where(
                table.c.chain_id == self.chain_id,
                table.c.block == place[0],
                table.c.log_index == place[1],
            )
        ).scalar_one_or_none()
        if found != block_hash:
            raise Reorganised(
                f"block {place[0]}, at which the last page ended, was replaced",
                hint="events that you were given were retracted: read again from an earlier block",
            )

    def orphans(self, *, after: int = 0, limit: int = 100) -> Sequence[RowMap]:
        """Retracted journal entries, in the order in which they were retracted."""
        table, reorg = tables.orphan_log, tables.reorg
        return self._all(
            select(table, reorg.c.ancestor)
            .join(reorg, reorg.c.id == table.c.reorg_id)
            .where(table.c.chain_id == self.chain_id, table.c.id > after)
            .order_by(table.c.id)
            .limit(limit)
        )

    def reorgs(self) -> int:
        """How often the index was rolled back."""
        table = tables.reorg
        count = self.connection.execute(
            select(func.count()).select_from(table).where(table.c.chain_id == self.chain_id)
        ).scalar_one()
        return int(count)


def parse_place(text: str) -> tuple[Place, bytes]:
    """Read the text form of an event's place: ``block-index-hash``.

    Raises:
        UsageError: anything else.
    """
    block, _, rest = text.partition("-")
    index, _, digits = rest.partition("-")
    try:
        place, hash_ = (int(block), int(index)), Digest.parse(digits).raw
    except (ValueError, UsageError):
        place, hash_ = (-1, -1), b""
    if not (0 <= place[0] < 1 << 62 and 0 <= place[1] < 1 << 62):
        raise UsageError("the cursor is not one this service gave", hint="begin without a cursor")
    return place, hash_


def format_place(row: RowMap) -> str:
    """The reverse of `parse_place`, of a journal entry."""
    return f"{row['block']}-{row['log_index']}-{bytes(row['block_hash']).hex()}"
