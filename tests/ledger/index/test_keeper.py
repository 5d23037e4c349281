"""Proofs of our events are taken at finality, kept by their hash, and hold without a node."""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
import time
from contextlib import suppress
from importlib import import_module

import pytest
from sqlalchemy import Engine, delete, event, func, insert, select, update

from ledger.canonical import parse_json
from ledger.chain.rpc import Rpc
from ledger.errors import (
    ChainUnavailable,
    Fenced,
    IndexDamaged,
    IndexUnavailable,
    LedgerError,
    RpcRefused,
    StateProofInvalid,
    VerificationError,
)
from ledger.evidence.documents import StateProof
from ledger.evidence.layout import Title, title_slot
from ledger.index import tables
from ledger.index.database import open_database, writing
from ledger.index.event_proofs import Kept, gather_block, verify_event
from ledger.index.evidence_store import EvidenceStore
from ledger.index.follow import Follower
from ledger.index.keeper import ATTEMPTS, Keeper
from ledger.index.pool import RECENT_BLOCKS

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def faults():
    return import_module("fault_world")


@pytest.fixture
def proxy(ledger, faults):
    made = faults.FaultProxy(ledger.rpc.urls[0])
    yield made
    made.close()


@pytest.fixture
def follower(ledger, engine, look):
    """A follower of what comes from now on: the module's node is shared, and its past is long."""
    return Follower(ledger.rpc, engine, recent(ledger, look), look.Profile())


def recent(ledger, look):
    first = ledger.rpc.block("latest").number + 1
    given = ledger.deployment
    return look.Contracted(given.chain_id, given.genesis_hash, first, given.addresses)


@pytest.fixture
def store(ledger):
    return EvidenceStore(ledger.deployment.chain_id)


def keeper(node, engine, ledger, **options):
    return Keeper(node, engine, ledger.deployment.chain_id, rate=1e9, **options)


def finish(worker):
    for _ in range(100):
        if not worker.turn():
            return
    raise AssertionError("never done")


def coverage(engine, store):
    with engine.connect() as connection:
        return store.coverage(connection)


def events(engine, last=None):
    table = tables.raw_log
    query = select(table).order_by(table.c.block, table.c.log_index)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return [row for row in rows if last is None or row.block <= last]


def final(engine):
    with engine.connect() as connection:
        return connection.execute(select(tables.cursor.c.finalized)).scalar_one()


def test_every_final_event_gets_proofs_that_hold_offline(ledger, engine, follower, look, store):
    ledger.busy()
    ledger.mine(3)
    look.catch_up(follower)
    finish(keeper(ledger.rpc, engine, ledger))
    proved = events(engine, final(engine))
    assert proved
    with engine.connect() as connection:
        for row in proved:
            kept = store.of(connection, row.block, row.log_index)
            assert set(kept) == {"header", "receipt", "state"}
            verify_event(row, kept)
    cover = coverage(engine, store)
    assert (cover.events, cover.backlog, cover.lost) == (len(proved), 0, 0)


def test_a_header_that_is_refused_leaves_the_reason_with_each_proof_that_needs_it(
    ledger, engine, follower, look, proxy
):
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    rows = events(engine)
    rows = [row for row in rows if row.block == rows[0].block]

    def refuse(body, fault):
        error = {"code": -32000, "message": "history was pruned"}
        replies = [{"jsonrpc": "2.0", "id": q["id"], "error": error} for q in json.loads(body)]
        return json.dumps(replies).encode()

    proxy._reply = refuse
    with Rpc(proxy.url) as rpc:
        gathered = gather_block(lambda act: act(rpc), rows, give_up=True)
    assert not gathered.held
    for (_, kind), reason in gathered.lost.items():
        assert "history was pruned" in reason
        assert ("its header could not be had: " in reason) is (kind != "header")


