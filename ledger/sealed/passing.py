"""An open package handed on to another process of the same user: its key, tables and file.

What is passed is the payload's message key (which opens this one file), never the content key, and
the index as it was decrypted. The receiver checks again all that can be checked without the content
key: steps 1 to 6 and 11 to 13 of docs/spec/sealed-package.md. ``docs/spec/lease-share.md`` says how
it travels.
"""

from __future__ import annotations

from typing import NamedTuple

from ledger.errors import ContentMismatch, UnsupportedModel
from ledger.sealed import keys
from ledger.sealed.header import MESSAGE_HEADER
from ledger.sealed.index import Tables, join_index, package_root, split_index
from ledger.sealed.memory import Secret
from ledger.sealed.opening import Opened, check_record, read_clear
from ledger.sealed.record import SealingRecord
from ledger.sealed.source import ByteSource, FileSource, read_bytes
from ledger.sealed.stream import Floe, Readable


class Passed(NamedTuple):
    """An open package for another process: what ``open_passed`` takes.

    Attributes:
        fd: of the file; still the package's own.
        tables: the index as it was decrypted.
        message_key: of the payload; the caller wipes it.
        verify: whether segments are held against their leaves.
    """

    fd: int
    tables: bytes
    message_key: Secret
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
    if package_root(keys.LEAF[prelude.suite](table), opened.leaves) != prelude.root:
        raise UnsupportedModel(
            "the package's table is not canonical, and cannot be shared between processes",
            hint="load the model in each process, or seal it again with this release",
        )
    return join_index(table, opened.leaves)


def open_passed(
    source: ByteSource, message_key: Readable, tables: bytes, record: SealingRecord | None
) -> Opened:
    """What `pack_index` and the payload's message key open, checked against file and record.

    Raises:
        NotSealed, SealedTruncated, UnsupportedVersion, LimitExceeded, SealedFormatError,
        ContentMismatch: as ``opening.open_steps``.
    """
    clear = read_clear(source)
    prelude = clear.prelude
    if record is not None:
        check_record(clear, record)
    table, leaves = split_index(tables, prelude.segments)
    if package_root(keys.LEAF[prelude.suite](table), leaves) != prelude.root:
        raise ContentMismatch("table and leaves are not those of the prelude's root", step=11)
    parsed = Tables.parse(table, segments=prelude.segments, segment_bytes=prelude.segment_bytes)
    if record is not None and parsed.content_tree_root(table) != record.content_tree_root:
        raise ContentMismatch("the table is not that of the lodged second root", step=13)
    header = read_bytes(source, MESSAGE_HEADER, prelude.payload_header_offset)
    payload = Floe(prelude.record_bytes).resume(message_key, clear.binding, header)
    return Opened(clear, parsed, leaves, payload)
