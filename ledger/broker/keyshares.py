"""A content key shared among the brokers of a set: what the licensor signs about the shares. Pure.

Commitments travel with the shares, in each deposit and in each release, under the licensor's
signature (docs/spec/key-release.md, "Threshold"). So a broker can check the share it is given, and
a runtime the share it gets, without either knowing the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ledger.broker.shamir import Share, set_id
from ledger.eip712 import Domain, StructType, TypedSigner, recover
from ledger.errors import ManifestError
from ledger.ids import ZERO_DIGEST, Address, Digest, ModelId
from ledger.licensing.document import Document, hex_text
from ledger.sealed.record import SealingRecord

VERSION: Final = 1
MAX_MEMBERS: Final = 64
"""As many as a license card may name."""
SHARE_BYTES: Final = 32
_PREFIX: Final = "share/"

SHARES_TYPE: Final = StructType.parse(
    "KeyShares(bytes32 modelId,uint64 epoch,bytes32 sealingRecordHash,uint64 brokerSet,"
    "uint64 threshold,uint64 count,bytes32 setId,bytes32 cellSetId,uint64 issuedAt)"
)


@dataclass(frozen=True, slots=True)
class KeyShares:
    """The licensor's statement of which shares of a sealing's key a broker set holds.

    Attributes:
        broker_set: id in BrokerRegistry; share i is for its i-th member by rising id.
        threshold: how many shares give the key, at least 2.
        commitments: to share 1, 2, … (docs/spec/shares.md).
        issued_at: Unix seconds; a later statement takes the place of an earlier one.
        cells: commitments to the brokers' parts of the cell keys; none without cells.
    """

    model: ModelId
    epoch: int
    sealing: Digest
    broker_set: int
    threshold: int
    commitments: tuple[Digest, ...]
    issued_at: int
    licensor: Address
    signature: bytes = b""
    cells: tuple[Digest, ...] = ()

    @classmethod
    def of(
        cls,
        record: SealingRecord,
        shares: Sequence[Share],
        *,
        broker_set: int,
        licensor: Address,
        issued_at: int,
        cells: tuple[Digest, ...] = (),
    ) -> KeyShares:
        """The unsigned statement about freshly split shares."""
        return cls(
            model=record.model_id,
            epoch=record.epoch,
            sealing=record.hash(),
            broker_set=broker_set,
            threshold=shares[0].threshold,
            commitments=shares[0].commitments,
            issued_at=issued_at,
            licensor=licensor,
            cells=cells,
        )

    @property
    def set_id(self) -> Digest:
        """Name of the set of shares."""
        return set_id(self.threshold, self.commitments)

    def share(self, index: int, value: bytearray) -> Share:
        """Share `index` with this value, checked against its commitment.

        Raises:
            SharesRejected: it is another value; its buffer is zeroed.
        """
        return Share.checked(self.threshold, self.commitments, index, value)

    def values(self) -> dict[str, Any]:
        """The EIP-712 field values."""
        return {
            "modelId": self.model,
            "epoch": self.epoch,
            "sealingRecordHash": self.sealing,
            "brokerSet": self.broker_set,
            "threshold": self.threshold,
            "count": len(self.commitments),
            "setId": self.set_id,
            "cellSetId": set_id(self.threshold, self.cells) if self.cells else ZERO_DIGEST,
            "issuedAt": self.issued_at,
        }

    def signed(self, signer: TypedSigner, domain: Domain) -> KeyShares:
        """The same statement with the licensor's signature."""
        return replace(self, signature=signer.sign_typed(domain, SHARES_TYPE, self.values()))

    def signer(self, domain: Domain, *, step: int = 0) -> Address:
        """The account that signed it.

        Raises:
            SignatureInvalid: no account did.
        """
        return recover(domain.digest(SHARES_TYPE, self.values()), self.signature, step=step)

    def to_json(self) -> dict[str, Any]:
        """The statement as deposits and releases carry it."""
        cells = {"cells": [str(one) for one in self.cells]} if self.cells else {}
        return {
            **cells,
            "version": VERSION,
            "model": str(self.model),
            "epoch": self.epoch,
            "sealing": str(self.sealing),
            "broker_set": self.broker_set,
            "threshold": self.threshold,
            "commitments": [str(one) for one in self.commitments],
            "issued_at": self.issued_at,
            "licensor": str(self.licensor),
            "signature": hex_text(self.signature),
        }

    @classmethod
    def from_json(cls, value: Any) -> KeyShares:
        """Read a statement; its signature is not yet checked.

        Raises:
            ManifestError: not one.
        """
        doc = Document(
            value,
            "the statement about key shares",
            (
                "version", "model", "epoch", "sealing", "broker_set", "threshold", "commitments",
                "issued_at", "licensor", "signature", "cells",
            ),
        )  # fmt: skip
        doc.integer("version", VERSION, VERSION)
        commitments = _digests(doc, "commitments")
        if len(commitments) < 2:
            raise doc.fail("commitments", "a list of at least two digests")
        cells = _digests(doc, "cells") if "cells" in value else ()
        if "cells" in value and len(cells) != len(commitments):
            raise doc.fail("cells", "as many digests as there are commitments")
        return cls(
            model=doc.model(),
            epoch=doc.integer("epoch", 1),
            sealing=doc.digest("sealing"),
            broker_set=doc.integer("broker_set", 1),
            threshold=doc.integer("threshold", 2, len(commitments)),
            commitments=commitments,
            issued_at=doc.integer("issued_at"),
            licensor=doc.address("licensor"),
            signature=doc.raw("signature", 65),
            cells=cells,
        )


def _digests(doc: Document, name: str) -> tuple[Digest, ...]:
    return tuple(
        Document({"digest": one}, "a commitment").digest("digest")
        for one in doc.items(name, limit=MAX_MEMBERS)
    )


def deposit_label(share: Share) -> str:
    """Label of a deposited share."""
    return f"{_PREFIX}{share.index}/{share.threshold}/{share.count}"


def deposited_index(label: str, shares: KeyShares) -> int:
    """Which share a deposit's label names; it must fit the statement beside it.

    Raises:
        ManifestError: no such label, or another threshold or count.
    """
    parts = label.removeprefix(_PREFIX).split("/") if label.startswith(_PREFIX) else []
    if len(parts) == 3 and parts[1:] == [str(shares.threshold), str(len(shares.commitments))]:
        for index in range(1, len(shares.commitments) + 1):
            if parts[0] == str(index):
                return index
    raise ManifestError(
        f"the label {label[:40]!r} names no share of {shares.threshold} of "
        f"{len(shares.commitments)}"
    )


def release_label(index: int) -> str:
    """Label of a released share."""
    return f"{_PREFIX}{index}"


def released_index(label: str) -> int:
    """Which share a label of ours names."""
    return int(label.removeprefix(_PREFIX))