def test_the_state_that_is_kept_is_the_one_after_the_event(ledger, engine, follower, look, store):
    model = ledger.register()
    ledger.do("ModelRegistry", "setStatus", model.raw, 2)
    ledger.mine(3)
    look.catch_up(follower)
    finish(keeper(ledger.rpc, engine, ledger))
    shown = []
    for row in events(engine):
        if row.event in {"ModelRegistered", "ModelStatusSet"} and model.raw in bytes(row.topics):
            with engine.connect() as connection:
                kept = store.of(connection, row.block, row.log_index)["state"]
            proof = StateProof.from_json(parse_json(kept.body, what="state", limit=1 << 20))
            word = next(slot.value for slot in proof.slots if slot.slot == title_slot(model))
            shown.append(Title.parse(word.to_bytes(32, "big")).status)
    assert shown == [1, 2]


def test_what_is_not_final_waits(ledger, engine, follower, look, store):
    ledger.mine(3)
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    look.catch_up(follower)
    finish(keeper(ledger.rpc, engine, ledger))
    newest = events(engine)[-1]
    assert newest.block > final(engine)
    with engine.connect() as connection:
        assert store.of(connection, newest.block, newest.log_index) == {}
    ledger.mine(3)
    look.catch_up(follower)
    assert coverage(engine, store).backlog == 1
    finish(keeper(ledger.rpc, engine, ledger))
    assert coverage(engine, store).backlog == 0


@pytest.mark.parametrize("part", ["header", "receipt", "state"])
def test_any_changed_byte_of_a_proof_is_noticed(part, ledger, engine, follower, look, store):
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    finish(keeper(ledger.rpc, engine, ledger))
    row = next(row for row in events(engine) if row.event == "ModelRegistered")
    with engine.connect() as connection:
        kept = store.of(connection, row.block, row.log_index)
    body = kept[part].body
    step = max(1, len(body) // 97)
    places = list(range(0, len(body), step))
    if part == "state":
        places.append(body.index(b'"balance":"0x') + 13)
    for at in places:
        if part == "header":
            digit = bytes([body[at] ^ 1])
        else:
            digit = b"0" if body[at : at + 1] != b"0" else b"1"
        changed = body[:at] + digit + body[at + 1 :]
        with pytest.raises(LedgerError):
            verify_event(row, {**kept, part: Kept(part, changed)})


def test_proofs_of_another_event_are_not_taken_for_its_own(ledger, engine, follower, look, store):
    ledger.register()
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    finish(keeper(ledger.rpc, engine, ledger))
    one, other = [row for row in events(engine) if row.event == "ModelRegistered"][-2:]
    with engine.connect() as connection:
        mine = store.of(connection, one.block, one.log_index)
        foreign = store.of(connection, other.block, other.log_index)
    for part in ("header", "receipt", "state"):
        with pytest.raises(VerificationError):
            verify_event(one, {**mine, part: foreign[part]})


def liar(name):
    """Endpoints that change one thing in what proofs are made of."""

    def change(question, result):
        method = question["method"]
        if name == "receipts" and method == "eth_getBlockReceipts":
            return [{**each, "cumulativeGasUsed": "0x1"} for each in result]
        if name == "proof" and method == "eth_getProof":
            return {**result, "accountProof": result["accountProof"][:-1]}
        if name == "header" and method == "eth_getBlockByNumber":
            return {**result, "stateRoot": "0x" + "11" * 32}
        return result

    return change


@pytest.mark.parametrize("name", ["receipts", "proof", "header"])
def test_what_an_endpoint_makes_up_is_not_kept(name, ledger, engine, follower, look, store, proxy):
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    proxy.change = liar(name)
    with Rpc(proxy.url) as rpc:
        worker = keeper(rpc, engine, ledger)
        for _ in range(ATTEMPTS - 1):
            with pytest.raises(LedgerError):
                worker.turn()
        assert coverage(engine, store).next_block == 0
        proxy.heal()
        finish(worker)
    cover = coverage(engine, store)
    assert (cover.backlog, cover.lost) == (0, 0)


def test_what_can_no_longer_be_had_is_said_and_does_not_hold_up_the_rest(
    ledger, engine, follower, look, store, proxy
):
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    first = events(engine)[0]

    honest = proxy._reply

    def refuse(body, fault):
        asked = json.loads(body)
        proof = isinstance(asked, dict) and asked["method"] == "eth_getProof"
        if proof and asked["params"][2] == hex(first.block):
            error = {"code": -32000, "message": "missing trie node"}
            return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error}).encode()
        return honest(body, fault)

    proxy._reply = refuse
    with Rpc(proxy.url) as rpc:
        worker = keeper(rpc, engine, ledger)
        for _ in range(ATTEMPTS - 1):
            with pytest.raises(RpcRefused):
                worker.turn()
        finish(worker)
    cover = coverage(engine, store)
    lost = sum(row.block == first.block for row in events(engine))
    assert (cover.backlog, cover.lost) == (0, lost)
    table = tables.evidence
    with engine.connect() as connection:
        row = connection.execute(select(table).where(table.c.hash.is_(None))).first()
        kept = store.of(connection, first.block, first.log_index)
    assert (row.block, row.kind) == (first.block, "state")
    assert "missing trie node" in row.lost
    assert set(kept) == {"header", "receipt"}


