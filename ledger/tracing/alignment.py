"""Finds a tensor of the master in a suspect, and undoes what moved or rescaled its weights.

Names, shapes, transposition, permuted rows and columns, rescaled rows and columns, and integer
quantisation are all undone against the master's own weights. Nothing here looks at marks or words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ledger.tensors.model import ModelSource, TensorInfo

Matrix: TypeAlias = npt.NDArray[np.float32]

READABLE: Final[dict[str, npt.DTypeLike]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I8": np.dtype("<i1"),
    "U8": np.dtype("<u1"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
}
_INTEGERS = frozenset({"I8", "U8", "I16", "I32"})
_RELATED = 0.15  # of 8192 sampled weights, unrelated ones correlate by 0.011
_SAMPLES = 8192
_MOST_ROWS = 8192  # permutations of more are not searched for
_UNPERMUTED = 0.5  # unrelated weights, put in the best order, correlate by about 0.3
_TRIED = 2
_QUANTILES = np.linspace(0.01, 0.99, 99)
_ITSELF = 0.1  # a scale this near 1 is left alone


@dataclass(frozen=True, slots=True)
class Aligned:
    """A suspect's tensor in the master's order.

    Attributes:
        name: what the suspect calls it.
        values: its weights, shaped like the master's.
        how: what was undone, for people.
    """

    name: str
    values: Matrix
    how: str


def find(name: str, master: Matrix, suspect: ModelSource) -> Aligned | None:
    """The suspect's tensor that is this one of the master; None when it is not there."""
    flat = master.reshape(master.shape[0], -1)
    for info in _candidates(name, master.shape, suspect):
        values = _read(suspect, info)
        for turned, transposed in _orientations(values, flat.shape):
            if _correlation(flat, turned) >= _RELATED:
                how = "transposed" if transposed else ""
                return _finish(info, flat, turned, master.shape, how)
    for info, values in _most_alike(name, flat, master.shape, suspect):
        for turned, _ in _orientations(values, flat.shape):
            ordered = _unpermuted(flat, turned)
            if ordered is not None:
                return _finish(info, flat, ordered, master.shape, "permuted")
    return None


def _most_alike(
    name: str, master: Matrix, shape: tuple[int, ...], suspect: ModelSource
) -> list[tuple[TensorInfo, Matrix]]:
    """The few tensors whose weights, in whatever order, are spread most like the master's."""
    if max(master.shape) > _MOST_ROWS:
        return []
    wanted = _spread(master)
    ranked: list[tuple[float, int, TensorInfo, Matrix]] = []
    for number, info in enumerate(_candidates(name, shape, suspect)):
        values = _read(suspect, info)
        distance = float(np.abs(_spread(values) - wanted).max())
        ranked = sorted([*ranked, (distance, number, info, values)], key=lambda row: row[:2])
        del ranked[_TRIED:]
    return [(info, values) for _, _, info, values in ranked]


def _spread(values: Matrix) -> npt.NDArray[np.float64]:
    """Quantiles of a tensor's weights in standard deviations: the same in whatever order."""
    flat = values.ravel().astype(np.float64)
    with np.errstate(all="ignore"):
        quantiles = np.quantile(flat, _QUANTILES) / flat.std()
    return np.asarray(np.nan_to_num(quantiles, nan=1e9, posinf=1e9))


def _candidates(name: str, shape: tuple[int, ...], suspect: ModelSource) -> Iterator[TensorInfo]:
    """Tensors that could be it: of that name first, then of that many weights and sides."""
    sides = sorted((shape[0], math.prod(shape[1:])))
    others = []
    for info in suspect.tensors:
        if info.dtype not in READABLE or not info.shape:
            continue
        if sorted((info.shape[0], math.prod(info.shape[1:]))) != sides:
            continue
        if info.name == name:
            yield info
        else:
            others.append(info)
    yield from others


def _read(suspect: ModelSource, info: TensorInfo) -> Matrix:
    raw = np.frombuffer(suspect.read(info), READABLE[info.dtype])
    values = raw.reshape(info.shape[0], -1).astype(np.float32)
    if info.dtype == "U8":
        values -= np.median(values)
    return values


def _orientations(values: Matrix, shape: tuple[int, ...]) -> Iterator[tuple[Matrix, bool]]:
    if values.shape == shape:
        yield values, False
    if values.T.shape == shape:
        yield np.ascontiguousarray(values.T), True


