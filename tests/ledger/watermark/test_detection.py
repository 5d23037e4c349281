"""What a suspect shows of a mark, and that chance shows nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from watermark_world import make_small, watermark, written

from ledger.watermark import statistics
from ledger.watermark.statistics import THRESHOLD, Tally, blind, informed, log10_tests


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wm")
    return watermark(make_small(folder, layers=4), folder)


@settings(max_examples=200)
@given(st.integers(1, 14), st.integers(0, 2**32))
def test_the_bound_is_never_below_the_true_probability(count, seed):
    """Over all 2^n sign patterns, exactly."""
    rng = np.random.default_rng(seed)
    u = (rng.standard_normal(count) * rng.lognormal(0, 2, count)).astype(np.float64)
    patterns = ((np.arange(2**count)[:, None] >> np.arange(count)) & 1) * 2 - 1
    totals = patterns @ u
    seen = totals[rng.integers(0, len(totals))]
    true = (totals >= seen - 1e-9).mean()
    assert Tally(seen, float((u * u).sum())).log10_p >= math.log10(true) - 1e-9


def test_wrong_keys_behave_as_hoeffding_says(made, tmp_path):
    """Of 200 keys, none has a bound that one in a million would have."""
    zs = []
    for n in range(200):
        key = n.to_bytes(32, "big")
        look = made.look(made.marked, key=key).looks[0]
        zs.append(look.total.z)
        assert look.log10_p > -6
    assert abs(np.mean(zs)) < 0.3
    assert 0.8 < np.std(zs) < 1.2


@pytest.mark.parametrize("fault", ["nan", "inf", "huge", "zero rows", "constant"])
def test_odd_weights_neither_crash_nor_convince(made, tmp_path, fault):
    arrays = made.clean()
    rng = np.random.default_rng(2)
    for target in made.record.targets:
        w = arrays[target.name]
        chosen = rng.random(w.shape) < 0.2
        match fault:
            case "nan":
                w[chosen] = np.nan
            case "inf":
                w[chosen] = np.inf
            case "huge":
                w[chosen] = 3e38
            case "zero rows":
                w[::2] = 0
            case "constant":
                w[:] = 7
    for how in (False, True):
        found = made.look_at(arrays, tmp_path, informed=how)
        assert not found.there
        assert math.isfinite(found.log10_p)


def test_a_marked_copy_with_odd_weights_is_still_found(made, tmp_path):
    arrays = made.arrays()
    for target in made.record.targets:
        arrays[target.name][::7] = np.nan
        arrays[target.name][1::7, ::3] = 3e38
    assert made.look_at(arrays, tmp_path, informed=True).there


def test_one_marked_matrix_in_another_model_is_found(made, tmp_path):
    arrays = made.clean()
    name = made.record.targets[0].name
    rng = np.random.default_rng(5)
    for target in made.record.targets:
        arrays[target.name] = rng.standard_normal(target.shape).astype(np.float32)
    arrays[name] = made.arrays()[name]
    found = made.look_at(arrays, tmp_path, informed=True)
    assert found.there


def test_renamed_tensors_are_found_by_order_without_the_original(tmp_path):
    """Eight times the weights, because without the original a small model shows too little."""
    rng = np.random.default_rng(4)
    path = tmp_path / "big.safetensors"
    shape = (1536, 1024)
    weights = {f"b{n}.w": rng.standard_normal(shape).astype(np.float32) for n in range(3)}
    save_file(weights, path)
    made = watermark(path, tmp_path)
    renamed = {f"z.{name}": value for name, value in made.arrays().items()}
    found = made.look_at(renamed, tmp_path)
    assert found.there
    assert found.best.way == "by order"


def test_every_look_is_paid_for_whether_it_was_made_or_not():
    assert log10_tests(36, 1) == pytest.approx(math.log10(8 * 37) + 40 * math.log10(2))
    assert log10_tests(36, 1000) == pytest.approx(log10_tests(36, 1) + 3)
    assert pytest.approx(-38.53, abs=0.01) == THRESHOLD
    assert statistics.KINDS >= 6


def test_rows_are_judged_alike_at_any_scale():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((8, 64)).astype(np.float32)
    home = rng.standard_normal((8, 64)).astype(np.float32)
    signs = rng.choice([-1.0, 1.0], rows.shape).astype(np.float32)
    assert blind(rows.copy(), signs).t == pytest.approx(blind(rows * 1000, signs).t, rel=1e-4)
    plain = informed(rows.copy(), home, signs)
    scaled = informed(rows * np.float32(1000), home * np.float32(1000), signs)
    assert plain.t == pytest.approx(scaled.t, rel=1e-3, abs=1e-3)


def test_a_suspect_in_double_precision_is_read(made, tmp_path):
    arrays = {
        name: v.astype(np.float64) if v.dtype == np.float32 else v
        for name, v in made.arrays().items()
    }
    assert made.look(written(arrays, tmp_path), informed=True).there


def test_a_long_sum_of_equal_values_does_not_drift():
    values = np.full(1 << 25, 0.3, np.float32)
    exact = float(values[0]) ** 2 * values.size
    assert statistics._dot(values, values) == pytest.approx(exact, rel=3e-5)
