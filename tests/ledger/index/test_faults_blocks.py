"""Blocks and receipts that contradict themselves or each other cost no row.

Faults of group 3, and the receipts that decide on logs.
"""

from __future__ import annotations

import importlib
import random
import re
from typing import Any

import pytest

world: Any = importlib.import_module("index_world")
chains: Any = importlib.import_module("chain_world")


def some(change: Any, of: int = 3) -> Any:
    """Every third block is changed."""
    return world.of_blocks(
        lambda block: change(block) if int(block["number"], 16) % of == 0 else block
    )


def lacking(name: str) -> Any:
    return lambda block: {k: v for k, v in block.items() if k != name}


BLOCKS = {
    "null": some(lambda block: None),
    "of another parent": some(lambda block: block | {"parentHash": "0x" + "22" * 32}),
    "of another parent, hashed again": some(
        lambda block: chains.forged(block, parentHash="0x" + "22" * 32)
    ),
    "of another number": some(lambda block: block | {"number": hex(int(block["number"], 16) + 1)}),
    "without a hash": some(lacking("hash")),
    "without a time": some(lacking("timestamp")),
    "without a bloom": some(lacking("logsBloom")),
    "a bloom of a few bytes": some(lambda block: block | {"logsBloom": "0x00"}),
    "with a number that is none": some(lambda block: block | {"number": "latest"}),
    "with a number beyond any": some(lambda block: block | {"number": "0x" + "f" * 64}),
    "a hash in its place": some(lambda block: block["hash"]),
}

SAID = {
    "null": "has no block",
    "of another parent": "does not follow",
    "of another parent, hashed again": "does not follow|with another hash",
    "of another number": "asked for block",
    "without a hash": "no usable block: .* `hash`",
    "without a time": "no usable block: .* `timestamp`",
    "without a bloom": "no usable block: .* `logsBloom`",
    "a bloom of a few bytes": "no usable logsBloom",
    "with a number that is none": "no usable number",
    "with a number beyond any": "no usable number",
    "a hash in its place": "no usable block: Expected `object",
}
"""By which of its checks the index tells a lie."""


@pytest.mark.parametrize("lie", BLOCKS)
def test_blocks_that_are_not_as_blocks_are_cost_no_row(stand, lie):
    stand.chain.grow(20)
    stand.catch_up()
    stand.chain.grow(9, busy=0.4)
    stand.endpoint.change = BLOCKS[lie]
    stand.steps(6)
    assert re.search(SAID[lie], stand.errors[0].message)
    stand.check_so_far()
    stand.endpoint.heal()
    stand.catch_up()
    stand.check()


def test_a_block_that_is_null_and_then_present(stand):
    stand.chain.grow(20)
    asked: list[int] = []

    def change(block: dict[str, Any]) -> Any:
        asked.append(1)
        return None if len(asked) % 7 == 0 else block

    stand.endpoint.change = world.of_blocks(change)
    stand.catch_up(tries=1000)
    stand.endpoint.heal()
    stand.check()


@pytest.mark.parametrize("method", ["eth_getLogs", "eth_getBlockByNumber", "eth_getBlockReceipts"])
def test_one_batch_answered_from_two_forks(stand, method):
    stand.chain.grow(30)
    stand.catch_up()
    stand.chain.grow(6)
    other = stand.chain.reorg(6)
    stand.endpoint.route = lambda question, view: other if question["method"] == method else view
    stand.steps(4)
    stand.endpoint.heal()
    stand.catch_up()
    stand.check()


def test_every_request_answered_from_one_of_two_forks_by_chance(stand):
    stand.chain.grow(30)
    stand.catch_up()
    stand.chain.grow(6)
    other = stand.chain.reorg(6, 7)
    chance = random.Random(1)
    stand.endpoint.route = lambda question, view: other if chance.random() < 0.3 else view
    stand.steps(30)
    stand.endpoint.heal()
    stand.catch_up()
    stand.check()


def test_view_calls_answered_from_another_fork(stand):
    stand.chain.grow(30)
    stand.catch_up()
    other = stand.chain.reorg(10, 11)
    stand.endpoint.route = lambda question, view: (
        other if question["method"] == "eth_call" else view
    )
    stand.steps(12)
    stand.endpoint.heal()
    stand.catch_up()
    stand.check()


