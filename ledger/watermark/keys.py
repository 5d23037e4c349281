"""From a committed secret and later randomness to the signs of a mark.

Sections 3 and 4 of docs/spec/watermark.md. The effective key cannot be known before the beacon,
which comes after the commitment: nobody can choose a key that fits weights already there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ledger.canonical import hash_bytes
from ledger.ids import Address, Digest

BEACON_TAG: Final = "modeldeed/beacon/1"
MARK_TAG: Final = b"modeldeed/signmark/1"
MASTER: Final = b"master"

# One row per byte: its eight signs, most significant bit first. A lookup is one pass over memory
# where unpacking, widening, doubling and subtracting are four.
_SIGNS: Final[npt.NDArray[np.float32]] = (
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32) * 2 - 1
)


def beacon_of(mix_hashes: Sequence[bytes]) -> Digest:
    """The beacon of blocks with these mixHashes, in order of their numbers."""
    return hash_bytes(BEACON_TAG, b"".join(mix_hashes))


def cell_context(cell: int) -> bytes:
    """The context of one cell's key; reserved, see section 3."""
    return b"cell" + cell.to_bytes(4, "big")


def effective_key(
    secret: bytes, beacon: Digest, content_id: Digest, owner: Address, context: bytes = MASTER
) -> bytes:
    """K_eff: 32 bytes of HKDF-SHA-256 (RFC 5869)."""
    info = MARK_TAG + b"\0" + content_id.raw + owner.raw + context
    return HKDF(hashes.SHA256(), 32, beacon.raw, info).derive(secret)


def sign_bytes(key: bytes, cid: Digest, count: int) -> npt.NDArray[np.uint8]:
    """The signs of one tensor's weights, eight in a byte: an eighth of a byte for each weight."""
    return np.frombuffer(hashlib.shake_256(key + cid.raw).digest((count + 7) // 8), np.uint8)


def unpacked(packed: npt.NDArray[np.uint8], first: int, count: int) -> npt.NDArray[np.float32]:
    """Signs number `first` to `first + count`, as +1 and −1; `first` is a multiple of eight."""
    part = packed[first // 8 : (first + count + 7) // 8]
    return np.take(_SIGNS, part, axis=0).reshape(-1)[:count]
