"""One broker's end of a line: HTTP, its pinned keys, and replies verified against them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self
from weakref import WeakSet

import httpx

from ledger import errors
from ledger.broker.home import BrokerIdentity
from ledger.broker.protocol import kem_from_json, request_hash
from ledger.broker.signing import BrokerPublicKeys
from ledger.canonical import parse_json
from ledger.errors import (
    BrokerUnavailable,
    FormatError,
    KeyRequestRejected,
    LedgerError,
    SignatureInvalid,
    UnavailableError,
    UsageError,
    VerificationError,
)
from ledger.ids import Digest
from ledger.licensing.document import Document
from ledger.loopback import is_loopback
from ledger.remote.bodies import ACCEPTED, authorities, pieces
from ledger.remote.web import WebAddress
from ledger.sealed.recipients import KemPublicKey

MAX_REPLY_BYTES: Final = 4 << 20
MAX_RETRY_SECONDS: Final = 3600
KEPT_SECONDS: Final = 2.0
"""How long an idle connection is kept: well below the 10 s of a broker, and uvicorn's own 5 s.

Who keeps one as long as the server does may write just when the server closes it.
"""


@dataclass(frozen=True, slots=True)
class BrokerPin:
    """The keys a broker must answer with: from the license card or from BrokerRegistry."""

    broker_id: int
    signing_key_hash: Digest
    kem_key_hash: Digest


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """A broker's verified self-description."""

    identity: BrokerIdentity
    signing: BrokerPublicKeys
    kem: KemPublicKey


