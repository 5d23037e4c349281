"""Runs jobs on plain threads: hashlib, ``preadv`` and NumPy's sort release the interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def worker_count(threads: int | None) -> int:
    """Threads to use: as asked, else one per processor that this process may run on."""
    return max(1, threads if threads is not None else len(os.sched_getaffinity(0)))


def run_jobs(
    run: Callable[[Job], Result], jobs: Iterable[Job], threads: int | None
) -> Iterator[Result]:
    """Results in the order of completion; the first failure stops what has not begun."""
    with ThreadPoolExecutor(worker_count(threads), thread_name_prefix="fingerprint") as pool:
        futures = [pool.submit(run, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()
