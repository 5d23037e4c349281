"""The row-order test where features were reordered: they are aligned first, blind to the order.

Reordering the hidden units of a layer moves the features of its residual dimensions, and no row is
like any other any more. What is left of a feature in whatever order its values are is their sorted
list. Features are aligned by that, and then rows are matched as ever. The order of rows, which is
tested, cannot have any part in it: reorder the rows of theirs, and the same features are aligned.
So the bounds of the row-order test hold as they stand (docs/spec/lineage.md, "Aligned features").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from ledger.fingerprint.lineage import (
    MOST_FEATURES,
    MOST_ROWS,
    Matrix,
    Places,
    drawn,
    row_order,
)
from ledger.fingerprint.pairing import PUBLIC_KEY, Lineage, MatrixResult, ModelRows
from ledger.fingerprint.roles import LEAST_FEATURES, Units, roles_of
from ledger.tensors.model import ModelSource

SHARE: Final = 1000
"""One part in so many of the level is for these tests."""
_OURS: Final = 4  # matrices that are tested, the first ones by the draw of their names
_PIECE: Final = 1 << 25  # values in memory at once
_MOST: Final = 1 << 27  # values of a matrix that is looked at
_PROBES: Final = 32  # features of ours that choose among them
_TESTED: Final = 2  # of them, the nearest by profile
_THEIRS: Final = 32  # that each is held against; all are counted
_BINS: Final = 64
_LEAST: Final = 32  # of both axes, or a sorted list tells too little
_WIDEST: Final = 8192  # features of theirs that are looked through
_NOTABLE: Final = -3.0


def with_aligned(ours: ModelSource, theirs: ModelSource, found: Lineage) -> Lineage:
    """The same tests and those over aligned features; as they are without two of one shape.

    Raises:
        TensorFileError: a file cannot be read.
    """
    mine = list(_both_ways(roles_of(ours).units, certain=True))
    if not mine:
        return found
    others: dict[tuple[int, int], list[Units]] = {}
    for view in _both_ways(roles_of(theirs, names=False).units, certain=False):
        others.setdefault((view.units, view.width), []).append(view)
    known: dict[Units, Matrix] = {}
    results: list[MatrixResult] = []
    pairs = sum(len(others.get((view.units, view.width), ())) for view in mine)
    for view in mine:
        results += _best(ours, theirs, view, others.get((view.units, view.width), []), known)
    if not pairs:
        return found
    return replace(found, matrices=(*found.matrices, *results), tried=found.tried + pairs)


def _both_ways(units: Iterable[Units], *, certain: bool) -> Iterator[Units]:
    """Matrices by their rows and by their columns, where both axes are hidden.

    Args:
        units: views of a model.
        certain: whether an axis must be seen to be made by one matrix and taken by another; of a
            suspect's it need not.
    """
    plain = [
        v for v in units if v.role == "hidden units" and v.gates == 1 and v.units * v.width <= _MOST
    ]
    made = {v.width for v in plain if v.columns}
    taken = {v.width for v in plain if not v.columns}
    for view in plain[:_OURS] if certain else plain:
        if min(view.units, view.width) >= _LEAST:
            yield view
        turned = replace(
            view, columns=not view.columns, units=view.width, width=view.units, part=view.part
        )
        both = view.width in made & taken or not certain
        if both and min(view.units, view.width) >= _LEAST:
            yield turned


def _best(
    ours: ModelSource,
    theirs: ModelSource,
    view: Units,
    candidates: list[Units],
    known: dict[Units, Matrix],
) -> list[MatrixResult]:
    if not candidates or ModelRows(ours, view).reason() is not None:
        return []
    places = drawn(PUBLIC_KEY, f"rows/{view.units}", view.units, MOST_ROWS)
    some = drawn(PUBLIC_KEY, f"features/{view.width}", view.width, MOST_FEATURES)
    mine, values = profiles(ours, view, some), view.read(ours, places, some)
    every = drawn(PUBLIC_KEY, f"features/{view.width}", view.width, _WIDEST)
    ranked: list[tuple[float, int, Units]] = []
    probes = mine[:: max(1, len(mine) // _PROBES)]
    for other in candidates[:_THEIRS]:
        if other not in known:
            known[other] = profiles(theirs, other, every)
        ranked.append((float(_far(probes, known[other]).min(axis=1).mean()), len(ranked), other))
    results = []
    # How near the profiles are no order of rows decides either.
    for _, _, other in sorted(ranked, key=lambda row: row[:2])[:_TESTED]:
        here, there = nearest_both_ways(mine, known[other])
        if len(here) < LEAST_FEATURES:
            continue
        order = row_order(
            np.ascontiguousarray(values[:, here]),
            read_at(theirs, other, places, every[there]),
            places,
            places,
        )
        if order.log10_p < _NOTABLE and ModelRows(theirs, other).reason() is not None:
            continue
        result = replace(order, log10_p=min(0.0, order.log10_p + math.log10(SHARE)))
        results.append(
            MatrixResult(
                view.name,
                other.name,
                view.role,
                view.units,
                other.units,
                result,
                aligned=len(here),
            )
        )
    return sorted(results, key=lambda r: (r.order.log10_p, -r.order.alike))[:1]


def profiles(model: ModelSource, view: Units, features: Places) -> Matrix:
    """(features, bins): of each feature the means of its sorted values, in equal parts.

    Over all rows, whatever their order, in units of what the matrix spreads.
    """
    every = np.arange(view.units, dtype=np.int64)
    edges = np.linspace(0, view.units, min(_BINS, view.units) + 1).astype(np.int64)
    parts = []
    for start in range(0, len(features), step := max(1, _PIECE // view.units)):
        values = np.sort(view.read(model, every, features[start : start + step]).T, axis=1)
        with np.errstate(all="ignore"):
            sums = np.add.reduceat(values.astype(np.float64), edges[:-1], axis=1)
            parts.append(sums / np.diff(edges))
    made = np.concatenate(parts)
    with np.errstate(all="ignore"):
        made = np.nan_to_num(made / made.std(), posinf=0, neginf=0)
    return np.asarray(made, np.float32)


def nearest_both_ways(mine: Matrix, theirs: Matrix) -> tuple[Places, Places]:
    """Pairs of features that are each other's nearest by profile."""
    far = _far(mine, theirs)
    there, back = far.argmin(axis=1), far.argmin(axis=0)
    here = np.flatnonzero(back[there] == np.arange(len(mine)))
    return here.astype(np.int64), there[here].astype(np.int64)


def _far(a: Matrix, b: Matrix) -> Matrix:
    """Squared distances of all rows of one to all of the other."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None]
    return np.asarray(squares - 2 * (a @ b.T), np.float32)


def read_at(model: ModelSource, view: Units, rows: Places, features: Places) -> Matrix:
    """Rows over features in another order than ascending."""
    order = np.argsort(features)
    values = view.read(model, rows, features[order])
    out = np.empty_like(values)
    out[:, order] = values
    return out
