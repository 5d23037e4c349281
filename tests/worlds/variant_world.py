"""Sealed models with cells: the licensor's secrets, and copies under any code word."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.sealed.cells import CellKeys, ReleasedCells
from ledger.sealed.codeword import CodeParameters, CodeWord, code_word
from ledger.sealed.file import CellPlan, SealedFile, open_sealed, seal
from ledger.sealed.record import SealingRecord
from ledger.tensors.model import open_model

KEY = hashlib.sha256(b"variants").digest()
CODE_COMMIT = Digest(b"\x0c" * 32)


@dataclass
class Marked:
    """A sealed model with cells and everything its licensor knows."""

    path: Path
    record: SealingRecord
    keys: CellKeys
    parameters: CodeParameters
    code_key: bytes

    def word(self, serial: int, *, tenure: int = 1) -> CodeWord:
        return code_word(
            self.parameters,
            self.code_key,
            license_id(serial),
            holder(serial),
            tenure,
        )

    def released(self, word: CodeWord) -> ReleasedCells:
        return ReleasedCells(word, self.keys.chosen(word))

    def open(self, word: CodeWord, **options: Any) -> SealedFile:
        options = {"record": self.record, "cells": self.released(word)} | options
        return open_sealed(self.path, KEY, **options)

    def copy(self, serial: int) -> dict[str, np.ndarray]:
        """What a licensee has in memory."""
        with self.open(self.word(serial)) as file:
            return {name: array.copy() for name, array in file.load_all().items()}

    def master(self) -> dict[str, np.ndarray]:
        with self.open(all_of(self.parameters.count, 0)) as file:
            return {name: array.copy() for name, array in file.load_all().items()}


def license_id(serial: int) -> LicenseId:
    return LicenseId((7 << 32) + serial)


def holder(serial: int) -> Address:
    return Address(hashlib.sha256(b"holder %d" % serial).digest()[:20])


def all_of(count: int, form: int) -> CodeWord:
    return CodeWord(bytes([form]) * count, bytes(32))


def make_source(folder: Path, *, seed: int = 1, dtype: Any = np.float32) -> Path:
    """A small transformer-shaped model."""
    rng = np.random.default_rng(seed)
    tensors = {"embeddings.word": rng.standard_normal((512, 96)).astype(dtype)}
    for layer in range(4):
        for name, shape in (("up", (512, 256)), ("down", (256, 512)), ("query", (256, 256))):
            scale = rng.uniform(0.5, 2, (shape[0], 1))
            weights = rng.standard_normal(shape) * scale * 0.05
            tensors[f"layer.{layer}.{name}.weight"] = weights.astype(dtype)
        tensors[f"layer.{layer}.bias"] = rng.standard_normal(256).astype(dtype)
    tensors["steps"] = np.arange(600, dtype=np.int64)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text('{"hidden": 256}\n')
    return folder


def make_marked(
    source: Path,
    dest: Path,
    *,
    count: int = 24,
    colluders: int = 2,
    log2_cell: int = 14,
    code_key: bytes | None = None,
    seed: int | None = None,
    **changes: Any,
) -> Marked:
    """Seal with cells; with a seed, under the same keys and code each time."""
    keys = CellKeys.create(count)
    if seed is not None:
        drawn = hashlib.shake_256(b"cell keys %d" % seed).digest(64 * count)
        keys, code_key = CellKeys(bytearray(drawn)), hashlib.sha256(b"code %d" % seed).digest()
    plan = CellPlan(keys, CODE_COMMIT, log2_cell=log2_cell, strength=changes.pop("strength", None))
    options: dict[str, Any] = {
        "content_key": KEY,
        "model_id": ModelId(b"\x11" * 32),
        "chain_id": 31337,
        "registry": Address(b"\x22" * 20),
        "log2_segment": 16,
        "cells": plan,
    }
    with open_model(source) as model:
        record = seal(model, dest, **(options | changes))
    return Marked(dest, record, keys, CodeParameters(count, colluders), code_key or os.urandom(32))