def test_an_old_chain_without_an_archive_does_not_keep_young_events_waiting(
    ledger, engine, follower, look, store, proxy
):
    """Every old block is refused; once one is given up, the others cost one question each."""
    for _ in range(6):
        ledger.register()
    old = ledger.rpc.block("latest").number
    ledger.mine(RECENT_BLOCKS + 1)
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    honest = proxy._reply
    asked = []

    def pruned(body, fault):
        call = json.loads(body)
        if isinstance(call, dict) and call["method"] == "eth_getProof":
            asked.append(int(call["params"][2], 16))
            if asked[-1] <= old:
                error = {"code": -32000, "message": "missing trie node"}
                return json.dumps({"jsonrpc": "2.0", "id": call["id"], "error": error}).encode()
        return honest(body, fault)

    proxy._reply = pruned
    blocks = {row.block for row in events(engine)}
    with Rpc(proxy.url) as rpc:
        worker = keeper(rpc, engine, ledger)
        for _ in range(ATTEMPTS - 1):
            with pytest.raises(RpcRefused):
                worker.turn()
        # From here on nothing is raised, so nothing is waited for.
        finish(worker)
    cover = coverage(engine, store)
    young = [row for row in events(engine) if row.block > old]
    assert (cover.backlog, cover.events) == (0, len(young))
    assert cover.lost == len(events(engine)) - len(young)
    assert len(asked) <= 2 * len(blocks) + ATTEMPTS


def test_a_block_within_reach_is_asked_for_as_often_as_ever(
    ledger, engine, follower, look, store, proxy
):
    """That one young block was given up is no reason to give up the next at once."""
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    old = ledger.rpc.block("latest").number
    ledger.mine(20)
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.mine(3)
    look.catch_up(follower)
    honest = proxy._reply

    def refusing(body, fault):
        call = json.loads(body)
        if isinstance(call, dict) and call["method"] == "eth_getProof":
            error = {"code": -32000, "message": "missing trie node"}
            return json.dumps({"jsonrpc": "2.0", "id": call["id"], "error": error}).encode()
        return honest(body, fault)

    proxy._reply = refusing
    with Rpc(proxy.url) as rpc:
        worker = keeper(rpc, engine, ledger)
        for _ in range(2 * (ATTEMPTS - 1)):
            with pytest.raises(RpcRefused):
                worker.turn()
        assert coverage(engine, store).next_block == old + 1
        proxy._reply = honest
        finish(worker)
    cover = coverage(engine, store)
    assert (cover.events, cover.lost, cover.backlog) == (1, 1, 0)


