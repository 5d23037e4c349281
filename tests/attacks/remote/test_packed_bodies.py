"""Servers that send little and have much unpacked. See README.md beside this file."""

import gzip
import threading
import tracemalloc
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from ledger.broker.cards import locate
from ledger.broker.link import BrokerLink
from ledger.chain.endpoint import Endpoint
from ledger.errors import BrokerUnavailable, ChainUnavailable, LedgerError
from ledger.remote.bodies import ACCEPTED, PIECE, pieces

BOMB = 256 << 20
ALLOWED = 24 << 20


@contextmanager
def server(body: bytes, coding: str):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            # The request's body first, or the connection would be reset.
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-encoding", coding)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{serving.server_port}/model.license.json"
        finally:
            serving.shutdown()


def packed(data: bytes, times: int = 1) -> bytes:
    for _ in range(times):
        data = gzip.compress(data, 9)
    return data


# Made when asked for: every worker imports this file, and one needs the bombs.
BODIES = {
    "gzip": lambda: (packed(b"{" + bytes(BOMB)), "gzip"),
    "gzip in gzip": lambda: (packed(b"{" + bytes(BOMB), 2), "gzip, gzip"),
    "deflate": lambda: (b"\0" * 100, "deflate"),
    "not gzip": lambda: (b"{}", "gzip"),
    "cut off": lambda: (packed(b"{}")[:-3], "gzip"),
}


@cache
def body(name: str) -> tuple[bytes, str]:
    return BODIES[name]()


@contextmanager
def in_bounds():
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < ALLOWED, f"{peak >> 20} MiB for a few kilobytes"


@pytest.mark.parametrize("name", BODIES)
def test_a_card_s_server_cannot_fill_the_memory(name):
    with server(*body(name)) as url, in_bounds(), pytest.raises(LedgerError):
        locate(url, timeout=20)


@pytest.mark.parametrize("name", BODIES)
def test_a_broker_cannot_fill_the_memory(name):
    with server(*body(name)) as url, in_bounds(), pytest.raises(BrokerUnavailable):
        BrokerLink(url.rpartition("/")[0]).facts()


@pytest.mark.parametrize("name", BODIES)
def test_an_rpc_endpoint_cannot_fill_the_memory(name):
    with server(*body(name)) as url, in_bounds(), pytest.raises(ChainUnavailable):
        Endpoint(url, timeout=20, max_reply=1 << 20, transport=None).post({"id": 1}, retry=False)


def test_what_is_packed_once_is_read_piece_by_piece():
    data = bytes(range(256)) * 4096
    with (
        server(gzip.compress(data), "gzip") as url,
        httpx.Client(headers=ACCEPTED) as client,
        client.stream("GET", url) as response,
    ):
        found = list(pieces(response))
    assert b"".join(found) == data
    assert max(map(len, found)) <= PIECE
