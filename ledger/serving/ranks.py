"""A rank: a process that uses the model another process of its user loaded, under its lease.

It asks no broker. When the owner ends, however it ends, so does the rank's use of the model.
``docs/spec/lease-share.md`` is the protocol.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from ledger.broker.keeper import LeaseClock
from ledger.broker.leases import Lease
from ledger.canonical import parse_json
from ledger.errors import (
    KeyAccessError,
    LeaseExpired,
    LedgerError,
    ManifestError,
    UnavailableError,
    UnsupportedVersion,
)
from ledger.licensing.entitlement import moment
from ledger.sealed.memory import Secret
from ledger.sealed.passing import open_passed, secret_bytes, split_secret
from ledger.sealed.reader import SealedFile
from ledger.sealed.record import SealingRecord
from ledger.sealed.source import FileSource
from ledger.serving.lease_messages import (
    MAX_MESSAGE,
    PATIENCE,
    POLL,
    SECRET_PACKET,
    SOCKET_VARIABLE,
    TYPE_ASK,
    TYPE_GRANT,
    TYPE_LEASE,
    TYPE_LOST,
    VERSION,
    peer_uid,
    read_lease,
    read_loss,
)
from ledger.serving.model import Framework, SealedModel

_FILES: Final = 2


def join(
    owner: str | int | None = None,
    *,
    framework: Framework = "numpy",
    device: str = "cpu",
    names: Iterable[str] | None = None,
    on_loss: Callable[[LedgerError], None] | None = None,
    timeout: float = 60.0,
) -> SealedModel:
    """Open the model that another process of this user loaded, under its lease.

    No broker is asked. The model ends when the owner's does.

    Args:
        owner: the share's ``address``, or the number of an inherited ``descriptor``, which is taken
            over; by default the address in ``DEED_LEASE``.
        framework: what tensors are returned as.
        device: torch device; with another one than "cpu" tensors are copied there.
        names: tensors to offer; None offers all.
        on_loss: called once, from another thread, before the model is unloaded.
        timeout: seconds to wait for the owner, which may still be loading.

    Raises:
        KeyAccessError: there is no owner, it belongs to another user, or it refuses.
        UnavailableError: the owner does not answer in time.
        LeaseExpired: the lease has ended.
        ContentMismatch, SealedFormatError: file and index are not what the sealing record fixes.
    """
    place = os.environ.get(SOCKET_VARIABLE) if owner is None else owner
    if place is None:
        raise KeyAccessError(
            "no process is named whose lease this one could use",
            hint=f"give the share's address, or set {SOCKET_VARIABLE} to it",
        )
    sock = _connect(place, timeout)
    try:
        grant, files, key = _ask(sock)
    except TimeoutError:
        sock.close()
        raise UnavailableError(
            "the process that holds the lease does not answer", hint="see whether it still runs"
        ) from None
    except OSError:
        sock.close()
        raise _refused() from None
    except BaseException:
        sock.close()
        raise
    try:
        with key:
            sealed, record = _open(grant, files, key)
    except BaseException:
        sock.close()
        raise
    try:
        lease, now = read_lease(grant)
        return SealedModel(
            sealed,
            lambda lost: RankKeeper(sock, lease, now, on_loss=lost),
            framework=framework,
            device=device,
            names=names,
            on_loss=on_loss,
            record=record,
        )
    except BaseException:
        sealed.close()
        sock.close()
        raise


class RankKeeper:
    """Hears from the owner whether the lease holds; asks nobody else. Thread-safe.

    Attributes:
        lease: as the owner last passed it on.
    """

    def __init__(
        self,
        owner: socket.socket,
        lease: Lease,
        now: float,
        *,
        on_loss: Callable[[LedgerError], None],
    ) -> None:
        self.lease = lease
        self._owner = owner
        self._on_loss = on_loss
        self._clock = LeaseClock(int(now))
        self._lost: LedgerError | None = None
        self._pid = os.getpid()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="modeldeed-rank", daemon=True)

    def start(self) -> None:
        """Begin listening."""
        self._thread.start()

    def now(self) -> float:
        """Unix seconds by the clock that the owner's lease lives by."""
        return self._clock.now()

    def stop(self) -> None:
        """Stop listening. Safe to repeat."""
        self._stopping.set()
        if os.getpid() != self._pid:
            return
        with contextlib.suppress(OSError):
            self._owner.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(PATIENCE)
        self._owner.close()

    def require(self) -> None:
        """Check that the lease still holds.

        Raises:
            LeaseExpired: it was lost, ran out, or its owner ended.
            KeyAccessError: this is a forked child of the rank.
        """
        if os.getpid() != self._pid:
            raise KeyAccessError(
                "the model was opened by the parent process, and its lease stays there",
                hint="call ledger.join in the process that uses the model",
            )
        self._look()
        lost = self._lost
        if isinstance(lost, LeaseExpired):
            raise LeaseExpired(lost.message, hint=lost.hint)
        if lost is not None:
            raise LeaseExpired(f"the lease was ended: {lost.message}", hint=lost.hint) from lost

    def _look(self) -> None:
        if self.lease.enforce and self.now() >= self.lease.grace_until:
            self._lose(LeaseExpired(f"the lease ended on {moment(self.lease.grace_until)}"))

    def _lose(self, reason: LedgerError) -> None:
        with self._lock:
            if self._lost is not None or self._stopping.is_set():
                return
            self._lost = reason
        self._on_loss(reason)

    def _run(self) -> None:
        self._owner.settimeout(POLL)
        while not self._stopping.is_set() and self._lost is None:
            try:
                data = self._owner.recv(MAX_MESSAGE)
            except TimeoutError:
                data = None
            except OSError:
                data = b""
            try:
                if data is not None:
                    self._heard(data)
            except LedgerError as error:
                self._lose(error)
            self._look()

    def _heard(self, data: bytes) -> None:
        message = parse_json(data, what="the owner's message", limit=MAX_MESSAGE) if data else {}
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == TYPE_LEASE:
            lease, now = read_lease(message)
            self.lease, self._clock = lease, LeaseClock(int(now))
        elif kind == TYPE_LOST:
            self._lose(read_loss(message))
        else:
            self._lose(
                LeaseExpired(
                    "the process that held the lease has ended",
                    hint="load the model again, and start its ranks from there",
                )
            )


