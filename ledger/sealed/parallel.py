"""Work on numbered pieces from several threads, stopping at the first failure."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int], None]

_MAX_THREADS = 16


def thread_count(asked: int | None) -> int:
    """Threads to use: as asked, else one per usable core, at most 16."""
    return max(1, asked) if asked else min(_MAX_THREADS, len(os.sched_getaffinity(0)))


def for_each(
    count: int,
    work: Callable[[int], None],
    *,
    threads: int,
    abandon: Callable[[], None] = lambda: None,
) -> None:
    """Call ``work(0) … work(count - 1)``, each once, in no fixed order.

    Returns, or raises the first failure seen, only when no thread works any more, so the caller
    may zero or delete what they wrote to. An interrupt counts as a failure.

    Args:
        count: of calls.
        work: what to call.
        threads: at most so many at once.
        abandon: called after a failure, so that work which waits ends at once.
    """
    threads = min(threads, count)
    if threads <= 1:
        for number in range(count):
            work(number)
        return
    stop = threading.Event()
    numbers = itertools.count()
    failures: list[BaseException] = []

    def run() -> None:
        while not stop.is_set():
            number = next(numbers)
            if number >= count:
                return
            try:
                work(number)
            except BaseException as failure:  # noqa: BLE001 - raised below, in the calling thread
                # What is abandoned then fails too, but is not the reason.
                failures.append(failure)
                stop.set()
                abandon()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="sealed")
    futures: list[Future[None]] = []
    try:
        futures.extend(pool.submit(run) for _ in range(threads))
        for future in futures:
            future.result()
        pool.shutdown()
    except BaseException as failure:  # noqa: BLE001 - raised below
        failures.append(failure)
    while failures:
        # Further interrupts must not end this while threads still write. Their futures tell, and
        # not Thread.join, which takes a thread for dead when it is itself interrupted.
        with contextlib.suppress(KeyboardInterrupt):
            stop.set()
            abandon()
            wait(futures)
            # Only here are they idle: an interrupt of this join loses none that still writes.
            pool.shutdown()
            break
    if failures:
        first = failures[0]
        failures.clear()
        try:
            raise first
        finally:
            del first  # or its traceback would keep this frame, and all it refers to, alive


class Meter:
    """Adds up bytes done by several threads and reports them, one call at a time."""

    __slots__ = ("_done", "_lock", "_progress", "_total")

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count `count` bytes; an exception of the callback stops the work."""
        if self._progress is not None:
            with self._lock:
                self._done += count
                self._progress(self._done, self._total)
