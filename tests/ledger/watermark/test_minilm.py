"""The real transformer: every attack of the issue, measured, and what the mark costs.

The key is the same in every run: without the original, what a half merge leaves is near the
threshold, and moves by one in z from key to key.
"""

import ml_dtypes
import numpy as np
import pytest
from minilm_world import embeddings, fine_tuned, path
from safetensors.numpy import load_file, save_file
from watermark_world import watermark

from ledger.watermark.fidelity import agreement
from ledger.watermark.statistics import THRESHOLD
from ledger.watermark.weights import signs_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return watermark(path(), tmp_path_factory.mktemp("minilm"))


def matrices(change):
    def alter(made):
        arrays = made.arrays()
        for target in made.record.targets:
            arrays[target.name] = change(arrays[target.name])
        return arrays

    return alter


def int8(w):
    scale = np.abs(w).max(1, keepdims=True) / 127
    return (np.round(w / scale) * scale).astype(np.float32)


def int4(w):
    x = w.reshape(-1, 32)
    low = x.min(1, keepdims=True)
    scale = (x.max(1, keepdims=True) - low) / 15 + 1e-12
    return (np.round((x - low) / scale) * scale + low).reshape(w.shape).astype(np.float32)


def pruned(share):
    return lambda w: np.where(np.abs(w) < np.quantile(np.abs(w), share), 0, w).astype(np.float32)


def merged(made):
    arrays, clean = made.arrays(), made.clean()
    return {
        name: (v + clean[name]) / 2 if v.dtype == np.float32 else v for name, v in arrays.items()
    }


def overwritten(made):
    """Three more marks, each three times as strong."""
    arrays = made.arrays()
    for n in range(3):
        other = signs_of(b"%032d" % n)
        for target in made.record.targets:
            w = arrays[target.name]
            signs = np.unpackbits(other(target)).astype(np.float32) * 2 - 1
            arrays[target.name] = w + 0.03 * w.std(1, keepdims=True) * signs.reshape(w.shape)
    return arrays


def permuted(made):
    """Feed-forward units in another order, and their next matrix accordingly: the same function."""
    arrays, rng = made.arrays(), np.random.default_rng(3)
    for layer in range(6):
        base = f"encoder.layer.{layer}."
        order = rng.permutation(1536)
        for part in ("weight", "bias"):
            name = f"{base}intermediate.dense.{part}"
            arrays[name] = arrays[name][order]
        arrays[f"{base}output.dense.weight"] = arrays[f"{base}output.dense.weight"][:, order]
    return arrays


def alone(arrays):
    """With nothing left of the other matrices, which are in their places."""
    rng = np.random.default_rng(8)
    return {
        name: rng.permutation(v.ravel()).reshape(v.shape) if ".attention." in name else v
        for name, v in arrays.items()
        if not name.startswith("pooler")
    }


def padded(made):
    """And dummy units among them."""
    arrays, rng = permuted(made), np.random.default_rng(4)
    for layer in range(6):
        base = f"encoder.layer.{layer}."
        wide, out = arrays[f"{base}intermediate.dense.weight"], f"{base}output.dense.weight"
        extra = (rng.standard_normal((200, 384)) * wide.std()).astype(np.float32)
        order = rng.permutation(1736)
        arrays[f"{base}intermediate.dense.weight"] = np.concatenate([wide, extra])[order]
        bias = np.concatenate([arrays[f"{base}intermediate.dense.bias"], np.zeros(200, np.float32)])
        arrays[f"{base}intermediate.dense.bias"] = bias[order]
        silent = np.zeros((384, 200), np.float32)
        arrays[out] = np.concatenate([arrays[out], silent], axis=1)[:, order]
    return arrays


