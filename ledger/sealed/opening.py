"""Opening a sealed package: the numbered steps 1 to 13 of the specification, in order.

Everything that needs no key comes first, so a wrong file is refused before a key is asked for.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any

from ledger.errors import (
    ContentMismatch,
    HeaderTampered,
    SealedTruncated,
    SegmentTampered,
    WrongKey,
)
from ledger.ids import Address, Digest, ModelId
from ledger.sealed import keys
from ledger.sealed.cells import ReleasedCells
from ledger.sealed.header import (
    MESSAGE_HEADER,
    PRELUDE_BYTES,
    RECORD_OVERHEAD,
    VERSION,
    Prelude,
    PublicPart,
)
from ledger.sealed.index import Tables, package_root, split_index
from ledger.sealed.memory import Arena, Secret
from ledger.sealed.record import SealingRecord
from ledger.sealed.source import ByteSource, read_bytes
from ledger.sealed.stream import Floe, FloeMessage, Readable
from ledger.sealed.variants import KEYS_STEP, CellIndex, OpenCells


@dataclass(frozen=True, slots=True)
class SealedInfo:
    """What anyone can tell about a sealed file. Nothing here is authenticated without the key."""

    version: int
    suite: int
    segment_bytes: int
    segments: int
    file_bytes: int
    root: Digest
    commit: Digest
    model_id: ModelId
    chain_id: int
    registry: Address
    epoch: int
    broker_set: int
    brokers: tuple[str, ...]
    cells: int = 0
    cell_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON; digests are 0x text."""
        return {
            "version": self.version,
            "suite": self.suite,
            "segment_bytes": self.segment_bytes,
            "segments": self.segments,
            "file_bytes": self.file_bytes,
            "root": str(self.root),
            "commit": str(self.commit),
            "model_id": str(self.model_id),
            "chain_id": self.chain_id,
            "registry": str(self.registry),
            "epoch": self.epoch,
            "broker_set": self.broker_set,
            "brokers": list(self.brokers),
            "cells": self.cells,
            "cell_bytes": self.cell_bytes,
        }


