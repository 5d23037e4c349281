"""Requests to a service: bounded answers, repeats where those are safe, copies that are still good.

A read is repeated when the connection fails or the service is busy. A write is too where it has an
idempotency key (docs/spec/idempotency.md), which it gets by itself with a credential.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self

import httpx

from ledger.canonical import parse_json
from ledger.client.failures import failure
from ledger.errors import FormatError, IndexUnavailable, LedgerError, UsageError
from ledger.loopback import is_loopback
from ledger.remote.bodies import ACCEPTED, authorities, pieces
from ledger.remote.web import WebAddress

MAX_REPLY: Final = 64 << 20
TRIES: Final = 4
MAX_PAUSE: Final = 30.0
_COPIES: Final = 128
_DRIPPING: Final = 4
"""So many times the wait on the network, a whole body may take."""
_MAX_COPY: Final = 256 << 10
_BUSY: Final = frozenset({429, 502, 503, 504})

Params = Mapping[str, str | int | None]


class Connection:
    """One service at one URL. Thread-safe; connections are kept alive.

    Attributes:
        origin: scheme, host and port.

    Args:
        url: base URL, ``https://host``.
        credential: an API key or session token; it goes to this service alone, and is not shown.
        timeout: seconds for one wait on the network.
        tries: of one request, where it may be repeated.
        pause: waits so many seconds.

    Raises:
        UsageError: not an http:// or https:// URL.
    """

    def __init__(
        self,
        url: str,
        *,
        credential: str | None = None,
        timeout: float = 30.0,
        tries: int = TRIES,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        address = WebAddress.parse(url)
        if address is None:
            raise UsageError("a service is given as an http:// or https:// URL")
        scheme = address.parts.scheme
        self.origin = f"{scheme}://{address.parts.netloc.rpartition('@')[2]}"
        near = is_loopback(address.host)
        self._open = scheme == "http" and not near
        self._credential: str | None = None
        self._seconds = timeout
        self._tries, self._pause = max(1, tries), pause
        self._copies: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            timeout=timeout,
            follow_redirects=False,
            headers=ACCEPTED,
            trust_env=not near,
            verify=authorities(),
        )
        self.use(credential)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.origin!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def use(self, credential: str | None) -> None:
        """Send this API key or session token from now on.

        Raises:
            UsageError: it would travel readable by everyone on the way.
        """
        if credential is not None and self._open:
            raise UsageError(
                "a credential is not sent over http:// to another machine", hint="use https://"
            )
        with self._lock:
            self._credential = credential
            self._copies.clear()

    # -- requests --------------------------------------------------------------------------------

    def get(self, path: str, params: Params | None = None) -> Any:
        """The JSON of a read.

        Raises:
            LedgerError: of the class that the service's problem names.
            IndexUnavailable: it does not answer, or not with JSON.
        """
        given = {name: value for name, value in (params or {}).items() if value is not None}
        request = self._request("GET", path, params=given)
        key = str(request.url)
        with self._lock:
            copy = self._copies.get(key)
        if copy is not None:
            request.headers["if-none-match"] = copy[0]
        reply, body = self._exchange(request, repeat=True)
        if reply.status_code == httpx.codes.NOT_MODIFIED and copy is not None:
            return _json(copy[1])
        etag = reply.headers.get("etag")
        if etag is not None and len(body) <= _MAX_COPY:
            with self._lock:
                self._copies[key] = (etag, body)
                while len(self._copies) > _COPIES:
                    self._copies.popitem(last=False)
        return _json(body)

    def write(self, method: str, path: str, body: Any = None, *, once: str | None = None) -> Any:
        """The JSON of a write, None where it has none.

        Args:
            method: POST, DELETE and so on.
            path: of the service.
            body: sent as JSON.
            once: its idempotency key; by default one of its own, where there is a credential.

        Raises:
            LedgerError, IndexUnavailable: as `get`.
        """
        request = self._request(method, path, json=body)
        if self._credential is not None:
            request.headers["idempotency-key"] = f'"{once or secrets.token_hex(16)}"'
        elif once is not None:
            raise UsageError("an idempotency key belongs to a credential", hint="sign in first")
        _, answer = self._exchange(request, repeat=self._credential is not None)
        return _json(answer) if answer else None

    @contextmanager
    def streamed(
        self, path: str, params: Params | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """A read whose body the caller takes piece by piece; `ledger.remote.bodies.pieces`.

        Raises:
            LedgerError, IndexUnavailable: as `get`, also while it is read.
        """
        given = {name: value for name, value in (params or {}).items() if value is not None}
        request = self._request("GET", path, params=given, headers=dict(headers or {}))
        try:
            reply = self._http.send(request, stream=True)
            try:
                if not reply.is_success:
                    raise _failed(reply, self._bounded(reply))
                yield reply
            finally:
                reply.close()
        except httpx.HTTPError as error:
            raise self._silent(error) from None

    def _request(self, method: str, path: str, **given: Any) -> httpx.Request:
        request = self._http.build_request(method, path, **given)
        if self._credential is not None:
            request.headers["authorization"] = f"Bearer {self._credential}"
        return request

    def _exchange(self, request: httpx.Request, *, repeat: bool) -> tuple[httpx.Response, bytes]:
        left = self._tries if repeat else 1
        wait = 0.2
        while True:
            left -= 1
            try:
                reply = self._http.send(request, stream=True)
                try:
                    body = self._bounded(reply)
                finally:
                    reply.close()
            except httpx.HTTPError as error:
                told: LedgerError = self._silent(error)
                asked = 0.0
            else:
                if reply.is_success or reply.status_code == httpx.codes.NOT_MODIFIED:
                    return reply, body
                told = _failed(reply, body)
                asked = getattr(told, "retry_after", 0.0)
                if reply.status_code not in _BUSY and told.code != "REQUEST_UNDER_WAY":
                    raise told
            if left <= 0:
                raise told
            self._pause(min(MAX_PAUSE, max(wait, asked)))
            wait *= 2

    def _silent(self, error: httpx.HTTPError) -> IndexUnavailable:
        return IndexUnavailable(f"{self.origin} does not answer: {type(error).__name__}")

    def _bounded(self, reply: httpx.Response) -> bytes:
        """The whole body.

        Raises:
            IndexUnavailable: it is longer than any answer, or drips.
        """
        found, end = bytearray(), time.monotonic() + _DRIPPING * self._seconds
        for piece in pieces(reply):
            found += piece
            if len(found) > MAX_REPLY or time.monotonic() > end:
                raise IndexUnavailable(f"{self.origin} answers with too much, or too slowly")
        return bytes(found)


def _failed(reply: httpx.Response, body: bytes) -> LedgerError:
    try:
        told = parse_json(body, what="the problem")
    except FormatError:
        told = None
    after = reply.headers.get("retry-after", "")
    seconds = float(after) if after.isascii() and after.isdigit() and len(after) < 9 else None
    return failure(reply.status_code, told, seconds)


def _json(body: bytes) -> Any:
    try:
        return parse_json(body, what="the answer", limit=MAX_REPLY)
    except FormatError as error:
        raise IndexUnavailable(
            f"the service answers with no JSON: {error.message}", hint="is the URL a modeldeed's?"
        ) from None
