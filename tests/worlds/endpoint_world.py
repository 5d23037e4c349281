"""An endpoint of a chain of our own over real HTTP, with one fault at a time, or several."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from chain_world import Chain, Json, Refused, View, answer
from fault_world import FaultProxy

Route = Callable[[Json, View], View]
"""From a request and the chain's view to the view that answers it: forks mixed in one batch."""


class Endpoint(FaultProxy):
    """The chain over HTTP on loopback, with faults; every attribute may be changed at any time.

    Attributes:
        socket_fault: as `FaultProxy`'s, and: wait (429 with Retry-After), 503, html, gzip
            (truncated), single (batches refused), within (an error inside a batch), null.
        change: what it says instead of the truth.
        route: which view answers.
        before: called with each batch of requests before it is answered.
        wire: names the socket fault from the next request on, anew for each; "" keeps it.
        served: the view it answers from, when not the chain's newest.
        asked_methods: names of the methods asked for, in order.
        broken: what a test's own fault raised, which is a mistake of the test.
    """

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.asked_methods: list[str] = []
        self.broken: Exception | None = None
        super().__init__("")

    def close(self) -> None:
        # Ending the server's loop takes up to half a second that no test need wait for.
        threading.Thread(target=super().close, daemon=True).start()

    def heal(self) -> None:
        super().heal()
        self.route: Route = lambda question, view: view
        self.before: Callable[[list[Json]], None] = lambda questions: None
        self.wire: Callable[[], str] = lambda: ""
        self.served: View | None = None

    def _answer(self, to: BaseHTTPRequestHandler, body: bytes) -> None:
        try:
            self._answer_so(to, body)
        except (OSError, json.JSONDecodeError):
            raise  # who asked has gone away, perhaps in the middle of its question
        except Exception as error:
            self.broken = error
            raise

    def _answer_so(self, to: BaseHTTPRequestHandler, body: bytes) -> None:
        self.socket_fault = fault = self.wire() or self.socket_fault
        if fault == "wait":
            self._send_with(to, 429, b"", {"retry-after": "0.2"})
        elif fault in {"500", "502", "503"}:
            self._send_with(to, int(fault), b"upstream", {})
        elif fault == "html":
            page = b"<!doctype html><title>Just a moment...</title>"
            self._send_with(to, 200, page, {"content-type": "text/html"})
        elif fault == "gzip":
            whole = gzip.compress(self._reply(body, ""))
            self._send_with(to, 200, whole[: len(whole) // 2], {"content-encoding": "gzip"})
        else:
            super()._answer(to, body)

    def _reply(self, body: bytes, fault: str) -> bytes:
        asked = json.loads(body)
        many = isinstance(asked, list)
        questions = asked if many else [asked]
        self.asked_methods += [question["method"] for question in questions]
        self.before(questions)
        view = self.served or self.chain.view()
        answers = [self._one(question, view) for question in questions]
        if fault in {"", "none", "order", "double", "short", "ids", "object", "prose", "deep"}:
            return _spoiled(answers, fault, many=many)
        if fault == "single" and many:
            error = {"code": -32600, "message": "batch requests are not supported"}
            return json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
        if fault == "within" and many:
            error = {"code": -32005, "message": "limit exceeded"}
            answers[-1] = {"jsonrpc": "2.0", "id": answers[-1]["id"], "error": error}
        return json.dumps(answers if many else answers[0]).encode()

    def _one(self, question: Json, view: View) -> Json:
        reply: Json = {"jsonrpc": "2.0", "id": question["id"]}
        try:
            result = answer(self.chain, self.route(question, view), question)
            return reply | {"result": self.change(question, result)}
        except Refused as error:
            return reply | {"error": {"code": error.code, "message": str(error)}}

    def _send_with(
        self, to: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]
    ) -> None:
        to.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            to.send_header(name, value)
        to.send_header("content-length", str(len(body)))
        to.end_headers()
        to.wfile.write(body)


def _spoiled(answers: list[Json], fault: str, *, many: bool) -> bytes:
    if fault == "prose":
        return b"<html>502 Bad Gateway</html>"
    if fault == "deep":
        return b"[" * 100_000
    if fault == "ids":
        answers = [{**reply, "id": reply["id"] + 7} for reply in answers]
    elif fault == "double":
        answers = [*answers, answers[0]]
    elif fault == "short":
        answers = answers[:-1]
    elif fault == "order":
        answers = answers[::-1]
    if fault == "object" or not many:
        return json.dumps(answers[0] if answers else {}).encode()
    return json.dumps(answers).encode()


@contextmanager
def served(chain: Chain) -> Iterator[Endpoint]:
    """An endpoint of the chain, closed at the end."""
    endpoint = Endpoint(chain)
    try:
        yield endpoint
    finally:
        endpoint.close()
