"""Unbiased draws from a stream of SHAKE256: numbers below a bound, and shuffles.

Sections 1 and 3 of docs/spec/triggers.md. Everybody who knows the seed draws the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

_WORDS: Final = 1 << 64


class Draws:
    """Numbers from the stream that a seed gives, in order.

    Args:
        seed: of any length; tags and separators are the caller's.
    """

    def __init__(self, seed: bytes) -> None:
        self._hash = hashlib.shake_256(seed)
        self._words = np.empty(0, np.uint64)
        self._at = 0

    def below(self, bound: int) -> int:
        """One number from 0 to below `bound`, each as likely as any other."""
        return int(self.many(1, bound)[0])

    def many(self, count: int, bound: int) -> npt.NDArray[np.uint64]:
        """As many numbers below `bound` (1 to 2^63), as `below` would give one after the other.

        Words that would make small numbers likelier are left out (rejection sampling).
        """
        limit = np.uint64(_WORDS - _WORDS % bound - 1)
        found = np.empty(0, np.uint64)
        while found.size < count:
            words = self._take(count - found.size)
            found = np.concatenate((found, words[words <= limit]))
        return found % np.uint64(bound)

    def _take(self, count: int) -> npt.NDArray[np.uint64]:
        end = self._at + count
        if end > self._words.size:
            # An extendable output has no position: what is longer begins anew, so grow twofold.
            size = max(32, end, 2 * self._words.size)
            self._words = np.frombuffer(self._hash.digest(8 * size), ">u8").astype(np.uint64)
        taken = self._words[self._at : end]
        self._at = end
        return taken


def shuffled(seed: bytes, size: int) -> Iterator[int]:
    """The numbers below `size` in the order that a seed puts them in, one after the other.

    Fisher–Yates, of which only as much is done as is taken.
    """
    draws = Draws(seed)
    moved: dict[int, int] = {}
    for i in range(size):
        j = i + draws.below(size - i)
        yield moved.get(j, j)
        moved[j] = moved.pop(i, i)
