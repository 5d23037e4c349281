"""What the evidence store lacks is found in it or asked for again, and nothing is lost by that."""

from __future__ import annotations

import json
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from types import MethodType

import pytest
import rlp
from evidence_world import (
    anchor_two_in_a_block,
    coverage,
    events,
    final,
    finish,
    keeper,
    liar,
    mender,
    proofs_on_record,
)
from sqlalchemy import delete, func, insert, select, update

from ledger.chain.rpc import Rpc
from ledger.errors import ChainUnavailable, IndexDamaged, RpcRefused
from ledger.index import tables
from ledger.index.audit import audit
from ledger.index.database import writing
from ledger.index.event_proofs import KINDS, OTHERWISE, Kept, verify_event
from ledger.index.evidence_account import Account
from ledger.index.evidence_rows import put_bodies
from ledger.index.evidence_store import EvidenceStore
from ledger.index.mending import FEWER, sort_out
from ledger.index.proof_source import ProofSource

pytestmark = pytest.mark.chain


def refuse_states(proxy, blocks=None):
    """As a node that is no archive does: of some blocks, or of any."""
    honest = proxy._reply

    def refusing(body, fault):
        call = json.loads(body)
        if isinstance(call, dict) and call["method"] == "eth_getProof":
            error = {"code": -32000, "message": f"no state of {call['params'][2]}"}
            if blocks is None or int(call["params"][2], 16) in blocks:
                return json.dumps({"jsonrpc": "2.0", "id": call["id"], "error": error}).encode()
        return honest(body, fault)

    proxy._reply = refusing


@pytest.fixture
def losing(ledger, engine, young, look, store, proxy):
    """A worker whose endpoint refuses the state of two blocks until `proxy.heal()`."""
    for _ in range(2):
        ledger.register()
    ledger.mine(3)
    look.catch_up(young)
    honest, blocks = proxy._reply, {row.block for row in events(engine)}
    refuse_states(proxy, blocks)
    with Rpc(proxy.url) as rpc:
        worker = keeper(rpc, engine, ledger)
        while coverage(engine, store).backlog:
            with suppress(RpcRefused):
                worker.turn()
        worker.retrieve = mender(rpc, engine, ledger).retrieve
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
    blocks = len({row.block for row in rows})
    assert told == [(done, blocks) for done in range(1, blocks + 1)]
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
def test_what_is_gone_or_spoilt_is_asked_for_again(what, ledger, engine, young, look, store):
    ledger.busy()
    ledger.mine(3)
    look.catch_up(young)
    worker = keeper(ledger.rpc, engine, ledger)
    finish(worker)
    before, kept = coverage(engine, store), proofs_on_record(engine)
    with writing(engine) as connection:
        GONE[what](connection)
    assert what in COUNTED or proofs_on_record(engine) != kept
    asking = mender(ledger.rpc, engine, ledger)
    answer = asking.retrieve()
    assert (answer.found > 0) == (what not in COUNTED)
    assert dict(answer.reasons) == {}
    assert proofs_on_record(engine) == kept
    told = coverage(engine, store)
    assert (told.events, told.lost, told.size) == (before.events, before.lost, before.size)
    # Blocks without events of ours may lie above the last that has some.
    assert told.next_block <= final(engine) + 1
    assert told.backlog == 0
    assert asking.retrieve().found == 0


def test_what_is_gone_and_refused_keeps_its_name_and_is_lost_where_it_had_none(
    ledger, engine, young, look, store, proxy
):
    """The body may lie in a copy; of what was never on record there is nothing to keep."""
    ledger.register()
    ledger.mine(3)
    look.catch_up(young)
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
        answer = mender(rpc, engine, ledger).retrieve()
    assert (answer.found, sum(answer.reasons.values())) == (0, 2 * count)
    with engine.connect() as connection:
        assert connection.execute(named).all() == before
        states = connection.execute(select(link.c.lost).where(link.c.kind == "state")).scalars()
        assert all("pruned" in reason for reason in states)
    assert (coverage(engine, store).events, coverage(engine, store).lost) == (0, count)
    assert mender(ledger.rpc, engine, ledger).retrieve().found == 2 * count
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


def test_sizes_are_set_without_a_node(harvested, ledger, engine, proxy):
    before = proofs_on_record(engine)
    with writing(engine) as connection:
        connection.execute(update(tables.proof).values(size=7))
    proxy.socket_fault = "refuse"
    with Rpc(proxy.url) as rpc:
        assert mender(rpc, engine, ledger).retrieve().found == 0
    assert proofs_on_record(engine) == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_rows_that_are_not_of_their_kind_end_nothing(harvested, ledger, engine):
    before = proofs_on_record(engine)
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE proof SET body = 'abc' WHERE kind = 'state'")
    assert mender(ledger.rpc, engine, ledger).retrieve().found > 0
    assert proofs_on_record(engine) == before
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE raw_log SET data = 'abc'")
    with pytest.raises(IndexDamaged):
        mender(ledger.rpc, engine, ledger).retrieve()


def one_header(connection):
    proof = tables.proof
    headers = select(proof.c.hash).where(proof.c.kind == "header").order_by(proof.c.hash)
    return connection.execute(headers).scalars().first()


