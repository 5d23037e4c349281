"""Tensors that many unrelated models hold: sharing one says nothing about where a model comes from.

Window and Fourier tables, positions, masks and the like follow from their shape. For a tensor's
element type and shape the values they would have are made here and hashed, so a match is by id and
never by similarity. The families are those of the list in ``docs/spec/containment.md``.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ledger.fingerprint.exact import TensorFingerprint, content_id_of_tensor
from ledger.fingerprint.payload import LEAF_BYTES
from ledger.ids import Digest
from ledger.merkle import T1
from ledger.tensors.dtypes import DTYPES

# Making a larger table to hash it would take seconds, and no family needs more.
MAX_ELEMENTS: Final = 1 << 23
_LEAST_HADAMARD: Final = 4
_ROTARY_BASES: Final = (1e4, 5e5, 1e6)
_NUMPY: Final[dict[str, Any]] = {
    "F32": np.float32, "F64": np.float64, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "I16": np.int16, "U16": np.uint16,
    "I32": np.int32, "U32": np.uint32, "I64": np.int64, "U64": np.uint64,
}  # fmt: skip

Values = npt.NDArray[Any]


def known_constant(tensor: TensorFingerprint) -> str | None:
    """The family that a tensor's exact values, in this or another order, belong to; else None."""
    families = _families(tensor.dtype, tensor.shape)
    return families.get(tensor.cid) or (families.get(tensor.vid) if tensor.vid else None)


def content_id_of(payload: bytes | memoryview, dtype: str, shape: tuple[int, ...]) -> Digest:
    """The content id of a whole payload in memory."""
    data = memoryview(payload)
    leaves = [
        T1.leaf(bytes(data[start : start + LEAF_BYTES]))
        for start in range(0, len(data), LEAF_BYTES)
    ]
    return content_id_of_tensor(dtype, shape, len(data), T1.root(leaves))


@lru_cache(maxsize=256)
def _families(dtype: str, shape: tuple[int, ...]) -> dict[Digest, str]:
    """The ids of every table of that type and shape, with its family's name."""
    count = 1
    for dim in shape:
        count *= dim
    kind = _NUMPY.get(dtype)
    if kind is None or not 0 < count <= MAX_ELEMENTS:
        return {}
    found: dict[Digest, str] = {}
    core = tuple(dim for dim in shape if dim != 1)
    for name, made in itertools.chain(_lines(core), _planes(core)):
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.ascontiguousarray(made.astype(kind))
        found.setdefault(content_id_of(values.tobytes(), dtype, shape), name)
        width = DTYPES[dtype].word_bytes
        words = np.sort(values.view(f"<u{width}"), axis=None)
        head = b"\x11mfp1" + struct.pack("<HQ", DTYPES[dtype].code, count)
        found.setdefault(Digest(hashlib.sha256(head + words.tobytes()).digest()), name)
    return found


def _lines(core: tuple[int, ...]) -> Iterator[tuple[str, Values]]:
    if len(core) != 1:
        return
    n = core[0]
    yield "counting from 0", np.arange(n)
    yield "counting from 1", np.arange(1, n + 1)
    yield "counting down", np.arange(n)[::-1]
    for name, window in (("Hann", np.hanning), ("Hamming", np.hamming)):
        yield f"{name} window", window(n + 1)[:-1]
        yield f"{name} window", window(n)
    for base in _ROTARY_BASES:
        steps = np.arange(0, 2 * n, 2, dtype=np.float32) / np.float32(2 * n)
        yield "rotary frequencies", np.float32(1) / np.float32(base) ** steps
        yield "rotary frequencies", 1 / base ** (np.arange(0, 2 * n, 2) / (2 * n))


def _planes(core: tuple[int, ...]) -> Iterator[tuple[str, Values]]:
    if len(core) != 2:
        return
    n, d = core
    if n == d:
        lower = np.tril(np.ones((n, n), np.float32))
        yield "identity matrix", np.eye(n, dtype=np.float32)
        yield "causal mask", lower
        yield "causal mask", 1 - lower
        for off in (-np.inf, -1e4, -1e9, np.finfo(np.float32).min):
            yield "causal mask", np.where(lower == 1, np.float32(0), np.float32(off))
        if n >= _LEAST_HADAMARD and n.bit_count() == 1:
            square = _sylvester(n)
            yield "Hadamard matrix", square
            yield "Hadamard matrix", square / np.sqrt(n)
    if d % 2 == 0 and n >= 2:
        yield from _sinusoids(n, d)
    if n % 2 == 0 and d == n - 2:
        yield "Fourier basis under a Hann window", _fourier(d)


def _sylvester(n: int) -> Values:
    """The Hadamard matrix of Walsh's functions, as rotations before quantising are made of."""
    made = np.ones((1, 1), np.float32)
    while len(made) < n:
        made = np.kron(np.array([[1, 1], [1, -1]], np.float32), made)
    return made


def _sinusoids(n: int, d: int) -> Iterator[tuple[str, Values]]:
    """Position tables: sine and cosine in turn (Vaswani et al. 2017), or one after the other."""
    name = "sinusoidal positions"
    half = d // 2
    for steps in (np.arange(half) / half, np.arange(half) / max(half - 1, 1)):
        angles = np.arange(n)[:, None] / 1e4**steps
        table = np.empty((n, d))
        table[:, 0::2], table[:, 1::2] = np.sin(angles), np.cos(angles)
        yield name, table
        yield name, np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def _fourier(n: int) -> Values:
    """Real and imaginary rows of the discrete Fourier transform, as speech models keep them."""
    transform = np.fft.fft(np.eye(n))[: n // 2 + 1]
    basis = np.vstack([transform.real, transform.imag]).astype(np.float32)
    return basis * np.hanning(n + 1)[:-1].astype(np.float32)
