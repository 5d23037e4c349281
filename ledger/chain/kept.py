"""An endpoint asked many times a second: kept connections with as little around them as possible.

httpx takes several times the processor time of the exchange itself, which is what bounds a broker.
This is `Endpoint` over the standard library's HTTP client; the bounds on time and size, the errors
and what they show are the same. Where the environment names a proxy, httpx does it as before.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from ledger.chain.endpoint import Endpoint
from ledger.chain.replies import QuickReply

IDLE_KEPT: Final = 16
IDLE_SECONDS: Final = 4.0
"""Connections kept open, and for how long: less than the five seconds after which servers close."""

CONNECT_SECONDS: Final = 5.0
_PART: Final = 1 << 16
_TOO_MANY: Final = 429


class KeptEndpoint(Endpoint):
    """One URL with its own kept connections. Thread-safe. Arguments are those of `Endpoint`."""

    def __init__(
        self, url: str, *, timeout: float, max_reply: int, transport: httpx.BaseTransport | None
    ) -> None:
        super().__init__(url, timeout=timeout, max_reply=max_reply, transport=transport)
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._name, self._port = parts.hostname or "", parts.port
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._head = (
            f"POST {path} HTTP/1.1\r\nhost: {self.host}\r\ncontent-type: application/json\r\n"
            "accept: */*\r\naccept-encoding: identity\r\nuser-agent: modeldeed\r\n"
        ).encode()
        self._seconds, self._bound = timeout, max_reply
        self._context = httpx.create_ssl_context() if self._secure else None
        proxied = self._trust_env and parts.scheme in getproxies() and not proxy_bypass(self._name)
        # Credentials in the URL, a proxy and a test's transport are httpx's business.
        self._plain = transport is None and not proxied and parts.username is None
        self._plain = self._plain and url.isascii() and url.isprintable() and " " not in url
        self._guard = threading.Lock()
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._busy: set[http.client.HTTPConnection] = set()

    def close(self) -> None:
        """Close the connections."""
        super().close()
        with self._guard:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def abort(self) -> None:
        """Break off every request under way; later ones use new connections."""
        if not self._plain:
            super().abort()
            return
        with self._guard:
            busy = list(self._busy)
        for connection in busy:
            # Closing it under a thread that reads would leave that thread reading.
            if connection.sock is not None:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _once(self, body: bytes, deadline: float) -> bytes:
        if not self._plain:
            return super()._once(body, deadline)
        connection = self._take(deadline)
        whole = False
        try:
            reply = self._exchange(connection, body, deadline)
            whole = connection.sock is not None
        except TimeoutError:
            raise httpx.ReadTimeout("no answer in time") from None
        except (http.client.HTTPException, ConnectionError, BrokenPipeError):
            raise httpx.RemoteProtocolError("the connection broke off") from None
        except OSError:
            raise httpx.ReadError("the connection broke off") from None
        else:
            return reply
        finally:
            self._give(connection, reusable=whole)

    def _exchange(
        self, connection: http.client.HTTPConnection, body: bytes, deadline: float
    ) -> bytes:
        sock: Any = connection.sock
        sock.settimeout(max(0.001, min(self._seconds, deadline - time.monotonic())))
        # One write: http.client would send head and body apart, and wait in between.
        sock.sendall(b"%scontent-length: %d\r\n\r\n%s" % (self._head, len(body), body))
        reply = QuickReply(sock, method="POST")
        reply.begin()
        if reply.status == _TOO_MANY:
            connection.close()
            wait = _seconds(reply.headers.get("retry-after"))
            raise self._unavailable("asks for fewer requests (HTTP 429)", retry_after=wait)
        # Some nodes send JSON-RPC errors with HTTP 400; the body decides then.
        if reply.status not in {200, 400}:
            connection.close()
            raise self._unavailable(f"answered HTTP {reply.status}")
        parts: list[bytes] = []
        size = 0
        while part := reply.read1(_PART):
            size += len(part)
            if size > self._bound:
                connection.close()
                raise self._unavailable(f"sent more than {self._bound} bytes", fault="malformed")
            if time.monotonic() > deadline:
                connection.close()
                raise self._unavailable(f"took longer than {self._seconds:g} s", fault="slow")
            parts.append(part)
        if reply.length:
            raise http.client.IncompleteRead(b"", reply.length)
        if reply.will_close:
            connection.close()
        reply.close()
        return b"".join(parts)

    def _take(self, deadline: float) -> http.client.HTTPConnection:
        now = time.monotonic()
        with self._guard:
            while self._idle:
                since, connection = self._idle.pop()
                if now - since <= IDLE_SECONDS:
                    self._busy.add(connection)
                    return connection
                connection.close()
        seconds = max(0.001, min(self._seconds, CONNECT_SECONDS, deadline - now))
        if self._secure:
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._name, self._port, timeout=seconds, context=self._context
            )
        else:
            made = http.client.HTTPConnection(self._name, self._port, timeout=seconds)
        try:
            made.connect()
        except TimeoutError:
            raise httpx.ConnectTimeout("no connection in time") from None
        except OSError:
            raise httpx.ConnectError("no connection") from None
        with self._guard:
            self._busy.add(made)
        return made

    def _give(self, connection: http.client.HTTPConnection, *, reusable: bool) -> None:
        with self._guard:
            self._busy.discard(connection)
            if reusable and len(self._idle) < IDLE_KEPT:
                self._idle.append((time.monotonic(), connection))
                return
            # One that broke was probably closed by the other side, and so were its neighbours.
            stale = [] if reusable else [each for _, each in self._idle]
            if stale:
                self._idle.clear()
        for each in (connection, *stale):
            each.close()


def _seconds(value: str | None) -> float:
    try:
        return min(max(float(value or 1.0), 0.1), 3600.0)
    except ValueError:
        return 1.0
