"""Secondary indexes, left out while a first backfill runs and made at its end.

Filling a sorted index with keys that come in no order costs more than all else a row costs; sorting
the keys once at the end costs a tenth of it, and keeps the price of a row the same however many
there are. Primary keys stay, since the fold reads by them; but for that of the links between logs
and what they concern, which no backfill reads by, where it is not the table itself (PostgreSQL).

A follower that dies in between leaves a database without these indexes: right, but slow to ask.
Whoever follows next makes them before it follows live (`restore`), so none is ever missing once the
index stands at the head.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from sqlalchemy import Connection, Engine, Executable, Index, inspect, select, text
from sqlalchemy.schema import CreateIndex, DropIndex

from ledger.errors import IndexUnavailable
from ledger.index.database import reading, writing
from ledger.index.tables import STATE, log_subject, raw_log

log = logging.getLogger(__name__)

_HANDS: Final = 2

_SECONDARY: Final[tuple[Index, ...]] = tuple(
    sorted(
        (index for table in (raw_log, *STATE.values()) for index in table.indexes),
        key=lambda index: str(index.name),
    )
)
_LINKS: Final = log_subject.name
_LINKS_KEY: Final = f"{_LINKS}_pkey"
_LINKS_COLUMNS: Final = ", ".join(column.name for column in log_subject.primary_key.columns)
# An index, beside which the table can be read; that it is the table's key is said afterwards, for
# which no reader may be there for a moment.
_MAKE_LINKS_INDEX: Final = text(
    f"CREATE UNIQUE INDEX IF NOT EXISTS {_LINKS_KEY} ON {_LINKS} ({_LINKS_COLUMNS})"
)
_MAKE_IT_THE_KEY: Final = text(
    f"ALTER TABLE {_LINKS} ADD CONSTRAINT {_LINKS_KEY} PRIMARY KEY USING INDEX {_LINKS_KEY}"
)
_SOON: Final = text("SET LOCAL lock_timeout = '1s'")
# Below this, to start workers takes longer than they save beside two hands.
_ALONE: Final = text("SET LOCAL min_parallel_table_scan_size = '1GB'")


def left_out(dialect: str) -> dict[str, Executable]:
    """What a first backfill is without: all but primary keys, of the journal's logs and the state.

    Args:
        dialect: SQLAlchemy's name of the database's kind.

    Returns:
        How each is made, by its name.
    """
    # The key first: what takes longest is not to be left for the end, where one hand would wait.
    key: dict[str, Executable] = {_LINKS_KEY: _MAKE_LINKS_INDEX} if dialect == "postgresql" else {}
    return key | {str(index.name): CreateIndex(index, if_not_exists=True) for index in _SECONDARY}


def leave_out(connection: Connection) -> bool:
    """Drop all that; nothing is done where any chain's logs are there already.

    In the transaction of the first range, so that the journal is empty with them or filled without.
    """
    if connection.execute(select(raw_log.c.block).limit(1)).first() is not None:
        return False
    for index in _SECONDARY:
        connection.execute(DropIndex(index, if_exists=True))
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"ALTER TABLE {_LINKS} DROP CONSTRAINT IF EXISTS {_LINKS_KEY}"))
        connection.execute(text(f"DROP INDEX IF EXISTS {_LINKS_KEY}"))
    return True


def missing(connection: Connection) -> list[str]:
    """The names of those that are not there."""
    tables = {_LINKS, *(index.table.name for index in _SECONDARY if index.table is not None)}
    shown = inspect(connection)
    there = shown.get_multi_indexes(filter_names=sorted(tables))
    names = {found["name"] for indexes in there.values() for found in indexes}
    names.add(shown.get_pk_constraint(_LINKS)["name"])
    return [name for name in left_out(connection.dialect.name) if name not in names]


def restore(engine: Engine) -> int:
    """Make those that are missing; how many were.

    PostgreSQL sorts for two at a time, each hand in a transaction of its own: of whoever dies in
    between some may be there. SQLite has one writer. The index of `log_subject` becomes its key
    then, or, where somebody reads it just then, the next time: nothing goes by that.

    Raises:
        IndexUnavailable: the database cannot be written; some may be missing still.
    """
    with reading(engine) as connection:
        names = missing(connection)
    made = left_out(engine.dialect.name)
    # One for both hands: each takes what is next.
    left = iter(names)

    def make() -> None:
        with writing(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(_ALONE)
            for name in left:
                connection.execute(made[name])

    if engine.dialect.name != "postgresql":
        if names:
            make()
        return len(names)
    if names:
        with ThreadPoolExecutor(_HANDS, thread_name_prefix="indexes") as pool:
            for done in [pool.submit(make) for _ in range(_HANDS)]:
                done.result()
    _give_the_key(engine)
    return len(names)


def _give_the_key(engine: Engine) -> None:
    with reading(engine) as connection:
        if inspect(connection).get_pk_constraint(_LINKS)["name"] is not None:
            return
    try:
        with writing(engine) as connection:
            connection.execute(_SOON)
            connection.execute(_MAKE_IT_THE_KEY)
    except IndexUnavailable as error:
        log.info("the index of %s is not its key yet: %s", _LINKS, error.message)
