"""A bounded look into a file of unknown honesty: small reads at any place, cached in one window."""

from __future__ import annotations

import os

from ledger.errors import TensorFileError

_WINDOW_BYTES = 1 << 16


class Window:
    """Reads bytes and numbers from a descriptor; every place and length is checked.

    Attributes:
        size: of the file.
        what: how errors name the file.
    """

    def __init__(self, fd: int, size: int, what: str) -> None:
        self._fd = fd
        self.size = size
        self.what = what
        self._start = 0
        self._data = b""

    def take(self, start: int, length: int) -> bytes:
        """Exactly `length` bytes from `start`.

        Raises:
            TensorFileError: they are not all there.
        """
        if length < 0 or start < 0 or start + length > self.size:
            raise self.damaged("points outside itself")
        at = start - self._start
        if at < 0 or at + length > len(self._data):
            # Only `size` bounds what is allocated, and callers bound what they ask for.
            self._start, at = start, 0
            self._data = os.pread(self._fd, max(length, _WINDOW_BYTES), start)
        found = self._data[at : at + length]
        if len(found) != length:
            raise TensorFileError(f"{self.what} changed while it was being read")
        return found

    def little(self, start: int, width: int) -> int:
        """An unsigned little-endian integer.

        Raises:
            TensorFileError: it is not all there.
        """
        return int.from_bytes(self.take(start, width), "little")

    def varint(self, start: int, end: int) -> tuple[int, int]:
        """A protobuf varint before `end`, and where it ends.

        Raises:
            TensorFileError: it is longer than 64 bits, or not all there.
        """
        value = 0
        for count in range(10):
            if start + count >= end:
                break
            byte = self.take(start + count, 1)[0]
            value |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:
                return value & ((1 << 64) - 1), start + count + 1
        raise self.damaged("holds a number that does not end")

    def damaged(self, fault: str) -> TensorFileError:
        """The error that says what is wrong with the file."""
        return TensorFileError(
            f"{self.what} {fault}",
            hint="the file is damaged or made to mislead; get it again from its source",
        )
