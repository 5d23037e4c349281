"""Past finality the index stops; only an operator who was told what it costs takes it further."""

from __future__ import annotations

import secrets
import time

import pytest
from sqlalchemy import select

from ledger.errors import Fenced, Reorganised, UsageError
from ledger.index import tables
from ledger.index.accepting import accept, propose
from ledger.index.follow import Follower
from ledger.index.keeper import Keeper

pytestmark = pytest.mark.chain


@pytest.fixture
def stopped(ledger, engine, look):
    """A follower that met a reorganisation past finality; the newest block that is shared."""
    given = ledger.deployment
    first = ledger.rpc.block("latest").number + 1
    recent = look.Contracted(given.chain_id, given.genesis_hash, first, given.addresses)
    follower = Follower(ledger.rpc, engine, recent, look.Profile(test_network=False))
    model = ledger.register()
    shared = ledger.rpc.block("latest").number
    plan = ledger.plan(model)
    ledger.issue(plan)
    ledger.mine(4)
    look.catch_up(follower)
    worker = Keeper(ledger.rpc, engine, given.chain_id, rate=1e9)
    while worker.turn():
        pass
    ledger.reorg(ledger.rpc.block("latest").number - shared)
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.mine(6)
    with pytest.raises(Reorganised) as caught:
        follower.step()
    assert f"accept-reorg {shared}" in caught.value.hint
    # Others may be shared too: of blocks without events few are kept.
    assert f"the newest block kept here that it has too is {shared}" in caught.value.message
    return follower, shared


def proposed(engine, ledger, follower, block):
    return propose(engine, follower.journal, ledger.rpc, block, depth=0)


def test_it_says_what_would_be_taken_back_and_changes_nothing(ledger, engine, look, stopped):
    follower, shared = stopped
    before = look.state(engine), look.journal(engine)
    found = proposed(engine, ledger, follower, shared)
    assert (found.events["PlanCreated"], found.events["LicenseIssued"]) == (1, 1)
    assert (found.ancestor, found.depth) == (shared, 6)
    assert 1 <= found.final_depth <= 6
    assert (found.models, found.licenses) == (0, 1)
    assert (look.state(engine), look.journal(engine)) == before


def test_accepted_it_is_taken_back_with_a_record_and_the_follower_goes_on(
    ledger, engine, look, stopped
):
    follower, shared = stopped
    found = proposed(engine, ledger, follower, shared)
    now_ms = int(time.time() * 1000)
    number = accept(engine, follower.journal, found, by="ann@host", why="ticket 7", now_ms=now_ms)
    with engine.connect() as connection:
        row = connection.execute(select(tables.reorg).where(tables.reorg.c.id == number)).one()
        gone = connection.execute(select(tables.orphan_log.c.event)).scalars().all()
    assert (row.ancestor, row.past_finality, row.accepted_by) == (shared, True, "ann@host")
    assert row.accepted_why.startswith("ticket 7")
    assert {"PlanCreated", "LicenseIssued"} <= set(gone)
    # The old epoch is void; the follower takes over without waiting for a silence.
    with pytest.raises(Fenced):
        follower.step()
    follower._stand_by(Fenced("another"))
    look.catch_up(follower)
    assert look.journal(engine)[-1][:3] == ledger.logs()[-1][:3]
    assert look.refolded(engine, follower) == look.state(engine)


@pytest.mark.parametrize("off", [-1, 1])
def test_another_block_than_the_newest_shared_one_is_refused(ledger, engine, stopped, off):
    follower, shared = stopped
    with pytest.raises(UsageError, match="is not the newest block") as caught:
        proposed(engine, ledger, follower, shared + off)
    assert caught.value.hint.endswith(f"accept-reorg {shared}")


def test_what_was_looked_at_and_has_changed_since_is_not_taken_back(ledger, engine, look, stopped):
    follower, shared = stopped
    found = proposed(engine, ledger, follower, shared)
    accept(engine, follower.journal, found, by="ann", why="", now_ms=1)
    before = look.journal(engine)
    with pytest.raises(Fenced, match="has moved"):
        accept(engine, follower.journal, found, by="bob", why="", now_ms=2)
    assert look.journal(engine) == before


def test_what_the_follower_does_by_itself_needs_nobody(ledger, engine, look):
    follower = Follower(ledger.rpc, engine, ledger.deployment, look.Profile(test_network=False))
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    block = ledger.rpc.block("latest").number
    look.catch_up(follower)
    with pytest.raises(UsageError, match="nothing to take back"):
        proposed(engine, ledger, follower, block)
    ledger.reorg(1)
    ledger.mine()
    with pytest.raises(UsageError, match="by itself"):
        proposed(engine, ledger, follower, block - 1)
