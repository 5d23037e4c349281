"""What one connection may cost: heads, patience, pipelines, and connections of one network."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import pytest
import uvicorn

from api import wire
from api.__main__ import http_config

GET = b"GET /x HTTP/1.1\r\nhost: localhost\r\n"
STREAM = b"GET /stream HTTP/1.1\r\nhost: localhost\r\n\r\n"


class App:
    """Answers ``/stream`` without end, in pieces of 64 KiB, and all else at once."""

    def __init__(self):
        self.streams = 0

    async def __call__(self, scope, receive, send):
        if scope["path"] != "/stream":
            body = b""
            while True:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            said = b"%d" % len(body)
            headers = [(b"content-length", b"%d" % len(said))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": said})
            return
        self.streams += 1
        flow = asyncio.create_task(self._flow(send))
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            flow.cancel()
            self.streams -= 1

    async def _flow(self, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await asyncio.sleep(0.001)


@pytest.fixture
def serve():
    """Serves `App` as the service is served; gives it and its port."""
    running = []

    def start(**more):
        app = App()
        config = http_config(app, host="127.0.0.1", port=0, lifespan="off", **more)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        until(lambda: server.started)
        running.append((server, thread))
        return app, server.servers[0].sockets[0].getsockname()[1]

    yield start
    for server, thread in running:
        server.force_exit = server.should_exit = True
        thread.join(10)


def until(holds, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def connected(port):
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def answer(made):
    """All that comes until the connection ends; a reset ends it too."""
    got = b""
    try:
        while piece := made.recv(65536):
            got += piece
    except ConnectionResetError:
        pass
    return got


def sent(made, begin, more):
    """How many times `more` could be sent before the connection broke, of at most 200."""
    count = 0
    with contextlib.suppress(ConnectionError):
        made.sendall(begin)
        while count < 200:
            made.sendall(more)
            count += 1
    return count


def test_a_head_without_end_is_refused_and_takes_no_memory(serve):
    _, port = serve()
    for begin, more in (
        (GET + b"a: ", b"a" * 65536),
        (GET, b"a: b\r\n" * 10_000),
        (b"GET /", b"a" * 65536),
        (
            b"POST /x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n" * 9000,
        ),
        (GET + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 10_000),
    ):
        with connected(port) as made:
            assert sent(made, begin, more) < 200


def test_a_long_head_is_told_what_is_wrong_with_it(serve):
    _, port = serve()
    with connected(port) as made:
        made.sendall(GET + b"a: " + b"a" * wire.MAX_HEAD)
        said = answer(made)
    assert said.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"content-type: application/problem+json" in said
    assert b"x-content-type-options: nosniff" in said


def whole(made):
    """One answer whose body is seven digits: head and body may come apart."""
    got = b""
    while not (got.partition(b"\r\n\r\n")[2])[6:]:
        piece = made.recv(1000)
        assert piece, got
        got += piece
    return got


def test_a_large_body_is_no_head(serve):
    _, port = serve()
    body = b"x" * (3 << 20)
    with connected(port) as made:
        made.sendall(
            b"POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        assert whole(made).endswith(b"%d" % len(body))
        made.sendall(GET + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(300):
            made.sendall(b"%x\r\n" % 8192 + b"x" * 8192 + b"\r\n")
        made.sendall(b"0\r\n\r\n")
        assert whole(made).endswith(b"%d" % (300 * 8192))


def test_what_is_no_http_is_a_problem_document(serve):
    _, port = serve()
    for bad in (
        b"nonsense\r\n\r\n",
        GET + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        GET + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}x",
        GET + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        GET + b"a : b\r\n\r\n",
        GET + b"Host: evil.example\r\n\r\n",
        GET.replace(b"\r\n", b"\n") + b"\n",
    ):
        with connected(port) as made:
            made.sendall(bad)
            said = answer(made)
        assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n"), bad
        assert b'"code":"BAD_REQUEST"' in said


def test_who_hangs_up_with_a_second_request_sent_already_listens_no_longer(serve):
    """Else every such connection would hold a listener's place until the service restarts."""
    app, port = serve()
    for behind in (b"", GET + b"\r\n", STREAM):
        with connected(port) as made:
            made.sendall(STREAM + behind)
            made.recv(1000)
            assert app.streams == 1
        until(lambda: app.streams == 0)


