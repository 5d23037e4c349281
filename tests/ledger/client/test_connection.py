"""What the client does with services that are slow, busy, broken or hostile."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from api.problems import of_error, of_status
from ledger.chain.wallet import dev_wallet
from ledger.client import Client
from ledger.client.connection import Connection
from ledger.client.failures import _kinds, failure
from ledger.errors import (
    AccessError,
    FormatError,
    IndexUnavailable,
    NoLicense,
    RateLimited,
    RequestUnderWay,
    UnknownRecord,
    UsageError,
)

PROBLEM = {
    "type": "urn:x", "title": "t", "status": 503, "detail": "busy", "code": "INDEX_UNAVAILABLE",
    "hint": "wait",
}  # fmt: skip


@contextmanager
def served(*answers: Any) -> Iterator[tuple[str, list[Any]]]:
    """A server that gives these answers one after the other, the last one for ever."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            seen.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
            answer = answers[min(len(seen), len(answers)) - 1]
            if answer is None:  # the connection breaks
                self.close_connection = True
                return
            status, headers, body = answer
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "transfer-encoding" not in headers:
                self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_DELETE = do  # noqa: N815  names of the base class

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def talking(*answers: Any, **options: Any) -> Iterator[tuple[Client, list[Any]]]:
    """A client of such a server, and what it sent."""
    with served(*answers) as (url, seen), Client(url, **options) as client:
        yield client, seen


def ok(body: Any, **headers: str) -> Any:
    return 200, headers, body


def bad(status: int, **members: Any) -> Any:
    headers = {"Retry-After": str(members.pop("after"))} if "after" in members else {}
    return status, headers, PROBLEM | {"status": status} | members


@pytest.fixture
def waits() -> list[float]:
    return []


def test_a_read_is_repeated_while_the_service_is_busy_and_waits_as_it_is_told(waits):
    answers = None, bad(503, after=3), bad(429, code="RATE_LIMITED", after=1), ok({"a": 1})
    with talking(*answers, pause=waits.append) as (client, seen):
        assert client.get("/x") == {"a": 1}
    assert len(seen) == 4
    assert waits == [0.2, 3.0, 1.0]


def test_it_gives_up_with_the_services_own_words(waits):
    busy = bad(429, code="RATE_LIMITED", after=100_000)
    with talking(busy, pause=waits.append) as (client, seen), pytest.raises(RateLimited) as told:
        client.get("/x")
    assert (len(seen), told.value.message, told.value.hint) == (4, "busy", "wait")
    assert told.value.retry_after == 100_000
    assert max(waits) <= 30


def test_a_write_without_a_credential_is_sent_once(waits):
    with talking(None, pause=waits.append) as (client, seen):
        with pytest.raises(IndexUnavailable):
            client.write("POST", "/x", {})
        with pytest.raises(UsageError):
            client.write("POST", "/x", {}, once="a")
    assert len(seen) == 1


def test_a_write_with_a_credential_is_repeated_under_one_name(waits):
    busy = bad(409, code="REQUEST_UNDER_WAY", after=1)
    options = {"credential": "deed_live_x", "pause": waits.append}
    with talking(None, busy, ok({"a": 1}), **options) as (client, seen):
        assert client.write("POST", "/x", {"b": 2}) == {"a": 1}
        client.write("POST", "/x", {"b": 2})
    names = [headers["idempotency-key"] for _, _, headers, _ in seen]
    assert names[0] == names[1] == names[2] != names[3]
    assert {body for *_, body in seen} == {b'{"b":2}'}
    with talking(busy, **options) as (client, seen), pytest.raises(RequestUnderWay):
        client.write("POST", "/x", {}, once="mine")
    assert {headers["idempotency-key"] for _, _, headers, _ in seen} == {'"mine"'}


def test_a_copy_that_is_still_good_is_not_sent_again_and_not_given_to_another():
    first, second = ok({"a": 1}, ETag='W/"1"'), (304, {"ETag": 'W/"1"'}, b"")
    with served(first, second, ok({"a": 2})) as (url, seen), Client(url) as client:
        assert client.get("/x", {"b": None, "c": 1}) == {"a": 1}
        assert client.get("/x", {"c": 1}) == {"a": 1}
        client.use("deed_live_x")
        assert client.get("/x", {"c": 1}) == {"a": 2}
    sent = [headers.get("if-none-match") for _, _, headers, _ in seen]
    assert sent == [None, 'W/"1"', None]
    assert [path for _, path, *_ in seen] == ["/x?c=1"] * 3