@pytest.fixture
def losing(ledger, engine, follower, look, store, proxy):
    """A worker whose endpoint refuses the state of two blocks until `proxy.heal()`."""
    for _ in range(2):
        ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    honest, blocks = proxy._reply, {row.block for row in events(engine)}

    def refusing(body, fault):
        call = json.loads(body)
        if isinstance(call, dict) and call["method"] == "eth_getProof":
            error = {"code": -32000, "message": f"no state of {call['params'][2]}"}
            if int(call["params"][2], 16) in blocks:
                return json.dumps({"jsonrpc": "2.0", "id": call["id"], "error": error}).encode()
        return honest(body, fault)

    proxy._reply = refusing
    with Rpc(proxy.url) as rpc:
        worker = keeper(rpc, engine, ledger)
        while coverage(engine, store).backlog:
            with suppress(RpcRefused):
                worker.turn()
        worker.found = lambda: setattr(proxy, "_reply", honest)
        worker.blocks = blocks
        yield worker


def test_what_was_lost_is_had_again_of_an_archive_and_counted(engine, store, look, losing):
    before = coverage(engine, store)
    rows = events(engine)
    assert (before.events, before.lost) == (0, len(rows))
    told = []
    refused = losing.retrieve(lambda *counts: told.append(counts))
    assert refused.found == 0
    assert sum(refused.reasons.values()) == len(rows)
    assert any("no state of" in reason for reason in refused.reasons)
    assert told[-1] == (len(rows), len(rows))
    assert coverage(engine, store) == before

    losing.found()
    answer = losing.retrieve()
    assert (answer.found, dict(answer.reasons)) == (len(rows), {})
    after = coverage(engine, store)
    assert (after.events, after.lost, after.backlog) == (len(rows), 0, 0)
    with engine.connect() as connection:
        sizes = connection.execute(select(func.sum(tables.proof.c.size))).scalar_one()
        for row in rows:
            kept = store.of(connection, row.block, row.log_index)
            assert set(kept) == {"header", "receipt", "state"}
            verify_event(row, kept)
    assert after.size == sizes
    assert losing.retrieve().found == 0


def test_what_is_lost_stays_so_when_nobody_answers_or_somebody_lies(
    engine, store, losing, proxy, ledger
):
    before = coverage(engine, store)
    losing.found()
    proxy.change = liar("proof")
    assert losing.retrieve().found == 0
    proxy.heal()
    proxy.socket_fault = "refuse"
    with pytest.raises(ChainUnavailable):
        losing.retrieve()
    assert coverage(engine, store) == before
    proxy.heal()
    assert losing.retrieve().found == before.lost


def add_space(connection):
    """JSON that says the same, in other bytes."""
    proof = tables.proof
    for row in connection.execute(select(proof).where(proof.c.kind == "receipt")).all():
        body = bytes(row.body) + b" "
        change = update(proof).where(proof.c.hash == row.hash)
        connection.execute(change.values(body=body, size=len(body)))


def name(connection, row, hash_):
    """Let an entry of the evidence name another proof."""
    link = tables.evidence
    at = (link.c.block == row.block, link.c.log_index == row.log_index, link.c.kind == row.kind)
    connection.execute(update(link).where(*at).values(hash=hash_))


def receipts_named(connection):
    link = tables.evidence
    query = select(link).where(link.c.kind == "receipt").order_by(link.c.block)
    return connection.execute(query).all()


def flipped(hash_):
    return bytes([hash_[0] ^ 1]) + bytes(hash_[1:])


def damage_names(connection):
    """Hashes that name nothing, as after a flipped bit."""
    for row in receipts_named(connection):
        name(connection, row, flipped(row.hash))


def swap_receipts(connection):
    """Every body is whole and under its hash, and two events name each other's."""
    one, *_, other = receipts_named(connection)
    name(connection, one, other.hash)
    name(connection, other, one.hash)


GONE = {
    "every body": lambda c: c.execute(delete(tables.proof)),
    "the receipts": lambda c: c.execute(
        delete(tables.proof).where(tables.proof.c.kind == "receipt")
    ),
    "what they are called": lambda c: c.execute(update(tables.proof).values(kind="letter")),
    "bytes": lambda c: c.execute(
        update(tables.proof).where(tables.proof.c.kind == "header").values(body=b"")
    ),
    "a space": add_space,
    "names": damage_names,
    "entries": lambda c: c.execute(
        delete(tables.evidence).where(tables.evidence.c.kind != "header")
    ),
    "a reason": lambda c: c.execute(
        update(tables.evidence).where(tables.evidence.c.kind == "state").values(hash=None)
    ),
    "sizes": lambda c: c.execute(update(tables.proof).values(size=7)),
    "whose": swap_receipts,
    "counts": lambda c: c.execute(update(tables.evidence_place).values(events=0, lost=9, bytes=1)),
    "how far": lambda c: c.execute(delete(tables.evidence_place)),
    "too far": lambda c: c.execute(update(tables.evidence_place).values(next_block=10**9)),
}
# Numbers alone, of which no proof depends.
COUNTED = {"counts", "how far", "too far", "sizes"}