def test_a_pipeline_is_answered_in_order_and_one_without_end_is_not(serve):
    _, port = serve()
    with connected(port) as made:
        made.sendall((GET + b"\r\n") * 5)
        got = b""
        while got.count(b"HTTP/1.1 200") < 5:
            got += made.recv(1000)
    app, port = serve()
    with connected(port) as made:
        made.sendall(STREAM + (GET + b"\r\n") * (wire.MAX_PIPELINED + 2))
        answer(made)  # ends; else this would time out
    until(lambda: app.streams == 0)


@pytest.fixture
def impatient(monkeypatch):
    for name, seconds in (("HEAD", 0.3), ("BODY", 0.6), ("STALL", 0.5), ("LOOK", 0.1)):
        monkeypatch.setattr(wire, f"{name}_SECONDS", seconds)


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"\r\n",
        b"GET /x HT",
        GET,
        b"POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
    ],
    ids=range(5),
)
def test_a_request_that_never_becomes_whole_is_given_up(serve, impatient, begun):
    _, port = serve()
    with connected(port) as made:
        made.sendall(begun)
        answer(made)  # ends; else this would time out
    with connected(port) as made:
        made.sendall(GET + b"\r\n")
        assert made.recv(1000).startswith(b"HTTP/1.1 200")
        made.sendall(begun or b"\r\n\r\n")
        answer(made)


def test_a_listener_that_never_reads_is_given_up_and_one_that_reads_is_not(serve, impatient):
    app, port = serve()
    with connected(port) as reader, connected(port) as deaf:
        for made in (reader, deaf):
            made.sendall(STREAM)
        until(lambda: app.streams == 2)
        ended = time.monotonic() + 2.5
        while time.monotonic() < ended:
            assert reader.recv(1 << 20)
        assert app.streams == 1


def test_one_network_takes_its_part_of_the_connections_and_a_trusted_proxy_all(serve, monkeypatch):
    monkeypatch.setattr(wire, "MAX_OF_NETWORK", 3)
    _, port = serve(forwarded_allow_ips="192.0.2.1")
    held = [connected(port) for _ in range(3)]
    try:
        for made in held:
            made.sendall(GET + b"\r\n")
            assert made.recv(1000).startswith(b"HTTP/1.1 200")
        with connected(port) as beyond:
            said = answer(beyond)
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5\r\n" in said
    finally:
        for made in held:
            made.close()

    def served_again():
        with connected(port) as made:
            made.sendall(GET + b"connection: close\r\n\r\n")
            return answer(made).startswith(b"HTTP/1.1 200")

    until(served_again)
    _, port = serve()
    held = [connected(port) for _ in range(5)]
    for made in held:
        made.sendall(GET + b"\r\n")
        assert made.recv(1000).startswith(b"HTTP/1.1 200")
        made.close()


@pytest.mark.parametrize(
    ("named", "address", "is_trusted"),
    [
        ("127.0.0.1,::1", "127.0.0.1", True),
        ("127.0.0.1", "198.51.100.7", False),
        ("10.0.0.0/8, 192.0.2.1", "10.9.8.7", True),
        ("*", "198.51.100.7", True),
        ("proxy.local", "198.51.100.7", False),
        ("", "127.0.0.1", False),
    ],
)
def test_a_proxy_is_trusted_by_its_address_alone(named, address, is_trusted):
    config = http_config(App(), forwarded_allow_ips=named)
    assert wire.trusted(address, config) is is_trusted
