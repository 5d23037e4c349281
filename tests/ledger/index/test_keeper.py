"""Proofs of our events are taken at finality, kept by their hash, and hold without a node."""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
import time

import pytest
from evidence_world import anchor_two_in_a_block, coverage, events, final, finish, keeper, liar
from sqlalchemy import Engine, delete, event, func, select, update

from ledger.canonical import parse_json
from ledger.chain.rpc import Rpc
from ledger.errors import (
    ChainUnavailable,
    Fenced,
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
from ledger.index.follow import Follower
from ledger.index.keeper import ATTEMPTS, Keeper
from ledger.index.pool import RECENT_BLOCKS

pytestmark = pytest.mark.chain


def test_every_final_event_gets_proofs_that_hold_offline(ledger, engine, young, look, store):
    ledger.busy()
    ledger.mine(3)
    look.catch_up(young)
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


def test_false_receipts_lose_none_and_are_not_asked_for_again_at_once(
    ledger, engine, young, look, store, proxy
):
    """One of the nodes behind an endpoint shows them now and then."""
    anchor_two_in_a_block(ledger)
    look.catch_up(young)
    block, asked = events(engine)[-1].block, []

    def lie(question, result):
        if question["method"] != "eth_getBlockReceipts" or question["params"] != [hex(block)]:
            return result
        asked.append(question)
        if len(asked) == 2:
            return result
        return [{**each, "cumulativeGasUsed": "0x1"} for each in result]

    proxy.change = lie
    with Rpc(proxy.url) as rpc:
        worker = keeper(rpc, engine, ledger)
        with pytest.raises(StateProofInvalid):
            finish(worker)
        assert len(asked) == 1
        finish(worker)
    assert (coverage(engine, store).lost, len(asked)) == (0, 2)


IMPOSSIBLE = {"contract": {"contract": "Letters"}, "transaction": {"tx_index": 99}}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_no_endpoint_could_show_says_nothing_of_what_they_still_have(
    what, ledger, engine, young, look, store, proxy
):
    """Of an old chain, where one proof was lost, the next is asked for once."""
    for _ in range(2):
        ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.mine(140)
    look.catch_up(young)
    (one, two), logs, asked = events(engine), tables.raw_log, []
    with writing(engine) as connection:
        of = logs.c.block == one.block
        connection.execute(update(logs).where(of).values(**IMPOSSIBLE[what]))

    def lie(question, result):
        if question["method"] != "eth_getProof" or int(question["params"][2], 16) != two.block:
            return result
        asked.append(question)
        return {**result, "accountProof": result["accountProof"][: -1 if len(asked) == 1 else 99]}

    proxy.change = lie
    with Rpc(proxy.url) as rpc:
        worker = keeper(rpc, engine, ledger)
        with pytest.raises(StateProofInvalid):
            finish(worker)
        finish(worker)
    with engine.connect() as connection:
        assert store.lost(connection, two.block, two.block_hash) == set()


def test_a_header_that_is_refused_leaves_the_reason_with_each_proof_that_needs_it(
    ledger, engine, young, look, proxy
):
    ledger.register()
    ledger.mine(3)
    look.catch_up(young)
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


def test_the_state_that_is_kept_is_the_one_after_the_event(ledger, engine, young, look, store):
    model = ledger.register()
    ledger.do("ModelRegistry", "setStatus", model.raw, 2)
    ledger.mine(3)
    look.catch_up(young)
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


def test_what_is_not_final_waits(ledger, engine, young, look, store):
    ledger.mine(3)
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    newest = events(engine)[-1]
    assert newest.block > final(engine)
    with engine.connect() as connection:
        assert store.of(connection, newest.block, newest.log_index) == {}
    ledger.mine(3)
    look.catch_up(young)
    assert coverage(engine, store).backlog == 1
    finish(keeper(ledger.rpc, engine, ledger))
    assert coverage(engine, store).backlog == 0


@pytest.mark.parametrize("part", ["header", "receipt", "state"])
def test_any_changed_byte_of_a_proof_is_noticed(part, ledger, engine, young, look, store):
    ledger.register()
    ledger.mine(3)
    look.catch_up(young)
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


def test_proofs_of_another_event_are_not_taken_for_its_own(ledger, engine, young, look, store):
    ledger.register()
    ledger.register()
    ledger.mine(3)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    one, other = [row for row in events(engine) if row.event == "ModelRegistered"][-2:]
    with engine.connect() as connection:
        mine = store.of(connection, one.block, one.log_index)
        foreign = store.of(connection, other.block, other.log_index)
    for part in ("header", "receipt", "state"):
        with pytest.raises(VerificationError):
            verify_event(one, {**mine, part: foreign[part]})


@pytest.mark.parametrize("name", ["receipts", "proof", "header"])
def test_what_an_endpoint_makes_up_is_not_kept(name, ledger, engine, young, look, store, proxy):
    ledger.register()
    ledger.mine(3)
    look.catch_up(young)
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
    ledger, engine, young, look, store, proxy
):
    ledger.register()
    ledger.mine(3)
    look.catch_up(young)
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
    ledger, engine, young, look, store, proxy
):
    """Every old block is refused; once one is given up, the others cost one question each."""
    for _ in range(6):
        ledger.register()
    old = ledger.rpc.block("latest").number
    ledger.mine(RECENT_BLOCKS + 1)
    ledger.register()
    ledger.mine(3)
    look.catch_up(young)
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
    ledger, engine, young, look, store, proxy
):
    """That one young block was given up is no reason to give up the next at once."""
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    old = ledger.rpc.block("latest").number
    ledger.mine(20)
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.mine(3)
    look.catch_up(young)
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