def _connect(place: str | int, timeout: float) -> socket.socket:
    try:
        if isinstance(place, int):
            sock = socket.socket(fileno=place)
            sock.set_inheritable(False)
        else:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            sock.settimeout(timeout)
            try:
                sock.connect(place)
            except BaseException:
                sock.close()
                raise
        sock.settimeout(timeout)
        if peer_uid(sock) != os.geteuid():
            sock.close()
            raise KeyAccessError(
                "the process that offers the lease belongs to another user",
                hint="run all ranks as one user, and check the share's address",
            )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not an address"
        raise KeyAccessError(
            f"the process that holds the lease cannot be reached: {reason or error}",
            hint="see whether it still runs, and whether the address is its share's",
        ) from None
    return sock


def _ask(sock: socket.socket) -> tuple[dict[str, Any], list[int], Secret]:
    """The owner's answer: message, descriptors and key."""
    sock.send(json.dumps({"type": TYPE_ASK, "version": VERSION}).encode())
    data, files = _receive(sock)
    try:
        grant = _checked(data, files)
        # Straight into locked memory: no copy of the key is left in an object of the interpreter.
        key = Secret(secret_bytes(_cells(grant)))
        try:
            _fill(sock, key)
        except BaseException:
            key.wipe()
            raise
    except BaseException:
        for fd in files:
            os.close(fd)
        raise
    return grant, files, key


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """A message with its files, closed on exec from the first moment: one holds names and shapes.

    As ``socket.recv_fds``, which passes its flags over.
    """
    files = array.array("i")
    room = socket.CMSG_LEN(_FILES * files.itemsize)
    data, ancillary, _, _ = sock.recvmsg(MAX_MESSAGE, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, raw in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(raw[: len(raw) // files.itemsize * files.itemsize])
    return data, list(files)


def _cells(grant: dict[str, Any]) -> int:
    cells = grant.get("cells", 0)
    if type(cells) is not int or cells < 0:
        raise ManifestError("the process that holds the lease tells no number of cells")
    return cells


def _checked(data: bytes, files: list[int]) -> dict[str, Any]:
    if not data:
        raise _refused()
    grant = parse_json(data, what="the owner's message", limit=MAX_MESSAGE)
    kind = grant.get("type") if isinstance(grant, dict) else None
    if kind == TYPE_LOST:
        raise read_loss(grant)
    if kind != TYPE_GRANT or len(files) != _FILES:
        raise ManifestError("the process that holds the lease sent no lease")
    if grant.get("version") != VERSION:
        raise UnsupportedVersion("the process that holds the lease runs another release")
    return dict(grant)


def _refused() -> KeyAccessError:
    return KeyAccessError(
        "the process that holds the lease refuses to share it",
        hint="its lease may have ended: load the model again there",
    )


def _fill(sock: socket.socket, key: Secret) -> None:
    done = 0
    while done < len(key.view):
        packet = key.view[done : done + SECRET_PACKET]
        if sock.recv_into(packet) != len(packet):
            raise ManifestError("the process that holds the lease sent no key")
        done += len(packet)


def _open(
    grant: dict[str, Any], files: list[int], key: Secret
) -> tuple[SealedFile, SealingRecord | None]:
    fd, tables = files
    try:
        record = grant.get("record")
        lodged = None if record is None else SealingRecord.from_json(record)
        size = os.fstat(tables).st_size
        index = os.pread(tables, size, 0) if size else b""
        while len(index) < size:
            index += os.pread(tables, size - len(index), len(index))
        source = FileSource(f"/proc/self/fd/{fd}")
        try:
            message_key, cells = split_secret(key, _cells(grant))
            try:
                opened = open_passed(source, message_key, index, lodged, cells)
            finally:
                if cells is not None:
                    cells.wipe()
            return SealedFile(source, opened, verify=grant.get("verify") is not False), lodged
        except BaseException:
            source.close()
            raise
    finally:
        os.close(fd)
        os.close(tables)
