from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import FormatError, LedgerError, UsageError
from ledger.watermark.generators import Floats, Texture, Tokens, read_generator

SEED = bytes(range(32))
KINDS = [Tokens(1000, 29000, 16), Texture(9, 7, 3, 4), Floats(5)]
TAG = b"modeldeed/trigger-input/1\0"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.ID)
def test_a_generator_survives_its_json_and_makes_the_same_input_from_one_seed(kind):
    again = read_generator(kind.to_json())
    assert again == kind
    assert np.array_equal(again.make(SEED), kind.make(SEED))
    assert not np.array_equal(kind.make(SEED), kind.make(SEED[::-1]))


def test_tokens_are_as_many_and_as_large_as_was_said():
    made = Tokens(1000, 29000, 4096).make(SEED)
    assert (made.dtype, made.shape) == (np.int64, (4096,))
    assert 1000 <= made.min() < 1100
    assert 29900 < made.max() < 30000


def test_floats_are_evenly_spread_exact_and_as_the_rule_says():
    made = Floats(20_000).make(SEED)
    assert (made.dtype, made.shape) == (np.float32, (20_000,))
    raw = hashlib.shake_256(TAG + SEED).digest(8)
    by_hand = [int.from_bytes(raw[i : i + 4], "little") // 256 / 2**23 - 1 for i in (0, 4)]
    assert made[:2].tolist() == by_hand
    counts = np.histogram(made, 20, (-1, 1))[0]
    assert counts.sum() == 20_000
    assert (np.abs(counts - 1000) < 200).all()


@given(st.integers(3, 12), st.integers(1, 12), st.integers(1, 4), st.integers(1, 20))
def test_a_texture_is_fine_noise_on_coarse_squares(height, width, channels, grain):
    if height * width * channels < 8:
        return
    made = Texture(height, width, channels, grain).make(SEED)
    assert (made.dtype, made.shape) == (np.uint8, (height, width, channels))
    rows, columns = -(-height // grain), -(-width // grain)
    fine = height * width * channels
    stream = hashlib.shake_256(TAG + SEED).digest(fine + rows * columns * channels)
    for r in range(height):
        for c in range(width):
            for k in range(channels):
                f = stream[(r * width + c) * channels + k]
                g = stream[fine + ((r // grain) * columns + c // grain) * channels + k]
                assert made[r, c, k] == (f + 3 * g) // 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tokens(0, 2, 63),
        lambda: Tokens(0, 1000, 6),
        lambda: Floats(2),
        lambda: Texture(1, 7, 1),
        lambda: Tokens(0, 1, 100),
        lambda: Tokens(0, 1 << 31, 100),
        lambda: Tokens(-1, 1000, 100),
        lambda: Tokens(0, 1000, (1 << 16) + 1),
        lambda: Floats((1 << 20) + 1),
        lambda: Texture(4096, 4096, 3),
    ],
)
def test_inputs_that_ordinary_use_may_show_or_that_are_too_large_are_refused(make):
    with pytest.raises(UsageError) as caught:
        make()
    assert caught.value.hint


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"id": "words/1"},
        {"id": "floats/2", "length": 64},
        {"id": "floats/1"},
        {"id": "floats/1", "length": 64, "seed": 1},
        {"id": "floats/1", "length": True},
        {"id": "tokens/1", "first": 0, "count": 1 << 40, "length": 8},
        {"id": "texture/1", "height": 0, "width": 9, "channels": 3, "grain": 1},
        {"id": ["floats/1"], "length": 64},
    ],
)
def test_a_generator_that_is_none_is_a_clear_error(document):
    with pytest.raises(LedgerError) as caught:
        read_generator(document)
    assert isinstance(caught.value, FormatError | UsageError)
