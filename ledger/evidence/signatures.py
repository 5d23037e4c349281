"""Signatures on tokens, certificates and lists, by the keys in certificates.

Which kinds and which forms of a key are read stands in ``docs/spec/timestamps.md``: one form each,
so that every verifier reads the same keys. The mathematics are `cryptography`'s.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ledger.errors import TimestampInvalid
from ledger.evidence import der
from ledger.evidence.der import Node

RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
HASHES: Mapping[str, type[hashes.HashAlgorithm]] = {
    "2.16.840.1.101.3.4.2.1": hashes.SHA256,
    "2.16.840.1.101.3.4.2.2": hashes.SHA384,
    "2.16.840.1.101.3.4.2.3": hashes.SHA512,
}
RSA_WITH: Mapping[str, type[hashes.HashAlgorithm]] = {
    "1.2.840.113549.1.1.11": hashes.SHA256,
    "1.2.840.113549.1.1.12": hashes.SHA384,
    "1.2.840.113549.1.1.13": hashes.SHA512,
}
ECDSA_WITH: Mapping[str, type[hashes.HashAlgorithm]] = {
    "1.2.840.10045.4.3.2": hashes.SHA256,
    "1.2.840.10045.4.3.3": hashes.SHA384,
    "1.2.840.10045.4.3.4": hashes.SHA512,
}
_EC_KEY = "1.2.840.10045.2.1"
# Bytes of an uncompressed point (SEC 1, 2.3.3), by curve: P-256, P-384, P-521.
_POINT_BYTES = {"1.2.840.10045.3.1.7": 65, "1.3.132.0.34": 97, "1.3.132.0.35": 133}
_UNCOMPRESSED = 4


def verify_signature(
    algorithm: Node, key: bytes, message: bytes, signature: bytes, *, digest: str = ""
) -> None:
    """Check a signature by the key in a SubjectPublicKeyInfo.

    Args:
        algorithm: the AlgorithmIdentifier beside the signature.
        key: DER of the SubjectPublicKeyInfo.
        message: what is signed.
        signature: its bytes.
        digest: OID of the hash that a CMS signer names, which must be the signature's.

    Raises:
        TimestampInvalid: it does not verify, or is of a kind that is not read.
    """
    name, null = der.algorithm(algorithm)
    hashed = RSA_WITH.get(name) or ECDSA_WITH.get(name)
    if name == RSA_ENCRYPTION and digest:
        hashed = HASHES.get(digest)
    if hashed is None or (digest and hashed is not HASHES.get(digest)):
        raise TimestampInvalid(f"a signature of the kind {name} is not read")
    kind = _key_kind(key)
    try:
        public = load_der_public_key(key)
        if name in ECDSA_WITH:
            if not isinstance(public, ec.EllipticCurvePublicKey) or kind != _EC_KEY or null:
                raise TimestampInvalid("a signature and its key are of different kinds")
            public.verify(signature, message, ec.ECDSA(hashed()))
        else:
            if not isinstance(public, rsa.RSAPublicKey) or kind != RSA_ENCRYPTION:
                raise TimestampInvalid("a signature and its key are of different kinds")
            public.verify(signature, message, padding.PKCS1v15(), hashed())
    except InvalidSignature:
        raise TimestampInvalid("a signature does not verify") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TimestampInvalid(f"a public key is not read: {error}") from None


def _key_kind(key: bytes) -> str:
    """The algorithm of a SubjectPublicKeyInfo in the one form that is read.

    Raises:
        TimestampInvalid: another form, or a key of another size.
    """
    fields = der.read(key).fields()
    about, held = fields.take(der.SEQUENCE).fields(), der.bits(fields.take(der.BIT_STRING))
    fields.end()
    kind = der.identifier(about.take(der.OID))
    if kind == _EC_KEY:
        size = _POINT_BYTES.get(der.identifier(about.take(der.OID)))
        if size is None or len(held) != size or held[0] != _UNCOMPRESSED:
            raise TimestampInvalid("a public key's curve, or the form of its point, is not read")
    elif kind == RSA_ENCRYPTION:
        if about.take(der.NULL).content:
            raise TimestampInvalid("a NULL has content")
        numbers = der.read(held).fields()
        modulus, exponent = (_positive(numbers.take(der.INTEGER)) for _ in range(2))
        numbers.end()
        usual = 2048 <= modulus.bit_length() <= 8192 and 2 < exponent < 1 << 64
        if not usual or not modulus & exponent & 1:
            raise TimestampInvalid("an RSA key of this size is not read")
    else:
        raise TimestampInvalid(f"a public key of the kind {kind} is not read")
    about.end()
    return kind


def _positive(node: Node) -> int:
    """A number of a key, which may be longer than others."""
    raw = node.content
    if not raw or raw[0] >= 0x80 or (len(raw) > 1 and not raw[0] and raw[1] < 0x80):
        raise TimestampInvalid("a number of a public key is malformed")
    return int.from_bytes(raw, "big")
