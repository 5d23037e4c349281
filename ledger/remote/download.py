"""Downloading a sealed package into a file, resumably: docs/spec/license-card.md, "Fetching".

What has arrived stands in ``OUT.part``, and which pieces of it in ``OUT.part.json``, one line a
piece with its hash. Lines are written after their bytes and are believed only when the bytes still
hash to them, so a process may die anywhere, and nothing has to be synced before the end.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self

from blake3 import blake3

from ledger.errors import (
    ConfigurationError,
    FormatError,
    LedgerError,
    ObjectReplaced,
    SealedAuthError,
    UnavailableError,
    UsageError,
)
from ledger.files import sync_folder, take_name
from ledger.paths import beside, require_file_name
from ledger.sealed.header import PRELUDE_BYTES, Prelude
from ledger.sealed.parallel import Meter, Progress, for_each
from ledger.sealed.source import ByteSource, read_bytes

FORMAT: Final = "modeldeed/fetch/1"
PIECE: Final = 8 << 20
SPARE_BYTES: Final = 256 << 20
"""What a download leaves free on the disk it goes to."""

_AT_ONCE: Final = 4
_MAX_LINE: Final = 4096


@dataclass(frozen=True, slots=True)
class Offer:
    """One place to download from.

    Attributes:
        place: its URL; only a hash of it is kept.
        open: opens it and checks that it is what is wanted; raises a ``LedgerError`` if not.
    """

    place: str
    open: Callable[[], ByteSource]


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What came of it.

    Attributes:
        path: the whole file.
        size: its length.
        source: where the last of it came from, as shown to people.
        resumed: bytes that an earlier run had left.
    """

    path: Path
    size: int
    source: str
    resumed: int


def download(
    offers: Sequence[Offer], out: Path, *, size: int, progress: Progress | None = None
) -> Downloaded:
    """Download a file of `size` bytes; under its name it appears whole or not at all.

    Args:
        offers: tried in order.
        out: the file; must not exist.
        size: of the file, already held against its prelude by each offer's ``open``.
        progress: called with bytes there and in total.

    Raises:
        UsageError: `out` exists or cannot be written, the disk is too small or full, or another
            download of it runs. What has arrived stays for the next try.
        LedgerError: no offer could be read to its end; the first one's reason.
    """
    require_file_name(out)
    try:
        with _Partial(out, size) as part:
            problem: LedgerError | None = None
            for offer in offers:
                try:
                    return _from(offer, part, progress)
                except (
                    ConfigurationError,
                    FormatError,
                    SealedAuthError,
                    UnavailableError,
                ) as error:
                    # Someone's page, a torn copy, a server that is down: go on elsewhere.
                    problem = problem or error
            raise problem or UsageError("the card names no file", hint="get a fresh card")
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        raise UsageError(
            f"{out} cannot be written: {error.strerror or error}",
            hint="make room and run it again: it goes on where it stopped"
            if full
            else "choose another file with --out",
        ) from None


def _from(offer: Offer, part: _Partial, progress: Progress | None) -> Downloaded:
    for attempt in (1, 2):
        source = offer.open()
        try:
            return _read_all(source, offer, part, progress)
        except ObjectReplaced:
            if attempt == 2:
                raise
        finally:
            source.close()
    raise AssertionError


def _read_all(
    source: ByteSource, offer: Offer, part: _Partial, progress: Progress | None
) -> Downloaded:
    place = sha256(offer.place.encode()).hexdigest()
    part.begin(_head_hash(source), place, source.tag)
    resumed = part.arrived
    part.require_room()
    meter = Meter(progress, part.size)
    meter.add(resumed)
    missing = part.missing()
    reads = source.reads()

    def fetch(number: int) -> None:
        piece = missing[number]
        offset, length = part.span(piece)
        data = reads.block(offset, length)
        part.put(piece, read_bytes(source, length, offset) if data is None else data)
        meter.add(length)

    for_each(len(missing), fetch, threads=_AT_ONCE, abandon=reads.abandon)
    part.finish()
    return Downloaded(part.out, part.size, source.name, resumed)


def _head_hash(source: ByteSource) -> str:
    """Of everything before the payload: the same in every copy of one sealing, and in no other."""
    left = Prelude.parse(read_bytes(source, PRELUDE_BYTES, 0)).payload_offset
    digest, offset = sha256(), 0
    while offset < left:
        count = min(PIECE, left - offset)
        digest.update(read_bytes(source, count, offset))
        offset += count
    return digest.hexdigest()


