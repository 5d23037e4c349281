"""Idempotency keys, for every authenticated write: one plain ASGI layer inside `api.access.Access`.

What a name stands for is decided in `ledger.access.once`, by docs/spec/idempotency.md. An answer is
written down before it is sent, so that whoever did not get it gets it by asking again.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, cast

import structlog
from fastapi import Depends, Header
from starlette.exceptions import HTTPException

from api import problems
from api.access import SAFE
from api.asgi import App, Message, Receive, Scope, Send, again
from api.lanes import lanes_of
from ledger.access.once import MAX_ANSWER, PATTERN, Attempt, Named, OnceStore, parse_name
from ledger.access.principals import Principal
from ledger.access.tokens import Token
from ledger.errors import LedgerError

HEADER: Final = b"idempotency-key"
_REPLAYED: Final = (b"idempotency-replayed", b"true")
_BODY_SECONDS: Final = 120.0

log = structlog.get_logger("api")


def _described(
    idempotency_key: Annotated[
        str,
        Header(
            pattern=f"^({PATTERN})?$",
            description="makes a repeat of this request get the first one's answer, for 24 h "
            "(docs/spec/idempotency.md)",
        ),
    ] = "",
) -> None:
    """A dependency that only says, in the description of a route, that it knows the header."""
    del idempotency_key


described: Final = Depends(_described)


class Route:
    """The route of an answer that is given again, for the log, the metrics and the audit log."""

    def __init__(self, path: str) -> None:
        self.path = path


class Once:
    """Serves a request that has an idempotency key at most once.

    Args:
        app: the application inside.
        limit: bytes that the body of such a request may have.
    """

    def __init__(self, app: App, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in SAFE:
            await self._app(scope, receive, send)
            return
        values = [value for name, value in scope["headers"] if name == HEADER]
        token = cast("Token | None", scope.get("state", {}).get("token"))
        if not values or token is None:
            await self._app(scope, receive, send)
            return
        try:
            # (1) The name. (3) What the request is.
            name = parse_name(values)
            body = await self._body(receive)
            if body is None:
                await problems.too_large_answer(self._limit)(scope, receive, send)
                return
            parts = (scope["method"], scope["path"], scope["query_string"].decode("latin-1"))
            request = Named.of(token, name, *(part.encode() for part in parts), body)
            state = scope["app"].state
            begun = await lanes_of(state).access.run(_store(state).begin, request)
            # (5) The answer it had, to whoever may still do what was asked.
            kept = _read(begun, scope) if isinstance(begun, bytes) else ()
        except LedgerError as error:
            await problems.of_error(error)(scope, receive, send)
            return
        except HTTPException as error:
            await problems.of_http(error)(scope, receive, send)
            return
        for message in kept:
            await send(message)
        if isinstance(begun, Attempt):
            # (6) Served now.
            await self._serve(scope, again(body, receive), send, begun)

    async def _body(self, receive: Receive) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        async with problems.body_deadline(_BODY_SECONDS):
            while True:
                message = await receive()
                part = message.get("body", b"")
                size += len(part)
                if size > self._limit:
                    return None
                parts.append(part)
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return b"".join(parts)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, attempt: Attempt) -> None:
        held: list[Message] = []
        size = 0
        told = False

        async def hold(message: Message) -> None:
            nonlocal size, told
            if told:
                await send(message)
                return
            held.append(message)
            size += len(message.get("body", b""))
            begins = message["type"] == "http.response.start"
            if size <= MAX_ANSWER and (begins or message.get("more_body", False)):
                return
            told = True
            await self._settle(scope, attempt, held if size <= MAX_ANSWER else [])
            for each in held:
                await send(each)

        try:
            await self._app(scope, receive, hold)
        except Exception:
            if not told:
                await self._settle(scope, attempt, [])
            raise

    async def _settle(self, scope: Scope, attempt: Attempt, held: list[Message]) -> None:
        """Keep an answer of success, or free the name."""
        state = scope["app"].state
        store, lane = _store(state), lanes_of(state).access
        try:
            if held and problems.succeeded(held[0]["status"]):
                await lane.run(store.end, attempt, _written(held, scope))
            else:
                await lane.run(store.free, attempt)
        except LedgerError as error:
            # The name stays taken until its time is over: a repeat is refused, not done twice.
            log.warning("an answer was not kept", code=error.code)


def _store(state: Any) -> OnceStore:
    access = state.access
    return OnceStore(access.engine, access.now)


def _written(held: list[Message], scope: Scope) -> bytes:
    start = held[0]
    head = {
        "status": start["status"],
        "headers": [[n.decode("latin-1"), v.decode("latin-1")] for n, v in start["headers"]],
        "route": getattr(scope.get("route"), "path", "unknown"),
        "needed": sorted(scope["state"]["principal"].needed),
    }
    body = b"".join(each.get("body", b"") for each in held[1:])
    return json.dumps(head).encode() + b"\n" + body


def _read(kept: bytes, scope: Scope) -> tuple[Message, Message]:
    """The answer that was kept.

    Raises:
        ScopeMissing, SignInTooOld: who asks may not do what was asked any more.
    """
    first, _, body = kept.partition(b"\n")
    head = json.loads(first)
    scope["route"] = Route(head["route"])
    who: Principal = scope["state"]["principal"]
    who.need_again(head.get("needed", ()), scope["app"].state.access.now())
    headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in head["headers"]]
    return (
        {"type": "http.response.start", "status": head["status"], "headers": [*headers, _REPLAYED]},
        {"type": "http.response.body", "body": body},
    )
