"""A backfill leaves the same rows as following block by block, and every index in its place."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from typing import Any

import pytest
from sqlalchemy import event, inspect, select, text

from ledger.chain import anvil
from ledger.chain.rpc import Rpc
from ledger.errors import ChainUnavailable, IndexUnavailable, RpcRefused, UnknownRecord
from ledger.ids import Address
from ledger.index import bulk, follow, tables
from ledger.index.contracts import Contracts
from ledger.index.database import open_database, writing
from ledger.index.deferred import leave_out, left_out, missing, restore
from ledger.index.fetch import read_range
from ledger.index.follow import Follower
from ledger.index.outbox import Outbox
from ledger.index.packed import VALUES_AT_ONCE
from ledger.index.receipts import Rule
from ledger.index.versions import Versions

pytestmark = pytest.mark.chain

FINALIZED = select(tables.cursor.c.finalized)


@pytest.fixture
def early(monkeypatch):
    """Backfill begins for a few blocks already, in small ranges and transactions."""
    monkeypatch.setattr(follow, "BACKFILL_BLOCKS", 10)
    monkeypatch.setattr(follow, "COMMIT_LOGS", 8)


def follower_of(old, engine, look, blocks=4):
    follower = Follower(old.rpc, engine, old.deployment, look.Profile(test_network=False))
    follower._ahead.blocks = blocks
    return follower


def index_names(engine):
    there = inspect(engine)
    keys = {(name, str(there.get_pk_constraint(name))) for name in tables.metadata.tables}
    return keys | {
        (name, index["name"], bool(index["unique"]))
        for name in tables.metadata.tables
        for index in there.get_indexes(name)
    }


def test_a_backfill_ends_with_the_rows_of_the_chain_and_every_index(old, engine, look, early):
    before = index_names(engine)
    follower = follower_of(old, engine, look)
    assert not follower.step()
    with engine.connect() as connection:
        assert set(missing(connection)) == set(left_out(engine.dialect.name))
    look.catch_up(follower)
    assert index_names(engine) == before
    assert look.journal(engine) == old.logs()
    assert look.refolded(engine, follower) == look.state(engine)


def test_a_reader_keeps_nobody_from_following_and_the_key_comes_later(old, engine, look, early):
    if engine.dialect.name != "postgresql":
        pytest.skip("the key of SQLite's is the table itself")
    before = index_names(engine)
    follower = follower_of(old, engine, look)
    assert not follower.step()
    with engine.connect() as reader:
        reader.execute(select(tables.log_subject)).all()
        look.catch_up(follower)
        with engine.connect() as now:
            assert not missing(now)
        assert index_names(engine) != before
    assert restore(engine) == 0
    assert index_names(engine) == before


def test_what_was_final_before_a_first_run_is_counted_and_not_told(old, engine, look, early):
    outbox = Outbox(old.deployment.chain_id)
    look.catch_up(follower_of(old, engine, look))
    with engine.connect() as connection:
        place, final = outbox.place(connection), connection.execute(FINALIZED).scalar_one()
        after = outbox.read(connection, after=place.pruned_seq).entries
        with pytest.raises(UnknownRecord):
            outbox.read(connection)
    events = old.logs()
    assert place.applied == len(events)
    assert place.pruned_seq == sum(block <= final for block, *_ in events) > 0
    told = [entry.block for entry in after if entry.kind == "applied"]
    assert told == [block for block, *_ in events if block > final]


def test_a_backfill_goes_on_to_the_final_block_and_no_further(old, engine, look, early):
    follower = follower_of(old, engine, look)
    places = []
    while not follower.step():
        with engine.connect() as connection:
            row = connection.execute(select(tables.cursor)).one()
            places.append((row.next_block - 1, row.finalized, len(missing(connection))))
    assert all(block <= final for block, final, gone in places if gone)
    assert any(block == final for block, final, gone in places if gone)


def test_reading_ahead_and_block_by_block_give_the_same_rows(old, engine, tmp_path, look, early):
    look.catch_up(follower_of(old, engine, look))
    other = open_database(f"sqlite:///{tmp_path / 'other.db'}")
    follower = follower_of(old, other, look, blocks=1)
    follower._ahead._fill = lambda first, final: follower._ahead._queue.append(
        (first, first, _Done(follower._ahead._read(first, first)))
    )
    look.catch_up(follower)
    assert look.state(other) == look.state(engine)
    assert look.journal(other) == look.journal(engine)
    other.dispose()


class _Done:
    def __init__(self, value: Any) -> None:
        self._value = value

    def done(self) -> bool:
        return True

    def exception(self) -> None:
        return None

    def result(self) -> Any:
        return self._value


def test_a_backfill_killed_anywhere_ends_with_all_rows_and_all_indexes(old, tmp_path, look, early):
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    before = index_names(open_database(f"sqlite:///{tmp_path / 'whole.db'}"))

    def run() -> None:
        with Rpc(old.rpc.urls) as rpc:
            follower = Follower(
                rpc, open_database(url), old.deployment, look.Profile(test_network=False)
            )
            follower._ahead.blocks = 4
            while not follower.step():
                pass

    killed = 0
    for statements in (*range(0, 400, 23), 100_000):
        pid = os.fork()
        if pid == 0:
            left = [statements]

            def count(*_: Any, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            event.listen(follow.Engine, "before_cursor_execute", count)
            event.listen(follow.Engine, "commit", count)
            try:
                run()
            finally:
                os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in {0, -signal.SIGKILL}
        killed += status != 0
    engine = open_database(url)
    assert killed >= 5
    assert index_names(engine) == before
    assert look.journal(engine) == old.logs()
    follower = Follower(old.rpc, engine, old.deployment, look.Profile())
    assert look.refolded(engine, follower) == look.state(engine)
    engine.dispose()


def test_whoever_takes_over_from_a_dead_backfill_makes_the_indexes_before_following(
    old, engine, look, early, monkeypatch
):
    assert not follower_of(old, engine, look).step()
    # The next process finds little that is final ahead of it.
    monkeypatch.setattr(follow, "BACKFILL_BLOCKS", 10_000)
    follower_of(old, engine, look).step()
    with engine.connect() as connection:
        assert not missing(connection)


def test_a_node_that_was_syncing_first_has_the_indexes_made_after_its_backfill(
    old, engine, look, early
):
    heads = {"latest": "0x0", "safe": "0x0", "finalized": "0x0"}

    def alter(calls, ask):
        shown = [(m, [heads.get(str(p[0]), p[0]), *p[1:]] if p else p) for m, p in calls]
        return ask(shown)

    follower = Follower(
        Altered(old.rpc, alter), engine, old.deployment, look.Profile(test_network=False)
    )
    assert follower.step()
    heads.clear()
    while not follower.step():
        pass
    with engine.connect() as connection:
        assert not missing(connection)
    assert follower._reader.apart is None


def test_indexes_stay_where_a_chains_logs_are_there_already(old, engine, look, early):
    look.catch_up(follower_of(old, engine, look))
    with writing(engine) as connection:
        assert not leave_out(connection)
        assert not missing(connection)
    assert restore(engine) == 0


def test_a_backfill_does_not_wait_for_the_disk_and_following_does(old, tmp_path, look, early):
    engine = open_database(f"sqlite:///{tmp_path / 'levels.db'}")
    levels: list[int] = []

    def note(connection, cursor, statement, *_: Any) -> None:
        if statement.startswith("INSERT INTO") and "raw_log" in statement:
            level = connection.connection.driver_connection.execute("PRAGMA synchronous")
            levels.append(level.fetchone()[0])

    event.listen(engine, "before_cursor_execute", note)
    follower = follower_of(old, engine, look)
    look.catch_up(follower)
    normal, full = 1, 2
    assert set(levels) == {normal}
    old.do("Anchors", "anchor", secrets.token_bytes(32))
    look.catch_up(follower)
    assert levels[-1] == full
    engine.dispose()


def test_a_reorganisation_under_ranges_read_ahead_leaves_the_rows_of_the_new_branch(engine, look):
    process, rpc = look.boot()
    try:
        ledger = look.Ledger(rpc, rpc.call("eth_accounts", []))
        for _ in range(3):
            ledger.busy()
        follower = Follower(rpc, engine, ledger.deployment, look.Profile())
        follower._ahead.blocks = 3
        for turn in range(6):
            # What was read ahead may ask about a block that the last turn took away.
            with contextlib.suppress(RpcRefused, ChainUnavailable):
                follower.step()
            ledger.reorg(2 + turn)
            ledger.do("Anchors", "anchor", secrets.token_bytes(32))
        look.catch_up(follower)
        assert look.journal(engine) == ledger.logs()
        assert look.refolded(engine, follower) == look.state(engine)
    finally:
        rpc.close()
        anvil.kill(process)


class Altered:
    """A node whose batches of undecoded results pass through a function."""

    def __init__(self, rpc: Rpc, alter: Any) -> None:
        self.rpc = rpc
        self.alter = alter

    def batch(self, calls: Any) -> list[Any]:
        return self.alter(calls, self.rpc.batch)


def heads_of(old):
    return old.deployment.block, old.rpc.block("latest").number


@pytest.mark.parametrize("served", ["by contract", "by receipts"])
def test_a_block_whose_logs_are_refused_at_once_is_read_in_parts(old, served):
    contracts = Contracts.of(old.deployment.addresses)
    block = old.logs()[0][0]
    refused: list[int] = []

    def alter(calls, ask):
        for method, params in calls:
            if method == "eth_getLogs" and (
                len(params[0]["address"]) > 1 or served == "by receipts"
            ):
                refused.append(1)
                raise RpcRefused("no", rpc_code=-32005, rpc_message="too many logs")
        return ask(calls)

    node = Altered(old.rpc, alter)
    assert read_range(node, contracts, block, block, rule=Rule()) == read_range(
        old.rpc, contracts, block, block, rule=Rule()
    )
    assert refused
    with pytest.raises(RpcRefused):
        read_range(node, contracts, block, block + 1, rule=Rule())


def test_typed_and_plain_answers_are_read_alike(old):
    contracts = Contracts.of(old.deployment.addresses)
    plain = Altered(old.rpc, lambda calls, ask: ask(calls))
    assert read_range(plain, contracts, *heads_of(old), rule=Rule()) == read_range(
        old.rpc, contracts, *heads_of(old), rule=Rule()
    )


def shifted(log):
    """Topics whose bytes are all there, cut at another place."""
    one, two, *rest = log["topics"]
    return {**log, "topics": [one + two[2:4], "0x" + two[4:], *rest]}


@pytest.mark.parametrize(
    "change",
    [
        shifted,
        lambda log: {**log, "topics": [log["topics"][0][2:] + "00", *log["topics"][1:]]},
        lambda log: {**log, "topics": ["0x" + "zz" * 32, *log["topics"][1:]]},
        lambda log: {**log, "topics": [" " + log["topics"][0][:-1], *log["topics"][1:]]},
        lambda log: {**log, "data": log["data"][2:]},
        lambda log: {**log, "data": log["data"] + "0"},
        lambda log: {**log, "data": None},
        lambda log: {**log, "topics": None},
        lambda log: {**log, "logIndex": "-0x1"},
        lambda log: {**log, "logIndex": "0x" + "f" * 17},
        lambda log: {**log, "transactionHash": "0x12"},
        lambda log: {**log, "removed": True},
        lambda log: {**log, "address": "0x" + "11" * 20},
        lambda log: {key: value for key, value in log.items() if key != "blockHash"},
        lambda log: "log",
    ],
)
def test_a_log_that_is_malformed_in_any_place_is_not_believed(old, change):
    contracts = Contracts.of(old.deployment.addresses)

    def alter(calls, ask):
        answers = ask(calls)
        if calls[-1][0] == "eth_getLogs":
            long = next(i for i, log in enumerate(answers[-1]) if len(log["topics"]) > 1)
            answers[-1][long] = change(answers[-1][long])
        return answers

    with pytest.raises(ChainUnavailable):
        read_range(Altered(old.rpc, alter), contracts, *heads_of(old), rule=Rule())


def test_checksummed_addresses_and_capital_hashes_are_the_same_values(old):
    contracts = Contracts.of(old.deployment.addresses)

    def alter(calls, ask):
        answers = ask(calls)
        for log in answers[-1] if calls[-1][0] == "eth_getLogs" else ():
            log["address"] = str(Address.parse(log["address"]))
            log["blockHash"] = "0x" + log["blockHash"][2:].upper()
            log["topics"] = ["0x" + topic[2:].upper() for topic in log["topics"]]
        return answers

    node = Altered(old.rpc, alter)
    assert read_range(node, contracts, *heads_of(old), rule=Rule()) == read_range(
        old.rpc, contracts, *heads_of(old), rule=Rule()
    )


def test_bulk_rows_read_back_as_those_that_sqlalchemy_writes(engine):
    values: dict[str, Any] = {
        "licensor": b"l" * 20, "model_id": b"m" * 32, "terms_hash": b"t" * 32,
        "plan_digest": b"d" * 32, "pay_token": bytes(20), "quota": 2**64 - 1, "features": 0,
        "broker_set": 7, "price": 2**96 - 1, "paused": True, "floating": False,
        "warn_only": True, "transferable": False,
    }  # fmt: skip
    names = [c.name for c in tables.plan.columns][4:]
    values = {name: values.get(name, 5) for name in names}
    with engine.connect().execution_options(writes=True) as connection, connection.begin() as run:
        state = Versions(connection, 1)
        state.put("plan", (3,), values, 9)
        state.flush()
        row = connection.execute(select(tables.plan)).mappings().one()
        assert {name: row[name] for name in names} == values
        assert Versions(connection, 1).get("plan", (3,)) == values
        many = Versions(connection, 1)
        many.preload({"plan": [(3,), (4,)]})
        assert (many.get("plan", (3,)), many.get("plan", (4,))) == (values, None)
        run.rollback()


def test_more_rows_than_one_statement_holds_are_all_written(engine):
    rows = [(1, bytes([i % 251]) * 32, i, 0) for i in range(3 * VALUES_AT_ONCE // 4 + 7)]
    with engine.connect().execution_options(writes=True) as connection, connection.begin() as run:
        bulk.insert_rows(connection, tables.log_subject, rows)
        count = connection.execute(text("SELECT count(*) FROM log_subject")).scalar_one()
        run.rollback()
    assert count == len(rows)


def test_packed_rows_that_postgresql_refuses_are_refused_in_words(engine):
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLAlchemy words what SQLite refuses")
    with engine.connect() as connection, connection.begin() as run:
        one = _packed(connection, [(7, b"filed twice", 1, 0)])
        with pytest.raises(IndexUnavailable, match="cannot be written"):
            bulk.insert_packed(connection, tables.log_subject, [one, one])
        run.rollback()


def _packed(connection, filed):
    """Rows of `log_subject` as `Versions.flush` packs them."""
    state = Versions(connection, 7)
    for _, subject, block, at in filed:
        state.file([subject.ljust(32, b"\0")], block, at)
    return state._packed_subjects()
