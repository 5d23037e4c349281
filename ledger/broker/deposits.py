"""Deposits: how a licensor hands a sealing's keys to a broker (docs/spec/key-release.md). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ledger.broker.celldeposits import DepositedCells
from ledger.broker.keyshares import KeyShares
from ledger.broker.signing import wrap_hash
from ledger.canonical import canonical_json, hash_json
from ledger.eip712 import Domain, StructType, TypedSigner, recover
from ledger.errors import ManifestError
from ledger.ids import Address, Digest
from ledger.licensing.document import Document, base64_text, hex_text
from ledger.sealed.recipients import MAX_WRAP_BYTES
from ledger.sealed.record import SealingRecord

VERSION: Final = 1
WRAPS_TAG: Final = "modeldeed/deposit-wraps/1"
TERMS_TAG: Final = "modeldeed/deposit-terms/1"
INFO_TAG: Final = "modeldeed/key-deposit/1"
CONTENT_KEY: Final = "content-key"
MAX_WRAPS: Final = 4096

DEPOSIT_TYPE: Final = StructType.parse(
    "KeyDeposit(bytes32 modelId,uint64 epoch,bytes32 sealingRecordHash,bytes32 wrapsHash,"
    "bytes32 termsHash,bytes32 kemKeyHash,string audience,uint64 issuedAt)"
)


@dataclass(frozen=True, slots=True)
class Wrap:
    """One secret under a label, encrypted (HPKE) to somebody's KEM key."""

    label: str
    data: bytes

    def to_json(self) -> dict[str, str]:
        """Label, hash of the ciphertext, ciphertext."""
        return {
            "label": self.label,
            "hash": str(wrap_hash(self.data)),
            "wrap": base64_text(self.data),
        }

    @classmethod
    def from_json(cls, value: Any) -> Wrap:
        """Read one whose hash must be its ciphertext's.

        Raises:
            ManifestError: not a wrap, or another hash.
        """
        doc = Document(value, "a wrapped key", ("label", "hash", "wrap"))
        wrap = cls(doc.text("label", limit=100), doc.blob("wrap", limit=MAX_WRAP_BYTES))
        if doc.digest("hash") != wrap_hash(wrap.data):
            raise doc.fail("hash", "that of its ciphertext")
        return wrap


def wraps_of(values: Sequence[Any]) -> tuple[Wrap, ...]:
    """Read a list of wraps whose labels differ.

    Raises:
        ManifestError: not such a list.
    """
    wraps = tuple(Wrap.from_json(value) for value in values)
    if len({wrap.label for wrap in wraps}) != len(wraps):
        raise ManifestError("two wrapped keys have one label")
    return wraps


@dataclass(frozen=True, slots=True)
class KeyDeposit:
    """A licensor's deposit of a sealing's keys at one broker.

    Attributes:
        record: the sealing whose keys these are.
        wraps: ``content-key`` or one share of it, HPKE-wrapped to the broker's KEM key; then, of a
            sealing with cells, their keys or this broker's part of them, and the code key.
        kem_key_hash: of that KEM key.
        terms: terms documents the broker is to keep for policy decisions.
        shares: what the licensor signed about a share; it has a signature of its own.
        cells: what is public about the cells; the record commits to it.
    """

    record: SealingRecord
    wraps: tuple[Wrap, ...]
    kem_key_hash: Digest
    audience: str
    issued_at: int
    licensor: Address
    terms: tuple[Mapping[str, Any], ...] = ()
    signature: bytes = b""
    shares: KeyShares | None = None
    cells: DepositedCells | None = None

    def values(self) -> dict[str, Any]:
        """The EIP-712 field values."""
        labelled = [[wrap.label, str(wrap_hash(wrap.data))] for wrap in self.wraps]
        return {
            "modelId": self.record.model_id,
            "epoch": self.record.epoch,
            "sealingRecordHash": self.record.hash(),
            "wrapsHash": hash_json(WRAPS_TAG, labelled),
            "termsHash": hash_json(TERMS_TAG, [dict(document) for document in self.terms]),
            "kemKeyHash": self.kem_key_hash,
            "audience": self.audience,
            "issuedAt": self.issued_at,
        }

    def signed(self, signer: TypedSigner, domain: Domain) -> KeyDeposit:
        """The same deposit with the licensor's signature."""
        return replace(self, signature=signer.sign_typed(domain, DEPOSIT_TYPE, self.values()))

    def to_json(self) -> dict[str, Any]:
        """The deposit as it is sent."""
        shared = {} if self.shares is None else {"shares": self.shares.to_json()}
        cells = {} if self.cells is None else {"cells": self.cells.to_json()}
        return {
            **shared,
            **cells,
            "version": VERSION,
            "record": self.record.to_json(),
            "wraps": [wrap.to_json() for wrap in self.wraps],
            "kem_key_hash": str(self.kem_key_hash),
            "audience": self.audience,
            "issued_at": self.issued_at,
            "licensor": str(self.licensor),
            "terms": [dict(document) for document in self.terms],
            "signature": hex_text(self.signature),
        }

    def signer(self, domain: Domain, *, step: int = 0) -> Address:
        """The account that signed it.

        Raises:
            SignatureInvalid: no account did.
        """
        return recover(domain.digest(DEPOSIT_TYPE, self.values()), self.signature, step=step)

    @classmethod
    def from_json(cls, value: Any) -> KeyDeposit:
        """Read a deposit; the signature is not yet checked.

        Raises:
            ManifestError: not a deposit.
        """
        doc = Document(
            value,
            "the key deposit",
            (
                "version", "record", "wraps", "kem_key_hash", "audience", "issued_at", "licensor",
                "terms", "signature", "shares", "cells",
            ),
        )  # fmt: skip
        doc.integer("version", VERSION, VERSION)
        documents = doc.items("terms", limit=16)
        if not all(isinstance(document, dict) for document in documents):
            raise doc.fail("terms", "a list of terms documents")
        return cls(
            record=SealingRecord.from_json(doc.object("record")),
            wraps=wraps_of(doc.items("wraps", limit=MAX_WRAPS)),
            kem_key_hash=doc.digest("kem_key_hash"),
            audience=doc.text("audience", limit=200),
            issued_at=doc.integer("issued_at"),
            licensor=doc.address("licensor"),
            terms=tuple(documents),
            signature=doc.raw("signature", 65),
            shares=KeyShares.from_json(doc.object("shares")) if "shares" in value else None,
            cells=DepositedCells.from_json(doc.object("cells")) if "cells" in value else None,
        )


def deposit_info(label: str, record_hash: Digest, audience_text: str) -> bytes:
    """HPKE ``info`` of one deposited secret."""
    context = {"label": label, "sealing": str(record_hash), "audience": audience_text}
    return INFO_TAG.encode() + b"\0" + canonical_json(context)
