"""Notices by webhook: what an operator or licensor must hear of, in an outbox that loses nothing.

A notice is put into the broker's database in the transaction of what it tells, so neither happens
without the other, and nobody waits for a webhook. A thread of its own sends it, signed as in the
Standard Webhooks specification 1.0, again and again with longer pauses, until it is taken or dead.

Targets stand in ``webhooks.json`` of the broker's folder (0600) and nowhere else: no message can
name one. Redirects are not followed. A name is looked up once, an address that is not public is
refused, unless the target says ``"private": true``, and what was looked at is connected to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ledger.broker.custody import read_private
from ledger.broker.database import Database
from ledger.canonical import parse_json
from ledger.errors import ConfigurationError, LedgerError
from ledger.licensing.document import Document
from ledger.remote.posting import Way, post_once, signed_headers
from ledger.remote.resolved import EVERYWHERE, Resolve
from ledger.remote.web import WebAddress

FILE: Final = "webhooks.json"
PAUSES: Final = (5, 60, 300, 1800, 7200, 21600, 86400)
"""Seconds before each further attempt; after the last one the notice is dead, and kept."""

TIMEOUT: Final = 10.0
IDLE_SECONDS: Final = 2.0
_KEY_MARK: Final = "whsec_"
_MIN_SECRET: Final = 24

log = logging.getLogger("broker.notices")


@dataclass(frozen=True, slots=True)
class Target:
    """Where notices go.

    Attributes:
        url: as configured; only its host is ever shown.
        secret: key of the signature.
        private: whether it may be an address that is not public.
    """

    url: str = field(repr=False)
    secret: bytes = field(repr=False)
    private: bool = False

    @property
    def host(self) -> str:
        """What may be shown of its URL."""
        return urlsplit(self.url).hostname or ""

    @property
    def id(self) -> str:
        """Its name in the outbox: a hash, because a URL may carry a key."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16]


def targets_of(folder: Path) -> tuple[Target, ...]:
    """The targets that a broker's folder configures; none without the file.

    Raises:
        ConfigurationError: the file can be read by others, or is not what it must be.
    """
    path = folder / FILE
    if not path.exists():
        return ()
    try:
        document = Document(
            parse_json(read_private(path), what=FILE), FILE, ("type", "version", "targets")
        )
        document.kind("modeldeed/webhooks")
        return tuple(_target(value) for value in document.items("targets", limit=16))
    except ConfigurationError:
        raise
    except LedgerError as error:
        raise ConfigurationError(
            error.message, hint=f"see {FILE} in docs/spec/key-release.md"
        ) from None


def _target(value: Any) -> Target:
    doc = Document(value, "a webhook target", ("url", "secret", "private"))
    url, text = doc.text("url"), doc.text("secret", limit=200)
    address = WebAddress.parse(url)
    private = doc.boolean("private") if doc.has("private") else False
    if address is None:
        raise doc.fail("url", "an https:// URL")
    if address.parts.scheme == "http" and not private:
        raise doc.fail("url", "https:// unless the target is private")
    try:
        secret = base64.b64decode(text.removeprefix(_KEY_MARK), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not text.startswith(_KEY_MARK) or len(secret) < _MIN_SECRET:
        raise doc.fail("secret", f"{_KEY_MARK} and base64 of at least {_MIN_SECRET} bytes")
    return Target(url, secret, private)


class Notices:
    """The outbox and the thread that empties it.

    Args:
        store: the broker's database.
        targets: where notices go; without any, none is kept.
        clock: Unix seconds.
        resolve: looks names up, as ``socket.getaddrinfo``; once for each attempt.
        trust: whose certificates are believed; by default those of the public authorities.
        timeout: seconds for one attempt.
    """

    def __init__(
        self,
        store: Database,
        targets: tuple[Target, ...],
        *,
        clock: Callable[[], float] = time.time,
        resolve: Resolve = socket.getaddrinfo,
        trust: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._store = store
        self._targets = {target.id: target for target in targets}
        self._clock = clock
        self._resolve = resolve
        self._trust = trust
        self._timeout = timeout
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, folder: Path, store: Database) -> Notices:
        """The outbox of a broker's folder."""
        return cls(store, targets_of(folder))

    def put(self, event: str, document: dict[str, Any], now: int) -> None:
        """Put a notice into the outbox, in the caller's transaction."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        body = json.dumps({"type": event, "timestamp": stamp, "data": document})
        for target in self._targets:
            self._store.write(
                "INSERT INTO notices (id, target, body, next_at) VALUES (?, ?, ?, ?)",
                "msg_" + secrets.token_hex(12),
                target,
                body,
                now,
            )
        self._wake.set()

    def start(self) -> None:
        """Begin sending, where there is anyone to send to."""
        if self._targets and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread; what is not sent waits for the next start."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(TIMEOUT + 1)
            self._thread = None

    def dead(self) -> list[tuple[str, str, str]]:
        """Notices that nobody took: id, body and the last trouble."""
        return [
            (str(a), str(b), str(c))
            for a, b, c in self._store.rows(
                "SELECT id, body, trouble FROM notices WHERE state = 'dead' ORDER BY next_at"
            )
        ]

    def send_due(self) -> int:
        """Send what is due now; how many notices were tried."""
        now = int(self._clock())
        due = self._store.rows(
            "SELECT id, target, body, attempts FROM notices "
            "WHERE state = 'waiting' AND next_at <= ? ORDER BY next_at LIMIT 50",
            now,
        )
        for name, target, body, attempts in due:
            if self._stopping.is_set():
                break
            self._try(str(name), str(target), str(body), int(attempts))
        return len(due)

    def _try(self, name: str, target_id: str, body: str, attempts: int) -> None:
        target = self._targets.get(target_id)
        trouble = "its target is not configured any more"
        if target is not None:
            trouble = self._send(target, name, body.encode())
        if not trouble:
            self._store.write("UPDATE notices SET state = 'sent', trouble = '' WHERE id = ?", name)
            return
        log.warning("notice not taken id=%s attempts=%d trouble=%s", name, attempts + 1, trouble)
        last = attempts >= len(PAUSES)
        pause = 0 if last else PAUSES[attempts]
        self._store.write(
            "UPDATE notices SET attempts = ?, next_at = ?, state = ?, trouble = ? WHERE id = ?",
            attempts + 1,
            int(self._clock()) + pause,
            "dead" if last else "waiting",
            trouble,
            name,
        )

    def _send(self, target: Target, name: str, body: bytes) -> str:
        """Send once; what went wrong, empty when it was taken."""
        now = int(self._clock())
        return post_once(
            target.url,
            body,
            signed_headers([target.secret], name, now, body),
            Way(EVERYWHERE if target.private else (), self._resolve, self._trust, self._timeout),
        ).trouble

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self.send_due()
            except LedgerError as error:
                log.warning("outbox unavailable code=%s", error.code)
            self._wake.wait(IDLE_SECONDS)
