"""Identifiers: their text forms, their checks, and that unlike ones never compare equal."""

import pytest
from eth_utils import keccak, to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import UsageError
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, LicenseId, ModelId, keccak256


@given(st.binary(min_size=32, max_size=32))
def test_a_digest_reads_back_what_it_prints(raw):
    assert Digest.parse(str(Digest(raw))) == Digest(raw)
    assert Digest.parse(raw.hex()) == Digest(raw)
    assert bytes(Digest(raw)) == raw


@given(st.binary(max_size=300))
def test_keccak_is_the_one_ethereum_uses(data):
    assert keccak256(data) == keccak256(memoryview(data)) == keccak(data)


@given(st.binary(min_size=20, max_size=20))
def test_an_address_prints_its_checksum_as_other_tools_do(raw):
    address = Address(raw)
    assert str(address) == to_checksum_address(raw)
    for text in (str(address), "0x" + raw.hex(), raw.hex().upper()):
        assert Address.parse(text) == address


def test_an_address_with_one_letter_in_the_wrong_case_is_refused():
    good = str(Address(bytes(range(100, 120))))
    place = next(i for i, c in enumerate(good) if i > 1 and c.isalpha())
    bad = good[:place] + good[place].swapcase() + good[place + 1 :]
    with pytest.raises(UsageError, match="checksum") as caught:
        Address.parse(bad)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["", "0x", "0x00", "zz" * 32, "00" * 31, "00" * 33, " " + "00" * 32, "0x0x" + "0" * 62,
     "00 " * 32, "０" * 64],
)  # fmt: skip
def test_what_is_no_digest_is_refused_with_a_hint(text):
    with pytest.raises(UsageError) as caught:
        Digest.parse(text)
    assert caught.value.hint
    with pytest.raises(UsageError):
        Address.parse(text)


@pytest.mark.parametrize("raw", [b"", bytes(31), bytes(33), bytearray(32), "0" * 32, 7])
def test_a_digest_is_made_of_32_bytes_only(raw):
    with pytest.raises(UsageError):
        Digest(raw)
    with pytest.raises(UsageError):
        Address(raw)


def test_a_model_id_is_not_just_any_digest():
    assert ModelId(bytes(32)) != Digest(bytes(32))
    assert ModelId.parse("00" * 32) == ModelId(bytes(32))


def test_zero_means_none():
    assert ZERO_DIGEST.is_zero
    assert not Digest(b"\0" * 31 + b"\1").is_zero
    assert ZERO_ADDRESS.raw == bytes(20)


def test_digests_sort_by_their_bytes_and_shorten_for_people():
    assert Digest(b"\1" * 32) < Digest(b"\2" * 32)
    assert Digest(bytes(range(32))).short == "0x00010203…1c1d1e1f"


@given(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1))
def test_a_license_id_reads_back_both_of_its_forms(plan, serial):
    made = LicenseId.of(plan, serial)
    assert (made.plan, made.serial) == (plan, serial)
    assert LicenseId.parse(str(made)) == LicenseId.parse(str(int(made))) == made


@pytest.mark.parametrize("text", ["", ".", "1.", ".1", "-1", "1.2.3", "x", "1.4294967296", "²"])
def test_what_is_no_license_id_is_refused_with_a_hint(text):
    with pytest.raises(UsageError) as caught:
        LicenseId.parse(text)
    assert caught.value.hint


def test_a_license_id_beyond_64_bits_is_refused():
    with pytest.raises(UsageError):
        LicenseId(1 << 64)
    with pytest.raises(UsageError):
        LicenseId.parse("9" * 5000)


def test_a_digest_of_the_right_length_with_a_wrong_character_is_told_so():
    with pytest.raises(UsageError, match=r"is not a digest: one of its characters is no hex digit"):
        Digest.parse("0x" + "1" * 63 + "g")
    with pytest.raises(UsageError, match=r"is not a digest$"):
        Digest.parse("0x12")
