"""Anchoring by the clock: a thread of the service that puts new receipts under a root.

It never decides anything else and nobody waits for it. While the chain is away it tries again with
longer pauses, and goes on where it was; what it did and what is wrong is there to be shown.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ledger.broker.anchoring import Anchoring
from ledger.broker.store import BrokerStore
from ledger.errors import LedgerError

FIRST_PAUSE: Final = 2.0
LAST_PAUSE: Final = 600.0
"""Seconds between two attempts while anchoring fails: doubled from the first to the last."""
STOP_SECONDS: Final = 5.0

OFF, IDLE, ANCHORING, FAILING, STOPPED = "off", "waiting", "anchoring", "failing", "stopped"

log = logging.getLogger("broker.anchoring")


@dataclass(frozen=True, slots=True)
class AnchorStatus:
    """How a broker's anchoring stands. Times in Unix seconds.

    Attributes:
        state: off, waiting (for the next time), anchoring, failing or stopped.
        every: seconds between two anchorings; 0 when off.
        receipts: in the log; `anchored`: of those, seen under a root on chain.
        last_at: when this process last found everything anchored, or anchored it.
        next_at: when it will look next.
        trouble: code of the error that the last attempt ended with.
        failures: attempts that failed one after the other; `since`: when the first did.
        failed: attempts of this process that failed, in all.
    """

    state: str
    every: float
    receipts: int
    anchored: int
    last_at: int | None = None
    next_at: int | None = None
    trouble: str | None = None
    failures: int = 0
    since: int | None = None
    failed: int = 0

    def to_json(self) -> dict[str, Any]:
        """The status as routes and commands show it."""
        return {
            "state": self.state,
            "every": self.every,
            "receipts": self.receipts,
            "anchored": self.anchored,
            "last_at": self.last_at,
            "next_at": self.next_at,
            "trouble": self.trouble,
            "failures": self.failures,
            "since": self.since,
        }


class AnchorTimer:
    """Anchors every so often, in a thread of its own.

    Args:
        store: the broker's database, for the counts.
        act: anchors what is new; None when there is nothing.
        every: seconds between two anchorings; 0 never, and then no thread runs.
        close: called when the thread has ended.
        clock: Unix seconds.
        first_pause: seconds before the first attempt after a failed one.
    """

    def __init__(
        self,
        store: BrokerStore,
        act: Callable[[], Anchoring | None] | None = None,
        *,
        every: float = 0,
        close: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self._store = store
        self._act = act
        self._every = every if act is not None else 0
        self._close = close
        self._clock = clock
        self._first_pause = first_pause
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._state = IDLE if self._every else OFF
        self._last_at: int | None = None
        self._next_at: int | None = None
        self._trouble: str | None = None
        self._failures = 0
        self._failed = 0
        self._since: int | None = None

    def start(self) -> None:
        """Begin, where a time was given; at once, so that who is often restarted anchors too."""
        if self._every and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="anchoring", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread. An attempt under way is left to itself: the next start takes it up."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
            if not self._thread.is_alive():
                self._close()
            self._thread = None
            self._state = STOPPED

    def status(self) -> AnchorStatus:
        """How it stands now.

        Raises:
            BrokerUnavailable: the database refuses.
        """
        receipts, _ = self._store.last_receipt()
        row = self._store.row("SELECT max(last) FROM anchors WHERE anchored = 1")
        anchored = 0 if row is None or row[0] is None else int(row[0])
        with self._lock:
            return AnchorStatus(
                state=self._state,
                every=self._every,
                receipts=receipts,
                anchored=anchored,
                last_at=self._last_at,
                next_at=self._next_at,
                trouble=self._trouble,
                failures=self._failures,
                since=self._since,
                failed=self._failed,
            )

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            with self._lock:
                self._state = ANCHORING if self._trouble is None else FAILING
            try:
                self._attempt()
            except LedgerError as error:
                pause = self._fail(error.code, error.message)
            except Exception as error:
                # Our own bug: the keys go on being released, and the status says what is wrong.
                log.exception("anchoring failed")
                pause = self._fail("INTERNAL_ERROR", type(error).__name__)
            else:
                pause = self._rest()

    def _attempt(self) -> None:
        assert self._act is not None
        # One anchoring takes a bounded number of receipts: go on until there is nothing new.
        while not self._stopping.is_set():
            done = self._act()
            if done is None:
                return
            log.info("anchored sequence=%d first=%d last=%d", done.sequence, done.first, done.last)

    def _fail(self, code: str, message: str) -> float:
        now = int(self._clock())
        with self._lock:
            self._state, self._trouble = FAILING, code
            self._since = now if self._failures == 0 else self._since
            self._failures += 1
            self._failed += 1
            # Never longer than what was asked for, so that a short outage costs no whole turn.
            longest = min(LAST_PAUSE, max(self._every, self._first_pause))
            pause = min(self._first_pause * 2.0 ** min(self._failures - 1, 16), longest)
            self._next_at = now + int(pause)
        log.warning("anchoring failed code=%s attempts=%d why=%s", code, self._failures, message)
        return pause

    def _rest(self) -> float:
        now = int(self._clock())
        with self._lock:
            self._state, self._trouble = IDLE, None
            self._failures, self._since = 0, None
            self._last_at, self._next_at = now, now + int(self._every)
        return self._every
