from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.watermark.answers import THRESHOLD, Score, least_questions, tail


def exact(asked: int, right: int, answers: int) -> Fraction:
    p = Fraction(1, answers)
    return sum(
        (
            math.comb(asked, j) * p**j * (1 - p) ** (asked - j)
            for j in range(max(0, right), asked + 1)
        ),
        Fraction(0),
    )


@given(st.integers(0, 60), st.integers(-2, 60), st.integers(2, 2000))
def test_the_tail_is_the_exact_binomial_one(asked, right, answers):
    if right <= asked:
        assert Fraction(*tail(asked, right, answers)) == exact(asked, right, answers)


@pytest.mark.parametrize(("asked", "answers"), [(4, 2), (3, 3), (5, 2)])
def test_the_tail_is_what_counting_all_outcomes_gives(asked, answers):
    for right in range(asked + 1):
        hits = [sum(a == 0 for a in way) >= right for way in product(range(answers), repeat=asked)]
        assert Fraction(*tail(asked, right, answers)) == Fraction(sum(hits), len(hits))


@given(st.integers(1, 300), st.data(), st.integers(2, 1 << 31), st.integers(1, 1000))
def test_the_logarithm_and_the_decision_agree_with_fractions(asked, data, answers, commitments):
    right = data.draw(st.integers(0, asked))
    score = Score(asked, right, answers, commitments)
    p = exact(asked, right, answers)
    assert score.log10_p == pytest.approx(
        math.log10(p.numerator) - math.log10(p.denominator), rel=1e-9, abs=1e-9
    )
    assert score.there == (p * commitments * 2**40 <= Fraction(1, 2**128))


@given(st.integers(1, 200), st.integers(2, 5000))
def test_one_more_right_answer_never_weakens(asked, answers):
    logs = [Score(asked, right, answers).log10_p for right in range(asked + 1)]
    assert logs == sorted(logs, reverse=True)
    assert logs[0] == 0


@pytest.mark.parametrize(
    ("answers", "least"), [(2, 168), (10, 51), (256, 21), (1000, 17), (1 << 16, 11)]
)
def test_the_fewest_questions_are_those_that_the_specification_names(answers, least):
    assert least_questions(answers) == least
    assert Score(least, least, answers).there
    assert not Score(least - 1, least - 1, answers).there


def test_a_score_of_exactly_the_threshold_counts_and_a_hair_above_does_not():
    assert Score(168, 168, 2).there
    assert Score(168, 168, 2).log10_corrected == pytest.approx(THRESHOLD)
    assert not Score(168, 168, 2, commitments=2).there
    assert Score(169, 169, 2, commitments=2).there
    assert not Score(169, 169, 2, commitments=3).there


def test_a_thousand_commitments_ask_for_more_questions():
    assert least_questions(2, 1000) == 178
    assert least_questions(1000, 1000) == 18
