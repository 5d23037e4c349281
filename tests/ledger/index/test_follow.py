"""The follower ends equal to the chain, whatever happens on the way."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select

from ledger.chain import anvil
from ledger.chain.abi_codec import contract
from ledger.chain.rpc import Rpc
from ledger.errors import ChainUnavailable, Fenced, IndexUnavailable, Reorganised, WrongNetwork
from ledger.ids import LicenseId
from ledger.index import bulk, journal, listing, outbox, tables, versions
from ledger.index.database import open_database, reading, writing
from ledger.index.deferred import left_out
from ledger.index.follow import Follower
from ledger.index.journal import Journal
from ledger.index.views import Index

pytestmark = pytest.mark.chain


def test_the_index_shows_what_the_contracts_show_at_every_block(ledger, engine, follower, look):
    first = ledger.rpc.block().number
    ledger.busy()
    last = ledger.rpc.block().number
    look.catch_up(follower)
    index = Index(engine, ledger.deployment.chain_id)
    model, plan = ledger.models[-1], None
    license_ = None
    for block in range(first, last + 1):
        with index.snapshot(block) as snapshot:
            rows = listing.models(snapshot)
            seen = next((row for row in rows if row.model_id == model.raw), None)
            holder, registered, committed, status, proven = ledger.ask(
                "ModelRegistry", "modelOf", model.raw, block=block
            )
            assert (seen is not None) == (status != 0)
            if seen is not None:
                assert seen.licensor == holder.raw
                assert (seen.registered_at, seen.committed_at) == (registered, committed)
                assert (seen.status, seen.committed) == (status, proven)
                epoch, sealing = ledger.ask("ModelRegistry", "sealingOf", model.raw, block=block)
                assert seen.sealing_epoch == epoch
                assert (seen.sealing_hash or bytes(32)) == sealing.raw
                for row in snapshot.plans(model):
                    plan = row["plan_id"]
                    terms, state = ledger.ask("LicenseLedger", "planOf", plan, block=block)
                    assert (row["price"], row["quota"]) == (terms["price"], terms["quota"])
                    assert (row["features"], row["seats"]) == (terms["features"], terms["seats"])
                    assert row["issued"] == state["issued"]
                    assert row["plan_digest"] == state["planDigest"].raw
                for row in listing.licenses(snapshot, model_id=model.raw):
                    license_ = row.license_id
                    held = ledger.ask("LicenseLedger", "licenseOf", license_, block=block)
                    assert row.holder == held[0].raw
                    assert (row.not_after, row.status) == held[2:4]
                    assert (row.seats_used, row.grant_nonce) == held[4:6]
                    assert row.suspended_at == held[6]
                    assert len(snapshot.seats(LicenseId(license_))) == held[4]
    assert plan is not None
    assert license_ is not None


def test_rebuilding_from_the_journal_gives_the_live_tables(ledger, engine, follower, look):
    ledger.busy()
    look.catch_up(follower)
    assert look.state(engine)["license"]
    assert look.refolded(engine, follower) == look.state(engine)


def test_a_lodged_record_stays_whatever_is_lodged_after_it(ledger, engine, follower, look):
    model = ledger.register()
    hashes = [secrets.token_bytes(32) for _ in range(3)]
    receipts = [
        ledger.do("ModelRegistry", "lodge", model.raw, kind, 0, hash_, by=by)
        for kind, hash_, by in zip((3, 4, 3), hashes, (3, 1, 4), strict=True)
    ]
    assert len({receipt["logs"][0]["logIndex"] for receipt in receipts}) == 1
    look.catch_up(follower)
    with Index(engine, ledger.deployment.chain_id).snapshot() as snapshot:
        assert [bytes(row["record_hash"]) for row in snapshot.records(model)] == hashes
    assert look.refolded(engine, follower) == look.state(engine)


def test_numbers_and_bytes_that_a_stranger_chooses_do_not_stop_the_index(
    ledger, engine, follower, look
):
    registry = ledger.deployment.addresses["BrokerRegistry"]
    data = contract("BrokerRegistry").encode("registerBroker", b"s" * 32, b"k" * 32, "xyz")
    ledger.send(registry, data.replace(b"xyz", b"\xed\xa0\x80"), 4)
    broker = int(ledger.logs()[-1][3][32:64].hex(), 16)
    root = b"r" * 32
    ledger.do("BrokerRegistry", "anchorReceipts", broker, 1, bytes(32), root, 2**64 - 1, by=4)
    look.catch_up(follower)
    assert look.journal(engine) == ledger.logs()
    with engine.connect() as connection:
        counts = connection.execute(select(tables.receipt_root.c.count)).scalars().all()
    assert 2**64 - 1 in counts


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 9])
def test_after_a_reorganisation_of_any_depth_the_rows_are_those_of_the_new_branch(
    ledger, engine, follower, look, depth
):
    ledger.busy()
    look.catch_up(follower)
    before = look.journal(engine)
    ledger.reorg(depth)
    ledger.mine(depth % 2)
    ledger.do("Anchors", "anchor", os.urandom(32))
    look.catch_up(follower)
    assert look.journal(engine) == ledger.logs() != before
    assert look.refolded(engine, follower) == look.state(engine)
    head = before[-1][0]
    with engine.connect() as connection:
        gone = connection.execute(select(tables.orphan_log.c.block, tables.orphan_log.c.log_index))
        lost = [row[:2] for row in before if row[0] > head - depth]
        assert sorted(tuple(row) for row in gone) == lost
        row = connection.execute(select(tables.reorg)).one()
    assert (row.depth, row.old_head) == (depth, head)


def test_two_reorganisations_in_a_row_and_one_past_the_deployment_are_followed(engine, look):
    process, rpc = look.boot()
    try:
        ledger = look.Ledger(rpc, rpc.call("eth_accounts", []))
        follower = Follower(rpc, engine, ledger.deployment, look.Profile())
        ledger.busy()
        look.catch_up(follower)
        ledger.reorg(3)
        follower.step()
        ledger.reorg(4)
        look.catch_up(follower)
        assert look.journal(engine) == ledger.logs()
        ledger.reorg(rpc.block().number - 1)
        look.catch_up(follower)
        assert look.journal(engine) == ledger.logs() == []
        assert not any(look.state(engine).values())
    finally:
        rpc.close()
        anvil.kill(process)


def test_a_shorter_chain_on_a_test_network_is_followed_back(ledger, engine, follower, look):
    mark = ledger.rpc.call("evm_snapshot", [])
    ledger.do("Anchors", "anchor", os.urandom(32))
    look.catch_up(follower)
    ledger.rpc.call("evm_revert", [mark])
    look.catch_up(follower)
    assert look.journal(engine) == ledger.logs()


def test_a_lower_head_elsewhere_is_an_endpoint_that_lags_and_changes_nothing(ledger, engine, look):
    follower = Follower(ledger.rpc, engine, ledger.deployment, look.Profile(test_network=False))
    mark = ledger.rpc.call("evm_snapshot", [])
    ledger.do("Anchors", "anchor", os.urandom(32))
    look.catch_up(follower)
    before = look.journal(engine)
    ledger.rpc.call("evm_revert", [mark])
    with pytest.raises(ChainUnavailable, match="stands at block"):
        follower.step()
    assert look.journal(engine) == before


def test_a_contradicted_finalized_block_stops_the_index_and_changes_nothing(ledger, engine, look):
    follower = Follower(ledger.rpc, engine, ledger.deployment, look.Profile(test_network=False))
    ledger.busy()
    look.catch_up(follower)
    before = look.state(engine)
    ledger.reorg(6)
    ledger.mine(2)
    with pytest.raises(Reorganised, match="contradicts finalized block") as caught:
        follower.step()
    assert caught.value.hint
    assert look.state(engine) == before


def test_a_reorganisation_above_finality_is_followed_on_every_network(ledger, engine, look):
    follower = Follower(ledger.rpc, engine, ledger.deployment, look.Profile(test_network=False))
    ledger.do("Anchors", "anchor", os.urandom(32))
    look.catch_up(follower)
    ledger.reorg(1)
    ledger.mine()
    look.catch_up(follower)
    assert look.journal(engine) == ledger.logs()


class Faulty:
    """A node between the follower and the true one, which alters answers on request."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc
        self.alter: Any = None

    def batch(self, calls: Any) -> list[Any]:
        answers = self.rpc.batch(calls)
        return answers if self.alter is None else self.alter(calls, answers)


