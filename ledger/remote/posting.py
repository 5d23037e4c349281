"""Sending a signed message to a URL that somebody gave: once, to where it was checked to lead.

A URL may lead anywhere: into the sender's own network, to a name that moves between a look and the
connection, to a server that never ends its answer. So (1) the name is looked up once, (2) each of
its addresses is public, or in a network that was allowed, (3) one of those addresses is connected
to, with the name left for TLS and for the Host header, (4) no redirect is followed, no proxy and no
setting of the environment used, (5) of the answer only its head is read, and (6) all of it ends
within a deadline. Signatures are those of Standard Webhooks 1.0 (standardwebhooks.com).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final, TypeVar

import httpx

from ledger.errors import UsageError
from ledger.remote.bodies import authorities
from ledger.remote.resolved import MAX_ADDRESSES, Network, Resolve, addresses_of

SECONDS: Final = 15.0
"""What one attempt may take, from the look-up of the name to the head of the answer."""

T = TypeVar("T")

MAX_RETRY_AFTER: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of one attempt.

    Attributes:
        status: HTTP status of the answer, None without one.
        trouble: what went wrong, in words that name no address; empty when it was taken (2xx).
        retry_after: seconds the receiver asks to wait, where it asks.
    """

    status: int | None
    trouble: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """How messages get out.

    Attributes:
        allowed: networks that are meant though they are not public.
        resolve: looks names up, as ``socket.getaddrinfo``; asked once for each attempt.
        trust: whose certificates are believed; by default those of the public authorities.
        seconds: what one attempt may take.
    """

    allowed: Sequence[Network] = ()
    resolve: Resolve = socket.getaddrinfo
    trust: ssl.SSLContext | None = None
    seconds: float = SECONDS


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature of ``webhook-signature``: v1 and HMAC-SHA-256 over id.timestamp.body."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()


def signed_headers(
    secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The headers of a message; with several secrets, as while one is replaced, all sign."""
    made = (signature(secret, message_id, timestamp, body) for secret in secrets)
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(made),
    }


async def post(url: str, body: bytes, headers: dict[str, str], way: Way) -> Sent:
    """Send once; failures come back as `Sent.trouble`.

    Args:
        url: http or https. Plain http goes only into allowed networks.
        body: the message.
        headers: of the request; Host is set here.
        way: how.
    """
    try:
        async with asyncio.timeout(way.seconds):
            return await _post(url, body, headers, way)
    except TimeoutError:
        return Sent(None, f"no answer within {way.seconds:g} s")
    except UsageError as error:
        return Sent(None, error.message)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return Sent(None, type(error).__name__)


def post_once(url: str, body: bytes, headers: dict[str, str], way: Way) -> Sent:
    """As `post`, for a thread without an event loop."""
    return asyncio.run(post(url, body, headers, way))


async def _post(url: str, body: bytes, headers: dict[str, str], way: Way) -> Sent:
    target = httpx.URL(url)
    secure = target.scheme == "https"
    port = target.port or (443 if secure else 80)
    target = target.copy_with(port=port)
    host = target.raw_host.decode("ascii")
    headers = {**headers, "host": httpx.URL(url).netloc.decode("ascii")}
    # (1) (2)
    look = partial(
        addresses_of, host, port, allowed=way.allowed, public=secure, resolve=way.resolve
    )
    sent = Sent(None, "it leads nowhere")
    for address in await _apart(look):
        try:
            # (3)
            there = target.copy_with(host=address.partition("%")[0])
            return await _send_to(there, host, body, headers, way)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            # Nothing was sent: the next address may do.
            sent = Sent(None, type(error).__name__)
    return sent


async def _send_to(
    there: httpx.URL, name: str, body: bytes, headers: dict[str, str], way: Way
) -> Sent:
    # All addresses that are tried (`MAX_ADDRESSES`) have their turn before the deadline.
    timeout = httpx.Timeout(way.seconds, connect=way.seconds / (MAX_ADDRESSES + 1))
    async with (
        # (4)
        httpx.AsyncClient(
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
            verify=way.trust or authorities(),
        ) as client,
        client.stream(
            "POST", there, content=body, headers=headers, extensions={"sni_hostname": name}
        ) as reply,
    ):
        # (5) Its head is here; what follows is left unread, and the connection is closed.
        status = reply.status_code
        wait = _seconds(reply.headers.get("retry-after"))
    return Sent(status, "" if 200 <= status < 300 else f"HTTP {status}", wait)


def _seconds(text: str | None) -> float | None:
    """Seconds of a Retry-After (RFC 9110, 10.2.3): a number, or a date; None of anything else."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER)
    try:
        left = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(left, 0.0), MAX_RETRY_AFTER)


async def _apart(call: Callable[[], T]) -> T:
    """Run a call that may hang, on a thread that nobody waits for when the deadline has passed."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(act: Callable[[], None]) -> None:
        if not future.done():
            act()

    def work() -> None:
        try:
            act = partial(future.set_result, call())
        except Exception as error:  # noqa: BLE001  whoever waits raises it
            act = partial(future.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, act)

    threading.Thread(target=work, name="resolver", daemon=True).start()
    return await future
