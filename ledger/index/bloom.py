"""A block's log bloom (Ethereum Yellow Paper, section 4.4.3): which logs it may hold.

An endpoint that has lost a block's logs answers ``[]``, as one that never had any. The bloom in the
header, which the block hash covers, tells the two apart.
"""

from __future__ import annotations

from ledger.ids import keccak256


def bloom_mask(*values: bytes) -> int:
    """The bits that these values (accounts, topics) set, as one 2048-bit integer."""
    mask = 0
    for value in values:
        digest = keccak256(value)
        for i in (0, 2, 4):
            mask |= 1 << (((digest[i] << 8) | digest[i + 1]) & 2047)
    return mask
