"""Weights out of ggml's quantised blocks (GGUF), and codes out of packed integers. Pure.

Source of the blocks: ggml ``ggml-quants.c``. A GGUF tensor is listed as rows of bytes; of which
type follows from the width of a row, and where two types have blocks of one size, from which of
them fits. Packed codes, two in a byte or eight in a 32-bit integer, lie as GPTQ, AWQ and
bitsandbytes write them; their scales are not looked for, since the master tells them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float32]

_NONLINEAR = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32
)


PACKED: Final = ("low first", "high first", "eight rows", "eight columns")
"""How four-bit codes are packed: two a byte, or eight a 32-bit integer down or along the matrix."""
_AWQ: Final = [0, 4, 1, 5, 2, 6, 3, 7]


def widths(row_bytes: int) -> Iterator[tuple[str, int]]:
    """Block types that a row of so many bytes can be of, and its weights then."""
    for name, (size, width, _) in _TYPES.items():
        if row_bytes % width == 0:
            yield name, row_bytes // width * size


def decode(name: str, data: Bytes) -> Floats:
    """The weights of whole blocks, in order."""
    _, width, decoder = _TYPES[name]
    with np.errstate(all="ignore"):
        values = decoder(data.reshape(-1, width))
    return np.asarray(values, np.float32).ravel()


def unpack(order: str, data: Bytes, shape: tuple[int, int]) -> Floats:
    """Four-bit codes of a matrix; `shape` is that of the codes.

    Args:
        order: one of `PACKED`.
        data: as it lies in the file, in bytes, which hold two codes each.
        shape: rows and columns of codes.
    """
    nibbles = np.stack([data & 15, data >> 4], axis=-1)
    rows, columns = shape
    if order == "high first":
        codes = nibbles[..., ::-1].reshape(shape)
    elif order == "low first":
        codes = nibbles.reshape(shape)
    elif order == "eight rows":
        codes = nibbles.reshape(rows // 8, columns, 8).transpose(0, 2, 1).reshape(shape)
    else:
        codes = nibbles.reshape(rows, columns // 8, 8)[..., _AWQ].reshape(shape)
    return codes.astype(np.float32)


def _half(data: Bytes) -> Floats:
    return np.ascontiguousarray(data).view("<f2").astype(np.float32)


def _nibbles(data: Bytes) -> Bytes:
    return np.concatenate([data & 15, data >> 4], axis=-1)


def _fifth(data: Bytes) -> Any:
    bits = np.unpackbits(np.ascontiguousarray(data), axis=-1, bitorder="little")
    return bits << 4


def _q4_0(b: Bytes) -> Any:
    return _half(b[:, :2]) * (_nibbles(b[:, 2:]).astype(np.float32) - 8)


def _q4_1(b: Bytes) -> Any:
    return _half(b[:, :2]) * _nibbles(b[:, 4:]) + _half(b[:, 2:4])


def _q5_0(b: Bytes) -> Any:
    return _half(b[:, :2]) * ((_nibbles(b[:, 6:]) | _fifth(b[:, 2:6])).astype(np.float32) - 16)


def _q5_1(b: Bytes) -> Any:
    return _half(b[:, :2]) * (_nibbles(b[:, 8:]) | _fifth(b[:, 4:8])) + _half(b[:, 2:4])


def _q8_0(b: Bytes) -> Any:
    return np.asarray(_half(b[:, :2]) * np.ascontiguousarray(b[:, 2:]).view(np.int8))


def _iq4_nl(b: Bytes) -> Any:
    return np.asarray(_half(b[:, :2]) * _NONLINEAR[_nibbles(b[:, 2:])])


def _six_bits(b: Bytes) -> tuple[Any, Any]:
    """Eight scales and eight offsets of six bits, out of twelve bytes."""
    low, middle, high = b[:, :4], b[:, 4:8], b[:, 8:12]
    scale = np.concatenate([low & 63, (high & 15) | ((low >> 2) & 48)], axis=1)
    offset = np.concatenate([middle & 63, (high >> 4) | ((middle >> 2) & 48)], axis=1)
    return scale.astype(np.float32), offset.astype(np.float32)


def _k4(b: Bytes) -> Floats:
    scale, offset = _six_bits(b[:, 4:16])
    codes = _nibbles(b[:, 16:].reshape(len(b), 4, 32)).reshape(len(b), 8, 32)
    d, low = _half(b[:, :2])[:, :, None], _half(b[:, 2:4])[:, :, None]
    return np.asarray(d * scale[:, :, None] * codes - low * offset[:, :, None])


def _k5(b: Bytes) -> Floats:
    scale, offset = _six_bits(b[:, 4:16])
    codes = _nibbles(b[:, 48:].reshape(len(b), 4, 32)).reshape(len(b), 8, 32)
    high = (b[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[None, :, None]) & 1
    d, low = _half(b[:, :2])[:, :, None], _half(b[:, 2:4])[:, :, None]
    return np.asarray(d * scale[:, :, None] * (codes | (high << 4)) - low * offset[:, :, None])


def _k6(b: Bytes) -> Floats:
    low: Any = b[:, :128].reshape(-1, 2, 1, 64)
    high: Any = b[:, 128:192].reshape(-1, 2, 1, 32)
    low = (low >> np.array([0, 4], np.uint8)[:, None]) & 15
    high = (high >> np.array([0, 2, 4, 6], np.uint8)[:, None]) & 3
    codes = (low.reshape(-1, 2, 4, 32) | (high << 4)).reshape(-1, 16, 16).astype(np.float32) - 32
    scale = np.ascontiguousarray(b[:, 192:208]).view(np.int8).astype(np.float32)
    return np.asarray((_half(b[:, 208:210]) * scale)[:, :, None] * codes)


def _k2(b: Bytes) -> Floats:
    codes: Any = b[:, 16:80].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None]
    codes = (codes & 3).reshape(-1, 16, 16)
    d, low = _half(b[:, 80:82]), _half(b[:, 82:84])
    return np.asarray(
        (d * (b[:, :16] & 15))[:, :, None] * codes - (low * (b[:, :16] >> 4))[:, :, None]
    )


def _k3(b: Bytes) -> Floats:
    low = (b[:, 96:104][:, None] >> np.array([0, 4], np.uint8)[:, None]).reshape(-1, 16) & 15
    high = (b[:, 104:108][:, None] >> np.array([0, 2, 4, 6], np.uint8)[:, None]).reshape(-1, 16)
    scale = (low | ((high & 3) << 4)).astype(np.float32) - 32
    codes = b[:, 32:96].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None]
    mask = (b[:, None, :32] >> np.arange(8, dtype=np.uint8)[None, :, None]) & 1
    signed = (codes & 3).reshape(-1, 16, 16).astype(np.float32)
    signed -= 4 * (1 - mask.reshape(-1, 16, 16).astype(np.float32))
    return np.asarray((_half(b[:, 108:110]) * scale)[:, :, None] * signed)


_TYPES: Final[dict[str, tuple[int, int, Callable[[Bytes], Any]]]] = {
    "Q4_0": (32, 18, _q4_0),
    "Q4_1": (32, 20, _q4_1),
    "Q5_0": (32, 22, _q5_0),
    "Q5_1": (32, 24, _q5_1),
    "Q8_0": (32, 34, _q8_0),
    "IQ4_NL": (32, 18, _iq4_nl),
    "Q2_K": (256, 84, _k2),
    "Q3_K": (256, 110, _k3),
    "Q4_K": (256, 144, _k4),
    "Q5_K": (256, 176, _k5),
    "Q6_K": (256, 210, _k6),
}
