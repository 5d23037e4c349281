"""Proven bounds on sums of independent two-valued scores. Pure, finite, no approximation.

Given the biases and the evidence, the bits of a word that had no part in a copy are independent and
form B has probability p in each cell. A score that is a sum over cells then has a moment
generating function that is a product of two-term sums, and Chernoff's inequality bounds its tail
for every t > 0. The bound is minimised over t; whichever t is found, it holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

_SLACK = 1e-9  # above what rounding can do to a sum of a few thousand logarithms
_COARSE = np.exp2(np.arange(-24.0, 8.0, 0.5))
_ROUNDS = 40
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class TwoValued:
    """A score as a sum over cells: what each bit adds, and how likely an innocent's bit is 1.

    Attributes:
        p: probability of form B in each cell, strictly between 0 and 1.
        zero, one: what is added for form A and for form B.
    """

    p: Floats
    zero: Floats
    one: Floats

    def score(self, bits: bytes) -> float:
        """The score of one word, as an exactly rounded sum."""
        chosen = np.where(np.frombuffer(bits, np.uint8) != 0, self.one, self.zero)
        return math.fsum(chosen.tolist())

    def highest(self) -> float:
        """What no word exceeds."""
        return math.fsum(np.maximum(self.zero, self.one).tolist())

    def log_mgf(self, t: float) -> float:
        """Ln E exp(tS) for a word whose bits are independent with probabilities `p`."""
        low, high = np.log1p(-self.p) + t * self.zero, np.log(self.p) + t * self.one
        return math.fsum(np.logaddexp(low, high).tolist())

    def log_tail(self, score: float) -> float:
        """An upper bound of ln P(S >= score), at most 0."""

        def exponent(t: float) -> float:
            return self.log_mgf(t) - t * score

        return min(0.0, minimum(exponent) + _SLACK * (1 + len(self.p)))

    def threshold(self, log_probability: float) -> float:
        """The least score whose tail bound is at most that; inf when no word can reach it."""
        high = self.highest()
        if not self.log_tail(high) <= log_probability:
            return math.inf
        low = 0.0
        for _ in range(60):
            middle = (low + high) / 2
            if self.log_tail(middle) <= log_probability:
                high = middle
            else:
                low = middle
        return high


def minimum(exponent: Any) -> float:
    """The least value found of a convex function of t > 0; any t gives a valid bound."""
    values = [exponent(float(t)) for t in _COARSE]
    best = int(np.argmin(values))
    low = math.log(float(_COARSE[max(0, best - 1)]))
    high = math.log(float(_COARSE[min(len(_COARSE) - 1, best + 1)]))
    found = values[best]
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = exponent(math.exp(left)), exponent(math.exp(right))
    for _ in range(_ROUNDS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = exponent(math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = exponent(math.exp(right))
    return float(min(found, at_left, at_right))
