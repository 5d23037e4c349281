"""Receipts and raw transactions as a block commits to them, decoded no further than we need.

A receipt is ``type ‖ rlp([status, cumulative gas, bloom, logs])`` (EIP-2718; without the type byte
for legacy transactions). A transaction is decoded for its chain id, nonce, addressee, call data and
the account whose key signed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rlp

from ledger.eip712 import recover
from ledger.errors import StateProofInvalid, UsageError
from ledger.evidence.rlp_items import read_list
from ledger.ids import Address, Digest, keccak256

# Position of (chain id, nonce, to, data) and of the signature's first field, by transaction type.
_LAYOUTS: dict[int, tuple[int, int, int, int, int]] = {
    1: (0, 1, 4, 6, 8),  # EIP-2930
    2: (0, 1, 5, 7, 9),  # EIP-1559
    3: (0, 1, 5, 7, 11),  # EIP-4844
    4: (0, 1, 5, 7, 10),  # EIP-7702
}

# What taking a list of another shape apart raises.
_MALFORMED = (UsageError, StateProofInvalid, TypeError, ValueError, LookupError, AttributeError)


@dataclass(frozen=True, slots=True)
class Log:
    """One event as a contract emitted it."""

    emitter: Address
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one transaction did: whether it succeeded, and its events."""

    succeeded: bool
    logs: tuple[Log, ...]

    @classmethod
    def parse(cls, raw: bytes, *, step: int = 0) -> Receipt:
        """Read a receipt as the receipts trie holds it.

        Raises:
            StateProofInvalid: not a receipt.
        """
        fields = _payload(raw, step, "receipt")
        try:
            status, _, _, logs = fields
            parsed = tuple(
                Log(
                    Address(emitter),
                    tuple(_topic(topic) for topic in _list(topics)),
                    _bytes(data),
                )
                for emitter, topics, data in map(_list, _list(logs))
            )
        except _MALFORMED as error:
            raise StateProofInvalid(f"a receipt is malformed: {error}", step=step) from None
        return cls(status == b"\x01", parsed)


@dataclass(frozen=True, slots=True)
class Transaction:
    """Who asked for what.

    Attributes:
        chain_id: None for a legacy transaction without one (before EIP-155).
        to: None when it creates a contract.
    """

    hash: Digest
    chain_id: int | None
    nonce: int
    sender: Address
    to: Address | None
    data: bytes

    @classmethod
    def parse(cls, raw: bytes, *, step: int = 0) -> Transaction:
        """Read a raw signed transaction and recover its sender.

        Raises:
            StateProofInvalid: not a transaction of a type we know.
            SignatureInvalid: its signature belongs to no key.
        """
        fields = _payload(raw, step, "transaction")
        kind = raw[0] if raw[0] < 0x80 else 0
        try:
            if kind == 0:
                return cls._legacy(raw, fields, step)
            chain, nonce, to, data, signature = _LAYOUTS[kind]
            unsigned = bytes([kind]) + rlp.encode(fields[:signature])
            parity = _number(fields[signature])
            return cls(
                hash=Digest(keccak256(raw)),
                chain_id=_number(fields[chain]),
                nonce=_number(fields[nonce]),
                sender=_sender(unsigned, parity, fields[signature + 1 : signature + 3], step),
                to=_addressee(fields[to]),
                data=_bytes(fields[data]),
            )
        except _MALFORMED as error:
            raise StateProofInvalid(f"a transaction is malformed: {error}", step=step) from None

    @classmethod
    def _legacy(cls, raw: bytes, fields: list[Any], step: int) -> Transaction:
        nonce, price, gas, to, value, data, v_raw, r, s = fields
        v = _number(v_raw)
        body = [nonce, price, gas, to, value, data]
        chain_id = (v - 35) // 2 if v >= 35 else None
        if chain_id is not None:  # EIP-155
            body += [chain_id.to_bytes((chain_id.bit_length() + 7) // 8, "big"), b"", b""]
        return cls(
            hash=Digest(keccak256(raw)),
            chain_id=chain_id,
            nonce=_number(nonce),
            sender=_sender(rlp.encode(body), (v - 35) % 2 if v >= 35 else v - 27, [r, s], step),
            to=_addressee(to),
            data=_bytes(data),
        )


def encode_receipt(receipt: Mapping[str, Any]) -> bytes:
    """A receipt as the receipts trie holds it, from its JSON-RPC form."""
    logs = [
        [
            _unhex(log["address"]),
            [_unhex(topic) for topic in log["topics"]],
            _unhex(log["data"]),
        ]
        for log in receipt["logs"]
    ]
    body = rlp.encode(
        [
            int(receipt["status"], 16),
            int(receipt["cumulativeGasUsed"], 16),
            _unhex(receipt["logsBloom"]),
            logs,
        ]
    )
    kind = int(receipt.get("type") or "0x0", 16)
    return bytes([kind]) + bytes(body) if kind else bytes(body)


def _payload(raw: bytes, step: int, what: str) -> list[Any]:
    if not raw:
        raise StateProofInvalid(f"a {what} is empty", step=step)
    return read_list(raw if raw[0] >= 0xC0 else raw[1:], f"a {what}", step=step)


def _sender(unsigned: bytes, parity: int, rs: list[bytes], step: int) -> Address:
    signature = b"".join(_bytes(part).rjust(32, b"\0") for part in rs) + bytes([parity])
    return recover(Digest(keccak256(unsigned)), signature, step=step)


def _topic(value: Any) -> bytes:
    if not isinstance(value, bytes) or len(value) != 32:
        raise StateProofInvalid("a topic has 32 bytes")
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise StateProofInvalid("bytes are missing")
    return value


def _list(value: Any) -> list[Any]:
    # Bytes can be taken apart and counted like a list, and so pass for one.
    if not isinstance(value, list):
        raise StateProofInvalid("a list is missing")
    return value


def _number(value: Any) -> int:
    return int.from_bytes(_bytes(value), "big")


def _addressee(value: Any) -> Address | None:
    return Address(value) if _bytes(value) else None


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text[2:])
