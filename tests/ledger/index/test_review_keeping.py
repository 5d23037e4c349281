"""Evidence, audit, clocks and operators, under endpoints that lie and hands that alter rows."""

from __future__ import annotations

import threading
import time
from importlib import import_module

import pytest
from sqlalchemy import select, update

from ledger.chain.deployment import Deployment
from ledger.chain.rpc import Rpc
from ledger.errors import ChainUnavailable, Fenced, LedgerError
from ledger.ids import Digest, keccak256
from ledger.index import tables
from ledger.index.accepting import propose
from ledger.index.audit import audit
from ledger.index.blocks import Heads
from ledger.index.database import writing
from ledger.index.endpoints import Endpoints
from ledger.index.evidence_store import EvidenceStore, Gathered
from ledger.index.follow import Follower
from ledger.index.journal import Journal
from ledger.index.keeper import ATTEMPTS, Keeper
from ledger.index.pool import Source
from ledger.index.rebuilding import rebuild
from ledger.index.views import Index

endpoint_world = import_module("endpoint_world")
faults = import_module("fault_world")


# -- evidence --------------------------------------------------------------------------------------


@pytest.fixture
def harvest(ledger, engine, look):
    """A keeper of the module's newest events, over proxies of its node."""
    first = ledger.rpc.block("latest").number + 1
    given = ledger.deployment
    recent = look.Contracted(given.chain_id, given.genesis_hash, first, given.addresses)
    code = {name: Digest(keccak256(ledger.rpc.code(at))) for name, at in given.addresses.items()}
    identity = Deployment(given.chain_id, given.genesis_hash, first, given.addresses, code)
    proxies = [faults.FaultProxy(ledger.rpc.urls[0]) for _ in range(3)]
    ledger.register()
    ledger.mine(4)
    look.catch_up(Follower(ledger.rpc, engine, recent, look.Profile()))
    nodes = []

    def make(count):
        sources = [Source(proxy.url) for proxy in proxies[:count]]
        nodes.append(Endpoints(sources, identity, open_rpc=lambda url: Rpc(url, timeout=2.0)))
        return Keeper(nodes[-1], engine, given.chain_id, rate=1e9)

    yield make, proxies
    for each in (*nodes, *proxies):
        each.close()


def turns(worker, number):
    """So many turns; what they said."""
    said = []
    for _ in range(number):
        try:
            if not worker.turn():
                break
        except LedgerError as error:
            said.append(error.message)
    return said


def covered(engine, ledger):
    with engine.connect() as connection:
        return EvidenceStore(ledger.deployment.chain_id).coverage(connection)


