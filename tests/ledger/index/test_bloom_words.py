"""A log that is left out leaves a bit unexplained."""

from __future__ import annotations

import random

import numpy as np

from ledger.index import bloom
from ledger.index.bloom import bloom_mask, unexplained


def test_a_block_one_of_whose_logs_is_left_out_is_found():
    chance = random.Random(7)
    logs = {
        number: [(b"a" * 20, chance.randbytes(32 * (1 + i % 4))) for i in range(5)]
        for number in range(40)
    }
    blooms = {
        number: bloom_mask(
            *(address for address, _ in held),
            *(t[i : i + 32] for _, t in held for i in range(0, len(t), 32)),
        )
        for number, held in logs.items()
    }
    assert unexplained(blooms, logs) == set()
    cut = {number: held[:-1] if number % 3 == 0 else held for number, held in logs.items()}
    assert unexplained(blooms, cut) == {number for number in logs if number % 3 == 0}
    assert unexplained({1: 0, 2: 4}, {}) == {2}


def test_words_that_are_there_often_or_mix_alike_keep_their_own_bits():
    chance = random.Random(9)
    words = [chance.randbytes(32) for _ in range(40)]
    # Times an odd number, the highest bit stays alone: these two mix alike.
    half = (1 << 63).to_bytes(8, "little")
    alike = [half + bytes(24), bytes(8) + half + bytes(16)]
    for some in (words, words * 3, [*words, *alike], alike * 2):
        for word, bits in zip(some, bloom._places(b"".join(some)), strict=True):
            assert sum(1 << bit for bit in set(bits.tolist())) == bloom_mask(word)
    mixed = [int(np.frombuffer(word, "<u8") @ bloom._MIX) for word in alike]
    assert mixed[0] == mixed[1]
