"""The table of a zip archive of unknown honesty: where each entry's bytes lie, nothing unpacked.

PyTorch and NumPy keep weights in zip archives. Only what they write is read: entries stored or
deflated, not encrypted, zip64 too. Entries that overlap, which is how an archive of kilobytes
announces terabytes (Fifield 2019), are refused. Source: PKWARE APPNOTE 6.3.10, 4.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ledger.errors import LimitExceeded
from ledger.tensors.safetensors import check_name
from ledger.tensors.window import Window

MAX_ENTRIES: Final = 1 << 18
STORED, DEFLATED = 0, 8
_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_MAX_COMMENT: Final = 1 << 16
_LOCATOR: Final = b"PK\x06\x07"
_END64: Final = b"PK\x06\x06"
_ENTRY: Final = b"PK\x01\x02"
_LOCAL: Final = b"PK\x03\x04"
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
# Deflate makes at most 1032 bytes of one.
_MAX_RATIO: Final = 1032
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of an archive.

    Attributes:
        name: as the archive gives it.
        offset: of its bytes in the file.
        packed: bytes there.
        size: bytes when unpacked.
        deflated: whether they are compressed.
    """

    name: str
    offset: int
    packed: int
    size: int
    deflated: bool


def entries(window: Window) -> tuple[Entry, ...]:
    """The entries of an archive, in the order of the file.

    Raises:
        TensorFileError: not a zip archive, damaged, or made to mislead.
        LimitExceeded: more than `MAX_ENTRIES` entries.
    """
    start, size, count = _directory(window)
    if count > MAX_ENTRIES:
        raise LimitExceeded(f"{window.what} holds {count} files; at most {MAX_ENTRIES} are read")
    found: list[tuple[int, Entry]] = []
    at, end = start, start + size
    for _ in range(count):
        if at + 46 > end:
            raise window.damaged("lists more files than it holds")
        header, entry, at = _entry(window, at)
        found.append((header, entry))
    found.sort(key=lambda row: (row[0], row[1].name))
    position = 0
    for header, entry in found:
        if header < position or entry.offset < header or entry.offset + entry.packed > start:
            raise window.damaged(f"places file {entry.name[:80]!r} over another")
        position = entry.offset + entry.packed
    names = [entry.name for _, entry in found]
    if len(set(names)) != len(names):
        raise window.damaged("holds two files of one name")
    return tuple(entry for _, entry in found)


def inflate(entry: Entry, read: Callable[[int, int], bytes]) -> Iterator[bytes]:
    """The bytes of a deflated entry in pieces, exactly `entry.size` of them or an error.

    Args:
        entry: a deflated one.
        read: gives bytes of the file by offset and length.

    Raises:
        ValueError: the stream is damaged, or longer or shorter than announced.
    """
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    done = at = 0
    try:
        while not unpack.eof:
            data = unpack.unconsumed_tail
            length = 0 if data else min(_CHUNK_BYTES, entry.packed - at)
            if length:
                data = read(entry.offset + at, length)
                at += length
            # All that was read may have been taken in, and a part of it not given out yet.
            made = unpack.decompress(data, _CHUNK_BYTES)
            if not data and not made:
                break
            done += len(made)
            if done > entry.size:
                break
            yield made
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if done != entry.size or not unpack.eof:
        raise ValueError("another length than announced")


def _directory(window: Window) -> tuple[int, int, int]:
    """Where the central directory begins, its bytes, and how many entries it has."""
    tail = min(window.size, _END_BYTES + _MAX_COMMENT)
    if tail < _END_BYTES:
        raise window.damaged("is no zip archive")
    data = window.take(window.size - tail, tail)
    place = data.rfind(_END, 0, tail - _END_BYTES + len(_END))
    if place < 0:
        raise window.damaged("is no zip archive, or is truncated")
    disk, first, here, count, size, start = struct.unpack_from("<4H2I", data, place + 4)
    at = window.size - tail + place
    if (count == _FULL16 or _FULL32 in {size, start}) and at >= 20:
        locator = window.take(at - 20, 20)
        if locator[:4] == _LOCATOR:
            at = int.from_bytes(locator[8:16], "little")
            record = window.take(at, 56)
            if record[:4] != _END64:
                raise window.damaged("has no zip64 record where it says")
            disk, first, here, count, size, start = struct.unpack_from("<2I4Q", record, 16)
    if disk or first or here != count or start + size > at:
        raise window.damaged("has a zip directory that does not fit")
    return start, size, count


def _entry(window: Window, at: int) -> tuple[int, Entry, int]:
    """Where the entry's local header lies, the entry, and where the next row begins."""
    row = window.take(at, 46)
    if row[:4] != _ENTRY:
        raise window.damaged("has a damaged zip directory")
    flags, method = struct.unpack_from("<2H", row, 8)
    packed, size, name_length, extra_length, comment = struct.unpack_from("<2I3H", row, 20)
    header = int.from_bytes(row[42:46], "little")
    raw = window.take(at + 46, name_length)
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise window.damaged("holds a file name that is not UTF-8") from None
    check_name(name, window.what)
    extra = window.take(at + 46 + name_length, extra_length)
    size, packed, header = _zip64(window, extra, size, packed, header)
    if flags & 0x41 or method not in {STORED, DEFLATED}:
        raise window.damaged(f"keeps {name[:80]!r} encrypted or packed in a way that is not read")
    if (method == STORED and packed != size) or size > packed * _MAX_RATIO + 64:
        raise window.damaged(f"announces more bytes in {name[:80]!r} than it can hold")
    local = window.take(header, 30)
    if local[:4] != _LOCAL:
        raise window.damaged(f"has no file where it places {name[:80]!r}")
    skip = sum(struct.unpack_from("<2H", local, 26))
    entry = Entry(name, header + 30 + skip, packed, size, method == DEFLATED)
    return header, entry, at + 46 + name_length + extra_length + comment


def _zip64(
    window: Window, extra: bytes, size: int, packed: int, header: int
) -> tuple[int, int, int]:
    """The three numbers, those that are full replaced by what the extra field says."""
    values = [size, packed, header]
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        body = extra[at + 4 : at + 4 + length]
        if kind == 1:
            place = 0
            for index, value in enumerate(values):
                if value == _FULL32:
                    if place + 8 > len(body):
                        raise window.damaged("has a zip64 field that is cut short")
                    values[index] = int.from_bytes(body[place : place + 8], "little")
                    place += 8
            break
        at += 4 + length
    return values[0], values[1], values[2]
