"""One attempt to send: where it goes, what is read of the answer, and when it ends."""

from __future__ import annotations

import asyncio
import base64
import importlib
import ipaddress
import json
import socket
import threading
import time
from typing import Any

import pytest

from ledger.remote.posting import Way, post, post_once, signature, signed_headers
from ledger.remote.resolved import addresses_of

world: Any = importlib.import_module("webhook_world")
NOWHERE = "3fff::1"
"""Public by its form, and for documentation only: nobody routes it."""
BODY = b'{"type":"test"}'


def send(url: str, **way: Any) -> Any:
    made = Way(**{"allowed": world.LOOPBACK, "trust": world.TRUST, "seconds": 5.0, **way})
    return post_once(url, BODY, {"content-type": "application/json"}, made)


@pytest.fixture
def receiver():
    made = world.Receiver()
    yield made
    made.close()


class Raw:
    """A server that says what it is told to, and does not speak HTTP by itself."""

    def __init__(self, *parts: bytes, pause: float = 0.0) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._parts, self._pause = parts, pause
        self.written, self.ended = 0, threading.Event()
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        one, _ = self._listening.accept()
        with one:
            one.recv(65536)
            try:
                for part in self._parts:
                    one.sendall(part)
                    self.written += len(part)
                    time.sleep(self._pause)
                one.recv(1)
            except OSError:
                pass
        self.ended.set()
        self._listening.close()


def test_signatures_are_those_of_the_specifications_example():
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    headers = signed_headers([secret, bytes(32)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    first, second = headers["webhook-signature"].split(" ")
    assert first == made
    assert second != made


def test_a_message_arrives_under_its_own_host(receiver):
    sent = send(receiver.url)
    assert (sent.status, sent.trouble, sent.retry_after) == (204, "", None)
    ((headers, body),) = receiver.got
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert body == BODY


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_into_the_own_network_is_not_followed(receiver, status):
    inside = world.Receiver()
    try:
        receiver.answers = [(status, {"location": inside.url})]
        assert send(receiver.url).trouble == f"HTTP {status}"
        assert inside.got == []
    finally:
        inside.close()


def test_a_proxy_of_the_environment_is_not_asked(receiver, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert send(receiver.url).status == 204


@pytest.mark.parametrize("networks", [(), (ipaddress.ip_network("10.0.0.0/8"),)])
def test_what_is_not_public_is_not_connected_to(receiver, networks):
    sent = send(receiver.url, allowed=networks)
    assert sent.status is None
    assert "is not in a network" in sent.trouble
    assert receiver.got == []


def test_a_name_that_moves_between_two_looks_is_looked_up_once(receiver):
    """DNS rebinding: public when it is looked at, the own network when it is connected to."""
    asked: list[str] = []

    def moving(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        address = NOWHERE if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))]

    sent = send(f"https://hook.example:{receiver.port}/", resolve=moving, allowed=(), seconds=2.0)
    assert asked == ["hook.example"]
    assert sent.status is None
    assert receiver.got == []


def test_of_several_addresses_none_may_be_inside(receiver):
    sent = send(f"http://hook.example:{receiver.port}/", resolve=world.at("127.0.0.1", "10.0.0.1"))
    assert sent.status is None
    assert receiver.got == []
    assert (
        send(f"http://hook.example:{receiver.port}/", resolve=world.at("127.0.0.1")).status == 204
    )
    assert receiver.got[0][0]["host"] == f"hook.example:{receiver.port}"


def test_an_address_that_does_not_answer_leaves_time_for_the_next(receiver):
    full = socket.socket()
    full.bind(("127.0.0.2", receiver.port))  # bound, and nobody listens: refused
    url = f"http://hook.example:{receiver.port}/"
    try:
        assert send(url, resolve=world.at("127.0.0.2", "127.0.0.1")).status == 204
    finally:
        full.close()


def test_plain_http_does_not_go_to_public_addresses():
    with pytest.raises(importlib.import_module("ledger.errors").UsageError):
        addresses_of("a.example", 80, public=False, resolve=world.at("8.8.8.8"))


def test_a_huge_answer_is_not_read():
    raw = Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", *[bytes(1 << 20)] * 256)
    assert send(raw.url).status == 200
    assert raw.ended.wait(10)
    assert raw.written < 64 << 20


def test_an_answer_without_end_to_its_head_is_given_up():
    raw = Raw(b"HTTP/1.1 200 OK\r\n", *[b"x: " + b"y" * 65_000 + b"\r\n"] * 64)
    sent = send(raw.url)
    assert sent.status is None
    assert sent.trouble


def test_bytes_that_come_slowly_do_not_keep_an_attempt_alive():
    raw = Raw(*[b"H", b"T", b"T", b"P"] * 40, pause=0.1)
    begun = time.monotonic()
    sent = send(raw.url, seconds=0.6)
    assert sent.trouble == "no answer within 0.6 s"
    assert time.monotonic() - begun < 10


def test_a_look_up_that_hangs_does_not_either():
    free = threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        free.wait(20)
        return []

    begun = time.monotonic()
    assert send("https://a.example/", resolve=hang, seconds=0.3).trouble == "no answer within 0.3 s"
    assert time.monotonic() - begun < 10
    free.set()


@pytest.mark.parametrize(
    "answer",
    [b"", b"\x00\xff" * 50, b"HTTP/1.1 999999 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"],
)
def test_what_is_no_answer_is_trouble_and_no_failure(answer):
    raw = Raw(answer, pause=0.05)
    sent = send(raw.url, seconds=1.0)
    assert sent.status is None
    assert sent.trouble


def test_a_stop_ends_an_attempt_at_once():
    raw = Raw(b"", pause=20)

    async def cancelled() -> float:
        way = Way(world.LOOPBACK, trust=world.TRUST, seconds=30)
        task = asyncio.create_task(post(raw.url, BODY, {}, way))
        await asyncio.sleep(0.3)
        begun = time.monotonic()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return time.monotonic() - begun

    assert asyncio.run(cancelled()) < 10


def test_trouble_names_no_path(receiver):
    receiver.answers = [500]
    for url in (receiver.url, "https://nowhere.invalid/hook?token=hunter2"):
        assert "hunter2" not in json.dumps(send(url).trouble)
