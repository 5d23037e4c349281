"""The bundle's container: a zip file with exactly one form per content.

Members are stored uncompressed, sorted by name, with a fixed date and no extras, so that the same
content gives the same bytes on every machine (deflate output differs between zlib builds). The
reader rebuilds the file from what it read and compares, so no byte can hide outside the members.
Layout: APPNOTE.TXT 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (end record).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import BundleFormatError, LimitExceeded, UsageError

MAX_ARCHIVE_BYTES = 256 << 20
MAX_MEMBER_BYTES = 64 << 20
MAX_MEMBERS = 10_000

_NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,95}/){0,3}[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_VERSION = 20
_MADE_BY_UNIX = 3 << 8 | _VERSION
_DATE_1980_01_01 = 0x0021
_MODE_0644 = 0o100644 << 16
_REPACKED = "use the file as it was collected; unpacking and packing it again breaks it"


@dataclass(frozen=True, slots=True)
class Archive:
    """A bundle file taken apart.

    Attributes:
        members: content by name, in name order.
        damaged: names whose stored CRC-32 differs from their content, hence altered after writing.
    """

    members: Mapping[str, bytes]
    damaged: tuple[str, ...]


def serialise(members: Mapping[str, bytes]) -> bytes:
    """The one archive that holds `members`.

    Raises:
        BundleFormatError: a name that the reader would refuse.
        LimitExceeded: too many members, or too many bytes.
    """
    for name in members:
        _check_name(name)
    if len(members) > MAX_MEMBERS:
        raise LimitExceeded(f"{len(members)} members; a bundle has at most {MAX_MEMBERS}")
    if any(len(data) > MAX_MEMBER_BYTES for data in members.values()):
        raise LimitExceeded(f"a bundle's member has at most {MAX_MEMBER_BYTES} bytes")
    packed = _pack([(name, members[name], zlib.crc32(members[name])) for name in sorted(members)])
    if len(packed) > MAX_ARCHIVE_BYTES:
        raise LimitExceeded(f"a bundle has at most {MAX_ARCHIVE_BYTES} bytes")
    return packed


def read_archive(path: Path) -> Archive:
    """Read a bundle file, bounded.

    Raises:
        UsageError: it cannot be read.
        BundleFormatError: not a zip, or not the one form that `serialise` writes.
        LimitExceeded: larger than a bundle may be.
    """
    try:
        size = path.stat().st_size
        if size > MAX_ARCHIVE_BYTES:
            raise LimitExceeded(
                f"{path.name} has {size} bytes; a bundle has at most {MAX_ARCHIVE_BYTES}"
            )
        with path.open("rb") as file:
            # A device has no size and no end.
            data = file.read(MAX_ARCHIVE_BYTES + 1) if path.is_file() else file.read(1 << 20)
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror or error}", hint="give an *.evidence.zip file"
        ) from None
    return parse(data)


def parse(data: bytes) -> Archive:
    """Take an archive's bytes apart.

    Raises:
        BundleFormatError: not the one form that `serialise` writes.
        LimitExceeded: more members or bytes than a reader takes.
    """
    entries = _entries(data)
    if _pack(entries) != data:
        raise BundleFormatError("the archive has bytes outside its members", hint=_REPACKED)
    return Archive(
        {name: content for name, content, _ in entries},
        tuple(name for name, content, crc in entries if zlib.crc32(content) != crc),
    )


def _pack(entries: list[tuple[str, bytes, int]]) -> bytes:
    body = bytearray()
    directory = bytearray()
    for name, content, crc in entries:
        raw = name.encode("ascii")
        shared = (_VERSION, 0, 0, 0, _DATE_1980_01_01, crc, len(content), len(content), len(raw), 0)
        directory += _CENTRAL.pack(
            b"PK\x01\x02", _MADE_BY_UNIX, *shared, 0, 0, 0, _MODE_0644, len(body)
        )
        directory += raw
        body += _LOCAL.pack(b"PK\x03\x04", *shared) + raw + content
    end = _END.pack(b"PK\x05\x06", 0, 0, len(entries), len(entries), len(directory), len(body), 0)
    return bytes(body + directory + end)


def _entries(data: bytes) -> list[tuple[str, bytes, int]]:
    if len(data) > MAX_ARCHIVE_BYTES:
        raise LimitExceeded(f"a bundle has at most {MAX_ARCHIVE_BYTES} bytes")
    if data[:4] != b"PK\x03\x04" or len(data) < _END.size or data[-22:-18] != b"PK\x05\x06":
        raise BundleFormatError(
            "this is not an evidence bundle, or it is cut off", hint="give an *.evidence.zip file"
        )
    count = _END.unpack(data[-_END.size :])[4]
    directory_at = _END.unpack(data[-_END.size :])[6]
    if count > MAX_MEMBERS:
        raise LimitExceeded(f"{count} members; a bundle has at most {MAX_MEMBERS}")
    entries: list[tuple[str, bytes, int]] = []
    at, total = directory_at, 0
    for _ in range(count):
        name, content, crc, at = _entry(data, at)
        if entries and name <= entries[-1][0]:
            raise BundleFormatError(f"{name} repeats or is out of order", hint=_REPACKED)
        entries.append((name, content, crc))
        total += len(content)
        if total > len(data):  # members that share bytes would multiply what we hold
            raise BundleFormatError("the archive's members overlap", hint=_REPACKED)
    return entries


def _entry(data: bytes, at: int) -> tuple[str, bytes, int, int]:
    """One directory entry: name, content, stored CRC-32, and where the next entry begins."""
    if at + _CENTRAL.size > len(data):
        raise BundleFormatError("the archive's directory is cut off", hint=_REPACKED)
    fields = _CENTRAL.unpack_from(data, at)
    flags, method, crc, packed, size = fields[3], fields[4], fields[7], fields[8], fields[9]
    name_at = at + _CENTRAL.size
    raw = data[name_at : name_at + fields[10]]
    if flags & 1:
        raise BundleFormatError("the archive is encrypted; a bundle never is", hint=_REPACKED)
    if method or packed != size:
        raise BundleFormatError("the archive is compressed; a bundle never is", hint=_REPACKED)
    if size > MAX_MEMBER_BYTES:
        raise LimitExceeded(f"a bundle's member has at most {MAX_MEMBER_BYTES} bytes")
    name = raw.decode("latin-1")
    _check_name(name)
    content_at = fields[16] + _LOCAL.size + len(raw)
    content = data[content_at : content_at + size]
    return name, content, crc, name_at + len(raw)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise BundleFormatError(f"{name[:80]!r} is not a member name of a bundle", hint=_REPACKED)
