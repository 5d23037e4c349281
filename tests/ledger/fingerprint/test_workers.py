"""The thread pool: everything is done once, and nothing outlives a failure."""

import itertools
import threading
import time

import pytest

from ledger.fingerprint.workers import run_jobs, worker_count


@pytest.mark.parametrize("threads", [1, 2, 7, None])
def test_every_job_is_done_once(threads):
    assert sorted(run_jobs(lambda n: n * n, range(200), threads)) == [n * n for n in range(200)]
    assert list(run_jobs(str, [], threads)) == []


def test_there_is_at_least_one_worker():
    assert worker_count(0) == 1
    assert worker_count(None) >= 1


# The jobs in the next two tests never run out: only stopping ends them, on any machine.


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failing_job_reaches_the_caller_and_stops_the_rest(error):
    def fail(number):
        time.sleep(0.001)
        if number == 5:
            raise error

    with pytest.raises(error):
        list(run_jobs(fail, itertools.count(), 3))
    assert not [t for t in threading.enumerate() if t.name.startswith("fingerprint")]


def test_a_caller_that_stops_early_leaves_no_thread_behind():
    def stop():
        for _ in run_jobs(lambda _n: time.sleep(0.001), itertools.count(), 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert not [t for t in threading.enumerate() if t.name.startswith("fingerprint")]


def test_a_failing_source_of_jobs_reaches_the_caller():
    def source():
        yield 1
        raise OSError

    with pytest.raises(OSError):
        list(run_jobs(str, source(), 2))
