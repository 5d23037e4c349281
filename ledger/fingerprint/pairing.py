"""Which matrix of theirs is held against which of ours, and the row-order test of each pair.

Names differ between formats, so all pairs that fit by their features are candidates. A screen
chooses among them; all of them are counted, so that choosing costs nothing in the bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from ledger.fingerprint.lineage import (
    FOLLOWS,
    MOST_FEATURES,
    MOST_ROWS,
    ORDERED,
    Matrix,
    Places,
    RowOrder,
    beside,
    combined,
    drawn,
    follows_features,
    is_table,
    order_of_its_own,
    row_order,
    standardised,
    strongest_waves,
    without_waves,
)
from ledger.fingerprint.roles import LeftOut, Role, Units, roles_of
from ledger.tensors.model import ModelSource

PUBLIC_KEY: Final = b""
"""Draws rows where no secret is needed: reordering the rows that were not drawn hides nothing."""
THEIR_ROWS: Final = 16384
_SCREENED: Final = 96  # features of a sample
_HELD: Final = 256  # rows of ours that are held against the same places of a candidate
_PROBES: Final = 16  # rows of ours that are held against all of a candidate
_MOST: Final = 1024  # candidates that are looked at; all are counted
_KEPT: Final = 256 << 20  # bytes of samples, from where the oldest are given up
_SHARED: Final = math.log10(1.001)  # what tests over aligned features may add
_CERTAIN: Final = -100.0
_NOTABLE: Final = -3.0  # log10 p, from where theirs is looked at for an order of its own as well
_TIED: Final = "its units are tied to its features, as those begun from an identity are"
_WAVED: Final = "its match rests on waves, as position tables and Hadamard matrices are"
_NEIGHBOURS: Final = 512
_WAVED_ROWS: Final = 256  # matches that are looked at without their waves
_WAVED_VALUES: Final = 1 << 22  # of theirs, so that a wide matrix costs no more
_LEAST_WAVED: Final = 48  # matches, enough for a bound below the level


@dataclass(frozen=True, slots=True)
class MatrixResult:
    """One matrix of ours and the one of theirs that it was held against.

    Attributes:
        ours: name of our tensor.
        theirs: name of theirs.
        role: of our units.
        units: of ours, all of them.
        their_units: likewise.
        order: what the test found.
        aligned: features that were aligned first (`ledger.fingerprint.aligned`); 0 for none.
    """

    ours: str
    theirs: str
    role: Role
    units: int
    their_units: int
    order: RowOrder
    aligned: int = 0


@dataclass(frozen=True, slots=True)
class Lineage:
    """The row-order tests of one comparison.

    Attributes:
        matrices: one result for each matrix of ours that had a candidate.
        tried: candidate pairs in all: what Bonferroni multiplies by.
        left_out: tensors of ours that were not tested, and why.
        their_left_out: likewise of theirs.
    """

    matrices: tuple[MatrixResult, ...]
    tried: int
    left_out: tuple[LeftOut, ...]
    their_left_out: tuple[LeftOut, ...]

    @property
    def log10_p(self) -> float:
        """Bound over all matrices; at most 0."""
        return min(0.0, combined([m.order.log10_p for m in self.matrices], self.tried) + _SHARED)

    @property
    def log10_p_counted(self) -> float:
        """Bound over those matrices whose order reordering alone cannot have made."""
        counted = [m.order.log10_p for m in self.matrices if not m.order.fitted]
        return min(0.0, combined(counted, self.tried) + _SHARED)


class Rows(Protocol):
    """Our side of a pair: rows of units, from a model or from a sketch."""

    @property
    def name(self) -> str:
        """Of the tensor."""

    @property
    def role(self) -> Role:
        """Of its units."""

    @property
    def units(self) -> int:
        """All of them."""

    @property
    def width(self) -> int:
        """All features of a gate."""

    @property
    def gates(self) -> int:
        """Rows that make up one unit."""

    @property
    def places(self) -> Places:
        """The units that are looked at, ascending."""

    @property
    def features(self) -> Places:
        """The features that are looked at, ascending."""

    def values(self) -> Matrix:
        """(rows, features × gates)."""


@dataclass(slots=True)
class ModelRows:
    """Rows of one matrix of an open model, drawn by a key."""

    model: ModelSource
    view: Units
    key: bytes = PUBLIC_KEY
    places: Places = field(init=False)
    features: Places = field(init=False)

    def __post_init__(self) -> None:
        view = self.view
        self.places = drawn(self.key, f"rows/{view.units}", view.units, MOST_ROWS)
        most = MOST_FEATURES // view.gates
        self.features = drawn(self.key, f"features/{view.width}", view.width, most)

    @property
    def name(self) -> str:
        """Of the tensor."""
        return self.view.name

    @property
    def role(self) -> Role:
        """Of its units."""
        return self.view.role

    @property
    def units(self) -> int:
        """All of them."""
        return self.view.units

    @property
    def width(self) -> int:
        """All features of a gate."""
        return self.view.width

    @property
    def gates(self) -> int:
        """Rows that make up one unit."""
        return self.view.gates

    def values(self) -> Matrix:
        """(rows, features × gates).

        Raises:
            TensorFileError: the file cannot be read.
        """
        return self.view.read(self.model, self.places, self.features)

    def reason(self) -> str | None:
        """Why its units are no units: its rows have an order, or were calculated."""
        few = np.arange(min(self.units, _NEIGHBOURS), dtype=np.int64)
        features = self.features[: max(_NEIGHBOURS // self.gates, 1)]
        if self.role == "residual dimensions":
            features = self.features
        near = self.view.read(self.model, few, features)
        if order_of_its_own(near) > ORDERED:
            return "its rows have an order of their own"
        first = np.arange(min(self.width, _NEIGHBOURS), dtype=np.int64)
        if is_table(self.view.read(self.model, few, first)):
            return "a calculated table"
        return None


@dataclass(frozen=True, slots=True)
class _Stack:
    """Samples of candidates, one below the other; where each starts, and its rows' places."""

    rows: Matrix
    starts: Places
    places: tuple[Places, ...]