@pytest.mark.parametrize("what", LOST_SIGHT_OF)
def test_what_is_there_and_lost_sight_of_is_found_without_a_node(
    what, ledger, engine, young, look, store, proxy
):
    """Nodes have forgotten it: whole bytes are never dropped, and serve again."""
    ledger.busy()
    ledger.mine(3)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    before, (entries, bodies) = coverage(engine, store), proofs_on_record(engine)
    with writing(engine) as connection:
        LOST_SIGHT_OF[what](connection)
    proxy.socket_fault = "refuse"
    with Rpc(proxy.url) as rpc:
        assert mender(rpc, engine, ledger).retrieve().found > 0
    assert proofs_on_record(engine) == [entries, bodies]
    told = coverage(engine, store)
    assert (told.events, told.lost, told.size) == (before.events, before.lost, before.size)


def test_a_spoilt_body_that_a_retracted_event_names_is_kept(ledger, engine, young, look, store):
    ledger.register()
    ledger.mine(3)
    look.catch_up(young)
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
    assert mender(ledger.rpc, engine, ledger).retrieve().found > 0
    with engine.connect() as connection:
        bodies = set(connection.execute(select(proof.c.hash)).scalars())
    assert {row.hash, hash_} <= bodies


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_who_harvests_and_who_asks_again_count_together(engine, store, losing, ledger, young, look):
    """The place is read before, and moved after, the other has written to it."""
    losing.found()
    lost = coverage(engine, store).lost
    ledger.register()
    ledger.mine(3)
    look.catch_up(young)
    file = losing._store._file

    with ThreadPoolExecutor(1) as beside:

        def meanwhile(*given):
            losing._store._file = file
            answers.append(beside.submit(mender(ledger.rpc, engine, ledger).retrieve))
            time.sleep(3.0)  # Less than it takes beside others on two cores proves nothing.
            assert not answers[0].done()  # It waits for the cursor's row.
            return file(*given)

        losing._store._file, answers = meanwhile, []
        finish(losing)
        assert answers[0].result(timeout=60).found == lost
    cover = coverage(engine, store)
    assert (cover.events, cover.lost, cover.backlog) == (len(events(engine)), 0, 0)


# -- what was taken back


@pytest.fixture
def taken_back(ledger, engine, young, look):
    """The one event of the journal stands in the place of one that was proved, too."""
    before = ledger.rpc.call("evm_snapshot", [])
    for blocks in (3, 4):
        ledger.do("Anchors", "anchor", secrets.token_bytes(32))
        ledger.mine(blocks)
        look.catch_up(young)
        finish(keeper(ledger.rpc, engine, ledger))
        if blocks == 3:
            (old,) = events(engine)
            ledger.rpc.call("evm_revert", [before])
    return old


def rename_entries(connection, of):
    link = tables.evidence
    connection.execute(update(link).where(of, link.c.kind == "state").values(kind="letter"))


def rename_state(connection, of):
    proof = tables.proof
    connection.execute(
        update(proof).where(proof.c.hash == state_of(connection, of)).values(kind="letter")
    )


def restore_state(connection, of):
    """Under another hash, which nothing names."""
    proof, hash_ = tables.proof, state_of(connection, of)
    connection.execute(update(proof).where(proof.c.hash == hash_).values(hash=flipped(hash_)))


def forget_entries(connection, of):
    connection.execute(delete(tables.evidence).where(of))


def missize_and_forget(connection, of):
    proof = tables.proof
    connection.execute(update(proof).where(proof.c.hash == state_of(connection, of)).values(size=7))
    forget_entries(connection, of)


def call_lost(connection, of):
    link = tables.evidence
    connection.execute(update(link).where(of, link.c.kind == "state").values(lost="pruned"))
    # Counted so, too.
    place = tables.evidence_place
    connection.execute(update(place).values(lost=1, events=place.c.events - 1))


def state_of(connection, of):
    link = tables.evidence
    return connection.execute(select(link.c.hash).where(of, link.c.kind == "state")).scalar_one()


TAKEN_BACK = {
    "entries of another kind": rename_entries,
    "a body of another kind": rename_state,
    "a body under another hash": restore_state,
    "entries": forget_entries,
    "entries, and the size": missize_and_forget,
    "held and lost": call_lost,
}


@pytest.mark.parametrize("what", TAKEN_BACK)
def test_what_a_retracted_event_rests_on_is_found_without_a_node(
    what, taken_back, ledger, engine, store, proxy
):
    """No node has its block: what is in the store is all there will ever be."""
    before, cover = proofs_on_record(engine), coverage(engine, store)
    of = tables.evidence.c.block_hash == taken_back.block_hash
    with writing(engine) as connection:
        TAKEN_BACK[what](connection, of)
    assert failing(engine, ledger)
    proxy.socket_fault = "refuse"
    with Rpc(proxy.url) as rpc:
        answer = mender(rpc, engine, ledger).retrieve()
    assert dict(answer.reasons) == {}
    assert proofs_on_record(engine) == before
    assert coverage(engine, store) == cover
    assert failing(engine, ledger) == set()


def test_of_a_retracted_event_what_is_gone_for_good_is_said(taken_back, ledger, engine, store):
    proof = tables.proof
    of = tables.evidence.c.block_hash == taken_back.block_hash
    with writing(engine) as connection:
        connection.execute(delete(proof).where(proof.c.hash == state_of(connection, of)))
    answer = mender(ledger.rpc, engine, ledger).retrieve()
    assert answer.found == 0
    ((reason, count),) = answer.reasons.items()
    assert "was taken back" in reason
    assert count == 1
    assert failing(engine, ledger) == {6, 8}


