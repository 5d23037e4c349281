"""What a holder signs for a runtime, off chain and without coins (docs/spec/key-release.md).

A grant lets one runtime key use one license; an acceptance says that the holder agreed to the
terms. Both are EIP-712 messages under the license ledger's domain.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from ledger.broker.wallet_signatures import read_signature
from ledger.eip712 import Domain, StructType, TypedSigner, recover
from ledger.errors import ManifestError, SignatureInvalid
from ledger.ids import Address, Digest, LicenseId
from ledger.licensing.document import Document, hex_text
from ledger.licensing.entitlement import PERPETUAL

GRANT_TYPE: Final = StructType.parse(
    "RuntimeGrant(uint256 licenseId,bytes32 runtimeKeyHash,bytes20 measurement,uint64 features,"
    "uint40 notAfter,bytes32 termsHash,uint256 keyedNonce)"
)
ACCEPT_TYPE: Final = StructType.parse("AcceptTerms(uint256 licenseId,bytes32 termsHash)")
RUNTIME_TAG: Final = "modeldeed/runtime-signature/1"

ALG_ED25519: Final = 1
ALG_P256: Final = 2
_KEY_BYTES = {ALG_ED25519: 32, ALG_P256: 33}
NO_MEASUREMENT = bytes(20)


@functools.lru_cache(maxsize=4096)
def _key_hash(alg: int, raw: bytes) -> Digest:
    return Digest(hashlib.sha256(bytes([alg]) + raw).digest())


@dataclass(frozen=True, slots=True)
class RuntimeKey:
    """A runtime's public key: algorithm byte and raw bytes (Ed25519 32, P-256 33 compressed)."""

    alg: int
    raw: bytes

    def __post_init__(self) -> None:
        if _KEY_BYTES.get(self.alg) != len(self.raw):
            raise ManifestError("a runtime key is 32 bytes of Ed25519 (1) or 33 of P-256 (2)")

    def hash(self) -> Digest:
        """``runtimeKey`` on chain: SHA-256 of the algorithm byte and the raw key."""
        return _key_hash(self.alg, self.raw)

    def to_json(self) -> dict[str, Any]:
        """Algorithm and key as text."""
        return {"alg": self.alg, "key": hex_text(self.raw)}

    @classmethod
    def from_json(cls, value: Any) -> RuntimeKey:
        """Read a key.

        Raises:
            ManifestError: not a runtime key.
        """
        doc = Document(value, "the runtime key", ("alg", "key"))
        alg = doc.integer("alg", ALG_ED25519, ALG_P256)
        return cls(alg, doc.raw("key", _KEY_BYTES[alg]))

    def verify(self, signature: bytes, digest: Digest, *, step: int = 0) -> None:
        """Check this key's 64-byte signature of a message digest.

        Raises:
            SignatureInvalid: it is not.
        """
        message = runtime_message(digest)
        if len(signature) != 64:
            raise SignatureInvalid("a runtime's signature has 64 bytes", step=step)
        try:
            if self.alg == ALG_ED25519:
                Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
            else:
                r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:]))
                key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.raw)
                key.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
        except (InvalidSignature, ValueError):
            raise SignatureInvalid(
                "the message is not signed by the runtime key it names", step=step
            ) from None


def runtime_message(digest: Digest) -> bytes:
    """The bytes a runtime key signs for a digest: tag ‖ 00 ‖ digest."""
    return RUNTIME_TAG.encode() + b"\0" + digest.raw


