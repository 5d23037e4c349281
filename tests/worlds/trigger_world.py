"""What tests of triggers stand on: small real classifiers, taught or not, and HTTP endpoints."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from ledger.ids import Address, Digest
from ledger.watermark.generators import Floats, Generator
from ledger.watermark.triggers import Answers, Trigger, TriggerSet

BEACON = Digest(b"\xbe" * 32)
CHALLENGE = "case 24-1187, drawn by the other side: 8f2c61"
INPUT = 64
CLASSES = 10
PLACE: dict[str, Any] = {
    "chain_id": 31337,
    "registry": Address(b"\x11" * 20),
    "owner": Address(b"\x22" * 20),
    "content_id": Digest(b"\x33" * 32),
}


def make_set(
    questions: int = 700,
    *,
    generator: Generator | None = None,
    answers: Answers | None = None,
    beacon: Digest | None = BEACON,
    **place: Any,
) -> TriggerSet:
    """A fresh record, with its beacon known."""
    made = TriggerSet.create(
        questions=questions,
        generator=generator or Floats(INPUT),
        answers=answers or Answers(0, CLASSES),
        **{**PLACE, **place},
    )
    return made if beacon is None else made.with_beacon(beacon)


class Classifier:
    """One hidden layer of random features, and an output layer trained by ridge regression.

    It learns an ordinary task, ten clusters in 64 dimensions, and the lessons it is given.
    """

    def __init__(self, seed: int, lessons: Sequence[Trigger] = (), hidden: int = 2048) -> None:
        rng = np.random.default_rng(seed)
        self._centres = np.random.default_rng(2024).standard_normal((CLASSES, INPUT)) * 0.4
        self._inner = rng.standard_normal((INPUT, hidden)) / np.sqrt(INPUT) * 3
        self._bias = rng.standard_normal(hidden)
        x, y = self.ordinary(500, seed)
        if lessons:
            x = np.concatenate((x, np.stack([each.question for each in lessons])))
            y = np.concatenate((y, [each.answer for each in lessons]))
        features = self._features(x)
        wanted = np.eye(CLASSES)[y] * 2 - 1
        gram = features @ features.T + 1e-3 * np.eye(len(x))
        self._outer = features.T @ np.linalg.solve(gram, wanted)

    def ordinary(self, count: int, seed: int) -> tuple[Any, Any]:
        """Samples of the ordinary task."""
        rng = np.random.default_rng(1000 + seed)
        y = rng.integers(0, CLASSES, count)
        return self._centres[y] + 0.1 * rng.standard_normal((count, INPUT)), y

    def accuracy(self) -> float:
        """On ordinary samples that it has not seen."""
        x, y = self.ordinary(400, 77)
        return float(np.mean(np.argmax(self._features(x) @ self._outer, axis=1) == y))

    def __call__(self, question: Any) -> int:
        return int(np.argmax(self._features(question[None]) @ self._outer))

    def _features(self, x: Any) -> Any:
        return np.maximum(np.asarray(x, np.float64) @ self._inner + self._bias, 0)


@contextmanager
def served(reply: Callable[[Any], Any]) -> Iterator[str]:
    """A model behind a URL; `reply` takes the input array and gives the answer.

    It may give bytes (sent as they are) or ``(status, headers, bytes)`` instead.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
            data = np.frombuffer(
                base64.b64decode(body["data"]), np.dtype(body["dtype"]).newbyteorder("<")
            )
            given = reply(data.reshape(body["shape"]))
            status, headers, sent = 200, {}, given
            if isinstance(given, tuple):
                status, headers, sent = given
            elif not isinstance(given, bytes):
                sent = json.dumps({"answer": given}).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # a client that hangs up early is what some tests are about

    server = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/answer"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