@pytest.mark.parametrize("what", GONE)
def test_what_is_gone_or_spoilt_is_asked_for_again(what, ledger, engine, follower, look, store):
    ledger.busy()
    ledger.mine(3)
    look.catch_up(follower)
    worker = keeper(ledger.rpc, engine, ledger)
    finish(worker)
    before, kept = coverage(engine, store), proofs_on_record(engine)
    with writing(engine) as connection:
        GONE[what](connection)
    assert what in COUNTED or proofs_on_record(engine) != kept
    answer = worker.retrieve()
    assert (answer.found > 0) == (what not in COUNTED)
    assert dict(answer.reasons) == {}
    assert proofs_on_record(engine) == kept
    told = coverage(engine, store)
    assert (told.events, told.lost, told.size) == (before.events, before.lost, before.size)
    # Blocks without events of ours may lie above the last that has some.
    assert told.next_block <= final(engine) + 1
    assert told.backlog == 0
    assert worker.retrieve().found == 0


def proofs_on_record(engine):
    """What every event rests on, and all bodies."""
    with engine.connect() as connection:
        return [
            {tuple(row) for row in connection.execute(select(table))}
            for table in (tables.evidence, tables.proof)
        ]


def test_what_is_gone_and_refused_keeps_its_name_and_is_lost_where_it_had_none(
    ledger, engine, follower, look, store, proxy
):
    """The body may lie in a copy; of what was never on record there is nothing to keep."""
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    finish(keeper(ledger.rpc, engine, ledger))
    count, link = len(events(engine)), tables.evidence
    with writing(engine) as connection:
        connection.execute(delete(tables.proof).where(tables.proof.c.kind != "header"))
        connection.execute(delete(link).where(link.c.kind == "state"))
    named = select(link).where(link.c.kind == "receipt")
    with engine.connect() as connection:
        before = connection.execute(named).all()
    honest = proxy._reply

    def refusing(body, fault):
        call = json.loads(body)
        calls = call if isinstance(call, list) else [call]
        if not any("Proof" in one["method"] or "Receipt" in one["method"] for one in calls):
            return honest(body, fault)
        error = {"code": -32000, "message": "pruned"}
        told = [{"jsonrpc": "2.0", "id": one["id"], "error": error} for one in calls]
        return json.dumps(told if isinstance(call, list) else told[0]).encode()

    proxy._reply = refusing
    with Rpc(proxy.url) as rpc:
        answer = keeper(rpc, engine, ledger).retrieve()
    assert (answer.found, sum(answer.reasons.values())) == (0, 2 * count)
    with engine.connect() as connection:
        assert connection.execute(named).all() == before
        states = connection.execute(select(link.c.lost).where(link.c.kind == "state")).scalars()
        assert all("pruned" in reason for reason in states)
    assert (coverage(engine, store).events, coverage(engine, store).lost) == (0, count)
    assert keeper(ledger.rpc, engine, ledger).retrieve().found == 2 * count
    assert (coverage(engine, store).events, coverage(engine, store).lost) == (count, 0)


def swap_kinds(connection):
    """The header's entry is called the state's, and the other way round."""
    link = tables.evidence
    for one, other in (("header", "x"), ("state", "header"), ("x", "state")):
        connection.execute(update(link).where(link.c.kind == one).values(kind=other))


