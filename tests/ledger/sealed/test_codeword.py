"""Code words are the same everywhere, drawn as defined, and hidden by their hash."""

import importlib.util
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import LedgerError, LimitExceeded, UsageError
from ledger.ids import Address, Digest, LicenseId
from ledger.sealed.cells import CellKeys, CellRow, CellTable, ReleasedCells, records_hash
from ledger.sealed.codeword import (
    CodeParameters,
    CodeWord,
    biases,
    code_commitment,
    code_word,
)
from ledger.sealed.codeword_tables import DISTRIBUTIONS

ROOT = Path(__file__).parents[3]
VECTORS = ROOT / "tests" / "vectors" / "variants"
HALF = 1 << 63
KEY = bytes(range(32))
HOLDER = Address(bytes([7]) * 20)


def raw(text):
    return bytes.fromhex(text[2:])


def vectors(kind):
    loaded = [(path.stem, json.loads(path.read_text())) for path in sorted(VECTORS.glob("*.json"))]
    chosen = [pytest.param(value, id=name) for name, value in loaded if value["kind"] == kind]
    assert chosen, f"no vectors of kind {kind}"
    return chosen


@pytest.mark.parametrize("vector", vectors("word"))
def test_words_are_the_stated_ones(vector):
    parameters = CodeParameters(vector["count"], vector["colluders"])
    word = code_word(
        parameters,
        raw(vector["code_key"]),
        LicenseId(int(vector["license"])),
        Address(raw(vector["holder"])),
        vector["tenure"],
    )
    drawn = biases(parameters, raw(vector["code_key"]))
    assert [f"0x{one:016x}" for one in drawn] == vector["biases"]
    assert "0x" + word.packed().hex() == vector["packed"]
    assert "0x" + word.salt.hex() == vector["salt"]
    assert str(word.hash()) == vector["code_hash"]
    commitment = code_commitment(parameters, raw(vector["code_key"]), raw(vector["key_salt"]))
    assert str(commitment) == vector["code_commit"]


@pytest.mark.parametrize("vector", vectors("cells"))
def test_released_cells_are_held_against_the_table(vector):
    table = CellTable(tuple(CellRow(*(Digest(raw(one)) for one in row)) for row in vector["table"]))
    assert (str(table.root()) == vector["variant_root"]) is vector["root_holds"]
    try:
        cells = ReleasedCells.from_bytes(bytearray(raw(vector["released"])), vector["count"])
        table.check(cells)
        outcome = None
    except LedgerError as error:
        outcome = error.code
    assert outcome == vector["error"]


def test_the_tables_are_what_their_definition_says():
    path = ROOT / "scripts" / "make_code_tables.py"
    spec = importlib.util.spec_from_file_location("make_code_tables", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for order, table in DISTRIBUTIONS.items():
        assert module.table(order) == table


@pytest.mark.parametrize("order", sorted(DISTRIBUTIONS))
def test_the_distributions_are_symmetric_and_whole(order):
    cumulative, values = DISTRIBUTIONS[order]
    assert len(values) == order == len(cumulative) + 1
    assert list(values) == sorted(values)
    for low, high in zip(values, reversed(values), strict=True):
        assert abs(low + high - (1 << 64)) <= 1
    for low, high in zip(cumulative, reversed(cumulative), strict=True):
        assert abs(low + high - (1 << 64)) <= 1


@pytest.mark.parametrize(
    ("order", "known"),
    [
        (2, [(0.21132, 0.5)]),
        (3, [(0.11270, 0.33201), (0.5, 0.33598)]),
        (4, [(0.06943, 0.24833), (0.33001, 0.25167)]),
    ],
)
def test_they_are_those_that_nuida_et_al_print(order, known):
    cumulative, values = DISTRIBUTIONS[order]
    edges = [0, *cumulative, 1 << 64]
    for place, (bias, share) in enumerate(known):
        assert values[place] / 2**64 == pytest.approx(bias, abs=2e-5)
        assert (edges[place + 1] - edges[place]) / 2**64 == pytest.approx(share, abs=2e-5)


def test_bits_follow_their_biases():
    parameters = CodeParameters(4096, 8)
    drawn = biases(parameters, KEY)
    words = [code_word(parameters, KEY, LicenseId(n), HOLDER, 0).bits for n in range(200)]
    for value in DISTRIBUTIONS[4][1]:
        cells = [cell for cell, bias in enumerate(drawn) if bias == value]
        assert len(cells) > 700
        ones = sum(word[cell] for word in words for cell in cells) / (200 * len(cells))
        assert ones == pytest.approx(value / 2**64, abs=0.01)


words = st.builds(
    CodeWord, st.binary(max_size=40).map(lambda b: bytes(x & 1 for x in b)).filter(len),
    st.binary(min_size=32, max_size=32),
)  # fmt: skip


@given(words)
def test_words_come_back_from_their_bytes(word):
    assert CodeWord.unpack(len(word.bits), word.packed(), word.salt) == word


@given(words, st.data())
def test_any_other_word_has_another_hash(word, data):
    place = data.draw(st.integers(0, len(word.bits) - 1))
    bits = bytearray(word.bits)
    bits[place] ^= 1
    assert CodeWord(bytes(bits), word.salt).hash() != word.hash()
    assert CodeWord(word.bits, bytes(31) + b"x").hash() != word.hash()
    longer = CodeWord(word.bits + b"\0", word.salt)
    assert longer.hash() != word.hash()


@given(st.integers(0, 2**64 - 1), st.binary(min_size=20, max_size=20), st.integers(0, 2**64 - 1))
@settings(max_examples=30)
def test_license_holder_and_tenure_each_change_the_word(license_id, holder, tenure):
    parameters = CodeParameters(256, 2)

    def made(number, who, when):
        return code_word(parameters, KEY, LicenseId(number), Address(who), when)

    first = made(license_id, holder, tenure)
    assert first == made(license_id, holder, tenure)
    others = {
        made(license_id ^ 1, holder, tenure),
        made(license_id, bytes([holder[0] ^ 1]) + holder[1:], tenure),
        made(license_id, holder, tenure ^ 1),
    }
    assert len(others | {first}) == 4


def test_what_no_code_has_is_refused():
    for count, colluders in ((0, 2), (4097, 2), (8, 0), (8, 17)):
        with pytest.raises(LimitExceeded):
            CodeParameters(count, colluders)
    with pytest.raises(UsageError):
        biases(CodeParameters(8, 2), bytes(31))
    with pytest.raises(LimitExceeded):
        CodeWord.unpack(7, b"\x01", bytes(32))
    with pytest.raises(LimitExceeded):
        CodeWord.unpack(8, b"\x01\x00", bytes(32))


def test_neither_keys_nor_words_show_in_a_repr():
    keys = CellKeys(bytearray(range(128)))
    word = code_word(CodeParameters(2, 2), KEY, LicenseId(1), HOLDER, 0)
    cells = ReleasedCells(word, keys.chosen(word))
    for shown in (repr(keys), repr(word), repr(cells)):
        assert "\\x" not in shown
        assert len(shown) < 60
    rows = CellTable.of(keys, [records_hash(Digest(bytes(32)), Digest(bytes(32)))] * 2)
    rows.check(cells)
    cells.wipe()
    assert not any(cells.data)
