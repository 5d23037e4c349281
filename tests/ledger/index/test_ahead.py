"""Ranges read ahead come in order, whole, and of a length that suits what is in them."""

from __future__ import annotations

import threading

import pytest

from ledger.errors import ChainUnavailable, RpcRefused
from ledger.index.ahead import DEPTH, FIRST_BLOCKS, MAX_BLOCKS, MOST_LOGS, ReadAhead
from ledger.index.blocks import Header, Log, Span


def span(first, last, logs=0):
    headers = [Header(n, bytes(32), bytes(32), 0, 0) for n in range(first, last + 1)]
    log = Log(first, 0, 0, b"", b"", 0, "", b"", b"", b"", None, ())
    return Span(headers, [log] * logs, {})


def drain(ahead, first, final):
    taken = []
    while first <= final:
        taken.append(ahead.take(first, final))
        first = taken[-1].last + 1
    ahead.close()
    return taken


def test_ranges_come_in_order_and_leave_no_block_out():
    order = threading.Lock()
    read = []

    def reading(first, last):
        with order:
            read.append((first, last))
        return span(first, last, 1500)

    taken = drain(ReadAhead(reading), 7, 1234)
    assert [block.number for part in taken for block in part.headers] == list(range(7, 1235))
    assert sorted(read) == [(part.first, part.last) for part in taken]


def test_sparse_ranges_grow_and_crowded_ones_shrink():
    sparse = ReadAhead(span)
    assert drain(sparse, 0, 50_000)[-2].last
    assert sparse.blocks == MAX_BLOCKS
    crowded = ReadAhead(lambda first, last: span(first, last, 300 * (last - first + 1)))
    taken = drain(crowded, 0, 2000)
    assert crowded.blocks < FIRST_BLOCKS
    assert all(len(part.logs) <= MOST_LOGS for part in taken[DEPTH + 2 :])


def test_an_error_is_raised_in_its_turn_and_the_next_range_is_half_as_long():
    def reading(first, last):
        if first <= 250 <= last and last - first > 10:
            raise ChainUnavailable("too much")
        return span(first, last, 1500)

    ahead, first, failures = ReadAhead(reading), 0, 0
    taken = []
    while first <= 999:
        try:
            taken.append(ahead.take(first, 999))
        except ChainUnavailable:
            failures += 1
            continue
        first = taken[-1].last + 1
    ahead.close()
    assert failures >= 3
    assert [block.number for part in taken for block in part.headers] == list(range(1000))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Log response size exceeded. this block range should work: [0x64, 0x6d]", 10),
        ("query returned more than 10000 results", FIRST_BLOCKS // 2),
        ("this block range should work: [0x0, 0x6d]", FIRST_BLOCKS // 2),
        ("this block range should work: [0x64, 0xffffff]", FIRST_BLOCKS // 2),
    ],
)
def test_a_range_that_the_endpoint_suggests_is_taken(message, expected):
    def refuse(first, last):
        raise RpcRefused("refused", rpc_code=-32602, rpc_message=message)

    ahead = ReadAhead(refuse)
    with pytest.raises(RpcRefused):
        ahead.take(100, 100_000)
    assert ahead.blocks == expected
    ahead.close()


def test_what_was_read_ahead_of_another_place_is_dropped():
    read = []

    def reading(first, last):
        read.append(first)
        return span(first, last, 1500)

    ahead = ReadAhead(reading)
    ahead.take(0, 10_000)
    assert ahead.take(50, 10_000).first == 50
    # A head that fell back: nothing beyond it is handed out.
    assert ahead.take(150, 180).last == 180
    assert ahead.take_ready() is None
    ahead.close()
