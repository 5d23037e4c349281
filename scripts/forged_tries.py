"""Trie nodes changed, with the hashes above them computed anew, for hostile tests and vectors."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.ids import keccak256


def lift(nodes: list[bytes], place: int, before: Sequence[str]) -> bytes:
    """Put the hashes of a changed node, and of all above it, into the nodes above; the new root.

    Args:
        nodes: of a proof, from the root downwards, one of them changed; changed here.
        place: of that one.
        before: the proof in hex as it was.
    """
    for above in range(place, 0, -1):
        old = keccak256(bytes.fromhex(before[above][2:]))
        nodes[above - 1] = nodes[above - 1].replace(old, keccak256(nodes[above]))
    return keccak256(nodes[0]) if nodes else b""
