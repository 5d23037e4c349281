"""An index that is right passes the audit of its outbox whatever happened to it; damage beside it.

Damage that one altered row does is in ``test_audit``.
"""

from __future__ import annotations

import random
from importlib import import_module

import pytest
from sqlalchemy import insert, select, update

from ledger.index import decode, follow, tables
from ledger.index.audit import audit
from ledger.index.database import writing
from ledger.index.journal import Journal
from ledger.index.outbox import Outbox
from ledger.index.rebuilding import rebuild

chains = import_module("chain_world")
stories = import_module("story_world")

TABLE = tables.outbox


@pytest.fixture
def loose(stand):
    """The stand on a test network, where reorganisations pass finality; final 4 blocks down."""
    stand.chain.final_depth = 4
    stand.profile = chains.Profile(test_network=True)
    stand.follower = stand.new_follower()
    return stand


def audited(stand, *, alone=False):
    given = stand.deployment
    if alone:
        return audit(stand.engine, given.chain_id)
    return audit(
        stand.engine, given.chain_id, genesis=given.genesis_hash, addresses=given.addresses
    )


def failed(report):
    return {check.number for check in report.checks if check.result == "fail"}


def entries(stand, *where):
    with stand.engine.connect() as connection:
        return connection.execute(select(TABLE).where(*where).order_by(TABLE.c.seq)).all()


def forget(stand, seq):
    """Prune the entries up to a number."""
    with writing(stand.engine) as connection:
        connection.execute(update(TABLE).where(TABLE.c.seq <= seq).values(created_at_ms=0))
        Outbox(stand.chain.chain_id).prune(connection, 1)


def rebuilt(stand):
    return rebuild(stand.engine, Journal(stand.chain.chain_id), "operator")


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.deep) for seed in range(1, 6))]
)
def test_whatever_happens_to_an_index_its_outbox_holds(loose, seed, monkeypatch):
    monkeypatch.setattr(follow, "BACKFILL_BLOCKS", 10)
    rng = random.Random(seed)
    left = []
    loose.chain.grow(20 if seed % 2 else 3)
    for _ in range(25):
        match rng.randrange(6):
            case 0 | 1:
                loose.chain.grow(rng.randrange(1, 16), busy=rng.choice((0.0, 0.3, 1.0)))
            case 2:
                depth = min(rng.randrange(1, 12), loose.chain.head.number - 1)
                busy = rng.choice((0.0, 1.0))
                left.append(loose.chain.reorg(depth, rng.randrange(depth + 4), busy=busy))
            case 3 if left:
                loose.chain.restore(left[-1])  # the same events come again
            case 4:
                told = entries(loose)
                if told:
                    forget(loose, rng.choice(told).seq)
            case _:
                loose.steps(1)
        if rng.random() < 0.7:
            loose.catch_up()
            loose.errors.clear()
        if entries(loose) or rng.random() < 0.2:
            report = audited(loose)
            assert report.holds, report
    assert {row.kind for row in entries(loose)}


def test_what_happened_to_another_chain_of_the_database_is_no_fault_of_this_one(loose):
    loose.chain.grow(20)
    loose.catch_up()
    loose.chain.reorg(2)
    loose.catch_up()
    row = entries(loose, TABLE.c.kind == "retracted")[0]
    with writing(loose.engine) as connection:
        for seq, kind in enumerate(("retracted", "applied", "finalized", "none"), row.seq):
            connection.execute(
                insert(TABLE).values(
                    **{**row._mapping, "chain_id": 5, "seq": seq, "kind": kind, "block": 10**12}
                )
            )
        gone = connection.execute(select(tables.orphan_log)).mappings().first()
        connection.execute(
            insert(tables.orphan_log).values(**{**gone, "id": 10**6, "chain_id": 5, "block": 1})
        )
    assert audited(loose).holds


def test_before_the_first_block_nothing_is_final_that_was_not_read(stand):
    given = stand.deployment
    with writing(stand.engine) as connection:
        names = {name: str(address) for name, address in given.addresses.items()}
        Journal(given.chain_id).pin(
            connection, genesis=given.genesis_hash, deployment=names, first=0
        )
    assert audited(stand).holds