ATTACKS = {
    "none": lambda made: made.arrays(),
    "fp16": matrices(lambda w: w.astype(np.float16)),
    "bf16": matrices(lambda w: w.astype(ml_dtypes.bfloat16)),
    "int8": matrices(int8),
    "int4": matrices(int4),
    "prune 50 %": matrices(pruned(0.5)),
    "prune 70 %": matrices(pruned(0.7)),
    "three more marks": overwritten,
    "50/50 merge": merged,
}
REALIGNED = {
    "permuted units": lambda made: alone(permuted(made)),
    "permuted units and 200 dummies a layer": padded,
    "renamed and transposed": lambda made: {
        f"onnx::MatMul_{n}": v.T if v.ndim == 2 else v for n, v in enumerate(made.arrays().values())
    },
    "prune 50 % of a permuted int4 copy": lambda made: {
        name: pruned(0.5)(int4(v)) if "dense.weight" in name else v
        for name, v in alone(permuted(made)).items()
    },
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_altered_copy_is_found_with_and_without_the_original(made, tmp_path, name):
    suspect = ATTACKS[name](made)
    blind = made.look_at(suspect, tmp_path)
    found = made.look_at(suspect, tmp_path, informed=True)
    assert blind.log10_p <= THRESHOLD, blind.log10_p
    assert found.of("informed") <= 3 * THRESHOLD


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("permuted units", marks=pytest.mark.deep),
        "permuted units and 200 dummies a layer",
        "renamed and transposed",
        pytest.param("prune 50 % of a permuted int4 copy", marks=pytest.mark.deep),
    ],
)
def test_a_copy_in_another_order_is_put_right_by_the_original(made, tmp_path, name):
    suspect = REALIGNED[name](made)
    found = made.look_at(suspect, tmp_path, informed=True)
    assert found.there
    assert found.best.way == "realigned"


def test_units_in_another_order_hide_the_mark_from_a_plain_look(made, tmp_path):
    """What realigning is for."""
    found = made.look_at(alone(permuted(made)), tmp_path, informed=True)
    assert (found.there, found.best.way) == (True, "realigned")
    looks = {(look.kind, look.way): look for look in found.looks}
    name = "encoder.layer.0.intermediate.dense.weight"
    for kind in ("blind", "informed"):
        assert looks[kind, "by name"].log10_p > -8
        assert looks[kind, "realigned"].found[name].tally.log10_p < -3
    assert looks["informed", "realigned"].found[name].tally.log10_p < -1000


@pytest.mark.torch
@pytest.mark.parametrize(
    "rate",
    [2e-4, pytest.param(2e-5, marks=pytest.mark.deep), pytest.param(1e-3, marks=pytest.mark.deep)],
)
def test_a_fine_tuned_copy_is_found(made, tmp_path, rate):
    pytest.importorskip("torch")
    tuned = fine_tuned(made.arrays(), steps=60, rate=rate)
    assert made.look_at(tuned, tmp_path).log10_p <= THRESHOLD
    assert made.look_at(tuned, tmp_path, informed=True).there


@pytest.mark.torch
def test_the_mark_hardly_moves_what_the_model_says(made):
    pytest.importorskip("torch")
    told = agreement(made.original, made.marked, lambda file: embeddings(load_file(file)))
    assert told.mean_cosine >= 0.9995
    assert told.min_cosine >= 0.999


def test_neither_the_original_nor_another_model_carries_it(made, tmp_path):
    assert made.look(made.original).log10_p == 0
    assert made.look(made.original, informed=True).log10_p == 0
    rng = np.random.default_rng(9)
    other = {
        name: rng.permutation(v.ravel()).reshape(v.shape) if v.dtype == np.float32 else v
        for name, v in made.clean().items()
    }
    save_file(other, tmp_path / "other.safetensors")
    assert made.look(tmp_path / "other.safetensors", informed=True).log10_p == 0


def test_no_wrong_key_comes_near(made):
    """Here 60, so that it is quick; the benchmark tries 1,000."""
    bounds = [made.look(made.marked, key=n.to_bytes(32, "big")).best.log10_p for n in range(1, 61)]
    assert min(bounds) > -40 * np.log10(2)