@dataclass(frozen=True, slots=True)
class RuntimeGrant:
    """A holder's permission for one runtime.

    Attributes:
        measurement: 20 bytes that evidence must show, zero for none.
        features: bits of the plan's features it may use.
        not_after: Unix seconds.
        terms_hash: terms under which it is given.
        keyed_nonce: a random key in the upper 192 bits; the lower 64 are the license's grant
            nonce on chain, and a later ``cancelGrants`` voids the grant by raising that.
    """

    license: LicenseId
    runtime_key_hash: Digest
    measurement: bytes
    features: int
    not_after: int
    terms_hash: Digest
    keyed_nonce: int
    signature: bytes = b""

    @property
    def nonce(self) -> int:
        """The license's grant nonce when this was signed."""
        return self.keyed_nonce & (1 << 64) - 1

    def values(self) -> dict[str, Any]:
        """The EIP-712 field values."""
        return {
            "licenseId": int(self.license),
            "runtimeKeyHash": self.runtime_key_hash,
            "measurement": self.measurement,
            "features": self.features,
            "notAfter": self.not_after,
            "termsHash": self.terms_hash,
            "keyedNonce": self.keyed_nonce,
        }

    def digest(self, domain: Domain) -> Digest:
        """The EIP-712 digest that the holder's wallet signs."""
        return domain.digest(GRANT_TYPE, self.values())

    def signer(self, domain: Domain, *, step: int = 0) -> Address:
        """The account that signed it.

        Raises:
            SignatureInvalid: no account did.
        """
        return recover(self.digest(domain), self.signature, step=step)

    def to_json(self) -> dict[str, Any]:
        """The grant as requests and grant files carry it."""
        return {
            "license": str(self.license),
            "runtime_key_hash": str(self.runtime_key_hash),
            "measurement": hex_text(self.measurement),
            "features": hex_text(self.features.to_bytes(8, "big")),
            "not_after": self.not_after,
            "terms_hash": str(self.terms_hash),
            "keyed_nonce": hex_text(self.keyed_nonce.to_bytes(32, "big")),
            "signature": hex_text(self.signature),
        }

    @classmethod
    def from_json(cls, value: Any) -> RuntimeGrant:
        """Read a grant; the signature is not yet checked.

        Raises:
            ManifestError: not a grant.
        """
        doc = Document(
            value,
            "the runtime grant",
            (
                "license", "runtime_key_hash", "measurement", "features", "not_after",
                "terms_hash", "keyed_nonce", "signature",
            ),
        )  # fmt: skip
        return cls(
            license=doc.license(),
            runtime_key_hash=doc.digest("runtime_key_hash"),
            measurement=doc.raw("measurement", 20),
            features=int.from_bytes(doc.raw("features", 8), "big"),
            not_after=doc.integer("not_after", 0, PERPETUAL),
            terms_hash=doc.digest("terms_hash"),
            keyed_nonce=int.from_bytes(doc.raw("keyed_nonce", 32), "big"),
            signature=read_signature(doc),
        )


def sign_grant(
    signer: TypedSigner,
    domain: Domain,
    *,
    license_id: LicenseId,
    runtime_key_hash: Digest,
    terms_hash: Digest,
    grant_nonce: int,
    not_after: int = PERPETUAL,
    features: int = 0,
    measurement: bytes = NO_MEASUREMENT,
) -> RuntimeGrant:
    """Sign a grant as the holder.

    Args:
        signer: the holder's wallet.
        domain: of the license ledger.
        license_id: the license it uses.
        runtime_key_hash: ``RuntimeKey.hash()`` of the runtime.
        terms_hash: of the plan.
        grant_nonce: ``grantNonceOf(license)`` as the chain shows it now.
        not_after: Unix seconds; the license's own end counts anyway.
        features: bits allowed.
        measurement: 20 bytes the runtime's evidence must show; zeros for none.
    """
    unsigned = RuntimeGrant(
        license=license_id,
        runtime_key_hash=runtime_key_hash,
        measurement=measurement,
        features=features,
        not_after=not_after,
        terms_hash=terms_hash,
        keyed_nonce=secrets.randbits(192) << 64 | grant_nonce,
    )
    signature = signer.sign_typed(domain, GRANT_TYPE, unsigned.values())
    return RuntimeGrant(
        unsigned.license,
        unsigned.runtime_key_hash,
        unsigned.measurement,
        unsigned.features,
        unsigned.not_after,
        unsigned.terms_hash,
        unsigned.keyed_nonce,
        signature,
    )


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A holder's signed agreement to a plan's terms for one license."""

    license: LicenseId
    terms_hash: Digest
    signature: bytes

    def values(self) -> dict[str, Any]:
        """The EIP-712 field values."""
        return {"licenseId": int(self.license), "termsHash": self.terms_hash}

    def digest(self, domain: Domain) -> Digest:
        """The EIP-712 digest that the holder's wallet signs."""
        return domain.digest(ACCEPT_TYPE, self.values())

    def signer(self, domain: Domain, *, step: int = 0) -> Address:
        """The account that signed it.

        Raises:
            SignatureInvalid: no account did.
        """
        return recover(self.digest(domain), self.signature, step=step)

    def to_json(self) -> dict[str, Any]:
        """The acceptance as requests and grant files carry it."""
        return {
            "license": str(self.license),
            "terms_hash": str(self.terms_hash),
            "signature": hex_text(self.signature),
        }

    @classmethod
    def from_json(cls, value: Any) -> Acceptance:
        """Read an acceptance; the signature is not yet checked.

        Raises:
            ManifestError: not an acceptance.
        """
        doc = Document(value, "the acceptance of terms", ("license", "terms_hash", "signature"))
        return cls(doc.license(), doc.digest("terms_hash"), read_signature(doc))


def sign_acceptance(
    signer: TypedSigner, domain: Domain, *, license_id: LicenseId, terms_hash: Digest
) -> Acceptance:
    """Accept a plan's terms as the holder."""
    unsigned = Acceptance(license_id, terms_hash, b"")
    signature = signer.sign_typed(domain, ACCEPT_TYPE, unsigned.values())
    return Acceptance(license_id, terms_hash, signature)