def lost_logs(calls, answers):
    return [[] if m == "eth_getLogs" else a for (m, _), a in zip(calls, answers, strict=True)]


def lost_half(calls, answers):
    def cut(method, answer):
        return answer[::2] if method == "eth_getLogs" else answer

    return [cut(m, a) for (m, _), a in zip(calls, answers, strict=True)]


def doubled(calls, answers):
    def twice(method, answer):
        return [x for log in answer for x in (log, log)] if method == "eth_getLogs" else answer

    return [twice(m, a) for (m, _), a in zip(calls, answers, strict=True)]


def other_hash(calls, answers):
    def swap(method, answer):
        if method != "eth_getLogs":
            return answer
        return [{**log, "blockHash": "0x" + "11" * 32} for log in answer]

    return [swap(m, a) for (m, _), a in zip(calls, answers, strict=True)]


def pending(calls, answers):
    def null(method, answer):
        if method != "eth_getLogs":
            return answer
        return [{**log, "blockHash": None, "blockNumber": None} for log in answer]

    return [null(m, a) for (m, _), a in zip(calls, answers, strict=True)]


def null_block(calls, answers):
    numbered = [m == "eth_getBlockByNumber" and p[0].startswith("0x") for m, p in calls]
    return [None if yes else a for yes, a in zip(numbered, answers, strict=True)]


