"""Messages that were signed for something else, bent, or used twice."""

from __future__ import annotations

import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = pytest.mark.chain


@pytest.fixture
def victim(world):
    """Whose wallet signs whatever it is shown."""
    return world.Wallet.named("licensor")


def tried(stand, text, signature, **headers):
    """The status and step of a sign-in that must not succeed."""
    asked = {"message": text, "signature": signature}
    reply = stand.ask("POST", "/v1/auth/sign-in", json=asked, headers=headers)
    told = reply.json()
    assert reply.headers["content-type"] == "application/problem+json"
    assert told["hint"]
    assert "deed_session_" not in reply.text
    return reply.status_code, told.get("step")


HOSTILE = {
    "another domain": (lambda t: t.replace("localhost:8800 wants", "evil.example wants"), 2),
    "a domain that begins like ours": (lambda t: t.replace("8800 wants", "88000 wants"), 2),
    "our domain behind a user": (lambda t: t.replace("localhost:8800 w", "a@localhost:8800 w"), 2),
    "another scheme": (lambda t: "https://" + t, 2),
    "another URI": (lambda t: t.replace("URI: http://localhost:8800/", "URI: http://evil/"), 3),
    "a URI with our origin as user": (
        lambda t: t.replace("URI: http://localhost:8800/", "URI: http://localhost:8800@evil/"), 3,
    ),
    "another chain": (lambda t: t.replace("Chain ID: 31337", "Chain ID: 1"), 4),
    "a chain with a zero before it": (lambda t: t.replace("ID: 31337", "ID: 031337"), 4),
    "expired": (lambda t: t + "\nExpiration Time: 2020-01-01T00:00:00Z", 5),
    "not valid before 2100": (lambda t: t + "\nNot Before: 2100-01-01T00:00:00Z", 5),
    "issued long ago": (lambda t: re.sub(r"At: 20\d\d", "At: 2020", t), 5),
    "issued in the future": (lambda t: re.sub(r"At: 20\d\d", "At: 2099", t), 5),
    "a nonce of one's own": (lambda t: re.sub(r"Nonce: \w+", "Nonce: aaaaaaaaaaaaaaaa", t), 7),
    "a statement of two lines": (lambda t: t.replace("This costs", "\nThis costs"), 1),
    "a second statement with another URI": (
        lambda t: t.replace("\n\nURI: ", "\n\nURI: http://evil/\n\nURI: "), 1,
    ),
    "an address in lower case": (
        lambda t: re.sub("0x[0-9a-fA-F]{40}", lambda m: m[0].lower(), t), 1,
    ),
    "an address with one letter's case changed": (
        lambda t: re.sub("0x([0-9a-fA-F]{40})", lambda m: "0x" + m[1].swapcase(), t), 1,
    ),
    "bytes after the end": (lambda t: t + "\n", 1),
    "a space after the end": (lambda t: t + " ", 1),
    "CRLF": (lambda t: t.replace("\n", "\r\n"), 1),
    "a letter that looks like another": (lambda t: t.replace("localhost", "l\u043ecalhost"), 1),
    "a zero byte": (lambda t: t.replace("Version: 1", "Version: 1\0"), 1),
    "version 2": (lambda t: t.replace("Version: 1", "Version: 2"), 1),
    "two nonces": (lambda t: re.sub(r"(Nonce: \w+\n)", r"\1\1", t), 1),
    "resources before the request id": (lambda t: t + "\nResources:\nRequest ID: x", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_message_that_the_victim_signed_opens_nothing(stand, world, victim, name):
    bend, step = HOSTILE[name]
    text = bend(made(stand, victim))
    assert tried(stand, text, victim.sign(text)) == (401, step)


def made(stand, wallet):
    """The service's message for a wallet."""
    return wallet.message(stand.client)


def test_the_signature_of_somebody_else_or_of_another_message_opens_nothing(stand, world, victim):
    text, other = made(stand, victim), made(stand, victim)
    assert tried(stand, text, world.Wallet.fresh().sign(text)) == (401, 6)
    assert tried(stand, text, victim.sign(other)) == (401, 6)


def test_what_the_host_header_says_changes_nothing(stand, victim):
    """The message names the origin of the settings, whatever name the request was sent to."""
    text = stand.ask(
        "POST", "/v1/auth/nonce", json={"account": victim.address}, headers={"host": "127.0.0.1:1"}
    ).json()["message"]
    assert text.startswith("localhost:8800 wants")
    bent = text.replace("localhost:8800", "127.0.0.1:1")
    assert tried(stand, bent, victim.sign(bent), host="127.0.0.1:1") == (401, 2)


def test_a_nonce_used_at_once_by_many_in_two_processes_opens_one_session(stand, victim):
    for _ in range(6):
        text = made(stand, victim)
        body = {"message": text, "signature": victim.sign(text)}
        gate = threading.Barrier(8)

        def use(n, body=body, gate=gate):
            gate.wait()
            return stand.ask("POST", "/v1/auth/sign-in", json=body, at=n % 2).status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = sorted(pool.map(use, range(8)))
        assert statuses.count(200) == 1, statuses
        assert set(statuses) <= {200, 401}
    assert tried(stand, text, victim.sign(text)) == (401, 7)


def test_bodies_that_are_no_sign_in_are_problem_documents(stand):
    for body in (b"", b"[]", b"{}", b"[" * 5000, b'{"message": 1, "signature": "0x"}', b"\xff"):
        reply = stand.ask(
            "POST", "/v1/auth/sign-in", content=body, headers={"content-type": "application/json"}
        )
        assert reply.status_code in {400, 422}, reply.text
        assert reply.headers["content-type"] == "application/problem+json"


def test_a_half_sent_header_line_is_no_credential(stand):
    """Line ends inside a header are the server's to refuse, before anything of ours reads them."""
    with socket.create_connection(("127.0.0.1", stand.services[0].port), timeout=10) as raw:
        raw.sendall(
            b"GET /v1/auth/me HTTP/1.1\r\nhost: localhost\r\n"
            b"authorization: Bearer deed_live_x\n y\r\nconnection: close\r\n\r\n"
        )
        status = raw.makefile("rb").readline()
    assert b" 400 " in status or b" 401 " in status
