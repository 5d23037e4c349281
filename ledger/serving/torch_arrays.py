"""Torch tensors over the memory a sealed model is decrypted into."""

from __future__ import annotations

import math
from typing import Any, Final

from ledger.errors import ToolMissing, UnsupportedModel, UsageError

DTYPES: Final = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32",
    "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16",
    "F32": "float32", "F64": "float64", "C64": "complex64", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz", "F4": "float4_e2m1fn_x2",
}  # fmt: skip
"""torch's element type by safetensors' name; those of six bits have none."""


def require_torch() -> Any:
    """The module ``torch``.

    Raises:
        ToolMissing: it is not installed.
    """
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ToolMissing(
            'framework="torch" needs torch', hint="install torch, or use framework=numpy"
        ) from None
    return torch


def require_device(device: str) -> None:
    """See that torch can use a device, before a key is asked for.

    Raises:
        ToolMissing: torch is not installed.
        UsageError: it has no such device.
    """
    torch = require_torch()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        said = (str(error).splitlines() or ["no reason"])[0][:200]
        raise UsageError(
            f"torch cannot use the device {device!r}: {said}", hint='use device="cpu"'
        ) from None


def dtype_of(name: str) -> Any:
    """Torch's element type of a safetensors dtype.

    Raises:
        UnsupportedModel: torch has none.
    """
    torch = require_torch()
    found = getattr(torch, DTYPES[name], None) if name in DTYPES else None
    if found is None:
        raise UnsupportedModel(
            f"torch has no element type for {name}",
            hint="get_bytes(name) gives the tensor's bytes",
        )
    return found


def alignment_of(name: str) -> int:
    """What the address of a tensor's first byte must be a multiple of.

    Raises:
        UnsupportedModel: torch has no such element type.
    """
    size: int = dtype_of(name).itemsize
    return size


def shape_of(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape torch gives a tensor: two values of four bits count as one element.

    Raises:
        UnsupportedModel: an odd number of them in a row.
    """
    if name != "F4":
        return shape
    if not shape or shape[-1] % 2:
        raise UnsupportedModel(
            "torch packs F4 in pairs, and this tensor's rows are odd",
            hint="get_bytes(name) gives the tensor's bytes",
        )
    return (*shape[:-1], shape[-1] // 2)


def view(data: memoryview, dtype: str, shape: tuple[int, ...]) -> Any:
    """A tensor over `data`, which is writable and aligned; nothing is copied.

    Raises:
        UnsupportedModel: torch has no such element type or shape.
    """
    torch = require_torch()
    kind, shape = dtype_of(dtype), shape_of(dtype, shape)
    if not len(data):
        try:
            return torch.empty(shape, dtype=kind)
        except RuntimeError:
            # An empty one may have any other dimensions, also some that no tensor can have.
            raise UnsupportedModel(
                f"torch has no tensors of shape {list(shape)}",
                hint="get_bytes(name) gives the tensor's bytes",
            ) from None
    return torch.frombuffer(data, dtype=kind, count=math.prod(shape)).reshape(shape)
