"""Errors as HTTP answers (RFC 9457). The only place of this project with HTTP status codes.

Every failure is ``application/problem+json`` with a stable `code` and a `hint`; none carries a
traceback or a path of this machine. The first row of `STATUSES` that fits an error's class decides.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from api import hints
from api.forms import WORDS
from ledger.errors import (
    AccessError,
    AllowanceTooSmall,
    ChainError,
    ConfigurationError,
    ContractReverted,
    EndpointsDisagree,
    EntitlementError,
    FormatError,
    IndexDamaged,
    InsufficientFunds,
    KeyAccessError,
    KeyRequestRejected,
    LedgerError,
    LimitExceeded,
    ModelError,
    NotAuthenticated,
    NotOnSale,
    PendingFinality,
    RateLimited,
    Reorganised,
    RequestUnderWay,
    ScopeMissing,
    SignInRefused,
    SignInTooOld,
    TransactionNotTaken,
    UnavailableError,
    UnknownRecord,
    UsageError,
    VerificationError,
    WrongNetwork,
)

MEDIA_TYPE = "application/problem+json"

STATUSES: tuple[tuple[type[LedgerError], HTTPStatus], ...] = (
    (UnknownRecord, HTTPStatus.NOT_FOUND),
    (UsageError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (IndexDamaged, HTTPStatus.SERVICE_UNAVAILABLE),
    (ConfigurationError, HTTPStatus.INTERNAL_SERVER_ERROR),
    (LimitExceeded, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (FormatError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (VerificationError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (EntitlementError, HTTPStatus.FORBIDDEN),
    (KeyAccessError, HTTPStatus.FORBIDDEN),
    (NotAuthenticated, HTTPStatus.UNAUTHORIZED),
    (SignInRefused, HTTPStatus.UNAUTHORIZED),
    (AccessError, HTTPStatus.FORBIDDEN),
    (PendingFinality, HTTPStatus.CONFLICT),
    (Reorganised, HTTPStatus.CONFLICT),
    (ContractReverted, HTTPStatus.CONFLICT),
    (TransactionNotTaken, HTTPStatus.CONFLICT),
    (InsufficientFunds, HTTPStatus.CONFLICT),
    (NotOnSale, HTTPStatus.CONFLICT),
    (AllowanceTooSmall, HTTPStatus.CONFLICT),
    (EndpointsDisagree, HTTPStatus.SERVICE_UNAVAILABLE),
    (WrongNetwork, HTTPStatus.SERVICE_UNAVAILABLE),
    (ChainError, HTTPStatus.BAD_GATEWAY),
    (RateLimited, HTTPStatus.TOO_MANY_REQUESTS),
    (RequestUnderWay, HTTPStatus.CONFLICT),
    (UnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ModelError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (LedgerError, HTTPStatus.INTERNAL_SERVER_ERROR),
)

CREATED = HTTPStatus.CREATED
ACCEPTED = HTTPStatus.ACCEPTED
NO_CONTENT = HTTPStatus.NO_CONTENT
CONFLICT = HTTPStatus.CONFLICT
OK = HTTPStatus.OK
NOT_MODIFIED = HTTPStatus.NOT_MODIFIED
BUG = HTTPStatus.INTERNAL_SERVER_ERROR
NOT_READY = HTTPStatus.SERVICE_UNAVAILABLE
TOO_LARGE = int(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

_EXTRA = (
    "since",
    "remedy",
    "number",
    "check",
    "step",
    "scope",
    "max_age",
    "retry_after",
    "error_name",
    "arguments",
)
_NAME: Final = 64
_BROKER: Final = "/v1/broker/"
_PATTERN: Final = "string_pattern_mismatch"
_HINTS = {
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "send fewer or shorter headers",
    HTTPStatus.BAD_REQUEST: "a body is one JSON document: no member twice, no NaN, not too deep",
    HTTPStatus.NOT_FOUND: "the paths are listed in /v1/openapi.json",
    HTTPStatus.METHOD_NOT_ALLOWED: "the Allow header names the methods of this path",
    HTTPStatus.REQUEST_TIMEOUT: "send it again over a faster connection",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "send less in one request",
    HTTPStatus.MISDIRECTED_REQUEST: "add the host to DEED_API_ALLOWED_HOSTS if it is meant",
}


def succeeded(status: int) -> bool:
    """Whether an answer says that what was asked was done."""
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


class NotModified(Exception):
    """The caller's copy is still good."""

    def __init__(self, etag: str) -> None:
        super().__init__(etag)
        self.etag = etag


def status_of(error: LedgerError) -> HTTPStatus:
    """The HTTP status of an error's class."""
    return next(status for kind, status in STATUSES if isinstance(error, kind))