def _correlation(master: Matrix, other: Matrix) -> float:
    """Of weights at places that are the same for every tensor of a shape."""
    count = min(_SAMPLES, master.size)
    places = np.random.default_rng(master.size).integers(0, master.size, count)
    a, b = master.ravel()[places].astype(np.float64), other.ravel()[places].astype(np.float64)
    good = np.isfinite(a) & np.isfinite(b)
    if good.sum() < count / 8:
        return 0.0
    a, b = a[good] - a[good].mean(), b[good] - b[good].mean()
    norm = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def _finish(
    info: TensorInfo, master: Matrix, found: Matrix, shape: tuple[int, ...], how: str
) -> Aligned:
    notes = [how] if how else []
    if info.dtype in _INTEGERS:
        found = _dequantised(master, found)
        notes.append("dequantised")
    else:
        scaled = _rescaled(master, found)
        if scaled is not None:
            found = scaled
            notes.append("rescaled")
    return Aligned(info.name, found.reshape(shape), ", ".join(notes) or "as it is")


# -- permutations --------------------------------------------------------------------------------


def _unpermuted(master: Matrix, other: Matrix) -> Matrix | None:
    """`other` with its rows and columns in the master's order, if some order explains it."""
    if max(master.shape) > _MOST_ROWS or not np.isfinite(other).all():
        return None
    for rows, columns in ((True, False), (False, True)):
        ordered = other
        if rows:
            ordered = ordered[_nearest(master, other)]
        if columns:
            ordered = ordered[:, _nearest(master.T, other.T)]
        if _correlation(master, ordered) >= _UNPERMUTED:
            return ordered
    # Both: a sorted row is the same whatever the order of its columns.
    ordered = other[_nearest(np.sort(master, axis=1), np.sort(other, axis=1))]
    ordered = ordered[:, _nearest(master.T, ordered.T)]
    ordered = ordered[_nearest(master, ordered)]
    return ordered if _correlation(master, ordered) >= _UNPERMUTED else None


def _nearest(master: Matrix, other: Matrix) -> npt.NDArray[np.intp]:
    """For each row of `master` the row of `other` that is most like it."""
    a, b = master.astype(np.float32), other.astype(np.float32)
    distance = (b * b).sum(axis=1)[None, :] - 2 * (a @ b.T)
    return np.asarray(distance.argmin(axis=1))


# -- scales --------------------------------------------------------------------------------------


def _rescaled(master: Matrix, found: Matrix) -> Matrix | None:
    """`found` with each row, and each column, at the master's scale; None where they are."""
    out, changed = found, False
    for _ in range(2):
        for axis in (1, 0):
            scale = _scales(master, out, axis)
            if np.abs(scale - 1).max(initial=0) > _ITSELF:
                out, changed = out / scale, True
    return out if changed else None


def _scales(master: Matrix, found: Matrix, axis: int) -> npt.NDArray[np.float32]:
    """The median ratio of the larger weights along an axis; 1 where nothing can be said."""
    spread = master.std(axis=axis, keepdims=True)
    large = np.abs(master) > 0.5 * spread
    with np.errstate(all="ignore"):
        ratio = np.where(large & (found != 0), found / master, np.nan)
        ratio[~np.isfinite(ratio)] = np.nan
        scale = _nanmedian(ratio, axis)
    wrong = ~np.isfinite(scale) | (scale <= 0)
    scale[wrong | (np.abs(scale - 1) <= _ITSELF)] = 1
    return scale


def _nanmedian(values: Matrix, axis: int) -> npt.NDArray[np.float32]:
    ordered = np.sort(values, axis=axis)  # NaN last
    count = np.isfinite(ordered).sum(axis=axis, keepdims=True)
    middle = np.maximum(count - 1, 0) // 2
    median = np.take_along_axis(ordered, middle, axis=axis)
    return np.where(count > 0, median, np.nan).astype(np.float32)


def _dequantised(master: Matrix, codes: Matrix) -> Matrix:
    """Codes mapped to weights by a straight line per row, or per column, as fits better."""
    by_row = _line(master, codes, 1)
    by_column = _line(master, codes, 0)
    errors = [float(((fit - master) ** 2).sum()) for fit in (by_row, by_column)]
    return by_row if errors[0] <= errors[1] else by_column


def _line(master: Matrix, codes: Matrix, axis: int) -> Matrix:
    m, c = master.astype(np.float64), codes.astype(np.float64)
    c_mean, m_mean = c.mean(axis=axis, keepdims=True), m.mean(axis=axis, keepdims=True)
    spread = ((c - c_mean) ** 2).sum(axis=axis, keepdims=True)
    slope: Any = ((c - c_mean) * (m - m_mean)).sum(axis=axis, keepdims=True)
    slope = np.divide(slope, spread, out=np.zeros_like(slope), where=spread > 0)
    return np.asarray((c - c_mean) * slope + m_mean, dtype=np.float32)