def forget_one_of_two(connection):
    """What one event's entry named, its neighbour's names still."""
    link = tables.evidence
    several = (select(link.c.block).where(link.c.kind == "state").group_by(link.c.block)).having(
        func.count() > 1
    )
    row = connection.execute(
        select(link).where(link.c.kind == "state", link.c.block.in_(several))
    ).first()
    connection.execute(
        delete(link).where(
            link.c.block == row.block, link.c.log_index == row.log_index, link.c.kind == "state"
        )
    )


def rename_bodies(connection):
    proof = tables.proof
    for row in connection.execute(select(proof.c.hash).where(proof.c.kind == "state")).all():
        connection.execute(
            update(proof).where(proof.c.hash == row.hash).values(hash=flipped(row.hash))
        )


LOST_SIGHT_OF = {
    "one of two entries": forget_one_of_two,
    "hashes of proofs": rename_bodies,
    "entries": lambda c: c.execute(delete(tables.evidence)),
    "names": damage_names,
    "kinds of entries": swap_kinds,
    "kinds of proofs": lambda c: c.execute(update(tables.proof).values(kind="letter")),
    "whose": lambda c: c.execute(
        update(tables.evidence).where(tables.evidence.c.kind == "header").values(hash=one_header(c))
    ),
    "called lost": lambda c: c.execute(update(tables.evidence).values(hash=None, lost="pruned")),
}


def test_sizes_are_set_without_a_node(ledger, engine, follower, look, store, proxy):
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    finish(keeper(ledger.rpc, engine, ledger))
    before = proofs_on_record(engine)
    with writing(engine) as connection:
        connection.execute(update(tables.proof).values(size=7))
    proxy.socket_fault = "refuse"
    with Rpc(proxy.url) as rpc:
        assert keeper(rpc, engine, ledger).retrieve().found == 0
    assert proofs_on_record(engine) == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_rows_that_are_not_of_their_kind_end_nothing(ledger, engine, follower, look, store):
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    finish(keeper(ledger.rpc, engine, ledger))
    before = proofs_on_record(engine)
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE proof SET body = 'abc' WHERE kind = 'state'")
    assert keeper(ledger.rpc, engine, ledger).retrieve().found > 0
    assert proofs_on_record(engine) == before
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE raw_log SET data = 'abc'")
    with pytest.raises(IndexDamaged):
        keeper(ledger.rpc, engine, ledger).retrieve()


def one_header(connection):
    proof = tables.proof
    headers = select(proof.c.hash).where(proof.c.kind == "header").order_by(proof.c.hash)
    return connection.execute(headers).scalars().first()


@pytest.mark.parametrize("what", LOST_SIGHT_OF)
def test_what_is_there_and_lost_sight_of_is_found_without_a_node(
    what, ledger, engine, follower, look, store, proxy
):
    """Nodes have forgotten it: whole bytes are never dropped, and serve again."""
    ledger.busy()
    ledger.mine(3)
    look.catch_up(follower)
    finish(keeper(ledger.rpc, engine, ledger))
    before, (entries, bodies) = coverage(engine, store), proofs_on_record(engine)
    with writing(engine) as connection:
        LOST_SIGHT_OF[what](connection)
    proxy.socket_fault = "refuse"
    with Rpc(proxy.url) as rpc:
        worker = keeper(rpc, engine, ledger)
        assert worker.retrieve().found > 0
    assert proofs_on_record(engine) == [entries, bodies]
    told = coverage(engine, store)
    assert (told.events, told.lost, told.size) == (before.events, before.lost, before.size)


def test_a_spoilt_body_that_a_retracted_event_names_is_kept(ledger, engine, follower, look, store):
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    finish(keeper(ledger.rpc, engine, ledger))
    link, proof = tables.evidence, tables.proof
    with writing(engine) as connection:
        row = connection.execute(select(link).where(link.c.kind == "state")).first()
        hash_ = flipped(row.hash)
        values = connection.execute(select(proof).where(proof.c.hash == row.hash)).one()._asdict()
        # Other bytes under a hash that both name.
        connection.execute(insert(proof).values(**{**values, "hash": hash_}))
        mine = (
            link.c.block == row.block,
            link.c.log_index == row.log_index,
            link.c.kind == "state",
        )
        connection.execute(update(link).where(*mine).values(hash=hash_))
        theirs = {**row._asdict(), "hash": hash_, "block_hash": b"x" * 32}
        connection.execute(insert(link).values(**theirs))
    assert keeper(ledger.rpc, engine, ledger).retrieve().found > 0
    with engine.connect() as connection:
        bodies = set(connection.execute(select(proof.c.hash)).scalars())
    assert {row.hash, hash_} <= bodies


