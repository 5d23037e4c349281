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


def finality_words(profile: ChainProfile) -> str:
    """By which rule a block counted as final, in one sentence for reports and logs.

    On a chain that settles on another one it also says what that is worth there.
    """
    if profile.finality == "tag":
        rule = f"{profile.name}: the newest block that the endpoint names final, or one below it"
    else:
        rule = f"{profile.name}: a block with {profile.finality_depth} blocks above it"
    if profile.l1_settlement is None:
        return rule
    return (
        f"{rule}; on this chain that means that the data it is computed from are in a final block "
        f"of chain {profile.l1_settlement}, not that a dispute about its state is over there"
    )
