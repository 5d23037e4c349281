"""What stands between the network and the routes, as plain ASGI: it costs next to nothing.

Starlette's decorator middleware costs two thirds of the throughput, so none is used.
"""

from __future__ import annotations

import logging
import secrets
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.exceptions import HTTPException

from api import problems
from api.asgi import App, Message, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "testserver"})

# No page of this service runs script, is framed, or is sniffed for another type.
HEADERS = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"interest-cohort=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_DEFAULT_CACHE = (b"cache-control", b"no-store")
_EVERY = (*HEADERS, _DEFAULT_CACHE)
_HOSTS_KEPT: Final = 64

log = structlog.get_logger("api")
_logger = logging.getLogger("api")


class Tally(Collector):
    """Requests counted, and their times, by route. All but `collect` belongs to one event loop.

    Counting is adding to a list of one's own: a metric of the client library takes a lock, twice.
    """

    _BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], int] = {}
        # By route: how many fell between two bounds, and the sum of all.
        self._times: dict[str, tuple[list[int], list[float]]] = {}

    def add(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        key = (route, status)
        self._counts[key] = self._counts.get(key, 0) + 1
        held = self._times.get(route)
        if held is None:
            held = self._times[route] = [0] * (len(self._BOUNDS) + 1), [0.0]
        held[0][bisect_left(self._BOUNDS, seconds)] += 1
        held[1][0] += seconds

    def collect(self) -> Iterator[Metric]:
        """Both families."""
        counter = CounterMetricFamily(
            "deed_api_requests", "Requests answered", labels=["route", "status"]
        )
        for (route, status), count in list(self._counts.items()):
            counter.add_metric([route, str(status)], count)
        yield counter
        times = HistogramMetricFamily(
            "deed_api_request_seconds", "Time to answer", labels=["route"]
        )
        for route, (counts, total) in list(self._times.items()):
            ends = (*(str(bound) for bound in self._BOUNDS), "+Inf")
            times.add_metric([route], list(zip(ends, accumulate(counts), strict=True)), total[0])
        yield times


class Hosts:
    """The names that a Host header may give.

    Args:
        names: besides loopback ones; ``*`` for any.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names | LOOPBACK
        # Headers that were found good. Bounded: a port may follow a name.
        self.good: set[bytes] = set()

    def known(self, host: bytes) -> bool:
        """Whether a header's value names one of them."""
        if host in self.good:
            return True
        name = host.decode("latin-1").lower()
        if not name.endswith("]"):
            name = name.rpartition(":")[0] or name
        if "*" not in self._names and name not in self._names:
            return False
        if len(self.good) < _HOSTS_KEPT:
            self.good.add(host)
        return True


class Boundary:
    """Outermost layer: request id, host check, security headers, log line, metrics, last resort.

    The log line names the route and never the path or query, which may carry what a client did not
    mean to publish.

    Args:
        app: the application inside.
        hosts: names that a Host header may give; ``*`` for any.
        registry: where request counts and times go.
        tally: what counts them, where others count there too.
    """

    def __init__(
        self,
        app: App,
        *,
        hosts: frozenset[str] | Hosts,
        registry: CollectorRegistry,
        tally: Tally | None = None,
    ) -> None:
        self._app = app
        self._hosts = hosts if isinstance(hosts, Hosts) else Hosts(hosts)
        self._tally = tally or Tally()
        registry.register(self._tally)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        started = time.perf_counter()
        status = 0
        whole = False

        async def send_on(message: Message) -> None:
            nonlocal status, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = completed(message.get("headers", ()))
                headers.append((b"x-request-id", request_id.encode()))
                message["headers"] = headers
            else:
                whole = not message.get("more_body", False)
            await send(message)

        scope.setdefault("state", {})["request_id"] = request_id
        try:
            if self._known_host(scope):
                await self._app(scope, receive, send_on)
            else:
                await problems.misdirected()(scope, receive, send_on)
        except Exception as error:
            log.exception("request failed", request_id=request_id, error=type(error).__name__)
            if status and not whole:
                raise  # half an answer is out: only the connection can end it
            if not status:
                await problems.internal_error(request_id)(scope, receive, send_on)
        finally:
            self._account(scope, request_id, status, time.perf_counter() - started)

    def _known_host(self, scope: Scope) -> bool:
        return self._hosts.known(next((v for name, v in scope["headers"] if name == b"host"), b""))

    def _account(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        self._tally.add(route, status, seconds)
        if not _logger.isEnabledFor(logging.INFO):
            return
        # Where the request is traced too, so that either is found by the other.
        trace_id = scope["state"].get("trace_id")
        log.info(
            "request",
            request_id=request_id,
            method=scope["method"][:16],
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            **({} if trace_id is None else {"trace_id": trace_id}),
        )


def completed(given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers of an answer, and those that every answer carries."""
    headers = list(given)
    present = {name for name, _ in headers}
    headers.extend(pair for pair in _EVERY if pair[0] not in present)
    return headers


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as HTTP/1.1 has them on the wire."""
    return b"".join(b"%b: %b\r\n" % pair for pair in headers)


class BodyLimit:
    """Refuse bodies beyond a limit, by their declared length or, failing that, as they come.

    Args:
        app: the application inside.
        limit: bytes.
        larger: path endings with a limit of their own.
    """

    def __init__(self, app: App, *, limit: int, larger: dict[str, int]) -> None:
        self._app = app
        self._limit = limit
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        limit = next((n for end, n in self._larger.items() if path.endswith(end)), self._limit)
        declared = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        if not declared.isdigit() or int(declared) > limit:
            await problems.too_large_answer(limit)(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise HTTPException(problems.TOO_LARGE)  # while a route reads
            return message

        await self._app(scope, counted, send)