def other_parent(calls, answers):
    def break_(params, answer):
        if not isinstance(answer, dict) or int(answer["number"], 16) % 3:
            return answer
        return {**answer, "parentHash": "0x" + "22" * 32}

    return [break_(p, a) for (_, p), a in zip(calls, answers, strict=True)]


def short_topics(calls, answers):
    def cut(method, answer):
        if method != "eth_getLogs":
            return answer
        return [{**log, "topics": log["topics"][:1]} for log in answer]

    return [cut(m, a) for (m, _), a in zip(calls, answers, strict=True)]


@pytest.mark.parametrize(
    "fault",
    [doubled, other_hash, pending, null_block, other_parent, short_topics],
)
def test_an_endpoint_that_lies_is_not_believed_and_costs_no_row(ledger, engine, look, fault):
    node = Faulty(ledger.rpc)
    follower = Follower(node, engine, ledger.deployment, look.Profile())
    ledger.busy()
    node.alter = fault
    with pytest.raises(ChainUnavailable):
        look.catch_up(follower)
    node.alter = None
    look.catch_up(follower)
    assert look.journal(engine) == ledger.logs()


@pytest.mark.parametrize("fault", [lost_logs, lost_half])
def test_logs_that_a_real_node_leaves_out_are_read_from_its_receipts(ledger, engine, look, fault):
    node = Faulty(ledger.rpc)
    follower = Follower(node, engine, ledger.deployment, look.Profile())
    ledger.busy()
    node.alter = fault
    look.catch_up(follower)
    assert look.journal(engine) == ledger.logs()


