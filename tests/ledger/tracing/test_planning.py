"""What a number of cells is proven to carry."""

import math

import numpy as np
import pytest

from ledger.sealed.codeword import CodeParameters
from ledger.tracing.bounds import Tail, TwoValued
from ledger.tracing.planning import (
    MISSED,
    best_colluders,
    distribution,
    guarantee,
    plan,
)
from ledger.tracing.scores import COUNT, VIEWS, symmetric_values


@pytest.mark.parametrize(
    ("cells", "carried"), [(24, 0), (32, 0), (64, 1), (128, 1), (384, 2), (2048, 3), (4096, 5)]
)
def test_more_cells_carry_more_colluders(cells, carried):
    """The table that docs/spec/tracing.md prints."""
    assert plan(CodeParameters(cells, best_colluders(cells))).carried == carried


def test_few_cells_say_that_they_prove_nothing():
    assert "carry no proof" in plan(CodeParameters(24, 2)).sentence


def test_the_sentence_names_all_four_figures():
    sentence = plan(CodeParameters(384, 2)).sentence
    for part in ("k = 384", "c = 2", "epsilon_1 <= 1e-09", "epsilon_2 <="):
        assert part in sentence


@pytest.mark.parametrize("colluders", range(1, 17))
def test_a_distribution_is_one_and_symmetric(colluders):
    biases = distribution(colluders)
    assert biases.weight.sum() == pytest.approx(1)
    assert (biases.p + biases.p[::-1]) == pytest.approx(1)
    assert biases.weight == pytest.approx(biases.weight[::-1])


@pytest.mark.parametrize(("cells", "planned"), [(96, 2), (384, 2), (512, 4)])
def test_the_planned_threshold_is_never_below_the_one_of_a_trace(cells, planned):
    """So what is guaranteed before a leak holds for the threshold that is used after it."""
    rng = np.random.default_rng(cells)
    parameters = CodeParameters(cells, planned)
    biases = distribution(planned)
    at = guarantee(parameters, 1, candidates=100).threshold
    for _ in range(5):
        p = rng.choice(biases.p, cells, p=biases.weight)
        shown = rng.integers(0, 2, cells)
        zero = np.where(shown, symmetric_values(p, 1)[0], symmetric_values(p, 0)[0])
        one = np.where(shown, symmetric_values(p, 1)[1], symmetric_values(p, 0)[1])
        limit = math.log(1e-9) - math.log(100 * COUNT * VIEWS)
        assert Tail(TwoValued(p, zero, one)).threshold(limit) <= at + 1e-6


def strategies(rng):
    """What colluders may make of their words under the marking assumption."""

    def decided(words, free):
        count = words.sum(axis=0)
        out = free(count)
        out[count == 0] = 0
        out[count == len(words)] = 1
        return out

    def interleaving(words):
        return words[rng.integers(0, len(words), words.shape[1]), np.arange(words.shape[1])]

    def halves(words):
        """Each colluder's cells for a stretch, in turn."""
        return words[
            np.arange(words.shape[1]) * len(words) // words.shape[1], np.arange(words.shape[1])
        ]

    return {
        "minority": lambda w: decided(w, lambda n: (2 * n < len(w)).astype(int)),
        "majority": lambda w: decided(w, lambda n: (2 * n > len(w)).astype(int)),
        "all ones": lambda w: decided(w, np.ones_like),
        "all zeros": lambda w: decided(w, np.zeros_like),
        "coin": lambda w: decided(w, lambda n: rng.integers(0, 2, n.shape)),
        "interleaving": interleaving,
        "halves": halves,
        "scapegoat": lambda w: w[0].copy(),
        "alternating": lambda w: decided(w, lambda n: np.arange(len(n)) % 2),
    }


@pytest.mark.parametrize(("cells", "planned", "colluders"), [(64, 2, 1), (384, 2, 2), (2048, 4, 3)])
@pytest.mark.parametrize("name", sorted(strategies(None)))
def test_simulated_colluders_are_named_as_often_as_is_proven(cells, planned, colluders, name):
    rng = np.random.default_rng(sum(map(ord, name)) + cells)
    strategy = strategies(rng)[name]
    biases = distribution(planned)
    proven = guarantee(CodeParameters(cells, planned), colluders)
    assert proven.missed <= MISSED
    missed, rounds = 0, 150
    for _ in range(rounds):
        p = rng.choice(biases.p, cells, p=biases.weight)
        words = (rng.random((colluders, cells)) < p).astype(int)
        shown = strategy(words)
        up, down = np.sqrt((1 - p) / p), np.sqrt(p / (1 - p))
        one, zero = np.where(shown, up, -up), np.where(shown, -down, down)
        values = np.where(words, one, zero).sum(axis=1)
        missed += values.max() < proven.threshold
    assert missed <= rounds * MISSED + 2
