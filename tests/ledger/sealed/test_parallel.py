"""Threads that stop at the first failure and are gone when the call returns."""

import threading
import time

import pytest

from ledger.sealed.parallel import Meter, for_each, thread_count


@pytest.mark.parametrize("threads", [1, 4])
def test_each_number_is_worked_on_once(threads):
    done = []
    for_each(100, done.append, threads=threads)
    assert sorted(done) == list(range(100))


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_first_failure_stops_the_rest_and_no_thread_survives(threads, error):
    done = []
    before = set(threading.enumerate())

    def work(number):
        if number == 5:
            raise error
        done.append(number)
        time.sleep(0.001)

    with pytest.raises(error):
        for_each(10_000, work, threads=threads)
    # Those of other tests may end meanwhile.
    assert set(threading.enumerate()) <= before
    assert len(done) < 9_000  # the rest would take seconds more, however slow the machine is


def test_no_numbers_is_no_work():
    for_each(0, lambda number: pytest.fail("called"), threads=4)


def test_progress_adds_up_over_threads():
    seen = []
    meter = Meter(lambda done, total: seen.append((done, total)), 50)
    for_each(50, lambda number: meter.add(1), threads=4)
    assert seen == [(done, 50) for done in range(1, 51)]


def test_at_least_one_thread_is_used():
    assert thread_count(3) == 3
    assert thread_count(None) >= 1
    assert thread_count(-2) == 1