def test_terms_that_do_not_fit_the_plan_digest_are_not_believed(ledger, engine, look):
    def alter(calls, answers):
        def flip(method, answer):
            long = method == "eth_call" and len(answer) > 1000
            return answer[: 2 + 64 * 3 - 1] + "7" + answer[2 + 64 * 3 :] if long else answer

        return [flip(m, a) for (m, _), a in zip(calls, answers, strict=True)]

    node = Faulty(ledger.rpc)
    follower = Follower(node, engine, ledger.deployment, look.Profile())
    ledger.busy()
    node.alter = alter
    with pytest.raises(ChainUnavailable, match="other terms"):
        look.catch_up(follower)


def test_a_follower_that_was_overtaken_commits_nothing_more(ledger, engine, follower, look):
    look.catch_up(follower)
    second = Follower(ledger.rpc, engine, ledger.deployment, look.Profile())
    ledger.do("Anchors", "anchor", os.urandom(32))
    look.catch_up(second)
    ledger.do("Anchors", "anchor", os.urandom(32))
    with pytest.raises(Fenced):
        follower.step()
    look.catch_up(second)
    assert look.journal(engine) == ledger.logs()


@pytest.mark.parametrize("undone", [0, 2])
def test_a_step_that_another_process_overtook_midway_commits_nothing(ledger, engine, look, undone):
    node = Faulty(ledger.rpc)
    follower = Follower(node, engine, ledger.deployment, look.Profile())
    look.catch_up(follower)
    if undone:
        ledger.reorg(undone)
    ledger.do("Anchors", "anchor", os.urandom(32))
    seen: list[Any] = []

    def overtake(calls, answers):
        """Between this follower's reading of the chain and its commit, another does the step."""
        if not seen and any(method == "eth_getLogs" for method, _ in calls):
            seen.append(None)
            second = Follower(ledger.rpc, engine, ledger.deployment, look.Profile())
            look.catch_up(second)
            seen[:] = [look.state(engine), look.journal(engine), _reorgs(engine)]
        return answers

    node.alter = overtake
    with pytest.raises(Fenced):
        look.catch_up(follower)
    assert [look.state(engine), look.journal(engine), _reorgs(engine)] == seen
    assert look.journal(engine) == ledger.logs()


def _reorgs(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(tables.reorg)).scalar_one())


def test_two_followers_that_run_at_once_leave_the_rows_of_one(ledger, engine, look):
    stop = threading.Event()
    followers = [
        Follower(ledger.rpc, engine, ledger.deployment, look.Profile(), poll=0.01) for _ in range(2)
    ]
    threads = [threading.Thread(target=f.run, args=(stop,)) for f in followers]
    for thread in threads:
        thread.start()
    for _ in range(4):
        ledger.do("Anchors", "anchor", os.urandom(32))
        ledger.reorg(1)
    ledger.do("Anchors", "anchor", os.urandom(32))
    deadline = time.monotonic() + 20
    states: set[str] = set()
    while (
        look.journal(engine) != ledger.logs() or states != {"synced", "standby"}
    ) and time.monotonic() < deadline:
        time.sleep(0.05)
        states = {f.status.state for f in followers}
    stop.set()
    for thread in threads:
        thread.join(10)
    assert look.journal(engine) == ledger.logs()
    assert states == {"synced", "standby"}


def test_a_database_of_another_chain_is_refused(ledger, engine, follower, look):
    look.catch_up(follower)
    process, rpc = look.boot()
    try:
        other = look.Ledger(rpc, rpc.call("eth_accounts", []))
        with pytest.raises(WrongNetwork, match="database holds another chain") as caught:
            Follower(rpc, engine, other.deployment, look.Profile()).step()
        for genesis in (other.deployment.genesis_hash, ledger.deployment.genesis_hash):
            assert str(genesis)[:18] in caught.value.message
        # Nothing of the chain is lost, and nothing need be thrown away.
        assert "--fresh" not in caught.value.hint
        assert "put back the copy" in caught.value.hint
        fewer = dict(list(ledger.deployment.addresses.items())[1:])
        given = replace(ledger.deployment, addresses=fewer)
        with pytest.raises(WrongNetwork, match="database holds other contracts"):
            Follower(ledger.rpc, engine, given, look.Profile()).step()
    finally:
        rpc.close()
        anvil.kill(process)


