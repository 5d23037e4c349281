"""Ids of a float32 tensor's half-precision casts, so that a model saved smaller is found by hash.

Models are trained in float32 and handed on in float16 or bfloat16. Rounding to nearest, ties to
even, is what every tool does, so the ids of the cast are known without the cast file. Rounding
never reverses an order, so the sorted words of the source, rounded, are the sorted words of the
cast: its value-multiset id costs no second sort.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ledger.ids import Digest
from ledger.merkle import T1
from ledger.tensors.dtypes import DTYPES

CASTS: Final = ("F16", "BF16")
_LEAF_BYTES: Final = 1 << 20
# What is rounded at once stays in the processor's cache.
_PIECE_WORDS: Final = 1 << 18

Words = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class CastRoots:
    """What one cast would hash to.

    Attributes:
        dtype: of the cast, ``F16`` or ``BF16``.
        payload_root: T1 root over the leaves of its payload.
        vid: its value-multiset id.
    """

    dtype: str
    payload_root: bytes
    vid: Digest


def rounded(words: Words, dtype: str) -> Words:
    """float32 words rounded to 16 bits, to nearest and ties to even; NaN is not allowed."""
    if dtype == "F16":
        with np.errstate(over="ignore"):
            half: Words = words.view("<f4").astype("<f2").view("<u2")
        return half
    # The lowest kept bit decides a tie; what runs over the top is infinity.
    up = (words >> 16) & 1
    up += 0x7FFF
    up += words
    up >>= 16
    brain: Words = up.astype("<u2")
    return brain


class CastHasher:
    """Takes a float32 tensor twice, in file order and then ascending, in pieces of any size.

    Args:
        elements: of the tensor.
    """

    def __init__(self, elements: int) -> None:
        self._usable = True
        self._ends: dict[str, tuple[int, int] | None] = dict.fromkeys(CASTS)
        self._trees = {name: _Leaves() for name in CASTS}
        self._vids = {
            name: hashlib.sha256(b"\x11mfp1" + struct.pack("<HQ", DTYPES[name].code, elements))
            for name in CASTS
        }

    def take(self, words: Words) -> None:
        """The next words in file order."""
        # What a conversion makes of a NaN's other bits is not the same everywhere.
        self._usable = self._usable and not bool(np.isnan(words.view("<f4")).any())
        if self._usable:
            for part in _in_pieces(words):
                for name in CASTS:
                    self._trees[name].take(rounded(part, name).data.cast("B"))

    def take_sorted(self, words: Words) -> None:
        """The next words in ascending order, after all were taken in file order."""
        if not self._usable:
            return
        for part in _in_pieces(words):
            for name in CASTS:
                cast = rounded(part, name)
                first = (self._ends[name] or (int(cast[0]),))[0]
                self._ends[name] = (first, int(cast[-1]))
                self._vids[name].update(cast.data.cast("B"))

    def roots(self) -> tuple[CastRoots, ...]:
        """The casts that say something: none with a NaN, none whose words are all equal."""
        found: list[CastRoots] = []
        for name in CASTS:
            ends = self._ends[name]
            if self._usable and ends is not None and ends[0] != ends[1]:
                vid = Digest(self._vids[name].digest())
                found.append(CastRoots(name, self._trees[name].root(), vid))
        return tuple(found)


class _Leaves:
    """Leaf hashes of a payload that arrives in pieces."""

    def __init__(self) -> None:
        self._done: list[bytes] = []
        self._open = hashlib.sha256(b"\0")
        self._room = _LEAF_BYTES

    def take(self, data: memoryview) -> None:
        while data:
            piece, data = data[: self._room], data[self._room :]
            self._open.update(piece)
            self._room -= len(piece)
            if not self._room:
                self._close()

    def root(self) -> bytes:
        if self._room < _LEAF_BYTES:
            self._close()
        return T1.root(self._done)

    def _close(self) -> None:
        self._done.append(self._open.digest())
        self._open, self._room = hashlib.sha256(b"\0"), _LEAF_BYTES


def _in_pieces(words: Words) -> Iterator[Words]:
    for start in range(0, len(words), _PIECE_WORDS):
        yield words[start : start + _PIECE_WORDS]
