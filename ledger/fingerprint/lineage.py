"""The row-order test: whether two matrices can have been initialised independently.

Hidden units have no order of their own: an independent training is as likely to have grown any
order of them as the one it has. Each row of ours is matched with the most similar row of theirs;
the probability that many matches lie at the same place, or in the same order, is then bounded
exactly, whatever the matrices hold (docs/spec/lineage.md, "Statistic"). The idea is that of
"Independence Tests for Language Models" (ICML 2025); the statistic and its bound are ours.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Matrix: TypeAlias = npt.NDArray[np.float32]
Places: TypeAlias = npt.NDArray[np.int64]

MOST_ROWS: Final = 2048
"""Rows of ours that are tested; more are drawn from by a key."""
MOST_FEATURES: Final = 1024
"""Likewise of features."""
CLEAR: Final = 1e-5
"""By so much a match must beat the next one: duplicates match nothing."""
FITTED: Final = 0.25
"""Of the way from the likeness of wrong pairs to 1: below, reordering alone could have done it."""
ORDERED: Final = 8.0
"""Standard errors of likeness of neighbours, from where a matrix counts as ordered by itself."""
FOLLOWS: Final = -20.0
"""log10 p of rows that peak in order, at which their order is tied to that of their features."""
_LN10: Final = math.log(10)
_BLOCK: Final = 512
_WAVE: Final = 64  # values; in shorter rows four frequencies are nearly all
_WAVES: Final = 0.8  # of the power in four frequencies of each row; noise has a seventh
_LOBE: Final = 3  # frequencies beside a peak that hold its power under a Hann window
_PEAKS: Final = 4  # that are taken out of a row of 256 values and more
_LEAST_HADAMARD: Final = 12  # rows
_UPRIGHT: Final = 1e-2  # cosine of different rows of a Hadamard matrix, roundings and all


@dataclass(frozen=True, slots=True)
class RowOrder:
    """What the test found for one pair of matrices.

    Attributes:
        rows: rows of ours that were matched with one of theirs.
        tested: rows of ours that were looked at.
        in_place: matches at the same place.
        in_order: length of the longest run of matches that keep their order, or where `turned`
            keep the opposite one.
        log10_p: bound on the probability of either under independent initialisation; at most 0.
        cosine: mean cosine of the rows at the same place; where order and not place decides, of
            the matches in order.
        alike: mean of the absolute values of the same: signs of units can be turned.
        other: mean over these rows of the largest absolute cosine with any other row of theirs.
        turned: whether theirs has the units in the opposite order.
        matches: for the picture, each matched row's place and that of its match; kept out of
            comparison and text.
    """

    rows: int
    tested: int
    in_place: int
    in_order: int
    log10_p: float
    cosine: float
    alike: float
    other: float
    turned: bool = False
    matches: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)

    @property
    def fitted(self) -> bool:
        """Whether matching rows are hardly more alike than wrong ones.

        Then the order may have been made to fit, by somebody who had both models.
        """
        return self.alike < self.other + FITTED * (1 - self.other)


def row_order(ours: Matrix, theirs: Matrix, at: Places, their_at: Places) -> RowOrder:
    """Match rows and bound the probability of their order.

    Args:
        ours: (r, d), rows are units, ascending by place.
        theirs: (s, d), the same features.
        at: (r,), the place of each of our rows in its matrix, ascending.
        their_at: (s,), likewise; ascending.
    """
    a, b = standardised(ours), standardised(theirs)
    at, a = at[_rows_with_values(a)], a[_rows_with_values(a)]
    their_at, b = their_at[_rows_with_values(b)], b[_rows_with_values(b)]
    if not len(a) or not len(b):
        return RowOrder(0, len(ours), 0, 0, 0.0, 0.0, 0.0, 0.0)
    index, best, second = _nearest(a, b)
    partner = np.searchsorted(their_at, at)
    partner = np.minimum(partner, len(b) - 1)
    there = their_at[partner] == at
    clear = best - second > CLEAR
    k = int((clear & there & (index == partner)).sum())
    forth, back = index[clear], len(b) - 1 - index[clear]
    chain, reverse = _longest_increasing(forth.tolist()), _longest_increasing(back.tolist())
    turned = len(reverse) > len(chain)
    chain = reverse if turned else chain
    rows = int(clear.sum())
    # Of the level, half is for places and a quarter for each direction.
    place = min(0.0, log10_in_place(k) + math.log10(2))
    order = min(0.0, log10_in_order(rows, len(chain)) + math.log10(4))
    pairs_ours = np.flatnonzero(there)
    pairs_theirs = partner[there]
    if order < place:
        pairs_ours = np.flatnonzero(clear)[chain]
        pairs_theirs = index[pairs_ours]
    cosines = np.einsum("ij,ij->i", a[pairs_ours], b[pairs_theirs])
    # Of a row that lies where it belongs the next best row is a wrong one, of others the best is.
    wrong = np.where(index[pairs_ours] == pairs_theirs, second[pairs_ours], best[pairs_ours])
    return RowOrder(
        rows,
        len(ours),
        k,
        len(chain),
        min(place, order),
        _mean(cosines),
        _mean(np.abs(cosines)),
        _mean(wrong),
        turned,
        tuple(zip(at[clear].tolist(), their_at[index[clear]].tolist(), strict=True)),
    )


def log10_in_place(k: int) -> float:
    """Of the bound 1/k! on the probability of k or more matches in place."""
    return -math.lgamma(k + 1) / _LN10


def log10_in_order(rows: int, k: int) -> float:
    """Of the bound C(rows, k)/k! on that of k or more of `rows` matches in order; at most 0."""
    ways = math.lgamma(rows + 1) - math.lgamma(k + 1) - math.lgamma(rows - k + 1)
    return min(0.0, (ways - math.lgamma(k + 1)) / _LN10)


def combined(log10_ps: Sequence[float], tried: int) -> float:
    """Bonferroni: log10 of the smallest p times the number of pairs that could be tried.

    Never Fisher's sum: layers are not independent of one another.
    """
    if not log10_ps:
        return 0.0
    return min(0.0, min(log10_ps) + math.log10(max(1, tried)))


def drawn(key: bytes, label: str, size: int, most: int = MOST_ROWS) -> Places:
    """At most `most` of `size` places, ascending, drawn without looking at any value.

    A keyed shuffle: the places with the smallest keyed hashes. All when there are no more.
    """
    if size <= most:
        return np.arange(size, dtype=np.int64)
    stream = hashlib.shake_256(b"modeldeed/lineage-rows/1\x00" + key + label.encode())
    words = np.frombuffer(stream.digest(8 * size), "<u8")
    return np.sort(np.argsort(words, kind="stable")[:most]).astype(np.int64)


def standardised(values: Matrix) -> Matrix:
    """Rows without their mean and without what all rows share, of length 1.

    Rows that are not finite or hold nothing become 0. Neither step knows the order of the rows.
    """
    with np.errstate(all="ignore"):
        largest = np.abs(values).max(axis=1, keepdims=True, initial=0)
        good = np.isfinite(values).all(axis=1, keepdims=True) & (largest > 0)
        x = np.where(good, values / np.where(good, largest, 1), 0).astype(np.float32)
        size = _lengths(x)
        x -= x.mean(axis=1, keepdims=True)
        # A row of equal values leaves rounding noise, whose direction must not be believed.
        good &= _lengths(x) > 1e-5 * size
        x = np.where(good, x / np.maximum(_lengths(x), 1e-30), 0).astype(np.float32)
        count = int(good.sum())
        if count > 1:
            x -= np.where(good, x.sum(axis=0, keepdims=True, dtype=np.float32) / count, 0)
        size = _lengths(x)
        good &= size > 1e-3
        return np.asarray(np.where(good, x / np.maximum(size, 1e-30), 0), np.float32)


def order_of_its_own(values: Matrix) -> float:
    """How far neighbouring rows of one matrix are more alike than others, in standard errors.

    Hidden units show nothing; positions, filter banks and other tables that have an order do.
    """
    x = standardised(values)
    x = x[_rows_with_values(x)]
    n = len(x)
    if n < 4:
        return 0.0
    squares = np.square(x @ x.T, dtype=np.float64)
    among = squares[~np.eye(n, dtype=bool)]
    spread = float(among.std()) / math.sqrt(n - 1)
    away = float(np.diagonal(squares, 1).mean()) - float(among.mean())
    return away / spread if spread > 0 else 0.0


def follows_features(values: Matrix, gates: int = 1) -> bool:
    """Whether the largest value of each row moves along with the row's place.

    So it does where training began from an identity, in any model. Of rows in an order of their
    own, so many would peak in order with a probability of at most 1e-20, gates times 2.
    """
    x = np.abs(standardised(values))
    x = x[_rows_with_values(x)]
    for part in np.array_split(x, gates, axis=1):
        peaks = part.argmax(axis=1).tolist() if part.size else []
        longest = max(len(_longest_increasing(one)) for one in (peaks, peaks[::-1]))
        if log10_in_order(len(peaks), longest) <= FOLLOWS:
            return True
    return False


def is_table(values: Matrix) -> bool:
    """Whether rows look calculated, not learnt: waves, Hadamard, or an order along both axes."""
    turned = np.ascontiguousarray(values.T)
    if any(_waves(one) or _square_waves(one) or _hadamard(one) for one in (values, turned)):
        return True
    return order_of_its_own(values) > ORDERED and order_of_its_own(turned) > ORDERED


def without_waves(values: Matrix) -> tuple[Matrix, ...]:
    """Rows without their strongest waves, once by Fourier's and once by Walsh's; in that basis.

    What two models share because both were begun from the same position table or the same Hadamard
    matrix is in few such coefficients of each row; what they learnt is in all. Nothing where rows
    are too short to tell. Which ones are taken out of a row depends on that row alone.
    """
    size = values.shape[1]
    if size < _WAVE:
        return ()
    x = standardised(values)
    spectrum = np.fft.rfft(x * np.hanning(size).astype(np.float32), axis=1)
    peaks = max(1, min(_PEAKS, size // _WAVE))
    for _ in range(peaks):
        top = np.abs(spectrum).argmax(axis=1)
        for off in range(-_LOBE, _LOBE + 1):
            near = np.clip(top + off, 0, spectrum.shape[1] - 1)
            spectrum[np.arange(len(x)), near] = 0
    coefficients = _walsh(x)
    power = np.square(coefficients).sum(axis=1)
    for number in np.argsort(power, axis=1)[:, -_PEAKS:].T:
        coefficients[np.arange(len(x)), :, number] = 0
    waves = np.concatenate([spectrum.real, spectrum.imag], axis=1)
    return waves.astype(np.float32), coefficients.reshape(len(x), -1)


def strongest_waves(values: Matrix) -> tuple[Matrix, ...]:
    """Of each row its strongest waves as rows of their own, by Fourier and by Walsh.

    For rows of which only some features are at hand on the other side: what `without_waves` takes
    out there by coefficients is taken out here by `beside`.

    Returns:
        For each basis (rows, waves, features); nothing where rows are too short to tell.
    """
    size = values.shape[1]
    if size < _WAVE:
        return ()
    x = standardised(values)
    window = np.hanning(size).astype(np.float32)
    seen, whole = np.fft.rfft(x * window, axis=1), np.fft.rfft(x, axis=1)
    here = np.arange(len(x))
    peaks = []
    for _ in range(max(1, min(_PEAKS, size // _WAVE))):
        top = np.abs(seen).argmax(axis=1)
        taken = np.zeros_like(whole)
        for off in range(-_LOBE, _LOBE + 1):
            near = np.clip(top + off, 0, seen.shape[1] - 1)
            taken[here, near] = whole[here, near]
            seen[here, near] = 0
        peaks.append(np.fft.irfft(taken, size, axis=1))
    coefficients = _walsh(x)
    power = np.square(coefficients).sum(axis=1)
    square = []
    for number in np.argsort(power, axis=1)[:, -_PEAKS:].T:
        alone = np.zeros_like(coefficients)
        alone[here, :, number] = coefficients[here, :, number]
        made = np.zeros_like(x)
        # The transform is its own reverse.
        made[:, : alone[0].size] = _walsh(alone.reshape(len(x), -1)).reshape(len(x), -1)
        square.append(made)
    return tuple(np.stack(each, axis=1).astype(np.float32) for each in (peaks, square))


def beside(values: Matrix, waves: Matrix) -> Matrix:
    """What of each row is at right angles to its waves.

    Args:
        values: (rows, features).
        waves: (rows, waves, features).
    """
    x = standardised(values)
    centred = waves - waves.mean(axis=2, keepdims=True)
    basis, _ = np.linalg.qr(centred.transpose(0, 2, 1))
    along = np.einsum("rfw,rf->rw", basis, x)
    return np.asarray(x - np.einsum("rfw,rw->rf", basis, along), np.float32)


def _waves(values: Matrix) -> bool:
    """Whether four frequencies hold nearly all of the rows' power."""
    if values.shape[1] < _WAVE:
        return False
    power = np.square(np.abs(np.fft.rfft(standardised(values), axis=1)))
    few = np.sort(power, axis=1)[:, -4:].sum(axis=1)
    return float(few.sum()) > _WAVES * float(power.sum()) > 0