def test_who_names_a_database_of_another_chain_is_told_though_no_endpoint_answers(
    ledger, engine, follower, look
):
    look.catch_up(follower)
    other = replace(ledger.deployment, genesis_hash=look.digest(b"another"))
    stop, rpc = threading.Event(), Rpc("http://127.0.0.1:1", timeout=1.0)
    try:
        with pytest.raises(WrongNetwork, match="database holds another chain"):
            Follower(rpc, engine, other, look.Profile()).run(stop, patient=False)
        # A service waits, and says so.
        service = Follower(rpc, engine, other, look.Profile())
        thread = threading.Thread(target=service.run, args=(stop,))
        thread.start()
        while service.status.state == "starting":
            time.sleep(0.01)
        assert (service.status.state, service.status.stuck.code) == ("stopped", "WRONG_NETWORK")
        stop.set()
        thread.join(10)
    finally:
        rpc.close()


def test_an_endpoint_of_another_chain_ends_it_before_it_has_followed_and_not_after(stand, look):
    ours = stand.deployment
    stand.deployment = another = replace(ours, genesis_hash=look.digest(b"another"))
    with pytest.raises(WrongNetwork, match="another first block"):
        stand.new_follower().run(threading.Event(), patient=False)
    stand.deployment = ours
    follower, stop, ended = stand.new_follower(poll=0.01), threading.Event(), []
    thread = threading.Thread(
        target=lambda: ended.append(follower.run(stop, patient=False)), daemon=True
    )
    thread.start()
    try:
        wait_until(lambda: follower.status.state == "synced")
        follower._deployment = another
        follower._identified = False
        wait_until(lambda: follower.status.state == "stopped")
        follower._deployment = ours
        wait_until(lambda: follower.status.state == "synced")
        assert follower.status.stuck is None
    finally:
        stop.set()
        thread.join(10)
    assert ended == [None]


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_file_is_of_one_chain_and_a_servers_database_takes_several(ledger, engine, look):
    with writing(engine) as connection:
        Journal(5).pin(connection, genesis=look.digest(b""), deployment={}, first=1)
    follower = Follower(ledger.rpc, engine, ledger.deployment, look.Profile())
    if engine.dialect.name == "postgresql":
        look.catch_up(follower)
        return
    before = [list(each) for each in rows_of_chains(engine)]
    with pytest.raises(WrongNetwork, match="holds another chain, 5, and nothing of") as caught:
        follower.step()
    assert "PostgreSQL" in caught.value.hint
    assert [list(each) for each in rows_of_chains(engine)] == before


def rows_of_chains(engine):
    with reading(engine) as connection:
        return connection.execute(select(tables.chain)).all()


def test_a_database_of_other_chains_alone_says_which_they_are(engine, look):
    with pytest.raises(IndexUnavailable, match="read nothing of chain 5 yet"), reading(engine) as c:
        Journal(5).cursor(c)
    with writing(engine) as connection:
        for chain_id in (11155111, 1):
            Journal(chain_id).pin(connection, genesis=look.digest(b""), deployment={}, first=1)
    only = pytest.raises(WrongNetwork, match="holds chains 1, 11155111, and nothing of chain 5")
    with only as caught, reading(engine) as connection:
        Journal(5).cursor(connection)
    assert "--network" in caught.value.hint


