"""The clear part of a sealed package: prelude and public part, bytes to values and back.

No cryptography here. ``docs/spec/sealed-package.md`` sections 2 and 3 are the grammar.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Self

from ledger.canonical import canonical_json, parse_json
from ledger.errors import (
    LedgerError,
    LimitExceeded,
    NotSealed,
    SealedFormatError,
    SealedTruncated,
    UnsupportedVersion,
)
from ledger.ids import Address, Digest, ModelId

MAGIC = b"\x89SLM\r\n\x1a\n"
VERSION = 1
SUITE_SHA256 = 1
SUITE_BLAKE3 = 2
SUITES = (SUITE_SHA256, SUITE_BLAKE3)
PRELUDE_BYTES = 96
MIN_LOG2_SEGMENT, MAX_LOG2_SEGMENT = 16, 24
DEFAULT_LOG2_SEGMENT = 20
MAX_PUBLIC_BYTES = 1 << 16
MAX_INDEX_BYTES = 1 << 30
MAX_SEGMENTS = 1 << 25  # 32 bytes of leaf each must fit the largest index
MIN_LOG2_CELL, MAX_LOG2_CELL = 14, 16
MAX_CELLS = 4096
CELL_OVERHEAD = 28  # of each form's record: IV 12, tag 16
CELL_INDEX_BYTES = 236  # of each cell in the index
MAX_BROKERS = 16
MAX_BROKER_BYTES = 512
ALIGNMENT = 4096
MESSAGE_HEADER = 74  # of either FLOE message
RECORD_OVERHEAD = 32  # of each FLOE segment
PUBLIC_FORMAT = "modeldeed/sealed/1"
_LAYOUT = struct.Struct(">8sHHBBHIIQ32s32s")
_MAX_INTEGER = (1 << 53) - 1


@dataclass(frozen=True, slots=True)
class Prelude:
    """The first 96 bytes, and every offset that follows from them.

    Attributes:
        suite: 1 SHA-256 leaves, 2 BLAKE3 leaves.
        log2_segment: of the plaintext bytes in one segment, 16 to 24.
        public_bytes: length of the public part.
        index_bytes: length of the index message with its FLOE header.
        segments: number of payload segments.
        root: over the tables and all segments (section 6 of the specification).
        commit: what the content key must hash to.
        log2_cell: of the bytes in one cell; 0 without cells.
        cells: number of cells.
    """

    suite: int
    log2_segment: int
    public_bytes: int
    index_bytes: int
    segments: int
    root: Digest
    commit: Digest
    log2_cell: int = 0
    cells: int = 0

    def to_bytes(self) -> bytes:
        """The 96 bytes."""
        return _LAYOUT.pack(
            MAGIC,
            VERSION,
            self.suite,
            self.log2_segment,
            self.log2_cell,
            self.cells,
            self.public_bytes,
            self.index_bytes,
            self.segments,
            self.root.raw,
            self.commit.raw,
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read 96 bytes from the start of an untrusted file (steps 1 to 3).

        Raises:
            NotSealed: another magic.
            SealedTruncated: fewer than 96 bytes.
            UnsupportedVersion: a version, suite or variant section this release does not read.
            LimitExceeded: sizes outside the format's bounds.
        """
        # (1) magic
        if data[: len(MAGIC)] != MAGIC:
            raise NotSealed("the file does not begin like a sealed package")
        if len(data) < PRELUDE_BYTES:
            raise SealedTruncated(f"the file ends after {len(data)} bytes, inside the prelude")
        (_, version, suite, log2, cell_log2, cells, public, index, segments, root, commit) = (
            _LAYOUT.unpack(data[:PRELUDE_BYTES])
        )
        # (2) version and suite
        if version != VERSION:
            raise UnsupportedVersion(f"sealed package version {version} is not read")
        if suite not in SUITES:
            raise UnsupportedVersion(f"sealed package suite {suite} is not read")
        if (cell_log2 or cells) and not (
            MIN_LOG2_CELL <= cell_log2 <= MAX_LOG2_CELL and 1 <= cells <= MAX_CELLS
        ):
            raise UnsupportedVersion(
                f"{cells} per-license cells of 2^{cell_log2} bytes are not read"
            )
        # (3) bounds
        if not MIN_LOG2_SEGMENT <= log2 <= MAX_LOG2_SEGMENT:
            raise LimitExceeded(f"segments of 2^{log2} bytes are not read")
        if not 1 <= segments <= MAX_SEGMENTS:
            raise LimitExceeded(f"{segments} segments are not read; 1 to {MAX_SEGMENTS} are")
        if not 2 <= public <= MAX_PUBLIC_BYTES:
            raise LimitExceeded(f"a public part of {public} bytes is not read")
        least = MESSAGE_HEADER + RECORD_OVERHEAD + 4 + 32 * segments + CELL_INDEX_BYTES * cells
        if not least < index <= MAX_INDEX_BYTES:
            raise LimitExceeded(f"an index of {index} bytes is not read for {segments} segments")
        return cls(
            suite, log2, public, index, segments, Digest(root), Digest(commit), cell_log2, cells
        )

    @property
    def segment_bytes(self) -> int:
        """Plaintext bytes of one segment."""
        return 1 << self.log2_segment

    @property
    def record_bytes(self) -> int:
        """Bytes of one encrypted segment."""
        return self.segment_bytes + RECORD_OVERHEAD

    @property
    def index_offset(self) -> int:
        """Where the index message begins."""
        return PRELUDE_BYTES + self.public_bytes

    @property
    def payload_header_offset(self) -> int:
        """Where the payload's FLOE header begins."""
        return self.index_offset + self.index_bytes

    @property
    def payload_offset(self) -> int:
        """Where segment 0 begins: the next multiple of 4096."""
        return -(-(self.payload_header_offset + MESSAGE_HEADER) // ALIGNMENT) * ALIGNMENT

    @property
    def cell_bytes(self) -> int:
        """Plaintext bytes of one cell; 0 without cells."""
        return 1 << self.log2_cell if self.cells else 0

    @property
    def variants_offset(self) -> int:
        """Where the variant section begins, which is the end of a file without cells."""
        return self.payload_offset + self.segments * self.record_bytes

    def cell_record_offset(self, cell: int, form: int) -> int:
        """Where the record of one form of a cell begins."""
        return self.variants_offset + (2 * cell + form) * (self.cell_bytes + CELL_OVERHEAD)

    @property
    def file_bytes(self) -> int:
        """The only length the file may have."""
        return self.variants_offset + 2 * self.cells * (self.cell_bytes + CELL_OVERHEAD)


@dataclass(frozen=True, slots=True)
class PublicPart:
    """What anyone may read: which model this is, and whom to ask for the key.

    Attributes:
        brokers: URLs, a hint only; nothing trusts them.
    """

    model_id: ModelId
    chain_id: int
    registry: Address
    epoch: int
    broker_set: int
    brokers: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of section 3."""
        return {
            "broker_set": self.broker_set,
            "brokers": list(self.brokers),
            "chain_id": self.chain_id,
            "epoch": self.epoch,
            "format": PUBLIC_FORMAT,
            "model_id": str(self.model_id),
            # Lower case: no checksum to compute or to get wrong.
            "registry": "0x" + self.registry.raw.hex(),
        }

    def to_bytes(self) -> bytes:
        """Canonical JSON.

        Raises:
            LimitExceeded: more than 64 KiB.
        """
        data = canonical_json(self.to_json())
        if len(data) > MAX_PUBLIC_BYTES:
            raise LimitExceeded("the public part of a sealed package has at most 64 KiB")
        return data

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read an untrusted public part (step 5).

        Raises:
            SealedFormatError: not the canonical form of exactly these fields.
        """
        try:
            document = parse_json(data, what="the public part", limit=MAX_PUBLIC_BYTES)
            public = cls(
                model_id=ModelId.parse(_text(document, "model_id")),
                chain_id=_integer(document, "chain_id", least=1),
                registry=Address.parse(_text(document, "registry")),
                epoch=_integer(document, "epoch", least=1),
                broker_set=_integer(document, "broker_set", least=0),
                brokers=_brokers(document),
            )
            exact = public.to_bytes() == data
        except LedgerError as error:
            raise SealedFormatError(f"the public part is not readable: {error}") from None
        if not exact:
            raise SealedFormatError("the public part is not in its canonical form")
        return public


def _text(document: Any, name: str) -> str:
    value = document.get(name) if isinstance(document, dict) else None
    if not isinstance(value, str):
        raise SealedFormatError(f"{name} is not a text")
    return value


def _integer(document: Any, name: str, *, least: int) -> int:
    value = document.get(name)
    if type(value) is not int or not least <= value <= _MAX_INTEGER:
        raise SealedFormatError(f"{name} is not a number from {least}")
    return value


def _brokers(document: Any) -> tuple[str, ...]:
    value = document.get("brokers")
    if (
        not isinstance(value, list)
        or len(value) > MAX_BROKERS
        or not all(isinstance(url, str) and len(url) <= MAX_BROKER_BYTES for url in value)
    ):
        raise SealedFormatError("brokers is not a short list of texts")
    return tuple(value)
