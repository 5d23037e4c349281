"""Whatever goes wrong on the wire, no row is wrong, and once it is over the index equals the chain.

Faults of group 4. Some cost nothing but time: the index gets through them while they last.
"""

from __future__ import annotations

import random
import threading
import time

import pytest

from ledger.errors import ChainUnavailable


def grown(stand):
    stand.chain.grow(15)
    stand.catch_up()
    stand.chain.grow(15)
    return stand.new_follower(timeout=0.4)


BROKEN = [
    "busy",
    "wait",
    "500",
    "502",
    "503",
    "html",
    "prose",
    "gzip",
    "refuse",
    "hang",
    "trickle",
    "flood",
    "redirect",
    "ids",
    "short",
    "double",
    "deep",
    "within",
]


@pytest.mark.parametrize("fault", BROKEN)
def test_a_reply_that_is_none_changes_nothing(stand, fault):
    follower = grown(stand)
    stand.endpoint.socket_fault = fault
    stand.steps(2, follower)
    assert stand.errors
    assert all(isinstance(error, ChainUnavailable) for error in stand.errors) or fault == "within"
    stand.check_so_far()
    stand.endpoint.heal()
    stand.catch_up()
    stand.check()


@pytest.mark.parametrize("fault", ["order", "single"])
def test_a_reply_in_another_order_and_one_by_one_is_read_all_the_same(stand, fault):
    follower = grown(stand)
    stand.endpoint.socket_fault = fault
    stand.catch_up(follower)
    assert stand.errors == []
    stand.check()


def test_batches_answered_one_by_one_from_a_moving_chain_are_read_in_the_end(stand):
    follower = grown(stand)
    stand.endpoint.socket_fault = "single"
    done: list[int] = []

    def before(questions):
        done.append(1)
        if len(done) % 9 == 0 and len(done) < 100:
            stand.chain.reorg(3)

    stand.endpoint.before = before
    stand.catch_up(follower)
    stand.check()


def test_an_endpoint_that_asks_for_patience_is_left_alone_as_long_as_it_says(stand):
    stand.endpoint.socket_fault = "wait"
    stand.steps(1)
    assert stand.errors[-1].retry_after == 0.2
    follower = stand.new_follower(poll=0.01)
    stop = threading.Event()
    thread = threading.Thread(target=follower.run, args=(stop,))
    before = stand.endpoint.asked
    thread.start()
    time.sleep(1.0)
    asked = stand.endpoint.asked - before
    stand.endpoint.heal()
    stand.chain.grow(3)
    deadline = time.monotonic() + 20
    while follower.status.state != "synced" and time.monotonic() < deadline:
        time.sleep(0.02)
    stop.set()
    thread.join(10)
    assert asked <= 4
    stand.catch_up()
    stand.check()


def test_a_wire_that_fails_now_and_then_costs_time_and_no_row(stand):
    stand.chain.grow(60)
    chance = random.Random(5)
    faults = ["503", "refuse", "gzip", "short", "busy"]
    stand.endpoint.wire = lambda: chance.choice(faults) if chance.random() < 0.1 else "none"
    stand.follower._ahead.blocks = 7
    stand.catch_up(tries=2000)
    assert stand.errors
    stand.endpoint.heal()
    stand.check()
