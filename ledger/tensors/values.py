"""Weights as float32 numbers, whatever their file made of them: for comparing, never for identity.

Block-quantised and integer-quantised tensors are scaled back, half-precision ones widened. What a
model *is* (``ledger.fingerprint``) is always its stored bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ledger.errors import TensorFileError, UnsupportedModel
from ledger.tensors.ggmlblocks import DEQUANTISE
from ledger.tensors.gguf import BLOCKS
from ledger.tensors.model import ModelSource, TensorInfo
from ledger.tensors.regular import shown
from ledger.tensors.safetensors import Affine, Blocks

_FLOATS: Final[dict[str, Any]] = {
    "F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu, "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}  # fmt: skip
_INTEGERS: Final = {"I8": "<i1", "U8": "<u1", "I16": "<i2", "U16": "<u2", "I32": "<i4"}
READABLE: Final[dict[str, npt.DTypeLike]] = {
    name: np.dtype(kind)
    for name, kind in {**_FLOATS, **_INTEGERS}.items()
    if name in {"I8", "U8"} or (name in _FLOATS and name != "F8_E8M0")
}
"""Element types whose stored values are compared as they are: weights, and codes of 8 bits.

F8_E8M0 are scales of other weights, and larger integers are indices and packed codes.
"""
# Blocks are scaled back in pieces, so that their steps in between stay small.
_PIECE_BLOCKS: Final = 1 << 15

Floats = npt.NDArray[np.float32]


def weight_shape(info: TensorInfo) -> tuple[int, ...]:
    """The shape of the weights, which differs from the stored one in block-quantised tensors."""
    return info.packing.shape if isinstance(info.packing, Blocks) else info.shape


def is_readable(info: TensorInfo) -> bool:
    """Whether `FloatView` gives this tensor's weights."""
    if isinstance(info.packing, Blocks):
        return info.packing.kind in DEQUANTISE
    return info.dtype in _FLOATS or (info.packing is not None and info.dtype in _INTEGERS)


@dataclass(frozen=True, slots=True)
class FloatView:
    """A model's weights as float32."""

    source: ModelSource
    _by_name: dict[str, TensorInfo] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {info.name: info for info in self.source.tensors})

    def values(self, info: TensorInfo, rows: tuple[int, int] | None = None) -> Floats:
        """The weights of one tensor, in memory of their own.

        Args:
            info: one that `is_readable`.
            rows: only these of the first dimension, from and up to; all when None.

        Raises:
            TensorFileError: the file cannot be read, or its scales do not fit.
            UnsupportedModel: this kind of tensor is not readable as numbers.
        """
        if not is_readable(info):
            raise UnsupportedModel(
                f"{shown(self.source.title)}: {info.name[:80]!r} is stored in a way that is not "
                "read as numbers",
                hint="compare it by its ids, or with a copy in float16 or float32",
            )
        shape = weight_shape(info)
        first, last = rows or (0, shape[0] if shape else 1)
        count = shape[0] if shape else 1
        first, last = max(0, first), min(last, count)
        width = info.nbytes // max(count, 1)
        room = memoryview(bytearray(max(last - first, 0) * width))
        self.source.read_at(info.member, info.offset + first * width, room)
        part = (last - first, *shape[1:]) if shape else ()
        if isinstance(info.packing, Blocks):
            return _from_blocks(room, info.packing.kind).reshape(part)
        if isinstance(info.packing, Affine) and info.dtype in _INTEGERS:
            stored = np.frombuffer(room, _INTEGERS[info.dtype]).reshape(part)
            return self._scaled(info, info.packing, stored, (first, last))
        with np.errstate(over="ignore"):
            values: Floats = np.frombuffer(room, _FLOATS[info.dtype]).astype(np.float32)
        return values.reshape(part)

    def _scaled(
        self, info: TensorInfo, packing: Affine, stored: npt.NDArray[Any], rows: tuple[int, int]
    ) -> Floats:
        scale = self._beside(info, packing.scale, packing, rows)
        zero: Any = np.float32(0)
        if isinstance(packing.zero, tuple):
            numbers = np.array(packing.zero, np.float32)
            zero = self._along(info, numbers if numbers.size > 1 else numbers.reshape(()), packing)
            zero = zero[rows[0] : rows[1]] if _by_rows(info, zero) else zero
        elif packing.zero is not None:
            zero = self._beside(info, packing.zero, packing, rows)
        try:
            # Before anything is computed: a scale could spread a column over a large plane.
            fits = np.broadcast_shapes(stored.shape, scale.shape, zero.shape) == stored.shape
        except ValueError:
            fits = False
        if not fits:
            raise TensorFileError(
                f"{shown(self.source.title)}: the scales of {info.name[:80]!r} do not fit it",
                hint="the file is damaged or made to mislead; get it again from its source",
            )
        with np.errstate(over="ignore", invalid="ignore"):
            values: Floats = ((stored.astype(np.float32) - zero) * scale).astype(np.float32)
        return values

    def _beside(
        self, info: TensorInfo, name: str, packing: Affine, rows: tuple[int, int]
    ) -> npt.NDArray[Any]:
        """Scales or zero points of some rows, in a shape that broadcasts."""
        other = self._by_name.get(name)
        kind = None if other is None else {**_FLOATS, **_INTEGERS}.get(other.dtype)
        if other is None or kind is None:
            raise TensorFileError(
                f"{shown(self.source.title)} lacks {name[:80]!r}, the scales of {info.name[:80]!r}",
                hint="save the model again with its scales as raw data",
            )
        read = np.frombuffer(self.source.read(other), kind).astype(np.float32)
        made = self._along(info, read.reshape(other.shape), packing)
        return made[rows[0] : rows[1]] if _by_rows(info, made) else made

    def _along(
        self, info: TensorInfo, numbers: npt.NDArray[Any], packing: Affine
    ) -> npt.NDArray[Any]:
        """A list of numbers laid along the axis they belong to."""
        if numbers.size == 1:
            return numbers.reshape(())
        dims = len(info.shape)
        if packing.axis is None and numbers.ndim != 1:
            return numbers
        # ONNX Runtime's names tell no axis: the one whose length fits, the last one first.
        fits = [a for a in range(dims - 1, -1, -1) if info.shape[a] == numbers.size]
        axis = packing.axis % dims if packing.axis is not None and dims else (fits or [0])[0]
        return numbers.reshape([-1 if a == axis else 1 for a in range(dims)])


def _by_rows(info: TensorInfo, numbers: npt.NDArray[Any]) -> bool:
    return numbers.ndim == len(info.shape) > 0 and numbers.shape[0] == info.shape[0] != 1


def _from_blocks(data: memoryview, kind: int) -> Floats:
    elements, width = BLOCKS[kind]
    blocks = np.frombuffer(data, np.uint8).reshape(-1, width)
    values: Floats = np.empty((len(blocks), elements), np.float32)
    for start in range(0, len(blocks), _PIECE_BLOCKS):
        part = blocks[start : start + _PIECE_BLOCKS]
        # A hostile scale may be infinite or none; the numbers then say so.
        with np.errstate(over="ignore", invalid="ignore"):
            values[start : start + len(part)] = DEQUANTISE[kind](part)
    return values
