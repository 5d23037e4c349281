"""Readiness says no when the chain's head itself has stopped."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from api.routes.health import readiness
from ledger.ids import Digest
from ledger.index.blocks import Header, Heads, Span
from ledger.index.database import open_database
from ledger.index.journal import Journal
from ledger.index.packed import Packed
from ledger.index.views import Index

NOW, CHAIN = 1_700_000_000, 1


@pytest.mark.parametrize(
    ("age", "limit", "ready"), [(30, 120, True), (600, 120, False), (600, None, True)]
)
def test_a_head_that_has_stopped_is_told_where_blocks_come_by_the_clock(
    tmp_path, age, limit, ready
):
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    journal = Journal(CHAIN)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        journal.pin(connection, genesis=Digest(bytes(32)), deployment={}, first=1)
        header = Header(1, b"\1" * 32, bytes(32), NOW - age, 0)
        heads = Heads(header, 0, 0)
        journal.append(
            connection,
            journal.cursor(connection),
            heads,
            parts=[Packed.of(Span([header], [], {}), CHAIN, postgres=False)],
            keep=0,
            now_ms=NOW * 1000,
        )
    served = SimpleNamespace(
        follower=None,
        endpoints=None,
        index=Index(engine, CHAIN, now=lambda: NOW + 1),
        settings=SimpleNamespace(ready_lag=30),
        profile=SimpleNamespace(max_head_age=limit),
    )
    said = readiness(served, broker=False)
    assert said.ready is ready
    assert ("s old" in said.reason) is not ready
    engine.dispose()
