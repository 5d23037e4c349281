"""Reading requests strictly: no query parameter that the route does not know, no JSON that is none.

A misspelt `holder` would be a yes about anyone, and a misspelt filter a list of everything. Bodies
are read as strictly as the library reads files: bounded depth, no key twice, no NaN.

Python's own scanner recurses on the C stack as deep as the recursion limit says, and libraries for
chains raise that to 100,000: where one is loaded, a body of brackets would end the process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any, Final, get_args

from fastapi import Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Path, Query
from fastapi.routing import APIRoute

from api import problems
from api.forms import WHOLE
from ledger.canonical import parse_json
from ledger.errors import FormatError

_WHOLE: Final = re.compile(WHOLE)


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
    """A route that takes what it describes, and nothing else.

    A query with an unknown parameter, or one twice, is answered with 422, as is a number in another
    form than the one that it is answered in (+1, 01, 1.0), and a body that is not strict JSON with
    400. None of our parameters is a list: a second value would be lost.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, given a request that reads strictly."""
        handle = super().get_route_handler()
        fields = get_flat_params(self.dependant)
        known = frozenset(each.alias for each in fields if isinstance(each.field_info, Query))
        whole = frozenset(each.alias for each in fields if _is_whole(each.field_info))

        async def strictly(request: Request) -> Response:
            if request.scope["query_string"]:
                _refuse_unknown(request, known)
            if whole:
                _refuse_other_forms(request, whole)
            return await handle(_StrictRequest(request.scope, request.receive))

        return strictly


def _is_whole(info: Any) -> bool:
    number = int in (info.annotation, *get_args(info.annotation))
    return number and isinstance(info, Path | Query)


def _refuse_other_forms(request: Request, whole: frozenset[str]) -> None:
    """Let only numbers pass that are written as they are answered: the framework takes more.

    Raises:
        RequestValidationError: of others; answered with 422.
    """
    given = [("path", name, str(text)) for name, text in request.path_params.items()]
    given += [("query", name, text) for name, text in request.query_params.items()]
    faults = [
        {
            "loc": (where, name),
            "msg": "it is not a whole number in digits alone, without leading zeros",
        }
        for where, name, text in given
        if name in whole and not _WHOLE.fullmatch(text)
    ]
    if faults:
        raise RequestValidationError(faults)


def _refuse_unknown(request: Request, known: frozenset[str]) -> None:
    """Let only known parameters pass, each once.

    Raises:
        RequestValidationError: of others; answered with 422.
    """
    given = [name for name, _ in request.query_params.multi_items()]
    if known.issuperset(given) and len(given) == len(set(given)):
        return
    there = f"there are {', '.join(sorted(known))}" if known else "there are none here"
    faults = [
        {"loc": ("query", name), "msg": f"there is no such parameter; {there}"}
        for name in dict.fromkeys(given)
        if name not in known
    ]
    faults += [
        {"loc": ("query", name), "msg": "it is given more than once"}
        for name in sorted(known)
        if given.count(name) > 1
    ]
    raise RequestValidationError(faults)
