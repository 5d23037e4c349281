"""Looks for a mark in a suspect: blind, against the original, and realigned to it.

Section 5 of docs/spec/watermark.md. Models are read by rows on several threads, in flat memory; a
realigned search holds one tensor of each model at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ledger.fingerprint.workers import run_jobs
from ledger.tensors.model import ModelSource, TensorInfo
from ledger.watermark.keys import unpacked
from ledger.watermark.realign import Realigned, realigned
from ledger.watermark.record import Target
from ledger.watermark.statistics import THRESHOLD, Tally, blind, informed, log10_tests
from ledger.watermark.weights import Signs, piece_rows, places_of, signs_of

Kind = Literal["blind", "informed"]
Way = Literal["by name", "by order", "realigned"]

# What holds weights as they are; quantised suspects are read when they are realigned.
_PLAIN: Final[dict[str, npt.DTypeLike]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}


@dataclass(frozen=True, slots=True)
class Found:
    """One target in one look.

    Attributes:
        name: what the suspect calls it.
        how: what was undone to line it up.
        tally: T and V over it.
    """

    name: str
    how: str
    tally: Tally


@dataclass(frozen=True, slots=True)
class Look:
    """One way of looking at all targets.

    Attributes:
        kind: with or without the original.
        way: how the suspect's tensors were taken.
        found: by the target's name; what is missing was not found.
    """

    kind: Kind
    way: Way
    found: Mapping[str, Found]

    @property
    def total(self) -> Tally:
        """Over everything found."""
        return sum((one.tally for one in self.found.values()), Tally())

    @property
    def log10_p(self) -> float:
        """The smallest bound, of all together or of one matrix; before any correction."""
        each = [one.tally.log10_p for one in self.found.values()]
        return min([self.total.log10_p, *each])

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": self.kind,
            "way": self.way,
            "log10_p": round(self.log10_p, 3),
            "z": round(self.total.z, 3),
            "weights": self.total.weights,
            "matrices": [
                {
                    "name": name,
                    "found_as": one.name,
                    "how": one.how,
                    "weights": one.tally.weights,
                    "t": one.tally.t,
                    "v": one.tally.v,
                    "z": round(one.tally.z, 3),
                    "log10_p": round(one.tally.log10_p, 3),
                }
                for name, one in self.found.items()
            ],
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of all looks.

    Attributes:
        looks: in the order they were made.
        targets: how many tensors carry the mark.
        commitments: how many the sender of this one made; at least one.
    """

    looks: tuple[Look, ...]
    targets: int
    commitments: int = field(default=1)

    @property
    def best(self) -> Look:
        """The look with the smallest bound."""
        return min(self.looks, key=lambda look: look.log10_p)

    @property
    def log10_tests(self) -> float:
        """What the bound is multiplied by."""
        return log10_tests(self.targets, self.commitments)

    @property
    def log10_p(self) -> float:
        """The corrected bound, at most 0."""
        return min(0.0, self.best.log10_p + self.log10_tests)

    @property
    def there(self) -> bool:
        """Whether the watermark is there."""
        return self.log10_p <= THRESHOLD

    def of(self, kind: Kind) -> float | None:
        """The corrected bound of one kind of look; None when there was none."""
        each = [look.log10_p for look in self.looks if look.kind == kind]
        return min(0.0, min(each) + self.log10_tests) if each else None


