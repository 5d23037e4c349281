"""Whether the database's tables are still those that the migrations made.

A dropped index changes no row, so no other check sees it: reads become slow, and of two live
versions of one entity nothing refuses the second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Index, inspect, text

from ledger.index import access_tables as _access_tables  # noqa: F401  its tables join the rest
from ledger.index import tables
from ledger.index import webhook_tables as _webhook_tables  # noqa: F401  likewise
from ledger.index.deferred import left_out, missing

# The text itself: SQLAlchemy's pattern ends with the first line, and it reads no expressions.
_SQLITE_INDEXES: Final = text(
    "SELECT tbl_name, name, sql, 1 FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
)
# What is seen without a schema's name is what our statements reach.
_POSTGRESQL_INDEXES: Final = text(
    "SELECT of.relname, named.relname, pg_get_expr(i.indpred, i.indrelid),"
    " i.indisvalid AND i.indisready AND pg_am.amname = 'btree' FROM pg_index i"
    " JOIN pg_class named ON named.oid = i.indexrelid JOIN pg_class of ON of.oid = i.indrelid"
    " JOIN pg_am ON pg_am.oid = named.relam"
    " WHERE pg_table_is_visible(of.oid)"
)
_UNLOGGED: Final = text(
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relpersistence <> 'p'"
    " AND pg_table_is_visible(oid) ORDER BY 1"
)
_SQLITE_HANDS: Final = text(
    "SELECT tbl_name, 'trigger', name FROM sqlite_master WHERE type = 'trigger' ORDER BY 1, 3"
)
_POSTGRESQL_HANDS: Final = text(
    "SELECT of.relname, 'trigger', tgname FROM pg_trigger JOIN pg_class of ON of.oid = tgrelid"
    " WHERE NOT tgisinternal AND pg_table_is_visible(of.oid)"
    " UNION ALL SELECT of.relname, 'rule', rulename FROM pg_rewrite"
    " JOIN pg_class of ON of.oid = ev_class WHERE of.relkind <> 'v' AND pg_table_is_visible(of.oid)"
    " ORDER BY 1, 3"
)
_QUOTED: Final = re.compile(r'["`\[](\w+)["`\]]')


@dataclass(frozen=True, slots=True)
class _There:
    """An index as the database has it: of which rows, and whether it finds them all."""

    rows: str
    valid: bool


def lacking(connection: Connection, *, backfill: bool = False) -> list[str]:
    """What this release's tables have and the database's lack or have otherwise, in words.

    What somebody added, such as an index of their own, is nobody's fault; but a trigger or a rule
    has a hand in what is written.

    Args:
        connection: to the database.
        backfill: whether indexes that a first backfill leaves out may be missing.
    """
    found = []
    changes = _changes(connection)
    for change in changes:
        kind, _, what = str(change[0]).partition("_")
        if isinstance(change[-1], Index):
            # Of a table in a first backfill it is our own key.
            late = left_out(connection.dialect.name)
            if kind == "remove" and change[-1].unique and change[-1].name not in late:
                found.append(f"unique index {change[-1].name} may refuse the next row")
            continue
        if kind == "add":
            # A table is named by itself; a column by its table too.
            named = change[-1].name
            of = f"{change[2]}.{named}" if what == "column" else named
            found.append(f"{what} {of} is not there")
        elif kind == "modify":
            found.append(f"column {change[2]}.{change[3]} has another {what}")
        elif kind == "remove" and what == "column":
            column = change[-1]
            if not column.nullable and column.server_default is None:
                found.append(f"column {change[2]}.{column.name} is not of this release, and needed")
        elif kind == "remove" and what in ("constraint", "fk"):
            named = change[-1]
            found.append(f"constraint {named.name or ''} on table {named.table.name} is another's")
    absent, others = _indexes(connection, changes)
    gone = [str(index.name) for index in absent]
    # The key of a table, which the others do not name.
    gone += [name for name in missing(connection) if name not in gone]
    allowed = left_out(connection.dialect.name) if backfill else {}
    found += [f"index {name} is not there" for name in gone if name not in allowed]
    found += [f"index {index.name} is another one, or lacks rows" for index in others]
    return [
        *found,
        *_keys(connection),
        *_conditions(connection),
        *_counters(connection),
        *_hands(connection),
    ]


def make_indexes(connection: Connection) -> list[str]:
    """Make the indexes that are not there, or are other ones of the same name; their names."""
    absent, others = _indexes(connection, _changes(connection))
    for index in others:
        index.drop(connection)
    for index in (*absent, *others):
        index.create(connection)
    keys = left_out(connection.dialect.name)
    lost = missing(connection)
    for name in lost:
        connection.execute(keys[name])
    return sorted([*(str(index.name) for index in (*absent, *others)), *lost])


def _indexes(
    connection: Connection, changes: list[tuple[Any, ...]]
) -> tuple[list[Index], list[Index]]:
    """Our indexes that are not there, and those in whose place others are."""
    there = _there(connection)
    changed = {change[-1].name for change in changes if change[0] == "add_index"}
    absent, others = [], []
    for table in tables.metadata.sorted_tables:
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            found = there.get((table.name, str(index.name)))
            wanted = index.dialect_kwargs.get(f"{connection.dialect.name}_where")
            if found is None:
                absent.append(index)
            elif (
                index.name in changed
                or not found.valid
                or found.rows != _plain("" if wanted is None else str(wanted))
            ):
                others.append(index)
    return absent, others


def _there(connection: Connection) -> dict[tuple[str, str], _There]:
    """Each index of the database, by its table and its name."""
    sqlite = connection.dialect.name == "sqlite"
    found = {}
    for table, name, said, valid in connection.execute(
        _SQLITE_INDEXES if sqlite else _POSTGRESQL_INDEXES
    ):
        # No column of ours has a name with a parenthesis.
        rows = re.sub(r"(?i)^\s*WHERE\b", "", said.partition(")")[2]) if sqlite else said or ""
        found[table, name] = _There(_plain(rows), bool(valid))
    return found


def _plain(rows: str) -> str:
    """A condition as either database writes it; ours have no parentheses to lose."""
    words = _QUOTED.sub(r"\1", rows).replace("(", " ").replace(")", " ")
    return " ".join(words.lower().split())


def _keys(connection: Connection) -> Iterator[str]:
    """Tables without their key, which alembic does not compare, or with an invalid one."""
    there = _there(connection)
    found = inspect(connection).get_multi_pk_constraint(filter_names=[*tables.metadata.tables])
    for (_, name), key in found.items():
        ours = [column.name for column in tables.metadata.tables[name].primary_key.columns]
        columns = list(key["constrained_columns"]) if key else []
        # One that a first backfill leaves out is an index until nobody reads its table.
        late = not columns and f"{name}_pkey" in left_out(connection.dialect.name)
        index = there.get((name, f"{name}_pkey" if late else str(key and key["name"])))
        if (columns != ours and not late) or (index is not None and not index.valid):
            yield f"table {name} has not its primary key"


def _conditions(connection: Connection) -> Iterator[str]:
    """Conditions on rows, of which we have none: the next row may be refused."""
    found = inspect(connection).get_multi_check_constraints(filter_names=[*tables.metadata.tables])
    for (_, table), conditions in sorted(found.items()):
        for condition in conditions:
            called = condition["name"] or condition["sqltext"]
            yield f"condition {called} on table {table} is another's"
    if connection.dialect.name == "postgresql":
        for name in connection.execute(_UNLOGGED).scalars():
            if name in tables.metadata.tables:
                yield f"table {name} is not logged: a crash would empty it"


def _counters(connection: Connection) -> Iterator[str]:
    """Columns that count by themselves and no longer do: the next row would be refused.

    SQLite counts in the key of a table itself.
    """
    if connection.dialect.name == "sqlite":
        return
    shown = inspect(connection)
    there = set(shown.get_table_names())
    for table in tables.metadata.sorted_tables:
        ours = table.autoincrement_column
        if ours is None or table.name not in there:
            continue
        for column in shown.get_columns(table.name):
            counts = column.get("identity") or "nextval(" in (column["default"] or "")
            if column["name"] == ours.name and not counts:
                yield f"column {table.name}.{ours.name} does not count by itself"


def _hands(connection: Connection) -> Iterator[str]:
    """Triggers and rules on our tables, which change what is written, or keep it from being."""
    sqlite = connection.dialect.name == "sqlite"
    for table, kind, name in connection.execute(_SQLITE_HANDS if sqlite else _POSTGRESQL_HANDS):
        if table in tables.metadata.tables:
            yield f"{kind} {name} on table {table} is not of this release"


def _changes(connection: Connection) -> list[tuple[Any, ...]]:
    """What alembic would do to make the database's tables ours."""
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            # PostgreSQL may hold another program's tables beside ours.
            "include_name": lambda name, kind, _: kind != "table" or name in tables.metadata.tables,
        },
    )
    # Changes of one column come as a list.
    found = compare_metadata(context, tables.metadata)
    return [one for each in found for one in (each if isinstance(each, list) else [each])]
