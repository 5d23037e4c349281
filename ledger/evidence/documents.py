"""The proof members of a bundle as values: state proofs and receipt proofs, to and from JSON.

State proofs keep the field names of ``eth_getProof`` (EIP-1186), so any tool that checks those can
check these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ledger.errors import ManifestError, UsageError
from ledger.ids import Address, Digest
from ledger.merkle import T2

MAX_SLOTS = 10_000
MAX_NODES = 65
_DATA = re.compile(r"0x(?:[0-9a-f]{2})*")
_QUANTITY = re.compile(r"0x(?:0|[1-9a-f][0-9a-f]*)")


@dataclass(frozen=True, slots=True)
class SlotProof:
    """One storage word and the trie nodes that lead to it."""

    slot: int
    value: int
    nodes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StateProof:
    """One account and some of its storage, under a state root named elsewhere."""

    address: Address
    nonce: int
    balance: int
    code_hash: Digest
    storage_root: Digest
    nodes: tuple[bytes, ...]
    slots: tuple[SlotProof, ...]

    def to_json(self) -> dict[str, Any]:
        """In the field names of EIP-1186."""
        return {
            "address": str(self.address),
            "nonce": hex(self.nonce),
            "balance": hex(self.balance),
            "codeHash": str(self.code_hash),
            "storageHash": str(self.storage_root),
            "accountProof": _hexes(self.nodes),
            "storageProof": [
                {
                    "key": f"0x{slot.slot:064x}",
                    "value": hex(slot.value),
                    "proof": _hexes(slot.nodes),
                }
                for slot in self.slots
            ],
        }

    @classmethod
    def from_json(cls, document: Any) -> StateProof:
        """Read an untrusted document; proves nothing.

        Raises:
            ManifestError: other fields or types.
        """
        fields = {
            "address",
            "nonce",
            "balance",
            "codeHash",
            "storageHash",
            "accountProof",
            "storageProof",
        }
        if not isinstance(document, dict) or set(document) != fields:
            raise ManifestError("a state proof has other fields than EIP-1186's")
        slots = document["storageProof"]
        if not isinstance(slots, list) or len(slots) > MAX_SLOTS:
            raise ManifestError("a state proof lists its slots")
        try:
            return cls(
                address=Address.parse(document["address"]),
                nonce=_quantity(document["nonce"]),
                balance=_quantity(document["balance"]),
                code_hash=Digest.parse(document["codeHash"]),
                storage_root=Digest.parse(document["storageHash"]),
                nodes=_nodes(document["accountProof"]),
                slots=tuple(
                    SlotProof(
                        int.from_bytes(_data(slot["key"], 32), "big"),
                        _quantity(slot["value"]),
                        _nodes(slot["proof"]),
                    )
                    for slot in slots
                ),
            )
        except (UsageError, TypeError, KeyError, AttributeError):
            raise ManifestError("a state proof is malformed") from None


@dataclass(frozen=True, slots=True)
class ReceiptProof:
    """One transaction's receipt under its block's header, and the transaction where it was cheap.

    Attributes:
        receipt: as the receipts trie holds it.
        transaction: the raw signed transaction, empty when the bundle goes without.
    """

    block: int
    index: int
    receipt: bytes
    receipt_nodes: tuple[bytes, ...]
    transaction: bytes
    transaction_nodes: tuple[bytes, ...]

    @property
    def name(self) -> str:
        """Its member's name."""
        return f"receipts/{self.block}-{self.index}.json"

    def to_json(self) -> dict[str, Any]:
        """As it stands in the bundle."""
        return {
            "block": self.block,
            "index": self.index,
            "receipt": "0x" + self.receipt.hex(),
            "receiptProof": _hexes(self.receipt_nodes),
            "transaction": "0x" + self.transaction.hex(),
            "transactionProof": _hexes(self.transaction_nodes),
        }

    @classmethod
    def from_json(cls, document: Any) -> ReceiptProof:
        """Read an untrusted document; proves nothing.

        Raises:
            ManifestError: other fields or types.
        """
        try:
            block, index = document["block"], document["index"]
            made = cls(
                block=block,
                index=index,
                receipt=_data(document["receipt"]),
                receipt_nodes=_nodes(document["receiptProof"]),
                transaction=_data(document["transaction"]),
                transaction_nodes=_nodes(document["transactionProof"]),
            )
        except (UsageError, TypeError, KeyError):
            raise ManifestError("a receipt proof is malformed") from None
        if type(block) is not int or type(index) is not int or min(block, index) < 0:
            raise ManifestError("a receipt proof's place is malformed")
        return made


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That a commitment's leaf stands at `index` of `size` under an anchored root (T2)."""

    root: Digest
    index: int
    size: int
    path: tuple[Digest, ...]

    def verify(self, leaf: Digest, *, step: int = 0) -> None:
        """Check it.

        Raises:
            InclusionProofInvalid: the path leads elsewhere.
        """
        nodes = [node.raw for node in self.path]
        T2.verify(leaf.raw, self.index, self.size, nodes, self.root.raw, step=step)

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``commitment.json``."""
        return {
            "root": str(self.root),
            "index": self.index,
            "size": self.size,
            "path": [str(node) for node in self.path],
        }

    @classmethod
    def from_json(cls, document: Any) -> Inclusion:
        """Read an untrusted document; proves nothing.

        Raises:
            ManifestError: other fields or types.
        """
        try:
            index, size = document["index"], document["size"]
            path = tuple(Digest.parse(node) for node in document["path"])
            made = cls(Digest.parse(document["root"]), index, size, path)
        except (UsageError, TypeError, KeyError, AttributeError):
            raise ManifestError("an inclusion proof is malformed") from None
        if type(index) is not int or type(size) is not int or len(path) > MAX_NODES:
            raise ManifestError("an inclusion proof's numbers are malformed")
        return made


def _hexes(nodes: Iterable[bytes]) -> list[str]:
    return ["0x" + node.hex() for node in nodes]


def _nodes(value: Any) -> tuple[bytes, ...]:
    if not isinstance(value, list) or len(value) > MAX_NODES:
        raise ManifestError("a proof is a list of trie nodes")
    return tuple(_data(node) for node in value)


def _data(value: Any, size: int | None = None) -> bytes:
    if not isinstance(value, str) or not _DATA.fullmatch(value):
        raise ManifestError("bytes are written as 0x and lower-case hex")
    raw = bytes.fromhex(value[2:])
    if size is not None and len(raw) != size:
        raise ManifestError(f"{size} bytes were expected")
    return raw


def _quantity(value: Any) -> int:
    if not isinstance(value, str) or len(value) > 66 or not _QUANTITY.fullmatch(value):
        raise ManifestError("numbers are written as 0x and hex without leading zeros")
    return int(value, 16)
