"""What was done to a whole dimension of a model: chosen, reordered, or turned into another basis.

A model keeps its function when its residual stream is permuted, rotated or cut, the same way in
every tensor that touches it. Tensors with many more rows than columns give such a change away; it
is then undone in those that could not show it by themselves.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ledger.tracing.tensors import Matrix

_RELATED = 0.3
_LARGEST: Final = 8192
_GRAM = 192
_GRAM_ALIKE = 0.35  # unrelated Gram matrices correlate by less than 0.1
_OVER = 1.5  # rows for each column, for a basis to be learnt


@dataclass(frozen=True, slots=True)
class Choice:
    """Columns that were kept, in some order: which of the master's each of the suspect's is."""

    size: int
    order: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Basis:
    """A linear map from the suspect's columns to the master's."""

    matrix: Matrix

    def undo(self, other: Matrix) -> Matrix:
        """`other` in the master's basis."""
        with np.errstate(all="ignore"):
            return np.asarray(other @ self.matrix)


def learn(master: Matrix, other: Matrix) -> Basis | None:
    """The basis in which `other` holds the rows of `master`; None when there is none.

    Learnt on half of the rows and held against the other half, then on all.
    """
    rows, columns = other.shape
    fits = len(master) == rows and rows >= _OVER * columns and columns <= _LARGEST
    if not fits or not np.isfinite(other).all() or not _same_gram(master, other):
        return None
    first = _solve(master[::2], other[::2])
    if first is None or agreement(master[1::2], first.undo(other[1::2])) < _RELATED:
        return None
    return _solve(master, other)


def _solve(master: Matrix, other: Matrix) -> Basis | None:
    a = other.astype(np.float64)
    gram = a.T @ a
    gram[np.diag_indices_from(gram)] *= 1 + 1e-6
    try:
        found = np.linalg.solve(gram, a.T @ master.astype(np.float64))
    except np.linalg.LinAlgError:
        return None
    return Basis(found.astype(np.float32)) if np.isfinite(found).all() else None


def _same_gram(master: Matrix, other: Matrix) -> bool:
    """Whether angles between some rows are alike, which no change of basis alters."""
    chosen = np.random.default_rng(len(master)).permutation(len(master))[:_GRAM]
    upper = np.triu_indices(len(chosen), 1)
    grams = []
    for values in (master[chosen], other[chosen]):
        rows = values.astype(np.float64)
        norm = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0)
        grams.append((rows @ rows.T)[upper])
    if min(gram.std() for gram in grams) == 0:
        return False
    return float(np.corrcoef(*grams)[0, 1]) >= _GRAM_ALIKE


def agreement(master: Matrix, other: Matrix) -> float:
    """The correlation of two matrices where both are finite."""
    good = np.isfinite(other)
    if good.sum() < other.size / 50:
        return 0.0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = np.corrcoef(master[good].astype(np.float64), other[good].astype(np.float64))[0, 1]
    return float(np.nan_to_num(found))


@dataclass(slots=True)
class Changes:
    """What is known of the dimensions of a suspect so far."""

    choices: list[Choice]
    bases: list[Basis]

    def choices_of(self, size: int) -> Iterator[Choice]:
        """What was kept of a dimension of that size."""
        return (choice for choice in self.choices if choice.size == size)

    def bases_of(self, size: int) -> Iterator[Basis]:
        """Bases that such a dimension was turned into."""
        return (basis for basis in self.bases if basis.matrix.shape[1] == size)