def test_a_node_that_goes_away_and_comes_back_as_another_chain_is_told_apart(engine, look):
    process, rpc = look.boot()
    port = int(rpc.urls[0].rpartition(":")[2])
    ledger = look.Ledger(rpc, rpc.call("eth_accounts", []))
    ledger.busy()
    follower = Follower(rpc, engine, ledger.deployment, look.Profile(), poll=0.02)
    stop = threading.Event()
    thread = threading.Thread(target=follower.run, args=(stop,))
    thread.start()

    def wait_for(state):
        deadline = time.monotonic() + 20
        while follower.status.state != state and time.monotonic() < deadline:
            time.sleep(0.02)
        assert follower.status.state == state, follower.status
        return follower.status.reason

    try:
        wait_for("synced")
        before = look.journal(engine)
        anvil.kill(process)
        assert "refuses connections" in wait_for("unavailable")
        time.sleep(1.1)  # two chains that begin in one second have the same first block
        process = anvil.spawn(port, None)
        assert "another first block" in wait_for("stopped")
        assert look.journal(engine) == before
    finally:
        stop.set()
        thread.join(10)
        rpc.close()
        anvil.kill(process)


def die_after(statements: int, run: Any) -> int:
    """Run in a process of its own that kills itself before its n-th statement; its exit status."""
    pid = os.fork()
    if pid == 0:
        left = [statements]

        def count(*_: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(Engine, "before_cursor_execute", count)
        event.listen(Engine, "commit", count)

        # COPY passes the listeners by.
        def counted(insert: Any) -> Any:
            def act(*args: Any) -> None:
                count()
                insert(*args)

            return act

        for module in (journal, outbox, versions):
            module.insert_rows = counted(bulk.insert_rows)
        for module in (journal, versions):
            module.insert_packed = counted(bulk.insert_packed)
        try:
            run()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_follower_killed_between_any_two_statements_resumes_equal_to_the_chain(
    ledger, database_url, look
):
    def follow() -> None:
        with Rpc(ledger.rpc.urls) as rpc:
            engine = open_database(database_url)
            follower = Follower(rpc, engine, ledger.deployment, look.Profile())
            follower._ahead.blocks = 5
            while not follower.step():
                pass

    ledger.busy()
    killed = 0
    # About so many statements pass before the first range, without its indexes, is stored.
    drops = 2 * len(left_out("sqlite"))
    first = (*range(0, drops, 24), *range(drops, drops + 60, 4))
    for statements in (*first, *range(1, 60, 7), 100_000):
        status = die_after(statements, follow)
        assert status in {0, -signal.SIGKILL}
        killed += status != 0
        if statements in {drops + 28, drops + 40, drops + 56, 22}:
            ledger.reorg(2)
            ledger.busy()
    engine = open_database(database_url)
    assert killed >= 15
    assert look.journal(engine) == ledger.logs()
    follower = Follower(ledger.rpc, engine, ledger.deployment, look.Profile())
    assert look.refolded(engine, follower) == look.state(engine)
    engine.dispose()


def test_an_idle_chain_keeps_the_index_fresh(ledger, engine, look):
    clock = [1_000_000.0]
    follower = Follower(ledger.rpc, engine, ledger.deployment, look.Profile(), now=lambda: clock[0])
    look.catch_up(follower)
    index = Index(engine, ledger.deployment.chain_id, now=lambda: clock[0])
    clock[0] += 60
    with index.snapshot() as snapshot:
        assert snapshot.as_of.lag_s == 60
    assert follower.step()
    with index.snapshot() as snapshot:
        assert snapshot.as_of.lag_s == 0


def test_blocks_without_our_logs_are_dropped_below_finality(ledger, engine, look):
    follower = Follower(ledger.rpc, engine, ledger.deployment, look.Profile(test_network=False))
    ledger.mine(30)
    look.catch_up(follower)
    with engine.connect() as connection:
        final = connection.execute(select(tables.cursor.c.finalized)).scalar_one()
        empty = connection.execute(
            select(func.count())
            .select_from(tables.block)
            .where(tables.block.c.number < final, tables.block.c.has_logs.is_(False))
        ).scalar_one()
    assert empty == 0
