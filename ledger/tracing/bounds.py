"""Proven bounds on sums of independent two-valued scores. Pure, finite, no approximation.

Given the biases and the evidence, the bits of a word that had no part in a copy are independent and
form B has probability p in each cell. A score that is a sum over cells then has a moment
generating function that is a product of two-term sums, and Chernoff's inequality bounds its tail
for every t > 0. The bound is minimised over t; whichever t is found, it holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

_SLACK = 1e-9  # above what rounding can do to a logarithm in a sum of a few thousand
_COARSE = np.exp2(np.arange(-24.0, 8.0, 0.5))
_ROUNDS = 40
_GOLDEN = (math.sqrt(5) - 1) / 2
_DULL = -3.0  # no tail above e^-3 names anybody, whatever is left to gain


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
        """The score of one word."""
        chosen = np.where(np.frombuffer(bits, np.uint8) != 0, self.one, self.zero)
        return math.fsum(chosen.tolist())

    def highest(self) -> float:
        """What no word exceeds."""
        return math.fsum(np.maximum(self.zero, self.one).tolist())

    def log_mgf(self, t: float) -> float:
        """The logarithm of E exp(tS) for a word of independent bits with probabilities `p`."""
        low, high = np.log1p(-self.p) + t * self.zero, np.log(self.p) + t * self.one
        return float(np.logaddexp(low, high).sum())


class Tail:
    """Upper bounds on the tail of a score, or of the summed scores of several independent words.

    Args:
        score: of one word.
        words: how many words are added up.
    """

    __slots__ = ("_coarse", "_score", "_slack", "words")

    def __init__(self, score: TwoValued, *, words: int = 1) -> None:
        self._score = score
        self.words = words
        self._coarse = np.array([words * score.log_mgf(float(t)) for t in _COARSE])
        self._slack = _SLACK * words * (1 + len(score.p))

    def log_tail(self, value: float, *, exact: bool = False) -> float:
        """An upper bound of ln P(S >= value), at most 0.

        Where it says nothing of interest a looser bound is returned sooner, unless `exact`.
        """
        coarse = self._coarse - _COARSE * value
        best = int(np.argmin(coarse))
        found = float(coarse[best])
        if exact or found < _DULL:
            low, high = _COARSE[max(0, best - 1)], _COARSE[min(len(_COARSE) - 1, best + 1)]

            def exponent(t: float) -> float:
                return self.words * self._score.log_mgf(t) - t * value

            found = min(found, golden(exponent, float(low), float(high)))
        return min(0.0, found + self._slack)

    def threshold(self, log_probability: float) -> float:
        """The least value whose bound is at most that; inf when no words can reach it."""
        high = self.words * self._score.highest()
        if not self.log_tail(high, exact=True) <= log_probability:
            return math.inf
        low = 0.0
        for _ in range(50):
            middle = (low + high) / 2
            if self.log_tail(middle) <= log_probability:
                high = middle
            else:
                low = middle
        return high


def minimum(exponent: Callable[[float], float]) -> float:
    """The least value found of a function of t > 0; any t gives a valid bound."""
    values = [exponent(float(t)) for t in _COARSE]
    best = int(np.argmin(values))
    low, high = _COARSE[max(0, best - 1)], _COARSE[min(len(_COARSE) - 1, best + 1)]
    return min(values[best], golden(exponent, float(low), float(high)))


def golden(exponent: Callable[[float], float], low: float, high: float) -> float:
    """The least value found between two positive places, by golden section in their logarithm."""
    low, high = math.log(low), math.log(high)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = exponent(math.exp(left)), exponent(math.exp(right))
    found = min(at_left, at_right)
    for _ in range(_ROUNDS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = exponent(math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = exponent(math.exp(right))
        found = min(found, at_left, at_right)
    return found
