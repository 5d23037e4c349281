"""Pages are written straight from rows, and are what the described schemas write, byte for byte."""

from __future__ import annotations

import importlib
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from api import pages
from api.routes.licenses import shown
from api.routes.models import shown_all
from api.schemas.base import AsOf
from api.schemas.licenses import LicensePage
from api.schemas.models import ModelPage
from ledger.ids import Digest
from ledger.index import listing, tables
from ledger.index.database import open_database, writing
from ledger.index.journal import Journal
from ledger.index.views import Index, Snapshot

CHAIN = 31337
ROWS = 300
TITLES = [
    "a small model", "", 'with "quotes" \\ and \n lines', "ünï¢ødé 🦭", "\x00\x1f\x7f</script>",
    "\u2028", 7, None,
]  # fmt: skip


@pytest.fixture(scope="module")
def postgres() -> Iterator[Any]:
    with importlib.import_module("postgres_world").server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path) -> Iterator[Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/index.db"
    else:
        server = request.getfixturevalue("postgres")
        url = server.url(server.fresh())
    engine = open_database(url)
    yield engine
    engine.dispose()


class Chance:
    """Rows made up of the values that columns may hold, edges more often than not."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def value(self, column: Any) -> Any:
        """Of a column's kind."""
        pick = self._random.choice
        if column.nullable and pick((True, False)):
            return None
        if isinstance(column.type, tables.Uint):
            return pick((0, 1, 2**53 + 1, 2**64 - 1))
        match column.type.python_type.__name__:
            case "bytes":
                size = column.type.length
                return pick((bytes(size), b"\xff" * size, self._random.randbytes(size)))
            case "bool":
                return pick((True, False))
        if column.name == "status":
            return pick((1, 2, 3, 4))
        return pick((0, 1, 1_800_000_000, 2**53))

    def row(self, table: Any, **given: Any) -> dict[str, Any]:
        """A live one of a table."""
        made = {column.name: self.value(column) for column in table.columns}
        return made | {"chain_id": CHAIN, "born_block": 1, "died_block": None} | given

    def bytes(self, size: int) -> bytes:
        """Some."""
        return self._random.randbytes(size)

    def title(self) -> Any:
        """One of those that may be trouble."""
        return self._random.choice(TITLES)


def filled(engine: Engine, seed: int) -> Index:
    """An index of rows by chance, at block 9, of which 4 are final."""
    chance = Chance(seed)
    manifests = [chance.bytes(32) for _ in range(ROWS)]
    models = [
        chance.row(
            tables.model, model_id=chance.bytes(32), registered_block=n % 9, manifest_hash=name
        )
        for n, name in enumerate(manifests)
    ]
    numbers = [(n // 3 << 32) + n % 3 + 1 for n in range(ROWS)]
    licenses = [chance.row(tables.license_, license_id=n) for n in numbers]
    documents = [
        {
            "kind": "manifest", "hash": name, "complete": True, "deposited_at_ms": 1,
            "body": json.dumps([1] if n == 0 else {"title": chance.title(), "other": 1}),
        }
        for n, name in enumerate(manifests[::2])
    ]  # fmt: skip
    with writing(engine) as connection:
        Journal(CHAIN).pin(connection, genesis=Digest(bytes(32)), deployment={}, first=0)
        for table, rows in (
            (tables.model, models),
            (tables.license_, licenses),
            (tables.document, documents),
        ):
            connection.execute(insert(table), rows)
        connection.execute(
            tables.cursor.update().values(
                next_block=10, last_hash=chance.bytes(32), last_time=9, safe=6, finalized=4
            )
        )
    return Index(engine, CHAIN)


def of_models(snapshot: Snapshot, rows: Any, limit: int) -> tuple[str, str]:
    """A page as it is written, and as the schemas write it."""
    table = tables.model
    whole = {
        row["model_id"]: row
        for row in snapshot.rows(select(table).where(table.c.chain_id == CHAIN))
    }
    last = rows[-1] if len(rows) == limit else None
    described = ModelPage(
        as_of=AsOf.of(snapshot.as_of),
        models=shown_all(snapshot, [whole[row.model_id] for row in rows]),
        next_cursor=last and f"{last.registered_block}-{last.model_id.hex()}",
    )
    written = pages.written_as_of(snapshot.as_of) + "," + pages.models(snapshot, rows, limit)
    return written, described.model_dump_json()


def of_licenses(snapshot: Snapshot, rows: Any, limit: int) -> tuple[str, str]:
    """The same of licenses."""
    table = tables.license_
    whole = {row["license_id"]: row for row in snapshot.rows(select(table))}
    described = LicensePage(
        as_of=AsOf.of(snapshot.as_of),
        licenses=[shown(whole[row.license_id]) for row in rows],
        next_cursor=str(rows[-1].license_id) if len(rows) == limit else None,
    )
    written = pages.written_as_of(snapshot.as_of) + "," + pages.licenses(rows, limit)
    return written, described.model_dump_json()


@pytest.mark.parametrize("limit", [1, 70, ROWS, 500])
def test_a_page_is_what_its_schema_writes(engine, limit):
    with filled(engine, limit).snapshot() as snapshot:
        written, described = of_models(snapshot, listing.models(snapshot, limit=limit), limit)
        assert written == described
        written, described = of_licenses(snapshot, listing.licenses(snapshot, limit=limit), limit)
        assert written == described
        assert json.loads(written)["licenses"]


def test_pages_one_after_the_other_hold_every_row_once(engine):
    with filled(engine, 1).snapshot() as snapshot:
        seen, after = [], None
        while rows := listing.models(snapshot, after=after, limit=7):
            seen += [(row.registered_block, row.model_id) for row in rows]
            after = seen[-1]
        assert len(seen) == ROWS
        assert seen == sorted(set(seen))
        numbers: list[int] = []
        while more := listing.licenses(snapshot, after=numbers[-1] if numbers else None, limit=7):
            numbers += [row.license_id for row in more]
        assert len(numbers) == ROWS
        assert numbers == sorted(set(numbers))


def test_a_page_of_the_past_ends_where_the_past_does(engine):
    index = filled(engine, 2)
    with index.snapshot() as snapshot:
        every = listing.models(snapshot, limit=ROWS)
    with index.snapshot(5) as snapshot:
        rows = listing.models(snapshot, limit=ROWS)
        assert rows == [row for row in every if row.registered_block <= 5]
        written, described = of_models(snapshot, rows, ROWS)
        assert written == described
