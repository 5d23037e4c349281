"""Receipts prove a real node's logs, and an audit of history finds what the hints cannot show."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from ledger.errors import ChainUnavailable
from ledger.index.contracts import Contracts
from ledger.index.fetch import read_header, read_range
from ledger.index.receipts import Rule, proven_logs

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
    headers = [read_header(ledger.rpc, number) for number in range(first, last + 1)]
    proven = proven_logs(ledger.rpc, contracts, headers)
    assert [log for block in proven for log in block] == logs


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
    node = chains.Direct(stand.chain)
    header = read_header(node, block.number)
    contracts = Contracts.of(stand.deployment.addresses)
    (proven,) = proven_logs(node, contracts, [header])
    assert len(proven) == len([row for row in held if row[0] == block.number]) + 1


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
