"""Evidence class ``tee``: EAR tokens by pinned issuers (docs/spec/attestation.md).

A token is a JWT, and JWTs are known for what is believed before it is verified. So everything here
is the other way round: keys come from the broker's operator alone, the header says nothing but
which of them, and one spelling of one strict JSON object is read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from ledger.broker.protocol import Evidence, KeyRequest
from ledger.canonical import canonical_json, hash_json, parse_json
from ledger.errors import FormatError, KeyRequestRejected, ManifestError, UsageError
from ledger.ids import Digest, LicenseId, ModelId
from ledger.licensing.document import Document, hex_text

REPORT_TAG: Final = "modeldeed/tee-report-data/1"
MEASUREMENT_TAG: Final = "modeldeed/tee-measurement/1"
ES256: Final = "ES256"
EDDSA: Final = "EdDSA"
MAX_TOKEN: Final = 32768
MAX_AGE: Final = 300
TOLERANCE: Final = 60
REPORT_DATA_PATH: Final = "cpu0/ear.veraison.annotated-evidence/report_data"

_HEADER = {"alg", "kid", "typ"}
_KEY_BYTES = {ES256: 33, EDDSA: 32}
_AFFIRMING = ("affirming", 2)
_VECTOR = range(-32, 32)
_MAX_SUBMODULES = 16
_CHECK = 7


def report_data(
    *,
    challenge: bytes,
    kem_key_hash: Digest,
    runtime_key_hash: Digest,
    license_id: LicenseId,
    model: ModelId,
    audience: str,
) -> bytes:
    """The 64 bytes that the hardware signs: for this one request."""
    bound = {
        "challenge": hex_text(challenge),
        "kem_key_hash": str(kem_key_hash),
        "runtime_key_hash": str(runtime_key_hash),
        "license": str(license_id),
        "model": str(model),
        "audience": audience,
    }
    return hashlib.sha512(REPORT_TAG.encode() + b"\0" + canonical_json(bound)).digest()


def report_data_of(request: KeyRequest) -> bytes:
    """The report data that evidence for this request must show."""
    return report_data(
        challenge=request.challenge,
        kem_key_hash=request.kem.hash(),
        runtime_key_hash=request.runtime.hash(),
        license_id=request.license,
        model=request.model,
        audience=request.audience,
    )


@dataclass(frozen=True, slots=True)
class Attester:
    """An attestation service's key, as the broker's operator pinned it.

    Attributes:
        kid: the token must name it; None takes any.
        key: 33 bytes (P-256, compressed) or 32 (Ed25519).
        report_data: where in ``submods`` the report data stands.
        measured: the claims that make up the measurement.
        max_age: seconds since ``iat``.
    """

    issuer: str
    alg: str
    key: bytes
    kid: str | None = None
    report_data: str = REPORT_DATA_PATH
    measured: tuple[str, ...] = ()
    max_age: int = MAX_AGE

    @classmethod
    def from_pem(cls, pem: bytes, *, issuer: str, **options: Any) -> Attester:
        """Pin the public key in a PEM file.

        Raises:
            UsageError: no Ed25519 or P-256 public key, or no issuer.
        """
        if not issuer:
            raise UsageError("an attester needs the issuer that its tokens name")
        try:
            key = load_pem_public_key(pem)
        except ValueError:
            raise UsageError(
                "this is no public key in PEM", hint="give the attester's public key, not its own"
            ) from None
        if isinstance(key, Ed25519PublicKey):
            return cls(issuer, EDDSA, key.public_bytes_raw(), **options)
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            raw = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
            return cls(issuer, ES256, raw, **options)
        raise UsageError("an attester's key is Ed25519 or P-256")

    def to_json(self) -> dict[str, Any]:
        """The pin as the broker's folder keeps it."""
        return {
            "issuer": self.issuer,
            "kid": self.kid,
            "alg": self.alg,
            "key": hex_text(self.key),
            "report_data": self.report_data,
            "measured": list(self.measured),
            "max_age": self.max_age,
        }

    @classmethod
    def from_json(cls, value: Any) -> Attester:
        """Read a pin.

        Raises:
            ManifestError: not one.
        """
        doc = Document(
            value,
            "an attester",
            ("issuer", "kid", "alg", "key", "report_data", "measured", "max_age"),
        )
        alg = doc.choice("alg", (ES256, EDDSA))
        made = cls(
            issuer=doc.text("issuer", limit=1000),
            kid=doc.text("kid", limit=200) if doc.has("kid") else None,
            alg=alg,
            key=doc.raw("key", _KEY_BYTES[alg]),
            report_data=doc.text("report_data", limit=1000),
            measured=doc.texts("measured", limit=32),
            max_age=doc.integer("max_age", 1, 86400),
        )
        if not made.issuer or len(set(made.measured)) != len(made.measured):
            raise ManifestError("an attester: it has an issuer, and measures each claim once")
        return made

    def signed(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made the signature."""
        try:
            if self.alg == EDDSA:
                Ed25519PublicKey.from_public_bytes(self.key).verify(signature, message)
            else:
                r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:]))
                point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.key)
                point.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True


class TeeEvidence:
    """Verifies EAR tokens against pinned attesters.

    Args:
        attesters: whom the broker's operator trusts.
        clock: Unix seconds.
    """

    def __init__(
        self, attesters: Sequence[Attester], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._attesters = tuple(attesters)
        self._clock = clock

    def verify(self, evidence: Evidence, request: KeyRequest) -> tuple[str, bytes]:
        """The numbered steps of docs/spec/attestation.md.

        Raises:
            KeyRequestRejected: the token does not hold for this request now.
        """
        token, now = evidence.token, int(self._clock())
        if token is None:
            _refuse("tee evidence needs a token, and none was shown")
        try:
            # (1) One spelling of two strict objects; (2) a header that says nothing but which key.
            header, claims, signature, message = _parsed(token)
            # (3) A pinned key of a pinned issuer signed it.
            attester = self._signer(header, claims, signature, message)
            # (4) Now.
            _check_times(claims, attester, now)
            # (5) and (6) For this request.
            submodules = claims.object("submods")
            _check_nonce(claims, request.challenge)
            _check_report_data(submodules, attester, report_data_of(request))
            # (7) In good order.
            _check_status(claims)
            # (8) What was measured.
            measurement = measurement_of(submodules, attester.measured)
        except FormatError as error:
            _refuse(error.message)
        shown = f"measurement {hex_text(measurement)}" if any(measurement) else "nothing measured"
        return f"class tee: attested by {attester.issuer}; {shown}", measurement

    def _signer(
        self, header: Document, claims: Document, signature: bytes, message: bytes
    ) -> Attester:
        issuer, alg = claims.text("iss", limit=1000), header.choice("alg", (ES256, EDDSA))
        kid = header.text("kid", limit=200) if header.has("kid") else None
        known = [attester for attester in self._attesters if attester.issuer == issuer]
        if not known:
            _refuse(f"this broker trusts no attester {issuer[:100]!r}")
        signer = next(
            (
                attester
                for attester in known
                if attester.alg == alg
                and attester.kid in {None, kid}
                and attester.signed(signature, message)
            ),
            None,
        )
        if signer is None:
            _refuse(f"the token is signed by none of the keys pinned for {issuer[:100]!r}")
        return signer


def measurement_of(submodules: dict[str, Any], measured: Sequence[str]) -> bytes:
    """20 bytes over the measured claims; zeros when none are measured.

    Raises:
        ManifestError: one is not there as text or integer.
    """
    if not measured:
        return bytes(20)
    values: dict[str, str | int] = {}
    for path in measured:
        value = _at(submodules, path)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ManifestError(f"the token has no measured claim {path[:200]}")
        values[path] = value
    return hash_json(MEASUREMENT_TAG, values).raw[:20]


def _parsed(token: str) -> tuple[Document, Document, bytes, bytes]:
    if len(token) > MAX_TOKEN:
        raise ManifestError(f"the token has over {MAX_TOKEN} characters")
    parts = token.split(".")
    if len(parts) != 3:
        raise ManifestError("the token is not a signed JWT of three parts")
    raw_header, raw_claims, signature = (_unencoded(part) for part in parts)
    header = Document(parse_json(raw_header, what="the token's header"), "the token's header")
    unknown = sorted(set(header.value) - _HEADER)
    if unknown:
        # Such as jku, jwk, x5c, which would bring keys along, and crit.
        raise ManifestError(f"the token's header has a member {unknown[0][:60]!r}")
    header.choice("alg", (ES256, EDDSA))
    if len(signature) != 64:
        raise ManifestError("the token's signature does not have 64 bytes")
    claims = Document(parse_json(raw_claims, what="the token's claims"), "the token's claims")
    return header, claims, signature, f"{parts[0]}.{parts[1]}".encode()


def _unencoded(part: str) -> bytes:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    # Unused bits could differ and mean the same; one token has one spelling.
    if not data or _encoded(data) != part:
        raise ManifestError("a part of the token is not base64url without padding")
    return data


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _check_times(claims: Document, attester: Attester, now: int) -> None:
    issued, end = claims.integer("iat"), claims.integer("exp")
    begin = claims.integer("nbf") if claims.value.get("nbf") is not None else issued
    if max(issued, begin) > now + TOLERANCE:
        _refuse("the token is not valid yet")
    if now >= end:
        _refuse("the token has expired")
    if now - issued > attester.max_age:
        _refuse(f"the token was issued {now - issued} s ago; at most {attester.max_age} count")


def _check_nonce(claims: Document, challenge: bytes) -> None:
    if "eat_nonce" not in claims.value:
        return
    given = claims.value["eat_nonce"]
    given = given[0] if isinstance(given, list) and len(given) == 1 else given
    if given != _encoded(challenge):
        _refuse("the token was made for another challenge")


def _check_report_data(submodules: dict[str, Any], attester: Attester, wanted: bytes) -> None:
    given = _at(submodules, attester.report_data)
    if not isinstance(given, str):
        _refuse(f"the token has no report data at {attester.report_data}")
    # Compared as bytes of any text; what is not hex is simply not equal.
    if not hmac.compare_digest(given.lower().encode("utf-8", "replace"), wanted.hex().encode()):
        _refuse("the attested report data is for another challenge, KEM key, license or broker")


def _check_status(claims: Document) -> None:
    submodules = claims.object("submods")
    if not 1 <= len(submodules) <= _MAX_SUBMODULES:
        _refuse(f"a token has 1 to {_MAX_SUBMODULES} submodules")
    for name, value in submodules.items():
        appraisal = Document(value, f"submodule {name[:60]!r}")
        status = appraisal.value.get("ear.status")
        if isinstance(status, bool) or status not in _AFFIRMING:
            _refuse(f"submodule {name[:60]!r} is not affirming, but {str(status)[:40]!r}")
        vector = appraisal.value.get("ear.trustworthiness-vector", {})
        if not isinstance(vector, dict):
            _refuse(f"submodule {name[:60]!r} has no trustworthiness vector of the right form")
        for claim, tier in vector.items():
            if isinstance(tier, bool) or not isinstance(tier, int) or tier not in _VECTOR:
                _refuse(f"submodule {name[:60]!r}: {claim[:60]!r} is not affirming")


def _at(submodules: dict[str, Any], path: str) -> Any:
    value: Any = submodules
    for name in path.split("/"):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _refuse(reason: str) -> NoReturn:
    raise KeyRequestRejected(
        reason,
        check=_CHECK,
        hint="get a fresh token for this request from an attester that the broker trusts",
    )
