"""The models that benchmarks of sealed packages are measured on, and how they are sealed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from ledger.ids import Address, ModelId
from ledger.sealed.file import CellPlan, seal
from ledger.tensors.model import open_model

KEY = hashlib.sha256(b"benchmark content key").digest()
SMALL = "small.bias"
"""A tensor of 64 KiB that every generated model has."""

_SMALL_BYTES = 1 << 16
_LARGE_BYTES = 8 << 20


def generate(folder: Path, size: int) -> Path:
    """A safetensors file of about `size` bytes, in F16 tensors shaped like a language model's."""
    rng = np.random.default_rng(7)
    width = 2048 if size >= 256 << 20 else 512
    # Without the exponent's highest bit all are finite numbers, as cells need them.
    block = rng.integers(0, 1 << 16, (width, width), dtype=np.uint16) & 0xBFFF
    tensors: dict[str, np.ndarray] = {SMALL: _small()}
    layer = 0
    while sum(t.nbytes for t in tensors.values()) < size:
        tensors[f"layers.{layer}.weight"] = np.roll(block, layer).view(np.float16)
        layer += 1
    path = folder / f"generated-{size}.safetensors"
    save_file(tensors, path)
    return path


def sparse(folder: Path, size: int) -> Path:
    """The same of zeros, which take no room, but for the small tensor; sealed it takes its size."""
    header: dict[str, object] = {}
    at = 0
    names = [f"layers.{layer}.weight" for layer in range(size // _LARGE_BYTES)]
    for name in (*names, SMALL):
        nbytes = _SMALL_BYTES if name == SMALL else _LARGE_BYTES
        header[name] = {"dtype": "F16", "shape": [nbytes // 2], "data_offsets": [at, at + nbytes]}
        at += nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = folder / f"sparse-{size}.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.seek(at - _SMALL_BYTES, os.SEEK_CUR)
        file.write(_small().tobytes())
    return path


def _small() -> np.ndarray:
    rng = np.random.default_rng(8)
    return (rng.integers(0, 1 << 16, _SMALL_BYTES // 2, dtype=np.uint16) & 0xBFFF).view(np.float16)


def installed(package: str, name: str) -> Path | None:
    """A file or folder of an installed package that ships a real model."""
    spec = importlib.util.find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / name


def seal_model(
    source: Path, dest: Path, *, threads: int | None = None, cells: CellPlan | None = None
) -> None:
    """Seal under `KEY`."""
    with open_model(source) as model:
        seal(
            model,
            dest,
            content_key=KEY,
            model_id=ModelId(bytes(32)),
            chain_id=31337,
            registry=Address(bytes(20)),
            threads=threads,
            cells=cells,
        )
