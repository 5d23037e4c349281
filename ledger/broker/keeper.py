"""Keeps one lease alive: a background thread that sends heartbeats, and the clock it lives by.

Time is counted from the broker's signed ``issued_at``, by whichever of the wall clock and the boot
clock has moved further: setting the wall clock back gains nothing, and a suspended machine's sleep
counts.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import threading
import time
import warnings
from collections.abc import Callable
from typing import Final, Protocol

from ledger.broker.client import Decision
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.leases import Lease
from ledger.errors import KeyAccessError, LeaseExpired, LedgerError
from ledger.licensing.entitlement import moment

RETRY_SECONDS: Final = 2.0
WATCH_SECONDS: Final = 5.0
"""How often at least the clock is looked at."""
STOP_SECONDS: Final = 2.0
"""How long ``stop`` waits for a heartbeat under way."""


class LeaseClock:
    """Unix seconds as the broker counts them, from one signed time on."""

    def __init__(self, issued_at: int) -> None:
        self._start = float(issued_at)
        self._wall = time.time()
        self._boot = boot_seconds()

    def now(self) -> float:
        """Never earlier than any time that really passed."""
        return self._start + max(time.time() - self._wall, boot_seconds() - self._boot, 0.0)


def boot_seconds() -> float:
    """Seconds by a clock that nobody can set."""
    # CLOCK_BOOTTIME counts suspension and cannot be set; other systems have no such clock.
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Beating(Protocol):
    """Who takes heartbeats: ``BrokerClient``, or nobody for a release that was kept."""

    def heartbeat(
        self, identity: RuntimeIdentity, lease: Lease, *, sequence: int | None = None
    ) -> tuple[Lease | None, Decision]:
        """Extend a lease, or say why not; raises when nobody answers."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class LeaseKeeper:
    """One lease, the thread that extends it and the one that ends it. Thread-safe.

    Args:
        client: the broker that gave it; closed by ``stop``.
        identity: the runtime it was given to.
        lease: as released.
        on_loss: called once, from the heartbeat thread, when the lease is lost.
        now: Unix seconds at which a lease that was kept is taken up; by default when it was issued.

    Attributes:
        lease: the lease as last extended.
    """

    def __init__(
        self,
        client: Beating,
        identity: RuntimeIdentity,
        lease: Lease,
        *,
        on_loss: Callable[[LedgerError], None],
        now: int | None = None,
    ) -> None:
        self.lease = lease
        self._client = client
        self._identity = identity
        self._on_loss = on_loss
        self._clock = LeaseClock(lease.issued_at if now is None else now)
        self._kept = now is not None
        self._lost: LedgerError | None = None
        self._warned = False
        self._sequence = lease.sequence
        self._pid = os.getpid()
        # Who remembers time for a kept release does so more often than a long lease beats.
        self._longest = float(getattr(client, "longest_pause", math.inf))
        self._stopping = threading.Event()
        self._ending = threading.Lock()
        # Two, so that an answer that never ends keeps no lease alive.
        self._threads = tuple(
            threading.Thread(target=work, name="modeldeed-lease", daemon=True)
            for work in (self._run, self._watch)
        )

    def start(self) -> None:
        """Begin sending heartbeats."""
        for thread in self._threads:
            thread.start()

    def halt(self) -> None:
        """Send no more heartbeats; waits for nothing."""
        self._stopping.set()

    def stop(self) -> None:
        """End the threads and the connection; the lease simply runs out. Safe to repeat."""
        self._stopping.set()
        if os.getpid() != self._pid:
            return
        for thread in self._threads:
            if thread.is_alive() and threading.current_thread() is not thread:
                thread.join(STOP_SECONDS)
        self._client.close()

    def require(self) -> None:
        """Check that the lease still holds.

        Raises:
            LeaseExpired: it was lost, or ran out; ``__cause__`` is the broker's reason.
            KeyAccessError: this is a forked child of the process it was given to.
        """
        if os.getpid() != self._pid:
            raise KeyAccessError(
                "the model was loaded by the parent process, and its lease stays there",
                hint="call ledger.load in the process that uses the model",
            )
        self._end_in_time()
        if self._lost is not None:
            if isinstance(self._lost, LeaseExpired):
                raise LeaseExpired(self._lost.message, hint=self._lost.hint)
            raise LeaseExpired(
                f"the lease was ended: {self._lost.message}", hint=self._lost.hint
            ) from self._lost

    def now(self) -> float:
        """Unix seconds by the clock that the lease lives by."""
        return self._clock.now()

    def _now(self) -> float:
        return self._clock.now()

    def _lose(self, reason: LedgerError) -> None:
        with self._ending:
            if self._lost is not None:
                return
            self._lost = reason
            self._stopping.set()
        self._on_loss(reason)

    def _end_in_time(self) -> None:
        lease = self.lease
        if self._lost is None and lease.enforce and self._now() >= lease.grace_until:
            self._lose(LeaseExpired(f"the lease ended on {moment(lease.grace_until)}"))

    def _watch(self) -> None:
        while not self._stopping.wait(min(self._left(), WATCH_SECONDS)):
            self._end_in_time()
            if not self.lease.enforce and self._stopping.wait(WATCH_SECONDS):
                return

    def _run(self) -> None:
        # Of a kept lease nobody is asked, but the host's time is remembered: at once, because until
        # a heartbeat is due a process could run for weeks, and be killed before it is.
        pause = min(RETRY_SECONDS, self._left()) if self._kept else self._pause()
        while not self._stopping.wait(pause):
            pause = self._pause() if self._beat() else self._retry()

    def _pause(self) -> float:
        # Jitter keeps a fleet that started together from asking together.
        pause = self.lease.heartbeat * random.uniform(0.8, 1.0)  # noqa: S311
        # A broker may name any number, and threads wait for no more than this.
        return min(pause, self._longest, self._left(), threading.TIMEOUT_MAX)

    def _retry(self) -> float:
        return min(RETRY_SECONDS, max(0.1, self.lease.heartbeat / 2), self._left())

    def _left(self) -> float:
        return max(0.05, self.lease.grace_until - self._now())

    def _beat(self) -> bool:
        """One heartbeat; False when no broker answered or it could not decide."""
        try:
            # A number is used up even when its reply is lost, so it is counted here.
            self._sequence += 1
            lease, decision = self._client.heartbeat(
                self._identity, self.lease, sequence=self._sequence
            )
        except Exception:  # noqa: BLE001
            # Unreachable, someone who cannot sign for the broker, or a reply that trips the reader:
            # none of them can end a lease, or the thread that would notice its end. Nothing is
            # logged, as a traceback may show what was sent.
            return False
        if lease is not None:
            self.lease = lease
            self._clock = LeaseClock(lease.issued_at)
            return True
        denial = decision.denial
        if denial is None or not denial.authoritative:
            return False
        if decision.reply.get("unload") is True:
            self._lose(denial.error())
            return True
        if not self._warned:
            self._warned = True
            with contextlib.suppress(Warning):
                warnings.warn(f"modeldeed: {denial.message}. {denial.remedy}", stacklevel=1)
        return True
