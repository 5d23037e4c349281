"""Runs jobs on plain threads: hashlib, ``preadv`` and NumPy's sort release the interpreter lock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def worker_count(threads: int | None) -> int:
    """Threads to use: as asked, else one per processor that this process may run on."""
    return max(1, threads if threads is not None else len(os.sched_getaffinity(0)))


def run_jobs(
    run: Callable[[Job], Result], jobs: Iterable[Job], threads: int | None
) -> Iterator[Result]:
    """Results in the order of completion.

    Workers pull jobs as they get to them, so that a long list of jobs never stands in memory. The
    first failure, or leaving the iterator, stops what has not begun; no thread outlives it.
    """
    count = worker_count(threads)
    waiting = iter(jobs)
    lock = threading.Lock()
    stop = threading.Event()
    # Each entry is (result,), the exception that ended a worker, or None at a worker's plain end.
    ended: SimpleQueue[tuple[Result] | BaseException | None] = SimpleQueue()

    def work() -> None:
        try:
            while not stop.is_set():
                with lock:
                    try:
                        job = next(waiting)
                    except StopIteration:
                        break
                ended.put((run(job),))
        except BaseException as error:  # noqa: BLE001  # handed to the caller's thread
            ended.put(error)
        else:
            ended.put(None)

    workers = [threading.Thread(target=work, name=f"fingerprint-{n}") for n in range(count)]
    try:
        for worker in workers:
            worker.start()
        running = count
        while running:
            entry = ended.get()
            if isinstance(entry, BaseException):
                raise entry
            if entry is None:
                running -= 1
            else:
                yield entry[0]
    finally:
        stop.set()
        for worker in workers:
            if worker.ident is not None:
                worker.join()