def _square_waves(values: Matrix) -> bool:
    """The same of the functions of Walsh, the rows of Sylvester's Hadamard matrices."""
    if values.shape[1] < _WAVE:
        return False
    power = np.square(_walsh(standardised(values))).sum(axis=1)
    few = np.sort(power, axis=1)[:, -4:].sum(axis=1)
    return float(few.sum()) > _WAVES * float(power.sum()) > 0


def _walsh(values: Matrix) -> Matrix:
    """(rows, blocks, 64): Walsh coefficients of each block of 64 values; a rest is left away."""
    blocks = values.shape[1] // _WAVE
    x = values[:, : blocks * _WAVE].reshape(len(values), blocks, _WAVE)
    step = 1
    while step < _WAVE:
        pairs = x.reshape(len(values), blocks, -1, 2, step)
        up, down = pairs[..., 0, :], pairs[..., 1, :]
        x = np.stack([up + down, up - down], axis=-2).reshape(len(values), blocks, _WAVE)
        step *= 2
    return np.asarray(x / np.float32(math.sqrt(_WAVE)), np.float32)


def _hadamard(values: Matrix) -> bool:
    """Whether all values are of one size and the rows stand at right angles, in whatever way made.

    Weights of two values that were learnt are not at right angles.
    """
    n, size = values.shape
    with np.errstate(all="ignore"):
        heights = np.abs(values)
        mean = float(heights.mean()) if values.size else 0.0
        if n < _LEAST_HADAMARD or n > size or not 0 < mean < math.inf:
            return False
        if float(np.abs(heights - mean).max()) > _UPRIGHT * mean:
            return False
    x = np.sign(values)
    between = np.abs(x @ x.T) / size
    np.fill_diagonal(between, 0)
    return float(between.max()) <= _UPRIGHT


