"""Where the bytes of a sealed package come from: a local file here, an object elsewhere.

The reader asks for bytes by offset and never for a path, so that the same numbered steps hold
wherever a package lies. What is read is private memory, never a shared mapping.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol

from ledger.errors import SealedFormatError, SealedTruncated


class Reads(Protocol):
    """Reads of one load, which can be given up together."""

    def block(self, offset: int, size: int) -> memoryview | None:
        """Bytes worth fetching in one go; None where reading piece by piece costs nothing."""

    def abandon(self) -> None:
        """End the reads that run, from any thread; their callers get an exception."""


class ByteSource(Protocol):
    """A sealed package to read from. Thread-safe.

    Attributes:
        name: for messages; holds no credentials.
        size: in bytes, fixed when it was opened.
        tag: changes when the bytes do, as far as the place can tell; None where it cannot.
        width: how many reads at the same time pay off, beyond one per core.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - an attribute, said above
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def tag(self) -> str | None: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102

    def read(self, offset: int, into: memoryview) -> None:
        """Fill `into`.

        Raises:
            SealedTruncated: the package ends before.
            LedgerError: it cannot be read.
        """

    def reads(self) -> Reads:
        """A handle for the reads of one load."""

    def close(self) -> None:
        """Let go of it. Safe to repeat, and in a forked child."""


class FileSource:
    """A regular file of this machine, by descriptor: what is at the path may change."""

    width = 0

    def __init__(self, path: Path | str) -> None:
        """Open it.

        Raises:
            SealedFormatError: there is no such file, or it cannot be read.
        """
        self._fd = -1
        self.name = str(path)[:400]
        try:
            # Without O_NONBLOCK the open of a pipe waits for a writer for ever.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a path"
            raise SealedFormatError(
                f"{self.name} cannot be read: {reason}", hint="check the path and its permissions"
            ) from None
        facts = os.fstat(self._fd)
        if not stat.S_ISREG(facts.st_mode):
            self.close()
            raise SealedFormatError(f"{path} is not a regular file", hint="give a sealed package")
        self.size = facts.st_size
        self.tag = f"{facts.st_dev}-{facts.st_ino}-{facts.st_mtime_ns}"

    def read(self, offset: int, into: memoryview) -> None:
        """Fill `into` from a private read; a shared mapping could change under the cipher.

        Raises:
            SealedTruncated: the file ends before.
            SealedFormatError: the file cannot be read.
        """
        done = 0
        while done < len(into):
            try:
                count = os.preadv(self._fd, [into[done:]], offset + done)
            except OSError as error:
                raise SealedFormatError(
                    f"the sealed file cannot be read: {error.strerror}", hint="check the disk"
                ) from None
            if count == 0:
                raise SealedTruncated(f"the file ends {len(into) - done} bytes early")
            done += count

    def fileno(self) -> int:
        """The descriptor; still the source's own."""
        return self._fd

    def reads(self) -> FileSource:
        """Itself: a read of a local file ends by itself."""
        return self

    def block(self, offset: int, size: int) -> None:
        """Nothing: segments are read one by one into memory that is still in the cache."""

    def abandon(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Close the descriptor. Safe to repeat."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def read_bytes(source: ByteSource, size: int, offset: int) -> bytes:
    """`size` bytes from `offset`.

    Raises:
        SealedTruncated: the package ends before.
        LedgerError: it cannot be read.
    """
    buffer = bytearray(size)
    source.read(offset, memoryview(buffer))
    return bytes(buffer)
