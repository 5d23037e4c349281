"""The owner of a lease that other processes of this user use too (docs/spec/lease-share.md).

It alone talks to the broker. A rank gets the file, its index and the key of this one file, then
every extension of the lease and its end.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import selectors
import socket
import tempfile
import threading
import weakref
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from ledger.canonical import parse_json
from ledger.errors import LedgerError
from ledger.sealed.memory_files import MemoryFile, memory_folder
from ledger.serving.lease_messages import (
    CREDENTIALS,
    MAX_MESSAGE,
    PATIENCE,
    POLL,
    SECRET_PACKET,
    SOCKET_VARIABLE,
    TYPE_ASK,
    TYPE_END,
    TYPE_GRANT,
    TYPE_LEASE,
    VERSION,
    lost_message,
    peer_uid,
)

if TYPE_CHECKING:
    from ledger.serving.model import SealedModel

_MAX_RANKS: Final = 1024
_PREFIX: Final = "modeldeed-lease-"
_SOCKET: Final = "lease.sock"


def _sweep(there: Path) -> None:
    """Remove this user's folders whose owner was killed: nobody listens at their sockets."""
    for folder in there.glob(f"{_PREFIX}*"):
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe,
        ):
            if folder.lstat().st_uid != os.geteuid() or folder.is_symlink():
                continue
            probe.settimeout(0)
            try:
                probe.connect(str(folder / _SOCKET))
            except ConnectionRefusedError:
                (folder / _SOCKET).unlink()
                folder.rmdir()


class LeaseShare:
    """Serves one model's lease to other processes of this user; a context manager.

    Attributes:
        address: path of the socket that ranks connect to; only this user can reach it.
    """

    def __init__(self, model: SealedModel) -> None:
        self._model = model
        passed = model.sealed_file.pass_on()
        self._key = passed.secret
        self._cells = passed.cells
        self._fd = os.dup(passed.fd)
        self._verify = passed.verify
        self._index = MemoryFile(len(passed.tables), lambda into: _write(into, passed.tables))
        there = memory_folder()
        _sweep(there)
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=there))
        self.address = str(self._folder / _SOCKET)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Before anyone connects: what is sent between accept and a later setting has no sender.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._listener.bind(self.address)
        self._listener.listen(_MAX_RANKS)
        self._listener.settimeout(0)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._ranks: dict[int, socket.socket] = {}
        self._granted: set[int] = set()
        self._closed = False
        self._pid = os.getpid()
        self._told = model.lease
        self._thread = threading.Thread(target=self._serve, name="modeldeed-share", daemon=True)
        self._thread.start()
        _OPEN.add(self)
        model.at_end(self._end)

    def __repr__(self) -> str:
        return f"<LeaseShare with {len(self._ranks)} ranks>"

    @property
    def environment(self) -> dict[str, str]:
        """What `join` finds the owner by, for the environment of processes started elsewhere."""
        return {SOCKET_VARIABLE: self.address}

    def descriptor(self) -> int:
        """A connected, inheritable descriptor for one rank; the caller closes its copy.

        Hand it to a child with ``pass_fds`` and give its number to `join`.
        """
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._admit(here)
        there.set_inheritable(True)
        return there.detach()

    def close(self) -> None:
        """End the ranks' use of the lease. Safe to repeat."""
        self._end(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _end(self, reason: LedgerError | None) -> None:
        if os.getpid() != self._pid:
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
            ranks = list(self._ranks.values())
            self._ranks.clear()
        told = lost_message(reason) if reason is not None else {"type": TYPE_END}
        for rank in ranks:
            with contextlib.suppress(OSError):
                rank.send(json.dumps(told).encode(), socket.MSG_DONTWAIT)
            rank.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(PATIENCE)
        self._listener.close()
        self._key.wipe()
        self._index.close()
        os.close(self._fd)
        with contextlib.suppress(OSError):
            os.unlink(self.address)  # noqa: PTH108 - the address is text for sockets
            self._folder.rmdir()

    def let_go(self) -> None:
        """In a forked child: close its copies, which would keep ranks from seeing the owner end."""
        for sock in [self._listener, *self._ranks.values()]:
            sock.close()

    def _serve(self) -> None:
        while not self._closed:
            for key, _ in self._selector.select(POLL):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._hear(key.fileobj)
            self._tell()
        self._selector.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            rank, _ = self._listener.accept()
            if peer_uid(rank) == os.geteuid() and len(self._ranks) < _MAX_RANKS:
                self._admit(rank)
            else:
                rank.close()

    def _admit(self, rank: socket.socket) -> None:
        rank.settimeout(0)
        # The kernel then says with each message who sent it, over a pair of sockets too.
        rank.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        with self._lock:
            if self._closed:
                rank.close()
                return
            self._ranks[rank.fileno()] = rank
        self._selector.register(rank, selectors.EVENT_READ)

    def _hear(self, rank: Any) -> None:
        try:
            data, ancillary, _, _ = rank.recvmsg(MAX_MESSAGE, socket.CMSG_SPACE(CREDENTIALS.size))
            if not data or not self._asks(data, ancillary):
                self._drop(rank)
                return
            self._grant(rank)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, LedgerError):
            self._drop(rank)

    def _asks(self, data: bytes, ancillary: list[tuple[int, int, bytes]]) -> bool:
        uids = [
            CREDENTIALS.unpack(raw[: CREDENTIALS.size])[1]
            for level, kind, raw in ancillary
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
        ]
        asked = parse_json(data, what="a rank's message", limit=MAX_MESSAGE)
        return uids == [os.geteuid()] and asked == {"type": TYPE_ASK, "version": VERSION}

    def _grant(self, rank: socket.socket) -> None:
        self._model.keeper.require()
        record = self._model.record
        message = {
            "type": TYPE_GRANT,
            "version": VERSION,
            "lease": self._model.lease.to_json(),
            "now": self._model.keeper.now(),
            "record": None if record is None else record.to_json(),
            "verify": self._verify,
        }
        if self._cells:
            message["cells"] = self._cells
        files = array.array("i", [self._fd, self._index.fd])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)]
        with self._lock:
            if self._closed:
                return
            rank.sendmsg([json.dumps(message).encode()], rights)
            for at in range(0, len(self._key.view), SECRET_PACKET):
                rank.send(self._key.view[at : at + SECRET_PACKET])
            self._granted.add(rank.fileno())

    def _tell(self) -> None:
        """Pass on an extension; a rank that does not read is let go, and ends by itself."""
        lease = self._model.lease
        if lease is self._told:
            return
        self._told = lease
        told = {"type": TYPE_LEASE, "lease": lease.to_json(), "now": self._model.keeper.now()}
        with self._lock:
            granted = [rank for fd, rank in self._ranks.items() if fd in self._granted]
        for rank in granted:
            try:
                rank.send(json.dumps(told).encode())
            except OSError:
                self._drop(rank)

    def _drop(self, rank: socket.socket) -> None:
        with self._lock, contextlib.suppress(KeyError, ValueError, OSError):
            self._granted.discard(rank.fileno())
            self._ranks.pop(rank.fileno(), None)
            self._selector.unregister(rank)
        rank.close()


_OPEN: weakref.WeakSet[LeaseShare] = weakref.WeakSet()


def _after_fork() -> None:
    for share in list(_OPEN):
        share.let_go()


os.register_at_fork(after_in_child=_after_fork)


def _write(into: memoryview, data: bytes) -> None:
    into[:] = data
