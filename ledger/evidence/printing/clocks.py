"""How far each chain's clock may be from true time, and what its finality means.

The figures are those of the chain profiles (docs/spec/chain-profile.md), which this layer cannot
read; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Rule = Literal["slot", "op", "arbitrum", "local"]


@dataclass(frozen=True, slots=True)
class Clock:
    """One chain's clock.

    Attributes:
        behind: seconds by which a block's time may lie before true time.
        ahead: seconds by which it may lie after it.
        settles: name of the chain it settles on; empty for a chain of its own.
    """

    name: str
    rule: Rule
    behind: int
    ahead: int
    settles: str = ""


CLOCKS: Final = {
    1: Clock("Ethereum", "slot", 12, 12),
    11155111: Clock("Sepolia", "slot", 12, 12),
    10: Clock("OP Mainnet", "op", 1_800, 1_800, "Ethereum"),
    8453: Clock("Base", "op", 1_800, 1_800, "Ethereum"),
    84532: Clock("Base Sepolia", "op", 1_800, 1_800, "Sepolia"),
    42161: Clock("Arbitrum One", "arbitrum", 86_400, 86_400, "Ethereum"),
    421614: Clock("Arbitrum Sepolia", "arbitrum", 86_400, 86_400, "Sepolia"),
    31337: Clock("Anvil (local)", "local", 5, 5),
}
