"""An open package handed on to another process of the same user: its key, tables and file.

What is passed is the payload's message key (which opens this one file), never the content key; of a
file with cells the keys of this license's forms; and the index as it was decrypted. The receiver
checks again all that can be checked without the content key: steps 1 to 6, 11 to 13 and 15 of
docs/spec/sealed-package.md. ``docs/spec/lease-share.md`` says how it travels.
"""

from __future__ import annotations

from typing import NamedTuple

from ledger.errors import UnsupportedModel
from ledger.sealed import keys
from ledger.sealed.cells import ReleasedCells, check_count, released_bytes
from ledger.sealed.header import MESSAGE_HEADER
from ledger.sealed.index import join_index, package_root, split_index
from ledger.sealed.memory import Secret
from ledger.sealed.opening import Opened, check_index, check_record, read_clear
from ledger.sealed.record import SealingRecord
from ledger.sealed.source import ByteSource, FileSource, read_bytes
from ledger.sealed.stream import MESSAGE_KEY_BYTES, Floe, Readable


class Passed(NamedTuple):
    """An open package for another process: what ``open_passed`` takes.

    Attributes:
        fd: of the file; still the package's own.
        tables: the index as it was decrypted.
        secret: the payload's message key, and then what a release of cells wraps; the caller wipes
            it.
        cells: how many cells the file has.
        verify: whether segments are held against their leaves.
    """

    fd: int
    tables: bytes
    secret: Secret
    cells: int
    verify: bool


def descriptor_of(source: ByteSource) -> int:
    """The descriptor of a package on this machine.

    Raises:
        UnsupportedModel: the package is read from elsewhere.
    """
    if not isinstance(source, FileSource):
        raise UnsupportedModel(
            f"{source.name} is read over a network, and cannot be shared between processes",
            hint="deed fetch CARD brings it here; load it from there",
        )
    return source.fileno()


def pack_index(opened: Opened) -> bytes:
    """The index plaintext of an open package.

    Raises:
        UnsupportedModel: its table is not written canonically.
    """
    table = opened.tables.to_bytes()
    prelude = opened.clear.prelude
    cells = None if opened.cells is None else opened.cells.index
    leaves = b"" if cells is None else b"".join(cells.leaves())
    if package_root(keys.LEAF[prelude.suite](table), opened.leaves + leaves) != prelude.root:
        raise UnsupportedModel(
            "the package's table is not canonical, and cannot be shared between processes",
            hint="load the model in each process, or seal it again with this release",
        )
    return join_index(table, opened.leaves, b"" if cells is None else cells.to_bytes())


def pack_secret(opened: Opened) -> Secret:
    """What opens the payload and the cells of an open package, and nothing else.

    The layout is `split_secret`'s.
    """
    parts = [bytearray(opened.payload.message_key)]
    try:
        if opened.cells is not None:
            released = opened.cells.released()
            try:
                parts.append(released.to_bytes())
            finally:
                released.wipe()
        secret = Secret(sum(map(len, parts)))
        at = 0
        for part in parts:
            secret.view[at : at + len(part)] = part
            at += len(part)
        return secret
    finally:
        for part in parts:
            part[:] = bytes(len(part))


def secret_bytes(cells: int) -> int:
    """Length of what `pack_secret` gives for a file with so many cells.

    Raises:
        LimitExceeded: no file has so many.
    """
    if not cells:
        return MESSAGE_KEY_BYTES
    check_count(cells)
    return MESSAGE_KEY_BYTES + released_bytes(cells)


def split_secret(secret: Secret, cells: int) -> tuple[memoryview, ReleasedCells | None]:
    """Message key, and the cells' keys, which the caller zeroes.

    Raises:
        LimitExceeded: not of so many cells.
    """
    key = secret.view[:MESSAGE_KEY_BYTES]
    if not cells:
        return key, None
    return key, ReleasedCells.from_bytes(bytearray(secret.view[MESSAGE_KEY_BYTES:]), cells)


def open_passed(
    source: ByteSource,
    message_key: Readable,
    tables: bytes,
    record: SealingRecord | None,
    released: ReleasedCells | None = None,
) -> Opened:
    """What `pack_index` and `pack_secret` gave opens, checked against file and record.

    Raises:
        NotSealed, SealedTruncated, UnsupportedVersion, LimitExceeded, SealedFormatError,
        ContentMismatch, WrongKey: as ``opening.open_steps``.
    """
    clear = read_clear(source)
    prelude = clear.prelude
    if record is not None:
        check_record(clear, record)
    table, leaves, cells = split_index(tables, prelude.segments, prelude.cells)
    parsed, opened = check_index(clear, table, leaves, cells, record=record, released=released)
    header = read_bytes(source, MESSAGE_HEADER, prelude.payload_header_offset)
    payload = Floe(prelude.record_bytes).resume(message_key, clear.binding, header)
    return Opened(clear, parsed, leaves, payload, opened)