def test_what_a_retracted_event_never_had_is_not_asked_for(taken_back, ledger, engine, store):
    """A full node had no state of its block when proofs were taken: nobody can mend that."""
    proof, link = tables.proof, tables.evidence
    of = link.c.block_hash == taken_back.block_hash
    with writing(engine) as connection:
        connection.execute(delete(proof).where(proof.c.hash == state_of(connection, of)))
        given_up = update(link).where(of, link.c.kind == "state")
        connection.execute(given_up.values(hash=None, lost="missing trie node"))
        connection.execute(update(tables.evidence_place).values(events=1, lost=1))
    answer = mender(ledger.rpc, engine, ledger).retrieve()
    assert (answer.found, dict(answer.reasons)) == (0, {})
    assert failing(engine, ledger) == set()


@pytest.mark.parametrize("also", [None, "receipt", "all"])
def test_where_all_that_was_proved_was_taken_back_how_far_is_set_anew(
    also, ledger, engine, young, look
):
    """Whatever is in the journal next is to be proved from the beginning."""
    before, link = ledger.rpc.call("evm_snapshot", []), tables.evidence
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.mine(3)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    ledger.rpc.call("evm_revert", [before])
    ledger.mine(6)
    look.catch_up(young)
    assert events(engine) == []
    entries = proofs_on_record(engine)
    with writing(engine) as connection:
        connection.execute(delete(tables.evidence_place))
        if also:
            connection.execute(
                delete(link).where(link.c.kind.in_((also,) if also != "all" else KINDS))
            )
    assert failing(engine, ledger) == {8}
    assert not mender(ledger.rpc, engine, ledger).retrieve().reasons
    assert failing(engine, ledger) == set()
    assert proofs_on_record(engine) == entries


def test_a_block_that_came_back_is_the_journals(ledger, engine, young, look):
    """Its entries are those of both, and an endpoint has it."""
    proof = tables.proof
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.mine(3)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    (row,) = events(engine)
    with writing(engine) as connection:
        values = row._asdict() | {"reorg_id": 1, "retracted_at_ms": 1}
        connection.execute(
            insert(tables.reorg).values(
                id=1,
                chain_id=row.chain_id,
                ancestor=row.block - 1,
                old_head=row.block,
                old_hash=row.block_hash,
                depth=1,
                past_finality=False,
                detected_at_ms=1,
            )
        )
        connection.execute(insert(tables.orphan_log).values(**values))
        connection.execute(update(proof).where(proof.c.kind == "state").values(body=b"x"))
    answer = mender(ledger.rpc, engine, ledger).retrieve()
    assert (answer.found, dict(answer.reasons)) == (1, {})
    assert not failing(engine, ledger) & {6, 7, 8}


def failing(engine, ledger):
    given = ledger.deployment
    done = audit(engine, given.chain_id, genesis=given.genesis_hash, addresses=given.addresses)
    return {check.number for check in done.checks if check.result == "fail"}


# -- what must never be dropped, and others who write


@pytest.fixture
def harvested(ledger, engine, young, look):
    for _ in range(3):
        ledger.register()
    ledger.mine(3)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    return events(engine)


def bodies(engine):
    with engine.connect() as connection:
        return {bytes(body) for body in connection.execute(select(tables.proof.c.body)).scalars()}


def test_a_proof_under_another_hash_outlives_a_run_that_cannot_use_it(
    harvested, ledger, engine, proxy
):
    """Without its block's header nothing says whose it is; with the next run it is."""
    proof, before = tables.proof, bodies(engine)
    with writing(engine) as connection:
        rename_bodies(connection)
        connection.execute(update(proof).where(proof.c.kind == "header").values(body=b"x"))
    proxy.change = liar("header")
    with Rpc(proxy.url) as rpc:
        assert mender(rpc, engine, ledger).retrieve().reasons
    assert {body for body in before if body[:1] == b"{"} <= bodies(engine)
    assert not mender(ledger.rpc, engine, ledger).retrieve().reasons
    assert bodies(engine) == before
    assert failing(engine, ledger) == set()


