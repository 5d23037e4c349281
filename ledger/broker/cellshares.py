"""Cell keys shared among n brokers: each key separately, each share committed to. Pure.

A broker's part has the layout of the keys themselves, a share in each key's place. Its commitment
is a Merkle root with one leaf a share, so that a broker can release half of them, one a cell, with
the leaf hashes of the other half, and the runtime still holds each against what the licensor signed
(docs/spec/variants.md, "Several brokers").
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ledger.broker import shamir
from ledger.errors import LimitExceeded, SharesRejected
from ledger.ids import Digest
from ledger.merkle import T1
from ledger.sealed.cells import KEY_BYTES, PAIR_BYTES, CellKeys, ReleasedCells, released_bytes
from ledger.sealed.codeword import CodeWord

SHARE_BYTE: Final = b"\x26"


@dataclass(frozen=True, slots=True)
class Place:
    """Which share it is: number `index` of `count`, of which `threshold` are needed."""

    threshold: int
    count: int
    index: int

    def leaf(self, cell: int, form: int, share: bytes | bytearray | memoryview) -> bytes:
        """Leaf hash of one key's share."""
        numbers = bytes((self.threshold, self.count, self.index))
        return T1.leaf(SHARE_BYTE + numbers + cell.to_bytes(4, "big") + bytes([form]) + share)

    def commitment(self, part: CellKeys) -> Digest:
        """The commitment to one broker's part."""
        return Digest(T1.root(self._leaves(part)))

    def others(self, part: CellKeys, word: CodeWord) -> bytes:
        """Leaf hashes of the shares that a word leaves out, cell by cell."""
        leaves = self._leaves(part)
        return b"".join(leaves[2 * cell + 1 - form] for cell, form in enumerate(word.bits))

    def _leaves(self, part: CellKeys) -> list[bytes]:
        return [
            self.leaf(cell, form, part.key(cell, form))
            for cell in range(part.count)
            for form in (0, 1)
        ]


def deal_cells(
    keys: CellKeys,
    threshold: int,
    count: int,
    *,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> tuple[list[CellKeys], tuple[Digest, ...]]:
    """Each broker's part, which the caller wipes, and the commitments to them."""
    parts = [CellKeys(one) for one in shamir.deal(keys.data, threshold, count, random=random)]
    places = [Place(threshold, count, index) for index in range(1, count + 1)]
    return parts, tuple(place.commitment(part) for place, part in zip(places, parts, strict=True))


@dataclass(slots=True)
class ReleasedPart:
    """What one broker released of its part: one share a cell, and hashes of the others.

    Attributes:
        cells: the word, and the shares in the keys' place.
        others: 32 bytes a cell.
    """

    cells: ReleasedCells
    others: bytes = field(repr=False)

    def to_bytes(self) -> bytearray:
        """What a release wraps; the caller zeroes it."""
        return self.cells.to_bytes() + self.others

    @classmethod
    def of(cls, place: Place, part: CellKeys, word: CodeWord) -> ReleasedPart:
        """What a word chooses of a part."""
        return cls(ReleasedCells(word, part.chosen(word)), place.others(part, word))

    @classmethod
    def from_bytes(cls, data: bytearray, count: int) -> ReleasedPart:
        """Read what `to_bytes` gave; `data` is zeroed.

        Raises:
            LimitExceeded: not of `count` cells.
        """
        cut = len(data) - KEY_BYTES * count
        if cut != released_bytes(count):
            data[:] = bytes(len(data))
            raise LimitExceeded(f"these are not the released shares of {count} cells")
        others, head = bytes(data[cut:]), data[:cut]
        data[:] = bytes(len(data))
        return cls(ReleasedCells.from_bytes(head, count), others)

    def check(self, place: Place, commitment: Digest) -> None:
        """Hold it against the commitment that the licensor signed.

        Raises:
            SharesRejected: some share is another one.
        """
        leaves: list[bytes] = []
        for cell, form in enumerate(self.cells.word.bits):
            pair = [
                place.leaf(cell, form, self.cells.key(cell)),
                self.others[KEY_BYTES * cell : KEY_BYTES * (cell + 1)],
            ]
            leaves += pair[::-1] if form else pair
        if Digest(T1.root(leaves)) != commitment:
            raise SharesRejected(
                f"the cell keys' share {place.index} was altered: it is not the one committed to"
            )

    def wipe(self) -> None:
        """Zero the shares."""
        self.cells.wipe()


def join_cells(parts: Sequence[tuple[int, ReleasedPart]]) -> ReleasedCells:
    """The cell keys from t parts, by index, of one word and one set that the caller has checked.

    Raises:
        SharesRejected: no parts, or of different words.
    """
    if not parts or len({part.cells.word for _, part in parts}) != 1:
        raise SharesRejected("the cell keys' shares are of several code words")
    values = {index: part.cells.data for index, part in parts}
    return ReleasedCells(parts[0][1].cells.word, shamir.at_zero(values))


def part_bytes(count: int) -> int:
    """Length of one broker's part of `count` cells' keys."""
    return PAIR_BYTES * count