def test_a_credential_goes_to_its_service_alone_and_never_in_the_open():
    with (
        served(ok({"stolen": True})) as (other, asked),
        served((302, {"Location": other}, b"")) as (url, _),
    ):
        with Client(url, credential="deed_live_x") as client, pytest.raises(UsageError):
            client.get("/x")
        assert asked == []
    with pytest.raises(UsageError, match="http://"):
        Client("http://deed.example", credential="deed_live_x")
    with pytest.raises(UsageError, match="http://"):
        Client("http://localhost.:1", credential="deed_live_x")  # a resolver may ask the network
    Client("http://LOCALHOST:1", credential="deed_live_x").close()
    with Client("http://deed.example") as client, pytest.raises(UsageError):
        client.use("deed_live_x")
    for url in ("ftp://x", "deed.example", "http://"):
        with pytest.raises(UsageError):
            Connection(url)
    assert "secret" not in repr(Connection("https://user:secret@deed.example"))


@pytest.mark.parametrize("body", [
    b"", b"<html>", b"[" * 100_000, b'{"a":1,"a":2}', b"\xff", b"NaN", b'{"license": 5}', b"[]",
])  # fmt: skip
def test_an_answer_that_is_none_is_the_services_failure(body, waits):
    with (
        talking((200, {}, body), pause=waits.append) as (client, _),
        pytest.raises(IndexUnavailable),
    ):
        client.license("1.1")


@pytest.mark.parametrize(("status", "kind"), [
    (404, UnknownRecord), (400, UsageError), (418, UsageError), (500, IndexUnavailable),
])  # fmt: skip
@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"code": 7, "detail": []}'])
def test_a_failure_without_a_problem_is_told_by_its_status(status, kind, body):
    with (
        talking((status, {}, body), tries=1) as (client, _),
        pytest.raises(kind, match=str(status)),
    ):
        client.get("/x")


@pytest.mark.parametrize("kind", sorted(_kinds().values(), key=lambda kind: kind.__name__))
def test_every_error_of_the_tree_is_told_again_with_its_members(kind):
    body = json.loads(of_error(kind("what is wrong")).body)
    found = failure(body["status"], body | {"hint": "the way out"}, None)
    assert (type(found), found.message, found.hint) == (kind, "what is wrong", "the way out")


def test_a_path_that_is_not_there_is_no_missing_license():
    body = json.loads(of_status(HTTPStatus.NOT_FOUND).body)
    assert body["code"] == NoLicense.code
    assert type(failure(body["status"], body, None)) is UnknownRecord


@pytest.mark.parametrize("told", [True, -1, 1e999, 10**400, "5", None])
def test_a_delay_that_cannot_be_meant_is_none(told):
    plain = failure(503, {"code": "INDEX_UNAVAILABLE"}, None)
    assert isinstance(plain, IndexUnavailable)
    found = failure(503, {"code": "INDEX_UNAVAILABLE", "retry_after": told}, None)
    assert isinstance(found, IndexUnavailable)
    assert found.retry_after == plain.retry_after
    assert type(found.retry_after) is float


def test_what_a_service_says_cannot_write_on_the_terminal():
    with (
        served(bad(404, code="UNKNOWN_RECORD", detail="\x1b[2Jgone\n\u202e" + "x" * 9000)) as (
            url,
            _,
        ),
        Client(url) as client,
        pytest.raises(UnknownRecord) as told,
    ):
        client.get("/x")
    assert told.value.message.startswith(" [2Jgone  x")
    assert len(told.value.message) <= 1000


def test_an_answer_that_unpacks_without_end_is_broken_off(monkeypatch):
    from ledger.client import connection

    monkeypatch.setattr(connection, "MAX_REPLY", 1 << 20)
    bomb = gzip.compress(b" " * (64 << 20))
    with (
        talking((200, {"content-encoding": "gzip"}, bomb), tries=1) as (client, _),
        pytest.raises(IndexUnavailable, match="too much"),
    ):
        client.get("/x")


