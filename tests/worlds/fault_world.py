"""Endpoints that fail, lag and lie: a small TCP proxy in front of real Anvil nodes.

A `FaultProxy` forwards JSON-RPC to a node and does one thing wrong, on the socket or in what it
says. Lies are well made: a changed header is hashed again, so that only its content is false. A
`Twin` is a second real node with the same chain up to a point, which then goes its own way.
"""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import rlp

from ledger.chain import anvil
from ledger.chain.abi_codec import contract
from ledger.chain.rpc import Rpc, data
from ledger.evidence.headers import _FIELDS
from ledger.ids import keccak256
from ledger.licensing.entitlement import Code

Change = Callable[[dict[str, Any], Any], Any]
"""From a request and its true result to what the endpoint says instead."""

PROBE = "0x" + contract("EntitlementProbe").bytecode.hex()
HOLDER_WORD = 11
SET_WORD = 45
"""Where the probe answers a license's holder, and where its broker set begins."""
NOT_FOUND_WORDS = 11


def honest(question: dict[str, Any], result: Any) -> Any:
    """No lie at all."""
    return result


class FaultProxy:
    """One endpoint. Thread-safe; every attribute may be changed at any time.

    Attributes:
        target: URL of the node behind it.
        socket_fault: "" or what goes wrong on the wire: refuse, hang, trickle, drip, flood,
            redirect, busy, prose, ids, double, short, order, object, deep.
        delay: seconds before it answers.
        retry_after: the header that a busy one sends.
        change: what it says instead of the truth.
        asked: requests it has answered.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.heal()
        self.asked = 0
        self._closing = threading.Event()
        self._client = httpx.Client(trust_env=False, timeout=30, verify=False)  # plain HTTP
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each body waits for an ACK of its head

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with suppress(OSError):
                    proxy._answer(self, body)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *args: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def heal(self) -> None:
        """Be an honest, quick endpoint again."""
        self.socket_fault, self.delay, self.change = "", 0.0, honest
        self.retry_after = ""

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    # -- the wire

    def _answer(self, to: BaseHTTPRequestHandler, body: bytes) -> None:
        self.asked += 1
        self._closing.wait(self.delay)
        fault = self.socket_fault
        if fault == "refuse":
            to.connection.shutdown(socket.SHUT_RDWR)
            return
        if fault == "hang":
            self._closing.wait(60)
            return
        if fault in {"trickle", "drip"}:
            self._trickle(to, headers=fault == "drip")
            return
        if fault == "flood":
            self._flood(to)
            return
        if fault == "redirect":
            self._send(to, b"", status=302, location="http://127.0.0.1:9/")
            return
        if fault == "busy":
            self._send(to, b"", status=429, retry_after=self.retry_after)
            return
        self._send(to, self._reply(body, fault))

    def _reply(self, body: bytes, fault: str) -> bytes:
        asked = json.loads(body)
        many = isinstance(asked, list)
        questions = asked if many else [asked]
        headers = {"content-type": "application/json"}
        found = self._client.post(self.target, content=body, headers=headers).json()
        answers = found if many else [found]
        for question, answer in zip(questions, answers, strict=True):
            if "result" in answer:
                answer["result"] = self.change(question, answer["result"])
        if fault == "prose":
            return b"<html>502 Bad Gateway</html>"
        if fault == "deep":
            return b"[" * 100_000
        if fault == "ids":
            answers = [{**answer, "id": answer["id"] + 7} for answer in answers]
        if fault == "double":
            answers = [*answers, answers[0]]
        if fault == "short":
            answers = answers[:-1]
        if fault == "order":
            answers = answers[::-1]
        if fault == "object" or not many:
            return json.dumps(answers[0] if answers else {}).encode()
        return json.dumps(answers).encode()

    def _trickle(self, to: BaseHTTPRequestHandler, *, headers: bool) -> None:
        if not headers:
            to.send_response(200)
            to.send_header("content-length", "100000")
            to.end_headers()
        else:
            to.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
        until = time.monotonic() + 60
        while time.monotonic() < until and not self._closing.wait(0.1):
            to.wfile.write(b" " if not headers else b"a")
            to.wfile.flush()

    def _flood(self, to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("content-length", str(1 << 40))
        to.end_headers()
        while not self._closing.is_set():
            to.wfile.write(b" " * 65536)

    def _send(
        self,
        to: BaseHTTPRequestHandler,
        body: bytes,
        *,
        status: int = 200,
        location: str = "",
        retry_after: str = "",
    ) -> None:
        to.send_response(status)
        if retry_after:
            to.send_header("retry-after", retry_after)
        if location:
            to.send_header("location", location)
        to.send_header("content-type", "application/json")
        to.send_header("content-length", str(len(body)))
        to.end_headers()
        to.wfile.write(body)


# -- lies


def forged(block: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A block with other fields and the hash that these have."""
    made = {**block, **changes}
    fields = []
    for name, kind in _FIELDS:
        if made.get(name) is None:
            continue
        if kind == "quantity":
            number = int(made[name], 16)
            fields.append(number.to_bytes((number.bit_length() + 7) // 8, "big"))
        else:
            fields.append(bytes.fromhex(made[name][2:]))
    return {**made, "hash": "0x" + keccak256(rlp.encode(fields)).hex()}


def says_code(code: int) -> Change:
    """Every ``check`` is answered with this code."""

    def change(question: dict[str, Any], result: Any) -> Any:
        if not probes(question):
            return result
        there = code != Code.NOT_FOUND
        return with_words(result if there else result[: 2 + 64 * NOT_FOUND_WORDS], 0, code)

    return change


def says_holder(address: Any) -> Change:
    """Every license is held by this account."""

    def change(question: dict[str, Any], result: Any) -> Any:
        if probes(question):
            return with_words(result, HOLDER_WORD, int.from_bytes(address.raw, "big"))
        return result

    return change


def says_set(*members: int) -> Change:
    """Every broker set has these members, of which one is enough."""

    def change(question: dict[str, Any], result: Any) -> Any:
        if probes(question):
            return with_words(
                result[: 2 + 64 * SET_WORD], SET_WORD, 1, 1, 96, len(members), *members
            )
        return result

    return change


def with_words(result: str, first: int, *words: int) -> str:
    """An answer with other words from `first` on."""
    said = "".join(f"{word:064x}" for word in words)
    start = 2 + 64 * first
    return result[:start] + said + result[start + len(said) :]


def probes(question: dict[str, Any]) -> bool:
    """Whether it asks for an entitlement."""
    return question["method"] == "eth_call" and question["params"][0]["data"].startswith(PROBE)


def tagged(change: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Change:
    """The blocks that are asked for by tag are shown changed."""

    def changed(question: dict[str, Any], result: Any) -> Any:
        tag = question["params"][0] if question["params"] else ""
        if question["method"] == "eth_getBlockByNumber" and tag in {"latest", "finalized"}:
            return change(tag, result)
        return result

    return changed


def frozen(head: dict[str, Any], final: dict[str, Any]) -> Change:
    """A node that stopped following: its head and finalized block stay what they were."""
    return tagged(lambda tag, _: head if tag == "latest" else final)


def other_chain_id(number: int) -> Change:
    return lambda question, result: hex(number) if question["method"] == "eth_chainId" else result


def other_code(question: dict[str, Any], result: Any) -> Any:
    return "0x6000" if question["method"] == "eth_getCode" else result


def no_proofs(change: Change) -> Change:
    """A liar whose storage proofs lead nowhere."""

    def changed(question: dict[str, Any], result: Any) -> Any:
        if question["method"] == "eth_getProof":
            return {**result, "accountProof": result["accountProof"][:-1]}
        return change(question, result)

    return changed


def in_turn(*changes: Change) -> Change:
    """Each look at the head switches to the next lie: inconsistent between two calls."""
    state = {"at": 0}

    def changed(question: dict[str, Any], result: Any) -> Any:
        if question["method"] == "eth_chainId":
            state["at"] += 1
        return changes[state["at"] % len(changes)](question, result)

    return changed


# -- nodes of their own


@contextmanager
def twin(rpc: Rpc) -> Iterator[str]:
    """A second node with the same chain so far; its URL."""
    packed = data(rpc.call("anvil_dumpState", [True]))
    with tempfile.TemporaryDirectory() as folder:
        file = anvil.StateFile(Path(folder) / "state")
        file.save(packed)
        plain = Path(folder) / "plain.json"
        plain.write_bytes(file.candidates()[0])
        with _node(plain) as url:
            yield url


@contextmanager
def empty_node() -> Iterator[str]:
    """A node of the same chain id with a genesis of its own."""
    with _node(None) as url:
        yield url


@contextmanager
def _node(state: Path | None) -> Iterator[str]:
    port = anvil.free_port()
    process = anvil.spawn(port, state)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        anvil.kill(process)
