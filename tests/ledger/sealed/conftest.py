"""A small model of two shards and side files, and the means to seal it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.ids import Address, ModelId
from ledger.sealed.file import seal
from ledger.sealed.record import SealingRecord
from ledger.tensors.model import open_model

KEY = hashlib.sha256(b"test content key").digest()
SEGMENT = 1 << 16


@dataclass(frozen=True)
class Sealed:
    """A sealed model and everything about it."""

    source: Path
    path: Path
    key: bytes
    record: SealingRecord
    tensors: dict[str, np.ndarray]

    def seal(self, dest: Path, **changes: Any) -> SealingRecord:
        options: dict[str, Any] = {
            "content_key": self.key,
            "model_id": ModelId(b"\x11" * 32),
            "chain_id": 31337,
            "registry": Address(b"\x22" * 20),
            "log2_segment": 16,
        }
        with open_model(self.source) as model:
            return seal(model, dest, **(options | changes))


def make_tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        "a.large": rng.standard_normal((400, 301), dtype=np.float32),
        "a.half": rng.standard_normal((33, 20)).astype(np.float16),
        "a.brain": rng.standard_normal((64, 64)).astype(ml_dtypes.bfloat16),
        "a.eight": rng.standard_normal(5000).astype(ml_dtypes.float8_e4m3fn),
        "b.double": rng.standard_normal(17),
        "b.step": np.array(12345, dtype=np.int64),
        "b.flags": np.array([True, False, True]),
        "b.empty": np.zeros((0, 7), dtype=np.float32),
        "b.bytes": rng.integers(0, 256, 200_000, dtype=np.uint8),
    }


def make_model(folder: Path, tensors: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    for number, letter in enumerate("ab", 1):
        part = {name: array for name, array in tensors.items() if name.startswith(letter)}
        save_file(part, folder / f"model-{number:05}-of-00002.safetensors")
    (folder / "config.json").write_text('{"hidden": 64}\n')
    (folder / "vocab.txt").write_bytes(os.urandom(100_000))
    (folder / "empty.txt").write_bytes(b"")
    return folder


@pytest.fixture(scope="package")
def sealed(tmp_path_factory):
    """The model, sealed under suite 2 with 64 KiB segments. Read only."""
    folder = tmp_path_factory.mktemp("sealed")
    tensors = make_tensors()
    source = make_model(folder / "model", tensors)
    draft = Sealed(source, folder / "model.sealed", KEY, None, tensors)  # type: ignore[arg-type]
    record = draft.seal(draft.path)
    return Sealed(source, draft.path, KEY, record, tensors)