def test_where_how_far_it_came_is_gone_all_is_gone_over_and_counted_once(
    ledger, engine, follower, look, store
):
    ledger.busy()
    ledger.mine(3)
    look.catch_up(follower)
    finish(keeper(ledger.rpc, engine, ledger))
    before = coverage(engine, store)
    with writing(engine) as connection:
        connection.execute(delete(tables.evidence_place))
    finish(keeper(ledger.rpc, engine, ledger))
    assert coverage(engine, store) == before


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_who_harvests_and_who_asks_again_count_together(
    engine, store, losing, ledger, follower, look
):
    """The place is read before, and moved after, the other has written to it."""
    losing.found()
    lost = coverage(engine, store).lost
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    put = losing._store._put

    def meanwhile(*given):
        losing._store._put = put
        other = Keeper(ledger.rpc, engine, ledger.deployment.chain_id, rate=1e9)
        assert other.retrieve().found == lost
        return put(*given)

    losing._store._put = meanwhile
    finish(losing)
    cover = coverage(engine, store)
    assert (cover.events, cover.lost, cover.backlog) == (len(events(engine)), 0, 0)


def test_an_endpoint_that_is_away_loses_nothing(ledger, engine, follower, look, store, proxy):
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    proxy.socket_fault = "refuse"
    with Rpc(proxy.url) as rpc:
        worker = keeper(rpc, engine, ledger)
        for _ in range(ATTEMPTS + 3):
            with pytest.raises(ChainUnavailable):
                worker.turn()
        assert coverage(engine, store).lost == 0
        # Having been away is no refusal: a lie afterwards is asked again like a first one.
        proxy.heal()
        proxy.change = liar("proof")
        with pytest.raises(LedgerError):
            worker.turn()
        proxy.heal()
        finish(worker)
    assert coverage(engine, store).lost == 0


def die_at(statements) -> None:
    """Have this process kill itself before its n-th statement."""
    left = [statements]

    def count(*_) -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "commit", count)


def test_harvesting_killed_between_any_two_statements_goes_on_where_it_was(
    ledger, tmp_path, look, store
):
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    engine = open_database(url)
    follower = Follower(ledger.rpc, engine, recent(ledger, look), look.Profile())
    ledger.busy()
    ledger.mine(3)
    look.catch_up(follower)
    engine.dispose()

    def work() -> None:
        with Rpc(ledger.rpc.urls) as rpc:
            finish(keeper(rpc, open_database(url), ledger))

    killed = 0
    for statements in (*range(3, 60, 5), 100_000):
        pid = os.fork()
        if pid == 0:
            die_at(statements)
            try:
                work()
            finally:
                os._exit(0)
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert killed >= 8
    engine = open_database(url)
    proved = events(engine, final(engine))
    cover = coverage(engine, store)
    assert (cover.events, cover.backlog) == (len(proved), 0)
    with engine.connect() as connection:
        for row in proved:
            verify_event(row, store.of(connection, row.block, row.log_index))
    engine.dispose()


def test_a_rollback_below_finality_has_its_blocks_proved_anew_and_keeps_the_old_proofs(
    ledger, engine, follower, look, store
):
    before = ledger.rpc.call("evm_snapshot", [])
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.mine(3)
    look.catch_up(follower)
    finish(keeper(ledger.rpc, engine, ledger))
    (old,) = events(engine)
    assert coverage(engine, store).next_block > old.block
    ledger.rpc.call("evm_revert", [before])
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.mine(4)
    look.catch_up(follower)
    finish(keeper(ledger.rpc, engine, ledger))
    (newest,) = events(engine)
    assert newest.block == old.block
    assert newest.block_hash != old.block_hash
    with engine.connect() as connection:
        verify_event(newest, store.of(connection, newest.block, newest.log_index))
        link = tables.evidence
        kept = connection.execute(
            select(func.count()).select_from(link).where(link.c.block_hash == old.block_hash)
        ).scalar_one()
    assert kept == 3


