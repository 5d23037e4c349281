"""The real MiniLM with a watermark, and a small model for everything that needs no real one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from ledger.fingerprint.exact import fingerprint
from ledger.ids import Address, Digest
from ledger.tensors.model import open_model
from ledger.watermark.detection import Finding, detect
from ledger.watermark.record import Record
from ledger.watermark.weights import Embedded, embed, targets_of

OWNER = Address(b"\x70" * 20)
REGISTRY = Address(b"\x22" * 20)
BEACON = Digest(hashlib.sha256(b"a beacon").digest())


@dataclass
class Watermarked:
    """A model, its marked copy and the record."""

    original: Path
    marked: Path
    record: Record
    embedded: Embedded
    key: bytes

    def arrays(self) -> dict[str, np.ndarray]:
        return load_file(self.marked)

    def clean(self) -> dict[str, np.ndarray]:
        return load_file(self.original)

    def look(self, suspect: Path, *, informed: bool = False, **options: Any) -> Finding:
        with open_model(suspect) as found, open_model(self.original) as home:
            return detect(
                found,
                self.record.targets,
                options.pop("key", self.key),
                home if informed else None,
                **options,
            )

    def look_at(self, arrays: dict[str, np.ndarray], folder: Path, **options: Any) -> Finding:
        return self.look(written(arrays, folder), **options)


def written(arrays: dict[str, np.ndarray], folder: Path) -> Path:
    path = folder / "suspect.safetensors"
    save_file({name: np.ascontiguousarray(v) for name, v in arrays.items()}, path)
    return path


def record_of(path: Path, *, seed: int | None = None, **options: Any) -> Record:
    """A record; with a seed, of the same key each time."""
    with open_model(path) as model:
        made = fingerprint(model, level="deep")
    place = {"chain_id": 31337, "registry": REGISTRY, "owner": OWNER}
    return Record.create(made, targets_of(made), **(place | options))


def watermark(original: Path, folder: Path, *, seed: int = 1, **options: Any) -> Watermarked:
    """Mark a model under a key that depends on the seed alone."""
    record = record_of(original, **options)
    key = hashlib.sha256(b"watermark %d" % seed).digest()
    marked = folder / f"marked-{seed}.safetensors"
    with open_model(original) as model:
        embedded = embed(model, marked, record.targets, key, record.epsilon)
    return Watermarked(original, marked, record, embedded, key)


def make_small(folder: Path, *, seed: int = 1, dtype: Any = np.float32, layers: int = 2) -> Path:
    """A small transformer-shaped model."""
    rng = np.random.default_rng(seed)
    tensors = {"embeddings.word": rng.standard_normal((512, 96)).astype(dtype)}
    for layer in range(layers):
        for name, shape in (("up", (512, 128)), ("down", (128, 512)), ("query", (128, 128))):
            scale = rng.uniform(0.5, 2, (shape[0], 1))
            weights = rng.standard_normal(shape) * scale * 0.05
            tensors[f"layer.{layer}.{name}.weight"] = weights.astype(dtype)
        tensors[f"layer.{layer}.bias"] = rng.standard_normal(128).astype(dtype)
    tensors["steps"] = np.arange(600, dtype=np.int64)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.safetensors"
    save_file(tensors, path, metadata={"made": "by hand", "format": "pt"})
    return path