@pytest.mark.parametrize("gone", ["withdrawalsRoot", "blobGasUsed", "baseFeePerGas"])
def test_a_header_that_lacks_a_field_of_its_fork_proves_nothing(stand, gone):
    stand.chain.grow(20)
    stand.endpoint.change = lambda question, result: (
        lacking(gone)(result) if question["method"] == "eth_getBlockByHash" else result
    )
    stand.steps(3)
    assert "prove nothing" in stand.errors[0].message
    stand.endpoint.heal()
    stand.catch_up()
    stand.check()


RECEIPTS = {
    "null": lambda receipts: None,
    "none": lambda receipts: [],
    "one left out": lambda receipts: receipts[1:],
    "logs left out": lambda receipts: [r | {"logs": r["logs"][:-1]} for r in receipts],
    "another order": lambda receipts: receipts[::-1],
    "a log of another value": lambda receipts: [
        r | {"logs": [x | {"data": x["data"] + "00"} for x in r["logs"]]} for r in receipts
    ],
    "failed": lambda receipts: [r | {"status": "0x0"} for r in receipts],
    "without logs": lambda receipts: [
        {k: v for k, v in r.items() if k != "logs"} for r in receipts
    ],
    "no receipts at all": lambda receipts: ["0x"] * len(receipts),
}


@pytest.mark.parametrize("lie", RECEIPTS.values(), ids=RECEIPTS)
def test_receipts_that_do_not_lead_to_the_header_are_not_believed(stand, lie):
    # Events that need no other: what is half believed is stored, and seen to be half.
    story = stand.chain.story
    for _ in range(8):
        stand.chain.grow(transactions=[story.anchor(None, 0) + story.anchor(None, 0)] * 2)

    def change(question: dict[str, Any], result: Any) -> Any:
        if question["method"] == "eth_getLogs":
            return []
        return lie(result) if question["method"] == "eth_getBlockReceipts" else result

    stand.endpoint.change = change
    stand.steps(3)
    assert stand.errors
    stand.check_so_far()
    stand.endpoint.heal()
    stand.catch_up()
    stand.check()


def test_another_block_with_receipts_of_its_own_proves_nothing_about_ours(stand):
    stand.chain.grow(20)
    other = stand.chain.reorg(20, 21).blocks

    def change(question: dict[str, Any], result: Any) -> Any:
        if question["method"] == "eth_getBlockByHash":
            return other[int(result["number"], 16)].header
        if question["method"] == "eth_getBlockReceipts":
            return other[int(question["params"][0], 16)].receipts
        return [] if question["method"] == "eth_getLogs" else result

    stand.chain.drop(1)
    stand.endpoint.change = change
    stand.steps(3)
    assert "another block" in stand.errors[0].message
    stand.check_so_far()
    stand.endpoint.heal()
    stand.catch_up()
    stand.check()


def test_an_endpoint_that_shows_one_block_in_two_forms_is_no_witness_of_a_reorganisation(stand):
    stand.chain.grow(20)
    stand.catch_up()
    other = stand.chain.reorg(5, 6)
    asked: list[int] = []

    def route(question: dict[str, Any], view: Any) -> Any:
        walking = question["method"] == "eth_getBlockByNumber" and question["params"][0] == "0x14"
        if walking:
            asked.append(1)
        return other if walking and len(asked) % 2 else view

    stand.endpoint.route = route
    stand.steps(2)
    assert "shows block 20 in two forms" in stand.errors[0].message
    stand.endpoint.heal()
    stand.catch_up()
    stand.check()


def test_an_endpoint_without_block_receipts_gives_them_one_by_one(stand):
    def change(question: dict[str, Any], result: Any) -> Any:
        if question["method"] == "eth_getBlockReceipts":
            raise chains.Refused(-32601, "the method does not exist")
        return [] if question["method"] == "eth_getLogs" else result

    stand.chain.grow(20)
    stand.endpoint.change = change
    stand.catch_up()
    stand.check(clean=False)
    assert "eth_getTransactionReceipt" in stand.endpoint.asked_methods
