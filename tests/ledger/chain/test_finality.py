"""Which block is final, by tag and by depth."""

import pytest

from ledger.chain.finality import finalized_block
from ledger.chain.profile import ChainProfile

pytestmark = pytest.mark.chain


def test_the_tag_rule_takes_the_nodes_word_and_the_depth_rule_counts(deployed):
    head = deployed.rpc.block("latest").number
    assert finalized_block(deployed.rpc, deployed.profile).number <= head
    document = deployed.profile.to_json()
    depth = ChainProfile.from_json(document | {"finality": "depth", "finality_depth": 4})
    assert finalized_block(deployed.rpc, depth).number >= head - 4
    deep = ChainProfile.from_json(document | {"finality": "depth", "finality_depth": 10**6})
    assert finalized_block(deployed.rpc, deep).number == 0