@dataclass(frozen=True, slots=True)
class ClearPart:
    """Prelude and public part of an open file, read and bounded but not authenticated."""

    prelude: Prelude
    public: PublicPart
    binding: bytes

    @property
    def info(self) -> SealedInfo:
        """The same as one flat value."""
        prelude, public = self.prelude, self.public
        return SealedInfo(
            version=VERSION,
            suite=prelude.suite,
            segment_bytes=prelude.segment_bytes,
            segments=prelude.segments,
            file_bytes=prelude.file_bytes,
            root=prelude.root,
            commit=prelude.commit,
            model_id=public.model_id,
            chain_id=public.chain_id,
            registry=public.registry,
            epoch=public.epoch,
            broker_set=public.broker_set,
            brokers=public.brokers,
            cells=prelude.cells,
            cell_bytes=prelude.cell_bytes,
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """What the steps yield."""

    clear: ClearPart
    tables: Tables
    leaves: bytes
    payload: FloeMessage
    cells: OpenCells | None = None


def read_clear(source: ByteSource) -> ClearPart:
    """Steps 1 to 5, which need no key.

    Raises:
        NotSealed: step 1. SealedTruncated: steps 1 and 4. UnsupportedVersion: step 2.
        LimitExceeded: step 3. SealedFormatError: step 5.
    """
    size = source.size
    raw = read_bytes(source, min(size, PRELUDE_BYTES), 0)
    # (1) magic  (2) version and suite  (3) bounds
    prelude = Prelude.parse(raw)
    # (4) the exact length
    if size != prelude.file_bytes:
        raise SealedTruncated(
            f"the file has {size} bytes where its prelude fixes {prelude.file_bytes}"
        )
    # (5) the public part
    public = read_bytes(source, prelude.public_bytes, PRELUDE_BYTES)
    return ClearPart(prelude, PublicPart.parse(public), keys.header_binding(raw, public))


def open_steps(
    source: ByteSource,
    content_key: Readable,
    record: SealingRecord | None,
    released: ReleasedCells | None = None,
) -> Opened:
    """All steps up to reading tensors.

    Args:
        source: the sealed file.
        content_key: 32 bytes; not kept.
        record: what the licensor lodged; None opens whatever the key opens.
        released: one key per cell, in a file that has cells; not kept.

    Raises:
        NotSealed: step 1.
        SealedTruncated: steps 1 and 4.
        UnsupportedVersion: step 2.
        LimitExceeded: step 3.
        SealedFormatError: steps 5 and 12.
        ContentMismatch: steps 6, 11 and 13.
        WrongKey: steps 7 and 15.
        HeaderTampered: steps 8 to 10.
    """
    clear = read_clear(source)
    prelude = clear.prelude
    # (6) the lodged record
    if record is not None:
        check_record(clear, record)
    # (7) the key
    if not hmac.compare_digest(keys.key_commitment(content_key).raw, prelude.commit.raw):
        raise WrongKey("the key is not the one this file commits to", step=7)
    # (8) zero padding
    padding = prelude.payload_header_offset + MESSAGE_HEADER
    if read_bytes(source, prelude.payload_offset - padding, padding).strip(b"\0"):
        raise HeaderTampered("the padding before the payload is not zero", step=8)
    # (9) both header tags
    floe = Floe(prelude.record_bytes)
    with (
        keys.derive(content_key, keys.LABEL_INDEX) as index_key,
        keys.derive(content_key, keys.LABEL_PAYLOAD) as payload_key,
    ):
        index = _message(source, floe, index_key, clear, prelude.index_offset)
        payload = _message(source, floe, payload_key, clear, prelude.payload_header_offset)
    # (10) the index
    table_bytes, leaves, cell_bytes = _read_index(source, prelude, index)
    # (11) to (13), (15)
    tables, opened = check_index(
        clear, table_bytes, leaves, cell_bytes, record=record, released=released
    )
    return Opened(clear, tables, leaves, payload, opened)


def check_index(
    clear: ClearPart,
    table_bytes: bytes,
    leaves: bytes,
    cell_bytes: bytes,
    *,
    record: SealingRecord | None,
    released: ReleasedCells | None,
) -> tuple[Tables, OpenCells | None]:
    """Steps 11 to 13 and 15: the index is the one under the roots, and the cells' keys are its.

    Raises:
        ContentMismatch: steps 11 and 13. SealedFormatError: step 12. WrongKey: step 15.
    """
    prelude = clear.prelude
    cells = CellIndex.parse(cell_bytes, prelude)
    # (11) the root over tables and leaves
    leaf = keys.LEAF[prelude.suite]
    cell_leaves = cells.leaves()
    if package_root(leaf(table_bytes), leaves + b"".join(cell_leaves)) != prelude.root:
        raise ContentMismatch("table and leaves are not those of the prelude's root", step=11)
    # (12) the tables
    tables = Tables.parse(
        table_bytes, segments=prelude.segments, segment_bytes=prelude.segment_bytes
    )
    positions = cells.positions(tables, prelude.segment_bytes)
    # (13) the other roots
    if record is not None:
        if tables.content_tree_root(table_bytes, cell_leaves) != record.content_tree_root:
            raise ContentMismatch("the table is not that of the lodged second root", step=13)
        if prelude.cells and cells.table().root() != record.variant_root:
            raise ContentMismatch("the cells are not those of the lodged variant root", step=13)
    # (15) the cells' keys; step 14 is of each segment when it is read
    return tables, _open_cells(clear, cells, positions, released)


def _open_cells(
    clear: ClearPart, cells: CellIndex, positions: list[int], released: ReleasedCells | None
) -> OpenCells | None:
    if not clear.prelude.cells:
        if released is not None:
            raise WrongKey("cell keys were released for a file without cells", step=KEYS_STEP)
        return None
    if released is None:
        raise WrongKey(
            f"the file has {clear.prelude.cells} cells marked per license, and no keys for them "
            "are at hand",
            step=KEYS_STEP,
            hint="the broker releases them with the content key; the licensor has them in the "
            "recovery file",
        )
    return OpenCells(clear.prelude, clear.binding, cells, positions, released)


def check_record(clear: ClearPart, record: SealingRecord) -> None:
    """Step 6: the file is what the licensor lodged.

    Raises:
        ContentMismatch: it is another model, epoch or file.
    """
    pairs = (
        ("model", clear.public.model_id, record.model_id),
        ("epoch", clear.public.epoch, record.epoch),
        ("root", clear.prelude.root, record.root),
        ("key commitment", clear.prelude.commit, record.commit),
        ("suite", clear.prelude.suite, record.suite),
        ("broker set", clear.public.broker_set, record.broker_set),
    )
    marked = clear.prelude.cells > 0
    if (not record.variant_root.is_zero, not record.code_commit.is_zero) != (marked, marked):
        raise ContentMismatch(
            "this file is not what the licensor lodged: only one of file and record has cells "
            "marked per license",
            step=6,
            hint="download the file that the license card names",
        )
    for what, here, lodged in pairs:
        if here != lodged:
            raise ContentMismatch(
                f"this file is not what the licensor lodged: its {what} is {here}, not {lodged}",
                step=6,
                hint="download the file that the license card names",
            )


def _message(
    source: ByteSource, floe: Floe, key: Secret, clear: ClearPart, offset: int
) -> FloeMessage:
    try:
        return floe.open(key.view, clear.binding, read_bytes(source, MESSAGE_HEADER, offset))
    except HeaderTampered as error:
        error.step = 9
        raise


def _read_index(
    source: ByteSource, prelude: Prelude, message: FloeMessage
) -> tuple[bytes, bytes, bytes]:
    body = prelude.index_bytes - MESSAGE_HEADER
    count = -(-body // prelude.record_bytes)
    if body - (count - 1) * prelude.record_bytes < RECORD_OVERHEAD:
        raise HeaderTampered("the index ends inside a segment", step=10)
    plain = Arena(body - count * RECORD_OVERHEAD)
    view = memoryview(plain)[: body - count * RECORD_OVERHEAD]
    room = memoryview(bytearray(min(body, prelude.record_bytes)))
    offset = prelude.index_offset + MESSAGE_HEADER
    try:
        for number in range(count):
            record = room[: min(prelude.record_bytes, body - number * prelude.record_bytes)]
            source.read(offset + number * prelude.record_bytes, record)
            start = number * prelude.segment_bytes
            out = view[start : start + len(record) - RECORD_OVERHEAD]
            message.decrypt_into(number, record, out, last=number == count - 1)
        return split_index(view, prelude.segments, prelude.cells)
    except SegmentTampered as error:
        raise HeaderTampered(f"the index fails: {error}", step=10, hint=error.hint) from None
    finally:
        message.wipe()
        plain.wipe()
