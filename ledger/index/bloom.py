"""A block's log bloom (Ethereum Yellow Paper, section 4.4.3): which logs it may hold.

An endpoint that has lost a block's logs answers ``[]``, as one that never had any. The bloom in the
header, which the block hash covers, tells the two apart. Of thousands of values at once the bits
are worked out by a Keccak-256 over arrays, which takes half the time and leaves the interpreter to
other threads meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ledger.ids import keccak256

BITS = 2048
_WORD = 32
_AT_ONCE = 1250
# Fewer are hashed one by one: a permutation over arrays has 400 steps however short they are.
_FEW = 150
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
    return _positions(_hashed(chosen.tobytes()))[same]


def _hashed(words: bytes) -> NDArray[np.uint8]:
    count = len(words) // _WORD
    if count < _FEW:
        each = [keccak256(words[_WORD * i : _WORD * (i + 1)]) for i in range(count)]
        return np.frombuffer(b"".join(each), np.uint8).reshape(count, _WORD)
    size = _AT_ONCE * _WORD
    parts = [keccak256_words(words[at : at + size]) for at in range(0, len(words), size)]
    return np.concatenate(parts) if parts else np.empty((0, _WORD), np.uint8)


def _positions(digests: NDArray[np.uint8]) -> NDArray[np.intp]:
    pairs = digests[:, :6].reshape(-1, 3, 2).astype(np.intp)
    return (pairs[:, :, 0] << 8 | pairs[:, :, 1]) & (BITS - 1)


def keccak256_words(words: bytes) -> NDArray[np.uint8]:
    """Keccak-256 of each 32 bytes of `words`; one row of 32 bytes each.

    Keccak-f[1600] as in FIPS 202, section 3.2, of all at once: an array's last axis is theirs.
    """
    given = np.frombuffer(words, dtype="<u8").reshape(-1, 4)
    count = len(given)
    state = np.zeros((5, 5, count), np.uint64)
    lanes = state.reshape(25, count)
    lanes[:4] = given.T
    # The padding of a message of 32 bytes in a block of 136: its first and its last bit.
    lanes[4] = 1
    lanes[16] = 1 << 63
    moved, spare = np.empty_like(lanes), np.empty_like(lanes)
    # Columns and rows with their neighbours: the last before the first, the first after the last.
    column = np.empty((7, count), np.uint64)
    row = np.empty((5, 7, count), np.uint64)
    for constant in _CONSTANTS:
        np.bitwise_xor.reduce(state, axis=0, out=column[1:6])
        column[0], column[6] = column[5], column[1]
        state ^= column[:5] ^ (column[2:] << _ONE | column[2:] >> _REST)
        np.take(lanes, _FROM, axis=0, out=moved, mode="clip")
        np.right_shift(moved, _RIGHT, out=spare)
        np.left_shift(moved, _LEFT, out=moved)
        np.bitwise_or(moved.reshape(5, 5, count), spare.reshape(5, 5, count), out=row[:, :5])
        row[:, 5:] = row[:, :2]
        np.bitwise_not(row[:, 1:6], out=state)
        state &= row[:, 2:]
        state ^= row[:, :5]
        lanes[0] ^= constant
    return np.ascontiguousarray(lanes[:4].T).astype("<u8").view(np.uint8)


def _constants() -> list[np.uint64]:
    found, register = [], 1
    for _ in range(24):
        value = 0
        for power in range(7):
            value |= (register & 1) << (2**power - 1)
            register = register << 1 ^ (register >> 7) * 0x171
        found.append(np.uint64(value))
    return found


def _turns() -> list[int]:
    found, x, y = [0] * 25, 1, 0
    for step in range(24):
        found[x + 5 * y] = (step + 1) * (step + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    return found


_CONSTANTS = _constants()
_ONE, _REST = np.uint64(1), np.uint64(63)
# By the lane at (y, 2x + 3y) after a round's moving: the one that goes there, and its turn.
_FROM = np.array([(x + 3 * y) % 5 + 5 * x for y in range(5) for x in range(5)])
_LEFT = np.array(_turns(), np.uint64)[_FROM][:, None]
# NumPy shifts by 64 to nothing, as the lane that is not turned needs it.
_RIGHT = np.uint64(64) - _LEFT
