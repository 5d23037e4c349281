"""Raw block headers: their hash, the fields we rely on, and the chain of parents.

A header is its RLP list; its Keccak-256 is the block hash (Yellow Paper 4.4). Fields are read by
position, so headers of every fork since Frontier are read alike: London, Shanghai, Cancun and
Prague only appended fields (EIPs 1559, 4895, 4844, 4788, 7685).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rlp

from ledger.errors import StateProofInvalid
from ledger.evidence.rlp_items import all_bytes, read_list
from ledger.ids import Digest, keccak256

MAX_HEADER_BYTES = 8 << 10

# JSON-RPC names in RLP order; those after the 15th exist from some fork on.
_FIXED_BYTES = "bytes"
_QUANTITY = "quantity"
_FIELDS: tuple[tuple[str, str], ...] = (
    ("parentHash", _FIXED_BYTES),
    ("sha3Uncles", _FIXED_BYTES),
    ("miner", _FIXED_BYTES),
    ("stateRoot", _FIXED_BYTES),
    ("transactionsRoot", _FIXED_BYTES),
    ("receiptsRoot", _FIXED_BYTES),
    ("logsBloom", _FIXED_BYTES),
    ("difficulty", _QUANTITY),
    ("number", _QUANTITY),
    ("gasLimit", _QUANTITY),
    ("gasUsed", _QUANTITY),
    ("timestamp", _QUANTITY),
    ("extraData", _FIXED_BYTES),
    ("mixHash", _FIXED_BYTES),
    ("nonce", _FIXED_BYTES),
    ("baseFeePerGas", _QUANTITY),
    ("withdrawalsRoot", _FIXED_BYTES),
    ("blobGasUsed", _QUANTITY),
    ("excessBlobGas", _QUANTITY),
    ("parentBeaconBlockRoot", _FIXED_BYTES),
    ("requestsHash", _FIXED_BYTES),
)
_MIN_FIELDS = 15


@dataclass(frozen=True, slots=True)
class Header:
    """One block header.

    Attributes:
        raw: RLP bytes as hashed.
        timestamp: Unix seconds, as the block's proposer set them.
        mix_hash: the proposer's contribution to randomness since EIP-4399.
    """

    raw: bytes
    hash: Digest
    number: int
    timestamp: int
    parent_hash: Digest
    state_root: Digest
    transactions_root: Digest
    receipts_root: Digest
    mix_hash: Digest

    @classmethod
    def parse(cls, raw: bytes, *, step: int = 0) -> Header:
        """Read a raw header.

        Raises:
            StateProofInvalid: not a header's RLP.
        """
        if len(raw) > MAX_HEADER_BYTES:
            raise StateProofInvalid(f"a header of {len(raw)} bytes is too long", step=step)
        fields = read_list(raw, "the header", lambda size: size >= _MIN_FIELDS, step=step)
        if not all_bytes(fields) or any(len(fields[i]) != 32 for i in (0, 3, 4, 5, 13)):
            raise StateProofInvalid("the header does not have a header's fields", step=step)
        return cls(
            raw=raw,
            hash=Digest(keccak256(raw)),
            number=_quantity(fields[8], step),
            timestamp=_quantity(fields[11], step),
            parent_hash=Digest(fields[0]),
            state_root=Digest(fields[3]),
            transactions_root=Digest(fields[4]),
            receipts_root=Digest(fields[5]),
            mix_hash=Digest(fields[13]),
        )


@dataclass(frozen=True, slots=True)
class Segment:
    """An unbroken run of headers, each the parent of the next, at least one."""

    headers: tuple[Header, ...]

    @property
    def top(self) -> Header:
        """The newest header: whoever vouches for it vouches for all below."""
        return self.headers[-1]


def encode_header(block: Mapping[str, Any], *, step: int = 0) -> Header:
    """The raw header of a block as JSON-RPC gives it, proven by its hash.

    Args:
        block: result of ``eth_getBlockByNumber`` or ``…ByHash``.
        step: number put on a failure.

    Raises:
        StateProofInvalid: the fields do not hash to the block's hash, as on chains whose headers
            have another form.
    """
    fields = []
    for name, kind in _FIELDS:
        value = block.get(name)
        if value is None:
            continue
        if kind == _QUANTITY:
            number = int(value, 16)
            if number < 0:
                raise StateProofInvalid(f"a block's {name} is below zero", step=step)
            fields.append(number.to_bytes((number.bit_length() + 7) // 8, "big"))
        else:
            fields.append(bytes.fromhex(value[2:]))
    header = Header.parse(rlp.encode(fields), step=step)
    if str(header.hash) != block.get("hash"):
        raise StateProofInvalid(
            f"block {header.number}'s fields do not hash to {block.get('hash')}",
            step=step,
            hint="this chain's headers have a form that bundles cannot prove yet",
        )
    return header


def segments(headers: Sequence[Header], *, step: int = 0) -> tuple[Segment, ...]:
    """Group headers into runs linked by parent hash, oldest first.

    Raises:
        StateProofInvalid: none, one number twice, or neighbours that do not link.
    """
    if not headers:
        raise StateProofInvalid("there is no block header", step=step)
    ordered = sorted(headers, key=lambda header: header.number)
    runs: list[list[Header]] = [[ordered[0]]]
    for header in ordered[1:]:
        below = runs[-1][-1]
        if header.number == below.number:
            raise StateProofInvalid(f"there are two headers of block {header.number}", step=step)
        if header.number > below.number + 1:
            runs.append([header])
            continue
        if header.parent_hash != below.hash:
            raise StateProofInvalid(
                f"block {header.number} names {header.parent_hash} as its parent, "
                f"but block {below.number} is {below.hash}",
                step=step,
            )
        runs[-1].append(header)
    return tuple(Segment(tuple(run)) for run in runs)


def rests_on(members: Mapping[str, bytes]) -> tuple[Header, ...]:
    """The newest header of each run, oldest first: whose hashes a reader has to get elsewhere.

    Args:
        members: raw headers, as those of a bundle's folder ``headers``.

    Raises:
        StateProofInvalid: not headers, or neighbours that do not link.
    """
    return tuple(run.top for run in segments([Header.parse(raw) for raw in members.values()]))


def _quantity(raw: bytes, step: int) -> int:
    if len(raw) > 8 or raw[:1] == b"\0":
        raise StateProofInvalid("a header's number or time is malformed", step=step)
    return int.from_bytes(raw, "big")
