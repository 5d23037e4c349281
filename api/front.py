"""What is answered from memory before anything of a web framework runs.

Steps of docs/spec/entitlement-cache.md, "A request".

It stands outermost, so it does itself what the layers inside do for others: the host check, the
security headers, the request id, the count. Whatever is not plainly a question it holds the answer
to goes on inside: other methods and hosts, credentials, bodies, validators of a client's copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from api import problems
from api.direct import again, whole_body
from api.memory import BATCH, Entry, Key, Memory, Moment, Page, entry_key, together
from api.security import Hosts, Tally
from ledger.canonical import parse_json
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
_JSON: Final = (b"content-type", b"application/json")
_BATCH_BYTES: Final = 16 << 10
_MOST: Final = 200


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
            if memory is not None and scope["path"] == BATCH and scope["method"] == "POST":
                await self._batch(memory, scope, receive, send)
            else:
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
        await self._answer(found.body(moment), found.headers, send)
        self._tally.add(found.route, _OK, time.perf_counter() - started)

    async def _batch(self, memory: Memory, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for many, if all of them are there; else the route does."""
        started = time.perf_counter()
        headers = scope["headers"]
        lengths = [value for name, value in headers if name == b"content-length"]
        if (
            len(lengths) != 1
            or not lengths[0].isdigit()
            or int(lengths[0]) > _BATCH_BYTES
            or scope["query_string"]
            or _JSON not in headers
            or not self._plain([pair for pair in headers if pair[0] != b"content-length"])
        ):
            await self._app(scope, receive, send)
            return
        body = await whole_body(receive)
        if body is None:
            return  # the client is gone
        keys, moment, found = _members(body), None, []
        if keys and all(key in memory.entries for key in keys):
            with contextlib.suppress(LedgerError):
                # A body may have taken long to come: its moment is of its own.
                moment = memory.now() or await memory.present()
                entries = (memory.entries.get(key) for key in keys)
                found = [each for each in entries if each is not None and each.holds(moment)]
        if moment is None or not keys or len(found) < len(keys):
            await self._app(scope, again(body, receive), send)
            return
        await self._answer(together(found, moment), Entry.headers, send)
        self._tally.add(BATCH, _OK, time.perf_counter() - started)

    async def _answer(
        self, body: bytes, headers: Iterable[tuple[bytes, bytes]], send: Send
    ) -> None:
        sent = [(b"content-length", b"%d" % len(body)), *headers, (b"x-request-id", self._id())]
        await send({"type": "http.response.start", "status": _OK, "headers": sent})
        await send({"type": "http.response.body", "body": body})

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


def _members(body: bytes) -> list[Key] | None:
    """The keys of a batch's members; None of a body that the route has to judge."""
    try:
        asked = parse_json(body, what="the body")
    except LedgerError:
        return None
    if not isinstance(asked, dict) or not isinstance(asked.get("licenses"), list):
        return None
    who = asked.get("holder"), asked.get("runtime")
    texts = asked["licenses"]
    if len(texts) > _MOST or not all(isinstance(each, str) for each in texts):
        return None
    if not all(each is None or (isinstance(each, str) and "&" not in each) for each in who):
        return None
    return [entry_key(text, *who) for text in texts]
