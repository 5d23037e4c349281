"""A local chain for development and demonstration: Anvil, supervised, finalizing, remembered.

Anvil calls the block two below its head final, and makes blocks only for transactions; so a keeper
thread writes the state to disk after any block with transactions and then mines the two empty
blocks that make it final. The same thread starts the node again should it die.

What a kill −9 can lose: what is not final yet, since what the keeper makes final is on disk before.
(Only a burst of transactions makes its own first ones final sooner: Anvil mines a block for each.)
A clean stop loses nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import logging
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

from ledger.chain.anvil import (
    CHAIN_ID,
    StateFile,
    free_port,
    is_free,
    kill,
    require_free,
    spawn,
)
from ledger.chain.rpc import Block, Rpc, data, quantity
from ledger.errors import ChainError, ChainUnavailable, LedgerError, UnavailableError, UsageError

log = logging.getLogger(__name__)

_ACTIVE_POLL = 0.02
_IDLE_POLL = 0.1
# A save is followed by twice its own time without one: a busy chain costs a third of one core.
_SAVE_SHARE = 2.0
_MAX_RESTARTS = 5
_OTHER_PORTS = 3
_LAST_BLOCKS = 5
# With history a dump grows with the square of the chain, and takes half a second at 300 blocks.
_WITHOUT_HISTORY = False
_MAX_STATE_BYTES = 2 << 30


class DevChain:
    """One local node and its keeper. Make it with `start`; it is a context manager.

    Attributes:
        port: TCP port on the loopback interface.
        rpc_url: where it serves JSON-RPC.
    """

    def __init__(self, port: int, state: Path | None) -> None:
        self.port = port
        self.rpc_url = f"http://127.0.0.1:{port}"
        self._file = None if state is None else StateFile(state)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock_file: IO[bytes] | None = None
        self._rpc = Rpc(self.rpc_url, timeout=60.0, max_reply=_MAX_STATE_BYTES)
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._hold = threading.Lock()
        self._failure: LedgerError | None = None
        self._saved: Block | None = None
        self._next_save = 0.0
        # The node dies with the thread that starts it, so the keeper itself starts it.
        self._keeper = threading.Thread(target=self._keep, name="dev-chain", daemon=True)

    @classmethod
    def start(cls, *, state: Path | None = None, port: int | None = None) -> Self:
        """Start a node and wait until it serves.

        Args:
            state: file that keeps the chain between runs; None forgets it at the end.
            port: a fixed port; None picks a free one.

        Raises:
            ToolMissing: no Anvil is installed.
            UsageError: the port is taken, or another process runs this state.
            ManifestError: the state file and its copy are damaged.
            ChainUnavailable: the node does not start.
        """
        if port is not None:
            require_free(port)
            return cls._begin(port, state)
        for _ in range(_OTHER_PORTS):
            chosen = free_port()
            try:
                return cls._begin(chosen, state)
            except ChainUnavailable:
                if is_free(chosen):
                    raise  # it was not that another program took the port before the node did
        return cls._begin(free_port(), state)

    @classmethod
    def _begin(cls, port: int, state: Path | None) -> Self:
        chain = cls(port, state)
        chain._lock()
        chain._keeper.start()
        chain._ready.wait()
        if chain._failure is not None:
            chain._keeper.join()
            chain._rpc.close()
            chain._release()
            raise chain._failure
        atexit.register(chain.stop)
        return chain

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The node's process id; a new one after a restart."""
        if self._process is None:
            raise ChainUnavailable("the local chain is not running")
        return self._process.pid

    @property
    def failure(self) -> LedgerError | None:
        """Why the keeper gave up, or None while all is well."""
        return self._failure

    def stop(self) -> None:
        """Save the state, end the node, and wait until it is gone. Safe to repeat."""
        self._stopping.set()
        if self._keeper.is_alive():
            self._keeper.join()
        self._rpc.close()
        self._release()
        atexit.unregister(self.stop)

    # -- for tests of finality and time ----------------------------------------------------------

    @contextlib.contextmanager
    def hold_finality(self) -> Iterator[None]:
        """While inside, the keeper mines no empty blocks, so nothing new becomes final."""
        with self._hold:
            yield

    def mine(self, blocks: int = 1) -> None:
        """Mine empty blocks now."""
        self._rpc.call("anvil_mine", [hex(blocks)])

    def advance_time(self, seconds: int) -> None:
        """Move the chain's clock forward for good, and mine a block that shows it."""
        self._rpc.call("evm_increaseTime", [seconds])
        self._rpc.call("evm_mine")

    # -- the keeper ------------------------------------------------------------------------------

    def _keep(self) -> None:
        try:
            self._boot()
        except LedgerError as error:
            self._failure = error
            return
        except OSError as error:
            self._failure = ChainUnavailable(f"the local node cannot be started: {error}")
            return
        finally:
            self._ready.set()
        restarts = 0
        seen: Block | None = None
        try:
            while not self._stopping.is_set():
                assert self._process is not None
                if (status := self._process.poll()) is not None:
                    restarts += 1
                    log.warning("the local node ended with status %d, starting another", status)
                    if restarts > _MAX_RESTARTS:
                        raise ChainUnavailable("the local chain keeps dying")
                    self._boot()
                    seen = None
                head = self._tend(seen)
                pause = _IDLE_POLL if head is not None and head == seen else _ACTIVE_POLL
                seen = head if head is not None else seen
                self._stopping.wait(pause)
            self._finish()
        except LedgerError as error:
            self._failure = error
        finally:
            if self._process is not None:
                kill(self._process)

    def _boot(self) -> None:
        """Start the node from the best state there is and bring its clock and finality in order."""
        states = [] if self._file is None else self._file.candidates()
        if not states:
            self._process = spawn(self.port, None)
            self._saved = self._rpc.block("latest")  # an untouched chain is not worth a file
            return
        failure: ChainUnavailable | None = None
        for state in states:
            try:
                self._process = self._spawn_from(state)
                break
            except ChainUnavailable as error:
                if not is_free(self.port):
                    raise  # that is no fault of this state, and the one before it is older
                failure = error
        else:
            assert failure is not None
            raise ChainUnavailable(
                f"the local chain's state cannot be loaded: {failure.message}",
                hint="start an empty chain with deed up --fresh",
            )
        head = self._rpc.block("latest")
        ahead = head.timestamp - int(time.time())
        if ahead > 0:  # a clock moved forward stays forward, or block times would run backwards
            self._rpc.call("evm_increaseTime", [ahead])
        # States below the loaded head are not kept, so finality must reach it to be provable.
        self._rpc.call("anvil_mine", [hex(2)])
        self._saved = self._rpc.block("latest")

    def _spawn_from(self, state: bytes) -> subprocess.Popen[bytes]:
        with tempfile.NamedTemporaryFile(prefix="deed-chain-", suffix=".json") as plain:
            plain.write(state)
            plain.flush()
            return spawn(self.port, Path(plain.name))

    def _tend(self, seen: Block | None) -> Block | None:
        """Make new transactions remembered, then final.

        Returns:
            The head, once nothing is left to do about it; None when another look is needed.
        """
        try:
            head = self._rpc.block("latest")
            kept = self._file is None or head == self._saved
            if head == seen and kept:
                return head
            if not kept:
                if time.monotonic() < self._next_save:
                    return None
                # What is final is not lost: on disk first.
                kept = self._save() == head
            done = False
            if kept and self._hold.acquire(blocking=False):
                try:
                    done = self._is_settled(head)
                finally:
                    self._hold.release()
        except (UnavailableError, ChainError):
            return None  # it is dead or going to be; the loop looks
        return head if done else None

    def _is_settled(self, head: Block) -> bool:
        """Whether all transactions up to `head` are final; mines what is missing when not.

        What comes in meanwhile is not judged here: the next look begins from the new head. Blocks
        are mined one by one, so that a transaction that comes in between is not made final unsaved.
        """
        missing = 0
        if head.raw.get("transactions"):
            missing = 2
        elif head.number > 0 and self._rpc.block(head.number - 1).raw.get("transactions"):
            missing = 1
        for mined in range(1, missing + 1):
            self._rpc.call("anvil_mine", [hex(1)])
            if self._rpc.block("latest").number != head.number + mined:
                break
        return not missing

    def _save(self) -> Block:
        """Write the state; the block that is on disk now, with all below it."""
        assert self._file is not None
        began = time.monotonic()
        head = self._rpc.block("latest")
        self._file.save(data(self._rpc.call("anvil_dumpState", [_WITHOUT_HISTORY])))
        self._saved = head
        self._next_save = time.monotonic() + (time.monotonic() - began) * _SAVE_SHARE
        return head

    def _finish(self) -> None:
        if self._file is not None:
            with contextlib.suppress(UnavailableError, ChainError):
                self._empty_pool()
                if self._rpc.block("latest") != self._saved:
                    self._save()

    def _empty_pool(self) -> None:
        """Mine what was accepted a moment ago: a dump holds blocks, not what waits for one."""
        for _ in range(_LAST_BLOCKS):  # one that no block takes, at too low a fee say, is let go
            waiting = self._rpc.call("txpool_status")
            if not isinstance(waiting, dict) or not quantity(waiting.get("pending")):
                return
            self._rpc.call("anvil_mine", [hex(1)])

    # -- one process per state -------------------------------------------------------------------

    def _lock(self) -> None:
        if self._file is None:
            return
        path = self._file.path.with_name(self._file.path.name + ".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+b")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            raise UsageError(
                "another process runs this local chain already",
                hint="use it from there, or stop that deed up first",
            ) from None
        self._lock_file = handle

    def _release(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None


__all__ = ["CHAIN_ID", "DevChain"]
