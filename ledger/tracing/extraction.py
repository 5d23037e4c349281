"""What a suspect shows of each cell, measured against both forms that the licensor sealed.

Informed and soft: of each cell the difference to form A is regressed on the difference of the two
forms, which gives the share of form B (0 for A, 1 for B, between for a mixture) and how sure it is.
The two forms differ by signs that nobody without both keys can know, so whatever else was done to
the weights is noise. Nothing here depends on any license's word.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ledger.errors import ContentMismatch, UsageError
from ledger.sealed.file import SealedFile
from ledger.sealed.marking import MARKED_DTYPES, SHORT_ROW, row_length
from ledger.tensors.model import ModelSource
from ledger.tracing.alignment import Aligned, Finder
from ledger.tracing.scores import Evidence

Vector: TypeAlias = npt.NDArray[np.float64]

_CLIPS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 1e9)  # in standard deviations of a row
_LEAST_LEFT: Final = 128  # weights of a cell
_LEAST_KEPT: Final = 0.25  # of them, by a clip
_LEARNT_FROM: Final = 2
_LONG: Final = 1.5  # times as many rows as columns


@dataclass(frozen=True, slots=True)
class TensorMatch:
    """Where a tensor with cells was found.

    Attributes:
        name: in the master.
        found: in the suspect; None when it is not there.
        how: what was undone to compare it.
        cells: how many cells it carries.
    """

    name: str
    found: str | None
    how: str
    cells: int

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"tensor": self.name, "found": self.found, "how": self.how, "cells": self.cells}


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a suspect."""

    evidence: Evidence
    matches: tuple[TensorMatch, ...]


def read_suspect(
    suspect: ModelSource,
    master: SealedFile,
    marked: SealedFile,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Reading:
    """Measure every cell.

    Args:
        suspect: the copy that was found.
        master: the sealed file, opened with form A of every cell.
        marked: the same file, opened with form B of every cell.
        progress: called with tensors done and in all.

    Raises:
        UsageError: the file has no cells.
        ContentMismatch: the two are not the two forms of one file.
    """
    if master.cells is None or marked.cells is None:
        raise UsageError(
            "this sealed file has no cells, so no copy of it can be traced to a license",
            hint="only files sealed with --cells can",
        )
    if not master.cells.master or not all(marked.cells.forms):
        raise ContentMismatch("these are not the two forms of one sealed file")
    by_tensor: dict[int, list[int]] = {}
    for cell, entry in enumerate(master.cells.index.entries):
        by_tensor.setdefault(entry.tensor, []).append(cell)
    count = len(master.cells.positions)
    fraction, spread = np.full(count, math.nan), np.full(count, math.inf)
    names = master.keys()
    matches = {
        number: TensorMatch(names[number], None, "not found", len(cells))
        for number, cells in sorted(by_tensor.items())
    }
    finder, done = Finder(suspect, frozenset(names)), 0
    for second in (False, True):
        missing = [number for number, match in matches.items() if match.found is None]
        if second and missing and not finder.hopeless:
            _learn(finder, master, {names[number] for number in missing})
        for number in missing:
            name, cells = names[number], by_tensor[number]
            form_a = master.get_tensor(name)
            match = finder.find(name, form_a.astype(np.float32))
            if match is not None:
                matches[number] = TensorMatch(name, match.name, match.how, len(cells))
                form_b = marked.get_tensor(name)
                for cell in cells:
                    offset = master.cells.index.entries[cell].offset
                    span = _span(form_a, offset, master.public.cell_bytes)
                    fraction[cell], spread[cell] = _measure(form_a, form_b, match, span)
            done += 1
            if progress is not None and not second:
                progress(done, len(matches))
    return Reading(Evidence(fraction, spread), tuple(matches.values()))


def _learn(finder: Finder, master: SealedFile, missing: set[str]) -> None:
    """Have the finder see long tensors too, which show best how a dimension was changed."""
    facts = {name: master.info(name) for name in master.keys()}  # noqa: SIM118 - not a mapping
    sides = {side for name in missing for side in facts[name].shape}
    long = [
        (-max(fact.shape) / min(fact.shape), name, min(fact.shape))
        for name, fact in facts.items()
        if fact.dtype in MARKED_DTYPES and len(fact.shape) == 2 and min(fact.shape) in sides
    ]
    seen: Counter[int] = Counter()
    for shape, name, side in sorted(long):
        if seen[side] < _LEARNT_FROM and shape <= -_LONG:
            seen[side] += 1
            finder.learn(name, master.get_tensor(name).astype(np.float32))


def _span(array: npt.NDArray[Any], offset: int, size: int) -> slice:
    item = array.dtype.itemsize
    return slice(offset // item, (offset + size) // item)


def _measure(
    form_a: npt.NDArray[Any], form_b: npt.NDArray[Any], match: Aligned, span: slice
) -> tuple[float, float]:
    """Share of form B in one cell and its standard deviation; NaN when nothing is left of it."""
    a = form_a.ravel()[span].astype(np.float64)
    mark = form_b.ravel()[span].astype(np.float64) - a
    seen = match.values.ravel()[span].astype(np.float64)
    sigma = _sigma(form_a, span)
    good = np.isfinite(seen) & (mark != 0) & (sigma > 0)
    options = []
    # Pruned weights say nothing. What to leave out, and where to clip, follows from how large the
    # noise is, which has nothing to do with any word.
    for chosen in (good, good & (seen != 0)):
        if chosen.sum() >= _LEAST_LEFT:
            step = mark[chosen] / sigma[chosen]
            moved = (seen[chosen] - a[chosen]) / sigma[chosen]
            least = 2 * float(np.abs(step).max())
            options += [_regress(step, moved, clip) for clip in _CLIPS if clip >= least]
    return min(options, key=lambda option: option[1], default=(math.nan, math.inf))


def _regress(step: Vector, moved: Vector, clip: float) -> tuple[float, float]:
    """Share and deviation with what was done to single weights clipped at `clip` deviations.

    Clipping weakens the mark with the noise: by the part of the weights that it leaves alone.
    """
    kept = float((np.abs(moved) < clip).mean())
    if kept < _LEAST_KEPT:
        return math.nan, math.inf
    clipped = np.clip(moved, -clip, clip)
    energy = float((step * step).sum()) * kept
    share = float((step * clipped).sum()) / energy
    rest = clipped - share * kept * step
    # Holds whatever the noise depends on, but for the signs, of which it is independent.
    return share, math.sqrt(float((step * step * rest * rest).sum())) / energy


def _sigma(form_a: npt.NDArray[Any], span: slice) -> Vector:
    """The standard deviation of each weight's row; of the cell where rows are short."""
    row = row_length(form_a.shape)
    flat = form_a.ravel()
    first, last = span.start // row, -(-span.stop // row)
    if row < SHORT_ROW:
        return np.full(span.stop - span.start, flat[span].astype(np.float64).std())
    rows = flat[first * row : last * row].astype(np.float64).reshape(-1, row)
    start = span.start - first * row
    return np.repeat(rows.std(axis=1), row)[start : start + span.stop - span.start]
