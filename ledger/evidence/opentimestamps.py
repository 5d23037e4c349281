"""OpenTimestamps proofs: operations that lead from a digest to a Bitcoin block's Merkle root.

The detached format of the OpenTimestamps client (``opentimestamps.core`` 0.4.5), bounded; what
counts stands in ``docs/spec/timestamps.md``. Headers are those of the Bitcoin protocol: 80 bytes,
the work checked against their own bits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from ledger.errors import TimestampInvalid
from ledger.ids import Digest

MAX_BYTES = 1 << 20
MAX_MESSAGE = 4096
MAX_PAYLOAD = 8192
MAX_DEPTH = 256
MAX_OPERATIONS = 4096
# A miner's clock may be two hours ahead of the network's (Bitcoin's consensus code).
CLOCK_AHEAD = 7200
_MAGIC = b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94"
_BITCOIN = bytes.fromhex("0588960d73d71901")
_APPEND, _PREPEND, _SHA256, _SHA1 = 0xF0, 0xF1, 0x08, 0x02
_NOT_COMPUTED = {0x03, 0x67, 0xF2, 0xF3}  # RIPEMD-160, Keccak-256, reverse, hexlify
_EASIEST = 0xFFFF << 208


@dataclass(frozen=True, slots=True)
class Header:
    """A Bitcoin block header whose hash has the work that its bits ask for.

    Attributes:
        hash: in the order explorers show it.
        time: as its miner wrote it.
    """

    hash: Digest
    root: bytes
    time: int

    @classmethod
    def parse(cls, raw: bytes) -> Header:
        """Read 80 bytes.

        Raises:
            TimestampInvalid: another length, or not the work its bits say.
        """
        if len(raw) != 80:
            raise TimestampInvalid("a Bitcoin header has 80 bytes")
        digest = hashlib.sha256(hashlib.sha256(raw).digest()).digest()
        bits = int.from_bytes(raw[72:76], "little")
        size, mantissa = bits >> 24, bits & 0xFFFFFF
        target = 0
        if mantissa < 0x800000 and size <= 32:
            target = mantissa << 8 * (size - 3) if size >= 3 else mantissa >> 8 * (3 - size)
        if not 0 < target <= _EASIEST or int.from_bytes(digest, "little") > target:
            raise TimestampInvalid("a Bitcoin header lacks the work its bits say")
        return cls(Digest(digest[::-1]), raw[36:68], int.from_bytes(raw[68:72], "little"))

    @property
    def latest(self) -> int:
        """The second by which it was mined."""
        return self.time + CLOCK_AHEAD


@dataclass
class _Reader:
    data: bytes
    at: int = 0
    operations: int = 0
    attested: list[tuple[int, bytes]] = field(default_factory=list)

    def take(self, size: int) -> bytes:
        found = self.data[self.at : self.at + size]
        if len(found) != size:
            raise TimestampInvalid("the OpenTimestamps proof is cut off")
        self.at += size
        return found

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        value = 0
        for place in range(10):
            byte = self.byte()
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                break
        else:
            raise TimestampInvalid("a number in the OpenTimestamps proof is endless")
        if value >> 64:
            raise TimestampInvalid("a number in the OpenTimestamps proof is too large")
        return value

    def bytes(self, least: int, most: int) -> bytes:
        size = self.number()
        if not least <= size <= most:
            raise TimestampInvalid("a text in the OpenTimestamps proof is too long or empty")
        return self.take(size)


def read_proof(data: bytes) -> tuple[Digest, tuple[tuple[int, bytes], ...]]:
    """What a proof dates, and each (height, Merkle root) of Bitcoin that it leads to.

    Raises:
        TimestampInvalid: malformed, too deep, or too long.
    """
    if len(data) > MAX_BYTES:
        raise TimestampInvalid(f"an OpenTimestamps proof has at most {MAX_BYTES} bytes")
    reader = _Reader(data)
    if reader.take(len(_MAGIC)) != _MAGIC or reader.number() != 1:
        raise TimestampInvalid("this is not an OpenTimestamps proof, version 1")
    if reader.byte() != _SHA256:
        raise TimestampInvalid("the OpenTimestamps proof is not of a SHA-256 digest")
    digest = reader.take(32)
    _timestamp(reader, digest, 0)
    if reader.at != len(data):
        raise TimestampInvalid("the OpenTimestamps proof has bytes after its end")
    return Digest(digest), tuple(reader.attested)


def _timestamp(reader: _Reader, message: bytes | None, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise TimestampInvalid("the OpenTimestamps proof is nested too deeply")
    tag = reader.byte()
    while tag == 0xFF:
        _step(reader, reader.byte(), message, depth)
        tag = reader.byte()
    _step(reader, tag, message, depth)


def _step(reader: _Reader, tag: int, message: bytes | None, depth: int) -> None:
    reader.operations += 1
    if reader.operations > MAX_OPERATIONS:
        raise TimestampInvalid("the OpenTimestamps proof has too many steps")
    if tag == 0:
        kind, payload = reader.take(8), _Reader(reader.bytes(0, MAX_PAYLOAD))
        if kind == _BITCOIN:
            height = payload.number()
            if payload.at != len(payload.data):
                raise TimestampInvalid("a Bitcoin attestation has bytes after its height")
            if message is not None:
                reader.attested.append((height, message))
        return
    _timestamp(reader, _computed(reader, tag, message), depth + 1)


def _computed(reader: _Reader, tag: int, message: bytes | None) -> bytes | None:
    """The message after an operation; None once one was not computed."""
    argument = reader.bytes(1, MAX_MESSAGE) if tag in {_APPEND, _PREPEND} else b""
    if tag in _NOT_COMPUTED:
        return None
    if tag not in {_APPEND, _PREPEND, _SHA256, _SHA1}:
        raise TimestampInvalid(f"the OpenTimestamps operation {tag:#04x} is unknown")
    if message is None:
        return None
    if tag == _SHA256:
        return hashlib.sha256(message).digest()
    if tag == _SHA1:
        return hashlib.sha1(message, usedforsecurity=False).digest()
    if len(message) + len(argument) > MAX_MESSAGE:
        raise TimestampInvalid("a message in the OpenTimestamps proof is too long")
    return message + argument if tag == _APPEND else argument + message