class BrokerLink:
    """One broker at one URL; what is asked of it stands in ``client.BrokerClient``. Thread-safe.

    Args:
        url: base URL, ``http://host:port``.
        pin: keys it must answer with; without one it is trusted on first use, for tests and
            for publishing to one's own broker.
        timeout: seconds for one request, whole reply included.
        clock: Unix seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        pin: BrokerPin | None = None,
        timeout: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        address = WebAddress.parse(url)
        if address is None:
            raise UsageError("a broker is given as an http:// or https:// URL")
        self.host = address.parts.netloc.rpartition("@")[2]
        self._pin = pin
        self._clock = clock
        self._facts: BrokerFacts | None = None
        self._timeout = timeout
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._guard = threading.Lock()
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            timeout=timeout,
            limits=httpx.Limits(
                max_connections=100, max_keepalive_connections=20, keepalive_expiry=KEPT_SECONDS
            ),
            trust_env=not is_loopback(address.host),
            verify=authorities(),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.host!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # -- who is it -----------------------------------------------------------------------------

    def facts(self) -> BrokerFacts:
        """The broker's identity and keys, verified against the pin; asked for once.

        Raises:
            SignatureInvalid: it answers with other keys than those pinned.
            BrokerUnavailable: it does not answer.
        """
        if self._facts is None:
            reply = self._send("GET", "/v1/broker")
            doc = Document(reply, "the broker's description")
            signing = BrokerPublicKeys.from_json(doc.object("signing"))
            signing.verify(reply)
            doc.choice("type", ("info",))
            facts = BrokerFacts(
                BrokerIdentity.from_json(doc.integer("broker", 1), doc.object("chain")),
                signing,
                kem_from_json(doc.object("kem")),
            )
            self._check_pin(facts)
            self._facts = facts
        return self._facts

    def endpoints(self) -> dict[str, Any]:
        """How the broker's chain endpoints are, as it says; unsigned, for its operator's eyes.

        Raises:
            BrokerUnavailable: it does not answer, or does not tell.
        """
        return self.unsigned("/v1/broker/endpoints")

    def unsigned(self, path: str) -> dict[str, Any]:
        """What a broker says of itself without signing it, for its operator's eyes.

        Raises:
            BrokerUnavailable: it does not answer, or does not tell.
        """
        return self._send("GET", path)

    @property
    def pinned(self) -> bool:
        """Whether it believes only certain keys."""
        return self._pin is not None

    @property
    def pinned_id(self) -> int:
        """Which broker it believes to be; 0 without a pin."""
        return 0 if self._pin is None else self._pin.broker_id

    def pin(self, pin: BrokerPin) -> None:
        """Believe only these keys from now on.

        Raises:
            SignatureInvalid: the broker answers with others.
        """
        self._pin = pin
        self._check_pin(self.facts())

    def _check_pin(self, facts: BrokerFacts) -> None:
        pin = self._pin
        if pin is not None and (
            facts.identity.id,
            facts.signing.hash(),
            facts.kem.hash(),
        ) != (pin.broker_id, pin.signing_key_hash, pin.kem_key_hash):
            raise SignatureInvalid(
                f"{self.host} answers with other keys than those of broker {pin.broker_id}",
                hint="its keys were rotated, or someone answers in its place; "
                "get a fresh card, and a fresh grant from the holder",
            )

    def _verified(self, reply: dict[str, Any], kind: str, request: dict[str, Any]) -> Document:
        """Check signatures, kind, sender and that it answers this very message."""
        facts = self.facts()
        facts.signing.verify(reply)
        doc = Document(reply, "the broker's reply")
        doc.choice("type", (kind,))
        if doc.text("audience", limit=200) != facts.identity.audience or (
            doc.digest("request") != request_hash(request)
        ):
            raise SignatureInvalid("the broker's reply answers another request")
        return doc

    def signed(
        self, method: str, path: str, kind: str, request: dict[str, Any], *, body: Any = None
    ) -> Document:
        """Send a message of another module, and verify that the reply is this broker's answer.

        Raises:
            BrokerUnavailable: it does not answer.
            SignatureInvalid: the answer is not the pinned broker's, or to another request.
        """
        return self._verified(self._send(method, path, body), kind, request)

    # -- HTTP ----------------------------------------------------------------------------------

    def _send(
        self, method: str, path: str, body: Any = None, *, repeatable: bool = False
    ) -> dict[str, Any]:
        """One exchange; a problem document becomes the error it names.

        Args:
            method: GET or POST.
            path: below the base URL.
            body: a JSON value.
            repeatable: whether the broker may get it twice, as it may every GET: it is sent once
                more when a kept connection breaks before its answer. A release never is: its
                replay is refused, and the first may have counted.

        Raises:
            BrokerUnavailable: no answer, or none of a broker's.
        """
        # httpx bounds each read alone, so a reply that drips would have no end.
        watch = threading.Timer(self._timeout, self._break_off)
        watch.daemon = True
        watch.start()
        marks: list[str] = []
        try:
            try:
                status, raw = self._exchange(method, path, body, marks)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                again = (repeatable or method == "GET") and not marks and watch.is_alive()
                if not again:
                    raise
                status, raw = self._exchange(method, path, body, marks)
        except httpx.HTTPError as error:
            raise BrokerUnavailable(
                f"the broker {self.host} does not answer ({type(error).__name__})", retry_after=2.0
            ) from None
        finally:
            watch.cancel()
        try:
            value = parse_json(raw, what="the broker's reply", limit=MAX_REPLY_BYTES)
        except FormatError:
            value = None
        if not isinstance(value, dict):
            raise BrokerUnavailable(f"{self.host} answered HTTP {status}, and not as a broker does")
        if httpx.codes.is_success(status) or "signature" in value:
            return value
        raise _problem(value, status, self.host)

    def _exchange(self, method: str, path: str, body: Any, marks: list[str]) -> tuple[int, bytes]:
        """Send once: status and body. Adds to `marks`: "opened" (a new connection), "answered"."""

        def trace(event: str, about: dict[str, Any]) -> None:
            if event.startswith("connection."):
                marks.append("opened")
            self._connected(event, about)

        with self._http.stream(
            method,
            path,
            json=body,
            headers={"accept": "application/json"} | ACCEPTED,
            extensions={"trace": trace},
        ) as response:
            marks.append("answered")
            parts: list[bytes] = []
            size = 0
            for part in pieces(response):
                size += len(part)
                if size > MAX_REPLY_BYTES:
                    raise BrokerUnavailable(f"the broker {self.host} sends without end")
                parts.append(part)
        return response.status_code, b"".join(parts)

    def _connected(self, event: str, about: dict[str, Any]) -> None:
        """Told by httpx what it does: keep the sockets that it opens."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            opened = about["return_value"].get_extra_info("socket")
            if isinstance(opened, socket.socket):
                with self._guard:
                    self._sockets.add(opened)

    def _break_off(self) -> None:
        """End every exchange under way; later ones use new connections."""
        with self._guard:
            sockets = list(self._sockets)
        for each in sockets:
            # Closing it under a thread that reads would leave that thread reading.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _problem(value: dict[str, Any], status: int, host: str) -> LedgerError:
    """The exception a problem document (RFC 9457) stands for; what is unknown is unavailable."""

    def text(*names: str) -> str:
        found = next((value[name] for name in names if isinstance(value.get(name), str)), "")
        return str(found)[:1000]

    message = text("detail", "title") or f"{host} answered HTTP {status}"
    code, hint = text("code"), text("hint")
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, LedgerError) and kind.code == code
    ]
    if kinds and issubclass(kinds[0], UnavailableError | errors.PendingFinality):
        return kinds[0](message, retry_after=_seconds(value.get("retry_after")), hint=hint)
    if kinds and issubclass(
        kinds[0], FormatError | VerificationError | errors.KeyAccessError | errors.ChainError
    ):
        return kinds[0](message, hint=hint)
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.TOO_MANY_REQUESTS:
        return BrokerUnavailable(message, hint=hint or None)
    return KeyRequestRejected(message, hint=hint)


def _seconds(value: Any) -> float:
    """A stranger's ``retry_after``, within sense; compared before it is made a float."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return 2.0
    if value >= MAX_RETRY_SECONDS:
        return float(MAX_RETRY_SECONDS)
    return float(value) if value > 0 else 0.0