MALFORMED = {
    "no storage proofs": ("eth_getProof", lambda r: {"accountProof": r["accountProof"]}),
    "a proof of numbers": ("eth_getProof", lambda r: r | {"storageProof": [7]}),
    "a block without transactions": (
        "eth_getBlockByHash",
        lambda r: {k: v for k, v in r.items() if k != "transactions"},
    ),
    "receipts without logs": (
        "eth_getBlockReceipts",
        lambda r: [{k: v for k, v in one.items() if k != "logs"} for one in r],
    ),
    "another's receipts": ("eth_getBlockReceipts", lambda r: [*r, *r]),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_one_endpoint_spoils_is_had_from_the_next(name, ledger, engine, harvest):
    make, proxies = harvest
    method, spoil = MALFORMED[name]
    proxies[0].change = lambda question, result: (
        spoil(result) if question["method"] == method else result
    )
    assert turns(make(3), 8) == []
    cover = covered(engine, ledger)
    assert (cover.backlog, cover.lost) == (0, 0)


@pytest.mark.parametrize("name", MALFORMED)
def test_what_the_only_endpoint_spoils_is_lost_and_holds_nothing_up(name, ledger, engine, harvest):
    make, proxies = harvest
    method, spoil = MALFORMED[name]
    proxies[0].change = lambda question, result: (
        spoil(result) if question["method"] == method else result
    )
    turns(make(1), 60)
    cover = covered(engine, ledger)
    assert cover.backlog == 0
    assert cover.lost > 0


def test_an_endpoint_that_is_away_for_good_does_not_hold_up_what_another_lacks(
    ledger, engine, harvest
):
    make, proxies = harvest
    proxies[0].socket_fault = "refuse"
    proxies[1].change = lambda question, result: (
        None if question["method"] == "eth_getProof" else result
    )
    turns(make(2), 60)
    cover = covered(engine, ledger)
    assert cover.backlog == 0
    assert cover.lost > 0


def test_old_blocks_whose_state_nobody_has_cost_one_turn_each_after_the_first(
    ledger, engine, harvest, monkeypatch
):
    make, proxies = harvest
    monkeypatch.setattr("ledger.index.keeper.OLD_BLOCKS", -100)
    proxies[0].change = lambda question, result: (
        None if question["method"] == "eth_getProof" else result
    )
    said = turns(make(1), 60)
    cover = covered(engine, ledger)
    assert cover.backlog == 0
    assert cover.lost > 1
    assert len(said) == ATTEMPTS - 1


def test_proofs_of_a_block_that_is_being_taken_back_are_not_kept(stand):
    """On PostgreSQL two transactions run side by side: the one would pass the new block over."""
    stand.chain.grow(20)
    stand.catch_up()
    chain_id, cursor = stand.chain.chain_id, stand.cursor()
    store, journal = EvidenceStore(chain_id), Journal(chain_id)
    with stand.engine.connect() as connection:
        blocks = connection.execute(
            select(tables.raw_log.c.block, tables.raw_log.c.block_hash)
            .distinct()
            .order_by(tables.raw_log.c.block)
        ).all()
    block, hash_ = blocks[-1]
    said = []

    def keep():
        try:
            with writing(stand.engine) as connection:
                store.keep(connection, block, hash_, Gathered({}, {}))
        except Fenced as error:
            said.append(error)

    with writing(stand.engine) as connection:
        heads = Heads(_header(cursor), 0, 0)
        journal.roll_back(connection, cursor, block - 1, heads, 1)
        thread = threading.Thread(target=keep)
        thread.start()
        thread.join(0.7)
    thread.join(20)
    assert said
    with stand.engine.connect() as connection:
        assert store.coverage(connection).next_block <= block


def _header(cursor):
    from ledger.index.blocks import Header

    return Header(cursor.block, cursor.last_hash, bytes(32), 0, 0)


# -- audit -----------------------------------------------------------------------------------------


def audited(stand):
    given = stand.deployment
    return audit(
        stand.engine, given.chain_id, genesis=given.genesis_hash, addresses=given.addresses
    )


def newest(connection, table, **where):
    query = select(table)
    for name, value in where.items():
        query = query.where(table.c[name] == value)
    return connection.execute(query.order_by(table.c.block.desc())).first()


def change_entry(connection):
    row = newest(connection, tables.outbox, kind="applied")
    connection.execute(
        update(tables.outbox).where(tables.outbox.c.seq == row.seq).values(log_index=77)
    )


def call_it_applied(connection):
    row = newest(connection, tables.outbox, kind="retracted")
    connection.execute(
        update(tables.outbox).where(tables.outbox.c.seq == row.seq).values(kind="applied")
    )


def rename(connection):
    row, table = newest(connection, tables.raw_log), tables.raw_log
    connection.execute(
        update(table)
        .where(table.c.block == row.block, table.c.log_index == row.log_index)
        .values(event="LicenseRevoked" if row.event != "LicenseRevoked" else "LicenseIssued")
    )


def reread(connection):
    table = tables.raw_read
    rows = connection.execute(select(table)).all()
    row = max(rows, key=lambda each: len(each.answer))
    assert len(row.answer) == 19 * 32
    connection.execute(
        update(table)
        .where(table.c.block == row.block, table.c.log_index == row.log_index)
        .values(answer=bytes(row.answer)[:-64] + (1).to_bytes(32, "big") + bytes(row.answer)[-32:])
    )


DAMAGE = {
    "an outbox entry's event": (change_entry, 5),
    "an outbox entry's kind": (call_it_applied, 5),
    "a plan's terms": (reread, 3),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_an_altered_row_is_noticed_though_all_was_rebuilt_after_it(stand, name):
    stand.chain.grow(40)
    stand.catch_up()
    stand.chain.reorg(3)
    stand.chain.grow(2)
    stand.catch_up()
    assert audited(stand).holds
    damage, number = DAMAGE[name]
    with writing(stand.engine) as connection:
        damage(connection)
    rebuild(stand.engine, Journal(stand.chain.chain_id), "operator")
    failed = {check.number for check in audited(stand).checks if check.result == "fail"}
    assert number in failed


def test_an_event_with_another_name_is_noticed_and_a_rebuild_names_it_by_its_topics(stand):
    stand.chain.grow(40)
    stand.catch_up()
    with writing(stand.engine) as connection:
        rename(connection)
    assert 3 in {check.number for check in audited(stand).checks if check.result == "fail"}
    rebuild(stand.engine, Journal(stand.chain.chain_id), "operator")
    assert audited(stand).holds


# -- clocks ----------------------------------------------------------------------------------------

NOW = 1_700_000_000


def test_a_clock_that_was_ahead_does_not_make_a_stale_index_fresh(stand):
    stand.chain.grow(3)
    stand.catch_up(stand.new_follower(now=lambda: NOW + 3600))
    index = Index(stand.engine, stand.chain.chain_id, now=lambda: NOW)
    with index.snapshot() as snapshot:
        assert snapshot.as_of.lag_s == 3600
    # An idle chain is looked at all the same once the clock was set back.
    follower = stand.new_follower(now=lambda: NOW)
    assert follower.step()
    with index.snapshot() as snapshot:
        assert snapshot.as_of.lag_s == 0


def test_a_dead_leader_whose_clock_was_ahead_is_followed_by_who_stands_by(stand, monkeypatch):
    monkeypatch.setattr("ledger.index.follow.LEADER_SILENT_MS", 300)
    watch = stand.new_follower(now=lambda: NOW)
    leader = stand.new_follower(now=lambda: NOW + 86_400)
    stand.chain.grow(3)
    watch.step()
    stand.catch_up(leader)
    stand.chain.grow(3)
    epoch, deadline = stand.cursor().epoch, time.monotonic() + 10
    while stand.cursor().epoch == epoch and time.monotonic() < deadline:
        try:
            watch.step()
        except Fenced as error:
            watch._stand_by(error)
            time.sleep(0.05)
    assert stand.cursor().epoch == epoch + 1
    stand.catch_up(watch)
    stand.check()


# -- operators -------------------------------------------------------------------------------------


def test_an_endpoint_that_lags_is_no_reorganisation_to_accept(stand):
    stand.chain.final_depth = 5
    stand.chain.grow(20)
    early = stand.chain.view()
    stand.chain.grow(60)
    stand.catch_up()
    stand.endpoint.served = early
    journal = Journal(stand.chain.chain_id)
    with Rpc(stand.endpoint.url) as rpc:
        for block in (20, 3):
            with pytest.raises(ChainUnavailable, match="it lags") as caught:
                propose(stand.engine, journal, rpc, block, depth=0)
            assert "accept-reorg" not in caught.value.hint
