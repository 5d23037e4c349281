"""Questions asked at once share a round, and none gets an answer from before it was asked."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ledger.broker.rounds import LONG_ROUND, MOST_ROUNDS, MOST_TOGETHER, Rounds
from ledger.broker.turns import TURNS, Turns


def test_one_question_is_one_round():
    assert Rounds(lambda asked: [2 * n for n in asked]).ask(21) == 42


def test_those_that_come_during_a_round_share_the_next_one():
    first, gate, loads = threading.Event(), threading.Event(), []

    def carry(asked):
        loads.append(len(asked))
        first.set()
        gate.wait(5) if len(loads) == 1 else None
        return [str(n) for n in asked]

    rounds = Rounds(carry, clock=lambda: 0.0)  # no round is ever long
    with ThreadPoolExecutor(16) as pool:
        one = pool.submit(rounds.ask, 0)
        assert first.wait(5)
        rest = [pool.submit(rounds.ask, n) for n in range(1, 11)]
        while len(rounds._waiting) < 10:
            time.sleep(0.001)
        gate.set()
        assert [each.result(5) for each in (one, *rest)] == [str(n) for n in range(11)]
    assert loads == [1, 10]


def test_no_answer_is_older_than_its_question():
    began = {}
    stop = time.monotonic() + 1.0

    def carry(asked):
        start = time.monotonic()
        time.sleep(0.002)
        return [start] * len(asked)

    rounds = Rounds(carry)

    def ask(number):
        checked = 0
        while time.monotonic() < stop:
            began[number] = time.monotonic()
            assert rounds.ask(number) >= began[number]
            checked += 1
        return checked

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(ask, range(12))) > 100


def test_a_round_that_hangs_holds_up_nobody():
    gate, seen = threading.Event(), []

    def carry(asked):
        seen.append(asked)
        if 0 in asked:
            gate.wait(10)
        return asked

    rounds = Rounds(carry)
    with ThreadPoolExecutor(4) as pool:
        hung = pool.submit(rounds.ask, 0)
        while not seen:
            time.sleep(0.001)
        started = time.monotonic()
        assert pool.submit(rounds.ask, 1).result(5) == 1
        assert time.monotonic() - started < 8  # and not the ten of the one that hangs
        gate.set()
        assert hung.result(5) == 0


def test_only_so_many_rounds_are_under_way():
    gate, under_way, most = threading.Event(), [], []

    def carry(asked):
        under_way.append(1)
        most.append(len(under_way))
        gate.wait(10)
        under_way.pop()
        return asked

    rounds = Rounds(carry, clock=time.monotonic)
    with ThreadPoolExecutor(2 * MOST_ROUNDS) as pool:
        asked = []
        for number in range(2 * MOST_ROUNDS):
            asked.append(pool.submit(rounds.ask, number))
            time.sleep(1.2 * LONG_ROUND)
        gate.set()
        assert [each.result(5) for each in asked] == list(range(2 * MOST_ROUNDS))
    assert max(most) == MOST_ROUNDS


def test_a_round_carries_no_more_than_it_may():
    loads = []

    def carry(asked):
        loads.append(len(asked))
        time.sleep(0.02)
        return asked

    rounds = Rounds(carry)
    with ThreadPoolExecutor(60) as pool:
        assert list(pool.map(rounds.ask, range(60))) == list(range(60))
    assert max(loads) <= MOST_TOGETHER


def test_a_failure_of_one_is_raised_where_it_was_asked_and_one_of_all_everywhere():
    def carry(asked):
        if "all" in asked:
            raise ZeroDivisionError
        return [KeyError(each) if each == "bad" else each for each in asked]

    rounds = Rounds(carry)
    assert rounds.ask("good") == "good"
    with pytest.raises(KeyError):
        rounds.ask("bad")
    with pytest.raises(ZeroDivisionError):
        rounds.ask("all")
    assert rounds.ask("good") == "good"


def test_one_computes_at_a_time_and_who_waits_lets_others():
    turns, inside, most = Turns(), [], []

    def work(_):
        with turns.mine():
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.001)
            inside.pop()
            with turns.aside():
                time.sleep(0.3)
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    started = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(20)))
    assert max(most) == 1
    assert time.monotonic() - started < 20 * 0.3


def test_a_turn_is_given_back_by_those_who_fail_and_a_lull_has_an_end():
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns.mine(), turns.aside():
        raise ZeroDivisionError
    with turns.mine():
        started = time.monotonic()
        turns.lull(0.02)
        assert 0.02 <= time.monotonic() - started < 5
    turns.lull(60)
    with TURNS.aside():  # without a turn there is nothing to give back
        pass
