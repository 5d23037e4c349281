"""Embedding: what changes in a file, and what does not."""

import json
import os

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from watermark_world import make_small, record_of, watermark

from ledger.errors import ClaimMismatch, TensorFileError, UnsupportedModel, UsageError
from ledger.fingerprint.exact import fingerprint
from ledger.tensors.model import open_model
from ledger.watermark.detection import detect
from ledger.watermark.weights import embed, marked_rows, row_spread, targets_of

KEY = b"k" * 32


def header(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return data[: 8 + size]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_only_the_weights_of_targets_change(tmp_path, dtype):
    made = watermark(make_small(tmp_path, dtype=dtype), tmp_path)
    names = {target.name for target in made.record.targets}
    assert names == {f"layer.{n}.{part}.weight" for n in (0, 1) for part in ("up", "down", "query")}
    assert header(made.marked) == header(made.original)
    before, after = load_file(made.original), load_file(made.marked)
    for name, plain in before.items():
        same = plain.tobytes() == after[name].tobytes()
        assert same == (name not in names), name
        assert plain.dtype == after[name].dtype


@pytest.mark.parametrize(
    ("dtype", "least"), [(np.float32, 0.999), (np.float16, 0.98), (ml_dtypes.bfloat16, 0.8)]
)
def test_the_mark_survives_its_own_rounding(tmp_path, dtype, least):
    made = watermark(make_small(tmp_path, dtype=dtype, layers=4), tmp_path)
    assert least < made.embedded.realised < 1.2
    assert made.embedded.change == pytest.approx(0.01, rel=0.35)
    assert made.look(made.marked, informed=True).there


def test_shards_and_side_files_of_a_folder_are_copied_as_they_are(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for part in (1, 2):
        tensors = {f"layer.{part}.up.weight": rng.standard_normal((96, 64)).astype(np.float32)}
        save_file(tensors, folder / f"model-0000{part}-of-00002.safetensors")
    (folder / "config.json").write_text(json.dumps({"hidden": 64}))
    record = record_of(folder)
    with open_model(folder) as model:
        embed(model, tmp_path / "marked", record.targets, KEY, 0.01)
    out = tmp_path / "marked"
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in folder.iterdir())
    assert (out / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    with open_model(out) as made, open_model(folder) as plain:
        assert [i.name for i in made.tensors] == [i.name for i in plain.tensors]
        assert fingerprint(made).content_root != fingerprint(plain).content_root


def test_nothing_is_left_behind_by_a_model_that_changes_meanwhile(tmp_path):
    path = make_small(tmp_path / "in")
    record = record_of(path)
    out = tmp_path / "out"
    out.mkdir()
    with open_model(path) as model:
        os.utime(path, ns=(1, 1))
        with pytest.raises(TensorFileError):
            embed(model, out / "m.safetensors", record.targets, KEY, 0.01)
    assert list(out.iterdir()) == []


def test_nothing_is_written_over_and_no_other_model_is_marked(tmp_path):
    path = make_small(tmp_path / "a")
    record = record_of(path)
    other = tmp_path / "other.safetensors"
    save_file({"layer.0.up.weight": np.ones((64, 64), np.float32)}, other)
    with open_model(path) as model, pytest.raises(UsageError):
        embed(model, other, record.targets, KEY, 0.01)
    with open_model(other) as model, pytest.raises(ClaimMismatch):
        embed(model, tmp_path / "out.safetensors", record.targets, KEY, 0.01)


def test_embeddings_heads_vectors_and_odd_types_carry_nothing(tmp_path):
    rng = np.random.default_rng(1)
    held = [
        "model.embed_tokens.weight", "token_embd.weight", "wte.weight", "output.weight",
        "lm_head.weight", "classifier.weight", "bert.embeddings.position_embeddings.weight",
    ]  # fmt: skip
    marked = ["encoder.layer.0.output.dense.weight", "blk.0.attn_output.weight"]
    tensors = {n: rng.standard_normal((64, 64)).astype(np.float32) for n in held + marked}
    tensors["long"] = rng.standard_normal((32, 1024)).astype(np.float32)
    tensors["double"] = rng.standard_normal((64, 64))
    tensors["tied"] = tensors[marked[0]]
    path = tmp_path / "m.safetensors"
    save_file(tensors, path)
    with open_model(path) as model:
        found = {target.name for target in targets_of(fingerprint(model))}
    assert found == set(marked)
    save_file({"bias": rng.standard_normal(64).astype(np.float32)}, path)
    with open_model(path) as model, pytest.raises(UnsupportedModel):
        targets_of(fingerprint(model))


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from(["f4", "f2", "bf16"]), st.floats(0.0005, 0.1))
def test_each_weight_moves_by_its_sign_or_stays(seed, kind, epsilon):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(ml_dtypes.bfloat16) if kind == "bf16" else np.dtype(kind)
    stored = (rng.standard_normal((4, 40)) * 10.0 ** rng.integers(-3, 3)).astype(dtype)
    stored[rng.random(stored.shape) < 0.1] = 0
    stored[0, 0] = rng.choice([np.nan, np.inf, 1.0])
    rows = stored.astype(np.float32)
    signs = rng.choice([-1.0, 1.0], rows.shape).astype(np.float32)
    out = marked_rows(stored, rows, signs, row_spread(rows), epsilon)
    with np.errstate(all="ignore"):
        change = np.nan_to_num((out.astype(np.float64) - rows.astype(np.float64)) * signs)
    assert (change >= 0).all()
    assert (out[stored == 0] == 0).all()
    if not np.isfinite(rows[0]).all():
        assert out[0].tobytes() == stored[0].tobytes()
    if kind == "f4":
        assert (change[1:][stored[1:] != 0] > 0).all()


def onnx_model(path, weights):
    onnx = pytest.importorskip("onnx", reason="install requirements-dev.lock")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="first")],
        "g",
        [helper.make_tensor_value_info("x", kind, [1, 256])],
        [helper.make_tensor_value_info("y", kind, [1, 96])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    onnx.save_model(helper.make_model(graph), path)


def gguf_model(path, weights):
    gguf = pytest.importorskip("gguf", reason="install requirements-dev.lock")
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_tensor("blk.0.ffn_up.weight", weights.astype(np.float16))
    writer.add_tensor("token_embd.weight", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(("suffix", "make"), [("onnx", onnx_model), ("gguf", gguf_model)])
def test_other_formats_keep_every_byte_but_the_marked_ones(tmp_path, suffix, make):
    weights = np.random.default_rng(6).standard_normal((256, 96)).astype(np.float32)
    path, out = tmp_path / f"m.{suffix}", tmp_path / f"marked.{suffix}"
    make(path, weights)
    record = record_of(path)
    assert len(record.targets) == 1
    with open_model(path) as model:
        embed(model, out, record.targets, KEY, 0.01)
        (info,) = [i for i in model.tensors if i.name == record.targets[0].name]
        with open_model(out) as marked:
            assert detect(marked, record.targets, KEY, model).there
    before, after = path.read_bytes(), out.read_bytes()
    end = info.offset + info.nbytes
    assert before[: info.offset] == after[: info.offset]
    assert before[end:] == after[end:]
    assert before[info.offset : end] != after[info.offset : end]
