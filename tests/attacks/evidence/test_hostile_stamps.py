"""Hostile DER, PEM and proofs in place of stamps: one error of our tree, soon, and no memory."""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.errors import TimestampInvalid
from ledger.evidence import archive, der
from ledger.evidence.certificates import Certificate, RevocationList, to_pem
from ledger.evidence.timestamp_steps import read_stamps
from ledger.evidence.timestamps import Token
from ledger.ids import Digest

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "evidence"
MEMBERS = archive.parse((FOLDER / "stamped.evidence.zip").read_bytes()).members
STAMPS = {n.removeprefix("timestamps/"): d for n, d in MEMBERS.items() if "timestamps/" in n}
TOKEN = STAMPS["1.tsr"]
READERS = (Token.parse, Certificate.parse, RevocationList.parse)


def tlv(tag, content):
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    width = (size.bit_length() + 7) // 8
    return bytes([tag, 0x80 | width]) + size.to_bytes(width, "big") + content


def refused(reader, data):
    began = time.monotonic()
    with pytest.raises(TimestampInvalid):
        reader(data)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x80",
        b"\x30\x80\x00\x00",
        b"\x30\x81\x05hello",
        b"\x30\x82\x00\x05hello",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x85\x00\x00\x00\x00\x01x",
        b"\x30\xff" + b"\xff" * 127,
        b"\x3f\x81\x01\x00",
        b"\x30\x00",
        b"\x30\x00\x00",
        b"\x31\x00",
        b"\x30" * 60_000,
        tlv(0x30, tlv(0x02, b"\x00" * 40_000)),
        tlv(0x30, tlv(0x06, b"\x80" * 100)),
        tlv(0x30, tlv(0x06, b"\xff" * 50_000)),
    ],
)
def test_malformed_lengths_tags_and_numbers_are_refused(reader, data):
    refused(reader, data)


@pytest.mark.parametrize("reader", READERS)
def test_depth_is_refused_without_recursion(reader):
    data = b"\x05\x00"
    for _ in range(9000):
        data = tlv(0x30, data)
        if len(data) > 60_000:
            break
    refused(reader, data)


def test_numbers_and_names_in_more_bytes_than_needed_are_refused():
    for content in (b"", b"\x00\x01", b"\xff\xff", b"\x01" * 65):
        with pytest.raises(TimestampInvalid):
            der.integer(der.read(tlv(2, content), der.INTEGER))
    for content in (b"", b"\x80\x01", b"\x2a\x80\x01", b"\x2a\x86"):
        with pytest.raises(TimestampInvalid):
            der.identifier(der.read(tlv(6, content), der.OID))
    for text in (
        b"20260230000000Z",
        b"20260101000060Z",
        b"2026010100000Z",
        b"20260101000000.Z",
        b"20260101000000+0100",
        b"20260101000000.1234567Z",
        b"00000101000000Z",
    ):
        with pytest.raises(TimestampInvalid):
            der.token_time(der.read(tlv(0x18, text), der.GENERALIZED_TIME))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_noise_in_a_token_is_refused_or_changes_nothing_it_says(data):
    at = data.draw(st.integers(0, len(TOKEN) - 1))
    cut = data.draw(st.integers(0, 40))
    new = data.draw(st.binary(max_size=40))
    changed = TOKEN[:at] + new + TOKEN[at + cut :]
    contents = Digest(Token.parse(TOKEN).imprint.raw)
    one = {name: of for name, of in STAMPS.items() if name.startswith("1.")}
    try:
        dated = read_stamps({**one, "1.tsr": changed}, contents)
    except TimestampInvalid:
        return
    assert dated.stamps[0].token.content == Token.parse(TOKEN).content


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(STAMPS)), st.binary(max_size=300))
def test_noise_in_place_of_any_stamp_is_refused(name, noise):
    contents = Token.parse(TOKEN).imprint
    with pytest.raises(TimestampInvalid):
        read_stamps({**STAMPS, name: noise}, contents)


def test_too_many_certificates_lists_and_bytes_are_refused():
    contents = Token.parse(TOKEN).imprint
    one = {name: of for name, of in STAMPS.items() if name.startswith("1.")}
    pem = STAMPS["1.pem"]
    for changed in (
        {"1.pem": pem * 4},
        {"1.pem": to_pem("CERTIFICATE", [b"\x30\x00"] * 9)},
        {"1.pem": b"-----BEGIN CERTIFICATE-----\n" * 4000},
        {"1.crl": to_pem("X509 CRL", [b"\x30\x00"] * 17)},
        {"1.crl": b"A" * (5 << 20)},
        {"1.tsr": TOKEN + b"\x00" * 70_000},
        {"3.tsr": TOKEN},
        {"2.pem": pem},
        {"2.crl": STAMPS["1.crl"]},
        {"5.header": bytes(80)},
    ):
        with pytest.raises(TimestampInvalid):
            read_stamps({**one, **changed}, contents)
