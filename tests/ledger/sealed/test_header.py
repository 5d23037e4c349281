"""Prelude and public part: one byte form, bounded before anything is allocated."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import (
    FormatError,
    LimitExceeded,
    NotSealed,
    SealedFormatError,
    SealedTruncated,
    UnsupportedVersion,
)
from ledger.ids import Address, Digest, ModelId
from ledger.sealed.header import MAX_SEGMENTS, Prelude, PublicPart

PRELUDE = Prelude(2, 20, 200, 5000, 7, Digest(b"\1" * 32), Digest(b"\2" * 32))
PUBLIC = PublicPart(
    ModelId(b"\3" * 32), 31337, Address(b"\xab" * 20), 1, 0, ("https://broker.example",)
)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([1, 2]),
    st.integers(16, 24),
    st.integers(2, 65536),
    st.integers(1, MAX_SEGMENTS - 4),
    st.binary(min_size=32, max_size=32),
)
def test_a_prelude_reads_back_as_written_and_fixes_every_offset(suite, log2, public, count, root):
    index = min(111 + 32 * count, 1 << 30)
    prelude = Prelude(suite, log2, public, index, count, Digest(root), Digest(root))
    assert Prelude.parse(prelude.to_bytes()) == prelude
    assert prelude.payload_offset % 4096 == 0
    assert 0 <= prelude.payload_offset - prelude.payload_header_offset - 74 < 4096
    assert prelude.file_bytes == prelude.payload_offset + count * ((1 << log2) + 32)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 95), st.integers(0, 255))
def test_a_prelude_with_any_other_byte_is_another_prelude_or_refused(at, value):
    data = bytearray(PRELUDE.to_bytes())
    changed = data[at] != value
    data[at] = value
    try:
        parsed = Prelude.parse(bytes(data))
    except FormatError:
        assert changed
    else:
        assert (parsed != PRELUDE) == changed


@pytest.mark.parametrize(
    ("at", "data", "error"),
    [
        (0, b"\x88", NotSealed),
        (8, b"\0\0", UnsupportedVersion),
        (8, b"\0\2", UnsupportedVersion),
        (10, b"\0\0", UnsupportedVersion),
        (10, b"\0\3", UnsupportedVersion),
        (13, b"\x11\0\1", UnsupportedVersion),
        (13, b"\x0d\0\1", UnsupportedVersion),
        (13, b"\x10\0\0", UnsupportedVersion),
        (13, b"\x10\x10\1", UnsupportedVersion),
        (13, b"\x10\x0f\0", LimitExceeded),  # more cells than the index has room for
        (12, b"\x0f", LimitExceeded),
        (12, b"\x19", LimitExceeded),
        (16, b"\xff\xff\xff\xff", LimitExceeded),
        (16, b"\0\0\0\0", LimitExceeded),
        (20, b"\xff\xff\xff\xff", LimitExceeded),
        (20, b"\0\0\0\0", LimitExceeded),
        (24, bytes(8), LimitExceeded),
        (24, b"\x80" + bytes(7), LimitExceeded),
        (24, (MAX_SEGMENTS + 1).to_bytes(8, "big"), LimitExceeded),
    ],
)
def test_a_field_out_of_its_bounds_is_refused(at, data, error):
    prelude = bytearray(PRELUDE.to_bytes())
    prelude[at : at + len(data)] = data
    with pytest.raises(error):
        Prelude.parse(bytes(prelude))


@pytest.mark.parametrize("size", [0, 7, 8, 95])
def test_a_short_prelude_is_refused(size):
    with pytest.raises((NotSealed, SealedTruncated)):
        Prelude.parse(PRELUDE.to_bytes()[:size])


def test_a_public_part_reads_back_as_written():
    assert PublicPart.parse(PUBLIC.to_bytes()) == PUBLIC


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 0},
        {"epoch": True},
        {"epoch": "1"},
        {"chain_id": 1 << 53},
        {"model_id": "0x12"},
        {"registry": "nobody"},
        {"brokers": "https://broker.example"},
        {"brokers": ["x"] * 17},
        {"brokers": ["x" * 513]},
        {"brokers": [1]},
        {"format": "modeldeed/sealed/2"},
        {"note": 1},
    ],
)
def test_a_public_part_with_another_value_or_field_is_refused(change):
    document = json.loads(PUBLIC.to_bytes()) | change
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(SealedFormatError):
        PublicPart.parse(data)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff", b"[" * 60000, b"{} ", b'{"a":NaN}'])
def test_a_public_part_that_is_not_its_json_is_refused(data):
    with pytest.raises(SealedFormatError):
        PublicPart.parse(data)


def test_a_public_part_with_other_spacing_is_refused():
    with pytest.raises(SealedFormatError):
        PublicPart.parse(PUBLIC.to_bytes().replace(b":", b": ", 1))
