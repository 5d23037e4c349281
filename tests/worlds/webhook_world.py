"""Receivers of webhooks, and a service's webhooks without the service."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sqlalchemy import select, update

from api.webhooks import write_as_of
from ledger.access.principals import By
from ledger.access.roles import OPERATOR
from ledger.access.store import AccessStore
from ledger.errors import SignatureInvalid
from ledger.ids import Address
from ledger.index import tables
from ledger.index.database import open_database, writing
from ledger.index.views import Index
from ledger.index.webhook_tables import webhook_delivery
from ledger.remote.posting import Way
from ledger.remote.received import verify_message
from ledger.webhooks.endpoints import Endpoints
from ledger.webhooks.filters import USUAL
from ledger.webhooks.keys import KeyRing
from ledger.webhooks.records import Asked
from ledger.webhooks.reminders import Reminders
from ledger.webhooks.rights import Rights
from ledger.webhooks.sending import Sending
from ledger.webhooks.spreading import Spreader

TRUST = ssl.create_default_context()
"""Made once: to make one for each attempt takes longer than the attempt."""
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
OWNER = "account:0x00000000000000000000000000000000000000A1"
BY = By(OWNER, "session:test")
KEY = "7f" * 32
EVERYTHING: dict[str, Any] = {
    "types": list(USUAL), "events": [], "models": [], "licenses": [], "licensors": [],
}  # fmt: skip


class Receiver(ThreadingHTTPServer):
    """A server that keeps what it gets and answers as it is told.

    Attributes:
        got: headers (lower case) and body of each request, in order; paths: path and body.
        answers: statuses to come, or (status, headers); then 204.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.paths: list[tuple[str, dict[str, Any]]] = []
        self.fresh: queue.Queue[dict[str, Any]] = queue.Queue()
        self.answers: list[Any] = []
        self.before: Callable[[BaseHTTPRequestHandler], None] | None = None
        super().__init__(("127.0.0.1", port), _Handler)
        self.port = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook?token=hunter2"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def next(self, type_: str | None = None, *, seconds: float = 20) -> dict[str, Any]:
        """The next message, of a type where one is named: its body, read."""
        while True:
            told = self.fresh.get(timeout=seconds)
            if type_ in {None, told["type"]}:
                return told

    def bodies(self) -> list[dict[str, Any]]:
        """All that came, read."""
        return [json.loads(body) for _, body in self.got]

    def handle_error(self, *_: Any) -> None:
        """A sender that hangs up is what some tests are about."""

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
        self.server.paths.append((self.path, json.loads(body)))
        self.server.fresh.put(json.loads(body))
        if self.server.before is not None:
            self.server.before(self)
        answer = self.server.answers.pop(0) if self.server.answers else 204
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def verify(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Whether a receiver takes it, at the time that the message says."""
    try:
        verify_message(secret, headers, body, now=int(headers["webhook-timestamp"]))
    except SignatureInvalid:
        return False
    return True


def until(holds: Callable[[], Any], *, seconds: float = 20) -> None:
    """Wait until `holds()`: a receiver has a message before its sender has written that down."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Clock:
    """Unix time that a test moves."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


class Hooks:
    """A service's webhooks, on a database that a test's follower writes; no thread of its own."""

    def __init__(self, engine: Any, chain_id: int, folder: Any, *, key: str = KEY) -> None:
        self.path = folder / "webhook-key"
        self.path.touch(mode=0o600)
        self.path.write_text(key + "\n")
        self.engine, self.clock = engine, Clock()
        self.index = Index(engine, chain_id, now=self.clock)
        self.way = Way(LOOPBACK, trust=TRUST, seconds=30.0)
        self.renew()

    def renew(self, **way: Any) -> None:
        """As after a restart: another process's objects on the same database."""
        if way:
            self.way = Way(**{"allowed": LOOPBACK, "trust": TRUST, "seconds": 30.0, **way})
        keys = KeyRing.read(self.path)
        self.endpoints = Endpoints(self.index, keys, LOOPBACK)
        self.spreader = Spreader(self.index, write_as_of)
        self.reminders = Reminders(self.index, write_as_of)
        self.sending = Sending(self.index, keys, self.way, chance=lambda: 0.0)
        # The owner is an operator here: the index has nobody's titles.
        account = Address.parse(OWNER.removeprefix("account:").lower())
        appointed = {OPERATOR: frozenset({account})}
        self.access = AccessStore(self.engine, self.index.chain_id, appointed, self.clock)
        self.rights = Rights(self.index, self.access)

    def add(self, url: str, *, owner: str = OWNER, days: int = 0, **filters: Any) -> Any:
        """An endpoint with its secret as ``secret_of[id]``."""
        asked = Asked(url, EVERYTHING | filters, expiring_days=days)
        made, secret = self.endpoints.create(BY, owner, asked)
        return made, secret

    def spread(self) -> None:
        while self.spreader.spread():
            pass

    def send(self) -> int:
        """Claim and send all that is due, as the worker does; how many attempts there were."""
        count = 0
        for endpoint in self.sending.claim():
            while (due := self.sending.next(endpoint)) is not None:
                sent = asyncio.run(self.sending.attempt(due))
                count += 1
                if not self.sending.record(due, sent):
                    break
            self.sending.release(endpoint)
        return count

    def rows(self) -> list[Any]:
        """All deliveries in order."""
        with self.engine.connect() as connection:
            return list(
                connection.execute(select(webhook_delivery).order_by(webhook_delivery.c.number))
            )

    def synced(self) -> None:
        """The index stood on the head just now, by the test's clock."""
        with writing(self.engine) as connection:
            connection.execute(update(tables.cursor).values(synced_at_ms=int(self.clock() * 1000)))


def at(*addresses: str) -> Callable[..., list[Any]]:
    """A resolver for which every name leads to these addresses."""

    def resolve(_: str, port: int, **__: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses
        ]

    return resolve


@contextmanager
def database(path: str) -> Iterator[Any]:
    """A service's database, read beside it."""
    engine = open_database(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
