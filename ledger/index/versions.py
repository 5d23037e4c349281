"""Versioned rows: every change ends one version and begins the next, at a block.

A version lives in the half-open range ``[born_block, died_block)`` of blocks. All changes of one
entity within one block make one version. Rows are read once a transaction and written in bulk.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from ledger.index.tables import STATE, log_subject, state_keys

Entity = tuple[str, tuple[Any, ...]]


class Versions:
    """The state tables as one transaction sees and changes them."""

    def __init__(self, connection: Connection, chain_id: int) -> None:
        self._connection = connection
        self._chain_id = chain_id
        # Live rows by entity: values, block of birth, and whether the row is in the database yet.
        self._live: dict[Entity, tuple[dict[str, Any], int, bool] | None] = {}
        self._born: dict[str, list[dict[str, Any]]] = {}
        self._died: dict[str, list[dict[str, Any]]] = {}
        self._subjects: set[tuple[bytes, int, int]] = set()

    def get(self, table: str, key: tuple[Any, ...]) -> dict[str, Any] | None:
        """The live values of an entity, without its key; None when it does not exist."""
        found = self._load(table, key)
        return None if found is None else dict(found[0])

    def put(self, table: str, key: tuple[Any, ...], values: dict[str, Any], block: int) -> None:
        """Give an entity these values from `block` on."""
        found = self._load(table, key)
        if found is not None and found[1] < block:
            self._close(table, key, found, block)
            found = None
        assert found is None or not found[2], f"block {block} is folded twice"
        self._live[table, key] = (values, block, False)

    def end(self, table: str, key: tuple[Any, ...], block: int) -> None:
        """Let an entity exist no longer, from `block` on."""
        found = self._load(table, key)
        if found is None:
            return
        if found[1] < block:
            self._close(table, key, found, block)
        else:
            # Born and ended in one block: it never was, between blocks. A block's events are folded
            # in one transaction, so such a row cannot be stored already.
            assert not found[2], f"block {block} is folded twice"
        self._live[table, key] = None

    def subject(self, subject: bytes, block: int, log_index: int) -> None:
        """File a log under a subject."""
        self._subjects.add((subject, block, log_index))

    def flush(self) -> None:
        """Write everything. Deaths go first, so that one live version an entity always holds."""
        for (table, key), found in self._live.items():
            if found is not None and not found[2]:
                self._born.setdefault(table, []).append(self._row(table, key, *found[:2]))
        for name, rows in self._died.items():
            table_ = STATE[name]
            keys = ("chain_id", *state_keys(table_), "born_block")
            statement = update(table_).values(died_block=bindparam("p_died"))
            for column in keys:
                statement = statement.where(table_.c[column] == bindparam(f"p_{column}"))
            self._connection.execute(
                statement, [{f"p_{column}": value for column, value in row.items()} for row in rows]
            )
        for name, rows in self._born.items():
            self._connection.execute(insert(STATE[name]), rows)
        if self._subjects:
            self._connection.execute(
                insert(log_subject),
                [
                    {"chain_id": self._chain_id, "subject": s, "block": b, "log_index": i}
                    for s, b, i in sorted(self._subjects)
                ],
            )
        self._live.clear()
        self._born.clear()
        self._died.clear()
        self._subjects.clear()

    def _close(
        self,
        table: str,
        key: tuple[Any, ...],
        found: tuple[dict[str, Any], int, bool],
        block: int,
    ) -> None:
        values, born, stored = found
        if stored:
            names = state_keys(STATE[table])
            row = {"chain_id": self._chain_id, **dict(zip(names, key, strict=True))}
            self._died.setdefault(table, []).append({**row, "born_block": born, "died": block})
        else:
            row = self._row(table, key, values, born)
            self._born.setdefault(table, []).append({**row, "died_block": block})

    def _row(
        self, table: str, key: tuple[Any, ...], values: dict[str, Any], born: int
    ) -> dict[str, Any]:
        names = state_keys(STATE[table])
        return {
            "chain_id": self._chain_id,
            **dict(zip(names, key, strict=True)),
            "born_block": born,
            "died_block": None,
            **values,
        }

    def _load(self, table: str, key: tuple[Any, ...]) -> tuple[dict[str, Any], int, bool] | None:
        if (table, key) in self._live:
            return self._live[table, key]
        table_ = STATE[table]
        names = state_keys(table_)
        query = select(table_).where(
            table_.c.chain_id == self._chain_id,
            table_.c.died_block.is_(None),
            *(table_.c[name] == value for name, value in zip(names, key, strict=True)),
        )
        row = self._connection.execute(query).mappings().one_or_none()
        found = None
        if row is not None:
            drop = {"chain_id", "born_block", "died_block", *names}
            values = {name: value for name, value in row.items() if name not in drop}
            found = (values, int(row["born_block"]), True)
        self._live[table, key] = found
        return found


def undo(connection: Connection, chain_id: int, ancestor: int) -> None:
    """Bring every state table back to the end of block `ancestor`."""
    for table in STATE.values():
        connection.execute(
            delete(table).where(table.c.chain_id == chain_id, table.c.born_block > ancestor)
        )
        connection.execute(
            update(table)
            .where(table.c.chain_id == chain_id, table.c.died_block > ancestor)
            .values(died_block=None)
        )
    connection.execute(
        delete(log_subject).where(
            log_subject.c.chain_id == chain_id, log_subject.c.block > ancestor
        )
    )


def clear(connection: Connection, chain_id: int) -> None:
    """Empty every state table."""
    for table in (*STATE.values(), log_subject):
        connection.execute(delete(table).where(table.c.chain_id == chain_id))
