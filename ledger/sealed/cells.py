"""Keys of a sealing's cells, and what commits to them (docs/spec/variants.md). Pure.

Every cell exists in two forms, A and B, each an AEAD record under a key of its own. A license's
copy can open one form of each. All keys of a sealing travel in one buffer, cell by cell, A first.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ledger.errors import KeyAccessError, LimitExceeded
from ledger.ids import Digest
from ledger.merkle import T1
from ledger.sealed.codeword import MAX_CELLS, SALT_BYTES, CodeWord

KEY_TAG: Final = b"modeldeed/cell-key/1"
KEY_BYTES: Final = 32
PAIR_BYTES: Final = 2 * KEY_BYTES
RECORDS_BYTE: Final = b"\x02"
CELL_BYTE: Final = b"\x25"
FORMS: Final = "AB"


def key_commitment(cell: int, form: int, key: bytes | bytearray | memoryview) -> Digest:
    """The public commitment to one cell key; keys are uniformly random, so it hides them.

    Args:
        cell: from 0.
        form: 0 is A, 1 is B.
        key: 32 bytes.
    """
    hasher = hashlib.sha256(KEY_TAG + b"\0" + cell.to_bytes(4, "big") + bytes([form]))
    hasher.update(key)
    return Digest(hasher.digest())


def records_hash(record_a: Digest, record_b: Digest) -> Digest:
    """What a cell's row says about its two encrypted records."""
    return Digest(hashlib.sha256(RECORDS_BYTE + record_a.raw + record_b.raw).digest())


def check_count(count: int) -> None:
    """Refuse a number of cells that no sealing has.

    Raises:
        LimitExceeded: not 1 to 4096.
    """
    if not 1 <= count <= MAX_CELLS:
        raise LimitExceeded(f"a sealing has 1 to {MAX_CELLS} cells, not {count}")


class CellKeys:
    """All 2k keys of a sealing's cells; of the licensor and the broker. Its repr shows no key.

    Args:
        data: ``A₁ ‖ B₁ ‖ A₂ ‖ …``, 64 bytes a cell; taken, not copied, and zeroed by ``wipe``.

    Raises:
        LimitExceeded: another length.
    """

    def __init__(self, data: bytearray) -> None:
        if len(data) % PAIR_BYTES:
            raise LimitExceeded(f"{len(data)} bytes are not the keys of whole cells")
        check_count(len(data) // PAIR_BYTES)
        self.data = data

    @classmethod
    def create(
        cls, count: int, *, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> CellKeys:
        """Fresh keys, each independent of the others."""
        check_count(count)
        return cls(bytearray(random(PAIR_BYTES * count)))

    def __repr__(self) -> str:
        return f"<CellKeys of {self.count} cells>"

    @property
    def count(self) -> int:
        """How many cells there are."""
        return len(self.data) // PAIR_BYTES

    def key(self, cell: int, form: int) -> memoryview:
        """One key, as a view of the buffer."""
        start = PAIR_BYTES * cell + KEY_BYTES * form
        return memoryview(self.data)[start : start + KEY_BYTES]

    def chosen(self, word: CodeWord) -> bytearray:
        """Of each cell the key that a word says; the caller zeroes it.

        Raises:
            LimitExceeded: the word has another length.
        """
        if len(word.bits) != self.count:
            raise LimitExceeded(f"a word of {len(word.bits)} bits is not for {self.count} cells")
        out = bytearray(KEY_BYTES * self.count)
        view = memoryview(out)
        for cell, form in enumerate(word.bits):
            view[KEY_BYTES * cell : KEY_BYTES * (cell + 1)] = self.key(cell, form)
        return out

    def wipe(self) -> None:
        """Zero the keys."""
        self.data[:] = bytes(len(self.data))


@dataclass(frozen=True, slots=True)
class CellRow:
    """What is public about one cell.

    Attributes:
        a, b: commitments to its keys.
        records: hash over its two encrypted records.
    """

    a: Digest
    b: Digest
    records: Digest


@dataclass(frozen=True, slots=True)
class CellTable:
    """The public table of a sealing's cells, whose root is the record's ``variant_root``."""

    rows: tuple[CellRow, ...]

    def __post_init__(self) -> None:
        check_count(len(self.rows))

    @classmethod
    def of(cls, keys: CellKeys, records: Sequence[Digest]) -> CellTable:
        """The table of these keys and the cells' record hashes.

        Raises:
            LimitExceeded: another number of hashes than of cells.
        """
        if len(records) != keys.count:
            raise LimitExceeded(f"{len(records)} record hashes are not of {keys.count} cells")
        return cls(
            tuple(
                CellRow(
                    key_commitment(cell, 0, keys.key(cell, 0)),
                    key_commitment(cell, 1, keys.key(cell, 1)),
                    one,
                )
                for cell, one in enumerate(records)
            )
        )

    def root(self) -> Digest:
        """``variant_root``."""
        leaves = [
            T1.leaf(CELL_BYTE + cell.to_bytes(4, "big") + row.a.raw + row.b.raw + row.records.raw)
            for cell, row in enumerate(self.rows)
        ]
        return Digest(T1.root(leaves))

    def check(self, released: ReleasedCells) -> None:
        """Hold released keys against the table, each with the form its bit says.

        Raises:
            KeyAccessError: another number of cells, or a key that is not the committed one.
        """
        if released.count != len(self.rows):
            raise KeyAccessError(
                f"keys of {released.count} cells were released, and the sealing has "
                f"{len(self.rows)}"
            )
        for cell, (row, form) in enumerate(zip(self.rows, released.word.bits, strict=True)):
            if key_commitment(cell, form, released.key(cell)) != (row.a, row.b)[form]:
                raise KeyAccessError(
                    f"the released key of cell {cell} is not the one the sealing commits to",
                    hint="tell the licensor and the broker's operator",
                )


@dataclass(slots=True)
class ReleasedCells:
    """One license's cell keys on its host: one key a cell, and the word that chose them.

    Attributes:
        word: which form each key is of.
        data: 32 bytes a cell; zeroed by ``wipe``.
    """

    word: CodeWord
    data: bytearray = field(repr=False)

    @property
    def count(self) -> int:
        """How many cells there are."""
        return len(self.word.bits)

    def key(self, cell: int) -> memoryview:
        """One cell's key, as a view of the buffer."""
        return memoryview(self.data)[KEY_BYTES * cell : KEY_BYTES * (cell + 1)]

    def to_bytes(self) -> bytearray:
        """Salt, packed word, keys: what a release wraps; the caller zeroes it."""
        return bytearray(self.word.salt + self.word.packed()) + self.data

    @classmethod
    def from_bytes(cls, data: bytearray, count: int) -> ReleasedCells:
        """Read what `to_bytes` gave; `data` is zeroed.

        Raises:
            LimitExceeded: not of `count` cells.
        """
        check_count(count)
        width = (count + 7) // 8
        try:
            if len(data) != released_bytes(count):
                raise LimitExceeded(f"{len(data)} bytes are not the released keys of {count} cells")
            head = SALT_BYTES + width
            word = CodeWord.unpack(count, bytes(data[SALT_BYTES:head]), bytes(data[:SALT_BYTES]))
            return cls(word, data[head:])
        finally:
            data[:] = bytes(len(data))

    def wipe(self) -> None:
        """Zero the keys."""
        self.data[:] = bytes(len(self.data))


def released_bytes(count: int) -> int:
    """Length of what is released of `count` cells."""
    return SALT_BYTES + (count + 7) // 8 + KEY_BYTES * count