def _nearest(a: Matrix, b: Matrix) -> tuple[Places, Matrix, Matrix]:
    """For each row of `a`: its nearest in `b` by absolute cosine, how near, and the next one."""
    index = np.empty(len(a), np.int64)
    best, second = np.empty(len(a), np.float32), np.zeros(len(a), np.float32)
    for start in range(0, len(a), _BLOCK):
        part = slice(start, start + _BLOCK)
        alike = np.abs(a[part] @ b.T)
        rows = np.arange(len(alike))
        index[part] = alike.argmax(axis=1)
        best[part] = alike[rows, index[part]]
        if len(b) > 1:
            alike[rows, index[part]] = -1
            second[part] = alike.max(axis=1)
    return index, best, second


def _longest_increasing(values: Sequence[int]) -> list[int]:
    """Positions of a longest strictly increasing subsequence (patience sorting)."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for position, value in enumerate(values):
        place = bisect_left(tails, value)
        before.append(ends[place - 1] if place else -1)
        if place == len(tails):
            tails.append(value)
            ends.append(position)
        else:
            tails[place], ends[place] = value, position
    chain = []
    position = ends[-1] if ends else -1
    while position >= 0:
        chain.append(position)
        position = before[position]
    return chain[::-1]


def _lengths(values: Matrix) -> Matrix:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", values, values)), np.float32)[:, None]


def _rows_with_values(values: Matrix) -> npt.NDArray[np.bool_]:
    return np.asarray(values.any(axis=1))


def _mean(values: Matrix) -> float:
    return float(values.mean()) if len(values) else 0.0