def problem(
    status: HTTPStatus,
    code: str,
    title: str,
    detail: str,
    *,
    hint: str = "",
    headers: dict[str, str] | None = None,
    **members: Any,
) -> Response:
    """A problem+json answer; `members` are added as extension members."""
    body = {
        "type": f"urn:modeldeed:problem:{code.lower().replace('_', '-')}",
        "title": title,
        "status": int(status),
        "detail": detail,
        "code": code,
        "hint": hint,
        **members,
    }
    return JSONResponse(body, status_code=int(status), media_type=MEDIA_TYPE, headers=headers)


def of_status(
    status: HTTPStatus, *, detail: str = "", headers: dict[str, str] | None = None
) -> Response:
    """A problem that HTTP itself names, such as 404 or 413."""
    code = re.sub(r"\W+", "_", status.phrase).upper()
    return problem(
        status,
        code,
        status.phrase,
        detail or status.description or status.phrase,
        hint=_HINTS.get(status, ""),
        headers=headers,
    )


def of_error(error: LedgerError, *, commands: bool = False) -> Response:
    """The answer to a failure of this project's own tree.

    Args:
        error: the failure.
        commands: whether its hint may name commands: a broker's callers are runtimes that have
            them, and show it to people.
    """
    status = status_of(error)
    headers = {}
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers["Retry-After"] = str(max(1, round(retry_after)))
    if status == HTTPStatus.UNAUTHORIZED or isinstance(error, ScopeMissing):
        headers["WWW-Authenticate"] = _challenge(error)
    members = {
        name: _plain(value)
        for name in _EXTRA
        if (value := getattr(error, name, None)) is not None and value != ""
    }
    if isinstance(error, KeyRequestRejected) and not error.check:
        members.pop("check", None)
    # A contract's errors have no sentence of their own: that of the class above them in the tree.
    kind = next(each for each in type(error).__mro__ if each.__module__ == LedgerError.__module__)
    title = (kind.__doc__ or "").strip().partition("\n")[0].rstrip(".") or error.code
    hint = hints.plain(error) if commands else hints.over_http(error)
    if not commands and "remedy" in members:
        members["remedy"] = hint  # the same sentence
    return problem(status, error.code, title, error.message, hint=hint, headers=headers, **members)


def _challenge(error: LedgerError) -> str:
    """What RFC 6750 asks for: how to authenticate, and what is wrong with what was sent."""
    if isinstance(error, ScopeMissing):
        return f'Bearer realm="modeldeed", error="insufficient_scope", scope="{error.scope}"'
    if isinstance(error, SignInTooOld):  # RFC 9470
        said = 'error="insufficient_user_authentication"'
        return f'Bearer realm="modeldeed", {said}, max_age={error.max_age}'
    if type(error) is NotAuthenticated:
        return 'Bearer realm="modeldeed"'
    return 'Bearer realm="modeldeed", error="invalid_token"'


def of_http(error: HTTPException) -> Response:
    """The answer to a failure of HTTP itself."""
    status = HTTPStatus(error.status_code)
    detail = error.detail if status is HTTPStatus.BAD_REQUEST else ""
    return of_status(status, detail=detail, headers=dict(error.headers or {}))


def misdirected() -> Response:
    """The answer to a request under a host name that is not ours."""
    return of_status(HTTPStatus.MISDIRECTED_REQUEST, detail="this service has another host name")


def bad_request(detail: str) -> HTTPException:
    """What a route raises at a body that is not strict JSON; `detail` is all that is told."""
    return HTTPException(HTTPStatus.BAD_REQUEST, detail=detail)


def too_large_answer(limit: int) -> Response:
    """The answer to a body beyond `limit` bytes."""
    return of_status(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail=f"a body here has at most {limit} bytes"
    )


def too_long_head(limit: int) -> Response:
    """The answer to a request whose line and headers have more than `limit` bytes."""
    return of_status(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail=f"a head here has at most {limit} bytes"
    )


def not_http(detail: str) -> Response:
    """The answer to bytes that are no HTTP request."""
    status = HTTPStatus.BAD_REQUEST
    hint = "send HTTP/1.1 as RFC 9112 has it"
    return problem(status, "BAD_REQUEST", status.phrase, detail, hint=hint)


def too_many_connections() -> Response:
    """The answer to a network that has as many connections as it may."""
    return of_status(
        HTTPStatus.SERVICE_UNAVAILABLE,
        detail="this network has as many connections as one may have",
        headers={"Retry-After": "5"},
    )


def phrase(answer: Response) -> bytes:
    """The words of an answer's status line."""
    return HTTPStatus(answer.status_code).phrase.encode()


