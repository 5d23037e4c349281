"""Reading JSON bodies as strictly as the library reads files: bounded depth, no key twice, no NaN.

Python's own scanner recurses on the C stack as deep as the recursion limit says, and libraries for
chains raise that to 100,000: where one is loaded, a body of brackets would end the process.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api import problems
from ledger.canonical import parse_json
from ledger.errors import FormatError


class _StrictRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            try:
                self._json = parse_json(await self.body(), what="the body")
            except FormatError as error:
                # As it is, the framework would say that there was an error, and not which.
                raise problems.bad_request(error.message) from None
        return self._json


class StrictRoute(APIRoute):
    """A route whose JSON body is read strictly; what is not strict JSON is answered with 400."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, given a request that reads strictly."""
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strictly
