"""What is remembered of each endpoint that is asked: a rolling record, and a circuit breaker.

The kinds of fault, and what each does to a broker's releases and leases, are the table in
docs/spec/endpoint-faults.md. Only hosts are ever kept here, never a URL.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.errors import (
    ChainUnavailable,
    ContractReverted,
    LedgerError,
    Reorganised,
    RpcRefused,
    StateProofInvalid,
    WrongNetwork,
)

FAULTS: Final = (
    "down",
    "slow",
    "busy",
    "malformed",
    "refused",
    "stale",
    "future",
    "wrong-chain",
    "forged",
    "apart",
)
"""Kinds of fault, as counted; ``apart``: it does not hold a block that q others agree on."""

BREAKS_AFTER: Final = 3
"""Faults in a row after which an endpoint is not waited for any more."""

FIRST_REST, LONGEST_REST = 5.0, 60.0
"""Seconds until it is tried again: doubled with every try that fails."""

NOT_ASKED: Final = "not asked yet"
"""What stands for a trouble before the first look; neither healthy nor not."""

_COSTLY = {"slow", "busy", "down"}
_LATENCIES = 128


def fault_of(error: LedgerError) -> str:
    """The kind of fault that an endpoint's failure is."""
    match error:
        case ChainUnavailable():
            return error.fault
        case WrongNetwork():
            return "wrong-chain"
        case StateProofInvalid():
            return "forged"
        case Reorganised():
            return "apart"
        case RpcRefused() | ContractReverted():
            return "refused"
        case _:
            return "malformed"


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """One endpoint as last seen; `trouble` is empty when it is healthy.

    Attributes:
        host: all that is shown of its URL.
        head, finalized: heights it claimed last; None before it was seen.
        lag: blocks by which its head was below the agreed one.
        latency_ms: median time of its last looks.
        last_seen: Unix seconds of its last good look.
        circuit: ``closed``: asked; ``open``: left out while q others answer; ``half-open``: being
            tried again.
        faults: how many of each kind since the start.
        last_trouble: kind, sentence and time of the last fault, also of one that is over.
        contrary: how often it contradicted what q endpoints agreed on.
    """

    host: str
    head: int | None
    trouble: str
    finalized: int | None = None
    lag: int | None = None
    latency_ms: float | None = None
    last_seen: int | None = None
    circuit: str = "closed"
    faults: Mapping[str, int] = field(default_factory=dict)
    last_trouble: tuple[str, str, int] | None = None
    contrary: int = 0

    def to_json(self) -> dict[str, Any]:
        """The record as the broker's HTTP interface shows it."""
        last = self.last_trouble
        return {
            "host": self.host,
            "healthy": None if self.trouble == NOT_ASKED else not self.trouble,
            "trouble": self.trouble or None,
            "circuit": self.circuit,
            "head": self.head,
            "finalized": self.finalized,
            "lag": self.lag,
            "latency_ms": self.latency_ms,
            "last_seen": self.last_seen,
            "faults": {kind: self.faults.get(kind, 0) for kind in FAULTS},
            "contrary": self.contrary,
            "last_trouble": (
                None if last is None else {"kind": last[0], "message": last[1], "time": last[2]}
            ),
        }


class EndpointRecord:
    """The record of one endpoint. Thread-safe.

    Args:
        host: what may be shown of its URL.
        clock: Unix seconds, for what people read.
        monotonic: seconds that never jump, for the circuit.
    """

    def __init__(
        self,
        host: str,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.host = host
        self._clock, self._monotonic = clock, monotonic
        self._lock = threading.Lock()
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._faults: Counter[str] = Counter()
        self._seen: EndpointHealth = EndpointHealth(host, None, NOT_ASKED)
        self._contrary = 0
        self._last: tuple[str, str, int] | None = None
        self._failures = 0
        self._stumbles = 0
        self._rest = FIRST_REST
        self._open_until: float | None = None
        self._probing = False

    # -- what happened -------------------------------------------------------------------------

    def saw(self, head: int, finalized: int, seconds: float) -> None:
        """It showed where it stands, and is healthy."""
        with self._lock:
            self._latencies.append(seconds)
            self._seen = EndpointHealth(
                self.host, head, "", finalized, self._seen.lag, last_seen=int(self._clock())
            )
            self._failures = 0
            if self._open_until is not None:
                # Back, on probation where it was its reads that failed: the next one decides.
                self._stumbles = min(self._stumbles, BREAKS_AFTER - 1)
                self._open_until, self._probing = None, False

    def failed(self, error: LedgerError) -> None:
        """It could not say where it stands, or stands where nobody can rely on it."""
        with self._lock:
            self._count(fault_of(error), error.message)
            self._seen = EndpointHealth(
                self.host, None, error.message, last_seen=self._seen.last_seen
            )
            self._failures += 1
            if self._probing or self._failures == BREAKS_AFTER:
                self._open()

    def stumbled(self, error: LedgerError) -> None:
        """It stood well and then did not answer; what it refuses quickly costs nobody time."""
        with self._lock:
            kind = fault_of(error)
            self._count(kind, error.message)
            if kind in _COSTLY:
                self._stumbles += 1
                if self._stumbles == BREAKS_AFTER:
                    self._open()

    def delivered(self) -> None:
        """It answered all that was asked."""
        with self._lock:
            self._stumbles, self._rest = 0, FIRST_REST

    def _open(self) -> None:
        self._open_until = self._monotonic() + self._rest
        self._rest = min(self._rest * 2, LONGEST_REST)
        self._probing = False

    def contradicted(self, sentence: str) -> None:
        """It showed something else than q endpoints agreed on. Never a reason to leave it out."""
        with self._lock:
            self._contrary += 1
            self._last = ("contrary", sentence, int(self._clock()))

    def lags(self, agreed: int) -> None:
        """Hold its head against the agreed one."""
        with self._lock:
            if self._seen.head is not None:
                lag = max(0, agreed - self._seen.head)
                seen = self._seen
                self._seen = EndpointHealth(
                    self.host, seen.head, seen.trouble, seen.finalized, lag,
                    last_seen=seen.last_seen,
                )  # fmt: skip

    def _count(self, kind: str, sentence: str) -> None:
        self._faults[kind] += 1
        self._last = (kind, sentence, int(self._clock()))

    # -- the circuit ---------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether decisions wait for it."""
        with self._lock:
            return self._open_until is None

    def try_again(self) -> bool:
        """Whether its rest is over and nobody else tries; then the caller must try it."""
        with self._lock:
            now = self._monotonic()
            if self._open_until is None or now < self._open_until:
                return False
            # A try that never ends, whatever the endpoint sends, is no reason to give it up.
            self._probing, self._open_until = True, now + LONGEST_REST
            return True

    def shown(self) -> EndpointHealth:
        """The record now."""
        with self._lock:
            circuit = "closed"
            if self._open_until is not None:
                circuit = "half-open" if self._probing else "open"
            seen = self._seen
            median = statistics.median(self._latencies) if self._latencies else None
            return EndpointHealth(
                self.host,
                seen.head,
                seen.trouble,
                seen.finalized,
                seen.lag,
                None if median is None else round(median * 1000, 2),
                seen.last_seen,
                circuit,
                dict(self._faults),
                self._last,
                self._contrary,
            )
