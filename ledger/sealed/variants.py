"""The cells of a package: where they are, in bytes, and their records. Section 8 of the format.

`ledger.sealed.cells` has their keys and what commits to them, `ledger.sealed.marking` chooses
places and makes form B. Nothing in an index is believed before it is checked.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ledger.errors import (
    ContentMismatch,
    SealedFormatError,
    SegmentTampered,
    WrongKey,
)
from ledger.ids import Digest
from ledger.merkle import T1
from ledger.sealed import keys
from ledger.sealed.cells import (
    CellKeys,
    CellRow,
    CellTable,
    ReleasedCells,
    key_commitment,
    records_hash,
)
from ledger.sealed.codeword import SALT_BYTES, CodeWord
from ledger.sealed.header import CELL_OVERHEAD, Prelude
from ledger.sealed.index import Tables
from ledger.sealed.memory import Secret
from ledger.sealed.stream import Entropy, Readable
from ledger.tensors.dtypes import DTYPES

ROW_BYTE: Final = b"\x27"
KEYS_STEP: Final = 15
CELL_STEP: Final = 16
RECORDS_STEP: Final = 17
_READ_BYTES: Final = 8 << 20
_IV_BYTES = 12
_ROW: Final = struct.Struct(">IQ32s32s32s32s32s")
_RECORDS: Final = struct.Struct(">32s32s")


class CellEntry(NamedTuple):
    """One cell in the index. A tuple of bytes, since opening a file makes thousands of them.

    Attributes:
        tensor: its number in the table.
        offset: of its first byte in that tensor.
        commits: commitments to the keys of form A and form B.
        leaves: leaf of form A and of form B, in the suite's hash.
        other: SHA-256 of form B; form A is under the tensor's cid.
    """

    tensor: int
    offset: int
    commits: tuple[bytes, bytes]
    leaves: tuple[bytes, bytes]
    other: bytes

    def to_bytes(self) -> bytes:
        """172 bytes."""
        (key_a, key_b), (leaf_a, leaf_b) = self.commits, self.leaves
        return _ROW.pack(self.tensor, self.offset, key_a, key_b, leaf_a, leaf_b, self.other)

    @property
    def leaf(self) -> bytes:
        """What stands for this cell in both roots."""
        return T1.leaf(ROW_BYTE + self.to_bytes())


@dataclass(frozen=True, slots=True)
class CellIndex:
    """All cells of a package, in order of their places.

    Attributes:
        entries: one a cell.
        records: SHA-256 of both records of each cell.
        cell_bytes: length of each.
    """

    entries: tuple[CellEntry, ...]
    records: tuple[tuple[bytes, bytes], ...]
    cell_bytes: int

    def to_bytes(self) -> bytes:
        """Rows, then record hashes."""
        rows = b"".join(entry.to_bytes() for entry in self.entries)
        return rows + b"".join(a + b for a, b in self.records)

    @classmethod
    def parse(cls, data: bytes, prelude: Prelude) -> Self:
        """Read the cells of an index, whose length is already known to fit."""
        split = _ROW.size * prelude.cells
        entries = tuple(
            CellEntry(tensor, offset, (key_a, key_b), (a, b), other)
            for tensor, offset, key_a, key_b, a, b, other in _ROW.iter_unpack(data[:split])
        )
        records = tuple(_RECORDS.iter_unpack(data[split:]))
        return cls(entries, records, prelude.cell_bytes)

    def leaves(self) -> list[bytes]:
        """The cells' leaves in both roots."""
        return [entry.leaf for entry in self.entries]

    def table(self) -> CellTable:
        """What the sealing record's ``variant_root`` is over."""
        return CellTable(
            tuple(
                CellRow(
                    Digest(entry.commits[0]),
                    Digest(entry.commits[1]),
                    records_hash(Digest(record_a), Digest(record_b)),
                )
                for entry, (record_a, record_b) in zip(self.entries, self.records, strict=True)
            )
        )

    def positions(self, tables: Tables, segment_bytes: int) -> list[int]:
        """Where each cell begins in the payload's plaintext (step 12).

        Raises:
            SealedFormatError: a cell outside a float tensor, across segments, or out of order.
        """
        found: list[int] = []
        for entry in self.entries:
            if entry.tensor >= len(tables.tensors):
                raise SealedFormatError("the index places a cell in no tensor")
            tensor = tables.tensors[entry.tensor]
            start = tables.members[tensor.member].first * segment_bytes + tensor.offset
            position = start + entry.offset
            if DTYPES[tensor.dtype].kind != "float" or (
                entry.offset + self.cell_bytes > tensor.nbytes
            ):
                raise SealedFormatError("the index places a cell outside a tensor of floats")
            if position % self.cell_bytes or (found and position <= found[-1]):
                raise SealedFormatError("the index places cells out of order or across segments")
            found.append(position)
        return found


def master(cell_keys: CellKeys) -> ReleasedCells:
    """The keys of form A of every cell, which open the model as it is registered."""
    word = CodeWord(bytes(cell_keys.count), bytes(SALT_BYTES))
    return ReleasedCells(word, cell_keys.chosen(word))


def associated(binding: bytes, cell: int, form: int) -> bytes:
    """What a record's tag covers besides its bytes: the file, the cell and the form."""
    return binding + cell.to_bytes(4, "big") + bytes([form])


def encrypt_form(
    key: Readable, binding: bytes, cell: int, form: int, plain: Readable, *, entropy: Entropy
) -> bytes:
    """The record of one form."""
    iv = entropy(_IV_BYTES)
    sealed = AESGCM(key).encrypt(iv, bytes(plain), associated(binding, cell, form))
    return iv + sealed


