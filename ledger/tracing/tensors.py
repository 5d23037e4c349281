"""A suspect's tensors as matrices, and what is remembered of them while they are searched.

Whole tensors are read when they are needed and not kept: only samples and sketches are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ledger.tensors.model import ModelSource, TensorInfo
from ledger.tensors.values import READABLE
from ledger.tracing.blocks import PACKED, decode, unpack, widths

Matrix: TypeAlias = npt.NDArray[np.float32]

_PLAIN: Final[dict[str, npt.DTypeLike]] = {
    # Copies carry marks in wider codes too.
    **READABLE,
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
}
INTEGERS: Final = frozenset({"I8", "U8", "I16", "I32"})
SAMPLES: Final = 4096
_LEAST = 1024  # weights; no cell fits in fewer
_FAR = 12.0  # medians of what is not zero
_LARGE = 1e30  # doubles beyond are brought down, so that single precision holds them
_MOST = 4096  # tensors that are compared; a suspect with more is searched in part


@dataclass(frozen=True, slots=True)
class View:
    """One way to look at a tensor as a matrix.

    Attributes:
        info: the tensor.
        shape: of the matrix as it lies in the file.
        turned: whether it is transposed after that.
        block: of ggml's quantised blocks, which type, and of packed codes, which order; None for
            plain elements.
    """

    info: TensorInfo
    shape: tuple[int, int]
    turned: bool = False
    block: str | None = None

    @property
    def rows(self) -> int:
        """Rows of the matrix that is looked at."""
        return self.shape[1] if self.turned else self.shape[0]

    @property
    def columns(self) -> int:
        """Its columns."""
        return self.shape[0] if self.turned else self.shape[1]

    @property
    def integer(self) -> bool:
        """Whether it holds codes without their scales."""
        return self.block in PACKED or (self.block is None and self.info.dtype in INTEGERS)


@dataclass(slots=True)
class Tensors:
    """The tensors of a suspect that can carry cells: those of the master's names, then the largest.

    Attributes:
        source: the suspect.
        names: of the master's tensors.
        infos: the tensors that are looked at.
    """

    source: ModelSource
    names: frozenset[str] = frozenset()
    infos: tuple[TensorInfo, ...] = field(init=False)
    _samples: dict[tuple[View, int], Matrix] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        fitting = [
            info
            for info in self.source.tensors
            if info.dtype in _PLAIN and 2 * math.prod(info.shape) >= _LEAST
        ]
        fitting.sort(key=lambda info: (info.name not in self.names, -info.nbytes))
        self.infos = tuple(fitting[:_MOST])

    def read(self, view: View) -> Matrix:
        """The matrix; codes without a sign are centred. Not finite where the suspect is not."""
        info = view.info
        if view.block in PACKED:
            raw = np.frombuffer(self.source.read(info), np.uint8)
            values = unpack(view.block, raw, view.shape)
        elif view.block is not None:
            raw = np.frombuffer(self.source.read(info), np.uint8)
            values = decode(view.block, raw).reshape(view.shape)
        else:
            plain = np.frombuffer(self.source.read(info), _PLAIN[info.dtype])
            with np.errstate(all="ignore"):
                if info.dtype == "F64":
                    plain = plain / max(1.0, float(np.nanmax(np.abs(plain), initial=0)) / _LARGE)
                values = plain.reshape(view.shape).astype(np.float32)
            if info.dtype == "U8":
                values -= np.float32(np.median(values))
        return np.ascontiguousarray(values.T) if view.turned else values

    def views(self, *, columns: int | None = None, rows: int | None = None) -> Iterator[View]:
        """Every way to see tensors as matrices with so many columns, or rows, or both."""
        for info in self.infos:
            seen = set()
            for length in {columns, rows} - {None}:
                for view in _views(info, length or 1):
                    for one in (view, View(view.info, view.shape, not view.turned, view.block)):
                        fits = columns in {None, one.columns} and rows in {None, one.rows}
                        if fits and one not in seen:
                            seen.add(one)
                            yield one

    def sample(self, view: View, shape: tuple[int, int]) -> Matrix:
        """The weights at `places` of a matrix of that shape; the view has as many weights."""
        key = (view, shape[0])
        if key not in self._samples:
            self._samples[key] = self.read(view).ravel()[places(shape[0] * shape[1])]
        return self._samples[key]


def _views(info: TensorInfo, length: int) -> Iterator[View]:
    """As it is; with all but the last dimension as rows; and without shape, in rows of `length`."""
    size, shape = math.prod(info.shape), info.shape
    seen = set()
    if len(shape) > 1:
        seen |= {(shape[0], size // shape[0]), (size // shape[-1], shape[-1])}
    elif size % length == 0:
        seen.add((size // length, length))
    for rows, columns in sorted(seen):
        yield View(info, (rows, columns))
        if info.dtype == "U8" and len(shape) > 1:
            for block, width in widths(columns):
                yield View(info, (rows, width), block=block)
    if info.dtype in {"U8", "I8"}:
        for rows, columns in sorted(seen) or [(1, size)]:
            whole = [(rows, 2 * columns)] if 1 not in {rows, columns} else []
            if 2 * size % length == 0:
                whole.append((2 * size // length, length))
            for shape_ in whole:
                yield from (View(info, shape_, block=order) for order in PACKED[:2])
    if info.dtype == "I32" and len(shape) == 2:
        yield View(info, (8 * shape[0], shape[1]), block=PACKED[2])
        yield View(info, (shape[0], 8 * shape[1]), block=PACKED[3])


def places(size: int) -> npt.NDArray[np.int64]:
    """Where a matrix of so many weights is sampled: the same for every matrix of that size."""
    return np.random.default_rng(size).integers(0, size, min(SAMPLES, size))


def tamed(values: Matrix, far: float = _FAR) -> Matrix:
    """With what is far out clipped, row by row: a few huge weights must not hide the others."""
    there = np.isfinite(values) & (values != 0)
    with np.errstate(all="ignore"):
        size = np.where(there, np.abs(values), np.nan)
        ordered = np.sort(size, axis=-1)
        middle = np.maximum(there.sum(axis=-1, keepdims=True) - 1, 0) // 2
        limit = far * np.nan_to_num(np.take_along_axis(ordered, middle, axis=-1))
        return np.asarray(np.clip(values, -limit, limit))


def correlation(a: Matrix, b: Matrix) -> float:
    """Of two samples, where both are finite; 0 where too few are."""
    x, y = tamed(a).astype(np.float64), tamed(b).astype(np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    if good.sum() < len(x) / 8:
        return 0.0
    x, y = x[good] - x[good].mean(), y[good] - y[good].mean()
    norm = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
    return float((x * y).sum()) / norm if 0 < norm < math.inf else 0.0
