from __future__ import annotations

import hashlib
import math
from collections import Counter
from itertools import islice, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.watermark.draws import Draws, shuffled

BOUNDS = st.one_of(st.integers(1, 1000), st.integers(1, 1 << 63))


def by_hand(seed: bytes, bound: int, count: int) -> list[int]:
    """The rule of the specification, with nothing of the implementation."""
    stream = hashlib.shake_256(seed).digest(8 * 64 * (count + 1))
    words = [int.from_bytes(stream[i : i + 8], "big") for i in range(0, len(stream), 8)]
    return [w % bound for w in words if w < (1 << 64) - ((1 << 64) % bound)][:count]


@given(st.binary(max_size=40), BOUNDS, st.integers(1, 20))
def test_a_draw_is_the_first_word_that_favours_no_number(seed, bound, count):
    wanted = by_hand(seed, bound, count)
    assert Draws(seed).many(count, bound).tolist() == wanted
    one_by_one = Draws(seed)
    assert [one_by_one.below(bound) for _ in range(count)] == wanted


def test_words_that_would_favour_small_numbers_are_left_out():
    # Just above half of the range: almost every second word must go.
    bound = (1 << 63) - 1 - (1 << 61)
    words = [
        int.from_bytes(hashlib.shake_256(b"x").digest(8 * 400)[8 * i : 8 * i + 8], "big")
        for i in range(400)
    ]
    kept = [w for w in words if w < (1 << 64) - ((1 << 64) % bound)]
    assert 400 - len(kept) > 0
    assert Draws(b"x").many(100, bound).tolist() == [w % bound for w in kept[:100]]


@given(st.binary(max_size=40), st.integers(0, 200))
def test_a_shuffle_is_fisher_yates_and_leaves_nothing_out(seed, size):
    draws, textbook = Draws(seed), list(range(size))
    for i in range(size):
        j = i + draws.below(size - i)
        textbook[i], textbook[j] = textbook[j], textbook[i]
    assert list(shuffled(seed, size)) == textbook
    assert sorted(textbook) == list(range(size))


@given(st.binary(max_size=20), st.integers(1, 100), st.data())
def test_the_beginning_of_a_shuffle_is_the_same_however_much_is_taken(seed, size, data):
    part = data.draw(st.integers(0, size))
    assert list(islice(shuffled(seed, size), part)) == list(shuffled(seed, size))[:part]


@pytest.mark.parametrize("size", [2, 3, 4])
def test_every_order_is_as_likely_as_any_other(size):
    runs = 400 * math.factorial(size)
    seen = Counter(tuple(shuffled(b"%d" % i, size)) for i in range(runs))
    assert set(seen) == set(permutations(range(size)))
    chi2 = sum((count - 400) ** 2 / 400 for count in seen.values())
    freedom = math.factorial(size) - 1
    assert chi2 < freedom + 5 * math.sqrt(2 * freedom)
