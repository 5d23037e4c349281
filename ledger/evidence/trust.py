"""What a verifier is told from outside the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ledger.ids import Address, Digest


@dataclass(frozen=True, slots=True)
class TrustRoot:
    """Facts the reader of a bundle obtained elsewhere.

    Attributes:
        blocks: hashes of blocks known to belong to the chain: from a node of one's own, from
            explorers, from an expert. Vouching for a block vouches for all below it. Hashes of
            Bitcoin blocks, as explorers show them, may be among these.
        contracts: addresses known to be modeldeed's, by contract name. Needed only for contracts
            that were not created by the deterministic factory: their code is recognised, but code
            does not show what their creator wrote into storage and events before it.
        tsa_roots: SHA-256 of the root certificates of time-stamping authorities one accepts.
        collectors: accounts of people or machines whose custody entries one accepts.
    """

    blocks: frozenset[Digest] = frozenset()
    contracts: Mapping[str, Address] = field(default_factory=dict)
    tsa_roots: frozenset[Digest] = frozenset()
    collectors: frozenset[Address] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.blocks or self.contracts or self.tsa_roots or self.collectors)

    def __str__(self) -> str:
        """Everything, for the first line of a report."""
        return ", ".join(
            [
                *(f"block {block}" for block in sorted(self.blocks)),
                *(f"{name} at {at}" for name, at in sorted(self.contracts.items())),
                *(f"root certificate {root}" for root in sorted(self.tsa_roots)),
                *(f"collector {account}" for account in sorted(self.collectors)),
            ]
        )
