"""n endpoints asked at the same time, none of which can hold up the others.

Each endpoint has threads of its own, so that one that hangs blocks only itself. A round waits for
every endpoint, because a single contrary one counts, but not for ever: once enough have answered
well, the rest have `patience` seconds; and nobody has longer than the decision's deadline.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Final, Generic, TypeVar

from ledger.chain.health import EndpointRecord
from ledger.chain.rpc import Rpc
from ledger.errors import ChainUnavailable, LedgerError
from ledger.ids import Digest

PATIENCE: Final = 1.0
"""Seconds that an endpoint has once enough others have answered."""

DEADLINE: Final = 8.0
"""Seconds after which a decision without enough answers is given up."""

_THREADS = 32
_WAITING = 64

T = TypeVar("T")


def outcome(act: Callable[[], T]) -> T | LedgerError:
    """What comes of a question, whatever that is."""
    try:
        return act()
    except LedgerError as error:
        return error
    except Exception as error:  # noqa: BLE001  an endpoint's bytes may break anything
        # What an endpoint sends is a stranger's: whatever it breaks, it breaks for itself.
        return ChainUnavailable(
            f"an endpoint's answer cannot be read ({type(error).__name__})", fault="malformed"
        )


class Task(Generic[T]):
    """One question under way; `future` holds what comes of it."""

    def __init__(self, act: Callable[[], T]) -> None:
        self._act = act
        self.future: Future[T | LedgerError] = Future()
        self.started: float | None = None

    def run(self) -> None:
        """Ask, and keep whatever comes of it."""
        if not self.future.set_running_or_notify_cancel():
            return
        self.started = time.monotonic()
        self.future.set_result(outcome(self._act))


class Witness:
    """One endpoint: its client, its threads, its record.

    Attributes:
        verified_at: Unix seconds when its contracts were last looked at.
        final: hash of a finalized block it showed that was seen to be on the right chain.
    """

    def __init__(self, rpc: Rpc, record: EndpointRecord, *, stuck_after: float) -> None:
        self.rpc = rpc
        self.record = record
        self.verified_at = float("-inf")
        self.final: Digest | None = None
        self._stuck_after = stuck_after
        self._queue: queue.SimpleQueue[Task[Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running: set[Task[Any]] = set()
        self._waiting = 0
        self._threads = 0

    @property
    def host(self) -> str:
        """What may be shown of its URL."""
        return self.rpc.hosts[0]

    def start(self, act: Callable[[], T]) -> Task[T]:
        """Ask it something, on a thread of its own."""
        task = Task(act)
        with self._lock:
            stuck = [t for t in self._running if t.started and self._overdue(t.started)]
            full = self._waiting >= _WAITING
            if not full:
                self._waiting += 1
                if self._waiting + len(self._running) > self._threads < _THREADS:
                    self._threads += 1
                    # A daemon: an endpoint that never answers must not keep the process alive.
                    threading.Thread(target=self._work, name=self.host, daemon=True).start()
        if stuck:
            self.rpc.abort()
        if full:
            task.future.set_result(
                ChainUnavailable(f"{self.host} has too many questions open", fault="busy")
            )
        else:
            self._queue.put(task)
        return task

    def _overdue(self, started: float) -> bool:
        return time.monotonic() - started > self._stuck_after

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            with self._lock:
                self._waiting -= 1
                self._running.add(task)
            try:
                task.run()
            finally:
                with self._lock:
                    self._running.discard(task)

    def close(self) -> None:
        """Close the connections and let the threads end."""
        self.rpc.close()
        for _ in range(self._threads):
            self._queue.put(None)


def gather(
    tasks: Sequence[tuple[Witness, Task[T]]],
    *,
    enough: int,
    patience: float,
    until: float,
    good: int = 0,
) -> list[T | LedgerError]:
    """The tasks' results in order; those that took too long are ``slow``.

    Args:
        tasks: questions under way.
        enough: good answers after which the others have only `patience` seconds left.
        patience: seconds.
        until: on the monotonic clock, the end in any case.
        good: good answers that were there before.
    """
    pending = {task.future for _, task in tasks}
    limit = until if good < enough else min(until, time.monotonic() + patience)
    while pending:
        left = limit - time.monotonic()
        done, pending = wait(pending, timeout=max(0.0, left), return_when=FIRST_COMPLETED)
        if not done:
            break
        before = good
        good += sum(not isinstance(future.result(), LedgerError) for future in done)
        if before < enough <= good:
            limit = min(limit, time.monotonic() + patience)
    results: list[T | LedgerError] = []
    for witness, task in tasks:
        if task.future in pending and not task.future.done():
            task.future.cancel()
            error = ChainUnavailable(
                f"the RPC endpoint {witness.host} does not answer in time", fault="slow"
            )
            results.append(error)
        else:
            results.append(task.future.result())
    return results
