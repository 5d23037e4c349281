"""Versioned rows: every change ends one version and begins the next, at a block.

A version lives in the half-open range ``[born_block, died_block)`` of blocks. All changes of one
entity within one block make one version. Live rows are read many at a time before a transaction's
events are folded (`Versions.preload`), or one by one where nobody asked for them in time; versions
are collected and written in bulk, one statement a table.
"""

from __future__ import annotations

import functools
import itertools
import operator
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Table,
    Update,
    bindparam,
    column,
    delete,
    func,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from ledger.index.bulk import Row, bound, insert_packed, insert_rows, loaded, pg_type
from ledger.index.packed import in_statements
from ledger.index.tables import STATE, log_subject, state_keys

Key = tuple[Any, ...]
PRELOAD_KEYS = 500
"""Keys asked for in one statement."""

_MANY_DEATHS = 8
# A row of `log_subject` in PostgreSQL's binary COPY: the count of its fields, then size and value.
_FILED = struct.Struct(">hiqi32siqiq")


class _Shape:
    """A state table as this module writes it: chain id, key, birth, death, then its values."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.keys = state_keys(table)
        columns = [column.name for column in table.columns]
        head = ["chain_id", *self.keys, "born_block", "died_block"]
        assert columns[: len(head)] == head, f"the columns of {table.name} are in another order"
        self.values = tuple(columns[len(head) :])
        converters = dict(zip(columns, bound(table), strict=True))
        self._keyed = [(i, c) for i, n in enumerate(self.keys) if (c := converters[n]) is not None]
        self._valued = [
            (i, c) for i, n in enumerate(self.values) if (c := converters[n]) is not None
        ]
        self._pick = operator.itemgetter(*self.values) if len(self.values) > 1 else self._only
        read = [*self.keys, "born_block", *self.values]
        self._columns = ", ".join(f'"{name}"' for name in read)
        loads = [(i, loaded(table.columns[name])) for i, name in enumerate(read)]
        self._loads = [(i, load) for i, load in loads if load is not None]

    def _only(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        return (values[self.values[0]],)

    def key(self, key: Key) -> Key:
        """A key as the driver is given it."""
        if not self._keyed:
            return key
        made = list(key)
        for index, convert in self._keyed:
            made[index] = convert(made[index])
        return tuple(made)

    def row(
        self, chain_id: int, key: Key, born: int, died: int | None, values: Mapping[str, Any]
    ) -> Row:
        """A version as the driver is given it."""
        held = list(self._pick(values))
        for index, convert in self._valued:
            value = held[index]
            if value is not None:
                held[index] = convert(value)
        return (chain_id, *self.key(key), born, died, *held)

    def reading(
        self, chain_id: int, keys: Sequence[Key], *, postgres: bool
    ) -> tuple[str, tuple[Any, ...]]:
        """The statement that reads the live rows of these keys, and what it is given."""
        names = ", ".join(f'"{key}"' for key in self.keys)
        given: tuple[Any, ...]
        if postgres:
            kinds = [pg_type(self.table.columns[key].type) for key in self.keys]
            if len(kinds) == 1:
                # One walk along the index for all keys; a join looks each of them up.
                among = f"{names} = ANY (%s::{kinds[0]}[])"
            else:
                arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
                among = f"({names}) IN (SELECT * FROM unnest({arrays}))"  # noqa: S608  our own
            given = (chain_id, *map(list, zip(*map(self.key, keys), strict=True)))
        else:
            one = ", ".join("?" for _ in self.keys)
            row = one if len(self.keys) == 1 else f"({one})"
            many = ", ".join([row] * len(keys))
            among = f"{names} IN ({many})" if row == one else f"({names}) IN (VALUES {many})"
            given = (chain_id, *itertools.chain.from_iterable(map(self.key, keys)))
        place = "%s" if postgres else "?"
        return (
            f'SELECT {self._columns} FROM "{self.table.name}" '  # noqa: S608  our own names
            f"WHERE chain_id = {place} AND died_block IS NULL AND {among}"
        ), given

    def found(self, row: Sequence[Any]) -> tuple[Key, int, dict[str, Any]]:
        """Key, block of birth and values of a row that was read."""
        held = list(row)
        for index, load in self._loads:
            if held[index] is not None:
                held[index] = load(held[index])
        count = len(self.keys)
        values = dict(zip(self.values, held[count + 1 :], strict=True))
        return tuple(held[:count]), held[count], values


@functools.cache
def _shape(table: str) -> _Shape:
    return _Shape(STATE[table])


class _Live:
    """The live version of one entity, as the transaction leaves it so far."""

    __slots__ = ("born", "stored", "values")

    def __init__(self, values: dict[str, Any], born: int, stored: bool) -> None:
        self.values = values
        self.born = born
        # Whether the row is in the database already, so that its death is an update.
        self.stored = stored


class Versions:
    """The state tables as one transaction sees and changes them."""

    def __init__(self, connection: Connection, chain_id: int) -> None:
        self._connection = connection
        self._chain_id = chain_id
        # By table and key; None where the entity does not exist.
        self._live: dict[str, dict[Key, _Live | None]] = {name: {} for name in STATE}
        self._born: dict[str, list[Row]] = {}
        # (key…, born, died) of stored versions that end.
        self._died: dict[str, list[Row]] = {}
        # By subject: block and log index of each log, in the journal's order.
        self._subjects: dict[bytes, list[tuple[int, int]]] = {}

    def preload(self, wanted: Mapping[str, Iterable[Key]]) -> None:
        """Read the live rows of many entities at once; what is asked for later needs no reading."""
        for name, keys in wanted.items():
            live = self._live[name]
            missing = [key for key in dict.fromkeys(keys) if key not in live]
            for start in range(0, len(missing), PRELOAD_KEYS):
                part = missing[start : start + PRELOAD_KEYS]
                live.update(dict.fromkeys(part))
                self._read(name, part)

    def absent(self, table: str, keys: Iterable[Key]) -> None:
        """Note that these entities are known not to exist; they need no reading."""
        live = self._live[table]
        for key in keys:
            live.setdefault(key, None)

    def get(self, table: str, key: Key) -> Mapping[str, Any] | None:
        """The live values of an entity, without its key; None when it does not exist."""
        found = self._load(table, key)
        return None if found is None else found.values

    def put(self, table: str, key: Key, values: dict[str, Any], block: int) -> None:
        """Give an entity these values from `block` on; they are its own from now on."""
        found = self._load(table, key)
        if found is not None:
            if found.born < block:
                self._close(table, key, found, block)
            else:
                assert not found.stored, f"block {block} is folded twice"
                found.values = values
                return
        self._live[table][key] = _Live(values, block, stored=False)

    def change(
        self, table: str, key: Key, values: Mapping[str, Any], block: int
    ) -> Mapping[str, Any] | None:
        """Give a live entity some new values from `block` on; its values then, if it exists."""
        found = self._load(table, key)
        if found is None:
            return None
        if found.born == block and not found.stored:
            # Of this block, and so of this transaction: nobody else holds it.
            found.values.update(values)
            return found.values
        changed = {**found.values, **values}
        self.put(table, key, changed, block)
        return changed

    def end(self, table: str, key: Key, block: int) -> None:
        """Let an entity exist no longer, from `block` on."""
        found = self._load(table, key)
        if found is None:
            return
        if found.born < block:
            self._close(table, key, found, block)
        else:
            # Born and ended in one block: it never was, between blocks. A block's events are folded
            # in one transaction, so such a row cannot be stored already.
            assert not found.stored, f"block {block} is folded twice"
        self._live[table][key] = None

    def file(self, subjects: Iterable[bytes], block: int, log_index: int) -> None:
        """File a log under its subjects."""
        place = (block, log_index)
        for subject in subjects:
            held = self._subjects.get(subject)
            if held is None:
                self._subjects[subject] = [place]
            elif held[-1] != place:
                held.append(place)

    @property
    def filed(self) -> list[tuple[bytes, int, int]]:
        """What was filed since the last flush: subject, block, log index; sorted."""
        return [
            (subject, *at) for subject, places in sorted(self._subjects.items()) for at in places
        ]

    def flush(self) -> None:
        """Write everything. Deaths go first, so that one live version an entity always holds."""
        chain_id = self._chain_id
        for name, rows in self._died.items():
            self._end_stored(name, rows)
        for name, live in self._live.items():
            row = _shape(name).row
            self._born.setdefault(name, []).extend(
                [
                    row(chain_id, key, found.born, None, found.values)
                    for key, found in live.items()
                    if found is not None and not found.stored
                ]
            )
            live.clear()
        for name, rows in self._born.items():
            insert_rows(self._connection, STATE[name], rows)
        insert_packed(self._connection, log_subject, [self._packed_subjects()])
        self._born.clear()
        self._died.clear()
        self._subjects.clear()

    def _packed_subjects(self) -> bytes | list[tuple[Any, ...]]:
        """What was filed: a row an event and more, so packed here (`insert_packed`)."""
        chain_id, filed = self._chain_id, sorted(self._subjects.items())
        if self._connection.dialect.name == "postgresql":
            pack = _FILED.pack
            return b"".join(
                [
                    pack(4, 8, chain_id, 32, subject, 8, block, 8, at)
                    for subject, places in filed
                    for block, at in places
                ]
            )
        values: list[Any] = []
        for subject, places in filed:
            for block, at in places:
                values += (chain_id, subject, block, at)
        return in_statements(values, len(log_subject.columns))

    def _end_stored(self, name: str, rows: list[Row]) -> None:
        table, keys = STATE[name], [*state_keys(STATE[name]), "born_block"]
        many = len(rows) > _MANY_DEATHS and self._connection.dialect.name == "postgresql"
        if many:
            columns = zip(*rows, strict=True)
            given = {f"p_{n}": list(c) for n, c in zip((*keys, "died"), columns, strict=True)}
            self._connection.execute(_ending_many(name), {"p_chain": self._chain_id, **given})
            return
        statement = update(table).values(died_block=bindparam("p_died"))
        statement = statement.where(table.c.chain_id == self._chain_id)
        for key in keys:
            statement = statement.where(table.c[key] == bindparam(f"p_{key}"))
        names = [f"p_{key}" for key in (*keys, "died")]
        self._connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])

    def _close(self, table: str, key: Key, found: _Live, block: int) -> None:
        if found.stored:
            self._died.setdefault(table, []).append((*key, found.born, block))
        else:
            row = _shape(table).row(self._chain_id, key, found.born, block, found.values)
            self._born.setdefault(table, []).append(row)

    def _load(self, table: str, key: Key) -> _Live | None:
        live = self._live[table]
        try:
            return live[key]
        except KeyError:
            live[key] = None
            self._read(table, [key])
            return live[key]

    def _read(self, name: str, keys: list[Key]) -> None:
        shape, live = _shape(name), self._live[name]
        postgres = self._connection.dialect.name == "postgresql"
        statement, given = shape.reading(self._chain_id, keys, postgres=postgres)
        for row in self._connection.exec_driver_sql(statement, given):
            key, born, values = shape.found(row)
            live[key] = _Live(values, born, stored=True)


@functools.cache
def _ending_many(name: str) -> Update:
    """One statement that ends many versions; PostgreSQL has no fast executemany for updates."""
    table = STATE[name]
    kinds = {key: table.c[key].type for key in (*state_keys(table), "born_block")}
    arrays = [
        bindparam(f"p_{key}", type_=ARRAY(kind))
        for key, kind in {**kinds, "died": BigInteger()}.items()
    ]
    named = [column(key, kind) for key, kind in kinds.items()]
    ended = func.unnest(*arrays).table_valued(*named, column("died", BigInteger()), name="ended")
    ended = ended.render_derived()
    return (
        update(table)
        .where(
            table.c.chain_id == bindparam("p_chain"),
            *(table.c[key] == ended.c[key] for key in kinds),
        )
        .values(died_block=ended.c.died)
    )


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