@pytest.mark.parametrize("place", [0, None, "the middle", "0 and no entries"])
def test_how_far_it_came_is_what_the_newest_entries_say(
    place, harvested, ledger, engine, store, proxy
):
    before, table = coverage(engine, store), tables.evidence_place
    cut = harvested[len(harvested) // 2].block if place == "the middle" else 0
    with writing(engine) as connection:
        if place == "0 and no entries":
            connection.execute(update(table).values(next_block=0))
            connection.execute(delete(tables.evidence))
        elif place is None:
            # Only the headers among the strays say that anything was harvested.
            connection.execute(delete(table))
            connection.execute(delete(tables.evidence))
        else:
            rename_bodies(connection)
            connection.execute(update(table).values(next_block=cut))
    assert failing(engine, ledger) == ({6, 8} if place in (0, "the middle") else {8})
    proxy.socket_fault = "refuse"
    with Rpc(proxy.url) as rpc:
        assert not mender(rpc, engine, ledger).retrieve().reasons
    assert failing(engine, ledger) == set()
    told = coverage(engine, store)
    assert (told.events, told.lost, told.size, told.backlog) == (
        before.events,
        before.lost,
        before.size,
        0,
    )


def swap_bodies(connection, one, other):
    proof = tables.proof
    found = {
        row.hash: row.body
        for row in connection.execute(select(proof).where(proof.c.hash.in_((one, other))))
    }
    for hash_, body in ((one, found[other]), (other, found[one])):
        connection.execute(update(proof).where(proof.c.hash == hash_).values(body=body))


@pytest.mark.parametrize("named", [True, False])
def test_bodies_that_changed_places_are_both_kept(named, harvested, ledger, engine, proxy):
    link, before, all_ = tables.evidence, proofs_on_record(engine), bodies(engine)
    with writing(engine) as connection:
        states = select(link.c.hash).where(link.c.kind == "state").distinct()
        one, other, *_ = connection.execute(states.order_by(link.c.hash)).scalars()
        swap_bodies(connection, one, other)
        if not named:
            connection.execute(delete(link).where(link.c.hash.in_((one, other))))
    proxy.socket_fault = "refuse"
    with Rpc(proxy.url) as rpc:
        assert not mender(rpc, engine, ledger).retrieve().reasons
    assert bodies(engine) == all_
    assert proofs_on_record(engine) == before


@pytest.mark.parametrize("put_first", [True, False])
def test_a_body_of_what_was_taken_back_is_not_written_over(
    put_first, taken_back, ledger, engine, store
):
    """Under a hash of the journal's, which a node can show again; its own is of nobody."""
    proof, link, before = tables.proof, tables.evidence, proofs_on_record(engine)
    of = link.c.block_hash == taken_back.block_hash
    (row,) = events(engine)
    with writing(engine) as connection:
        old, new = (
            state_of(connection, of),
            state_of(connection, link.c.block_hash == row.block_hash),
        )
        swap_bodies(connection, old, new)
        connection.execute(delete(proof).where(proof.c.hash == old))
    # What a follower's keeper may do first.
    gathered = ProofSource(ledger.rpc, rate=1e9).gather([row], give_up=False)
    with writing(engine) as connection:
        put_bodies(connection, gathered.held.values() if put_first else ())
    assert not mender(ledger.rpc, engine, ledger).retrieve().reasons
    assert proofs_on_record(engine) == before


def test_bodies_that_changed_places_and_nothing_names_outlive_what_is_sorted_out(
    harvested, engine, store
):
    link, all_ = tables.evidence, bodies(engine)
    with writing(engine) as connection:
        states = select(link.c.hash).where(link.c.kind == "state").distinct()
        one, other, *_ = connection.execute(states.order_by(link.c.hash)).scalars()
        swap_bodies(connection, one, other)
        connection.execute(delete(link).where(link.c.hash.in_((one, other))))
        assert sort_out(connection, store, [one, other]) == []
    assert bodies(engine) == all_


def test_an_entry_of_no_kind_goes_once_its_body_is_named_rightly(harvested, ledger, engine):
    """Also where another proof of its event is lost for good."""
    link, proof = tables.evidence, tables.proof
    with writing(engine) as connection:
        connection.execute(update(link).where(link.c.kind == "receipt").values(kind="letter"))
        connection.execute(delete(proof).where(proof.c.kind == "state"))
    with Rpc("http://127.0.0.1:1") as rpc, suppress(ChainUnavailable):
        mender(rpc, engine, ledger).retrieve()
    with engine.connect() as connection:
        kinds = set(connection.execute(select(link.c.kind)).scalars())
    assert kinds == {"header", "receipt", "state"}


def forget_all(engine, event):
    """The entries and all bodies: of what was taken back nothing but the count tells then."""
    link, proof = tables.evidence, tables.proof
    of = link.c.block_hash == event.block_hash
    with writing(engine) as connection:
        gone = list(connection.execute(select(link.c.hash).where(of)).scalars())
        connection.execute(delete(link).where(of))
        connection.execute(delete(proof).where(proof.c.hash.in_(gone)))


def test_that_fewer_are_proved_than_were_counted_is_said_once(taken_back, ledger, engine):
    forget_all(engine, taken_back)
    assert failing(engine, ledger) == {8}
    ((reason, count),) = mender(ledger.rpc, engine, ledger).retrieve().reasons.items()
    assert ("fewer" in reason, count) == (True, 1)
    assert failing(engine, ledger) == set()


def test_that_fewer_are_proved_is_said_by_the_run_that_comes_to_its_end(
    taken_back, ledger, engine, proxy
):
    forget_all(engine, taken_back)
    with writing(engine) as connection:
        connection.execute(delete(tables.proof).where(tables.proof.c.kind == "state"))
    proxy.socket_fault = "refuse"
    with Rpc(proxy.url) as rpc, pytest.raises(ChainUnavailable):
        mender(rpc, engine, ledger).retrieve()
    answer = mender(ledger.rpc, engine, ledger).retrieve()
    assert answer.found == 1
    ((reason, count),) = answer.reasons.items()
    assert ("fewer" in reason, count) == (True, 1)
    assert failing(engine, ledger) == set()


def test_that_fewer_are_proved_is_said_beside_what_was_lost_long_ago(
    taken_back, ledger, engine, proxy
):
    (row,), link, proof = events(engine), tables.evidence, tables.proof
    of = (link.c.block_hash == row.block_hash, link.c.kind == "state")
    with writing(engine) as connection:
        state = state_of(connection, of[0])
        connection.execute(update(link).where(*of).values(hash=None, lost="no state of it"))
        connection.execute(delete(proof).where(proof.c.hash == state))
        connection.execute(update(tables.evidence_place).values(events=1, lost=1))
    refuse_states(proxy)
    with Rpc(proxy.url) as rpc:
        assert sorted(mender(rpc, engine, ledger).retrieve().reasons.values()) == [1]
        forget_all(engine, taken_back)
        reasons = mender(rpc, engine, ledger).retrieve().reasons
        assert [count for reason, count in reasons.items() if "fewer" in reason] == [1]
        assert len(mender(rpc, engine, ledger).retrieve().reasons) == 1


def test_that_fewer_are_proved_is_said_beside_who_proves_more(
    taken_back, ledger, engine, young, look
):
    forget_all(engine, taken_back)
    asking = mender(ledger.rpc, engine, ledger)
    each = asking._each

    def beside(act, hashes):
        if act is sort_out:
            ledger.do("Anchors", "anchor", secrets.token_bytes(32))
            ledger.mine(3)
            look.catch_up(young)
            finish(keeper(ledger.rpc, engine, ledger))
        return each(act, hashes)

    asking._each = beside
    assert sorted(asking.retrieve().reasons.values()) == [1]
    assert failing(engine, ledger) == set()


@pytest.mark.parametrize("counted", [True, False])
def test_what_is_called_lost_and_had_again_is_no_loss(counted, harvested, ledger, engine, store):
    """By another hand, which may have counted it, too."""
    before, cover, row = proofs_on_record(engine), coverage(engine, store), harvested[0]
    link, place = tables.evidence, tables.evidence_place
    of = (link.c.block == row.block, link.c.log_index == row.log_index, link.c.kind == "state")
    with writing(engine) as connection:
        connection.execute(update(link).where(*of).values(hash=None, lost="pruned"))
        if counted:
            values = {"lost": place.c.lost + 1, "events": place.c.events - 1}
            connection.execute(update(place).values(**values))
    answer = mender(ledger.rpc, engine, ledger).retrieve()
    assert (answer.found, dict(answer.reasons)) == (1, {})
    assert (proofs_on_record(engine), coverage(engine, store)) == (before, cover)


@pytest.mark.parametrize("counted", [0, 1])
@pytest.mark.parametrize("kinds", [("state",), ("state", "receipt")])
def test_an_event_that_is_gone_is_told_beside_one_whose_proofs_are_called_lost(
    kinds, counted, taken_back, ledger, engine
):
    """By another hand; the first of them may be counted already."""
    link, stored, place = tables.evidence, tables.proof, tables.evidence_place
    (row,) = events(engine)
    with writing(engine) as connection:
        gone = link.c.block_hash == taken_back.block_hash
        named = list(connection.execute(select(link.c.hash).where(gone)).scalars())
        connection.execute(delete(stored).where(stored.c.hash.in_(named)))
        connection.execute(delete(link).where(gone))
        this = (link.c.block_hash == row.block_hash, link.c.kind.in_(kinds))
        connection.execute(update(link).where(*this).values(hash=None, lost="pruned"))
        values = {"lost": counted, "events": place.c.events - counted}
        connection.execute(update(place).values(**values))
    answer = mender(ledger.rpc, engine, ledger).retrieve()
    assert (answer.found, dict(answer.reasons)) == (len(kinds), {FEWER: 1})
    assert failing(engine, ledger) == set()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_why_a_proof_is_lost_need_not_be_readable(harvested, ledger, engine, store):
    before, cover = proofs_on_record(engine), coverage(engine, store)
    with writing(engine) as connection:
        connection.exec_driver_sql(
            "UPDATE evidence SET hash = NULL, lost = CAST(X'FF41' AS TEXT) WHERE kind = 'state'"
        )
    answer = mender(ledger.rpc, engine, ledger).retrieve()
    assert (answer.found, dict(answer.reasons)) == (len(harvested), {})
    assert (proofs_on_record(engine), coverage(engine, store)) == (before, cover)


ASTRAY = {"log_index": 1000, "block_hash": b"q" * 32, "block": 10**6, "chain_id": 5}


@pytest.mark.parametrize("column", ASTRAY)
def test_a_body_that_an_entry_of_no_event_names_serves_and_that_entry_counts_as_none(
    column, taken_back, ledger, engine, store, proxy
):
    cover, link = coverage(engine, store), tables.evidence
    of = (link.c.block_hash == taken_back.block_hash, link.c.kind == "state")
    with writing(engine) as connection:
        connection.execute(update(link).where(*of).values(**{column: ASTRAY[column]}))
    proxy.socket_fault = "refuse"
    with Rpc(proxy.url) as rpc:
        for found in (1, 0):
            answer = mender(rpc, engine, ledger).retrieve()
            assert (answer.found, dict(answer.reasons)) == (found, {})
            assert coverage(engine, store) == cover
    # What is left of it nothing takes away: it may be all that tells of an event that is gone.
    assert failing(engine, ledger) == (set() if column == "chain_id" else {7})


def test_a_retracted_event_without_entries_is_found_by_what_its_neighbour_rests_on(
    ledger, engine, young, look, proxy
):
    before = ledger.rpc.call("evm_snapshot", [])
    ledger.do("BrokerRegistry", "registerBroker", b"s" * 32, b"k" * 32, "http://a", by=3)
    ledger.mine(3)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    old, *_ = events(engine)
    ledger.rpc.call("evm_revert", [before])
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.mine(12)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    records, link = proofs_on_record(engine), tables.evidence
    of = (link.c.block_hash == old.block_hash, link.c.log_index == old.log_index)
    with writing(engine) as connection:
        assert connection.execute(delete(link).where(*of)).rowcount == len(KINDS)
    assert failing(engine, ledger) == {8}
    proxy.socket_fault = "refuse"
    with Rpc(proxy.url) as rpc:
        answer = mender(rpc, engine, ledger).retrieve()
    assert (answer.found, dict(answer.reasons)) == (len(KINDS), {})
    assert proofs_on_record(engine) == records
    assert failing(engine, ledger) == set()


# What its block, or its contract, cannot have: the kind of proof that there is none of, then.
IMPOSSIBLE = {
    "a transaction that there is not": ("receipt", {"tx_index": 99}),
    "a transaction before the first": ("receipt", {"tx_index": -1}),
    "a contract that there is not": ("state", {"contract": "Letters"}),
    "an address too short": ("state", {"address": b"a" * 19}),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_an_event_that_there_cannot_be_costs_no_other_its_proofs_and_ends_nothing(
    what, ledger, engine, young, look, store
):
    kind, values = IMPOSSIBLE[what]
    anchor_two_in_a_block(ledger)
    look.catch_up(young)
    one, row = events(engine)[-2:]
    assert one.block == row.block
    logs = tables.raw_log
    of = (logs.c.block == row.block, logs.c.log_index == row.log_index)
    with writing(engine) as connection:
        connection.execute(update(logs).where(*of).values(**values))
    finish(keeper(ledger.rpc, engine, ledger))
    with engine.connect() as connection:
        assert set(store.of(connection, one.block, one.log_index)) == set(KINDS)
        lost = store.lost(connection, row.block, row.block_hash)
    # What is of no address of ours is in no receipt either.
    assert lost == {(row.log_index, kind)} | ({(1, "receipt")} if "address" in values else set())
    # Another's state serves it, where its address alone is right.
    mender(ledger.rpc, engine, ledger).retrieve()
    answer = mender(ledger.rpc, engine, ledger).retrieve()
    assert answer.found == 0
    assert all(reason.startswith(OTHERWISE) for reason in answer.reasons)


def test_nothing_is_lost_under_a_block_that_is_not_kept(harvested, ledger, engine, store):
    """The journal names a block that never was: nobody has proofs of it, and nobody ever will."""
    logs, row = tables.raw_log, harvested[-1]
    of = (logs.c.block == row.block, logs.c.log_index == row.log_index)
    before, cover = proofs_on_record(engine), coverage(engine, store)
    with writing(engine) as connection:
        connection.execute(update(logs).where(*of).values(block_hash=b"z" * 32))
    answer = mender(ledger.rpc, engine, ledger).retrieve()
    assert (answer.found, sum(answer.reasons.values())) == (0, len(KINDS))
    assert proofs_on_record(engine) == before
    with writing(engine) as connection:
        connection.execute(update(logs).where(*of).values(block_hash=row.block_hash))
    assert not mender(ledger.rpc, engine, ledger).retrieve().reasons
    assert coverage(engine, store) == cover
    assert failing(engine, ledger) == set()


def test_proofs_that_say_otherwise_than_the_journal_are_not_found_again_and_again(
    harvested, ledger, engine
):
    logs, row, before = tables.raw_log, harvested[-1], proofs_on_record(engine)
    of = (logs.c.block == row.block, logs.c.log_index == row.log_index)
    with writing(engine) as connection:
        connection.execute(update(logs).where(*of).values(block_time=1))
    answer = mender(ledger.rpc, engine, ledger).retrieve()
    assert (answer.found, dict(answer.reasons)) == (0, {OTHERWISE: len(KINDS)})
    assert proofs_on_record(engine) == before


def test_one_event_that_the_journal_has_otherwise_costs_no_other_its_proofs(
    ledger, engine, young, look, store
):
    plan = ledger.plan(ledger.register())
    holders = [ledger.accounts[2], ledger.accounts[3]]
    ledger.do("LicenseLedger", "issueBatch", plan, holders, 0, 0)
    ledger.mine(3)
    look.catch_up(young)
    row, logs = events(engine)[-1], tables.raw_log
    of = (logs.c.block == row.block, logs.c.log_index == row.log_index)
    with writing(engine) as connection:
        connection.execute(update(logs).where(*of).values(tx_hash=b"z" * 32))
    finish(keeper(ledger.rpc, engine, ledger))
    with engine.connect() as connection:
        lost = {
            (event.block, event.log_index, kind)
            for event in events(engine)
            for _, kind in store.lost(connection, event.block, event.block_hash)
        }
        kept = store.of(connection, row.block, row.log_index - 1)
    assert {kind for *_, kind in lost} == {"receipt"}
    assert set(kept) == set(KINDS)
    assert coverage(engine, store).lost == 1


@pytest.mark.parametrize("with_", ["live", "taken back"])
@pytest.mark.parametrize("kind", KINDS)
def test_entries_that_changed_places_name_their_own_again(
    kind, with_, taken_back, ledger, engine, proxy, young, look
):
    """Every body is whole, and no node has the states any more."""
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.mine(3)
    look.catch_up(young)
    finish(keeper(ledger.rpc, engine, ledger))
    one, other = events(engine)
    before, link = proofs_on_record(engine), tables.evidence
    if with_ == "taken back":
        other = taken_back
    with writing(engine) as connection:
        two = [(link.c.block_hash == row.block_hash, link.c.kind == kind) for row in (one, other)]
        hashes = [connection.execute(select(link.c.hash).where(*of)).scalar_one() for of in two]
        for of, hash_ in zip(two, reversed(hashes), strict=True):
            connection.execute(update(link).where(*of).values(hash=hash_))
    refuse_states(proxy)
    with Rpc(proxy.url) as rpc:
        answer = mender(rpc, engine, ledger).retrieve()
    assert (answer.found, dict(answer.reasons)) == (2, {})
    assert proofs_on_record(engine) == before
    assert failing(engine, ledger) == set()


def hold_the_receipt(connection, hashes):
    """The header's row holds the receipt, whose own is gone."""
    proof = tables.proof
    receipt = select(proof.c.body).where(proof.c.hash == hashes["receipt"]).scalar_subquery()
    connection.execute(update(proof).where(proof.c.hash == hashes["header"]).values(body=receipt))
    connection.execute(delete(proof).where(proof.c.hash == hashes["receipt"]))


def write_digits(connection, hashes):
    """A receipt's number that no canonical JSON can hold."""
    proof = tables.proof
    this = proof.c.hash == hashes["receipt"]
    body = bytes(connection.execute(select(proof.c.body).where(this)).scalar_one())
    body = body.replace(b'"block":', b'"block":99999999999999999999')
    connection.execute(update(proof).where(this).values(body=body))


def rotate_headers(connection, hashes):
    """More than a thousand bodies, each in the place of the next."""
    proof = tables.proof
    of = select(proof.c.body).where(proof.c.hash == hashes["header"])
    fields = rlp.decode(bytes(connection.execute(of).scalar_one()))
    made = [rlp.encode([*fields[:12], n.to_bytes(8), *fields[13:]]) for n in range(1100)]
    rows = [
        {"hash": sha256(own).digest(), "kind": "header", "body": body, "size": len(body)}
        for own, body in zip(made, [*made[1:], made[0]], strict=True)
    ]
    connection.execute(insert(proof), rows)


def add_shapes(connection, hashes):
    """JSON that is no proof, and an entry that is of no kind and names it."""
    link, proof = tables.evidence, tables.proof
    some = select(proof.c.body).where(proof.c.hash == hashes["receipt"])
    receipt = json.loads(bytes(connection.execute(some).scalar_one()))
    for shape in (receipt | {"receiptProof": []}, [receipt], 7):
        body = json.dumps(shape).encode()
        row = {"hash": sha256(body).digest(), "kind": "receipt", "body": body, "size": len(body)}
        connection.execute(insert(proof).values(**row))
    of = select(link).where(link.c.hash == hashes["receipt"]).limit(1)
    entry = connection.execute(of).one()._asdict()
    connection.execute(insert(link).values(**entry | {"kind": "letter", "hash": row["hash"]}))


MISPLACED = {
    "what is no proof": add_shapes,
    "a header's row holds the receipt": hold_the_receipt,
    "a number with too many digits": write_digits,
    "a long row of bodies, each in another's place": rotate_headers,
}


@pytest.mark.parametrize("what", MISPLACED)
def test_no_body_in_whatever_place_ends_it(what, harvested, ledger, engine):
    link, row, before = tables.evidence, harvested[0], proofs_on_record(engine)
    of = (link.c.block == row.block, link.c.log_index == row.log_index)
    with writing(engine) as connection:
        found = connection.execute(select(link.c.kind, link.c.hash).where(*of))
        MISPLACED[what](connection, {each.kind: each.hash for each in found})
    assert not mender(ledger.rpc, engine, ledger).retrieve().reasons
    assert before[0] == proofs_on_record(engine)[0]
    assert before[1] <= proofs_on_record(engine)[1]
    assert failing(engine, ledger) == set()


def test_of_what_was_taken_back_a_lack_is_told(taken_back, ledger, engine):
    link = tables.evidence
    of = link.c.block_hash == taken_back.block_hash
    with writing(engine) as connection:
        connection.execute(delete(link).where(of, link.c.kind == "state"))
    assert failing(engine, ledger) == {8}


def test_the_store_is_looked_through_before_anybody_is_asked(harvested, ledger, engine, proxy):
    proof, link = tables.proof, tables.evidence
    first = (link.c.block == harvested[0].block, link.c.kind == "state")
    with writing(engine) as connection:
        gone = connection.execute(select(link.c.hash).where(*first)).scalars().first()
        rename_bodies(connection)
        connection.execute(delete(proof).where(proof.c.hash == flipped(gone)))
    proxy.socket_fault = "refuse"
    with Rpc(proxy.url) as rpc, pytest.raises(ChainUnavailable):
        mender(rpc, engine, ledger).retrieve()
    with engine.connect() as connection:
        there = set(connection.execute(select(proof.c.hash)).scalars())
        states = set(
            connection.execute(select(link.c.hash).where(link.c.kind == "state")).scalars()
        )
    assert states - there == {gone}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_who_drops_a_spoilt_body_and_who_puts_it_right_leave_it_whole(
    harvested, ledger, engine, store
):
    """Either may come first; the other waits, and looks again: also one of another chain."""
    store.alone = lambda _connection: None
    proof, link = tables.proof, tables.evidence
    row, before = harvested[0], proofs_on_record(engine)
    of = (link.c.block == row.block, link.c.kind == "state")
    with writing(engine) as connection:
        hash_ = connection.execute(select(link.c.hash).where(*of)).scalars().first()
        whole = select(proof.c.body).where(proof.c.hash == hash_)
        body = bytes(connection.execute(whole).scalar_one())
        connection.execute(delete(link).where(link.c.hash == hash_))
        connection.execute(update(proof).where(proof.c.hash == hash_).values(body=b"spoilt"))
    with ThreadPoolExecutor(1) as beside:
        with writing(engine) as connection:
            sort_out(connection, store, [hash_])
            other = beside.submit(put, engine, store, Kept("state", body))
            time.sleep(0.5)
            assert not other.done()
        other.result(timeout=60)
    assert body in bodies(engine)
    assert mender(ledger.rpc, engine, ledger).retrieve().found > 0
    assert proofs_on_record(engine) == before
    with writing(engine) as connection:
        connection.execute(delete(link).where(link.c.hash == hash_))
        connection.execute(update(proof).where(proof.c.hash == hash_).values(body=b"spoilt"))
    worker = mender(ledger.rpc, engine, ledger)
    mend, waiting = EvidenceStore.mend, []

    def slow(self, connection, *given):
        done = mend(self, connection, *given)
        if done[0].proofs:
            waiting.append(beside.submit(sorted_out, engine, store, hash_))
            time.sleep(0.5)
            assert not waiting[0].done()
        return done

    with ThreadPoolExecutor(1) as beside:
        worker._store.mend = MethodType(slow, worker._store)
        assert worker.retrieve().found > 0
        waiting[0].result(timeout=60)
    assert proofs_on_record(engine) == before
    assert failing(engine, ledger) == set()


def put(engine, store, kept):
    with writing(engine) as connection:
        put_bodies(connection, [kept])


def sorted_out(engine, store, hash_):
    with writing(engine) as connection:
        sort_out(connection, store, [hash_])


def test_two_at_once_find_what_one_would(harvested, ledger, engine):
    link, proof, before = tables.evidence, tables.proof, proofs_on_record(engine)
    with writing(engine) as connection:
        connection.execute(delete(link).where(link.c.kind != "header"))
        connection.execute(delete(proof).where(proof.c.kind != "header"))
        connection.execute(delete(tables.evidence_place))
    with ThreadPoolExecutor(2) as both:
        told = [both.submit(mender(ledger.rpc, engine, ledger).retrieve) for _ in range(2)]
        found = [each.result(timeout=60).found for each in told]
    assert sum(found) == 2 * len(harvested)
    assert proofs_on_record(engine) == before
    assert failing(engine, ledger) == set()


def test_counts_are_set_beside_who_never_stops_writing(
    harvested, ledger, engine, young, look, monkeypatch
):
    """Counting takes a while, and each time something was added meanwhile: in the end it waits."""
    of, counting = Account.of, []

    def busy(*given):
        found = of(*given)
        if threading.current_thread() is threading.main_thread() and len(counting) < 3:
            counting.append(given)
            ledger.register()
            ledger.mine(3)
            look.catch_up(young)
            finish(keeper(ledger.rpc, engine, ledger))
        return found

    with writing(engine) as connection:
        connection.execute(update(tables.evidence_place).values(events=0, lost=9))
    monkeypatch.setattr(Account, "of", busy)
    mender(ledger.rpc, engine, ledger).retrieve()
    assert len(counting) == 3
    assert failing(engine, ledger) == set()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_body_that_became_text_is_bytes_again(harvested, ledger, engine, proxy):
    """Another tool wrote it so; it is all there."""
    before = proofs_on_record(engine)
    with writing(engine) as connection:
        connection.exec_driver_sql(
            "UPDATE proof SET body = CAST(body AS TEXT) WHERE kind <> 'header'"
        )
        connection.exec_driver_sql("DELETE FROM evidence WHERE kind = 'receipt'")
    proxy.socket_fault = "refuse"
    with Rpc(proxy.url) as rpc:
        assert not mender(rpc, engine, ledger).retrieve().reasons
    assert proofs_on_record(engine) == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE evidence SET hash = 'x' WHERE kind = 'state'",
        "UPDATE evidence SET hash = 1000000000000 WHERE kind = 'state'",
        "UPDATE raw_log SET block_hash = 'x'",
    ],
)
def test_what_is_not_of_its_kind_is_damage(statement, harvested, ledger, engine):
    with writing(engine) as connection:
        connection.exec_driver_sql(statement)
    with pytest.raises(IndexDamaged):
        mender(ledger.rpc, engine, ledger).retrieve()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_is_no_hash_is_damage(harvested, ledger, engine):
    with writing(engine) as connection:
        connection.exec_driver_sql(
            "UPDATE proof SET hash = 'abc' WHERE hash = (SELECT min(hash) FROM proof)"
        )
    with pytest.raises(IndexDamaged):
        mender(ledger.rpc, engine, ledger).retrieve()
    assert 6 in failing(engine, ledger)