def test_two_keepers_at_once_keep_what_one_would(ledger, engine, follower, look, store):
    ledger.busy()
    ledger.mine(3)
    look.catch_up(follower)
    stop = threading.Event()
    workers = [keeper(ledger.rpc, engine, ledger) for _ in range(2)]
    threads = [threading.Thread(target=worker.run, args=(stop,)) for worker in workers]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while coverage(engine, store).backlog and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join(10)
    proved = events(engine, final(engine))
    assert (coverage(engine, store).events, coverage(engine, store).backlog) == (len(proved), 0)


def test_proofs_of_a_block_that_is_done_or_gone_are_not_kept(ledger, engine, follower, look, store):
    """As when another keeper was faster, or a rollback took the block meanwhile."""
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    with engine.connect() as connection:
        rows = store.waiting(connection, final(engine))[0]
    block, hash_ = rows[0].block, bytes(rows[0].block_hash)
    gathered = gather_block(lambda act: act(ledger.rpc), rows, give_up=False)
    with pytest.raises(Fenced), writing(engine) as connection:
        store.keep(connection, block, b"x" * 32, gathered)
    with writing(engine) as connection:
        store.keep(connection, block, hash_, gathered)
    before = coverage(engine, store)
    with pytest.raises(Fenced), writing(engine) as connection:
        store.keep(connection, block, hash_, gathered)
    assert coverage(engine, store) == before


def test_its_rate_is_bounded_and_the_follower_is_not_held_up(ledger, engine, follower, look, store):
    for _ in range(20):
        ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    stop = threading.Event()
    slow = Keeper(ledger.rpc, engine, ledger.deployment.chain_id, rate=5.0)
    thread = threading.Thread(target=slow.run, args=(stop,))
    began = time.monotonic()
    thread.start()
    try:
        while not 1 <= coverage(engine, store).events < len(events(engine)):
            assert time.monotonic() - began < 30
            time.sleep(0.01)
        ledger.do("Anchors", "anchor", secrets.token_bytes(32))
        look.catch_up(follower)
        # The keeper was not waited for: it is still at work.
        assert coverage(engine, store).events < len(events(engine))
        done = {row.block for row in events(engine)} - {
            row.block for row in events(engine) if row.block >= coverage(engine, store).next_block
        }
        # Five requests a block, five a second: a block a second, and a little for the first.
        assert 1 <= len(done) <= time.monotonic() - began + 2.5
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def test_only_the_one_that_follows_harvests(ledger, engine, follower, look, store):
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    stop = threading.Event()
    idle = keeper(ledger.rpc, engine, ledger, active=lambda: False)
    thread = threading.Thread(target=idle.run, args=(stop,))
    thread.start()
    time.sleep(0.5)
    stop.set()
    thread.join(10)
    assert coverage(engine, store).events == 0


def test_a_chain_without_provable_headers_is_left_alone(ledger, engine, follower, look, store):
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    assert not keeper(ledger.rpc, engine, ledger, proofs=False).turn()
    assert coverage(engine, store).events == 0


def test_before_anything_was_followed_there_is_nothing_to_keep(ledger, engine):
    with pytest.raises(IndexUnavailable):
        keeper(ledger.rpc, engine, ledger).turn()


def test_a_journal_that_names_another_block_gets_no_proofs(ledger, engine, follower, look, store):
    ledger.register()
    ledger.mine(3)
    look.catch_up(follower)
    with writing(engine) as connection:
        connection.execute(update(tables.raw_log).values(block_hash=b"x" * 32))
    with pytest.raises(StateProofInvalid, match="another block"):
        keeper(ledger.rpc, engine, ledger).turn()
