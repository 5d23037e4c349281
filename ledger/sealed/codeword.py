"""Code words: which form of each cell a license's copy has (docs/spec/variants.md). Pure.

A Tardos code with the discrete bias distributions of Nuida et al. (2009) for the symmetric score of
Škorić, Katzenbeisser and Celik (2008). Everything is drawn from the code key by SHAKE256 and
compared as integers with a fixed table, so every implementation makes the same word to the bit. The
code key, the biases drawn from it, and other licenses' words are secrets of the tracing.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass, field
from struct import unpack
from typing import Final

from ledger.canonical import hash_bytes
from ledger.errors import LimitExceeded, UsageError
from ledger.ids import Address, Digest, LicenseId
from ledger.sealed.codeword_tables import DISTRIBUTIONS
from ledger.sealed.memory import burn

BIAS_TAG: Final = b"modeldeed/code-bias/1"
WORD_TAG: Final = b"modeldeed/code-word/1"
KEY_TAG: Final = "modeldeed/code-key/1"
HASH_TAG: Final = "modeldeed/code-word-hash/1"
CODE_KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
MAX_CELLS: Final = 4096
MAX_COLLUDERS: Final = 2 * max(DISTRIBUTIONS)


@dataclass(frozen=True, slots=True)
class CodeParameters:
    """What the words of one sealing have in common, beside their key.

    Attributes:
        count: cells, and so bits of a word; 1 to 4096.
        colluders: how many copies together the biases are made for; 1 to 16.
    """

    count: int
    colluders: int

    def __post_init__(self) -> None:
        if not (1 <= self.count <= MAX_CELLS and 1 <= self.colluders <= MAX_COLLUDERS):
            raise LimitExceeded(
                f"a code of {self.count} cells for {self.colluders} colluders is not defined",
                hint=f"1 to {MAX_CELLS} cells, 1 to {MAX_COLLUDERS} colluders",
            )

    def to_bytes(self) -> bytes:
        """Colluders (2 bytes) and count (4)."""
        return self.colluders.to_bytes(2, "big") + self.count.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class CodeWord:
    """One license's word. Its repr shows nothing of it.

    Attributes:
        bits: one byte per cell, 0 for form A and 1 for form B.
        salt: keeps short words from being guessed by their hash.
    """

    bits: bytes = field(repr=False)
    salt: bytes = field(repr=False)

    def packed(self) -> bytes:
        """Eight bits a byte, the first in the highest; the last byte's rest is zero."""
        padded = self.bits + bytes(-len(self.bits) % 8)
        number = int("".join("1" if bit else "0" for bit in padded) or "0", 2)
        return number.to_bytes(len(padded) // 8, "big")

    def hash(self) -> Digest:
        """``code_hash`` of a release: what a later tracing is compared with."""
        data = len(self.bits).to_bytes(4, "big") + self.salt + self.packed()
        return hash_bytes(HASH_TAG, data)

    @classmethod
    def unpack(cls, count: int, packed: bytes, salt: bytes) -> CodeWord:
        """The word of `count` bits that `packed` holds.

        Raises:
            LimitExceeded: another length, or bits behind the last.
        """
        if len(packed) != (count + 7) // 8 or len(salt) != SALT_BYTES:
            raise LimitExceeded(f"these are not the bits of {count} cells")
        number = int.from_bytes(packed, "big")
        spare = 8 * len(packed) - count
        if number & ((1 << spare) - 1):
            raise LimitExceeded(f"there are bits behind those of {count} cells")
        text = f"{number:0{8 * len(packed)}b}"[:count]
        return cls(bytes(map(int, text)), salt)


def code_commitment(parameters: CodeParameters, code_key: bytes | bytearray, salt: bytes) -> Digest:
    """``code_commit`` of a sealing record: fixes key and parameters before any release."""
    _check_key(code_key)
    if len(salt) != SALT_BYTES:
        raise UsageError(f"a code key's salt has {SALT_BYTES} bytes")
    return hash_bytes(KEY_TAG, parameters.to_bytes() + bytes(code_key) + salt)


def biases(parameters: CodeParameters, code_key: bytes | bytearray) -> list[int]:
    """How likely form B is in each cell, in units of 2^-64; secret."""
    _check_key(code_key)
    cumulative, values = DISTRIBUTIONS[(parameters.colluders + 1) // 2]
    stream = hashlib.shake_256(BIAS_TAG + b"\0" + parameters.to_bytes() + code_key)
    words = _words(stream.digest(8 * parameters.count))
    return [values[bisect_right(cumulative, word)] for word in words]


def code_word(
    parameters: CodeParameters,
    code_key: bytes | bytearray,
    license_id: LicenseId,
    holder: Address,
    tenure: int,
) -> CodeWord:
    """The word of one license in one holder's hands.

    Args:
        parameters: of the sealing.
        code_key: 32 secret bytes.
        license_id: the license.
        holder: whom it belongs to.
        tenure: the license's grant nonce on chain, which every transfer raises.
    """
    drawn = biases(parameters, code_key)
    who = int(license_id).to_bytes(32, "big") + holder.raw + tenure.to_bytes(8, "big")
    stream = hashlib.shake_256(WORD_TAG + b"\0" + parameters.to_bytes() + code_key + who)
    data = stream.digest(SALT_BYTES + 8 * parameters.count)
    salt, tail = bytes(bytearray(data[:SALT_BYTES])), data[SALT_BYTES:]
    burn(data)
    bits = bytes(int(word < bias) for word, bias in zip(_words(tail), drawn, strict=True))
    return CodeWord(bits, salt)


def _words(data: bytes) -> tuple[int, ...]:
    """64-bit words, big-endian; `data` is overwritten."""
    words = unpack(f">{len(data) // 8}Q", data)
    burn(data)
    return words


def _check_key(code_key: bytes | bytearray) -> None:
    if len(code_key) != CODE_KEY_BYTES:
        raise UsageError(f"a code key has {CODE_KEY_BYTES} bytes")
