"""What is answered from memory before anything of a web framework runs.

Steps of docs/spec/entitlement-cache.md, "A request".

It stands outermost, so it does itself what the layers inside do for others: the host check, the
security headers, the request id, the count. Whatever is not plainly a question it holds the answer
to goes on inside: other methods and hosts, credentials, bodies, validators of a client's copy.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from api import problems
from api.memory import Key, Memory, Moment
from api.security import DEFAULT_CACHE, HEADERS, Hosts, Tally
from ledger.errors import LedgerError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

UNDER: Final = "/v1/"
ENTITLEMENT: Final = "/v1/entitlements/{license}"
"""The route that describes them."""

_OK: Final = int(problems.OK)
_JSON: Final = (b"content-type", b"application/json")
# A request that carries one of these asks for more than an answer.
_UNUSUAL: Final = frozenset(
    {
        b"authorization",
        b"cookie",
        b"content-length",
        b"transfer-encoding",
        b"if-none-match",
        b"expect",
    }
)
_ENTRY_HEADERS: Final = [_JSON, *HEADERS, DEFAULT_CACHE]
_IDS: Final = 4096


class Front:
    """Answers from `memory`, or lets `app` answer.

    Args:
        app: the application, whose `state` this shows as its own.
        hosts: as the application checks them.
        tally: where requests are counted.
        whole: whether it may answer at all: not where anyone's requests are counted and limited,
            which a layer inside does.
    """

    def __init__(self, app: Any, *, hosts: Hosts, tally: Tally, whole: bool) -> None:
        self._app = app
        self.state = app.state
        self._hosts = hosts
        self._tally = tally
        self._whole = whole
        self._moment: Moment | None = None
        self._random = b""
        self._used = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if (
            scope["type"] != "http"
            or scope["method"] != "GET"
            or not self._whole
            or not scope["path"].startswith(UNDER)
        ):
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        found = None
        memory: Memory | None = getattr(self.state, "memory", None)
        if memory is not None and self._plain(scope["headers"]):
            try:
                moment = self._moment or self._now(memory)
                if moment is None:
                    moment = await memory.present()
            except LedgerError:
                pass  # the route says so in its own words
            else:
                found = _found(memory, (scope["path"], scope["query_string"]), moment)
        if found is None:
            await self._app(scope, receive, send)
            return
        body, headers, route = found
        start = {
            "type": "http.response.start",
            "status": _OK,
            "headers": [
                (b"content-length", b"%d" % len(body)),
                *headers,
                (b"x-request-id", self._id()),
            ],
        }
        await send(start)
        await send({"type": "http.response.body", "body": body})
        self._tally.add(route, _OK, time.perf_counter() - started)

    def _plain(self, headers: list[tuple[bytes, bytes]]) -> bool:
        host = None
        for name, value in headers:
            if name == b"host":
                if host is None:
                    host = value
            elif name in _UNUSUAL:
                return False
        return host in self._hosts.good or self._hosts.known(host or b"")

    def _now(self, memory: Memory) -> Moment | None:
        """The moment for all requests that have arrived by now.

        The loop runs what is ready in order, and begins a request in a later turn than the one in
        which its bytes were read. So whoever runs before `_forget` does had arrived before now.
        """
        moment = self._moment = memory.now()
        if moment is not None:
            asyncio.get_running_loop().call_soon(self._forget)
        return moment

    def _forget(self) -> None:
        self._moment = None

    def _id(self) -> bytes:
        """As `secrets.token_hex(8)`, the system asked for many at once."""
        at = self._used
        if at >= len(self._random):
            self._random = os.urandom(_IDS).hex().encode()
            at = 0
        self._used = at + 16
        return self._random[at : at + 16]


def _found(memory: Memory, key: Key, moment: Moment) -> tuple[bytes, Any, str] | None:
    entry = memory.entries.get(key)
    if entry is not None:
        if not entry.begin <= moment.seconds < entry.end:
            return None
        return entry.body(moment), _ENTRY_HEADERS, ENTITLEMENT
    page = memory.page(key, moment)
    return None if page is None else (page.body(moment), page.headers, page.route)
