"""A process beside the follower's, which reads ranges ahead during a long backfill.

One process of Python works on one core at a time, and threads that compute take the interpreter's
lock from the one that commits. So ranges are read by a process of their own: it asks the endpoint,
checks what comes back by the same code (`ledger.index.fetch`), and hands over rows that are ready
to be written (`ledger.index.packed`).

It holds nothing and decides nothing. Which endpoint is asked, and whether it may be, is said for
each range by the caller, who also compares the seams between ranges and takes the votes. Whatever
it does not answer the caller reads itself: before it has started, after it has ended, and wherever
an answer was refused or had a fault in it, so that one place words errors and blames endpoints. It
ends when its input does, however the process that started it ends.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import marshal
import os
import queue
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from typing import IO, Any, Final

from ledger.chain.rpc import Rpc
from ledger.errors import LedgerError
from ledger.ids import Address
from ledger.index.contracts import Contracts
from ledger.index.fetch import read_span
from ledger.index.packed import Packed
from ledger.index.receipts import Rule

log = logging.getLogger(__name__)

_READY: Final = b"ready\n"
_SIZE: Final = struct.Struct(">Q")
_PIPE_BYTES: Final = 1 << 20
_SET_PIPE_SIZE: Final = 1031
_END_SECONDS: Final = 5.0
PATIENCE: Final = 120.0
"""Seconds for one range, after which the other process is given up."""

_KEPT_ANSWERS: Final = 2
_COLLECT_EVERY: Final = 50
# How it begins: loading code makes much that is no garbage, and httpx loads a command line of its
# own where click is there; both are a third of the time until it answers.
_BEGIN: Final = (
    "import gc, sys; gc.disable(); sys.modules['click'] = None; "
    f"from {__name__} import main; main()"
)


class Apart:
    """The other process. Threads may share it; ranges are read in the order of asking.

    Args:
        addresses: of the contracts whose logs are read, by name.
        chain_id: the chain's.
        postgres: whether rows are for PostgreSQL, else for SQLite.
    """

    def __init__(self, addresses: Mapping[str, Address], chain_id: int, *, postgres: bool) -> None:
        self._begins = marshal.dumps(
            ({name: str(each) for name, each in addresses.items()}, chain_id, postgres)
        )
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._waiting: deque[Future[bytes | None]] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError):
            # A group of its own: an interrupt from the keyboard is for this process to act on.
            self._process = subprocess.Popen(  # noqa: S603  this interpreter and this module
                [sys.executable, "-P", "-c", _BEGIN],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                process_group=0,
            )
        if self._process is not None:
            threading.Thread(target=self._listen, name="apart", daemon=True).start()

    @property
    def pid(self) -> int | None:
        """Its process number; None where it could not be started or was ended."""
        return None if self._process is None else self._process.pid

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self._ready.is_set()

    def _listen(self) -> None:
        """Begin once it has loaded its code, then hand out its answers; nothing waits for this."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _widen(process.stdin, process.stdout)
            if process.stdout.readline() != _READY:
                return
            _send(process.stdin, self._begins)
            self._ready.set()
            while (body := _receive(process.stdout)) is not None:
                self._waiting.popleft().set_result(body)
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._ready.clear()
                while self._waiting:
                    self._waiting.popleft().set_result(None)

    def read(self, rpc: Rpc, first: int, last: int, rule: Rule) -> Packed | None:
        """The closed range from block `first` to block `last`, read and checked there.

        Returns:
            None: read it here.
        """
        where = rpc.elsewhere()
        if where is None:
            return None
        answer: Future[bytes | None] = Future()
        asked = marshal.dumps((where, first, last, rule.final, rule.provable))
        with self._lock:
            process = self._process
            if process is None or not self._ready.is_set():
                return None
            # Before it is asked, or the answer might find nobody waiting.
            self._waiting.append(answer)
            with contextlib.suppress(OSError, ValueError):
                _send(process.stdin, asked)
        try:
            body = answer.result(PATIENCE)
        except TimeoutError:
            process.kill()
            body = None
        if body is None:
            if self._process is not None:
                log.warning("the process that reads ahead has ended; going on without it")
            return None
        plain = marshal.loads(body)  # noqa: S302  our own process wrote it
        return None if plain is None else Packed.loaded(plain)

    def close(self) -> None:
        """End it."""
        process, self._process = self._process, None
        with self._lock:
            self._ready.clear()
        if process is None:
            return
        with contextlib.suppress(OSError, ValueError):
            process.stdin.close()  # type: ignore[union-attr]
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, sys.path))
    # NumPy's linear algebra, which nothing here asks for, would start threads that wait busily.
    return {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}


def _widen(*pipes: IO[bytes]) -> None:
    """Fewer turns for each answer, where the system allows it (Linux)."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        for pipe in pipes:
            fcntl.fcntl(pipe, _SET_PIPE_SIZE, _PIPE_BYTES)


def _send(pipe: IO[bytes] | None, body: bytes) -> None:
    assert pipe is not None
    pipe.write(_SIZE.pack(len(body)))
    pipe.write(body)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    """The next message; None at the end of the stream."""
    head = pipe.read(_SIZE.size)
    if len(head) < _SIZE.size:
        return None
    (size,) = _SIZE.unpack(head)
    body = pipe.read(size)
    return body if len(body) == size else None


class _Reader:
    """What the other process does."""

    def __init__(self, addresses: Mapping[str, str], chain_id: int, postgres: bool) -> None:
        named = {name: Address.parse(text) for name, text in addresses.items()}
        self._contracts = Contracts.of(named)
        self._chain_id = chain_id
        self._postgres = postgres
        self._clients: dict[tuple[Any, ...], Rpc] = {}

    def answer(
        self, where: tuple[Any, ...], first: int, last: int, final: int | None, provable: bool
    ) -> Any:
        """What `Apart.read` is given; None for whatever went wrong."""
        client = self._clients.get(where)
        if client is None:
            client = self._clients[where] = Rpc.opened(where)
        try:
            span = read_span(client, self._contracts, first, last, rule=Rule(final, provable))
        except LedgerError:
            return None
        return Packed.of(span, self._chain_id, postgres=self._postgres).plain()


def main() -> None:
    """Answer until the input ends."""
    given, out = sys.stdin.buffer, sys.stdout.buffer
    out.write(_READY)
    out.flush()
    begins = _receive(given)
    if begins is None:
        return
    reader = _Reader(*marshal.loads(begins))  # noqa: S302  the process that started this one
    asked: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    answers: queue.Queue[bytes] = queue.Queue(_KEPT_ANSWERS)

    def listen() -> None:
        while (body := _receive(given)) is not None:
            asked.put(body)
        # Nobody waits for an answer any more, least of all for an endpoint's.
        os._exit(0)

    def tell() -> None:
        try:
            while True:
                _send(out, answers.get())
        except OSError:
            os._exit(0)

    for task in (listen, tell):
        threading.Thread(target=task, daemon=True).start()
    # Rows are no cycles; what the clients leave behind is looked for now and then (`_BEGIN`).
    gc.freeze()
    count = 0
    while True:
        body = asked.get()
        answers.put(marshal.dumps(reader.answer(*marshal.loads(body))))  # noqa: S302  as above
        count += 1
        if count % _COLLECT_EVERY == 0:
            gc.collect()
