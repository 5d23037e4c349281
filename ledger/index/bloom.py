"""A block's log bloom (Ethereum Yellow Paper, section 4.4.3): which logs it may hold.

An endpoint that has lost a block's logs answers ``[]``, as one that never had any. The bloom in the
header, which the block hash covers, tells the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ledger.ids import keccak256

BITS = 2048
_WORD = 32
# Odd, and without a pattern.
_MIX = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64
)


def bloom_mask(*values: bytes) -> int:
    """The bits that these values (accounts, topics) set, as one 2048-bit integer."""
    mask = 0
    for value in values:
        digest = keccak256(value)
        for i in (0, 2, 4):
            mask |= 1 << (((digest[i] << 8) | digest[i + 1]) & 2047)
    return mask


def unexplained(
    blooms: Mapping[int, int], logs: Mapping[int, Sequence[tuple[bytes, bytes]]]
) -> set[int]:
    """The blocks whose bloom has a bit that none of the logs we hold sets.

    Args:
        blooms: by block number, of the blocks asked about.
        logs: by block number, (address, topics one after the other) of each log.
    """
    held = [logs.get(number, ()) for number in blooms]
    if not held:
        return set()
    claimed = b"".join([bloom.to_bytes(BITS // 8, "little") for bloom in blooms.values()])
    bits = np.unpackbits(np.frombuffer(claimed, np.uint8), bitorder="little")
    left = bits.reshape(len(held), BITS)
    topics = b"".join([words for some in held for _, words in some])
    counts = [sum([len(words) for _, words in some]) // _WORD for some in held]
    rows = np.repeat(np.arange(len(held)), counts)
    left[rows[:, None], _places(topics)] = 0
    for row, some in enumerate(held):
        for address in {address for address, _ in some}:
            left[row, _address(address)] = 0
    return {number for number, some in zip(blooms, left.max(axis=1).tolist(), strict=True) if some}


@lru_cache(maxsize=64)
def _address(value: bytes) -> NDArray[np.intp]:
    found: NDArray[np.intp] = _positions(np.frombuffer(keccak256(value), np.uint8)[None, :])[0]
    return found


def _places(topics: bytes) -> NDArray[np.intp]:
    """The three bits of each word; one that is there often is hashed once."""
    words = np.frombuffer(topics, "<u8").reshape(-1, 4)
    # Told apart by a mixture of their parts, and then compared as they are.
    mixed = words @ _MIX
    _, first, same = np.unique(mixed, return_index=True, return_inverse=True)
    chosen = words[first]
    if not (chosen[same] == words).all():
        chosen, same = words, np.arange(len(words))
    digests = b"".join([keccak256(word) for word in chosen.view("V32").ravel().tolist()])
    return _positions(np.frombuffer(digests, np.uint8).reshape(-1, _WORD))[same]


def _positions(digests: NDArray[np.uint8]) -> NDArray[np.intp]:
    pairs = digests[:, :6].reshape(-1, 3, 2).astype(np.intp)
    return (pairs[:, :, 0] << 8 | pairs[:, :, 1]) & (BITS - 1)
