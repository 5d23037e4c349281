"""The head of an answer, of servers that do what they like."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from ledger.errors import UnavailableError, UsageError
from ledger.remote.heads import Head, head_of

DATE = b"Date: Fri, 15 Jan 2027 08:00:00 GMT\r\n"


@pytest.fixture
def server():
    """Makes a server that answers each request with these bytes, and keeps the line open."""
    held = []

    def make(*parts, pause=0.0):
        listening = socket.create_server(("127.0.0.1", 0))
        over = threading.Event()

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    line, _ = listening.accept()
                    held.append(line)
                    line.recv(65536)
                    for part in parts:
                        line.sendall(part)
                        if over.wait(pause):
                            return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        held.extend((listening, over))
        return f"http://127.0.0.1:{listening.getsockname()[1]}/x"

    yield make
    for each in held:
        if isinstance(each, threading.Event):
            each.set()
        else:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def test_status_and_clock_are_told_and_a_body_without_end_is_not_waited_for(server):
    url = server(b"HTTP/1.1 404 No\r\n" + DATE + b"Content-Length: 99999999\r\n\r\nab")
    assert head_of(url, seconds=20) == Head(404, 1_800_000_000)


@pytest.mark.parametrize("date", [b"", b"Date: yesterday\r\n", b"Date: 99 Foo 9999\r\n"])
def test_a_clock_that_is_not_shown_is_none(server, date):
    assert head_of(server(b"HTTP/1.1 200 OK\r\n" + date + b"\r\n"), seconds=20).date is None


def test_nobody_is_sent_elsewhere(server):
    there = server(b"HTTP/1.1 200 OK\r\n\r\n")
    moved = server(b"HTTP/1.1 302 Found\r\nLocation: " + there.encode() + b"\r\n\r\n")
    assert head_of(moved, seconds=20).status == 302


def test_a_head_that_drips_ends_with_the_patience(server):
    url = server(b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 3000, pause=0.02)
    with pytest.raises(UnavailableError, match="does not answer"):
        head_of(url, seconds=0.3)


def test_what_asks_this_machine_takes_no_proxy_from_the_environment(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert head_of(server(b"HTTP/1.1 200 OK\r\n\r\n"), seconds=20).status == 200


@pytest.mark.parametrize("url", ["", "x", "ftp://h/", "http://", "http://h:99999/", "http://[::x"])
def test_what_is_no_url_is_said(url):
    with pytest.raises(UsageError, match="http://"):
        head_of(url, seconds=1)


def test_a_failure_names_its_kind_and_no_url(server):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(UnavailableError, match="ConnectError") as caught:
        head_of(f"http://127.0.0.1:{port}/hunter2", seconds=20)
    assert "hunter2" not in caught.value.message
