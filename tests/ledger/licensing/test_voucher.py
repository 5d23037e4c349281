"""Vouchers: signed whole, read strictly."""

import contextlib
import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.chain.wallet import dev_wallet
from ledger.errors import LedgerError, LimitExceeded, ManifestError, SignatureInvalid, UsageError
from ledger.ids import ZERO_DIGEST, Address, Digest
from ledger.licensing import voucher
from ledger.licensing.reference import (
    MAX_CHARACTERS,
    reference_hash,
    reference_nonce,
    reference_subject,
)
from ledger.licensing.voucher import Voucher, parse

VECTORS = sorted((Path(__file__).parents[2] / "vectors" / "voucher").glob("*.json"))
LEDGER = Address(b"\x11" * 20)
LICENSOR = dev_wallet("licensor")
ADDRESSES = st.binary(min_size=20, max_size=20).map(Address)
DIGESTS = st.binary(min_size=32, max_size=32).map(Digest)
TIMES = st.integers(0, (1 << 40) - 1)
VOUCHERS = st.builds(
    Voucher,
    signer=st.just(LICENSOR.address),
    plan=st.integers(1, (1 << 32) - 1),
    to=ADDRESSES,
    plan_digest=DIGESTS,
    nonce=st.integers(0, (1 << 256) - 1),
    deadline=st.integers(1, (1 << 40) - 1),
    market=ADDRESSES,
    not_before=TIMES,
    not_after=TIMES,
    pay_token=ADDRESSES,
    price=st.integers(0, (1 << 96) - 1),
    ext_hash=DIGESTS,
)


def signed(offer):
    return voucher.sign(LICENSOR, offer, chain_id=31337, ledger=LEDGER)


@given(VOUCHERS)
def test_a_voucher_survives_its_file_and_verifies(offer):
    made = signed(offer)
    read = parse(json.dumps(made.to_json()).encode())
    read.verify()
    assert read == made


@given(VOUCHERS, VOUCHERS)
def test_no_field_of_a_signed_voucher_can_be_exchanged(one, other):
    made = signed(one)
    for field in fields(Voucher):
        value = getattr(other, field.name)
        if value == getattr(one, field.name):
            continue
        with pytest.raises(SignatureInvalid):
            replace(made, voucher=replace(one, **{field.name: value})).verify()


@given(VOUCHERS, st.data())
def test_a_changed_file_is_refused_by_one_of_our_errors(offer, data):
    made = signed(offer)
    text = json.dumps(made.to_json()).encode()
    place = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != text[place]))
    with contextlib.suppress(LedgerError):
        read = parse(text[:place] + bytes([byte]) + text[place + 1 :])
        read.verify()
        assert read.voucher == offer


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_bytes_at_all_raise_anything_but_our_errors(raw):
    with pytest.raises(LedgerError):
        parse(raw)


def test_a_contracts_signature_of_any_length_is_kept_for_the_ledger_to_judge():
    vector = json.loads((VECTORS[0].parent / "free.json").read_text())
    document = vector["document"] | {"signature": "0x" + "ab" * 4000}
    read = parse(json.dumps(document).encode())
    assert len(read.signature) == 4000
    with pytest.raises(SignatureInvalid):
        read.verify()


def test_a_value_out_of_its_range_is_not_signed():
    offer = Voucher(LICENSOR.address, 1, LEDGER, ZERO_DIGEST, 0, 1)
    for changes in ({"price": 1 << 96}, {"nonce": 1 << 256}, {"deadline": -1}, {"plan": 1 << 32}):
        with pytest.raises(ManifestError):
            signed(replace(offer, **changes))


def test_a_file_beyond_the_bound_is_not_read():
    with pytest.raises(LimitExceeded):
        parse(b" " * (voucher.MAX_BYTES + 1))


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_vectors(path):
    vector = json.loads(path.read_text())
    try:
        read = parse(json.dumps(vector["document"]).encode())
        read.verify()
    except LedgerError as error:
        outcome = type(error).__name__
    else:
        outcome = "ok"
        assert read.to_json() == vector["document"]
        assert str(read.voucher.digest(read.chain_id, read.ledger)) == vector["digest"]
    assert outcome == vector["expect"]


def test_there_are_vectors():
    assert len(VECTORS) >= 30


def test_a_reference_is_its_exact_text_and_none_is_zero():
    assert reference_hash("") == ZERO_DIGEST
    assert str(reference_hash("order 4711")) == (
        "0x" + hashlib.sha256(b"modeldeed/external-ref/1\0order 4711").hexdigest()
    )
    assert reference_hash("order 4711 ") != reference_hash("order 4711")
    for text in ("x" * (MAX_CHARACTERS + 1), "\udcff"):
        with pytest.raises(UsageError):
            reference_hash(text)


def test_the_nonce_of_a_reference_is_that_of_its_page_and_differs_by_plan():
    ext_hash = reference_hash("order 4711")
    raw = b"modeldeed/reference-nonce/1\0" + bytes([0, 0, 0, 7]) + ext_hash.raw
    assert reference_nonce(7, ext_hash) == int(hashlib.sha256(raw).hexdigest(), 16)
    assert reference_nonce(8, ext_hash) != reference_nonce(7, ext_hash)
    subject = hashlib.sha256(b"modeldeed/reference-subject/1\0" + ext_hash.raw).digest()
    assert reference_subject(ext_hash).raw == subject