def _check_keys(index: CellIndex, released: ReleasedCells) -> None:
    if released.count != len(index.entries):
        raise WrongKey(
            f"keys of {released.count} cells were released, and the file has {len(index.entries)}",
            step=KEYS_STEP,
        )
    for cell, (entry, form) in enumerate(zip(index.entries, released.word.bits, strict=True)):
        if key_commitment(cell, form, released.key(cell)).raw != entry.commits[form]:
            raise WrongKey(
                f"the key of cell {cell} is not the one this file commits to",
                step=KEYS_STEP,
                hint="tell the licensor and the broker's operator",
            )


class OpenCells:
    """The cells of an open package in the forms that one license has; decrypts them on request.

    Args:
        index: checked against the prelude.
        positions: of each cell in the payload's plaintext.
        released: one key per cell and its form; copied, and the caller may zero it.

    Raises:
        WrongKey: another number of keys, or one that its cell's row does not commit to (step 15).
    """

    def __init__(
        self,
        prelude: Prelude,
        binding: bytes,
        index: CellIndex,
        positions: list[int],
        released: ReleasedCells,
    ) -> None:
        _check_keys(index, released)
        self.index = index
        self.positions = positions
        self.forms = released.word.bits
        self._word = released.word
        self._prelude = prelude
        self._binding = binding
        self._keys = Secret.of(released.data)
        # Worked out once: each is asked for with every cell.
        self._cell = prelude.cell_bytes
        self._record = prelude.cell_bytes + CELL_OVERHEAD
        self._first = prelude.variants_offset
        self._step = prelude.segment_bytes
        self._by_segment: dict[int, list[int]] = {}
        for cell, position in enumerate(positions):
            self._by_segment.setdefault(position // prelude.segment_bytes, []).append(cell)

    def __repr__(self) -> str:
        return f"<OpenCells of {len(self.positions)} cells>"

    @property
    def master(self) -> bool:
        """Whether every cell is in form A, so that the content is the registered model."""
        return not any(self.forms)

    def in_segment(self, number: int) -> list[int]:
        """The cells that lie in a segment."""
        return self._by_segment.get(number, [])

    def place(self, cell: int, segment: memoryview) -> memoryview:
        """Where a cell goes in its segment's plaintext."""
        at = self.positions[cell] % self._step
        return segment[at : at + self._cell]

    def decrypt(self, cell: int, record: memoryview, out: memoryview, *, verify: bool) -> None:
        """Step 16: one record into `out` behind a zero byte; the caller zeroes it all on failure.

        Raises:
            SegmentTampered: its tag does not verify.
            ContentMismatch: its leaf is another one.
        """
        form = self.forms[cell]
        plain = out[1:]
        cipher = AESGCM(self._keys.view[32 * cell : 32 * cell + 32])
        aad = associated(self._binding, cell, form)
        try:
            cipher.decrypt_into(bytes(record[:_IV_BYTES]), record[_IV_BYTES:], aad, plain)
        except InvalidTag:
            raise SegmentTampered(
                f"cell {cell} fails its authentication tag",
                step=CELL_STEP,
                hint="the file was altered or damaged; download it again",
            ) from None
        if verify:
            leaf = keys.PREFIXED_LEAF[self._prelude.suite](out)
            if leaf != self.index.entries[cell].leaves[form]:
                raise ContentMismatch(
                    f"cell {cell} is not what the licensor sealed",
                    step=CELL_STEP,
                    hint="another holder of the key forged it; download the file again",
                )

    def check_other(self, cell: int, plain: Readable) -> None:
        """Hold form B against its SHA-256, which the second root is over.

        Raises:
            ContentMismatch: it is another one.
        """
        if self.forms[cell] and hashlib.sha256(plain).digest() != (self.index.entries[cell].other):
            raise ContentMismatch(f"cell {cell} is not the form that the table describes")

    def check_records(self, read: Callable[[int, memoryview], None]) -> None:
        """Step 17: hold both records of every cell against the index, also the one that has no key.

        Args:
            read: fills memory from an offset of the file.

        Raises:
            SegmentTampered: a record was altered.
        """
        length = self._prelude.cell_bytes + CELL_OVERHEAD
        together = max(1, _READ_BYTES // (2 * length))
        block = memoryview(bytearray(min(together, len(self.positions)) * 2 * length))
        for first in range(0, len(self.positions), together):
            hashes_ = self.index.records[first : first + together]
            read(self._prelude.cell_record_offset(first, 0), block[: 2 * length * len(hashes_)])
            for number, expected in enumerate(itertools.chain.from_iterable(hashes_)):
                if hashlib.sha256(block[number * length :][:length]).digest() != expected:
                    raise SegmentTampered(
                        f"a record of cell {first + number // 2} is not the one that was sealed",
                        step=RECORDS_STEP,
                        hint="the file was altered or damaged, for holders of other copies than "
                        "this one, too; download it again",
                    )

    def record_span(self, cell: int) -> tuple[int, int]:
        """Offset in the file and length of this license's record of a cell."""
        return self._first + (2 * cell + self.forms[cell]) * self._record, self._record

    def released(self) -> ReleasedCells:
        """The keys again, for another process of this user; the caller zeroes them."""
        return ReleasedCells(self._word, bytearray(self._keys.view))

    def wipe(self) -> None:
        """Zero the keys."""
        self._keys.wipe()
