"""Rate limits: token buckets by who asks and for what (docs/spec/key-release.md, "Limits").

They are kept in memory. A restart fills every bucket, which lets through at most one burst more;
what must outlast a restart, holds and what anomaly rules saw, is in the broker's database.
"""

from __future__ import annotations

import functools
import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ledger.errors import RateLimited

BUCKETS: Final = 100_000
"""Buckets kept of one kind; the longest unused is forgotten, which fills it."""

IPV4_PREFIX: Final = 24
IPV6_PREFIX: Final = 56
"""What counts as one network: what one customer of a provider is commonly given."""

UNKNOWN_NETWORK: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket's size and how fast it fills.

    Attributes:
        burst: requests at once.
        per_second: requests in the long run.
    """

    burst: float
    per_second: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The rates of one broker.

    Attributes:
        network: challenges, requests, checks and deposits of one network, before anything is read.
        runtime: signed requests of one runtime key, before the chain is asked.
        license: requests that a holder's grant stands behind, before a seat is taken.
        lease: heartbeats of one lease.
        licensor: signed deposits of one licensor, before the chain is asked.
        wallet: questions to a license's contract wallet that it answered with no: each is two calls
            at every endpoint, and a stranger can make us ask.
        throttled: what a license has instead while an anomaly rule throttles it.
    """

    network: Rate = Rate(2000, 500)
    runtime: Rate = Rate(60, 2)
    license: Rate = Rate(2000, 50)
    lease: Rate = Rate(30, 1)
    licensor: Rate = Rate(120, 1)
    wallet: Rate = Rate(60, 1 / 5)
    throttled: Rate = Rate(2, 1 / 30)


@functools.lru_cache(maxsize=4096)
def network_of(address: str | None) -> str:
    """The network that an address belongs to, as limits and anomaly rules count it."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return UNKNOWN_NETWORK
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    prefix = IPV4_PREFIX if parsed.version == 4 else IPV6_PREFIX
    return str(ipaddress.ip_network(f"{parsed}/{prefix}", strict=False))


class Buckets:
    """Token buckets of one kind. Thread-safe.

    Args:
        what: who is limited, in the refusal.
        clock: monotonic seconds.
        by: who limits, in the refusal.
    """

    def __init__(self, what: str, clock: Callable[[], float], *, by: str = "this broker") -> None:
        self._what = what
        self._by = by
        self._clock = clock
        self._lock = threading.Lock()
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, rate: Rate) -> float:
        """Take one token; how many are left.

        Raises:
            RateLimited: there is none; with the time until there is.
        """
        now = self._clock()
        with self._lock:
            tokens, since = self._held.pop(key, (rate.burst, now))
            # A clock that goes back gives nothing and takes nothing.
            tokens = min(rate.burst, tokens + max(0.0, now - since) * rate.per_second)
            enough = tokens >= 1
            self._held[key] = (tokens - 1 if enough else tokens, max(now, since))
            while len(self._held) > BUCKETS:
                self._held.popitem(last=False)
        if not enough:
            wait = (1 - tokens) / rate.per_second
            raise RateLimited(
                f"{self._what} asks more often than {self._by} allows", retry_after=max(1.0, wait)
            )
        return tokens - 1

    def give(self, key: str, rate: Rate) -> None:
        """Give a token back that was taken for nothing."""
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                self._held[key] = (min(rate.burst, held[0] + 1), held[1])
