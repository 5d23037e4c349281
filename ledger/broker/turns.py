"""One decision computes at a time, so that none of them waits for Python's lock at every step.

A decision reads and writes the database in some thirty short calls, each of which lets Python's
lock go and has to win it back. With many threads computing at once, each loses it every time, and
the one that holds the database makes all others wait. So threads take turns: who waits for a chain
or a disk steps aside, everyone else waits in a queue that costs nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Turns:
    """Whose turn it is. Thread-safe; a thread takes its turn once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._whose: int | None = None

    @contextlib.contextmanager
    def mine(self) -> Iterator[None]:
        """Compute, alone."""
        with self._lock:
            self._whose = threading.get_ident()
            try:
                yield
            finally:
                self._whose = None

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Wait for something else, and let others compute meanwhile. Without a turn: just wait."""
        if self._whose != threading.get_ident():
            yield
            return
        self._whose = None
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()
            self._whose = threading.get_ident()