def detect(
    suspect: ModelSource,
    targets: tuple[Target, ...],
    key: bytes,
    original: ModelSource | None = None,
    *,
    commitments: int = 1,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Finding:
    """Look for a mark.

    Args:
        suspect: the model that was found.
        targets: what carries the mark, of the record.
        key: the effective key.
        original: the unmarked model, of which the caller knows that it is the committed one.
        commitments: how many the sender made.
        threads: workers; one per processor when None.
        progress: called in this thread with weights done and in all, at least.

    Raises:
        ClaimMismatch: the original lacks a target.
        TensorFileError: a file cannot be read, or changed meanwhile.
    """
    if original is not None:
        places_of(original, targets)
    signs = signs_of(key)
    report = progress or (lambda _done, _total: None)
    whole = sum(target.weights for target in targets)
    by_name = _by_name(suspect, targets)
    looks = list(
        _direct(
            suspect,
            by_name,
            "by name",
            signs,
            original=original,
            threads=threads,
            report=lambda done: report(done, whole),
        )
    )
    finding = Finding(tuple(looks), len(targets), commitments)
    if finding.there and len(by_name) == len(targets):
        suspect.ensure_unchanged()
        return finding
    if original is None:
        by_order = _by_order(suspect, targets)
        if by_order != by_name:
            looks += _direct(suspect, by_order, "by order", signs, threads=threads)
    else:
        looks += _realigned(realigned(suspect, original, targets), signs, report, whole)
        original.ensure_unchanged()
    suspect.ensure_unchanged()
    return Finding(tuple(looks), len(targets), commitments)


Places = dict[Target, TensorInfo]


def _by_name(suspect: ModelSource, targets: Iterable[Target]) -> Places:
    named = {info.name: info for info in suspect.tensors if info.dtype in _PLAIN}
    return {
        target: named[target.name]
        for target in targets
        if target.name in named and named[target.name].shape == target.shape
    }


def _by_order(suspect: ModelSource, targets: Iterable[Target]) -> Places:
    """The nth target of a shape is the nth tensor of that shape, both sorted by name."""
    queues: dict[tuple[int, ...], list[TensorInfo]] = defaultdict(list)
    for info in sorted(suspect.tensors, key=lambda one: one.name, reverse=True):
        if info.dtype in _PLAIN:
            queues[info.shape].append(info)
    return {target: queues[target.shape].pop() for target in targets if queues[target.shape]}


@dataclass(frozen=True, slots=True)
class _Piece:
    target: Target
    info: TensorInfo
    first: int
    rows: int


def _direct(
    suspect: ModelSource,
    places: Places,
    way: Way,
    signs: Signs,
    *,
    original: ModelSource | None = None,
    threads: int | None,
    report: Callable[[int], None] | None = None,
) -> Iterator[Look]:
    homes = {info.name: info for info in original.tensors} if original else {}
    kinds: tuple[Kind, ...] = ("blind", "informed") if original else ("blind",)
    sums: dict[Kind, dict[Target, Tally]] = {kind: dict.fromkeys(places, Tally()) for kind in kinds}

    def run(piece: _Piece) -> tuple[_Piece, dict[Kind, Tally]]:
        target, start = piece.target, piece.first * piece.target.shape[1]
        rows = _rows(suspect, piece.info, piece.first, piece.rows)
        drawn = unpacked(signs(target), start, rows.size).reshape(rows.shape)
        told: dict[Kind, Tally] = {}
        if original is not None:
            home = _rows(original, homes[target.name], piece.first, piece.rows)
            told["informed"] = informed(rows.copy(), home, drawn)
        told["blind"] = blind(rows, drawn)
        return piece, told

    done = 0
    for piece, told in run_jobs(run, _pieces(places), threads):
        for kind, tally in told.items():
            sums[kind][piece.target] += tally
        done += piece.rows * piece.target.shape[1]
        if report is not None:
            report(done)
    for kind in kinds:
        found = {
            target.name: Found(places[target].name, "as it is", tally)
            for target, tally in sums[kind].items()
        }
        yield Look(kind, way, found)


def _pieces(places: Places) -> Iterator[_Piece]:
    for target, info in places.items():
        step = piece_rows(target.shape[1])
        for first in range(0, target.shape[0], step):
            yield _Piece(target, info, first, min(step, target.shape[0] - first))


def _rows(model: ModelSource, info: TensorInfo, first: int, count: int) -> npt.NDArray[np.float32]:
    """Some whole rows in binary32, in memory of their own."""
    dtype = np.dtype(_PLAIN[info.dtype])
    columns = info.shape[1]
    room = bytearray(count * columns * dtype.itemsize)
    model.read_at(info.member, info.offset + first * columns * dtype.itemsize, memoryview(room))
    with np.errstate(all="ignore"):
        rows = np.frombuffer(room, dtype).astype(np.float32, copy=False)
    return rows.reshape(count, columns)


def _realigned(
    found: Iterator[Realigned], signs: Signs, report: Callable[[int, int], None], whole: int
) -> Iterator[Look]:
    told: dict[Kind, dict[str, Found]] = {"blind": {}, "informed": {}}
    done = 0
    for one in found:
        done += one.target.weights
        report(min(done, whole), whole)
        if one.found is None:
            continue
        drawn = unpacked(signs(one.target), 0, one.target.weights).reshape(one.target.shape)
        values = one.found.values
        both: tuple[tuple[Kind, Tally], ...] = (
            ("informed", informed(values.copy(), one.original, drawn)),
            ("blind", blind(_filled(values), drawn)),
        )
        for kind, tally in both:
            told[kind][one.target.name] = Found(one.found.name, one.found.how, tally)
    for kind, each in told.items():
        yield Look(kind, "realigned", each)


def _filled(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A copy with zeros where the suspect holds nothing, which say nothing of any sign."""
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
