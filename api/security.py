"""What stands between the network and the routes, as plain ASGI: it costs next to nothing.

Starlette's decorator middleware costs two thirds of the throughput, so none is used.
"""

from __future__ import annotations

import functools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.exceptions import HTTPException

from api import problems

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

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

log = structlog.get_logger("api")
_logger = logging.getLogger("api")


class Boundary:
    """Outermost layer: request id, host check, security headers, log line, metrics, last resort.

    The log line names the route and never the path or query, which may carry what a client did not
    mean to publish.

    Args:
        app: the application inside.
        hosts: names that a Host header may give; ``*`` for any.
        registry: where request counts and times go.
    """

    def __init__(self, app: App, *, hosts: frozenset[str], registry: CollectorRegistry) -> None:
        self._app = app
        self._hosts = hosts | LOOPBACK
        self._requests = Counter(
            "deed_api_requests", "Requests answered", ("route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "deed_api_request_seconds", "Time to answer", ("route",), registry=registry
        )
        # Looking a series up by its labels costs more than counting.
        self._series = functools.cache(
            lambda route, status: (
                self._requests.labels(route, str(status)),
                self._seconds.labels(route),
            )
        )

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
                message["headers"] = _with_headers(message.get("headers", ()), request_id)
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
        if "*" in self._hosts:
            return True
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        name = host.decode("latin-1").lower()
        if not name.endswith("]"):
            name = name.rpartition(":")[0] or name
        return name in self._hosts

    def _account(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        counted, timed = self._series(route, status)
        counted.inc()
        timed.observe(seconds)
        if not _logger.isEnabledFor(logging.INFO):
            return
        log.info(
            "request",
            request_id=request_id,
            method=scope["method"][:16],
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
        )


def _with_headers(given: Any, request_id: str) -> list[tuple[bytes, bytes]]:
    headers = [(bytes(name), bytes(value)) for name, value in given]
    present = {name.lower() for name, _ in headers}
    headers.extend(pair for pair in (*HEADERS, _DEFAULT_CACHE) if pair[0] not in present)
    headers.append((b"x-request-id", request_id.encode()))
    return headers


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
