"""Messages between runtimes, licensors and brokers (docs/spec/key-release.md). Pure.

Every message is parsed strictly, and whoever checks one recomputes what was signed from its fields:
a digest or hash is never taken from the sender.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ledger.broker.fleet import WorkerCertificate, shown_certificate
from ledger.broker.grants import Acceptance, RuntimeGrant, RuntimeKey
from ledger.broker.leases import Lease
from ledger.canonical import canonical_json, hash_json
from ledger.eip712 import Domain, StructType
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing.document import Document, base64_text, hex_text
from ledger.licensing.terms import EVIDENCE_CLASSES, Use
from ledger.sealed.recipients import KemPublicKey

VERSION: Final = 1
EVIDENCE_TAG: Final = "modeldeed/evidence-shown/1"
REQUEST_TAG: Final = "modeldeed/broker-request/1"
RECEIPT_TAG: Final = "modeldeed/receipt/1"
RELEASE_INFO_TAG: Final = "modeldeed/key-release/1"

CHALLENGE_SECONDS: Final = 60
MAX_KEM_KEY_BYTES: Final = 4096

RELEASE_TYPE: Final = StructType.parse(
    "KeyRelease(bytes32 challenge,uint256 licenseId,bytes32 modelId,bytes32 kemKeyHash,"
    "uint16 suite,bytes32 evidenceHash,string audience,uint64 issuedAt,uint64 expiresAt)"
)


def audience(chain_id: int, broker_registry: Address, broker_id: int) -> str:
    """The one name of a broker in messages: never a host name, which DNS could move."""
    return f"modeldeed-broker:{chain_id}:0x{broker_registry.raw.hex()}:{broker_id}"


def kem_json(key: KemPublicKey) -> dict[str, Any]:
    """A KEM public key as text."""
    return {"suite": key.suite, "key": base64_text(key.raw)}


def kem_from_json(value: Any) -> KemPublicKey:
    """Read a KEM public key.

    Raises:
        ManifestError: not one.
        UnsupportedVersion: a suite this release does not know.
    """
    doc = Document(value, "the KEM key", ("suite", "key"))
    return KemPublicKey(doc.integer("suite", 1, 0xFFFF), doc.blob("key", limit=MAX_KEM_KEY_BYTES))


# -- evidence ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a runtime shows about itself; the request's signature covers its hash.

    Attributes:
        kind: ``software`` proves nothing and says so; ``tee`` carries an attestation token.
        intent: ``release``, ``check`` or ``offline`` (a release carried as files); none can be
            turned into another.
        sealing: hash of the sealing record of the file at hand.
        use: what the runtime declares to do.
        software: name and version, for the receipt.
        token: attestation token, for kinds that have one.
    """

    kind: str
    intent: str
    sealing: Digest
    use: Use
    software: str
    token: str | None = None
    _hash: list[Digest] = field(default_factory=list, init=False, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The document that is hashed."""
        return {
            "class": self.kind,
            "intent": self.intent,
            "sealing": str(self.sealing),
            "use": self.use.to_json(),
            "software": self.software,
            "token": self.token,
        }

    def hash(self) -> Digest:
        """``evidenceHash`` of KeyRelease."""
        if not self._hash:
            self._hash.append(hash_json(EVIDENCE_TAG, self.to_json()))
        return self._hash[0]

    @classmethod
    def from_json(cls, value: Any) -> Evidence:
        """Read the evidence of a request.

        Raises:
            ManifestError: not evidence.
        """
        doc = Document(
            value, "the evidence", ("class", "intent", "sealing", "use", "software", "token")
        )
        kind = doc.choice("class", EVIDENCE_CLASSES)
        return cls(
            kind=kind,
            intent=doc.choice("intent", ("release", "check", "offline")),
            sealing=doc.digest("sealing"),
            use=Use.from_json(doc.object("use"), evidence=kind),
            software=doc.text("software", limit=200),
            token=doc.text("token", limit=32768) if doc.has("token") else None,
        )


# -- key release ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """A runtime's request for a key. Times in Unix seconds.

    Attributes:
        kem: the runtime's ephemeral public key; what is released is encrypted to it.
        certificate: of a fleet's worker; the grant is then the fleet's.
    """

    challenge: bytes
    license: LicenseId
    model: ModelId
    kem: KemPublicKey
    evidence: Evidence
    audience: str
    issued_at: int
    expires_at: int
    runtime: RuntimeKey
    grant: RuntimeGrant | None = None
    acceptance: Acceptance | None = None
    signature: bytes = b""
    certificate: WorkerCertificate | None = None
    _digests: dict[Domain, Digest] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def digest(self, domain: Domain) -> Digest:
        """The EIP-712 digest of ``KeyRelease`` that the runtime key signs."""
        # Two steps and the receipt ask for it, of fields that cannot change.
        if domain not in self._digests:
            self._digests[domain] = self._digest(domain)
        return self._digests[domain]

    def _digest(self, domain: Domain) -> Digest:
        return domain.digest(
            RELEASE_TYPE,
            {
                "challenge": self.challenge,
                "licenseId": int(self.license),
                "modelId": self.model,
                "kemKeyHash": self.kem.hash(),
                "suite": self.kem.suite,
                "evidenceHash": self.evidence.hash(),
                "audience": self.audience,
                "issuedAt": self.issued_at,
                "expiresAt": self.expires_at,
            },
        )

    def signed(self, sign: Callable[[Digest], bytes], domain: Domain) -> KeyRequest:
        """The same request with the runtime's signature."""
        return replace(self, signature=sign(self.digest(domain)))

    def hash(self) -> Digest:
        """What the reply names the request by: every member, signature included."""
        return request_hash(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The request as it is sent."""
        shown = {} if self.certificate is None else {"certificate": self.certificate.to_json()}
        return {
            **shown,
            "version": VERSION,
            "challenge": hex_text(self.challenge),
            "license": str(self.license),
            "model": str(self.model),
            "kem": kem_json(self.kem),
            "evidence": self.evidence.to_json(),
            "audience": self.audience,
            "issued_at": self.issued_at,
            "expires_at": self.expires_at,
            "runtime": self.runtime.to_json(),
            "grant": None if self.grant is None else self.grant.to_json(),
            "acceptance": None if self.acceptance is None else self.acceptance.to_json(),
            "signature": hex_text(self.signature),
        }

    @classmethod
    def from_json(cls, value: Any) -> KeyRequest:
        """Read a request; no signature is checked yet.

        Raises:
            ManifestError: not a request.
        """
        doc = Document(
            value,
            "the key request",
            (
                "version", "challenge", "license", "model", "kem", "evidence", "audience",
                "issued_at", "expires_at", "runtime", "grant", "acceptance", "signature",
                "certificate",
            ),
        )  # fmt: skip
        doc.integer("version", VERSION, VERSION)
        return cls(
            challenge=doc.raw("challenge", 32),
            license=doc.license(),
            model=doc.model(),
            kem=kem_from_json(doc.object("kem")),
            evidence=Evidence.from_json(doc.object("evidence")),
            audience=doc.text("audience", limit=200),
            issued_at=doc.integer("issued_at"),
            expires_at=doc.integer("expires_at"),
            runtime=RuntimeKey.from_json(doc.object("runtime")),
            grant=RuntimeGrant.from_json(doc.object("grant")) if doc.has("grant") else None,
            acceptance=(
                Acceptance.from_json(doc.object("acceptance")) if doc.has("acceptance") else None
            ),
            signature=doc.raw("signature", 64),
            certificate=shown_certificate(doc),
        )


def release_info(label: str, request: KeyRequest, lease: Lease) -> bytes:
    """HPKE ``info`` of one released secret: everything it was released under."""
    context = {
        "label": label,
        "challenge": hex_text(request.challenge),
        "suite": request.kem.suite,
        "evidence_hash": str(request.evidence.hash()),
        "lease": lease.to_json(),
    }
    return RELEASE_INFO_TAG.encode() + b"\0" + canonical_json(context)


# -- receipts ------------------------------------------------------------------------------------


def request_hash(message: Mapping[str, Any]) -> Digest:
    """What a reply names the message it answers by: every member, signature included."""
    return hash_json(REQUEST_TAG, dict(message))


def receipt_hash(entry: Mapping[str, Any]) -> Digest:
    """Hash of one entry of the receipt log; the next entry's reply names it as ``previous``."""
    return hash_json(RECEIPT_TAG, dict(entry))
