"""The statistic of a mark, its bound, and when it counts: section 5 of docs/spec/watermark.md.

This file alone is the detector whose hash a commitment holds. Source of the bound: W. Hoeffding,
Probability inequalities for sums of bounded random variables, JASA 58 (1963), theorem 2: for
independent fair signs s and any fixed u, P(Σ s u ≥ T) ≤ exp(−T² / 2 Σ u²).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]

LOG2_P: Final = -128
LOG2_ATTEMPTS: Final = 40
KINDS: Final = 8
"""Ways of looking that are counted for each matrix, made or not: see section 5."""
BLIND_CLIP: Final = 3.0
INFORMED_CLIP: Final = 0.5
THRESHOLD: Final = LOG2_P * math.log10(2)

# A bound computed in floating point must not come out smaller than it is. Sums below carry a
# relative error of at most 1e-4; T is taken this much smaller, V this much larger.
_SLACK = 1e-4
# So many values are summed in binary32, and such sums in binary64: a long sum of equal values would
# drift by percents.
_RUN = 1 << 14


@dataclass(frozen=True, slots=True)
class Tally:
    """T and V over some weights.

    Attributes:
        t: Σ s u.
        v: Σ u².
        weights: how many weights were looked at.
    """

    t: float = 0.0
    v: float = 0.0
    weights: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.t + other.t, self.v + other.v, self.weights + other.weights)

    @property
    def z(self) -> float:
        """T in standard deviations under H0."""
        return self.t / math.sqrt(self.v) if self.v > 0 else 0.0

    @property
    def log10_p(self) -> float:
        """Base-10 logarithm of the bound on p; 0 where the signs do not agree."""
        if self.t <= 0 or self.v <= 0:
            return 0.0
        lower, upper = self.t * (1 - _SLACK), self.v * (1 + _SLACK)
        return -lower * lower / (2 * upper) / math.log(10)


def log10_tests(targets: int, commitments: int) -> float:
    """Base-10 logarithm of the number of tests that p is multiplied by."""
    return math.log10(KINDS * (targets + 1) * max(1, commitments)) + LOG2_ATTEMPTS * math.log10(2)


def spread(rows: Rows) -> npt.NDArray[np.float32]:
    """The standard deviation of each row; 0 where it is not a number.

    Sums in binary32 suffice: the bound holds for any scale.
    """
    with np.errstate(all="ignore"):
        mean = rows.mean(axis=1)
        square = np.einsum("ij,ij->i", rows, rows) / np.float32(rows.shape[1])
        deviation = np.sqrt(np.maximum(square - mean * mean, 0))
    return np.asarray(np.nan_to_num(deviation, nan=0.0, posinf=0.0), np.float32)


def blind(rows: Rows, signs: Rows) -> Tally:
    """Whole rows of a suspect against their signs, without an original; `rows` is used up."""
    return _tally(rows, spread(rows), signs, BLIND_CLIP)


def informed(rows: Rows, original: Rows, signs: Rows) -> Tally:
    """Whole rows of a suspect against those of the original; `rows` is used up.

    Both may be scaled together by any factor.
    """
    sigma = spread(original)
    with np.errstate(all="ignore"):
        np.subtract(rows, original, out=rows)
    return _tally(rows, sigma, signs, INFORMED_CLIP)


def _tally(rows: Rows, sigma: npt.NDArray[np.float32], signs: Rows, clip: float) -> Tally:
    with np.errstate(all="ignore"):
        inverse = np.where(sigma > 0, 1 / sigma, 0).astype(np.float32)
        rows *= np.nan_to_num(inverse, posinf=0.0)[:, None]
        np.clip(rows, -clip, clip, out=rows)
    flat = rows.reshape(-1)
    v = _dot(flat, flat)
    if not math.isfinite(v):
        np.nan_to_num(flat, copy=False)
        v = _dot(flat, flat)
    return Tally(_dot(flat, signs.reshape(-1)), v, flat.size)


def _dot(one: Rows, other: Rows) -> float:
    runs = range(0, one.size, _RUN)
    return math.fsum(float(np.dot(one[at : at + _RUN], other[at : at + _RUN])) for at in runs)
