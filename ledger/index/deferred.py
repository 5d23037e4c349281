"""Secondary indexes, left out while a first backfill runs and made at its end.

Filling a sorted index with keys that come in no order costs more than all else a row costs; sorting
the keys once at the end costs a tenth of it, and keeps the price of a row the same however many
there are. Primary keys stay: reads of the fold go by them.

A follower that dies in between leaves a database without these indexes: right, but slow to ask.
Whoever follows next makes them before it follows live (`restore`), so none is ever missing once the
index stands at the head.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Connection, Engine, Index, inspect, select
from sqlalchemy.schema import CreateIndex, DropIndex

from ledger.index.database import reading, writing
from ledger.index.tables import STATE, raw_log

_HANDS = 2

SECONDARY: tuple[Index, ...] = tuple(
    sorted(
        (index for table in (raw_log, *STATE.values()) for index in table.indexes),
        key=lambda index: str(index.name),
    )
)
"""What is left out: every index of the journal's logs and of the state tables."""


def leave_out(connection: Connection) -> bool:
    """Drop the secondary indexes; nothing is done where any chain's logs are there already.

    In the transaction of the first range, so that the journal is empty with them or filled without.
    """
    if connection.execute(select(raw_log.c.block).limit(1)).first() is not None:
        return False
    for index in SECONDARY:
        connection.execute(DropIndex(index, if_exists=True))
    return True


def missing(connection: Connection) -> list[Index]:
    """The secondary indexes that are not there."""
    tables = {index.table.name for index in SECONDARY if index.table is not None}
    there = inspect(connection).get_multi_indexes(filter_names=sorted(tables))
    names = {found["name"] for indexes in there.values() for found in indexes}
    return [index for index in SECONDARY if index.name not in names]


def restore(engine: Engine) -> int:
    """Make those that are missing; how many were.

    PostgreSQL sorts for two at a time, each hand in a transaction of its own: of whoever dies in
    between some may be there. SQLite has one writer.

    Raises:
        IndexUnavailable: the database cannot be written; some may be missing still.
    """
    with reading(engine) as connection:
        indexes = missing(connection)
    # One for both hands: each takes what is next.
    left = iter(indexes)

    def make() -> None:
        with writing(engine) as connection:
            for index in left:
                connection.execute(CreateIndex(index, if_not_exists=True))

    if not indexes:
        return 0
    if engine.dialect.name != "postgresql":
        make()
    else:
        with ThreadPoolExecutor(_HANDS, thread_name_prefix="indexes") as pool:
            for done in [pool.submit(make) for _ in range(_HANDS)]:
                done.result()
    return len(indexes)
