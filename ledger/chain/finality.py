"""The newest block that will not change any more, by the rule of the chain's profile."""

from __future__ import annotations

from ledger.chain.profile import ChainProfile
from ledger.chain.rpc import Block, Rpc


def finalized_block(rpc: Rpc, profile: ChainProfile) -> Block:
    """The finalized block; block 0 where nothing else is final yet.

    Raises:
        ChainUnavailable, RpcRefused: as `Rpc.call`.
    """
    if profile.finality == "tag":
        return rpc.block("finalized")
    head = rpc.block("latest")
    return rpc.block(max(0, head.number - profile.finality_depth))
