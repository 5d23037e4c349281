"""The mask of a log's values is what a real node puts in the header."""

from __future__ import annotations

import os

import pytest

from ledger.index.bloom import bloom_mask

pytestmark = pytest.mark.chain


def test_a_real_blocks_bloom_is_the_masks_of_its_logs_and_nothing_else(ledger):
    receipt = ledger.do("Anchors", "anchor", os.urandom(32))
    header = ledger.rpc.block(int(receipt["blockNumber"], 16))
    (entry,) = receipt["logs"]
    values = [bytes.fromhex(text[2:]) for text in (entry["address"], *entry["topics"])]
    assert int.from_bytes(header.logs_bloom, "big") == bloom_mask(*values)
    assert bloom_mask() == 0
    assert bloom_mask(b"a", b"b") == bloom_mask(b"a") | bloom_mask(b"b")