def test_where_how_far_it_came_is_gone_all_is_gone_over_and_counted_once(
    ledger, engine, young, look, store
):
    ledger.busy()
    ledger.mine(3)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    before = coverage(engine, store)
    with writing(engine) as connection:
        connection.execute(delete(tables.evidence_place))
    finish(keeper(ledger.rpc, engine, ledger))
    assert coverage(engine, store) == before


def test_an_endpoint_that_is_away_loses_nothing(ledger, engine, young, look, store, proxy):
    ledger.register()
    ledger.mine(3)
    look.catch_up(young)
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
    follower = Follower(ledger.rpc, engine, look.recent(ledger), look.Profile())
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
    ledger, engine, young, look, store
):
    before = ledger.rpc.call("evm_snapshot", [])
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.mine(3)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    (old,) = events(engine)
    assert coverage(engine, store).next_block > old.block
    ledger.rpc.call("evm_revert", [before])
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.mine(4)
    look.catch_up(young)
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


def test_two_keepers_at_once_keep_what_one_would(ledger, engine, young, look, store):
    ledger.busy()
    ledger.mine(3)
    look.catch_up(young)
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


def test_proofs_of_a_block_that_is_done_or_gone_are_not_kept(ledger, engine, young, look, store):
    """As when another keeper was faster, or a rollback took the block meanwhile."""
    ledger.register()
    ledger.mine(3)
    look.catch_up(young)
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


def test_its_rate_is_bounded_and_the_follower_is_not_held_up(ledger, engine, young, look, store):
    for _ in range(20):
        ledger.register()
    ledger.mine(3)
    look.catch_up(young)
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
        look.catch_up(young)
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


def test_only_the_one_that_follows_harvests(ledger, engine, young, look, store):
    ledger.register()
    ledger.mine(3)
    look.catch_up(young)
    stop = threading.Event()
    idle = keeper(ledger.rpc, engine, ledger, active=lambda: False)
    thread = threading.Thread(target=idle.run, args=(stop,))
    thread.start()
    time.sleep(0.5)
    stop.set()
    thread.join(10)
    assert coverage(engine, store).events == 0


def test_a_chain_without_provable_headers_is_left_alone(ledger, engine, young, look, store):
    ledger.register()
    ledger.mine(3)
    look.catch_up(young)
    assert not keeper(ledger.rpc, engine, ledger, proofs=False).turn()
    assert coverage(engine, store).events == 0


def test_before_anything_was_followed_there_is_nothing_to_keep(ledger, engine):
    with pytest.raises(IndexUnavailable):
        keeper(ledger.rpc, engine, ledger).turn()


def test_a_journal_that_names_another_block_gets_no_proofs(ledger, engine, young, look, store):
    ledger.register()
    ledger.mine(3)
    look.catch_up(young)
    with writing(engine) as connection:
        connection.execute(update(tables.raw_log).values(block_hash=b"x" * 32))
    with pytest.raises(StateProofInvalid, match="another block"):
        keeper(ledger.rpc, engine, ledger).turn()