class _Partial:
    """The partial file with its journal, locked against other downloads."""

    def __init__(self, out: Path, size: int) -> None:
        self.out = out
        self.size = size
        self.arrived = 0
        self._path = beside(out, out.name + ".part")
        self._journal = beside(out, out.name + ".part.json")
        self._lock = threading.Lock()
        self._pieces: set[int] = set()
        self._fd = self._log = -1

    def __enter__(self) -> Self:
        if self.out.exists():
            raise UsageError(
                f"{self.out} exists", hint="move it away, or choose another file with --out"
            )
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(self._path, flags, 0o666)
            self._log = os.open(self._journal, flags | os.O_APPEND, 0o666)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A download that ended between the two lines above has given this file its name.
            alone = _is_at(self._fd, self._path) and _is_at(self._log, self._journal)
        except BlockingIOError:
            self.__exit__()
            raise UsageError(
                f"{self.out} is being downloaded by another process", hint="wait for that one"
            ) from None
        except OSError:
            self.__exit__()
            raise
        if not alone:
            self.__exit__()
            raise self._in_the_way()
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self._log, self._fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._log = -1

    def begin(self, head: str, place: str, tag: str | None) -> None:
        """Take over what an earlier run left, if it is of the same sealing and object."""
        first = {"format": FORMAT, "size": self.size, "piece": PIECE, "head": head}
        heads = [line for line in self._lines() if isinstance(line, dict)]
        lines = [line for line in self._lines() if isinstance(line, list) and len(line) == 3]
        tags = {line[1]: line[2] for line in lines if line[0] == "place" and type(line[1]) is str}
        self._pieces.clear()
        if os.fstat(self._fd).st_size and (not heads or heads[0].get("format") != FORMAT):
            raise self._in_the_way()
        # A line that was cut off must not swallow the next one.
        os.write(self._log, b"\n")
        if heads != [first] or tags.get(place, tag) != tag:
            os.ftruncate(self._fd, 0)
            os.ftruncate(self._log, 0)
            self._append(first)
            tags = {}
        else:
            # The last line of a piece counts, so that none is hashed twice.
            said = {line[1]: line[2] for line in lines if line[0] == "piece" and _counts(line[1])}
            self._pieces |= {piece for piece, digest in said.items() if self._holds(piece, digest)}
        if place not in tags:
            self._append(["place", place, tag])
        self.arrived = sum(self.span(piece)[1] for piece in self._pieces)

    def require_room(self) -> None:
        """Refuse what does not fit, before it is fetched."""
        held = os.fstat(self._fd).st_blocks * 512
        free = shutil.disk_usage(self._path.parent).free
        left = max(0, self.size - min(held, self.arrived))
        if left > free - SPARE_BYTES:
            raise OSError(
                errno.ENOSPC,
                f"{left} bytes are still to come, where {free} are free and "
                f"{SPARE_BYTES} are left alone",
            )

    def missing(self) -> list[int]:
        """Pieces still to come, in order."""
        count = -(-self.size // PIECE)
        return [piece for piece in range(count) if piece not in self._pieces]

    def span(self, piece: int) -> tuple[int, int]:
        """Offset and length of a piece."""
        return piece * PIECE, min(PIECE, self.size - piece * PIECE)

    def put(self, piece: int, data: bytes | memoryview) -> None:
        """Write a piece, then say so."""
        view, offset = memoryview(data), piece * PIECE
        while view:
            written = os.pwrite(self._fd, view, offset)
            view, offset = view[written:], offset + written
        self._append(["piece", piece, blake3(data).hexdigest()])

    def finish(self) -> None:
        """Give the file its name, once it is whole and on the disk."""
        os.ftruncate(self._fd, self.size)
        os.fsync(self._fd)
        try:
            take_name(self._path, self.out)
        except FileExistsError:
            raise UsageError(
                f"{self.out} exists by now", hint="choose another file with --out"
            ) from None
        with contextlib.suppress(OSError):
            self._journal.unlink()
        sync_folder(self.out.parent)

    def _lines(self) -> Iterator[Any]:
        size = os.fstat(self._log).st_size
        limit = _MAX_LINE * (4 + self.size // PIECE)
        for raw in os.pread(self._log, min(size, limit), 0).splitlines():
            # A process died inside that line, or another program wrote it.
            with contextlib.suppress(ValueError, RecursionError):
                line = json.loads(raw[:_MAX_LINE])
                if isinstance(line, list | dict):
                    yield line

    def _holds(self, piece: int, digest: object) -> bool:
        if piece * PIECE >= self.size:
            return False
        offset, length = self.span(piece)
        data = os.pread(self._fd, length, offset)
        return len(data) == length and blake3(data).hexdigest() == digest

    def _in_the_way(self) -> UsageError:
        return UsageError(
            f"{self._path} is in the way, and not a download of this command",
            hint="move it away, or choose another file with --out",
        )

    def _append(self, value: object) -> None:
        with self._lock:
            os.write(self._log, json.dumps(value).encode() + b"\n")


def _counts(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_at(fd: int, path: Path) -> bool:
    """Whether an open file is a regular one that has this name, and no other."""
    facts = os.fstat(fd)
    try:
        named = path.lstat()
    except FileNotFoundError:
        return False
    return (
        stat.S_ISREG(facts.st_mode)
        and facts.st_nlink == 1
        and (named.st_dev, named.st_ino) == (facts.st_dev, facts.st_ino)
    )
