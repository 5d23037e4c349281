"""The row-order test: what its bounds promise, whatever the matrices hold."""

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.fingerprint.lineage import (
    combined,
    drawn,
    is_table,
    log10_in_order,
    log10_in_place,
    order_of_its_own,
    row_order,
    standardised,
    without_waves,
)

PAIRS = 10_000 if os.environ.get("DEED_DEEP") else 1_500


def normal(seed, rows=64, columns=48):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def held(ours, theirs):
    return row_order(ours, theirs, np.arange(len(ours)), np.arange(len(theirs)))


def test_the_same_matrix_is_in_place_row_by_row():
    found = held(normal(1), normal(1))
    assert (found.in_place, found.in_order, found.rows) == (64, 64, 64)
    assert found.log10_p == pytest.approx(log10_in_place(64) + math.log10(2))
    assert found.cosine == pytest.approx(1, abs=1e-5)
    assert not found.fitted


def test_bounds_are_those_of_the_page():
    assert 10 ** log10_in_place(3) == pytest.approx(1 / 6)
    assert log10_in_place(0) == 0
    assert 10 ** log10_in_order(10, 8) == pytest.approx(45 / math.factorial(8))
    assert log10_in_order(100, 2) == 0  # more ways than orders: no evidence
    assert combined([-30.0, -2.0], 100) == pytest.approx(-28)
    assert combined([], 5) == 0
    assert combined([-1.0], 100) == 0


def test_independent_matrices_stay_within_the_bound():
    """Simulated H0: at every level the observed rate stays below it, within its interval."""
    rng = np.random.default_rng(7)
    logs = []
    for _ in range(PAIRS):
        a, b = rng.standard_normal((2, 24, 12)).astype(np.float32)
        logs.append(held(a, b).log10_p)
    logs = np.array(logs)
    for level in (0.1, 0.01, 1e-3):
        observed = (logs <= math.log10(level)).sum()
        room = 3 * math.sqrt(PAIRS * level * (1 - level))
        assert observed <= PAIRS * level + room
    # The test is no constant: matrices in place do not look like that.
    assert logs.min() > -6


