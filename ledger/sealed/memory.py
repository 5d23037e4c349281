"""Memory for plaintext and keys: private, not dumped, not inherited, zeroed.

``mmap.mmap(-1, n)`` alone would be shared memory, which ignores huge pages; both kinds here are
MAP_PRIVATE | MAP_ANONYMOUS. The calls go through ctypes because that releases the interpreter
lock while pages are faulted in or zeroed.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from types import TracebackType
from typing import Self

from ledger.errors import ConfigurationError

_HUGEPAGE = 14
_DONTDUMP = 16
_WIPEONFORK = 18
_DONTNEED = 4
_POPULATE_WRITE = 23
_HUGE_FROM = 4 << 20

_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
_libc.memset.restype = ctypes.c_void_p
_libc.mlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class Arena(mmap.mmap):
    """A private anonymous mapping of at least `size` bytes, page-aligned, zero at first.

    Excluded from core dumps and empty in forked children. Views into it keep the mapping alive,
    so a view outlives :meth:`wipe` without danger and then reads zeros.

    Attributes:
        address: of the first byte.
    """

    address: int

    def __new__(cls, size: int) -> Self:
        """Map the memory; transparent huge pages are asked for from 4 MiB on.

        Raises:
            ConfigurationError: the system gives this process no more.
        """
        length = -(-max(size, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        try:
            arena = super().__new__(cls, -1, length, flags=flags)
        except (OSError, OverflowError):
            raise ConfigurationError(
                f"this process gets no {length} bytes of memory more",
                hint="raise its limits (ulimit -v, vm.max_map_count), or read fewer tensors at a "
                "time: get_slice, names=, attach",
            ) from None
        arena.address = ctypes.addressof(ctypes.c_char.from_buffer(arena))
        for advice in (_DONTDUMP, _WIPEONFORK):
            _libc.madvise(arena.address, length, advice)
        if size >= _HUGE_FROM:
            _libc.madvise(arena.address, length, _HUGEPAGE)
        return arena

    def populate(self, start: int, length: int) -> None:
        """Fault pages in ahead of writing; kernels before 5.14 fault them in on writing."""
        _libc.madvise(self.address + start, length, _POPULATE_WRITE)

    def zero(self, start: int, length: int) -> None:
        """Overwrite a part with zeros."""
        if not 0 <= start <= start + length <= len(self):
            raise IndexError(start)
        _libc.memset(self.address + start, 0, length)

    def wipe(self) -> None:
        """Overwrite everything with zeros and give the pages back; views stay valid."""
        _libc.memset(self.address, 0, len(self))
        _libc.madvise(self.address, len(self), _DONTNEED)


def advise(mapping: mmap.mmap, advice: int) -> None:
    """``madvise`` over a whole writable mapping; what the kernel does not know is left out."""
    _libc.madvise(ctypes.addressof(ctypes.c_char.from_buffer(mapping)), len(mapping), advice)


def zero_at(mapping: mmap.mmap) -> None:
    """Overwrite a whole writable mapping with zeros."""
    _libc.memset(ctypes.addressof(ctypes.c_char.from_buffer(mapping)), 0, len(mapping))


class Secret:
    """A few bytes of key in a locked page of their own; zeroed at the end of a ``with`` block.

    Attributes:
        view: the bytes, writable.
        locked: whether the kernel agreed never to swap them out.
    """

    __slots__ = ("_page", "locked", "view")

    def __init__(self, size: int) -> None:
        self._page = Arena(size)
        self.locked = _libc.mlock(self._page.address, len(self._page)) == 0
        self.view = memoryview(self._page)[:size]

    @classmethod
    def of(cls, value: bytes | bytearray | memoryview) -> Self:
        """A copy of `value`."""
        secret = cls(len(value))
        secret.view[:] = value
        return secret

    def wipe(self) -> None:
        """Zero the bytes; the view then reads zeros."""
        self._page.zero(0, len(self._page))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wipe()

    def __del__(self) -> None:
        # AttributeError: the page could not be mapped in the first place.
        with contextlib.suppress(AttributeError):
            self.wipe()

    def __repr__(self) -> str:
        return f"<Secret of {len(self.view)} bytes>"


def _bytes_offset() -> int:
    """Where the characters of a ``bytes`` object begin; -1 when that cannot be confirmed."""
    probe = bytes(range(1, 49))
    offset = bytes.__basicsize__ - 1
    return offset if ctypes.string_at(id(probe) + offset, len(probe)) == probe else -1


_OFFSET = _bytes_offset()


def burn(secret: bytes) -> bool:
    """Overwrite a ``bytes`` object that a library returned and only the caller refers to.

    The one place where an immutable object is written to: some libraries return keys as ``bytes``
    and leave no other way to remove them. Its layout is checked once at import.

    Returns:
        Whether it was overwritten.
    """
    # CPython shares objects of length 0 and 1 between all users.
    if _OFFSET < 0 or len(secret) < 2:
        return False
    _libc.memset(id(secret) + _OFFSET, 0, len(secret))
    return True
