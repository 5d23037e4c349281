"""Servers that never end and never pause. See README.md beside this file."""

import itertools
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from ledger.broker.cards import locate
from ledger.errors import IndexUnavailable

PATIENCE = 1.0


@contextmanager
def server(parts):
    """Answers every request with `parts()`, piece by piece, and never closes by itself."""
    ended = threading.Event()

    def answer(sock):
        with sock, suppress(OSError):
            while not ended.is_set():
                request = b""
                while b"\r\n\r\n" not in request:
                    more = sock.recv(65536)
                    if not more:
                        return
                    request += more
                for part in parts():
                    sock.sendall(part)
                    if ended.wait(0.1):
                        return

    def serve():
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=answer, args=(sock,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/m.license.json"
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)


OK = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "body": lambda: itertools.chain(
        [OK + b"Content-Length: 99999\r\n\r\n{"], itertools.repeat(b" ")
    ),
    "headers": lambda: itertools.chain([OK], itertools.repeat(b"X-A: b\r\n")),
    "one header": lambda: itertools.chain([OK], itertools.repeat(b"x")),
    "redirects": lambda: (
        [b""] * 4 + [b"HTTP/1.1 302 F\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"]
    ),
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_card_s_server_that_drips_is_given_up(name):
    with server(DRIPS[name]) as url:
        began = time.monotonic()
        with pytest.raises(IndexUnavailable):
            locate(url, timeout=PATIENCE)
        assert time.monotonic() - began < 8 * PATIENCE
    assert not [t for t in threading.enumerate() if t.name == "patience"]
