"""Bounds on scores: never below the true probability, whatever the score is."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.tracing.bounds import Tail, TwoValued, minimum
from ledger.tracing.planning import distribution
from ledger.tracing.scores import symmetric_values


def exact_tail(score, value, words=1):
    """P(S >= value) by enumerating every word."""
    total = 0.0
    one = list(zip(score.p, score.zero, score.one, strict=True)) * words
    for bits in itertools.product((0, 1), repeat=len(one)):
        chosen = [cell[1 + bit] for cell, bit in zip(one, bits, strict=True)]
        if math.fsum(chosen) >= value - 1e-12:
            total += math.prod(
                cell[0] if bit else 1 - cell[0] for cell, bit in zip(one, bits, strict=True)
            )
    return total


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(0.02, 0.98), st.floats(-3, 3), st.floats(-3, 3)),
        min_size=1,
        max_size=8,
    ),
    st.floats(-5, 10),
)
def test_the_bound_is_never_below_the_probability(cells, value):
    score = TwoValued(*(np.array(column) for column in zip(*cells, strict=True)))
    bound = math.exp(Tail(score).log_tail(value, exact=True))
    assert bound >= exact_tail(score, value) * (1 - 1e-9)
    assert math.exp(Tail(score).log_tail(value)) >= bound * (1 - 1e-6)


def test_the_bound_of_two_words_together_holds_too():
    rng = np.random.default_rng(2)
    p = rng.uniform(0.1, 0.9, 5)
    score = TwoValued(p, *symmetric_values(p, 1))
    for value in (1.0, 3.0, 5.0):
        bound = math.exp(Tail(score, words=2).log_tail(value, exact=True))
        assert exact_tail(score, value, 2) <= bound < 1


def test_the_bound_of_all_bits_right_is_exact():
    """With fair bits and unit scores, P(S >= k) = 2^-k; the bound cannot do better and does it."""
    p = np.full(64, 0.5)
    score = TwoValued(p, -np.ones(64), np.ones(64))
    assert Tail(score).log_tail(64.0) == pytest.approx(-64 * math.log(2), rel=1e-4)
    assert Tail(score).log_tail(0.0) == 0.0


@pytest.mark.parametrize("colluders", [2, 4, 8])
def test_a_threshold_is_where_the_bound_is_met(colluders):
    rng = np.random.default_rng(3)
    biases = distribution(colluders)
    p = rng.choice(biases.p, 200, p=biases.weight)
    tail = Tail(TwoValued(p, *symmetric_values(p, 1)))
    at = tail.threshold(math.log(1e-9))
    assert tail.log_tail(at) <= math.log(1e-9) < tail.log_tail(at - 0.1)


def test_no_word_reaches_a_threshold_that_few_cells_cannot_prove():
    p = np.full(20, 0.5)
    tail = Tail(TwoValued(p, -np.ones(20), np.ones(20)))
    assert math.isinf(tail.threshold(math.log(1e-9)))


def test_random_words_pass_a_threshold_no_oftener_than_it_says():
    rng = np.random.default_rng(5)
    biases = distribution(4)
    p = rng.choice(biases.p, 120, p=biases.weight)
    shown = rng.integers(0, 2, 120)
    zero = np.where(shown, symmetric_values(p, 1)[0], symmetric_values(p, 0)[0])
    one = np.where(shown, symmetric_values(p, 1)[1], symmetric_values(p, 0)[1])
    score = TwoValued(p, zero, one)
    words = rng.random((200_000, 120)) < p
    values = np.where(words, one, zero).sum(axis=1)
    for probability in (0.1, 0.01, 1e-3):
        at = Tail(score).threshold(math.log(probability))
        assert (values >= at).mean() <= probability


def test_a_minimum_is_found_between_the_places_looked_at():
    assert minimum(lambda t: (math.log(t) - 0.3) ** 2 - 7) == pytest.approx(-7, abs=1e-9)
