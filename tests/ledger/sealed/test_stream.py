"""FLOE messages: round trips and what must fail."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import HeaderTampered, SegmentTampered, UsageError
from ledger.sealed.header import MESSAGE_HEADER, RECORD_OVERHEAD
from ledger.sealed.stream import HEADER_BYTES, MAX_SEGMENTS, OVERHEAD, Floe

KEY = bytes(range(32))


def encrypt(floe, data, aad=b"aad"):
    message, header = floe.start(KEY, aad)
    step = floe.segment_bytes - OVERHEAD
    blocks = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
    records = []
    for number, block in enumerate(blocks):
        out = bytearray(len(block) + OVERHEAD)
        message.encrypt_into(number, block, memoryview(out), last=number == len(blocks) - 1)
        records.append(bytes(out))
    return header, records


def decrypt(floe, header, records, aad=b"aad", key=KEY):
    message = floe.open(key, aad, header)
    plain = b""
    for number, record in enumerate(records):
        out = bytearray(max(0, len(record) - OVERHEAD))
        last = number == len(records) - 1
        message.decrypt_into(number, memoryview(record), memoryview(out), last=last)
        plain += out
    return plain


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(33, 120), st.integers(0, 3))
def test_what_is_encrypted_decrypts_to_the_same_bytes(data, segment, rotation):
    floe = Floe(segment, rotation=rotation)
    assert decrypt(floe, *encrypt(floe, data)) == data


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_refused_and_leaves_no_plaintext(data):
    floe = Floe(64)
    header, records = encrypt(floe, b"\xaa" * 80)
    number = data.draw(st.integers(0, len(records) - 1))
    bit = data.draw(st.integers(0, 8 * len(records[number]) - 1))
    altered = bytearray(records[number])
    altered[bit // 8] ^= 1 << bit % 8
    message = floe.open(KEY, b"aad", header)
    out = bytearray(b"\xff" * (len(altered) - OVERHEAD))
    with pytest.raises(SegmentTampered):
        message.decrypt_into(
            number, memoryview(altered), memoryview(out), last=number == len(records) - 1
        )
    assert b"\xaa" * 4 not in out


def test_segments_that_change_places_are_refused():
    floe = Floe(64)
    header, records = encrypt(floe, bytes(96))
    for order in ((1, 0, 2), (0, 2, 1), (0, 0, 2), (0, 1), (0, 1, 2, 2)):
        with pytest.raises(SegmentTampered):
            decrypt(floe, header, [records[number] for number in order])


def test_a_header_binds_key_associated_data_and_parameters():
    floe = Floe(64)
    header, records = encrypt(floe, b"x")
    for refused in (
        lambda: decrypt(floe, header, records, aad=b"other"),
        lambda: decrypt(floe, header, records, key=bytes(32)),
        lambda: decrypt(Floe(65), header, records),
        lambda: decrypt(floe, header[:-1], records),
    ):
        with pytest.raises(HeaderTampered):
            refused()


def test_a_message_is_used_from_many_threads_at_once():
    floe = Floe(4096, rotation=2)
    data = os.urandom(4064 * 40)
    header, records = encrypt(floe, data)
    message = floe.open(KEY, b"aad", header)

    def one(number):
        out = bytearray(len(records[number]) - OVERHEAD)
        record = memoryview(records[number])
        message.decrypt_into(number, record, memoryview(out), last=number == len(records) - 1)
        return bytes(out)

    with ThreadPoolExecutor(8) as pool:
        assert b"".join(pool.map(one, range(len(records)))) == data


def test_a_segment_of_another_size_or_beyond_the_last_is_not_written():
    floe = Floe(64)
    message, _ = floe.start(KEY, b"")
    room = memoryview(bytearray(64))
    for number, size, last in ((0, 31, False), (0, 33, True), (MAX_SEGMENTS, 32, False)):
        with pytest.raises(UsageError):
            message.encrypt_into(number, bytes(size), room[: size + OVERHEAD], last=last)
    with pytest.raises(UsageError):
        Floe(OVERHEAD)


def test_the_container_counts_with_the_cipher_s_overheads():
    assert (MESSAGE_HEADER, RECORD_OVERHEAD) == (HEADER_BYTES, OVERHEAD)
