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
            explorers, from an expert. Vouching for a block vouches for all below it.
        contracts: addresses known to be modeldeed's, by contract name. Needed only for contracts
            that were not created by the deterministic factory: their code is recognised, but code
            does not show what their creator wrote into storage and events before it.
    """

    blocks: frozenset[Digest] = frozenset()
    contracts: Mapping[str, Address] = field(default_factory=dict)
