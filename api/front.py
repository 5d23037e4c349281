"""What is answered from memory before anything of a web framework runs.

Steps of docs/spec/entitlement-cache.md, "A request".

It stands outermost, so it does itself what the layers inside do for others: the host check, the
security headers, the request id, the count. Whatever is not plainly a question it holds the answer
to goes on inside: other methods and hosts, credentials, bodies, validators of a client's copy.

A server that knows it (`api.wire`) hands plain questions over by `take`, and they cost it no task
and no scope; by any other server they come as ASGI has them. Both are decided by the same lines.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from typing import Any, Final, Protocol

import structlog

from api import problems
from api.asgi import Receive, Scope, Send, again
from api.direct import whole_body
from api.memory import BATCH, Entry, Key, Memory, Moment, entry_key, together
from api.security import Hosts, Tally
from ledger.canonical import parse_json
from ledger.errors import LedgerError

log = structlog.get_logger("api")

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
        b"upgrade",
    }
)
_IDS: Final = 4096
_JSON: Final = (b"content-type", b"application/json")
_BATCH_BYTES: Final = 16 << 10
_MOST: Final = 200
_TOGETHER: Final = 64
_NAMES: Final = frozenset({"licenses", "holder", "runtime"})


class Asker(Protocol):
    """A connection whose request was taken over."""

    def answer(self, rest: bytes) -> bool:
        """Send an answer with status 200: header lines, an empty one, and the body.

        Returns:
            Whether it could be; if not, `inside` is next.
        """
        ...

    def inside(self) -> None:
        """Let the application answer."""
        ...


class Asked:
    """A request that was taken over; `by` is None when nobody waits for its answer any more."""

    __slots__ = ("by", "key", "started")

    def __init__(self, by: Asker, key: Key) -> None:
        self.by: Asker | None = by
        self.key = key
        self.started = time.perf_counter()


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
        self._waiting: list[Asked] = []
        self._serving: asyncio.Task[None] | None = None
        self._random = b""
        self._used = 0

    def begin(self, memory: Memory) -> None:
        """Answer from `memory` from now on."""
        self._memory = memory if self._whole else None

    def take(self, by: Asker, key: Key, headers: list[tuple[bytes, bytes]]) -> Asked | None:
        """Take over a GET without a body, whose head is whole; None of what goes inside at once.

        It is answered at a later turn of the loop, in which `by` is told.
        """
        memory = self._memory
        # (1) Whether there is an answer to it at all.
        if memory is None or not memory.has(key) or not self._plain(headers):
            return None
        asked = Asked(by, key)
        self._waiting.append(asked)
        if self._serving is None:
            self._serving = asyncio.get_running_loop().create_task(self._serve(memory))
        return asked

    async def _serve(self, memory: Memory) -> None:
        """Answer all who have asked, and after them those who came meanwhile."""
        try:
            while self._waiting:
                count = 0
                # As long as each turn of the loop brings more, one question serves them too.
                while count < len(self._waiting) < _TOGETHER:
                    count = len(self._waiting)
                    await asyncio.sleep(0)
                # (2) Whoever is in the list has arrived before the index is asked.
                waiting, self._waiting = self._waiting, []
                await self._serve_all(waiting, memory)
        finally:
            self._serving = None

    async def _serve_all(self, waiting: list[Asked], memory: Memory) -> None:
        try:
            moment = await memory.moment()
            if moment is not None:
                for asked in waiting:
                    self._say(asked, memory, moment)
        except Exception:
            log.exception("memory failed")  # the application may not
        for asked in waiting:
            if asked.by is not None:
                asked.by.inside()

    def _say(self, asked: Asked, memory: Memory, moment: Moment) -> None:
        # (3) What the index has ended is gone by now, and (4) the clock may have ended more.
        found = memory.kept(asked.key, moment)
        if found is None or asked.by is None:
            return
        body = found.body(moment)
        rest = b"content-length: %d\r\n%bx-request-id: %b\r\n\r\n%b"
        if asked.by.answer(rest % (len(body), found.lines, self._id(), body)):
            asked.by = None
            self._tally.add(found.route, _OK, time.perf_counter() - asked.started)

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
        key = (scope["path"], scope["query_string"])
        moment = found = None
        # (1) Whether there is an answer to it at all.
        if memory.has(key) and self._plain(scope["headers"]):
            moment = await memory.moment()
            found = None if moment is None else memory.kept(key, moment)
        if found is None or moment is None:
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
        keys = _members(body) or []
        moment, found = None, []
        if keys and all(key in memory.entries for key in keys):
            moment = await memory.moment()
        if moment is not None:
            entries = (memory.entries.get(key) for key in keys)
            found = [each for each in entries if each is not None and each.holds(moment)]
        if moment is None or len(found) < len(keys):
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
                if name != b"host" or host is not None:
                    return False
                host = value
        return host in self._hosts.good or self._hosts.known(host or b"")

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
    # A misspelt holder would be a yes about anyone.
    if not asked.keys() <= _NAMES:
        return None
    who = asked.get("holder"), asked.get("runtime")
    texts = asked["licenses"]
    if len(texts) > _MOST or not all(isinstance(each, str) for each in texts):
        return None
    if not all(each is None or (isinstance(each, str) and "&" not in each) for each in who):
        return None
    return [entry_key(text, *who) for text in texts]
