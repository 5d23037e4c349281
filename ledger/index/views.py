"""What the index answers: reads of one consistent snapshot, at its head or as of any block.

A snapshot is one read transaction, so every row of an answer and its `AsOf` belong together even
while the follower commits. Rows come back as mappings with the column names of
`ledger.index.tables`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    and_,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.exc import SQLAlchemyError

from ledger.errors import IndexUnavailable, Reorganised, UnknownRecord
from ledger.ids import Digest, LicenseId, ModelId
from ledger.index import tables
from ledger.index.as_of import AsOf, Points, Tag, block_at
from ledger.index.chronicle import Place, page
from ledger.index.database_file import damage_of
from ledger.index.given import Contracted
from ledger.index.journal import Journal, Position

RowMap = Mapping[str, Any]


class Index:
    """The reading side of one chain's index.

    Args:
        engine: from `ledger.index.database.open_database`.
        chain_id: whose rows.
        of: the deployment whose rows they must be; None where any of that chain will do.
        now: Unix time in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        chain_id: int,
        *,
        of: Contracted | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.engine = engine
        # None once the database was found to be of it, which it then stays.
        self._of = of
        self.chain_id = chain_id
        self.now = now
        self.journal = Journal(chain_id)
        self._points = Points(chain_id)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that reads.

        Raises:
            IndexUnavailable: the database does not answer.
            WrongNetwork: it holds another chain of that id, or other contracts.
            IndexDamaged: it does not say which; or SQLite finds the file damaged.
        """
        try:
            with self.engine.connect() as connection, connection.begin():
                self._require_ours(connection)
                yield connection
        except SQLAlchemyError as error:
            raise damage_of(error) or IndexUnavailable(
                f"the index database does not answer: {type(error).__name__}"
            ) from error

    def _require_ours(self, connection: Connection) -> None:
        if self._of is not None and self.journal.belongs(connection, self._of):
            self._of = None

    @contextmanager
    def snapshot(
        self, block: int | Tag | None = None, *, at: int | None = None, settled: Tag = "latest"
    ) -> Iterator[Snapshot]:
        """A consistent view at the index's head, or as of an earlier block.

        Args:
            block: a number, or the newest block that is so far settled; None: as `settled` says.
            at: in place of a block, a Unix time: the state at the end of it.
            settled: what the answer must rest on. Without a block it is as of the newest such one.

        Raises:
            IndexUnavailable: nothing was read of the chain yet, or the database does not answer.
            WrongNetwork: as `reading`.
            UnknownRecord: the block, or the time, was not read yet, or lies before all blocks.
            PendingFinality: the block asked for is not settled so far.
        """
        with self.reading() as connection:
            position = self.journal.position(connection)
            as_of = self._points.as_of(
                connection, position.cursor, block, at=at, settled=settled, now=self.now()
            )
            yield Snapshot(connection, self.chain_id, as_of, position)


Alive = ColumnElement[bool]


def alive(
    table: Table,
    chain: ColumnElement[Any],
    block: ColumnElement[Any] | None,
    *,
    led: bool = False,
) -> Alive:
    """As `Snapshot.alive`, at the end of a block; at the index's own for None."""
    # No planner goes by an index of what stands in an expression.
    here = (table.c.chain_id + 0 if led else table.c.chain_id) == chain
    if block is None:
        # As it stands in the indexes of live versions.
        return and_(here, table.c.died_block.is_(None))
    # An index of births holds half of the table below a block.
    born, died = table.c.born_block + 0, table.c.died_block
    return and_(here, born <= block, or_(died.is_(None), died > block))