MESSAGE = """{domain} wants you to sign in with your Ethereum account:
{account}

Sign in to modeldeed. This costs nothing and sends no transaction.

URI: {origin}/v1/auth/sign-in
Version: 1
Chain ID: 31337
Nonce: x5Eh2c9QmTVrG7kLaB3dWn
Issued At: 2026-11-28T12:00:00Z"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{domain}", "bank.example"),
        ("{account}", "0x0000000000000000000000000000000000000000"),
        ("Sign in to modeldeed.", "I owe the bearer 1000 ETH."),
        ("{origin}", "https://bank.example"),
        ("00Z", "00Z\nResources:\n- https://bank.example/pay"),
        ("00Z", "00Z\n"),
        ("", ""),
    ],
)
def test_no_message_is_signed_but_the_one_for_this_site(old, new):
    wallet = dev_wallet("licensor")
    signed: list[Any] = []

    class Careful:
        address = wallet.address

        def sign_digest(self, digest):
            signed.append(digest)
            return wallet.sign_digest(digest)

    answer: dict[str, str] = {}
    with (
        served(ok(answer), bad(401, code="SIGN_IN_REFUSED")) as (url, _),
        Client(url) as client,
    ):
        domain, text = url.partition("://")[2], MESSAGE.replace(old, new, 1)
        answer["message"] = text.format(domain=domain, origin=url, account=wallet.address)
        with pytest.raises(AccessError):
            client.sign_in(Careful())
    assert len(signed) == (1 if old == new else 0)


def event(seq: int) -> bytes:
    told = {"seq": seq, "kind": "applied", "block": seq, "event": "X", "later": [1]}
    return f"event: applied\nid: {seq}\ndata: {json.dumps(told)}\n\n".encode()


def test_a_stream_goes_on_after_breaks_from_the_last_number(waits):
    kind = {"Content-Type": "text/event-stream"}
    whole = b": listening\nid: 41\nretry: 1000\n\n" + event(42) + b": still there\n\n" + event(43)
    half = event(44) + event(45)[:-20]
    gone = bad(404, code="UNKNOWN_RECORD")
    answers = (200, kind, whole), None, bad(503), (200, kind, half), gone
    with talking(*answers) as (client, seen):
        stream = client.listen(event="X", pause=waits.append)
        assert [next(stream).seq for _ in range(3)] == [42, 43, 44]
        with pytest.raises(UnknownRecord):
            next(stream)
    ids = [headers.get("last-event-id") for _, _, headers, _ in seen]
    assert ids == [None, "43", "43", "43", "44"]
    assert seen[0][1] == "/v1/events/stream?event=X"


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"seq": "x"}'])
def test_an_event_that_cannot_be_read_is_told_and_not_passed_over(data, waits):
    body = event(42) + b"id: 43\ndata: " + data + b"\n\n" + event(44)
    with talking((200, {}, body)) as (client, seen):
        stream = client.listen(pause=waits.append)
        assert next(stream).seq == 42
        with pytest.raises(FormatError, match="cannot be read"):
            next(stream)
    assert len(seen) == 1


def test_an_event_without_an_end_is_broken_off(monkeypatch, waits):
    from ledger.client import stream

    monkeypatch.setattr(stream, "_LONGEST", 1 << 12)
    # Short lines that never come to an empty one, as well as one long line.
    endless = b"id: 1\n" + b"data: []\n" * 1000
    gone = bad(404, code="UNKNOWN_RECORD")
    long = b"data: " + b"x" * 8192
    with (
        talking((200, {}, endless), (200, {}, long), gone) as (client, seen),
        pytest.raises(UnknownRecord),
    ):
        next(client.listen(pause=waits.append))
    assert len(seen) == len(waits) + 1 == 3


def test_a_bundle_without_an_end_fills_no_disk(monkeypatch, tmp_path):
    from ledger.client import service

    monkeypatch.setattr(service, "_MAX_BUNDLE", 1 << 16)
    bomb = gzip.compress(b" " * (8 << 20))
    with (
        talking((200, {"content-encoding": "gzip"}, bomb)) as (client, _),
        pytest.raises(IndexUnavailable, match="more than a bundle"),
    ):
        client.fetch_bundle("ab" * 16, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_the_client_is_light():
    import subprocess
    import sys

    code = "import ledger.client, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"web3", "eth_account", "eth_abi", "fastapi", "sqlalchemy", "pydantic", "msgspec"}
    assert not heavy & set(done.stdout.split())
