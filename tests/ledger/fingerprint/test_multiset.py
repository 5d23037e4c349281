"""Value-multiset ids: the same in bounded memory as when everything is sorted at once."""

import hashlib
import struct
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from ledger.fingerprint import multiset
from ledger.tensors.dtypes import DTYPES
from ledger.tensors.model import open_model

RNG = np.random.default_rng(5)
COUNT = 60_000
SHAPES = {
    "spread": lambda: RNG.integers(0, 1 << 63, COUNT, np.uint64),
    "one value mostly": lambda: np.where(RNG.random(COUNT) < 0.9, 7, RNG.integers(0, 99, COUNT)),
    "two far values": lambda: np.where(RNG.random(COUNT) < 0.5, 0, (1 << 63) - 1),
    "same upper bits": lambda: (0x3F80 << 48) + RNG.integers(0, 1 << 20, COUNT),
    "extremes": lambda: np.tile(np.uint64([0, 1, (1 << 63), (1 << 64) - 1]), COUNT // 4),
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(multiset, "_CHUNK_BYTES", 1 << 14)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["F8_E4M3", "F16", "BF16", "F32", "F64"])
def test_a_tensor_larger_than_the_memory_has_the_vid_of_its_sorted_words(tmp_path, dtype, shape):
    width = DTYPES[dtype].word_bytes
    words = (SHAPES[shape]().astype(np.uint64) >> (64 - 8 * width)).astype(f"<u{width}")
    kinds = {"F8_E4M3": ml_dtypes.float8_e4m3fn, "BF16": ml_dtypes.bfloat16}
    array = words.view(kinds.get(dtype, f"<f{width}"))
    (tmp_path / "m.safetensors").write_bytes(safetensors.numpy.save({"w": array}))
    head = b"\x11mfp1" + struct.pack("<HQ", DTYPES[dtype].code, len(words))
    expected = hashlib.sha256(head + np.sort(words).tobytes()).digest()
    with open_model(tmp_path / "m.safetensors") as model:
        assert model.tensors[0].dtype == dtype
        for budget in (1, 1 << 17, 1 << 30):
            made = multiset.deep_ids(model, [0], 1, lambda _done: None, budget=budget)
            assert made[0].vid == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_no_part_that_is_sorted_at_once_is_larger_than_its_share(tmp_path, shape):
    words = SHAPES[shape]().astype(np.uint64)
    (tmp_path / "m.safetensors").write_bytes(safetensors.numpy.save({"w": words.view(np.float64)}))
    share = 1 << 15
    with open_model(tmp_path / "m.safetensors") as model:
        stream = multiset._Stream(model, model.tensors[0], 8)
        parts = [part.copy() for part in multiset._sorted_parts(stream, share)]
    assert np.array_equal(np.concatenate(parts), np.sort(words))
    assert max(part.nbytes for part in parts) <= share


def test_a_tensor_larger_than_the_memory_budget_stays_within_it(tmp_path):
    # In a process of its own, because peak memory is counted for a process's whole life.
    code = """
import resource, sys
from ledger.fingerprint import multiset
from ledger.tensors.model import open_model
with open_model(sys.argv[1]) as model:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    budget = int(sys.argv[2])
    multiset.deep_ids(model, [0], 1, lambda done: None, budget=budget)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10)
"""
    size, budget = 128 << 20, 96 << 20
    path = tmp_path / "m.safetensors"
    array = np.random.default_rng(1).random(size // 4, np.float32)
    path.write_bytes(safetensors.numpy.save({"w": array}))
    del array
    run = subprocess.run(
        [sys.executable, "-c", code, str(path), str(budget)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout) < budget
    path.unlink()
