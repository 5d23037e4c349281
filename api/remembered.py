"""Answers from memory for whoever had to pass the layers in between, and what is kept there.

The front takes most of them earlier. Credentials, and limits where they are set, are looked at
inside it: then `Kept` answers, before anything is routed. Routes of the class `Remembered` put in
what they found.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response

from api import problems
from api.asgi import App, Receive, Scope, Send
from api.direct import Described
from api.memory import BATCH, Key, Memory, Page, around_lag
from api.security import completed
from api.strict import StrictRoute
from ledger.index.watching import Mark

_OK: Final = int(problems.OK)
_MOST_BYTES: Final = 1 << 20
SCOPED: Final = frozenset({"/v1/licensors/{licensor}/statistics"})
"""Routes of which a key needs a scope (`api.asking.allow`)."""
_CREDENTIALS: Final = ("authorization", "cookie")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Kept:
    """Innermost layer: answers what memory holds, and lets `app` answer the rest.

    Args:
        app: the routes.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        memory: Memory | None = None
        if scope["type"] == "http" and scope["method"] == "GET":
            memory = getattr(scope["app"].state, "memory", None)
        if memory is None or not memory.has(key := (scope["path"], scope["query_string"])):
            await self._app(scope, receive, send)
            return
        moment = found = None
        if not any(name == b"if-none-match" for name, _ in scope["headers"]):
            moment = await memory.moment()
            found = None if moment is None else memory.kept(key, moment)
        if found is None or moment is None or _is_for_some(found.route, scope):
            await self._app(scope, receive, send)
            return
        scope["route"] = Described(found.route)
        body = found.body(moment)
        headers = [(b"content-length", b"%d" % len(body)), *found.headers]
        await send({"type": "http.response.start", "status": _OK, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _is_for_some(route: str, scope: Scope) -> bool:
    """Whether what anyone may read is read here with a credential, whose scope the route asks."""
    return route in SCOPED and scope.get("state", {}).get("principal") is not None


class Remembered(StrictRoute):
    """A strict route whose answers are kept, where they may be."""

    def get_route_handler(self) -> Handler:
        """The handler, and keeping around it."""
        work = super().get_route_handler()
        if self.path != BATCH and self.methods != {"GET"}:
            return work
        path = self.path

        async def handle(request: Request) -> Response:
            memory: Memory | None = getattr(request.app.state, "memory", None)
            if memory is None:
                return await work(request)
            # It must stand where the index does to keep what the route finds.
            await memory.moment()
            response = await work(request)
            scope = request.scope
            basis = scope["state"].get("basis")
            if basis is not None and not any(name in request.headers for name in _CREDENTIALS):
                _keep(memory, (scope["path"], scope["query_string"]), basis, response, path)
            return response

        return handle


def _keep(
    memory: Memory, key: Key, basis: tuple[Mark, float], response: Response, route: str
) -> None:
    """Keep a page. Only what has a validator is one, and only what anyone may read."""
    body = response.body
    if response.status_code != _OK or "etag" not in response.headers:
        return
    parts = around_lag(bytes(body)) if len(body) <= _MOST_BYTES else None
    if parts is not None:
        mark, stale_s = basis
        headers = completed(pair for pair in response.raw_headers if pair[0] != b"content-length")
        memory.put_page(key, Page(*parts, stale_s, headers, route), mark)
