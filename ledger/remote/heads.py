"""The head of an answer: whether a server answers, and what time it has."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import httpx

from ledger.errors import UnavailableError, UsageError
from ledger.remote.bodies import ACCEPTED, Patience, authorities

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before a body, which is left unread: a stranger's may have no end.

    Attributes:
        status: HTTP status.
        date: Unix seconds that the server's clock shows; None where it does not say.
    """

    status: int
    date: int | None


def head_of(url: str, *, seconds: float) -> Head:
    """Ask once, with a GET, and go nowhere else.

    Args:
        url: http or https.
        seconds: what all of it may take, however it drips.

    Raises:
        UsageError: not an http:// or https:// URL.
        UnavailableError: no answer; the message names no URL.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not host:
        raise UsageError("a server is given as an http:// or https:// URL")
    try:
        with (
            Patience(seconds) as patience,
            httpx.Client(
                timeout=seconds,
                headers=ACCEPTED,
                follow_redirects=False,
                trust_env=host not in _LOOPBACK,
                verify=authorities(),
            ) as client,
            client.stream("GET", url, extensions=patience.extensions) as reply,
        ):
            return Head(reply.status_code, _seconds(reply.headers.get("date")))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UnavailableError(f"it does not answer ({type(error).__name__})") from None


def _seconds(text: str | None) -> int | None:
    try:
        return None if text is None else int(parsedate_to_datetime(text).timestamp())
    except (ValueError, OverflowError):
        return None
