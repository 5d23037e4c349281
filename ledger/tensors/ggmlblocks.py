"""Weights out of ggml's quantised blocks, exactly as llama.cpp computes them in float32.

A block holds 32 weights with a scale, or 256 in groups that share it (the K types). Layouts and
formulas: ``ggml/src/ggml-quants.c``, functions ``dequantize_row_*``. NumPy is enough for them, so
the ``gguf`` package (with its three dependencies) stays out; the tests hold both together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[Any]


def _cut(blocks: Bytes, *widths: int) -> list[Bytes]:
    parts, at = [], 0
    for width in widths:
        parts.append(blocks[:, at : at + width])
        at += width
    return [*parts, blocks[:, at:]]


def _half(part: Bytes) -> Numbers:
    return np.ascontiguousarray(part).view("<f2").astype(np.float32)


def _shifted(part: Bytes, run: int, *by: int) -> Numbers:
    """Each run of bytes once for every shift, one after the other."""
    shifts = np.array(by, np.uint8).reshape(1, 1, -1, 1)
    return part.reshape(len(part), -1, 1, run) >> shifts


def _nibbles(part: Bytes) -> Numbers:
    return (_shifted(part, 16, 0, 4) & 15).reshape(len(part), 32)


def _fifth_bits(part: Bytes) -> Numbers:
    bits = np.ascontiguousarray(part).view("<u4") >> np.arange(32, dtype=np.uint32)
    return (bits & 1).astype(np.uint8) << 4


def _q4_0(blocks: Bytes) -> Numbers:
    scale, nibbles = _cut(blocks, 2)
    made: Numbers = _half(scale) * (_nibbles(nibbles).astype(np.int8) - np.int8(8))
    return made


def _q4_1(blocks: Bytes) -> Numbers:
    scale, least, nibbles = _cut(blocks, 2, 2)
    return _half(scale) * _nibbles(nibbles) + _half(least)


def _q5_0(blocks: Bytes) -> Numbers:
    scale, high, nibbles = _cut(blocks, 2, 4)
    values = (_nibbles(nibbles) | _fifth_bits(high)).astype(np.int8) - np.int8(16)
    made: Numbers = _half(scale) * values
    return made


def _q5_1(blocks: Bytes) -> Numbers:
    scale, least, high, nibbles = _cut(blocks, 2, 2, 4)
    return _half(scale) * (_nibbles(nibbles) | _fifth_bits(high)) + _half(least)


def _q8_0(blocks: Bytes) -> Numbers:
    scale, values = _cut(blocks, 2)
    return _half(scale) * np.ascontiguousarray(values).view(np.int8)


def _q2_k(blocks: Bytes) -> Numbers:
    scales, low, scale, least = _cut(blocks, 16, 64, 2)
    count = len(blocks)
    steps = (_half(scale) * (scales & 15)).reshape(count, 16, 1)
    bases = (_half(least) * (scales >> 4)).reshape(count, 16, 1)
    values = (_shifted(low, 32, 0, 2, 4, 6) & 3).reshape(count, 16, 16)
    made: Numbers = (steps * values - bases).reshape(count, 256)
    return made


def _q3_k(blocks: Bytes) -> Numbers:
    high, low, scales, scale = _cut(blocks, 32, 64, 12)
    count = len(blocks)
    lower = _shifted(scales[:, :8], 8, 0, 4).reshape(count, 16) & 15
    upper = _shifted(scales[:, 8:], 4, 0, 2, 4, 6).reshape(count, 16) & 3
    steps = (lower | (upper << 4)).astype(np.int8) - np.int8(32)
    values = (_shifted(low, 32, 0, 2, 4, 6) & 3).reshape(count, 16, 16).astype(np.int8)
    missing = (_shifted(high, 32, *range(8)) & 1).reshape(count, 16, 16) ^ 1
    values -= (missing << 2).astype(np.int8)
    made: Numbers = ((_half(scale) * steps).reshape(count, 16, 1) * values).reshape(count, 256)
    return made


def _scales_and_bases(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Eight scales and eight minima of six bits, from twelve bytes."""
    first, second, third = (packed.reshape(-1, 3, 4)[:, row] for row in range(3))
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 2) & 48)], axis=1)
    bases = np.concatenate([second & 63, (third >> 4) | ((second >> 2) & 48)], axis=1)
    return scales, bases


def _q45_k(blocks: Bytes, high: Bytes | None, nibbles: Bytes) -> Numbers:
    count = len(blocks)
    scale, least, packed = blocks[:, :2], blocks[:, 2:4], blocks[:, 4:16]
    scales, bases = _scales_and_bases(np.ascontiguousarray(packed))
    steps = (_half(scale) * scales).reshape(count, 8, 1)
    offsets = (_half(least) * bases).reshape(count, 8, 1)
    values = (_shifted(nibbles, 32, 0, 4) & 15).reshape(count, 8, 32)
    if high is not None:
        values = values | ((_shifted(high, 32, *range(8)) & 1).reshape(count, 8, 32) << 4)
    return (steps * values - offsets).reshape(count, 256)


def _q4_k(blocks: Bytes) -> Numbers:
    return _q45_k(blocks, None, blocks[:, 16:])


def _q5_k(blocks: Bytes) -> Numbers:
    return _q45_k(blocks, blocks[:, 16:48], blocks[:, 48:])


def _q6_k(blocks: Bytes) -> Numbers:
    low, high, scales, scale = _cut(blocks, 128, 64, 16)
    count = len(blocks)
    steps = _half(scale) * np.ascontiguousarray(scales).view(np.int8)
    lower = (_shifted(low, 64, 0, 4) & 15).reshape(count, -1, 32)
    upper = (_shifted(high, 32, 0, 2, 4, 6) & 3).reshape(count, -1, 32)
    values = (lower | (upper << 4)).astype(np.int8) - np.int8(32)
    made: Numbers = (steps.reshape(count, 16, 1) * values.reshape(count, 16, 16)).reshape(
        count, 256
    )
    return made


DEQUANTISE: Final[dict[int, Callable[[Bytes], Numbers]]] = {
    2: _q4_0, 3: _q4_1, 6: _q5_0, 7: _q5_1, 8: _q8_0,
    10: _q2_k, 11: _q3_k, 12: _q4_k, 13: _q5_k, 14: _q6_k,
}  # fmt: skip
"""By ggml's type number: blocks (rows of bytes) to weights (rows of float32)."""