@pytest.fixture
def older(loose, monkeypatch):
    """A follower of a release that does not know an event; `monkeypatch` undone, the next does."""
    known = {**decode.EVENTS["LicenseLedger"]}
    del known[stories.topic0("LicenseLedger", "RoleSet")]
    monkeypatch.setitem(decode.EVENTS, "LicenseLedger", known)
    return loose.new_follower()


def roles():
    return [
        stories.emit(
            "LicenseLedger", "RoleSet", planId=1, account=bytes([n]) * 20, roles=3, roleEpoch=1
        )
        for n in range(3)
    ]


def test_what_an_older_release_told_without_a_name_may_be_named_and_then_taken_back(
    loose, older, monkeypatch
):
    loose.chain.grow(10)
    loose.chain.grow(transactions=[roles()])
    loose.catch_up(older)
    left = loose.chain.reorg(1)
    loose.catch_up(older)
    assert audited(loose).holds
    loose.chain.restore(left)
    loose.catch_up(older)
    monkeypatch.undo()
    rebuilt(loose)
    assert audited(loose).holds
    loose.chain.reorg(1)
    loose.catch_up(loose.new_follower())
    assert audited(loose).holds
    named = [row.event for row in entries(loose, TABLE.c.kind == "retracted")]
    assert (named.count(""), named.count("RoleSet")) == (3, 3)


def test_of_a_lone_copy_a_contract_may_have_lost_every_event(loose):
    loose.chain.grow(10, busy=0.0)
    for _ in range(2):
        loose.chain.grow(transactions=[loose.chain.story.anchor(None, 0)])
    loose.chain.grow(transactions=[roles()])
    loose.catch_up()
    loose.chain.reorg(1, busy=0.0)
    loose.catch_up()
    assert audited(loose, alone=True).holds


def test_events_taken_back_in_another_order_are_noticed(loose):
    """Also where what was applied is no longer there to compare with."""
    loose.chain.grow(20)
    loose.catch_up()
    loose.chain.reorg(3, busy=0.0)
    loose.catch_up()
    back = entries(loose, TABLE.c.kind == "retracted")
    forget(loose, back[0].seq - 1)
    assert audited(loose).holds
    with writing(loose.engine) as connection:
        for one, other in ((back[0], back[-1]), (back[-1], back[0])):
            connection.execute(
                update(TABLE)
                .where(TABLE.c.seq == one.seq)
                .values(**{**other._mapping, "seq": one.seq})
            )
    assert failed(audited(loose)) == {5}


def test_a_final_block_that_was_never_read_is_noticed(loose):
    """Where a reorganisation has lowered what is final since, and nothing came after it."""
    loose.chain.grow(20)
    loose.catch_up()
    loose.chain.reorg(8, busy=0.0)
    loose.catch_up()
    assert audited(loose).holds
    last = entries(loose, TABLE.c.kind == "finalized")[-1]
    with writing(loose.engine) as connection:
        connection.execute(update(TABLE).where(TABLE.c.seq == last.seq).values(block=10**12))
    assert failed(audited(loose)) == {5}


def test_a_rebuild_has_entries_name_what_their_event_is_filed_under(loose, monkeypatch):
    """As after an upgrade to a release that files an event otherwise; pages of one, too."""
    monkeypatch.setattr("ledger.index.rebuilding._ENTRIES_AT_ONCE", 1)
    loose.chain.grow(20)
    loose.catch_up()
    left = loose.chain.reorg(1, busy=0.0)
    loose.catch_up()
    loose.chain.restore(left)
    loose.catch_up()
    back = entries(loose, TABLE.c.kind == "retracted")[0]
    before = entries(loose)
    about = (TABLE.c.block == back.block, TABLE.c.block_hash == back.block_hash)
    told = len(entries(loose, *about))
    assert told >= 3
    with writing(loose.engine) as connection:
        connection.execute(update(TABLE).where(*about).values(subjects=b"x" * 32))
    assert failed(audited(loose)) == {5}
    done = rebuilt(loose)
    assert (done.outbox, done.differences) == (told, ())
    assert audited(loose).holds
    assert entries(loose) == before
    assert rebuilt(loose).outbox == 0
