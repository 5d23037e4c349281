"""What benchmarks have in common: runs that take turns, their medians, and rows of results."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108
"""A folder in memory, only to keep the disk out of the figures; None takes the system's."""


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """`work` as a run: seconds until its result is there, letting go of it not counted."""

    def run() -> float:
        begin = time.perf_counter()
        kept = work()
        taken = time.perf_counter() - begin
        del kept
        return taken

    return run


def interleaved(
    runs: dict[str, Callable[[], float]], rounds: int, *, warm: int = 1
) -> dict[str, float]:
    """The median of each run, in what it returns; one of each a round, the first ones warm up.

    Each round has another order: what a run leaves behind, such as memory that the kernel has yet
    to gather into huge pages, must not always fall to the same one.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + warm):
        order = list(runs)
        random.Random(number).shuffle(order)  # noqa: S311 - an order, no secret
        for name in order:
            taken = runs[name]()
            if number >= warm:
                times[name].append(taken)
    return {name: statistics.median(values) for name, values in times.items()}


def row(
    what: str, value: float, unit: str, against: str | None = None, ratio: float | None = None
) -> dict[str, Any]:
    """One row of ``bench.py``."""
    return {"what": what, "value": value, "unit": unit, "against": against, "ratio": ratio}


def ratio(what: str, value: float, against: str) -> dict[str, Any]:
    """A row that is a ratio itself."""
    return row(what, value, "x", against, value)
