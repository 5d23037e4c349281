"""Randomness that is later than a commitment: section 3 of docs/spec/watermark.md.

What is taken from an endpoint is raw headers whose hash is recomputed; anyone can check them again
from any source, and so they are kept with the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ledger.chain.finality import finalized_block
from ledger.chain.profile import ChainProfile, profile_for
from ledger.chain.rpc import Block, Rpc
from ledger.errors import PendingFinality, StateProofInvalid, UsageError, WrongNetwork
from ledger.evidence.headers import Header, encode_header
from ledger.ids import Digest
from ledger.watermark.keys import beacon_of

FIRST: Final = 64
COUNT: Final = 8
SHORT_OFFSET: Final = 2
SLOT_SECONDS: Final = 12.0
WEAK: Final = "the beacon does not prevent grinding here"


@dataclass(frozen=True, slots=True)
class Beacon:
    """The randomness bound to one commitment.

    Attributes:
        kind: of the chain's profile.
        headers: whose mixHashes make it, in order.
        value: what goes into the key.
    """

    kind: str
    headers: tuple[Header, ...]
    value: Digest

    @classmethod
    def of(cls, kind: str, headers: Sequence[Header]) -> Beacon:
        """The beacon of headers that follow one another.

        Raises:
            StateProofInvalid: they do not.
        """
        for below, header in pairwise(headers):
            if header.number != below.number + 1 or header.parent_hash != below.hash:
                raise StateProofInvalid(
                    f"block {header.number} does not follow block {below.number}", step=3
                )
        return cls(kind, tuple(headers), beacon_of([header.mix_hash.raw for header in headers]))

    @property
    def grindable(self) -> bool:
        """Whether whoever makes the blocks could have tried many."""
        return self.kind == "short-offset"


def read_beacon(
    rpc: Rpc, profile: ChainProfile, committed: Block, *, settlement: Rpc | None = None
) -> Beacon:
    """The beacon of a commitment in this block, once it cannot change any more.

    Args:
        rpc: the chain of the commitment.
        profile: of that chain.
        committed: the block the commitment is in.
        settlement: the chain it settles on, where the profile takes the beacon from there.

    Raises:
        PendingFinality: not there or not final yet.
        UsageError: the chain has no beacon, or its settlement chain was not given.
        StateProofInvalid: an endpoint's header does not hash to its block.
        ChainUnavailable: no endpoint answers.
    """
    source, rules = rpc, profile
    if profile.beacon_kind == "settlement-mixhash" and profile.l1_settlement is not None:
        rules = profile_for(profile.l1_settlement)
        source = _settling(settlement, rules)
    numbers = _numbers(source, profile, committed)
    final = finalized_block(source, rules).number
    needed = committed.number if profile.beacon_kind == "short-offset" else numbers[-1]
    if final < needed:
        raise PendingFinality(
            f"the beacon of block {committed.number} is known once block {needed} is final; now "
            f"it is block {final}",
            retry_after=min(60.0, max(0.2, (needed - final) * SLOT_SECONDS / 4))
            if not profile.test_network
            else 0.2,
        )
    headers = [encode_header(source.block(number).raw, step=3) for number in numbers]
    return Beacon.of(profile.beacon_kind, headers)


def check_beacon(
    rpc: Rpc,
    profile: ChainProfile,
    committed: Block,
    kind: str,
    raw: Sequence[bytes],
    *,
    settlement: Rpc | None = None,
) -> Beacon:
    """The beacon of kept headers, if it is that of this commitment on this chain.

    Raises:
        StateProofInvalid: it is another.
        PendingFinality, UsageError, ChainUnavailable: as ``read_beacon``.
    """
    kept = kept_beacon(kind, raw)
    seen = read_beacon(rpc, profile, committed, settlement=settlement)
    if (kept.kind, [h.hash for h in kept.headers]) != (seen.kind, [h.hash for h in seen.headers]):
        raise StateProofInvalid(
            f"the record's beacon is not the one that follows block {committed.number}",
            step=3,
            hint="a key bound to other randomness can have been made to fit; do not rely on it",
        )
    return kept


def kept_beacon(kind: str, raw: Sequence[bytes]) -> Beacon:
    """The beacon of headers that a record keeps; whose blocks they are is not checked.

    Raises:
        StateProofInvalid: no headers, or ones that do not follow one another.
    """
    if not raw:
        raise StateProofInvalid(
            "the record keeps no beacon, so nothing was marked under it",
            step=3,
            hint="deed watermark embed marks the model and notes the beacon",
        )
    return Beacon.of(kind, [Header.parse(one, step=3) for one in raw])


def _numbers(source: Rpc, profile: ChainProfile, committed: Block) -> range:
    match profile.beacon_kind:
        case "short-offset":
            first = committed.number + SHORT_OFFSET
            return range(first, first + 1)
        case "l1-mixhash":
            start = committed.number
        case "settlement-mixhash":
            start = _first_since(source, committed.timestamp + profile.timestamp_tolerance)
        case "none":
            raise UsageError(
                f"{profile.name} has no beacon, so no key can be bound to it",
                hint="commit on a chain that has one; docs/spec/chain-profile.md lists them",
            )
    return range(start + FIRST, start + FIRST + COUNT)


def _settling(settlement: Rpc | None, rules: ChainProfile) -> Rpc:
    if settlement is None:
        raise UsageError(
            f"the beacon comes from {rules.name}, on which this chain settles",
            hint=f"name an endpoint of {rules.name} with --settlement URL",
        )
    if settlement.chain_id() != rules.chain_id:
        raise WrongNetwork(f"the settlement endpoint serves another chain than {rules.name}")
    return settlement


def _first_since(rpc: Rpc, time: int) -> int:
    """Number of the first block whose time is at least `time`.

    Raises:
        PendingFinality: there is none yet.
    """
    low, high = 0, rpc.block("latest").number
    if rpc.block(high).timestamp < time:
        raise PendingFinality(
            "the settlement chain has not come to the commitment's time yet",
            retry_after=SLOT_SECONDS,
        )
    while low < high:
        middle = (low + high) // 2
        if rpc.block(middle).timestamp < time:
            low = middle + 1
        else:
            high = middle
    return low