@dataclass(slots=True)
class Suspect:
    """The candidates of theirs, and samples of them.

    Attributes:
        model: theirs.
        left_out: tensors that are no candidates, and why.
        ordered: those of which a match turned out to say nothing, and why.
    """

    model: ModelSource
    left_out: tuple[LeftOut, ...] = field(init=False)
    ordered: list[LeftOut] = field(init=False, default_factory=list)
    _views: dict[tuple[int, int], list[Units]] = field(init=False, default_factory=dict)
    _stacks: dict[tuple[int, int, int, bytes], _Stack] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        found = roles_of(self.model, names=False)
        self.left_out = found.left_out
        for view in found.units:
            for variant in view.variants():
                self._views.setdefault((view.width, view.gates), []).append(variant)

    def candidates(self, ours: Rows) -> list[Units]:
        """Matrices whose units have as many features and gates, those with as many units first.

        More than `_MOST` that lie nearer are as large as a model: small decoys hide nothing.
        """
        views = self._views.get((ours.width, ours.gates), [])
        return sorted(views, key=lambda view: abs(view.units - ours.units))

    def best(self, ours: Rows, values: Matrix, key: bytes) -> MatrixResult | None:
        """The result of the candidate that fits ours best; None without candidates.

        A candidate whose rows have an order of their own says nothing, whatever ours holds.
        """
        results = []
        for view in self._screened(ours, values, key):
            places = ours.places
            if view.units != ours.units:
                places = drawn(key, f"rows/{view.units}", view.units, THEIR_ROWS)
            theirs = view.read(self.model, places, ours.features)
            found = row_order(values, theirs, ours.places, places)
            reason = None
            if found.log10_p < _NOTABLE:
                reason = self._reason(view, theirs) or self._waved(ours, view, found)
            if reason is not None:
                self.ordered.append(LeftOut(view.name, reason))
                continue
            results.append(
                MatrixResult(ours.name, view.name, ours.role, ours.units, view.units, found)
            )
            if found.log10_p < _CERTAIN and not found.fitted:
                break
        return min(results, key=lambda r: (r.order.log10_p, -r.order.alike), default=None)

    def _reason(self, view: Units, values: Matrix) -> str | None:
        tied = _TIED if follows_features(values, view.gates) else None
        return tied or ModelRows(self.model, view).reason()

    def _waved(self, ours: Rows, view: Units, found: RowOrder) -> str | None:
        """Why a match says nothing: it is gone once the strongest waves are out of every row.

        So it is of layers begun from one position table and trained apart.
        """
        few = found.matches[:: max(1, len(found.matches) // _WAVED_ROWS)][:_WAVED_ROWS]
        if not isinstance(ours, ModelRows):
            return self._waved_drawn(ours, view, found, few)
        at, their_at = (np.unique([pair[side] for pair in few]).astype(np.int64) for side in (0, 1))
        most = np.arange(min(ours.width, _NEIGHBOURS), dtype=np.int64)
        mine = ours.view.read(ours.model, at, most)[:, : len(most)]
        theirs = view.read(self.model, their_at, most)[:, : len(most)]
        for a, b in zip(without_waves(mine), without_waves(theirs), strict=True):
            left = row_order(a, b, at, their_at)
            if left.log10_p > max(FOLLOWS, found.log10_p / 2):
                return _WAVED
        return None

    def _waved_drawn(
        self, ours: Rows, view: Units, found: RowOrder, few: Sequence[tuple[int, int]]
    ) -> str | None:
        """`_waved` where our features do not lie side by side, as a sketch's do not.

        Theirs do: the waves are those of the row of theirs, and are taken out of both at the
        features that we have. What both began from is in them, whichever of the two one asks.
        """
        few = few[: max(_LEAST_WAVED, _WAVED_VALUES // ours.width)]
        pairs = dict(reversed(few))
        at, partners = np.array(sorted(pairs)), [pairs[place] for place in sorted(pairs)]
        their_at, index = np.unique(partners, return_inverse=True)
        whole = view.read(self.model, their_at.astype(np.int64), np.arange(ours.width))
        whole = whole[:, : ours.width]
        size = len(ours.features)
        mine = ours.values()[np.searchsorted(ours.places, at), :size]
        theirs = whole[:, ours.features]
        for waves in strongest_waves(whole):
            drawn_waves = waves[:, :, ours.features]
            a, b = beside(mine, drawn_waves[index]), beside(theirs, drawn_waves)
            if row_order(a, b, at, their_at).log10_p > max(FOLLOWS, found.log10_p / 2):
                return _WAVED
        return None

    def _screened(self, ours: Rows, values: Matrix, key: bytes) -> list[Units]:
        """The candidate most alike place by place, and the one whose rows are most alike."""
        views = self.candidates(ours)
        if len(views) <= 1:
            return views
        each = max(1, _SCREENED // ours.gates)
        columns = _spread(len(ours.features), each)
        wide = np.concatenate([columns + gate * len(ours.features) for gate in range(ours.gates)])
        few = standardised(values[:, wide])
        step = slice(None, None, max(1, len(few) // _HELD))
        held = ours.places[step]
        probes = few[:: max(1, len(few) // _PROBES)]
        stack = self._stack(ours, columns, key)
        # One product for all candidates: thousands of small ones would take far longer.
        nearest = np.maximum.reduceat(np.abs(probes @ stack.rows.T), stack.starts, axis=1)
        ranked = []
        for number, places in enumerate(stack.places):
            partner = np.minimum(np.searchsorted(places, held), len(places) - 1)
            there = places[partner] == held
            same = stack.rows[stack.starts[number] + partner[there]]
            in_place = np.einsum("ij,ij->i", few[step][there], same)
            square = float(np.square(in_place).mean()) if len(in_place) else 0.0
            ranked.append((square, float(nearest[:, number].mean()), number))
        chosen = [max(ranked)[2], max(ranked, key=lambda row: (row[1], row[2]))[2]]
        return [views[number] for number in dict.fromkeys(chosen)]

    def _stack(self, ours: Rows, columns: Places, key: bytes) -> _Stack:
        """All candidates' rows over few features; kept for our other matrices of that kind."""
        features = ours.features[columns]
        at = (ours.width, ours.gates, ours.units, features.tobytes() + ours.places.tobytes())
        if at not in self._stacks:
            rows, all_places = [], []
            for view in self.candidates(ours)[:_MOST]:
                places = drawn(key, f"rows/{view.units}", view.units, MOST_ROWS)
                if view.units == ours.units:
                    places = ours.places
                rows.append(standardised(view.read(self.model, places, features)))
                all_places.append(places)
            sizes = np.cumsum([0, *(len(places) for places in all_places[:-1])])
            while self._stacks and sum(s.rows.nbytes for s in self._stacks.values()) > _KEPT:
                del self._stacks[next(iter(self._stacks))]
            self._stacks[at] = _Stack(np.concatenate(rows), sizes, tuple(all_places))
        return self._stacks[at]


def lineage_of(
    rows: Iterable[Rows],
    suspect: Suspect,
    left_out: Sequence[LeftOut],
    *,
    key: bytes = PUBLIC_KEY,
    progress: Callable[[], None] = lambda: None,
) -> Lineage:
    """Test all our matrices against one suspect.

    Raises:
        TensorFileError: a file cannot be read, or changed meanwhile.
    """
    matrices: list[MatrixResult] = []
    omitted = list(left_out)
    tried = 0
    for ours in rows:
        progress()
        candidates = suspect.candidates(ours)
        if not candidates:
            omitted.append(LeftOut(ours.name, f"theirs has no units of {ours.width} values"))
            continue
        reason = ours.reason() if isinstance(ours, ModelRows) else None
        if reason is not None:
            omitted.append(LeftOut(ours.name, reason))
            continue
        values = ours.values()
        if follows_features(values, ours.gates):
            omitted.append(LeftOut(ours.name, _TIED))
            continue
        tried += len(candidates)
        result = suspect.best(ours, values, key)
        if result is not None:
            matrices.append(result)
        else:
            omitted.append(LeftOut(ours.name, "what is like it in theirs has an order of its own"))
    theirs_out = (*suspect.left_out, *dict.fromkeys(suspect.ordered))
    return Lineage(tuple(matrices), tried, tuple(omitted), theirs_out)


def _spread(size: int, most: int) -> Places:
    return np.unique(np.linspace(0, size - 1, min(size, most)).astype(np.int64))
