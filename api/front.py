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
from api.memory import Entry, Memory, Moment, Page
from api.security import Hosts, Tally
from ledger.errors import LedgerError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OK: Final = int(problems.OK)
# A request that carries another of these than a host asks for more than an answer.
_LOOKED_AT: Final = frozenset(
    {
        b"host",
        b"authorization",
        b"cookie",
        b"content-length",
        b"transfer-encoding",
        b"if-none-match",
        b"expect",
    }
)
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
        self._memory: Memory | None = None
        self._moment: Moment | None = None
        self._random = b""
        self._used = 0

    def begin(self, memory: Memory) -> None:
        """Answer from `memory` from now on."""
        self._memory = memory if self._whole else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        memory = self._memory
        if memory is None or scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        # (1) Whether there is an answer to it at all.
        key = (scope["path"], scope["query_string"])
        found: Entry | Page | None = memory.entries.get(key) or memory.pages.get(key)
        if found is None or not self._plain(scope["headers"]):
            await self._app(scope, receive, send)
            return
        # (2) What the index is now, told after the request came.
        moment = self._moment
        try:
            if moment is None and (moment := self._now(memory)) is None:
                moment = await memory.present()
                # (3) That may have ended the answer.
                found = memory.entries.get(key) or memory.pages.get(key)
        except LedgerError:
            found = None  # the route says so in its own words
        # (4) The clock may have, too.
        if found is None or moment is None or not found.holds(moment):
            await self._app(scope, receive, send)
            return
        body = found.body(moment)
        headers = [
            (b"content-length", b"%d" % len(body)),
            *found.headers,
            (b"x-request-id", self._id()),
        ]
        await send({"type": "http.response.start", "status": _OK, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._tally.add(found.route, _OK, time.perf_counter() - started)

    def _plain(self, headers: list[tuple[bytes, bytes]]) -> bool:
        host = None
        for name, value in headers:
            if name in _LOOKED_AT:
                if name != b"host":
                    return False
                if host is None:
                    host = value
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
