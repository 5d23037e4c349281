"""Element types as NumPy has them, and rows of tensors in bytes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ledger.errors import UnsupportedModel
from ledger.sealed.index import TensorEntry
from ledger.tensors.dtypes import DTYPES

NUMPY_DTYPES: dict[str, npt.DTypeLike] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype("<u1"),
    "I8": np.dtype("<i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
}
"""NumPy's element type by safetensors' name; types narrower than a byte have none."""


def row_bytes(tensor: TensorEntry) -> int:
    """Bytes of one index of a tensor's first axis.

    Raises:
        UnsupportedModel: rows of this narrow type do not fill whole bytes.
    """
    bits = DTYPES[tensor.dtype].bits
    for dim in tensor.shape[1:]:
        bits *= dim
    if bits % 8:
        raise UnsupportedModel(
            f"a row of this {tensor.dtype} tensor does not fill whole bytes",
            hint="read the whole tensor with get_bytes(name)",
        )
    return bits // 8


def address_of(data: memoryview) -> int:
    """Where a view's first byte lies."""
    return int(np.frombuffer(data, np.uint8).ctypes.data)