class Snapshot:
    """One consistent view; ends with its transaction."""

    def __init__(
        self, connection: Connection, chain_id: int, as_of: AsOf, position: Position
    ) -> None:
        self.connection = connection
        self.chain_id = chain_id
        self.as_of = as_of
        self.position = position
        # Whether nothing has happened since.
        self.at_head = as_of.block == as_of.points["latest"].block

    # -- pieces ----------------------------------------------------------------------------------

    def alive(
        self, table: Table, *, chain: ColumnElement[Any] | None = None, led: bool = False
    ) -> Alive:
        """Rows of a state table as they were at the end of this view's block.

        Args:
            table: which.
            chain: where a subquery leads to the rows, its column of the chain. SQLite takes an id
                for a reason to go through all rows that have it, and then asks the subquery.
            led: where a list of values leads to the rows, by an index that does not begin with the
                chain: no index that does is to be taken, for the same reason.
        """
        return alive(
            table,
            literal(self.chain_id, BigInteger) if chain is None else chain,
            None if self.at_head else literal(self.as_of.block, BigInteger),
            led=led,
        )

    def rows(self, query: Select[Any]) -> Sequence[RowMap]:
        """All rows of a query."""
        return cast("Sequence[RowMap]", self.connection.execute(query).mappings().all())

    def row(self, query: Select[Any]) -> RowMap | None:
        """The only row of a query, or None."""
        return cast("RowMap | None", self.connection.execute(query).mappings().one_or_none())

    # -- models ----------------------------------------------------------------------------------

    def model(self, model_id: ModelId) -> RowMap:
        """One model.

        Raises:
            UnknownRecord: not registered, as far as the index has read.
        """
        table = tables.model
        row = self.row(select(table).where(self.alive(table), table.c.model_id == model_id.raw))
        if row is None:
            raise UnknownRecord(
                f"no model {model_id} is registered as of block {self.as_of.block}",
                hint="check the id and the network; a new registration takes a moment to be read",
            )
        return row

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
        return self.rows(
            select(table)
            .where(self.alive(table), table.c.model_id == model_id.raw)
            .order_by(*(table.c[name] for name in order))
        )

    def commitment(self, leaf: Digest, committed_at: int) -> RowMap | None:
        """The anchor behind a model's commitment, or None.

        It is the leaf itself as a root, else the only root anchored in that second.
        """
        table = tables.anchor
        found = self.row(select(table).where(self.alive(table), table.c.root == leaf.raw))
        if found is not None:
            return found
        same = self.rows(
            select(table).where(self.alive(table), table.c.anchored_at == committed_at).limit(2)
        )
        return same[0] if len(same) == 1 else None

    # -- licenses --------------------------------------------------------------------------------

    def plan(self, plan_id: int) -> RowMap:
        """One plan.

        Raises:
            UnknownRecord: no such plan.
        """
        table = tables.plan
        row = self.row(select(table).where(self.alive(table), table.c.plan_id == plan_id))
        if row is None:
            raise UnknownRecord(f"there is no plan {plan_id} as of block {self.as_of.block}")
        return row

    def license(self, license_id: LicenseId) -> RowMap | None:
        """One license, or None."""
        table = tables.license_
        if license_id.value >= 1 << 63:
            return None
        return self.row(
            select(table).where(self.alive(table), table.c.license_id == license_id.value)
        )

    def licenses_of(self, ids: Iterable[LicenseId]) -> Mapping[int, RowMap]:
        """Those of these licenses that there are, by token id."""
        table = tables.license_
        wanted = [each.value for each in ids if each.value < 1 << 63]
        found = self.rows(select(table).where(self.alive(table), table.c.license_id.in_(wanted)))
        return {row["license_id"]: row for row in found}

    def plans_of(self, ids: Iterable[int]) -> Mapping[int, RowMap]:
        """These plans, by number."""
        table = tables.plan
        found = self.rows(select(table).where(self.alive(table), table.c.plan_id.in_(list(ids))))
        return {row["plan_id"]: row for row in found}

    def seats_of(self, ids: Iterable[int], runtime_key: Digest) -> Mapping[int, RowMap]:
        """One runtime's seats on these licenses, by token id."""
        table = tables.seat
        found = self.rows(
            select(table).where(
                self.alive(table),
                table.c.license_id.in_(list(ids)),
                table.c.runtime_key == runtime_key.raw,
            )
        )
        return {row["license_id"]: row for row in found}

    def seats(self, license_id: LicenseId) -> Sequence[RowMap]:
        """A license's recorded seats, by time of binding."""
        table = tables.seat
        return self.rows(
            select(table)
            .where(self.alive(table), table.c.license_id == license_id.value)
            .order_by(table.c.bound_at, table.c.runtime_key)
        )

    # -- events ----------------------------------------------------------------------------------

    def events(
        self,
        *,
        contract: str | None = None,
        name: str | None = None,
        subject: bytes | None = None,
        first: int = 0,
        last: int | None = None,
        after: Place | None = None,
        limit: int = 100,
    ) -> Sequence[RowMap]:
        """Journal entries in chain order, of blocks from `first` to `last`, both included."""
        end = self.as_of.block if last is None else min(last, self.as_of.block)
        return self.rows(
            page(
                self.chain_id,
                contract=contract,
                name=name,
                subject=subject,
                first=first,
                last=end,
                after=after,
                limit=limit,
            )
        )

    def block_at(self, time: int) -> int:
        """As `block_at`, up to this view's block."""
        return block_at(self.connection, self.chain_id, self.as_of.block, time)

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
        return self.rows(
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
