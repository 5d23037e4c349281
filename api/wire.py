"""HTTP/1.1 on the wire: uvicorn's protocol, with bounds on what one connection may cost.

uvicorn bounds heads with h11 alone, waits without end for a request that never becomes whole and
for a reader that never reads, and forgets an answer under way when its client has sent the next
request already and then hangs up. Each of these would let one stranger use up the service's memory
or its 512 connections.

Where the application answers from memory (`api.front`), plain questions are handed to it without a
scope, a cycle and a task: docs/spec/entitlement-cache.md, "On a connection".
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakKeyDictionary

from starlette.responses import Response
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from api import problems
from api.security import HEADERS, header_lines
from ledger.broker.limits import network_of

if TYPE_CHECKING:
    from api.front import Asked, Front

MAX_HEAD: Final = 64 << 10
"""Bytes of a request that are not its body: line, headers, trailers, framing of chunks."""
_FRAMING: Final = 16
# Chunks of a body may cost a sixteenth of it beyond that.

MAX_PIPELINED: Final = 16
MAX_CONNECTIONS: Final = 512
MAX_OF_NETWORK: Final = 256
"""Connections of one network (/24, /56), unless it is this machine or a trusted proxy."""

HEAD_SECONDS: Final = 15.0
BODY_SECONDS: Final = 150.0
"""For a whole request. Routes that take large bodies answer 408 before."""
STALL_SECONDS: Final = 30.0
"""A client that takes not one byte of what is ready for it is given up after this."""
LOOK_SECONDS: Final = 5.0

_HELD: WeakKeyDictionary[ServerState, Counter[str]] = WeakKeyDictionary()


class Wire(HttpToolsProtocol):
    """One connection."""

    _network: str | None = None
    _watch: asyncio.TimerHandle | None = None
    _running: RequestResponseCycle | None = None
    # The request that was handed to what answers from memory, and has no cycle.
    _asked: Asked | None = None
    _front: Front | None = None
    _given: Any = None
    _opening = b""

    # -- connections -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin, unless the network has too many already."""
        super().connection_made(transport)
        if hasattr(self.config.app, "take") and not self.root_path:
            self._front = cast("Front", self.config.app)
        # Bytes since the last request's end that were no body.
        self._spent = 0
        # Since when a request is waited for, and for how long.
        self._since: float | None = self.loop.time()
        self._patience = HEAD_SECONDS
        self._unsent, self._stalled = 0, 0.0
        self._watch = self.loop.call_later(LOOK_SECONDS, self._look)
        client = self.client[0] if self.client else None
        if client is not None and not trusted(client, self.config):
            self._network = network_of(client)
            held = _HELD.setdefault(self.server_state, Counter())
            held[self._network] += 1
            if held[self._network] > MAX_OF_NETWORK:
                self._end(problems.too_many_connections())

    def connection_lost(self, exc: Exception | None) -> None:
        """End all that is under way for it."""
        super().connection_lost(exc)
        if self._asked is not None:
            self._asked.by, self._asked = None, None
        if self._watch is not None:
            self._watch.cancel()
        if self._network is not None:
            held = _HELD[self.server_state]
            held[self._network] -= 1
            if not held[self._network]:
                del held[self._network]
            self._network = None
        # uvicorn tells only the newest request, which waits behind the one that is answered.
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _look(self) -> None:
        """Give up who keeps us waiting."""
        if self._since is not None and self.loop.time() - self._since > self._patience:
            self.transport.abort()
            return
        unsent = self.transport.get_write_buffer_size()
        self._stalled = self._stalled + LOOK_SECONDS if unsent and unsent == self._unsent else 0.0
        self._unsent = unsent
        if self._stalled >= STALL_SECONDS:
            self.transport.abort()
            return
        self._watch = self.loop.call_later(LOOK_SECONDS, self._look)

    # -- requests ----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Read on, within the bounds."""
        if self.transport.is_closing():
            return
        if self._since is None:
            # Also after line ends alone, which begin no request and end uvicorn's own waiting.
            self._since, self._patience = self.loop.time(), HEAD_SECONDS
        self._spent += len(data)
        super().data_received(data)
        if self._spent > MAX_HEAD and not self.transport.is_closing():
            self._end(problems.too_long_head(MAX_HEAD))

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._asked is not None:
            self.inside()  # the other waits behind it, as uvicorn lets it wait
        self._since, self._patience = self.loop.time(), HEAD_SECONDS
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._patience = BODY_SECONDS
        if self._front is not None and self._may_ask():
            path, _, query = self.url.partition(b"?")
            self._asked = self._front.take(self, (path.decode("latin-1"), query), self.headers)
            if self._asked is not None:
                return
        if sum(name == b"host" for name, _ in self.headers) > 1:
            # Of two, a proxy may have gone by the other. The parser makes a 400 of it.
            raise ValueError("several Host headers")
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        """A part of its body is there."""
        self._spent -= len(body) + len(body) // _FRAMING
        super().on_body(body)

    def on_message_complete(self) -> None:
        """It is whole."""
        self._since, self._spent = None, 0
        if self._asked is None:
            super().on_message_complete()

    # -- answers from memory -----------------------------------------------------------------------

    def _may_ask(self) -> bool:
        """Whether it is the only request under way, and its answer needs no more than writing."""
        parser, most = self.parser, self.limit_concurrency
        return (
            (self.cycle is None or self.cycle.response_complete)
            and parser.get_method() == b"GET"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            # Elsewhere decoded, and not looked for under what it is before.
            and b"%" not in self.url
            and (most is None or max(len(self.connections), len(self.tasks)) < most)
        )

    def answer(self, rest: bytes) -> bool:
        """Send an answer from memory, unless the client has to read others first."""
        if self.flow.write_paused or self.transport.is_closing():
            return False
        self._asked = None
        given = self.server_state.default_headers
        if given is not self._given:
            self._given, self._opening = given, b"HTTP/1.1 200 OK\r\n" + header_lines(given)
        self.transport.write(self._opening + rest)
        self.on_response_complete()
        return True

    def inside(self) -> None:
        """Let the application answer: the parser has read nothing after what was asked."""
        asked, self._asked = self._asked, None
        if asked is None:
            return
        asked.by = None
        if not self.transport.is_closing():
            super().on_headers_complete()
            super().on_message_complete()

    def shutdown(self) -> None:
        """Answer what is under way, and end."""
        self.inside()
        super().shutdown()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered as all failures are, and ends the connection."""
        self._end(problems.not_http(msg))

    def _end(self, answer: Response) -> None:
        waiting = self._running is not None and not self._running.response_complete
        if waiting or self._asked is not None:
            self.transport.abort()  # an answer in the middle of another would be part of it
            return
        headers = [*answer.raw_headers, *HEADERS, (b"connection", b"close")]
        head = header_lines(headers)
        line = b"HTTP/1.1 %d %s\r\n" % (answer.status_code, problems.phrase(answer))
        self.transport.write(line + head + b"\r\n" + bytes(answer.body))
        self.transport.close()


def trusted(address: str, config: Config) -> bool:
    """Whether many clients may stand behind an address: this machine, or a named proxy."""
    named = config.forwarded_allow_ips
    words = named.split(",") if isinstance(named, str) else named
    return any(word.strip() == "*" or _within(address, word.strip()) for word in words)


def _within(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
