"""What a release does not know is kept, and a later one that does folds it without the chain.

Faults of group 9 that are not about the tables themselves; those are in ``test_database``.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from sqlalchemy import select

from ledger.index import decode, tables
from ledger.index.journal import Journal
from ledger.index.rebuilding import rebuild

world: Any = importlib.import_module("index_world")
chains: Any = importlib.import_module("chain_world")
stories: Any = importlib.import_module("story_world")


def names(engine: Any) -> list[str]:
    table = tables.raw_log
    with engine.connect() as connection:
        return list(
            connection.execute(select(table.c.event).order_by(table.c.block, table.c.log_index))
            .scalars()
            .all()
        )


def roles(stand: Any) -> list[Any]:
    """Logs of an event that one release knows and the other does not."""
    return [
        stories.emit(
            "LicenseLedger", "RoleSet", planId=1, account=bytes([n]) * 20, roles=3, roleEpoch=1
        )
        for n in range(3)
    ]


@pytest.fixture
def older(stand, monkeypatch):
    """A follower of a release that does not know the event; the release is over when it is left."""
    topic = stories.topic0("LicenseLedger", "RoleSet")
    known = {**decode.EVENTS["LicenseLedger"]}
    del known[topic]
    monkeypatch.setitem(decode.EVENTS, "LicenseLedger", known)
    return stand.new_follower()


def test_an_event_that_only_a_later_release_knows_is_folded_by_it_without_the_chain(
    stand, older, monkeypatch
):
    stand.chain.grow(10)
    stand.chain.grow(transactions=[roles(stand)])
    stand.chain.grow(5)
    stand.catch_up(older)
    assert world.journal(stand.engine) == stand.chain.logs()
    assert "RoleSet" not in names(stand.engine)
    assert world.state(stand.engine)["role"] == []
    monkeypatch.undo()
    stand.endpoint.socket_fault = "refuse"
    found = rebuild(stand.engine, Journal(stand.chain.chain_id), "the later release")
    assert {each.table for each in found.differences} >= {"role"}
    assert len(world.state(stand.engine)["role"]) >= 3
    assert names(stand.engine).count("RoleSet") >= 3
    stand.endpoint.heal()
    stand.catch_up()
    stand.check()


def test_an_event_of_ours_in_a_form_that_no_release_knows_is_kept_and_stops_nothing(stand):
    """As after a contract's new version at the same address: its topic is the hash of the form."""
    stand.chain.grow(10)
    address = chains.ADDRESSES["LicenseLedger"].raw
    other = stories.hash_(b"RoleSet(uint32,address,uint8,uint32,uint64)")
    logs = [
        chains.Emitted(address, (other, bytes(32), bytes(32)), bytes(96)),
        chains.Emitted(address, (other,), b"no whole word"),
        chains.Emitted(address, (), b""),
    ]
    stand.chain.grow(transactions=[logs])
    before = world.state(stand.engine)
    stand.catch_up()
    assert names(stand.engine)[-3:] == ["", "", ""]
    stand.chain.reorg(2, 5)
    stand.chain.grow(transactions=[logs, *([log] for log in roles(stand))])
    stand.catch_up()
    stand.check()
    assert world.state(stand.engine) != before


def test_an_event_that_is_not_known_is_missed_all_the_same_when_it_is_left_out(stand):
    """Above finality every block of ours is proven, whatever its events are called."""
    stand.chain.grow(10)
    address = chains.ADDRESSES["Anchors"].raw
    odd = chains.Emitted(address, (stories.hash_(b"Odd()"),), b"")
    stand.chain.grow(transactions=[[*stand.chain.story.anchor(None, 0), odd]])
    stand.endpoint.change = world.without(lambda logs: logs[-1:])
    stand.catch_up()
    stand.check_so_far()
