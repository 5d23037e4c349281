"""A score for layers whose units and residual dimensions were both reordered.

To see whether units agree, the residual dimensions have to be aligned first, with weights of the
same models. What comes out has no known null: layers that share a basis agree by themselves. So it
is printed as a score, with the background that the same comparison shows on pairs of different
layers, and never as a p-value (docs/spec/lineage.md, "What is never a p-value").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ledger.fingerprint.lineage import MOST_FEATURES, Matrix, Places, drawn, standardised
from ledger.fingerprint.roles import Units, roles_of
from ledger.tensors.model import ModelSource

_MATRICES: Final = 12  # of ours; neighbours among them are two views of one layer
_THEIRS: Final = 64
_UNITS: Final = 1024
_ALIGNED: Final = 0.5  # of the residual dimensions must be found, or nothing is scored
_NEAR: Final = 1e-5
_APART: Final = 4


@dataclass(frozen=True, slots=True)
class TwoView:
    """How far two views of a layer agree on which unit of theirs is which of ours.

    Attributes:
        aligned: share of residual dimensions that were aligned.
        score: largest share of units on which neighbouring matrices of ours agree.
        background: the same of matrices of different layers, in this comparison.
        layers: matrices that were looked at.
    """

    aligned: float
    score: float
    background: float
    layers: int

    @property
    def sentence(self) -> str:
        """What may be said of it."""
        return (
            f"After aligning {self.aligned:.0%} of the residual dimensions, two views of a layer "
            f"agree on up to {self.score:.1%} of its units; matrices of different layers agree on "
            f"up to {self.background:.1%}. This is a score without a p-value."
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "aligned": round(self.aligned, 4),
            "score": round(self.score, 4),
            "background": round(self.background, 4),
            "layers": self.layers,
        }


def two_view(ours: ModelSource, theirs: ModelSource) -> TwoView | None:
    """The score; None where a model lacks embeddings or layers of the same sizes.

    Raises:
        TensorFileError: a file cannot be read.
    """
    mine, other = roles_of(ours).units, roles_of(theirs).units
    basis = _aligned_basis(ours, theirs, mine, other)
    if basis is None:
        return None
    place, found = basis
    width = len(place)
    layers = [v for v in _sorted(mine) if v.role == "hidden units" and v.width == width]
    layers = layers[:_MATRICES]
    theirs_of = [v for v in _sorted(other) if v.role == "hidden units" and v.width == width]
    theirs_of = theirs_of[:_THEIRS]
    if len(layers) < _APART + 1 or not theirs_of:
        return None
    features = np.flatnonzero(place >= 0)[:MOST_FEATURES].astype(np.int64)
    candidates = [standardised(_turned(theirs, view, place[features])) for view in theirs_of]
    maps = []
    for view in layers:
        units = np.arange(min(view.units, _UNITS), dtype=np.int64)
        maps.append(_best_map(standardised(view.read(ours, units, features)), candidates))
    size = min(*(view.units for view in layers), _UNITS)
    near, far = [], []
    for i, one in enumerate(maps):
        for j in range(i + 1, len(maps)):
            agree = float(((one[:size] == maps[j][:size]) & (one[:size] >= 0)).mean())
            if j == i + 1:
                near.append(agree)
            elif j - i >= _APART:
                far.append(agree)
    return TwoView(found, max(near), max(far), len(layers))


def _aligned_basis(
    ours: ModelSource, theirs: ModelSource, mine: tuple[Units, ...], other: tuple[Units, ...]
) -> tuple[Places, float] | None:
    """For each residual dimension of ours the place of theirs (-1: not found), and the share."""
    for a in mine:
        for b in other:
            roles = {a.role, b.role}
            if roles != {"residual dimensions"} or (a.width, a.units) != (b.width, b.units):
                continue
            tokens = drawn(b"", f"features/{a.width}", a.width, MOST_FEATURES)
            every = np.arange(a.units, dtype=np.int64)
            x, y = (standardised(v.read(m, every, tokens)) for v, m in ((a, ours), (b, theirs)))
            place = _nearest_both_ways(x, y)
            found = float((place >= 0).mean())
            if found >= _ALIGNED:
                return place, found
    return None


def _nearest_both_ways(x: Matrix, y: Matrix) -> Places:
    alike = np.abs(x @ y.T)
    there, back = alike.argmax(axis=1), alike.argmax(axis=0)
    mutual = back[there] == np.arange(len(x))
    return np.where(mutual & (alike.max(axis=1) > _NEAR), there, -1).astype(np.int64)


def _turned(model: ModelSource, view: Units, features: Places) -> Matrix:
    """Rows of all units over features in another order than ascending."""
    units = np.arange(min(view.units, 4 * _UNITS), dtype=np.int64)
    order = np.argsort(features)
    values = view.read(model, units, features[order])
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return np.ascontiguousarray(values[:, back])


def _best_map(values: Matrix, candidates: list[Matrix]) -> Places:
    """The units of that candidate whose rows are most like ours; -1 where none is clear."""
    few = values[:: max(1, len(values) // 128)]
    likeness = [float(np.abs(few @ c.T).max(axis=1).mean()) for c in candidates]
    best = candidates[int(np.argmax(likeness))]
    alike = np.abs(values @ best.T)
    there = alike.argmax(axis=1)
    return np.where(alike.max(axis=1) > _NEAR, there, -1).astype(np.int64)


def _sorted(views: tuple[Units, ...]) -> list[Units]:
    """By name, numbers by value: layers follow one another."""

    def natural(view: Units) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", view.info.name)
        return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]

    return sorted(views, key=natural)
