"""Who reads an open package, and when what it holds is let go.

Apart from ``reader``, since threads, forks and signal handlers are reasoned about here alone: every
read of a package is a block of `Lifetime.reading`, and its end is `Lifetime.close`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from ledger.errors import UsageError


class Lifetime:
    """From the opening of a package until all that it held is zero; of one process."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._readers: list[int] = []
        self._closed = self._over = False
        self._pid = os.getpid()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """A block that `close` waits for.

        Raises:
            UsageError: the package is closed, or another process opened it.
        """
        if os.getpid() != self._pid:
            raise UsageError(
                "this process was forked after the sealed file was opened, and has no key",
                hint="open the file in the process that uses it",
            )
        with self._state:
            if self._closed:
                raise UsageError(
                    "the sealed file is closed", hint="use its tensors inside the with block"
                )
            self._readers.append(threading.get_ident())
        try:
            yield
        finally:
            with self._state:
                self._readers.remove(threading.get_ident())
                self._state.notify_all()

    def close(self, *, let_go: Callable[[], None], abandon: Callable[[], None]) -> None:
        """Wait for readers, then end it; whoever calls it, it is over on return.

        Args:
            let_go: zeroes and releases all. Where it raises, or the wait was interrupted, nothing
                can be read any more, and the next call goes on from there.
            abandon: releases what a forked child has of it.

        Raises:
            UsageError: this very thread is reading.
        """
        if os.getpid() != self._pid:
            # A forked child has empty copies of keys and arenas, and perhaps a lock held for ever.
            if not self._closed:
                self._closed = True
                abandon()
            return
        with self._state:
            self._closed = True
            if threading.get_ident() in self._readers:
                raise UsageError(
                    "the sealed file cannot be closed by the thread that is reading it",
                    hint="raise an exception in the signal handler, and close behind the read",
                )
            while self._readers:
                self._state.wait()
            if self._over:
                return
            let_go()
            self._over = True
