"""One decision computes at a time, so that none of them waits for Python's lock at every step.

A decision reads and writes the database in a dozen short calls, each of which lets Python's lock go
and has to win it back. With many threads computing at once, each loses it every time, and the one
that holds the database makes all others wait. So threads take turns: who waits for a chain or a
disk steps aside, everyone else waits in a queue that costs nothing.

There is one queue in a process, because it has one lock of Python's.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Final

_GLANCE: Final = 0.0003
"""Seconds between two looks whether anybody computes."""


class Turns:
    """Whose turn it is. Thread-safe; a thread takes its turn once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._whose: int | None = None
        self._counting = threading.Lock()
        self._computing = 0

    @contextlib.contextmanager
    def mine(self) -> Iterator[None]:
        """Compute, alone."""
        self._begin()
        try:
            yield
        finally:
            self._end()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Wait for something else, and let others compute meanwhile. Without a turn: just wait."""
        if self._whose != threading.get_ident():
            yield
            return
        self._end()
        try:
            yield
        finally:
            self._begin()

    def lull(self, seconds: float) -> None:
        """Wait until nobody computes or is about to, `seconds` at most."""
        end = time.monotonic() + seconds
        while self._computing and time.monotonic() < end:
            time.sleep(_GLANCE)

    def _begin(self) -> None:
        with self._counting:
            self._computing += 1
        self._lock.acquire()
        self._whose = threading.get_ident()

    def _end(self) -> None:
        self._whose = None
        self._lock.release()
        with self._counting:
            self._computing -= 1


TURNS: Final = Turns()
"""Those of this process."""
