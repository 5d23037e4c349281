"""Asking several endpoints at once, on real sockets: nobody waits longer than was said."""

from __future__ import annotations

import threading
import time
from importlib import import_module

import pytest

from ledger.broker.sharing import witness_rpc
from ledger.chain.health import EndpointRecord
from ledger.chain.rpc import Rpc
from ledger.chain.witnesses import Witness, gather
from ledger.errors import ChainUnavailable


@pytest.fixture(scope="session")
def faults():
    """The module with endpoints that fail and lie."""
    return import_module("fault_world")


@pytest.fixture
def witness():
    made = Witness(
        witness_rpc("http://127.0.0.1:9", chain_id=1), EndpointRecord("a"), stuck_after=0.3
    )
    yield made
    made.close()


def sleeping(seconds, value):
    def act():
        time.sleep(seconds)
        return value

    return act


def start(witness, *acts):
    return [(witness, witness.start(act)) for act in acts]


def until(seconds):
    return time.monotonic() + seconds


def test_all_are_waited_for_while_they_keep_within_the_patience(witness):
    tasks = start(witness, sleeping(0, "a"), sleeping(0.2, "b"), sleeping(0, "c"))
    assert gather(tasks, enough=2, patience=5.0, until=until(9)) == ["a", "b", "c"]


def test_one_that_takes_longer_is_slow_and_the_others_count(witness):
    tasks = start(witness, sleeping(5, "a"), sleeping(0, "b"), sleeping(0, "c"))
    started = time.monotonic()
    slow, *rest = gather(tasks, enough=2, patience=0.2, until=until(9))
    assert time.monotonic() - started < 3
    assert isinstance(slow, ChainUnavailable)
    assert slow.fault == "slow"
    assert rest == ["b", "c"]


def test_without_enough_the_deadline_ends_it(witness):
    tasks = start(witness, sleeping(5, "a"), sleeping(5, "b"), sleeping(0, "c"))
    started = time.monotonic()
    answers = gather(tasks, enough=2, patience=9.0, until=until(0.3))
    assert time.monotonic() - started < 3
    assert [answer == "c" for answer in answers] == [False, False, True]


def test_a_failure_is_an_answer_and_not_enough(witness):
    def fails():
        raise ChainUnavailable("no")

    tasks = start(witness, fails, sleeping(0.2, "b"), sleeping(0, "c"))
    assert gather(tasks, enough=2, patience=0.0, until=until(9))[1:] == ["b", "c"]


def test_what_an_answer_breaks_it_breaks_for_itself(witness):
    def broken():
        raise KeyError("number")

    ((_, task),) = start(witness, broken)
    error = task.future.result(5)
    assert isinstance(error, ChainUnavailable)
    assert error.fault == "malformed"


def test_more_questions_than_an_endpoint_can_hold_are_refused_at_once(witness):
    gate = threading.Event()
    tasks = [witness.start(lambda: gate.wait(20)) for _ in range(200)]
    busy = [task for task in tasks if task.future.done()]
    assert len(busy) >= 100
    assert {task.future.result().fault for task in busy} == {"busy"}
    gate.set()


def test_a_request_that_never_ends_is_broken_off_by_a_later_one(faults):
    """A server that sends its headers byte by byte passes every timeout of a single read."""
    proxy = faults.FaultProxy("http://127.0.0.1:9")
    proxy.socket_fault = "drip"
    rpc = Rpc(proxy.url, timeout=0.4)
    witness = Witness(rpc, EndpointRecord("a"), stuck_after=0.8)
    try:
        first = witness.start(rpc.chain_id)
        time.sleep(1.0)
        assert not first.future.done()
        witness.start(lambda: None)
        error = first.future.result(10)
        assert isinstance(error, ChainUnavailable), error
    finally:
        witness.close()
        proxy.close()
