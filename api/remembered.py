"""Routes whose answers are kept in memory, and taken from there before anything is worked out.

The front takes most of them earlier. Here come those that had to pass the layers in between:
credentials, and limits where they are set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response

from api import problems
from api.memory import BATCH, Key, Memory, Page, around_lag
from api.security import completed
from api.strict import StrictRoute
from ledger.errors import LedgerError
from ledger.index.watching import Mark

_MOST_BYTES: Final = 1 << 20
_CREDENTIALS: Final = ("authorization", "cookie")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Remembered(StrictRoute):
    """A strict route that looks into the application's memory first, and keeps what it may."""

    def get_route_handler(self) -> Handler:
        """The handler, and memory around it."""
        work = super().get_route_handler()
        if self.path == BATCH:
            return _following(work)
        if self.methods != {"GET"}:
            return work
        path = self.path

        async def handle(request: Request) -> Response:
            memory: Memory | None = getattr(request.app.state, "memory", None)
            if memory is None:
                return await work(request)
            scope = request.scope
            key = (scope["path"], scope["query_string"])
            if "if-none-match" not in request.headers:
                kept = await _kept(memory, key)
                if kept is not None:
                    return kept
            response = await work(request)
            basis = scope["state"].get("basis")
            if basis is not None and not any(name in request.headers for name in _CREDENTIALS):
                _keep(memory, key, basis, response, path)
            return response

        return handle


def _following(work: Handler) -> Handler:
    """Let memory stand where the index does first, so that it can keep what the route finds."""

    async def handle(request: Request) -> Response:
        memory: Memory | None = getattr(request.app.state, "memory", None)
        if memory is not None:
            with contextlib.suppress(LedgerError):  # the route says so in its own words
                memory.now() or await memory.present()
        return await work(request)

    return handle


async def _kept(memory: Memory, key: Key) -> Response | None:
    try:
        present = memory.now() or await memory.present()
    except LedgerError:
        return None  # the route says so in its own words
    found = memory.kept(key, present)
    if found is None:
        return None
    response = Response(found.body(present))
    response.raw_headers += found.headers
    return response


def _keep(
    memory: Memory, key: Key, basis: tuple[Mark, float], response: Response, route: str
) -> None:
    """Keep a page. Only what has a validator is one, and only what anyone may read."""
    body = response.body
    if response.status_code != problems.OK or "etag" not in response.headers:
        return
    parts = around_lag(bytes(body)) if len(body) <= _MOST_BYTES else None
    if parts is not None:
        mark, stale_s = basis
        headers = completed(pair for pair in response.raw_headers if pair[0] != b"content-length")
        memory.put_page(key, Page(*parts, stale_s, headers, route), mark)
