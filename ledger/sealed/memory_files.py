"""Plaintext for programs that insist on a path: memory with a file descriptor, never a disk file.

A ``MemoryFile`` is a memfd under this process's own descriptor table. It is sealed against growing,
shrinking and any new writer (``F_SEAL_FUTURE_WRITE``), so what a consumer maps cannot change under
it; the one writable mapping made before that is ours and zeroes the content at the end. Its path
``/proc/self/fd/N`` exists only inside this process, and dies with it however it dies.

A ``LinkFolder`` gives such paths names in one folder, for programs that look for ``config.json``
beside its model. The folder holds links and lies on a tmpfs; after a crash the links lead nowhere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ledger.errors import ConfigurationError, ToolMissing, UnsupportedModel
from ledger.sealed.memory import advise, zero_at

_F_ADD_SEALS: Final = 1033
_SEALS: Final = 0x01 | 0x02 | 0x04 | 0x10  # seal, shrink, grow, future write
_NOEXEC_SEAL: Final = 0x08
_DONTFORK: Final = 10
_DONTDUMP: Final = 16
_LABEL: Final = "modeldeed"


class MemoryFile:
    """One file in memory, filled once.

    Attributes:
        fd: its descriptor, closed on exec.
        size: bytes.
    """

    def __init__(self, size: int, fill: Callable[[memoryview], None]) -> None:
        """Make the file and let `fill` write its content; after a failure nothing is left.

        Raises:
            ToolMissing: this system has no sealable memory files.
            ConfigurationError: it gives this process no more memory.
        """
        self.size = size
        self.fd = -1
        self._pid = os.getpid()
        self._map: mmap.mmap | None = None
        try:
            # The name shows in /proc/PID/maps, so it says nothing about the content.
            self.fd = _create()
        except (AttributeError, OSError) as error:
            raise ToolMissing(
                f"this system makes no files in memory: {error}",
                hint="use Linux 5.1 or newer, or read the tensors through get_tensor",
            ) from None
        try:
            if size:
                self._map = self._mapped()
                advise(self._map, _DONTDUMP)
                advise(self._map, _DONTFORK)
                view = memoryview(self._map)
                try:
                    fill(view)
                finally:
                    view.release()
            self._seal()
        except BaseException:
            self.close()
            raise
        _OPEN.add(self)

    def _mapped(self) -> mmap.mmap:
        try:
            os.ftruncate(self.fd, self.size)
            return mmap.mmap(self.fd, self.size)
        except (OSError, OverflowError):
            raise ConfigurationError(
                f"this process gets no file of {self.size} bytes in memory",
                hint="raise its limits (ulimit -v, ulimit -f), or read through get_tensor",
            ) from None

    def _seal(self) -> None:
        try:
            fcntl.fcntl(self.fd, _F_ADD_SEALS, _SEALS)
        except OSError as error:
            raise ToolMissing(
                f"this system does not seal files in memory: {error.strerror}",
                hint="use Linux 5.1 or newer, or read the tensors through get_tensor",
            ) from None

    @property
    def path(self) -> str:
        """A path by which this process, and no other, can open it."""
        return f"/proc/self/fd/{self.fd}"

    def close(self) -> None:
        """Zero the content, also where a consumer still maps it, and close. Safe to repeat."""
        if self.fd < 0:
            return
        fd, self.fd = self.fd, -1
        if self._map is not None and os.getpid() == self._pid:
            # A forked child does not have the mapping; the content is its parent's to zero.
            zero_at(self._map)
        self._map = None
        os.close(fd)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            self.close()

    def __repr__(self) -> str:
        return f"<MemoryFile of {self.size} bytes>"


class LinkFolder:
    """A folder on a tmpfs whose files are links to memory files.

    Attributes:
        path: of the folder; only this user can enter it.
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        """Make the folder with one link for each name (relative, ``/`` between parts).

        Raises:
            ToolMissing: no tmpfs is mounted where this user can write.
            UnsupportedModel: a name that file systems do not have.
        """
        self._pid = os.getpid()
        self.path = Path(tempfile.mkdtemp(prefix=f"{_LABEL}-", dir=memory_folder()))
        try:
            for name, target in targets.items():
                link = self.path / name
                link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                link.symlink_to(target)
        except OSError as error:
            self.close()
            raise UnsupportedModel(
                f"the package's files cannot have their names here: {error.strerror}",
                hint="files() gives them from memory",
            ) from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the folder. Safe to repeat."""
        if os.getpid() == self._pid:
            shutil.rmtree(self.path, ignore_errors=True)


def _create() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        # Hosts may insist on it; kernels before 6.3 do not know it.
        fd = os.memfd_create(_LABEL, flags | _NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fd = os.memfd_create(_LABEL, flags)
    os.fchmod(fd, 0o600)
    return fd


_OPEN: weakref.WeakSet[MemoryFile] = weakref.WeakSet()


def _after_fork() -> None:
    """A forked child keeps no way to the plaintext."""
    for file in list(_OPEN):
        file.close()


os.register_at_fork(after_in_child=_after_fork)


def memory_folder() -> Path:
    """A writable folder whose content is memory.

    Raises:
        ToolMissing: there is none; names of a model's files do not go to a disk either.
    """
    for place in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm", "/run/shm"):  # noqa: S108
        if place and _on_tmpfs(place) and os.access(place, os.W_OK | os.X_OK):
            return Path(place)
    raise ToolMissing(
        "no file system in memory is mounted where this user can write",
        hint="mount a tmpfs on /dev/shm (containers: --shm-size), or use files() from memory",
    )


def _on_tmpfs(place: str) -> bool:
    """Whether a folder lies on tmpfs or ramfs, by the mount table."""
    try:
        device = Path(place).stat().st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                fields, _, rest = line.partition(" - ")
                if fields.split(" ")[2] == wanted:
                    return rest.split(" ")[0] in {"tmpfs", "ramfs"}
    except (OSError, IndexError):
        return False
    return False
