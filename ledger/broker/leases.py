"""Leases, a license's short-lived offline form, and the heartbeats that extend them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ledger.broker.fleet import WorkerCertificate, shown_certificate
from ledger.eip712 import Domain, StructType
from ledger.ids import Digest, LicenseId, ModelId
from ledger.licensing.document import Document, hex_text

VERSION: Final = 1
HEARTBEAT_TYPE: Final = StructType.parse(
    "LeaseHeartbeat(bytes32 leaseId,uint64 sequence,string audience,uint64 issuedAt)"
)


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block a decision rests on; timestamp in Unix seconds."""

    number: int
    hash: Digest
    timestamp: int

    def to_json(self) -> dict[str, Any]:
        """Number, hash and time."""
        return {"number": self.number, "hash": str(self.hash), "timestamp": self.timestamp}

    @classmethod
    def from_json(cls, value: Any) -> BlockRef:
        """Read one.

        Raises:
            ManifestError: not a block reference.
        """
        doc = Document(value, "a block", ("number", "hash", "timestamp"))
        return cls(doc.integer("number"), doc.digest("hash"), doc.integer("timestamp"))


@dataclass(frozen=True, slots=True)
class Lease:
    """A license's short-lived offline form. Times in Unix seconds.

    Attributes:
        not_after: until then the runtime needs to ask nobody.
        grace_until: until then it may go on while no broker can be reached; the seat is held
            as long.
        sequence: 0 at release, then that of the heartbeat it answers.
        heartbeat: seconds between heartbeats.
        enforce: False in a plan's warn mode: an ended license warns and does not unload.
        head: block the answer rests on; `finalized`: the final one.
    """

    id: Digest
    license: LicenseId
    model: ModelId
    epoch: int
    sealing: Digest
    runtime_key_hash: Digest
    kem_key_hash: Digest
    audience: str
    issued_at: int
    not_after: int
    grace_until: int
    sequence: int
    heartbeat: int
    enforce: bool
    head: BlockRef
    finalized: BlockRef

    def __repr__(self) -> str:
        return (
            f"<Lease of license {self.license} on model {self.model.short}, until "
            f"{self.not_after}, heartbeat {self.sequence}>"
        )

    def to_json(self) -> dict[str, Any]:
        """The lease as replies carry it."""
        return {
            "id": str(self.id),
            "license": str(self.license),
            "model": str(self.model),
            "epoch": self.epoch,
            "sealing": str(self.sealing),
            "runtime_key_hash": str(self.runtime_key_hash),
            "kem_key_hash": str(self.kem_key_hash),
            "audience": self.audience,
            "issued_at": self.issued_at,
            "not_after": self.not_after,
            "grace_until": self.grace_until,
            "sequence": self.sequence,
            "heartbeat": self.heartbeat,
            "enforce": self.enforce,
            "head": self.head.to_json(),
            "finalized": self.finalized.to_json(),
        }

    @classmethod
    def from_json(cls, value: Any) -> Lease:
        """Read a lease out of a verified reply.

        Raises:
            ManifestError: not a lease.
        """
        doc = Document(
            value,
            "the lease",
            (
                "id", "license", "model", "epoch", "sealing", "runtime_key_hash", "kem_key_hash",
                "audience", "issued_at", "not_after", "grace_until", "sequence", "heartbeat",
                "enforce", "head", "finalized",
            ),
        )  # fmt: skip
        return cls(
            id=doc.digest("id"),
            license=doc.license(),
            model=doc.model(),
            epoch=doc.integer("epoch", 1),
            sealing=doc.digest("sealing"),
            runtime_key_hash=doc.digest("runtime_key_hash"),
            kem_key_hash=doc.digest("kem_key_hash"),
            audience=doc.text("audience", limit=200),
            issued_at=doc.integer("issued_at"),
            not_after=doc.integer("not_after"),
            grace_until=doc.integer("grace_until"),
            sequence=doc.integer("sequence"),
            heartbeat=doc.integer("heartbeat", 1),
            enforce=doc.boolean("enforce"),
            head=BlockRef.from_json(doc.object("head")),
            finalized=BlockRef.from_json(doc.object("finalized")),
        )


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A runtime's sign of life for one lease; `sequence` rises with each.

    Attributes:
        certificate: a worker's newer one, when its lease outlives the first.
    """

    lease: Digest
    sequence: int
    audience: str
    issued_at: int
    signature: bytes = b""
    certificate: WorkerCertificate | None = None

    def digest(self, domain: Domain) -> Digest:
        """The EIP-712 digest that the runtime key signs."""
        return domain.digest(
            HEARTBEAT_TYPE,
            {
                "leaseId": self.lease,
                "sequence": self.sequence,
                "audience": self.audience,
                "issuedAt": self.issued_at,
            },
        )

    def to_json(self) -> dict[str, Any]:
        """The heartbeat as it is sent."""
        shown = {} if self.certificate is None else {"certificate": self.certificate.to_json()}
        return {
            **shown,
            "version": VERSION,
            "lease": str(self.lease),
            "sequence": self.sequence,
            "audience": self.audience,
            "issued_at": self.issued_at,
            "signature": hex_text(self.signature),
        }

    @classmethod
    def from_json(cls, value: Any) -> Heartbeat:
        """Read a heartbeat; the signature is not yet checked.

        Raises:
            ManifestError: not a heartbeat.
        """
        doc = Document(
            value,
            "the heartbeat",
            ("version", "lease", "sequence", "audience", "issued_at", "signature", "certificate"),
        )
        doc.integer("version", VERSION, VERSION)
        return cls(
            doc.digest("lease"),
            doc.integer("sequence", 1),
            doc.text("audience", limit=200),
            doc.integer("issued_at"),
            doc.raw("signature", 64),
            shown_certificate(doc),
        )
