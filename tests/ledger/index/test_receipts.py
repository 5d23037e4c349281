"""Receipts prove a real node's logs, and an audit of history finds what the hints cannot show."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from sqlalchemy import text

from ledger.errors import ChainUnavailable
from ledger.index.audit import audit
from ledger.index.contracts import Contracts
from ledger.index.database import writing
from ledger.index.fetch import read_range
from ledger.index.receipts import Rule

world: Any = importlib.import_module("index_world")
chains: Any = importlib.import_module("chain_world")


@pytest.mark.chain
def test_a_real_nodes_receipts_prove_what_it_says_of_its_logs(ledger):
    ledger.busy()
    contracts = Contracts.of(ledger.deployment.addresses)
    last = ledger.rpc.block().number
    first = ledger.deployment.block
    for final in (None, 0):
        _, logs = read_range(ledger.rpc, contracts, first, last, rule=Rule(final))
        places = [(log.block, log.log_index, log.block_hash) for log in logs]
        assert places == [row[:3] for row in ledger.logs()]


def test_an_audit_finds_a_last_log_that_no_hint_shows(stand):
    stand.chain.strangers = 0
    stand.chain.final_depth = 0
    stand.chain.grow(30)
    state, head = stand.chain.head.state.copy(), stand.chain.head
    logs = [log for _ in range(4) for log in stand.chain.story.issue(state, head.time)]
    block = stand.chain.grow(transactions=[logs])
    block.state.__dict__.update(state.__dict__)
    stand.endpoint.change = world.without(
        lambda found: [x for x in found if int(x["logIndex"], 16) == len(logs) - 1 > 8]
    )
    stand.catch_up()
    held = world.journal(stand.engine)
    assert held == stand.chain.logs()[:-1]
    _, (result, detail) = compared(stand, chains.Direct(stand.chain))
    assert result == "fail"
    assert detail == f"event {block.number}-{len(logs) - 1} is on the chain, and not in the journal"


def test_a_chain_whose_headers_do_not_hash_is_compared_with_its_receipts(stand):
    """As on chains whose profile has no proofs: the roots say nothing, the logs still do."""
    stand.chain.grow(20)

    def change(question: Any, result: Any) -> Any:
        if question["method"] == "eth_getBlockByHash":
            return result | {"receiptsRoot": "0x" + "00" * 32}
        return [] if question["method"] == "eth_getLogs" else result

    stand.endpoint.change = change
    stand.steps(1)
    assert isinstance(stand.errors[-1], ChainUnavailable)
    stand.profile = chains.Profile(proof_kind="none")
    stand.catch_up(stand.new_follower())
    stand.check(clean=False)


# -- an audit beside the chain -------------------------------------------------------------------


def compared(stand, node, **options):
    """How checks (11) and (12) end."""
    report = audit(
        stand.engine,
        stand.chain.chain_id,
        genesis=stand.deployment.genesis_hash,
        addresses=stand.deployment.addresses,
        node=node,
        **options,
    )
    return [(check.result, check.detail) for check in report.checks if check.number in {11, 12}]


class Changed(chains.Direct):
    """A chain of which something else is said."""

    def __init__(self, chain, change):
        super().__init__(chain)
        self._change = change

    def batch(self, calls):
        return [
            self._change(method, reply)
            for (method, _), reply in zip(calls, super().batch(calls), strict=True)
        ]


CHANGES = {
    "another value": ("UPDATE raw_log SET data = topics WHERE", "has another data on the chain"),
    "another place": ("UPDATE raw_log SET tx_index = 77 WHERE", "has another tx_index on the"),
    "an event is gone": ("DELETE FROM raw_log WHERE", "is on the chain, and not in the journal"),
    "an event is made up": (
        (
            "INSERT INTO raw_log SELECT chain_id, block, 4000, block_hash, block_time, tx_hash,"
            " tx_index, contract, address, event, topics, data FROM raw_log WHERE"
        ),
        "is in the journal, and not on the chain",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_journal_that_is_not_the_chains_is_found_by_its_receipts(stand, change):
    stand.chain.grow(130)  # more than the headers of one question
    stand.catch_up()
    asked = []
    node = Changed(stand.chain, lambda method, reply: asked.append(method) or reply)
    assert [result for result, _ in compared(stand, node)] == ["pass", "pass"]
    assert asked.count("eth_getBlockByNumber") == 131  # block 0 too, and each once
    statement, words = CHANGES[change]
    with writing(stand.engine) as connection:
        block, index = connection.execute(
            text("SELECT block, log_index FROM raw_log WHERE block < 20 ORDER BY block LIMIT 1")
        ).one()
        connection.execute(text(f"{statement} block = {block} AND log_index = {index}"))
    (kept, _), (result, detail) = compared(stand, node)
    assert (kept, result) == ("pass", "fail")
    assert detail.endswith(words) or f"{words} chain" in detail
    assert detail.startswith(f"event {block}-")


def test_a_block_whose_bloom_and_logs_were_kept_back_is_found(stand):
    """Below finality following believes an empty bloom filter beside no logs."""
    stand.chain.grow(12)
    hidden = next(row[0] for row in stand.chain.logs())

    def change(question, result):
        if question["method"] == "eth_getLogs":
            return [log for log in result if int(log["blockNumber"], 16) != hidden]
        if isinstance(result, dict) and result.get("number") == hex(hidden):
            return result | {"logsBloom": "0x" + "00" * 256}
        return result

    stand.endpoint.change = change
    stand.catch_up()
    assert hidden not in {row[0] for row in world.journal(stand.engine)}
    (kept, _), (result, detail) = compared(stand, chains.Direct(stand.chain))
    assert (kept, result) == ("pass", "fail")
    assert f"event {hidden}-" in detail
    # Whoever keeps it back from the audit too is not believed, and proves nothing.
    _, (result, detail) = compared(stand, stand.new_follower()._node)
    assert (result, "do not hash" in detail) == ("not checked", True)


def test_an_event_before_the_deployment_is_none(stand):
    stand.chain.grow(20)
    stand.catch_up()
    node, last = chains.Direct(stand.chain), world.journal(stand.engine)[-1][0]
    # A manifest that says later than the index was read from is no fault of the index.
    assert [result for result, _ in compared(stand, node, first_block=last)] == ["pass", "pass"]
    with writing(stand.engine) as connection:
        connection.execute(text(f"UPDATE chain SET first_block = {last}"))
    _, (result, detail) = compared(stand, node, first_block=last)
    assert (result, "lies outside what was read" in detail) == ("fail", True)
    count = sum(row[0] < last for row in world.journal(stand.engine))
    assert f"and {count - 5} more" in detail


RECEIPTS = {
    # They are asked for by number, and that block may have been replaced since its header came.
    "it is another block": lambda receipts: [
        each | {"blockHash": "0x" + "22" * 32, "logs": []} for each in receipts
    ],
    "receipts of its transactions are missing": lambda receipts: receipts[:-1],
}


def test_where_nothing_hashes_not_all_that_is_shown_is_compared(stand):
    stand.chain.grow(8)
    stand.catch_up()
    for words, change in RECEIPTS.items():

        def said(method, reply, change=change):
            return change(reply) if method == "eth_getBlockReceipts" else reply

        _, (result, detail) = compared(stand, Changed(stand.chain, said), provable=False)
        assert (result, words in detail) == ("not checked", True)

    def blind(_method, reply):
        return reply | {"logsBloom": "0x" + "00" * 256} if isinstance(reply, dict) else reply

    # Events of a chain that has no bloom filters are there all the same.
    node = Changed(stand.chain, blind)
    assert [result for result, _ in compared(stand, node, provable=False)] == ["pass", "pass"]


def test_where_nothing_hashes_a_follower_takes_no_lost_receipts_for_an_empty_block(stand):
    stand.profile = chains.Profile(proof_kind="none")
    stand.chain.grow(12)
    lost = {"eth_getLogs", "eth_getBlockReceipts"}
    stand.endpoint.change = lambda question, result: [] if question["method"] in lost else result
    stand.steps(2, stand.new_follower())
    assert world.journal(stand.engine) == []
    assert stand.cursor().last_hash is None
    stand.endpoint.heal()
    stand.catch_up(stand.new_follower())
    stand.check(clean=False)


def test_a_kept_block_that_is_not_the_chains_is_found(stand):
    """Though none of it is final, and a follower would go back: the cursor's block is there."""
    stand.chain.grow(16, busy=0.0)
    stand.catch_up()
    with writing(stand.engine) as connection:
        connection.execute(text("UPDATE block SET hash = parent_hash WHERE number = 4"))
        connection.execute(text("UPDATE block SET parent_hash = hash WHERE number = 8"))
        connection.execute(text("UPDATE block SET time = time + 1 WHERE number = 12"))
    (kept, detail), (result, _) = compared(stand, chains.Direct(stand.chain))
    assert (kept, result) == ("fail", "pass")
    assert detail == "; ".join(
        f"block {number} has another {what} on the chain"
        for number, what in [(4, "hash"), (8, "parent_hash"), (12, "time")]
    )


@pytest.mark.parametrize("wrong", ["-0x1", "0x-1", "0xzz", None, 5, "0x" + "ff" * 99])
def test_a_malformed_block_proves_nothing(stand, wrong):
    stand.chain.grow(5)
    stand.catch_up()

    class Odd(chains.Direct):
        def batch(self, calls):
            return [
                reply | {"gasUsed": wrong} if isinstance(reply, dict) else reply
                for reply in super().batch(calls)
            ]

    (kept, _), (result, _) = compared(stand, Odd(stand.chain))
    assert (kept, result) == ("pass", "not checked")


def test_an_endpoint_that_shows_another_chain_proves_nothing(stand):
    stand.chain.grow(8)
    stand.catch_up()
    other = chains.Chain(1, chain_id=stand.chain.chain_id)
    other.grow(8)
    assert [result for result, _ in compared(stand, chains.Direct(other))] == ["not checked"] * 2
    with writing(stand.engine) as connection:
        connection.execute(text("UPDATE cursor SET finalized = next_block - 1"))
    (kept, _), (result, detail) = compared(stand, chains.Direct(other))
    assert (kept, result) == ("fail", "not checked")
    assert "is another one now" in detail