@asynccontextmanager
async def body_deadline(seconds: float) -> AsyncIterator[None]:
    """Bounds how long a body may take to arrive.

    Raises:
        HTTPException: it took longer; answered with 408.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT) from None


def internal_error(request_id: str) -> Response:
    """The answer to our own bug: nothing about its inside."""
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "INTERNAL_ERROR",
        "Internal error",
        "the service failed; nothing was decided",
        hint="report it with this request id",
        request_id=request_id,
    )


def install(app: FastAPI) -> None:
    """Let `app` answer every failure this way."""

    @app.exception_handler(LedgerError)
    async def on_ledger_error(request: Request, error: LedgerError) -> Response:
        return of_error(error, commands=request.url.path.startswith(_BROKER))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        return _invalid(error, request)

    @app.exception_handler(HTTPException)
    async def on_http(_: Request, error: HTTPException) -> Response:
        return of_http(error)

    @app.exception_handler(Exception)
    async def on_bug(request: Request, _: Exception) -> Response:
        return internal_error(request.scope.get("state", {}).get("request_id", ""))

    @app.exception_handler(NotModified)
    async def on_not_modified(_: Request, found: NotModified) -> Response:
        return Response(status_code=int(NOT_MODIFIED), headers={"ETag": found.etag})


def _invalid(error: RequestValidationError, request: Request) -> Response:
    # Where and what, but not the value: it may be long, or a secret in the wrong place.
    faults = [
        {
            # A name that the caller made up may be long, too.
            "where": ".".join(str(part)[:_NAME] for part in fault["loc"]),
            "what": _what(fault, request),
        }
        for fault in _plainly(error.errors())[:20]
    ]
    first = faults[0] if faults else {"where": "request", "what": "invalid"}
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "INVALID_REQUEST",
        "The request does not fit its description",
        f"{first['where']}: {first['what']}",
        hint="the parameters are described in /v1/openapi.json",
        errors=faults,
    )


def _plainly(faults: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a member that takes a number or a text, what is wrong with the text that was given."""
    texts = {
        fault["loc"][:-1]
        for fault in faults
        if fault.get("type") == _PATTERN and fault["loc"][-1] == "constrained-str"
    }
    return [
        {**fault, "loc": fault["loc"][:-1]} if fault["loc"][:-1] in texts else fault
        for fault in faults
        if fault.get("type") == _PATTERN or fault["loc"][:-1] not in texts
    ]


def _what(fault: dict[str, Any], request: Request) -> str:
    """What is wrong, in words of ours where the framework's mislead."""
    if fault.get("type") == "extra_forbidden":
        body = getattr(request.scope.get("route"), "body_field", None)
        shape = None if body is None else body.field_info.annotation
        members = getattr(shape, "model_fields", {})
        if len(fault["loc"]) > len(("body", "name")) or not members:
            return "there is no such member"
        names = sorted(field.alias or name for name, field in members.items())
        return f"there is no such member; there are {', '.join(names)}"
    if tuple(fault["loc"]) == ("body",) and fault.get("type") != "missing":
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            return "it is read as JSON only where the request says content-type: application/json"
    if fault.get("type") == _PATTERN:
        words = WORDS.get(fault["ctx"]["pattern"])
        return f"it is not {words}" if words else "it has another form than is described"
    return str(fault["msg"])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | float | str):
        return value
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "a failure (RFC 9457); further members by `code`",
    "required": ["type", "title", "status", "detail", "code", "hint"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "one sentence: what is wrong"},
        "code": {
            "type": "string",
            "description": "stable name of the failure, for programs",
            "examples": ["UNKNOWN_RECORD", "SCOPE_MISSING", "INVALID_REQUEST"],
        },
        "hint": {"type": "string", "description": "one sentence: the way out"},
    },
}


def described(*statuses: HTTPStatus | int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the failures that a route may answer with."""
    return {
        int(status): {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": SCHEMA}},
        }
        for status in statuses
    }


def name_of(status: HTTPStatus) -> str:
    """A status as the OpenAPI document names it."""
    return str(int(status))


def headers_of(status: str) -> list[str]:
    """Names of the headers that an answer of this status may carry beyond those of all answers."""
    later = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    if status in map(name_of, later):
        return ["Retry-After"]
    refused = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    return ["WWW-Authenticate"] if status in map(name_of, refused) else []


READ_FAILURES = described(
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
) | {int(NOT_MODIFIED): {"description": "the copy named by If-None-Match is still good"}}
WRITE_FAILURES = described(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
NAME_FAILURES = described(HTTPStatus.UNPROCESSABLE_ENTITY)
SCOPE_FAILURES = described(HTTPStatus.FORBIDDEN)
ACCESS_FAILURES = READ_FAILURES | WRITE_FAILURES
