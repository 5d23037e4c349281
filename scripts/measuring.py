"""What benchmarks have in common: runs that take turns, their medians, and rows of results."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ledger.sealed.memory import Arena

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


def settle(size: int) -> None:
    """Touch `size` bytes of memory and give them back, so that the run that follows finds them.

    A virtual machine returns memory that lies free for two seconds to its host, and getting it
    again costs more than a load does: 1 s for 1.3 GB, where memory just used comes in 0.06 s.
    """
    if size:
        Arena(size).populate(0, size)


def interleaved(
    runs: dict[str, Callable[[], float]], rounds: int, *, warm: int = 1, memory: int = 0
) -> dict[str, float]:
    """The median of each run, in what it returns; one of each a round, the first ones warm up.

    Each round has another order: what a run leaves behind must not always fall to the same one.

    Args:
        runs: by name.
        rounds: that count.
        warm: rounds before them.
        memory: bytes that are settled before each run.
    """
    return medians([sampled(runs, rounds, warm=warm, memory=memory)])


def sampled(
    runs: dict[str, Callable[[], float]], rounds: int, *, warm: int = 1, memory: int = 0
) -> dict[str, list[float]]:
    """What `interleaved` takes the medians of."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + warm):
        order = list(runs)
        random.Random(number).shuffle(order)  # noqa: S311 - an order, no secret
        for name in order:
            settle(memory)
            taken = runs[name]()
            if number >= warm:
                times[name].append(taken)
    return times


def medians(placements: list[dict[str, list[float]]]) -> dict[str, float]:
    """The median of each run over all `placements`.

    Two copies of one file differ by up to 15 % in how fast they are read, by where in memory the
    system put them. So what compares files is sampled over several placements of them.
    """
    return {
        name: statistics.median([taken for times in placements for taken in times[name]])
        for name in placements[0]
    }


def row(
    what: str, value: float, unit: str, against: str | None = None, ratio: float | None = None
) -> dict[str, Any]:
    """One row of ``bench.py``."""
    return {"what": what, "value": value, "unit": unit, "against": against, "ratio": ratio}


def ratio(what: str, value: float, against: str) -> dict[str, Any]:
    """A row that is a ratio itself."""
    return row(what, value, "x", against, value)
