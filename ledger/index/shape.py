"""Whether the database's tables are still those that the migrations made.

A dropped index changes no row, so no other check sees it: reads become slow, and of two live
versions of one entity nothing refuses the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Index

from ledger.index import access_tables as _access_tables  # noqa: F401  its tables join the rest
from ledger.index import tables
from ledger.index import webhook_tables as _webhook_tables  # noqa: F401  likewise
from ledger.index.deferred import left_out, missing


def lacking(connection: Connection) -> list[str]:
    """What this release's tables have and the database's lack or have otherwise, in words.

    What somebody added, such as an index of their own, is nobody's fault.
    """
    found = []
    for change in _changes(connection):
        kind, _, what = str(change[0]).partition("_")
        if kind == "add":
            # An index or table is named by itself; a column by its table too.
            named = change[-1].name
            of = f"{change[2]}.{named}" if what == "column" else named
            found.append(f"{what} {of} is not there")
        elif kind == "modify":
            found.append(f"column {change[2]}.{change[3]} has another {what}")
    # The key of a table, which alembic does not compare.
    keys = (f"index {name} is not there" for name in missing(connection))
    return found + [sentence for sentence in keys if sentence not in found]


def make_indexes(connection: Connection) -> list[str]:
    """Make the indexes that are not there, or are other ones of the same name; their names."""
    changes = [change for change in _changes(connection) if isinstance(change[-1], Index)]
    wanted = {str(index.name): index for kind, index in changes if kind == "add_index"}
    for kind, index in changes:
        if kind == "remove_index" and index.name in wanted:
            index.drop(connection)
    for index in wanted.values():
        index.create(connection)
    keys = left_out(connection.dialect.name)
    lost = missing(connection)
    for name in lost:
        connection.execute(keys[name])
    return sorted([*wanted, *lost])


def _changes(connection: Connection) -> Iterator[tuple[Any, ...]]:
    """What alembic would do to make the database's tables ours."""
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            # PostgreSQL may hold another program's tables beside ours.
            "include_name": lambda name, kind, _: kind != "table" or name in tables.metadata.tables,
        },
    )
    for change in compare_metadata(context, tables.metadata):
        # Changes of one column come as a list.
        yield from change if isinstance(change, list) else (change,)
