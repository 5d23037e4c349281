"""Attacks on cells: conspiring brokers, and holders who collect words."""

import hashlib
import itertools
import math
import secrets

import pytest

from ledger.broker import shamir
from ledger.broker.cellshares import Place, ReleasedPart, deal_cells, join_cells
from ledger.errors import LimitExceeded, SharesRejected
from ledger.ids import Address, LicenseId
from ledger.sealed.cells import CellKeys, ReleasedCells
from ledger.sealed.codeword import CodeParameters, CodeWord, biases, code_word

HOLDER, LICENSE = Address(b"\7" * 20), LicenseId.parse("1.1")


def other(word):
    return CodeWord(bytes(1 - bit for bit in word.bits), word.salt)


@pytest.fixture(scope="module")
def made():
    parameters, code_key = CodeParameters(24, 2), secrets.token_bytes(32)
    keys = CellKeys.create(24)
    parts, roots = deal_cells(keys, 3, 5)
    return keys, parts, roots, code_word(parameters, code_key, LICENSE, HOLDER, 0)


def test_t_less_one_conspirators_get_no_form_that_an_honest_broker_keeps_back(made):
    """They have all of their parts and one honest broker's release; the other form stays closed."""
    keys, parts, _, word = made
    honest = ReleasedPart.of(Place(3, 5, 3), parts[2], word)
    wanted = keys.chosen(other(word))
    for pair in itertools.combinations((0, 1, 3, 4), 2):
        mine = {n + 1: parts[n].chosen(other(word)) for n in pair}
        assert shamir.at_zero(mine) != wanted
        # The honest share of the word's form in place of the one that is missing.
        assert shamir.at_zero({**mine, 3: honest.cells.data}) != wanted
        # Its leaf hashes of the other form are hashes of 32 random bytes.
        assert shamir.at_zero({**mine, 3: bytearray(honest.others)}) != wanted


def test_a_part_of_the_other_form_under_the_licenses_word_is_found_out(made):
    _, parts, roots, word = made
    place = Place(3, 5, 2)
    for flipped in range(24):
        bits = bytearray(word.bits)
        bits[flipped] ^= 1
        lie = CodeWord(bytes(bits), word.salt)
        # It says the license's word and hands over another form's share.
        part = ReleasedPart(ReleasedCells(word, parts[1].chosen(lie)), place.others(parts[1], word))
        with pytest.raises(SharesRejected):
            part.check(place, roots[1])
        # It hands over what it says, which is another word, and joins with nobody.
        part = ReleasedPart.of(place, parts[1], lie)
        part.check(place, roots[1])
        honest = ReleasedPart.of(Place(3, 5, 1), parts[0], word)
        with pytest.raises(SharesRejected, match="several code words"):
            join_cells([(1, honest), (2, part)])


def test_a_part_counts_in_its_own_place_alone_and_for_its_own_numbers(made):
    _, parts, roots, word = made
    part = ReleasedPart.of(Place(3, 5, 2), parts[1], word)
    for place in (Place(3, 5, 1), Place(2, 5, 2), Place(3, 4, 2)):
        with pytest.raises(SharesRejected):
            part.check(place, roots[1])
    for cells in (23, 25):
        with pytest.raises(LimitExceeded):
            ReleasedPart.from_bytes(part.to_bytes(), cells)


def test_of_t_less_one_shares_every_secret_is_as_likely(made):
    """For any two shares of three there is a third for each secret: nothing is learnt."""
    shares = shamir.split(bytes(range(32)), 3, 5)
    first, second = shares[0].value, shares[1].value
    seen = set()
    for byte in range(256):
        third = bytearray([byte]) * 32
        seen.add(shamir.at_zero({1: first, 2: second, 3: third})[0])
    assert len(seen) == 256


# -- held visible


def traced(parameters, code_key, words, copy):
    """The sum of a license's symmetric scores, in standard deviations of an innocent's."""
    total = 0.0
    for bias, *bits, shown in zip(biases(parameters, code_key), *words, copy, strict=True):
        up = math.sqrt((2**64 - bias) / bias)
        one, zero = (up, -1 / up) if shown else (-up, 1 / up)
        total += sum(one if bit else zero for bit in bits)
    return total / math.sqrt(len(words) * parameters.count)


def test_a_holder_who_cancels_grants_often_enough_is_not_traced():
    """Held visible: each `cancelGrants` brings another word, and nothing bounds how many.

    The tracing adds the scores of one license's words (ADR 0028), which is good for c of them.
    With 8c words one holder has both forms of nearly all cells and leaves no trace; it costs gas.
    """
    parameters, code_key = CodeParameters(1024, 4), b"\5" * 32
    coins = hashlib.shake_256(b"coins").digest(1024)

    def z(count):
        words = [code_word(parameters, code_key, LICENSE, HOLDER, n).bits for n in range(count)]
        copy = [
            column[0] if len(set(column)) == 1 else coin & 1
            for column, coin in zip(zip(*words, strict=True), coins, strict=True)
        ]
        return traced(parameters, code_key, words, copy)

    assert z(1) > 20
    assert z(4) > 10
    assert z(32) < 4
