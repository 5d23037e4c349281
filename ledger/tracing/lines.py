"""Finds the rows of a master's matrix wherever they are in a suspect.

Fused, split, stacked and shortened tensors have other shapes than the master's, and yet hold its
rows, or its columns, whole. A sketch of each row and column of the suspect, weights at places that
follow from its length alone, is compared with sketches of the master's rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from ledger.tracing.tensors import Matrix, Tensors, View, tamed

_SKETCH = 128  # weights of a line that are compared
_SHORTEST = 24
_PROBES = 96
_ALIKE = 0.55  # unrelated sketches correlate by 0.09; of a million, one by 0.45
_NEAR = 3.0  # medians: a few large dimensions, which many rows share, must not make them alike
_VERIFIED = 0.5  # of whole lines
_LEAST_FOUND = 0.08  # of a matrix, in one tensor
_MOST_LINES: Final = 1 << 20  # of a suspect, of one length: 256 MiB of sketches
_CHUNK = 1 << 25


@dataclass(frozen=True, slots=True)
class Sketches:
    """All lines of one length in a suspect.

    Attributes:
        views: the matrices whose rows they are.
        starts: where each view's lines begin; one more for the end.
        rows: which row of its view each line is.
        values: one row a line, of norm 1.
    """

    views: tuple[View, ...]
    starts: tuple[int, ...]
    rows: npt.NDArray[np.int64]
    values: npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Found:
    """A master's matrix put together from lines.

    Attributes:
        values: NaN where no line was found.
        views: where they came from.
        order: of a single view, which row of the master each of its rows is, -1 for none.
    """

    values: Matrix
    views: tuple[View, ...]
    order: npt.NDArray[np.int64] | None

    @property
    def share(self) -> float:
        """How much of the matrix was found."""
        return float(np.isfinite(self.values).mean())


@dataclass(slots=True)
class Lines:
    """The lines of a suspect, sketched when a length is first asked for."""

    tensors: Tensors
    _sketches: dict[int, Sketches] = field(init=False, default_factory=dict)

    def find(self, master: Matrix) -> Found | None:
        """Put the rows of `master` together; None when too few are there."""
        if master.shape[1] < _SHORTEST:
            return None
        known = self._of_length(master.shape[1])
        if not known.views:
            return None
        wanted = _sketch(master)
        step = max(1, len(wanted) // _PROBES)
        near, alike = _nearest(wanted[::step], known.values)
        hit = near[alike >= _ALIKE]
        numbers = np.unique(np.searchsorted(known.starts, hit, side="right") - 1)
        if len(hit) < max(1, _LEAST_FOUND * len(near)):
            return None
        return self._assemble(master, wanted, known, numbers.tolist())

    def _assemble(
        self, master: Matrix, wanted: Matrix, known: Sketches, numbers: list[int]
    ) -> Found | None:
        best = np.full(len(master), _ALIKE, np.float32)
        home, place = np.full(len(master), -1), np.full(len(master), -1)
        for number in numbers:
            part = known.values[known.starts[number] : known.starts[number + 1]]
            near, alike = _nearest(wanted, part)
            better = alike > best
            rows = known.rows[known.starts[number] + near[better]]
            best[better], home[better], place[better] = alike[better], number, rows
        # A line is one row's alone: where many rows are most like a few, they only look alike.
        order = np.argsort(-best, kind="stable")
        _, first = np.unique(np.stack([home, place])[:, order], axis=1, return_index=True)
        alone = np.zeros(len(master), bool)
        alone[order[first]] = True
        home[~alone] = -1
        values = np.full(master.shape, np.nan, np.float32)
        used = []
        for number in numbers:
            mine = np.flatnonzero(home == number)
            if len(mine) < _LEAST_FOUND * len(master):
                home[mine] = -1  # a handful out of a tensor of other rows
            else:
                lines = self.tensors.read(known.views[number])[place[mine]]
                good = np.abs(_by_row(master[mine], lines)) >= _VERIFIED
                values[mine[good]] = lines[good]
                home[mine[~good]] = -1
                used += [number] if good.any() else []
        if (home >= 0).mean() < _LEAST_FOUND:
            return None
        views = tuple(known.views[number] for number in used)
        kept = None
        if len(used) == 1:
            kept = np.full(views[0].rows, -1)
            kept[place[home >= 0]] = np.flatnonzero(home >= 0)
        return Found(values, views, kept)

    def _of_length(self, length: int) -> Sketches:
        if length not in self._sketches:
            views: list[View] = []
            starts, rows, parts = [0], [np.empty(0, np.int64)], []
            for view in self.tensors.views(columns=length):
                if starts[-1] + view.rows > _MOST_LINES:
                    break
                part = _sketch(self.tensors.read(view))
                kept = np.flatnonzero(part.any(axis=1))
                if len(kept):
                    views.append(view)
                    starts.append(starts[-1] + len(kept))
                    rows.append(kept)
                    parts.append(part[kept].astype(np.float16))
            joined = np.concatenate(parts) if parts else np.empty((0, 1), np.float16)
            place = np.concatenate(rows)
            self._sketches[length] = Sketches(tuple(views), tuple(starts), place, joined)
        return self._sketches[length]


def _sketch(values: Matrix) -> Matrix:
    length = values.shape[1]
    if length > _SKETCH:
        chosen = np.random.default_rng(length).choice(length, _SKETCH, replace=False)
        values = values[:, chosen]
    with np.errstate(all="ignore"):
        values = tamed(values, _NEAR)
        values = values / np.nanmax(np.abs(values), axis=1, keepdims=True, initial=0)
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        centred = values - values.mean(axis=1, keepdims=True)
        norm = np.linalg.norm(centred, axis=1, keepdims=True)
    out = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
    return np.asarray(out, np.float32)


def _nearest(
    wanted: Matrix, known: npt.NDArray[np.float16]
) -> tuple[npt.NDArray[np.int64], Matrix]:
    """For each row the most alike of the known ones, and how alike, whatever the sign."""
    near, alike = np.zeros(len(wanted), np.int64), np.full(len(wanted), -1.0, np.float32)
    if not len(known):
        return near, alike
    rows = max(1, _CHUNK // max(1, len(wanted)))
    for start in range(0, len(known), rows):
        likeness = np.abs(wanted @ known[start : start + rows].astype(np.float32).T)
        here = likeness.argmax(axis=1)
        value = likeness[np.arange(len(wanted)), here]
        better = value > alike
        near[better], alike[better] = start + here[better], value[better]
    return near, alike


def _by_row(a: Matrix, b: Matrix) -> Matrix:
    """The correlation of each row of one matrix with that of another."""
    a, b = tamed(a, _NEAR), tamed(b, _NEAR)
    there = np.isfinite(b)
    with np.errstate(all="ignore"):
        x = a - a.mean(axis=1, keepdims=True)
        mean = np.where(there, b, 0).sum(axis=1, keepdims=True) / there.sum(axis=1, keepdims=True)
        y = np.where(there, b - mean, 0)
        norm = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
        return np.asarray(np.nan_to_num((x * y).sum(axis=1) / norm), np.float32)
