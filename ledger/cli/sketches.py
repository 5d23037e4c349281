"""Lineage sketches for commands: the file, and whether its owner committed to it on chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ledger.cli.phase_a import perhaps_chain
from ledger.cli.session import Session
from ledger.errors import ChainError, UnavailableError

if TYPE_CHECKING:
    from ledger.fingerprint.sketch import Sketch
    from ledger.ids import Address, Digest
    from ledger.watermark.record import PhaseAPlace, Record

_MAX = 1 << 20


def sketch_of(path: Path) -> Sketch:
    """A sketch file, read and checked.

    Raises:
        ManifestError, LimitExceeded, UnsupportedVersion, ClaimMismatch: it is none, or not whole.
    """
    from ledger.fingerprint.sketch import Sketch

    with path.open("rb") as handle:
        head = handle.read(1)
        # A model in its place is no sketch, rather than one that is too long.
        rest = handle.read(_MAX) if head == b"{" else b""
    return Sketch.from_bytes(head + rest)


def committed_place(
    session: Session,
    sketch: Sketch,
    owner: Address,
    record: Record | None = None,
    *,
    settlement: str | None = None,
) -> tuple[tuple[Digest, Address, PhaseAPlace] | None, str]:
    """An owner's final commitment to a sketch.

    Args:
        session: names the network.
        sketch: as its file holds it.
        owner: the account that is said to have committed.
        record: of a watermark that may carry the sketch's root in its commitment.
        settlement: endpoint of the chain that a roll-up settles on.

    Returns:
        Its hash, the account and where it stands; or None and why none is shown.
    """
    from ledger.phase_a import sketch_place

    chain, why = perhaps_chain(session, settlement)
    if chain is None:
        return None, f"no chain was asked: {why}"
    registry = session.network.deployment.addresses["ModelRegistry"]
    try:
        found = sketch_place(sketch, owner, record, chain=chain, registry=registry)
    except (ChainError, UnavailableError) as error:
        return None, f"the chain did not answer: {error.message}"
    if found is None:
        return None, f"{owner} made no commitment to this sketch that is final"
    return (found[0], owner, found[1]), ""