def test_matrices_with_common_structure_stay_within_the_bound():
    """Hubs, heavy tails and a strong common direction do not make independent orders agree."""
    rng = np.random.default_rng(8)
    common = rng.standard_normal(16)
    small = 0
    for _ in range(PAIRS // 3):
        scale = rng.lognormal(0, 1.5, (2, 24, 1))
        pair = rng.standard_t(2, (2, 24, 16)) * scale + 3 * scale * common
        a, b = pair.astype(np.float32)
        small += held(a, b).log10_p <= -2
    assert small <= PAIRS // 3 * 0.01 + 3 * math.sqrt(PAIRS // 3 * 0.01) + 1


@given(st.integers(0, 2**32 - 1), st.integers(20, 60))
@settings(max_examples=40)
def test_it_sees_order_and_nothing_else(seed, rows):
    """Scales and signs of units change nothing; another order of theirs destroys it."""
    rng = np.random.default_rng(seed)
    a = normal(seed, rows)
    changed = a * rng.choice([-3.0, 0.5], (rows, 1)).astype(np.float32)
    assert held(a, changed).in_place == rows
    order = rng.permutation(rows)
    moved = held(a, a[order])
    assert moved.in_place == int((order == np.arange(rows)).sum())


def test_units_inserted_dropped_and_padded_leave_the_order():
    a = normal(3, 200)
    rng = np.random.default_rng(4)
    places = np.sort(rng.integers(0, 200, 50))
    more = np.insert(a, places, rng.standard_normal((50, 48)), axis=0).astype(np.float32)
    assert held(a, more).in_order >= 195
    assert held(a, more).log10_p < -300
    fewer = a[np.sort(rng.permutation(200)[:120])]
    assert held(a, fewer).log10_p < -90
    front = np.concatenate([normal(5, 30), a])
    assert held(a, front).log10_p < -300


@pytest.mark.parametrize("amount", [0.1, 0.5, 1.0])
def test_noise_and_pruning_leave_the_order(amount):
    a = normal(6, 300, 128)
    noisy = a + amount * normal(7, 300, 128)
    assert held(a, noisy).log10_p < -400
    cut = np.where(np.abs(a) > np.quantile(np.abs(a), 0.9 * amount), a, 0)
    assert held(a, cut).log10_p < -400


def test_duplicates_match_nothing():
    a = normal(8)
    assert held(a, np.repeat(a[:1], 64, axis=0)).in_place == 0
    doubled = np.concatenate([a, a])
    assert held(a, doubled).rows == 0


def test_rows_without_meaning_are_left_out():
    a, b = normal(9), normal(9)
    b[0] = np.nan
    b[1, 3] = np.inf
    b[2] = 0
    b[3] = 5
    found = held(a, b)
    assert found.in_place == 60
    assert found.rows <= 64
    for bad in (np.full((64, 48), np.nan), np.zeros((64, 48)), np.full((64, 48), 2.5)):
        nothing = held(a, bad.astype(np.float32))
        assert (nothing.rows, nothing.log10_p) == (0, 0.0)


def test_huge_and_tiny_values_do_not_overflow():
    a = normal(10)
    assert held(a * np.float32(1e37), a * np.float32(1e-37)).in_place == 64


def test_an_order_made_to_fit_is_marked():
    """Somebody with both models reorders an unrelated one: p is small, and does not count."""
    a, b = normal(11, 512, 256), normal(12, 512, 256)
    alike = np.abs(standardised(a) @ standardised(b).T)
    found = held(a, b[alike.argmax(axis=1)])
    assert held(a, b).log10_p > -6
    assert found.fitted
    chosen = alike.max(axis=1).argsort()[::-1][:64]  # only the units that fit best
    picked = held(a[np.sort(chosen)], b[alike.argmax(axis=1)][np.sort(chosen)])
    assert picked.fitted
    assert not held(a, a + normal(13, 512, 256)).fitted


def test_tables_show_an_order_and_units_do_not():
    place, step = np.arange(512)[:, None], np.arange(128)[None, :]
    waves = np.sin(place / 1e4 ** (step / 128)).astype(np.float32)
    assert order_of_its_own(waves) > 8
    assert is_table(waves)
    assert abs(order_of_its_own(normal(14, 512, 128))) < 5
    assert not is_table(normal(14, 512, 128))
    cosines = np.cos(np.pi * (step[:, :128] + 0.5) * np.arange(128)[:, None] / 128)
    assert is_table(cosines.astype(np.float32))


def test_rows_are_drawn_by_the_key_alone():
    one, same, other = (drawn(key, "rows", 5000, 2048) for key in (b"k", b"k", b"l"))
    assert (one == same).all()
    assert len(np.intersect1d(one, other)) < 1000
    assert (np.diff(one) > 0).all()
    assert (drawn(b"k", "rows", 100, 2048) == np.arange(100)).all()


def test_units_in_the_opposite_order_are_found_and_said_to_be():
    found = held(normal(1), normal(1)[::-1])
    assert found.turned
    assert (found.in_place, found.in_order, found.rows) == (0, 64, 64)
    assert found.log10_p == pytest.approx(log10_in_order(64, 64) + math.log10(4))
    assert not held(normal(1), normal(1)).turned
    assert held(normal(1), normal(2)[::-1]).log10_p > -6


def sylvester(n):
    made = np.ones((1, 1), np.float32)
    while len(made) < n:
        made = np.block([[made, made], [made, -made]]).astype(np.float32)
    return made


def paley(prime):
    """A Hadamard matrix of prime + 1 rows that is no product of smaller ones."""
    squares = {i * i % prime for i in range(1, prime)}
    sign = [0, *(1 if i in squares else -1 for i in range(1, prime))]
    made = np.ones((prime + 1, prime + 1))
    made[1:, 0] = -1
    made[1:, 1:] = [[sign[(j - i) % prime] or 1 for j in range(prime)] for i in range(prime)]
    assert (made @ made.T == (prime + 1) * np.eye(prime + 1)).all()
    return made.astype(np.float32)


def test_hadamard_matrices_are_tables_and_learnt_signs_are_not():
    signs = np.sign(normal(3, 256, 256))
    assert not is_table(signs)
    for table in (sylvester(256), sylvester(256) * signs[:, :1], sylvester(256) / 16, paley(103)):
        assert is_table(table)
    assert is_table(sylvester(256) / 16 + normal(4, 256, 256) / 100)
    assert is_table(sylvester(1024)[:512, :512])


def test_what_is_left_without_waves_is_what_was_learnt():
    """Two tables of sines or of Hadamard, changed apart: the likeness goes with the waves."""
    place, step = np.arange(256)[None, :], np.arange(64)[:, None]
    for table in (np.sin(place / 1e4 ** (step / 64)), sylvester(256)[64:128]):
        a, b = table + normal(1, 64, 256), table + normal(2, 64, 256)
        assert held(a, b).log10_p < -20
        # One of the two bases shows that it was waves; in the other the likeness stays.
        assert (
            max(
                held(*pair).log10_p for pair in zip(without_waves(a), without_waves(b), strict=True)
            )
            > -3
        )
        tuned = a + normal(3, 64, 256) / 4
        left = zip(without_waves(a), without_waves(tuned), strict=True)
        assert all(held(*pair).log10_p < -80 for pair in left)
    assert without_waves(normal(1, 64, 32)) == ()
