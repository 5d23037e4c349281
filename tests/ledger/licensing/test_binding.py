"""Bindings by signature: signed whole, read strictly."""

import contextlib
import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.chain.wallet import dev_wallet
from ledger.errors import (
    LedgerError,
    LimitExceeded,
    ManifestError,
    SignatureInvalid,
    UnsupportedVersion,
)
from ledger.ids import Address, Digest, LicenseId
from ledger.licensing.binding import MAX_BYTES, RuntimeBinding, SignedBinding, parse

LEDGER = Address(b"\x11" * 20)
HOLDER = dev_wallet("holder")
TIMES = st.integers(0, (1 << 40) - 1)
BINDINGS = st.builds(
    RuntimeBinding,
    license=st.builds(LicenseId.of, st.integers(1, 1 << 31), st.integers(1, 1 << 31)),
    runtime_key=st.binary(min_size=32, max_size=32).map(Digest),
    grant_nonce=st.integers(0, 1 << 50),
    nonce=st.integers(0, (1 << 256) - 1),
    deadline=st.integers(1, (1 << 40) - 1),
    until=TIMES,
    measurement=st.binary(min_size=20, max_size=20),
)
ASKED = RuntimeBinding(LicenseId.of(7, 1), Digest(b"\5" * 32), 0, 9, 1_900_000_000)


def signed(asked):
    signature = asked.sign(HOLDER, chain_id=31337, ledger=LEDGER)
    return SignedBinding(31337, LEDGER, asked, signature)


@given(BINDINGS)
def test_a_binding_survives_its_file_and_verifies(asked):
    made = signed(asked)
    read = parse(json.dumps(made.to_json()).encode())
    read.verify(HOLDER.address)
    assert read == made


@given(BINDINGS, BINDINGS)
def test_no_field_of_a_signed_binding_can_be_exchanged(one, other):
    made = signed(one)
    for field in fields(RuntimeBinding):
        value = getattr(other, field.name)
        if value == getattr(one, field.name):
            continue
        with pytest.raises(SignatureInvalid):
            replace(made, binding=replace(one, **{field.name: value})).verify(HOLDER.address)


@given(st.data())
def test_a_changed_file_is_refused_by_one_of_our_errors(data):
    text = json.dumps(signed(ASKED).to_json()).encode()
    place = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != text[place]))
    with contextlib.suppress(LedgerError):
        read = parse(text[:place] + bytes([byte]) + text[place + 1 :])
        read.verify(HOLDER.address)
        assert read.binding == ASKED


def test_the_signature_of_anyone_but_the_holder_names_both():
    with pytest.raises(SignatureInvalid, match=r"holds license 7\.1") as caught:
        signed(ASKED).verify(dev_wallet("rival").address)
    assert str(HOLDER.address) in caught.value.message


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"type": "modeldeed/voucher"}, ManifestError),
        ({"version": 2}, UnsupportedVersion),
        ({"more": 1}, ManifestError),
        ({"signature": "0x"}, ManifestError),
        ({"signature": "0xAB"}, ManifestError),
        ({"signature": "0x" + "00" * 9000}, ManifestError),
        ({"chain": {"id": 0, "ledger": str(LEDGER)}}, ManifestError),
        ({"binding": {}}, ManifestError),
    ],
)
def test_what_is_no_binding_is_refused(change, error):
    with pytest.raises(error):
        parse(signed(ASKED).to_json() | change)


def test_a_file_that_is_too_long_is_refused():
    with pytest.raises(LimitExceeded):
        parse(b" " * (MAX_BYTES + 1))
