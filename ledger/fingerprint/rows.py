"""Rows and columns of a matrix on disk, read in pieces so that memory stays flat."""

from __future__ import annotations

from typing import Final

import numpy as np

from ledger.fingerprint.lineage import Matrix, Places
from ledger.tensors.model import ModelSource, TensorInfo
from ledger.tensors.safetensors import Blocks
from ledger.tensors.values import READABLE, FloatView, weight_shape

_PIECE: Final = 16 << 20


def block_of(
    model: ModelSource, info: TensorInfo, shape: tuple[int, int], rows: Places, columns: Places
) -> Matrix:
    """These rows and columns of a matrix on disk; `rows` ascend."""
    if isinstance(info.packing, Blocks):
        return _unpacked(model, info, shape, rows, columns)
    dtype = np.dtype(READABLE[info.dtype])
    row_bytes = shape[1] * dtype.itemsize
    every = len(columns) == shape[1]
    out = np.empty((len(rows), len(columns)), np.float32)
    at_once = max(1, _PIECE // row_bytes)
    start = 0
    while start < len(rows):
        # As many of the wanted rows as lie within one piece; runs of rows are read whole.
        end = int(np.searchsorted(rows, rows[start] + at_once))
        first, last = int(rows[start]), int(rows[end - 1]) + 1
        if (end - start) * 8 < last - first:
            end = start + 1
            last = first + 1
        buffer = memoryview(bytearray((last - first) * row_bytes))
        model.read_at(info.member, info.offset + first * row_bytes, buffer)
        piece = np.frombuffer(buffer, dtype).reshape(last - first, shape[1])
        taken = piece[rows[start:end] - first]
        with np.errstate(all="ignore"):
            out[start:end] = taken if every else taken[:, columns]
        start = end
    return out


def _unpacked(
    model: ModelSource, info: TensorInfo, shape: tuple[int, int], rows: Places, columns: Places
) -> Matrix:
    """The same of a block-quantised matrix, scaled back piece by piece."""
    view = FloatView(model)
    leading = weight_shape(info)[0]
    if shape[0] % leading:
        return np.ascontiguousarray(view.values(info).reshape(shape)[rows][:, columns])
    # Values are had by the first dimension: of a stack, whole matrices of it.
    each = shape[0] // leading
    out = np.empty((len(rows), len(columns)), np.float32)
    at_once = max(1, _PIECE // (4 * shape[1] * each))
    start = 0
    while start < len(rows):
        block = int(rows[start]) // each
        end = int(np.searchsorted(rows, (block + at_once) * each))
        first, last = block, int(rows[end - 1]) // each + 1
        piece = view.values(info, (first, last)).reshape((last - first) * each, shape[1])
        out[start:end] = piece[rows[start:end] - first * each][:, columns]
        start = end
    return out
