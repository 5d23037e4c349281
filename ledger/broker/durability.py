"""One write to disk for many decisions: the group commit of a broker's database.

SQLite commits without waiting for the disk (``synchronous=NORMAL``: a power cut may lose the last
commits, and never tears one). Before a broker answers, it waits here until its write-ahead log is
on disk. One ``fdatasync`` serves all that committed before it began, so that a hundred answers at
once cost one or two of them and none is given for what could still be lost.

Why the log alone is enough: SQLite copies it into the database only after syncing it, and writes
over it only after syncing the database.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger.errors import BrokerUnavailable
from ledger.files import sync_folder

_to_disk: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)


class GroupSync:
    """Waits until what was written to one file is on disk. Thread-safe.

    Args:
        path: of the file, which is there and is never replaced while this is open.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self._turn = threading.Condition()
        self._asked = 0
        self._safe = 0
        self._syncing = False
        self._broken = ""
        sync_folder(path.parent)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def settle(self) -> None:
        """Return once everything written before this call is on disk.

        Raises:
            BrokerUnavailable: the disk failed, now or before; what it holds is not known any more.
        """
        with self._turn:
            self._asked += 1
            mine = self._asked
        while True:
            with self._turn:
                while self._syncing and self._safe < mine and not self._broken:
                    self._turn.wait()
                if self._broken:
                    raise BrokerUnavailable(
                        f"the broker's disk failed: {self._broken}",
                        hint="nothing is answered until the disk is checked and the broker "
                        "started again",
                    )
                if self._safe >= mine:
                    return
                self._syncing = True
                reached = self._asked
            self._sync(reached)

    def _sync(self, reached: int) -> None:
        broken = ""
        try:
            _to_disk(self._file)
        except OSError as error:
            # The kernel may forget what it failed to write: asking again would say "fine".
            broken = error.strerror or type(error).__name__
        with self._turn:
            self._syncing = False
            if broken:
                self._broken = broken
            else:
                self._safe = max(self._safe, reached)
            self._turn.notify_all()
