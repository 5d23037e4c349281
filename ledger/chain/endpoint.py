"""One JSON-RPC endpoint over HTTP: bounded replies, strict JSON, and no secret in any message.

A provider's URL often carries an API key in its path, query or user part. Errors and logs name the
host alone, here and in httpx's own logger.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx

from ledger.canonical import parse_json
from ledger.errors import ChainUnavailable, FormatError, LedgerError, UsageError
from ledger.loopback import is_loopback
from ledger.remote.bodies import ACCEPTED, authorities, pieces
from ledger.remote.web import WebAddress

MAX_REPLY_BYTES = 64 << 20
_ONE_BY_ONE = 3
_Q = TypeVar("_Q")
_R = TypeVar("_R")


class _HostOnly(logging.Filter):
    """Rewrites httpx's request log lines so that they name the host and never the whole URL."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                f"{arg.scheme}://{arg.host}" if isinstance(arg, httpx.URL) else arg
                for arg in record.args
            )
        return True


logging.getLogger("httpx").addFilter(_HostOnly())


class Endpoint:
    """One URL with its own keep-alive connections. Thread-safe.

    Attributes:
        host: host and port, the only part of the URL that is ever shown.
        identified: whether the endpoint has shown the chain id its user asked for.
    """

    def __init__(
        self, url: str, *, timeout: float, max_reply: int, transport: httpx.BaseTransport | None
    ) -> None:
        address = WebAddress.parse(url)
        if address is None:
            raise UsageError(
                "an RPC endpoint is given as an http:// or https:// URL",
                hint="for example http://127.0.0.1:8545",
            )
        self.host = address.shown
        self.identified = False
        self._url = url
        self._secrets = _secrets(url)
        self._timeout = timeout
        self._max_reply = max_reply
        self._transport = transport
        # A proxy from the environment must not see, or break, calls to this machine.
        self._trust_env = not is_loopback(address.host)
        self._client = self._connect()

    def _connect(self) -> httpx.Client:
        return httpx.Client(
            timeout=httpx.Timeout(self._timeout, connect=min(self._timeout, 5.0)),
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=16),
            transport=self._transport,
            trust_env=self._trust_env,
            verify=authorities(),
            headers={"content-type": "application/json"} | ACCEPTED,
            follow_redirects=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def abort(self) -> None:
        """Break off every request under way; later ones use new connections.

        The bound on a reply's time is looked at between the parts of its body. A server that sends
        its headers byte by byte is ended by this alone.
        """
        old, self._client = self._client, self._connect()
        old.close()

    def shown(self, text: object) -> str:
        """`text` from outside, fit for a message: one line, short, without parts of our URL."""
        line = "".join(c if c.isprintable() else " " for c in str(text)[:2000])
        for secret in self._secrets:
            line = line.replace(secret, "…")
        return line if len(line) <= 240 else line[:240] + "…"

    def post(self, payload: Any, *, retry: bool) -> bytes:
        """Send one JSON document and give the reply's bytes.

        Args:
            payload: a JSON-RPC request, or a list of them.
            retry: whether to send again, once, when a kept connection turns out to be closed.

        Raises:
            ChainUnavailable: no answer in time, an HTTP error, or a reply beyond the bound.
        """
        body = json.dumps(payload, separators=(",", ":")).encode()
        deadline = time.monotonic() + self._timeout
        try:
            return self._once(body, deadline)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
            if not retry:
                raise self._unavailable(_reason(error)) from None
        except httpx.HTTPError as error:
            raise self._unavailable(_reason(error), fault=_fault(error)) from None
        if time.monotonic() > deadline:
            raise self._unavailable(f"took longer than {self._timeout:g} s", fault="slow")
        try:
            return self._once(body, deadline)
        except httpx.HTTPError as error:
            raise self._unavailable(_reason(error), fault=_fault(error)) from None

    def _once(self, body: bytes, deadline: float) -> bytes:
        with self._client.stream("POST", self._url, content=body) as reply:
            if reply.status_code == httpx.codes.TOO_MANY_REQUESTS:
                wait = _retry_after(reply.headers.get("retry-after"))
                raise self._unavailable("asks for fewer requests (HTTP 429)", retry_after=wait)
            # Some nodes send JSON-RPC errors with HTTP 400; the body decides then.
            if reply.status_code not in {200, 400}:
                raise self._unavailable(
                    f"answered HTTP {reply.status_code}", status=reply.status_code
                )
            parts: list[bytes] = []
            size = 0
            for part in pieces(reply):
                size += len(part)
                if size > self._max_reply:
                    raise self._unavailable(
                        f"sent more than {self._max_reply} bytes", fault="malformed"
                    )
                if time.monotonic() > deadline:
                    raise self._unavailable(f"took longer than {self._timeout:g} s", fault="slow")
                parts.append(part)
            return b"".join(parts)

    def _unavailable(
        self,
        why: str,
        *,
        retry_after: float = 1.0,
        fault: str = "down",
        status: int | None = None,
    ) -> ChainUnavailable:
        return ChainUnavailable(
            f"the RPC endpoint {self.host} {why}",
            retry_after=retry_after,
            fault=fault,
            status=status,
        )

    def _malformed(self, why: str) -> ChainUnavailable:
        return self._unavailable(why, fault="malformed")

    def exchange(self, payload: dict[str, Any], *, retry: bool) -> dict[str, Any]:
        """One JSON-RPC request; its reply object, which holds ``result`` or ``error``.

        Raises:
            ChainUnavailable: as `post`, or the reply is not the JSON-RPC reply to this request.
        """
        reply = self._parse(self.post(payload, retry=retry))
        if not isinstance(reply, dict) or reply.get("id") != payload["id"] or not _one(reply):
            raise self._malformed("sent something that is not a JSON-RPC reply")
        return cast("dict[str, Any]", reply)

    def exchange_batch(self, payload: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
        """Several read requests in one; the replies in order, None when batches are not served.

        Raises:
            ChainUnavailable: as `post`, or a reply is missing, doubled or foreign.
        """
        replies = self._parse(self.post(payload, retry=True))
        if isinstance(replies, dict):
            return None
        by_id = {r["id"]: r for r in replies if isinstance(r, dict) and _one(r)}
        if len(by_id) != len(replies) or set(by_id) != {p["id"] for p in payload}:
            raise self._malformed("left out part of a batch")
        return [by_id[p["id"]] for p in payload]

    def one_by_one(self, payload: Sequence[_Q], ask: Callable[[_Q], _R]) -> list[_R]:
        """`ask` for each request of a batch in turn, where an endpoint serves no batches.

        Raises:
            ChainUnavailable: as `ask` does, or all together take longer than three replies may.
        """
        deadline = time.monotonic() + _ONE_BY_ONE * self._timeout
        found = []
        for each in payload:
            if time.monotonic() > deadline:
                raise self._unavailable(
                    "serves no batches, and single requests slowly", fault="slow"
                )
            found.append(ask(each))
        return found

    def _parse(self, data: bytes) -> Any:
        try:
            parsed = parse_json(data, what="the reply", limit=self._max_reply)
        except FormatError as error:
            raise self._malformed(f"sent a reply that cannot be read: {_plain(error)}") from None
        if not isinstance(parsed, (dict, list)):
            raise self._malformed("sent something that is not a JSON-RPC reply")
        return parsed


def _secrets(url: str) -> tuple[str, ...]:
    """Parts of a URL that may be keys, longest first, as written and percent-decoded.

    Short path segments (v2, eth, rpc) are words, not keys, and stay readable.
    """
    parts = urlsplit(url)
    found = {url, parts.path.strip("/"), parts.query, parts.username or "", parts.password or ""}
    found.update(segment for segment in parts.path.split("/") if len(segment) >= 8)
    found.update(value for _, value in parse_qsl(parts.query))
    found.update([unquote(text) for text in found])
    return tuple(sorted((text for text in found if len(text) > 3), key=len, reverse=True))


def _one(reply: dict[str, Any]) -> bool:
    error = reply.get("error")
    return isinstance(reply.get("id"), int) and (
        isinstance(error, dict) if error is not None else "result" in reply
    )


def _plain(error: LedgerError) -> str:
    return error.message[:80]


def _reason(error: httpx.HTTPError) -> str:
    match error:
        case httpx.ConnectTimeout():
            return "does not accept a connection in time"
        case httpx.ConnectError():
            return "refuses connections or cannot be reached"
        case httpx.TimeoutException():
            return "does not answer in time"
        case _:
            return f"broke off ({type(error).__name__})"


def _fault(error: httpx.HTTPError) -> str:
    return "slow" if isinstance(error, httpx.TimeoutException) else "down"


def _retry_after(value: str | None) -> float:
    try:
        return min(max(float(value or 1.0), 0.1), 3600.0)
    except ValueError:
        return 1.0
