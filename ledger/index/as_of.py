"""As of which block an answer is, and how settled that block is.

Apart from what is answered (`ledger.index.views`), since it changes with how blocks become final
and with what every answer says of its age, never with what can be asked for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, select

from ledger.errors import PendingFinality, UnknownRecord
from ledger.ids import Digest
from ledger.index import tables
from ledger.index.journal import Cursor

Tag = Literal["latest", "safe", "finalized"]


@dataclass(frozen=True, slots=True)
class Point:
    """A block: its number, hash and Unix time; None where its header is no longer kept."""

    block: int
    hash: Digest | None
    time: int | None


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
        points: the index's own head, and the newest blocks that are safe and final.
    """

    block: int
    hash: Digest | None
    time: int | None
    finalized: int
    safe: int
    lag_s: float
    points: Mapping[Tag, Point]

    def finality(self, block: int) -> str:
        """How settled a block is, in a word: finalized, safe, or included."""
        if block <= self.finalized:
            return "finalized"
        return "safe" if block <= self.safe else "included"


class Points:
    """Finds the blocks that the answers about one chain rest on."""

    def __init__(self, chain_id: int) -> None:
        self._chain_id = chain_id
        # The blocks of the answer before this one: between two steps all are as of the same.
        self._known: tuple[tuple[Any, ...], Mapping[int, Point]] | None = None

    def as_of(
        self,
        connection: Connection,
        cursor: Cursor,
        block: int | Tag | None,
        *,
        at: int | None,
        settled: Tag,
        now: float,
    ) -> AsOf:
        """What an answer rests on that was asked for as `ledger.index.views.Index.snapshot` says.

        Args:
            connection: the transaction of the answer.
            cursor: as that transaction sees it.
            block: a number, a tag, or None.
            at: Unix time in place of a block.
            settled: what the answer must rest on.
            now: Unix time in seconds.

        Raises:
            UnknownRecord, PendingFinality: as there.
        """
        heads: dict[Tag, int] = {
            "latest": cursor.block,
            "safe": min(max(cursor.safe, cursor.finalized), cursor.block),
            "finalized": min(cursor.finalized, cursor.block),
        }
        if at is not None:
            number = self._number_at(connection, cursor, at, now)
        elif block is None:
            number = heads[settled]
        else:
            number = heads[block] if isinstance(block, str) else block
        if number > cursor.block:
            raise UnknownRecord(
                f"the index has read up to block {cursor.block}, not {number}",
                hint="ask without a block, or again later",
            )
        if number > heads[settled]:
            raise PendingFinality(
                f"block {number} is not {settled} yet; block {heads[settled]} is",
                hint="ask again later, or without a block",
            )
        lag = cursor.lag_s(now)
        kept = self._kept(connection, cursor, frozenset({number, *heads.values()}))
        points = {tag: kept.get(height, Point(height, None, None)) for tag, height in heads.items()}
        here = kept.get(number, Point(number, None, None))
        return AsOf(
            number,
            here.hash,
            here.time,
            min(heads["finalized"], number),
            min(heads["safe"], number),
            round(now, 1) if lag is None else lag,
            points,
        )

    def _number_at(self, connection: Connection, cursor: Cursor, at: int, now: float) -> int:
        if at > cursor.last_time:
            read = _utc(cursor.last_time)
            what = "has not come yet" if at > now else "is later than any block"
            raise UnknownRecord(
                f"{_utc(at)} {what}; the newest block that was read is of {read}",
                hint=f"ask as of {read}, or of latest; of a day when a block after it was read",
            )
        number = block_at(connection, self._chain_id, cursor.block, at)
        if number < 0:
            raise UnknownRecord(
                f"no block of this deployment is as old as {_utc(at)}",
                hint="ask as of a later time",
            )
        return number

    def _kept(
        self, connection: Connection, cursor: Cursor, wanted: frozenset[int]
    ) -> Mapping[int, Point]:
        """Those of these blocks whose headers are kept."""
        key = (cursor.next_block, cursor.last_hash, cursor.epoch, wanted)
        held = self._known
        if held is not None and held[0] == key:
            return held[1]
        table = tables.block
        rows = connection.execute(
            select(table.c.number, table.c.hash, table.c.time).where(
                table.c.chain_id == self._chain_id, table.c.number.in_(wanted)
            )
        )
        kept = {row.number: Point(row.number, Digest(row.hash), row.time) for row in rows}
        hash_ = None if cursor.last_hash is None else Digest(cursor.last_hash)
        kept[cursor.block] = Point(cursor.block, hash_, cursor.last_time)
        self._known = key, kept
        return kept


def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def block_at(connection: Connection, chain_id: int, head: int, time: int) -> int:
    """The last block up to `head` with events of ours, or a recent one, at or before a Unix time.

    Between two such blocks nothing changed: the state as of it is the state at that time.

    Returns:
        Its number; -1 where none is that old.
    """
    table = tables.block
    low, high, found = -1, head, -1
    # Times rise with numbers, and only numbers are indexed.
    while low < high:
        middle = (low + high + 1) // 2
        row = connection.execute(
            select(table.c.number, table.c.time)
            .where(table.c.chain_id == chain_id, table.c.number <= middle)
            .order_by(table.c.number.desc())
            .limit(1)
        ).one_or_none()
        if row is None or row.time <= time:
            low, found = middle, -1 if row is None else int(row.number)
        else:
            high = row.number - 1
    return found
