"""Undoes what rescaled, shifted or quantised the weights of a matrix, measured at the master.

Nothing here looks at marks: a scale or a shift is the median of a whole row or column.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ledger.tracing.tensors import Matrix

_ITSELF: Final = 0.1  # a scale this near 1, or a shift of so few deviations, is left alone
_GROUPS: Final = (32, 64, 128)  # weights that share a scale in common quantisations
_SAME: Final = 0.05  # where all regressions are this near 1, no median is taken


def restored(master: Matrix, found: Matrix, *, integer: bool) -> tuple[Matrix, str]:
    """`found` at the master's scale, and what was undone, for people."""
    if integer:
        return _dequantised(master, found), "dequantised"
    shifted = _shifted(master, found)
    out = found if shifted is None else shifted
    rescaled = _rescaled(master, out)
    if rescaled is not None:
        shifted_again = _shifted(master, rescaled)
        return rescaled if shifted_again is None else shifted_again, "rescaled"
    return out, "" if shifted is None else "shifted"


def _rescaled(master: Matrix, found: Matrix) -> Matrix | None:
    """`found` with each row, and each column, at the master's scale; None where they are."""
    if all(_alike(master, found, axis) for axis in (0, 1)):
        return None
    out, changed = found, False
    for _ in range(2):
        for axis in (1, 0):
            scale = _scales(master, out, axis)
            if np.abs(scale - 1).max(initial=0) > _ITSELF:
                out, changed = out / scale, True
    return out if changed else None


def _alike(master: Matrix, found: Matrix, axis: int) -> bool:
    """Whether regressions along an axis all say that nothing was rescaled; costs one pass."""
    with np.errstate(all="ignore"):
        both = np.einsum("ij,ij->i" if axis else "ij,ij->j", master, found)
        slope = both / np.einsum("ij,ij->i" if axis else "ij,ij->j", master, master)
        return bool((np.abs(slope - 1) < _SAME).all())


def _scales(master: Matrix, found: Matrix, axis: int) -> npt.NDArray[np.float32]:
    """The median ratio of the larger weights along an axis; 1 where nothing can be said."""
    spread = master.std(axis=axis, keepdims=True)
    large = np.abs(master) > 0.5 * spread
    with np.errstate(all="ignore"):
        ratio = np.where(large & (found != 0), found / master, np.nan)
        scale = _nanmedian(ratio, axis)
        wrong = ~np.isfinite(scale) | (scale == 0)
    scale[wrong | (np.abs(scale - 1) <= _ITSELF)] = 1
    return scale


def _shifted(master: Matrix, found: Matrix) -> Matrix | None:
    """`found` without what was added to whole rows, or columns; None where nothing was."""
    out, changed = found, False
    for axis in (1, 0):
        spread = master.std(axis=axis, keepdims=True)
        with np.errstate(all="ignore"):
            there = np.isfinite(out)
            moved = np.where(there, out - master, 0).sum(axis=axis, keepdims=True)
            moved = moved / there.sum(axis=axis, keepdims=True)
            if not (np.abs(moved) > _ITSELF * spread).any():
                continue
            moved = _nanmedian(out - master, axis)
            large = np.isfinite(moved) & (np.abs(moved) > _ITSELF * spread)
        if large.any():
            out, changed = out - np.where(large, moved, 0), True
    return out if changed else None


def _nanmedian(values: Matrix, axis: int) -> npt.NDArray[np.float32]:
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=axis)  # NaN last
    count = np.isfinite(ordered).sum(axis=axis, keepdims=True)
    middle = np.maximum(count - 1, 0) // 2
    median = np.take_along_axis(ordered, middle, axis=axis)
    return np.where(count > 0, median, np.nan).astype(np.float32)


def _dequantised(master: Matrix, codes: Matrix) -> Matrix:
    """Codes mapped to weights by a straight line per row, column, or group, as fits best."""
    fits = [_line(master, codes, 1), _line(master, codes, 0)]
    for group in _GROUPS:
        if _cut(master, group, 1):
            cut = (-1, group)
            fits.append(_line(master.reshape(cut), codes.reshape(cut), 1).reshape(master.shape))
        if _cut(master, group, 0):
            cut = (-1, group)
            m, c = (np.ascontiguousarray(one.T) for one in (master, codes))
            fits.append(_line(m.reshape(cut), c.reshape(cut), 1).reshape(m.shape).T)
    # A line of few weights fits better by itself; that much is taken off.
    lengths = [master.shape[1], master.shape[0]]
    lengths += [g for g in _GROUPS for side in (1, 0) if _cut(master, g, side)]
    errors = [
        float(np.nansum((fit - master) ** 2)) / (1 - 2 / length)
        for fit, length in zip(fits, lengths, strict=True)
    ]
    return fits[int(np.argmin(errors))]


def _cut(master: Matrix, group: int, side: int) -> bool:
    length: int = master.shape[side]
    return length % group == 0 and length > group


def _line(master: Matrix, codes: Matrix, axis: int) -> Matrix:
    """Least squares, over what is there of the codes."""
    there = np.isfinite(codes)
    count = np.maximum(there.sum(axis=axis, keepdims=True), 1)
    m = np.where(there, master, 0).astype(np.float64)
    c = np.where(there, codes, 0).astype(np.float64)
    m_mean = m.sum(axis=axis, keepdims=True) / count
    c_mean = c.sum(axis=axis, keepdims=True) / count
    centred = np.where(there, c - c_mean, 0)
    spread = (centred**2).sum(axis=axis, keepdims=True)
    slope: Any = (centred * (m - m_mean)).sum(axis=axis, keepdims=True)
    slope = np.divide(slope, spread, out=np.zeros_like(slope), where=spread > 0)
    return np.asarray(np.where(there, (c - c_mean) * slope + m_mean, np.nan), dtype=np.float32)
