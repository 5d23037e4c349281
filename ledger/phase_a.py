"""Phase A on chain: a commitment is sent, where it stands, and which beacon follows from its place.

Apart from what is committed to, which may be a watermark's key, a set of triggers or a lineage
sketch. Sections 2 and 3 of docs/spec/watermark.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ledger.chain.beacon import WEAK, Beacon, read_beacon
from ledger.chain.finality import finalized_block
from ledger.chain.profile import ChainProfile
from ledger.chain.rpc import Rpc
from ledger.errors import ClaimMismatch, PendingFinality
from ledger.fingerprint.sketch import Sketch
from ledger.ids import ZERO_DIGEST, Address, Digest
from ledger.watermark.record import PhaseAPlace, Record

if TYPE_CHECKING:
    # Detecting offline needs no chain extra.
    from ledger.chain.anchors import Anchors
    from ledger.chain.transactions import Sender


@dataclass(frozen=True, slots=True)
class Chain:
    """Where commitments stand.

    Attributes:
        from_block: the block of the contracts' deployment.
        settlement: the chain it settles on, where beacons come from there.
    """

    rpc: Rpc
    profile: ChainProfile
    anchors: Anchors
    from_block: int = 0
    settlement: Rpc | None = None


def lodge(commitment: Digest, *, chain: Chain, sender: Sender) -> PhaseAPlace:
    """Send a commitment of any kind, unless this account's stands already; say where it stands.

    Raises:
        LedgerError: as ``Sender.send``; call it again to resume.
    """
    owner = sender.signer.address
    place = chain.anchors.phase_a_by(owner, commitment)
    if place is None:
        number, receipt = chain.anchors.commit_phase_a(sender, commitment)
        block = chain.rpc.block(receipt.block_number)
        return PhaseAPlace(block.number, number, block.timestamp, receipt.hash)
    # Sent by a run that was killed before it noted so.
    at = chain.anchors.phase_a_block(owner, commitment, from_block=chain.from_block)
    return PhaseAPlace(at, place.number, place.time, ZERO_DIGEST)


def sketch_place(
    sketch: Sketch, owner: Address, record: Record | None, *, chain: Chain, registry: Address
) -> tuple[Digest, PhaseAPlace] | None:
    """Where an owner's final commitment to a sketch stands; None where there is none.

    Args:
        sketch: as its file holds it.
        owner: the account that is said to have committed.
        record: of a watermark whose commitment may carry the sketch's root.
        chain: where it is looked for.
        registry: the ModelRegistry there.
    """
    ways = [sketch.commitment(chain_id=chain.profile.chain_id, registry=registry, owner=owner)]
    if record is not None and record.commitment.sketch_root == sketch.root:
        ways.insert(0, record.commitment.hash())
    final = finalized_block(chain.rpc, chain.profile).number
    for commitment in ways:
        place = chain.anchors.phase_a_by(owner, commitment, final)
        if place is not None:
            at = chain.anchors.phase_a_block(owner, commitment, from_block=chain.from_block)
            return commitment, PhaseAPlace(at, place.number, place.time, ZERO_DIGEST)
    return None


def beacon_of(owner: Address, commitment: Digest, *, chain: Chain) -> tuple[Beacon, int]:
    """The beacon of a commitment that is final, and how many commitments its account has made.

    Raises:
        ClaimMismatch: the account never made it.
        PendingFinality: it, or its beacon, is not final yet.
    """
    final = finalized_block(chain.rpc, chain.profile).number
    if chain.anchors.phase_a_by(owner, commitment, final) is None:
        if chain.anchors.phase_a_by(owner, commitment) is None:
            raise ClaimMismatch(
                f"{owner} never committed to {commitment.short} on {chain.profile.name}",
                hint="another may have copied it: ask for the account and the network that did",
            )
        raise PendingFinality(
            f"the commitment {commitment.short} is not final yet", hint="run this again later"
        )
    block = chain.anchors.phase_a_block(owner, commitment, from_block=chain.from_block)
    at = chain.rpc.block(block)
    beacon = read_beacon(chain.rpc, chain.profile, at, settlement=chain.settlement)
    return beacon, max(1, chain.anchors.phase_a_count(owner))


def caveat_of(beacon: Beacon, chain: Chain | None) -> str:
    """Why a proof under this beacon says little; empty where it does not."""
    said = [WEAK] if beacon.grindable else []
    if chain is not None and chain.profile.test_network:
        said.append("test network: no evidentiary value")
    return "; ".join(said)
