"""What an answer costs does not grow with the index: rows looked at, not the time they take.

On SQLite the steps of its machine are counted, which has no statistics and so plans alike at every
size; on PostgreSQL the rows that its own account of a plan counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import bench_api_seed as seeds
import pytest
from sqlalchemy import Engine, event

from ledger.ids import Address, Digest, ModelId
from ledger.index import catalogue, figures, finding, library, listing, searching, tables
from ledger.index.bulk import insert_rows
from ledger.index.database import open_database, writing
from ledger.index.decode import EVENTS
from ledger.index.evidence_store import BACKLOG_COUNTED, EvidenceStore
from ledger.index.timeline import timeline
from ledger.index.views import Index, Snapshot

CHAIN = 31337
MODELS, LARGE = 500, 2500
EVENTS_A_MODEL = 4
PAGE = 10

NOBODY, NOTHING = b"\xee" * 20, b"\xee" * 32
MODEL = ModelId(seeds.digest("model", 400))
HOLDER = seeds.account(407)
LICENSOR = seeds.account(400)


def fill(engine: Engine, models: int) -> Index:
    """An index as the benchmark's, with tensor ids, parents, anchors and closed batches."""
    names = {name: Address(bytes([n + 1]) * 20) for n, name in enumerate(EVENTS)}
    deployment: Any = SimpleNamespace(
        chain_id=CHAIN, genesis_hash=Digest(bytes(32)), addresses=names, block=5000
    )
    head = SimpleNamespace(
        number=6000,
        hash=Digest(b"\1" * 32),
        parent_hash=Digest(b"\2" * 32),
        timestamp=1_700_009_000,
    )
    seeds.seed(engine, deployment, head, models=models, events=EVENTS_A_MODEL * models)
    with writing(engine) as connection:
        ids = [seeds.digest("model", n) for n in range(models)]
        leaves = [(i, k, seeds.digest(k, n)) for n, i in enumerate(ids) for k in ("cid", "vid")]
        insert_rows(connection, tables.leaf, leaves)
        parents = [(CHAIN, i, ids[n // 2], 1, None, None) for n, i in enumerate(ids) if n > 1]
        insert_rows(connection, tables.parent, parents)
        anchors = [
            (CHAIN, seeds.digest("root", n), 1 + n % 50, None, seeds.account(n), 1_700_000_000 + n)
            for n in range(models)
        ]
        insert_rows(connection, tables.anchor, anchors)
        for name in ("BatchAnchored", "BatchClosed"):
            logs = [_batch(name, n, names["LicenseLedger"].raw) for n in range(models)]
            insert_rows(connection, tables.raw_log, logs)
            filed = [(CHAIN, _root(n), 3000 + n, _AT[name]) for n in range(models)]
            insert_rows(connection, tables.log_subject, filed)
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE")
    return Index(engine, CHAIN)


_AT = {"BatchAnchored": 0, "BatchClosed": 1}


def _root(number: int) -> bytes:
    return seeds.digest("batch", number)


def _batch(name: str, number: int, address: bytes) -> tuple[Any, ...]:
    topic = next(t for t, kind in EVENTS["LicenseLedger"].items() if kind.name == name)
    plan = (number // seeds.MODELS_A_PLAN + 1).to_bytes(32, "big")
    words = {
        "BatchAnchored": [1, 5, 0],
        "BatchClosed": [1_800_000_000 + number, 0],
    }[name]
    block = 3000 + number
    return (
        CHAIN, block, _AT[name], seeds.digest("block", block), 1_700_000_000 + block,
        seeds.digest("batch tx", number), 0, "LicenseLedger", address, name,
        topic + plan + _root(number) + LICENSOR.rjust(32, b"\0"),
        b"".join(word.to_bytes(32, "big") for word in words),
    )  # fmt: skip


Ask = Callable[[Snapshot], Any]

QUESTIONS: dict[str, Ask] = {
    "models": lambda s: listing.models(s, after=(40, NOTHING), limit=PAGE),
    "models of a licensor": lambda s: listing.models(s, licensor=LICENSOR, limit=PAGE),
    "models of nobody": lambda s: listing.models(s, licensor=NOBODY, limit=PAGE),
    "models of a content": lambda s: listing.models(s, artifact_root=NOTHING, limit=PAGE),
    "models of a parent": lambda s: listing.models(s, parent=MODEL.raw, limit=PAGE),
    "a model": lambda s: [
        s.model(MODEL), s.titles(MODEL), s.sealings(MODEL), s.records(MODEL), s.parents(MODEL),
        s.plans(MODEL),
    ],
    "a timeline": lambda s: timeline(s, MODEL),
    "lineage": lambda s: catalogue.lineage(s, ModelId(seeds.digest("model", 90)), depth=2),
    "licenses": lambda s: listing.licenses(s, after=seeds.license_id(40), limit=PAGE),
    "licenses of a holder": lambda s: listing.licenses(s, holder=HOLDER, limit=PAGE),
    "licenses of nobody": lambda s: listing.licenses(s, holder=NOBODY, after=1, limit=PAGE),
    "licenses of a model": lambda s: listing.licenses(s, model_id=MODEL.raw, limit=PAGE),
    "licenses of a plan": lambda s: listing.licenses(s, plan_id=41, limit=PAGE),
    "licenses of a reference": lambda s: listing.licenses(s, external=Digest(NOTHING), limit=PAGE),
    "plans": lambda s: catalogue.plans(s, after=10, limit=PAGE),
    "plans of a licensor": lambda s: catalogue.plans(s, licensor=LICENSOR, limit=PAGE),
    "plans of a model": lambda s: catalogue.plans(s, model_id=MODEL.raw, limit=PAGE),
    "batches": lambda s: catalogue.batches(s, after=(3100, 0), limit=PAGE),
    "anchors": lambda s: catalogue.anchors(s, first=1_700_000_100, limit=PAGE),
    "anchors of a sender": lambda s: catalogue.anchors(s, sender=LICENSOR, limit=PAGE),
    "figures": lambda s: figures.figures(s, LICENSOR, at=1_700_000_100, within=86_400),
    "a digest": lambda s: finding.find_digest(s, Digest(MODEL.raw)),
    "no digest": lambda s: finding.find_digest(s, Digest(NOTHING)),
    "an account": lambda s: finding.find_account(s, LICENSOR),
    "a day": lambda s: finding.find_time(s, 1_700_000_040, 1_700_000_041),
    "a tensor": lambda s: library.search(s, "cid", Digest(seeds.digest("cid", 40))),
    "tensors": lambda s: searching.holdings(
        s, {"cid": [Digest(seeds.digest("cid", 40))], "vid": [Digest(seeds.digest("vid", 41))]}
    ),
    "events": lambda s: s.events(after=(40, 1), limit=PAGE),
    "events of a name": lambda s: s.events(name="LicenseIssued", first=40, limit=PAGE),
    "events of no name": lambda s: s.events(name="NoSuch", limit=PAGE),
    "events of a quiet contract": lambda s: s.events(contract="LicenseMarket", limit=PAGE),
    "events of a busy contract": lambda s: s.events(contract="LicenseLedger", limit=PAGE),
    "another contract's event": lambda s: s.events(
        contract="ModelRegistry", name="LicenseIssued", limit=PAGE
    ),
    "events of a subject": lambda s: s.events(subject=MODEL.raw, limit=PAGE),
    "a subject's events of a name": lambda s: s.events(
        subject=MODEL.raw, name="LicenseIssued", limit=PAGE
    ),
    "a subject's events of a contract": lambda s: s.events(
        subject=MODEL.raw, contract="LicenseMarket", limit=PAGE
    ),
}  # fmt: skip


class Cost:
    """What statements on one engine look at."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._said: list[tuple[str, Any]] = []

    def of(self, index: Index, ask: Ask, block: int | None) -> int:
        """Steps on SQLite, rows on PostgreSQL."""
        with index.snapshot(block) as snapshot:
            raw: Any = snapshot.connection.connection.driver_connection
            if self._engine.dialect.name == "sqlite":
                steps = [0]

                def step() -> int:
                    steps[0] += 10
                    return 0

                raw.set_progress_handler(step, 10)
                ask(snapshot)
                raw.set_progress_handler(None, 0)
                return steps[0]
            # Small tables are rather read whole; large ones may not be.
            snapshot.connection.exec_driver_sql("SET LOCAL enable_seqscan TO off")
            event.listen(self._engine, "before_cursor_execute", self._hear)
            ask(snapshot)
            event.remove(self._engine, "before_cursor_execute", self._hear)
            said, self._said = self._said, []
            with raw.cursor() as cursor:
                return sum(self._rows(cursor, text, values) for text, values in said)

    def _hear(self, _: Any, __: Any, text: str, values: Any, *rest: Any) -> None:
        del rest
        self._said.append((text, values))

    def _rows(self, cursor: Any, text: str, values: Any) -> int:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", values)
        found = cursor.fetchone()[0]
        return self._touched((json.loads(found) if isinstance(found, str) else found)[0]["Plan"])

    def _touched(self, plan: dict[str, Any]) -> int:
        inner = plan.get("Plans", [])
        own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        count = 0 if inner else own * plan["Actual Loops"]
        return int(count) + sum(self._touched(each) for each in inner)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Iterator[Index]:
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('small')}/index.db")
    yield fill(engine, MODELS)
    engine.dispose()


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Iterator[Index]:
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('large')}/index.db")
    yield fill(engine, LARGE)
    engine.dispose()


@pytest.mark.parametrize("name", QUESTIONS)
def test_on_sqlite_an_answer_costs_the_same_in_an_index_five_times_as_large(small, large, name):
    ask = QUESTIONS[name]
    before, after = (Cost(index.engine).of(index, ask, None) for index in (small, large))
    assert after <= 1.3 * before + 300, (before, after)


@pytest.mark.parametrize("name", [n for n in QUESTIONS if not n.startswith("licenses")])
def test_on_sqlite_an_answer_about_the_past_costs_the_same_too(small, large, name):
    ask = QUESTIONS[name]
    before, after = (Cost(index.engine).of(index, ask, 5500) for index in (small, large))
    assert after <= 1.3 * before + 300, (before, after)


def test_on_postgresql_no_answer_looks_at_more_than_some_pages_of_rows(postgres):
    engine = open_database(postgres.url(postgres.fresh()))
    try:
        index = fill(engine, LARGE)
        cost = Cost(engine)
        looked = {name: cost.of(index, ask, None) for name, ask in QUESTIONS.items()}
    finally:
        engine.dispose()
    # The table of licenses has 2,500 rows, the journal 15,000.
    assert {name: rows for name, rows in looked.items() if rows > 400} == {}


def test_waiting_events_are_counted_up_to_a_bound(large):
    with large.engine.connect() as connection:
        counted = EvidenceStore(CHAIN).coverage(connection).backlog
    assert counted == BACKLOG_COUNTED < EVENTS_A_MODEL * LARGE + 2 * LARGE
