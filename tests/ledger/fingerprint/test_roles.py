"""Matrices that lie in one tensor, stacked or interleaved, are tested one by one."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.fingerprint.compare import compare
from ledger.fingerprint.roles import roles_of
from ledger.tensors.opening import open_weights
from ledger.tensors.values import FloatView

EXPERTS, UNITS, WIDTH = 6, 96, 64


def layers(seed, count=2):
    rng = np.random.default_rng(seed)
    return {
        f"layers.{n}.experts.{which}": rng.standard_normal(shape).astype(np.float32)
        for n in range(count)
        for which, shape in (
            ("up_proj", (EXPERTS, UNITS, WIDTH)),
            ("down_proj", (EXPERTS, WIDTH, UNITS)),
        )
    }


def tuned(made, seed=9):
    rng = np.random.default_rng(seed)
    return {
        n: w + (w.std() / 4 * rng.standard_normal(w.shape)).astype("f4") for n, w in made.items()
    }


def stacked(made):
    return made


def reordered(made):
    """The experts in another order, the same in each layer."""
    return {name: w[[4, 2, 0, 5, 1, 3]].copy() for name, w in made.items()}


def apart(made):
    """One tensor for each expert, as other formats have them."""
    return {
        name.replace("experts", f"experts.{e}"): w[e].copy()
        for name, w in made.items()
        for e in range(EXPERTS)
    }


def unnamed(made):
    return {f"t{number}": w for number, w in enumerate(made.values())}


def layers_in_one(made):
    """All layers stacked once more, as scanned models keep them."""
    return {
        which: np.stack([w for name, w in made.items() if which in name])
        for which in ("up_proj", "down_proj")
    }


def held(tmp_path, ours, theirs):
    save_file(ours, tmp_path / "ours.safetensors")
    save_file(theirs, tmp_path / "theirs.safetensors")
    with (
        open_weights(tmp_path / "ours.safetensors") as mine,
        open_weights(tmp_path / "theirs.safetensors") as other,
    ):
        return compare(mine, other, threads=1)


@pytest.mark.parametrize("form", [stacked, reordered, apart, unnamed, layers_in_one])
def test_stacked_experts_are_found_whatever_form_theirs_have(tmp_path, form):
    made = held(tmp_path, layers(1), form(tuned(layers(1))))
    assert made.verdict == "derived"
    assert made.lineage.log10_p_counted < -100
    four = [m for m in made.lineage.matrices if m.ours.startswith("layers.0.experts.up_proj[")]
    assert len(four) == 4
    assert all(m.order.in_place == UNITS for m in made.lineage.matrices)
    other = held(tmp_path, layers(1), form(layers(2)))
    assert other.verdict == "nothing found"
    assert other.lineage.log10_p >= -6
    places = [m for m in other.lineage.matrices if not m.aligned]
    assert len(places) == len(made.lineage.matrices)
    assert other.lineage.tried > made.lineage.tried > 100  # and what is asked last


def test_experts_kept_apart_are_found_in_a_stack(tmp_path):
    made = held(tmp_path, apart(layers(1)), tuned(layers(1)))
    assert made.verdict == "derived"
    assert held(tmp_path, apart(layers(1)), layers(2)).lineage.log10_p >= -6


def plain(seed):
    return {name.replace("experts.", ""): w[0].copy() for name, w in layers(seed, 3).items()}


def paired(made):
    rng = np.random.default_rng(3)
    return {
        name: np.stack([w, rng.standard_normal(w.shape).astype(np.float32)], axis=-1)
        for name, w in made.items()
    }


def folded(made):
    return {name: w.reshape(len(w), -1, 2) for name, w in made.items()}


@pytest.mark.parametrize("form", [paired, folded])
def test_units_in_planes_or_in_folded_rows_are_found(tmp_path, form):
    made = held(tmp_path, plain(1), form(tuned(plain(1))))
    assert made.verdict == "derived"
    other = held(tmp_path, plain(1), form(plain(2)))
    assert other.verdict == "nothing found"
    assert other.lineage.log10_p >= -6


def test_pairs_of_ours_are_found_as_plain_matrices(tmp_path):
    assert held(tmp_path, paired(plain(1)), tuned(plain(1))).verdict == "derived"
    assert held(tmp_path, paired(plain(1)), plain(2)).lineage.log10_p >= -6


def test_a_matrix_of_a_stack_is_read_from_its_own_place(tmp_path):
    """Plain and block-quantised: what the test reads is what the file holds there."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    for name, w in layers(1).items():
        packed = gguf.quantize(w, gguf.GGMLQuantizationType.Q8_0)
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(f"{name}.exps", packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(layers(1), tmp_path / "m.safetensors")
    for file in ("m.gguf", "m.safetensors"):
        with open_weights(tmp_path / file) as model:
            views = roles_of(model).units
            assert len(views) == 16
            for view in views:
                number = int(view.part[1:-1])
                values = FloatView(model).values(view.info)[number]
                some = np.arange(3, 40, 5), np.arange(2, 60, 7)
                wanted = values.T if view.columns else values
                assert np.array_equal(view.read(model, *some), wanted[np.ix_(*some)])
