"""Finds a tensor of the master in a suspect, and undoes what moved or rescaled its weights.

Names, shapes, transposition, fused, split, stacked and shortened tensors, permuted, rescaled and
shifted rows and columns, other bases of a dimension, and integer quantisation are all undone
against the master's own weights. Nothing here looks at any word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from ledger.tensors.model import ModelSource, TensorInfo
from ledger.tracing.bases import Basis, Changes, Choice, agreement, learn
from ledger.tracing.lines import Found, Lines
from ledger.tracing.scaling import restored
from ledger.tracing.tensors import Matrix, Tensors, View, correlation, places

_RELATED = 0.15  # of 4096 sampled weights, unrelated ones correlate by 0.016
_CERTAIN = 0.98  # of the tensor of that name: no other one is looked at
_CLEAR = 0.5  # below, its lines are looked for elsewhere too
_PATIENCE = 8  # tensors, none of them found, after which costly searches are given up
_MOST_ROWS = 8192  # permutations of more are not searched for
_UNPERMUTED = 0.5  # unrelated weights, put in the best order, correlate by about 0.3
_TRIED: Final = 2
_SPREAD: Final = 1 << 19  # weights whose distribution is compared
_MOST_BASES: Final = 16
_PROBES: Final = 64  # rows that are turned to see whether it fits
_TURNS: Final = 4  # tensors that are tried for another basis
_QUANTILES = np.linspace(0.01, 0.99, 99)


@dataclass(frozen=True, slots=True)
class Aligned:
    """A suspect's tensor in the master's order.

    Attributes:
        name: what the suspect calls it, or those that hold parts of it.
        values: its weights, shaped like the master's; NaN where they are not there.
        how: what was undone, for people.
    """

    name: str
    values: Matrix
    how: str


@dataclass(slots=True)
class Finder:
    """Searches one suspect; remembers what it learnt of it."""

    suspect: ModelSource
    names: frozenset[str] = frozenset()
    _tensors: Tensors = field(init=False)
    _lines: Lines = field(init=False)
    _changes: Changes = field(init=False)
    _spreads: dict[TensorInfo, npt.NDArray[np.float64]] = field(init=False, default_factory=dict)
    _found: int = field(init=False, default=0)
    _missed: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._tensors = Tensors(self.suspect, self.names)
        self._lines = Lines(self._tensors)
        self._changes = Changes([], [])

    @property
    def hopeless(self) -> bool:
        """Whether so much was searched in vain that this seems to be another model."""
        return not self._found and self._missed >= _PATIENCE

    def find(self, name: str, master: Matrix) -> Aligned | None:
        """The suspect's tensor that is this one of the master; None when it is not there.

        What was not found may be found later, when others have shown how the model was changed.
        """
        flat = master.reshape(master.shape[0], -1)
        match = self._search(name, flat)
        if match is None:
            self._missed += 1
            return None
        self._found += 1
        values, undone = restored(flat, match.values, integer=match.views[0].integer)
        how = ", ".join(note for note in (match.how, undone) if note) or "as it is"
        return Aligned(_names(match.views), values.reshape(master.shape), how)

    def learn(self, name: str, master: Matrix) -> None:
        """See from a long tensor what became of its shorter dimension in the suspect."""
        tall = master if master.shape[0] >= master.shape[1] else np.ascontiguousarray(master.T)
        found = self._lines.find(np.ascontiguousarray(tall.T))
        self._note(found, tall.shape[1])
        if found is None:
            self._turned(name, tall)

    def _search(self, name: str, master: Matrix) -> _Match | None:
        whole = self._whole(name, master)
        if whole is not None and whole.alike >= _CLEAR:
            return whole
        if self.hopeless:
            return whole
        in_lines = self._in_lines(master)
        if in_lines is not None:
            return in_lines
        ways: list[Callable[[str, Matrix], _Match | None]] = [self._changed]
        if whole is None:
            ways += [self._turned, self._permuted]
        return next(filter(None, (way(name, master) for way in ways)), whole)

    # -- one tensor, as it is --

    def _same_size(self, name: str, master: Matrix) -> Iterator[View]:
        """Tensors that could be it by their shape, those of that name first."""
        rows, columns = master.shape
        views = list(self._tensors.views(rows=rows, columns=columns))
        yield from sorted(views, key=lambda view: view.info.name != name)

    def _whole(self, name: str, master: Matrix) -> _Match | None:
        wanted = master.ravel()[places(master.size)]
        best, chosen = 0.0, None
        for view in self._same_size(name, master):
            alike = abs(correlation(wanted, self._tensors.sample(view, master.shape)))
            if alike > best:
                best, chosen = alike, view
            if alike >= _CERTAIN and view.info.name == name:
                break
        if chosen is None or best < _RELATED:
            return None
        how = "transposed" if chosen.turned else ""
        return _Match(self._tensors.read(chosen), (chosen,), how, best)

    # -- parts of tensors --

    def _in_lines(self, master: Matrix) -> _Match | None:
        """Its rows, or its columns, wherever they are."""
        by_row = self._lines.find(master)
        by_column = None if by_row and by_row.share > 0.9 else self._lines.find(master.T)
        self._note(by_row, len(master))
        self._note(by_column, master.shape[1])
        shares = [0.0 if found is None else found.share for found in (by_row, by_column)]
        if by_row is not None and shares[0] >= shares[1]:
            return _Match(by_row.values, by_row.views, "put together by rows")
        if by_column is not None:
            values = np.ascontiguousarray(by_column.values.T)
            return _Match(values, by_column.views, "put together by columns")
        return None

    def _note(self, found: Found | None, size: int) -> None:
        """Remember which of a dimension's places were kept, and in which order."""
        if found is None or found.order is None or (found.order < 0).any():
            return
        choice = Choice(size, found.order)
        known = (np.array_equal(choice.order, one.order) for one in self._changes.choices_of(size))
        if not any(known) and len(self._changes.choices) < _MOST_BASES:
            self._changes.choices.append(choice)

    # -- what was done to the whole model --

    def _changed(self, name: str, master: Matrix) -> _Match | None:
        """As dimensions are known to have been chosen or turned."""
        for turned, values in ((False, master), (True, np.ascontiguousarray(master.T))):
            for choice in self._changes.choices_of(values.shape[1]):
                found = self._lines.find(values[:, choice.order])
                if found is not None:
                    out = np.full(values.shape, np.nan, np.float32)
                    out[:, choice.order] = found.values
                    out = np.ascontiguousarray(out.T) if turned else out
                    return _Match(out, found.views, "put together as others were cut")
            for basis in self._changes.bases_of(values.shape[1]):
                best = self._in_basis(name, values, basis)
                if best is not None:
                    out = np.ascontiguousarray(best[0].T) if turned else best[0]
                    return _Match(out, (best[1],), "turned as others were")
        return None

    def _in_basis(self, name: str, master: Matrix, basis: Basis) -> tuple[Matrix, View] | None:
        best, chosen = _RELATED, None
        views = self._tensors.views(rows=len(master), columns=basis.matrix.shape[0])
        step = max(1, len(master) // _PROBES)
        for view in sorted(views, key=lambda view: view.info.name != name):
            few = basis.undo(self._tensors.read(view)[::step])
            alike = agreement(master[::step], few)
            if alike >= best:
                best, chosen = alike, view
            if alike >= _CLEAR and view.info.name == name:
                break
        return None if chosen is None else (basis.undo(self._tensors.read(chosen)), chosen)

    def _turned(self, name: str, master: Matrix) -> _Match | None:
        """In another basis of its shorter side."""
        turned = master.shape[0] < master.shape[1]
        values = np.ascontiguousarray(master.T) if turned else master
        tried = 0
        views = self._tensors.views(rows=len(values))
        for view in sorted(views, key=lambda view: view.info.name != name):
            if view.integer or view.columns > values.shape[1] or 2 * view.columns < values.shape[1]:
                continue
            other = self._tensors.read(view)
            basis = learn(values, other)
            if basis is not None:
                if len(self._changes.bases) < _MOST_BASES:
                    self._changes.bases.append(basis)
                out = basis.undo(other)
                return _Match(np.ascontiguousarray(out.T) if turned else out, (view,), "turned")
            tried += 1
            if tried >= _TURNS:
                break
        return None

    # -- permutations --

    def _permuted(self, name: str, master: Matrix) -> _Match | None:
        for view, values in self._most_alike(name, master):
            ordered = _unpermuted(master, values)
            if ordered is not None:
                return _Match(ordered, (view,), "permuted")
        return None

    def _most_alike(self, name: str, master: Matrix) -> list[tuple[View, Matrix]]:
        """The few tensors whose weights, in whatever order, are spread most like the master's."""
        if max(master.shape) > _MOST_ROWS:
            return []
        wanted = _spread(master)
        ranked: list[tuple[float, int, View]] = []
        for number, view in enumerate(self._same_size(name, master)):
            if view.info not in self._spreads:
                self._spreads[view.info] = _spread(self._tensors.read(view))
            distance = np.abs(self._spreads[view.info] - wanted).max()
            ranked.append((float(distance), number, view))
        best = sorted(ranked, key=lambda row: row[:2])[:_TRIED]
        return [(view, self._tensors.read(view)) for _, _, view in best]


@dataclass(frozen=True, slots=True)
class _Match:
    values: Matrix
    views: tuple[View, ...]
    how: str
    alike: float = 1.0


def _names(views: tuple[View, ...]) -> str:
    names = list(dict.fromkeys(view.info.name for view in views))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _spread(values: Matrix) -> npt.NDArray[np.float64]:
    """Quantiles of a tensor's weights in standard deviations: the same in whatever order."""
    flat = values.ravel()
    flat = flat[:: max(1, len(flat) // _SPREAD)].astype(np.float64)
    with np.errstate(all="ignore"):
        quantiles = np.quantile(flat, _QUANTILES) / flat.std()
    return np.asarray(np.nan_to_num(quantiles, nan=1e9, posinf=1e9))


def _unpermuted(master: Matrix, other: Matrix) -> Matrix | None:
    """`other` with its rows and columns in the master's order, if some order explains it."""
    if max(master.shape) > _MOST_ROWS or not np.isfinite(other).all():
        return None
    # A sorted row is the same whatever the order of its columns.
    ordered = other[_nearest(np.sort(master, axis=1), np.sort(other, axis=1))]
    ordered = ordered[:, _nearest(master.T, ordered.T)]
    ordered = ordered[_nearest(master, ordered)]
    return ordered if agreement(master, ordered) >= _UNPERMUTED else None


def _nearest(master: Matrix, other: Matrix) -> npt.NDArray[np.intp]:
    """For each row of `master` the row of `other` that is most like it."""
    a, b = master.astype(np.float32), other.astype(np.float32)
    with np.errstate(all="ignore"):
        distance = (b * b).sum(axis=1)[None, :] - 2 * (a @ b.T)
    return np.asarray(distance.argmin(axis=1))
