"""Hidden units in another order and no embeddings: residual dimensions over aligned features."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ledger.fingerprint.aligned import SHARE, nearest_both_ways, profiles
from ledger.fingerprint.compare import compare
from ledger.fingerprint.lineage import log10_in_place, row_order
from ledger.fingerprint.picture import picture
from ledger.fingerprint.roles import roles_of
from ledger.fingerprint.wording import statements
from ledger.tensors.opening import open_weights

UNITS, WIDTH, LAYERS = 192, 80, 3


def layers(seed, spread=None):
    """Up and down matrices; with `spread`, how heavy the tails are depends on the dimension."""
    rng = np.random.default_rng(seed)
    made = {}
    for n in range(LAYERS):
        for name in ("up", "down"):
            w = rng.standard_normal((UNITS, WIDTH))
            if spread is not None:
                w = np.sign(w) * np.abs(w) ** spread
            made[f"{n}.{name}.weight"] = np.ascontiguousarray(
                w if name == "up" else w.T, np.float32
            )
    return made


def tuned(made, part=0.03, seed=7):
    rng = np.random.default_rng(seed)
    return {
        n: w + (part * w.std() * rng.standard_normal(w.shape)).astype("f4") for n, w in made.items()
    }


def reordered(made, seed=8):
    """The same function: each layer's hidden units in another order."""
    rng = np.random.default_rng(seed)
    out = {}
    for n in range(LAYERS):
        order = rng.permutation(UNITS)
        out[f"{n}.up.weight"] = made[f"{n}.up.weight"][order].copy()
        out[f"{n}.down.weight"] = made[f"{n}.down.weight"][:, order].copy()
    return out


def held(tmp_path, ours, theirs, control=None):
    for name, tensors in (("ours", ours), ("theirs", theirs), ("control", control or ours)):
        save_file(tensors, tmp_path / f"{name}.safetensors")
    with (
        open_weights(tmp_path / "ours.safetensors") as mine,
        open_weights(tmp_path / "theirs.safetensors") as other,
        open_weights(tmp_path / "control.safetensors") as third,
    ):
        return compare(mine, other, threads=1, controls=[third] if control else [])


def test_a_copy_with_reordered_hidden_units_and_no_embeddings_is_derived(tmp_path):
    made = held(tmp_path, layers(1), reordered(tuned(layers(1))), control=layers(3))
    assert made.verdict == "derived"
    assert made.lineage.log10_p_counted < -80
    told = [m for m in made.lineage.matrices if m.aligned and m.order.log10_p < -20]
    assert {m.units for m in told} == {WIDTH}
    best = told[0].order
    assert best.log10_p == pytest.approx(log10_in_place(best.in_place) + np.log10(2 * SHARE))
    assert made.controls[0].log10_p >= -6
    assert any("aligned first, matrices: 8." in said for said in statements(made))
    assert "in place, features aligned" in picture(made)
    # A control of the same origin explains it, and is looked at in the same way.
    same = held(tmp_path, layers(1), reordered(tuned(layers(1))), control=tuned(layers(1), seed=5))
    assert same.controls[0].log10_p < -80


@pytest.mark.parametrize("spread", [None, 3.0])
def test_independent_models_are_left_alone_and_all_pairs_are_counted(tmp_path, spread):
    made = held(tmp_path, layers(1, spread), reordered(layers(2, spread)))
    assert made.verdict == "nothing found"
    assert made.lineage.log10_p >= -6
    # 6 x 6 as they lie, and 4 x 6 over aligned features by rows and as many by columns.
    assert made.lineage.tried == 36 + 48
    assert any(m.aligned for m in made.lineage.matrices)


@pytest.mark.parametrize("steep", [0.2, 1.0, 3.0])
def test_a_trend_that_both_have_along_their_dimensions_is_no_lineage(tmp_path, steep):
    """As of positions that are added to the first dimensions more than to the last."""
    spread = 1 + steep * np.arange(WIDTH) / WIDTH
    made = held(tmp_path, layers(1, spread), reordered(layers(2, spread)))
    assert made.verdict == "nothing found"
    assert made.lineage.log10_p >= -9


def test_aligning_leaves_the_order_of_independent_rows_to_chance():
    """Simulated H0 with features of very different looks, so that many are aligned."""
    rng = np.random.default_rng(11)
    logs = []
    for _ in range(1500):
        scale = rng.lognormal(0, 1, 40)
        a, b = (rng.standard_t(3, (24, 40)) * rng.permutation(scale) for _ in range(2))
        ours, theirs = (np.sort(w.T, axis=1).astype(np.float32) for w in (a, b))
        here, there = nearest_both_ways(ours, theirs)
        places = np.arange(24)
        found = row_order(
            a[:, here].astype(np.float32), b[:, there].astype(np.float32), places, places
        )
        logs.append(found.log10_p)
    for level in (0.1, 0.01, 1e-3):
        most = level * 1500
        assert (np.array(logs) <= np.log10(level)).sum() <= most + 3 * most**0.5


def test_what_is_aligned_does_not_follow_from_the_order_of_rows(tmp_path):
    """The proof's condition: with theirs' rows in another order the same features are aligned."""
    save_file({"a.up": layers(1)["0.up.weight"], "a.down": layers(1)["0.down.weight"]},
              tmp_path / "m.safetensors")  # fmt: skip
    order = np.random.default_rng(1).permutation(WIDTH)
    save_file({"a.up": layers(1)["0.up.weight"][:, order].copy(),
               "a.down": layers(1)["0.down.weight"][order].copy()},
              tmp_path / "n.safetensors")  # fmt: skip
    with (
        open_weights(tmp_path / "m.safetensors") as one,
        open_weights(tmp_path / "n.safetensors") as two,
    ):
        views = [[v for v in roles_of(m).units if v.units == UNITS] for m in (one, two)]
        for a, b in zip(*views, strict=True):
            turned = [
                replace(v, columns=not v.columns, units=v.width, width=v.units) for v in (a, b)
            ]
            every = np.arange(UNITS)
            assert np.array_equal(profiles(one, turned[0], every), profiles(two, turned[1], every))


def test_the_real_model_without_embeddings_is_found_after_reordering_and_rounding(minilm, tmp_path):
    weights = {n: w for n, w in load_file(minilm).items() if w.ndim == 2 and "embeddings" not in n}
    rng = np.random.default_rng(3)
    copy = {
        n: (w + 0.05 * w.std() * rng.standard_normal(w.shape)).astype(np.float16)
        for n, w in weights.items()
    }
    for layer in range(6):
        order = rng.permutation(1536)
        up, down = (
            f"encoder.layer.{layer}.{part}.dense.weight" for part in ("intermediate", "output")
        )
        copy[up], copy[down] = copy[up][order].copy(), copy[down][:, order].copy()
    made = held(tmp_path, weights, copy)
    assert made.exact.learnt == ()
    assert made.verdict == "derived"
    assert made.lineage.log10_p_counted < -100
    # The same with another model's values: each matrix's own, in another order of all.
    other = {n: rng.permutation(w.reshape(-1)).reshape(w.shape) for n, w in copy.items()}
    apart = held(tmp_path, weights, other)
    assert apart.verdict == "nothing found"
    assert apart.lineage.log10_p >= -6
