"""Odd servers on real sockets, and what the tests of several contracts begin with."""

from __future__ import annotations

import json
import os
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ledger.chain.licenses import PlanTerms
from ledger.claim import Claim
from ledger.ids import Digest

Reply = Callable[[Any], Any]


class OddServer:
    """An HTTP server whose answers a test writes.

    `answer(request)` gives a JSON value, or bytes, or a function that gets the handler itself.
    """

    def __init__(self, answer: Reply) -> None:
        self.requests: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each body waits for an ACK of its head

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.requests.append(request)
                given = answer(request)
                if callable(given):
                    given(self)
                    return
                body = given if isinstance(given, bytes) else json.dumps(given).encode()
                self.reply(200, body)

            def reply(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # clients that hang up are what these tests are about

        self._server: socketserver.BaseServer = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def result(request: Any, value: Any) -> dict[str, Any]:
    """The proper reply to a request."""
    return {"jsonrpc": "2.0", "id": request["id"], "result": value}


def error(request: Any, code: int, message: str, **more: Any) -> dict[str, Any]:
    """The proper error reply to a request."""
    return {
        "jsonrpc": "2.0",
        "id": request["id"],
        "error": {"code": code, "message": message} | more,
    }


@pytest.fixture
def serve() -> Iterator[Callable[[Reply], OddServer]]:
    """Start odd servers; they are stopped after the test."""
    servers: list[OddServer] = []

    def start(answer: Reply) -> OddServer:
        servers.append(OddServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def reply_result() -> Callable[[Any, Any], dict[str, Any]]:
    return result


@pytest.fixture
def reply_error() -> Callable[..., dict[str, Any]]:
    return error


def some_digest() -> Digest:
    return Digest(os.urandom(32))


@pytest.fixture
def fresh() -> Callable[[], Digest]:
    """A digest never used before."""
    return some_digest


@pytest.fixture(scope="module")
def licensor(deployed):
    return deployed.sender("licensor")


@pytest.fixture(scope="module")
def holder(deployed):
    return deployed.sender("holder")


@pytest.fixture(scope="module")
def new_claim(deployed):
    """Make a claim of the licensor's with random contents."""

    def make(parents=()) -> Claim:
        return Claim(
            31337,
            deployed.registry.address,
            deployed.wallet("licensor").address,
            *(some_digest() for _ in range(4)),
            parents,
            some_digest(),
        )

    return make


@pytest.fixture(scope="module")
def model(deployed, licensor, new_claim):
    """A registered model."""
    model_id, _ = deployed.registry.register(licensor, new_claim(), None)
    return model_id


@pytest.fixture(scope="module")
def new_plan(deployed):
    """Create a plan of a day with the given terms; gives its number."""

    def make(sender, model_id, **terms) -> int:
        offer = PlanTerms(model_id, some_digest(), **({"duration": 86_400} | terms))
        return deployed.licenses.create_plan(sender, offer)[0]

    return make
