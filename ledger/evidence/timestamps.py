"""RFC 3161 tokens over a bundle's contents, verified offline and as of their own time.

Sections 2.4.2 (TSTInfo) and 4 of RFC 3161, section 5 of RFC 5652 (CMS), RFC 5816 (ESSCertIDv2).
What is accepted stands in ``docs/spec/timestamps.md``; why it is read here in ``docs/adr/0040``.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes

from ledger.errors import TimestampInvalid
from ledger.evidence import der
from ledger.evidence.certificates import (
    MAX_CERTIFICATES,
    Certificate,
    RevocationList,
    any_critical,
    check_chain,
    check_revocation,
    read_certificates,
    read_lists,
)
from ledger.evidence.der import Node
from ledger.evidence.signatures import HASHES, verify_signature
from ledger.ids import Digest

MAX_TOKEN_BYTES = 64 << 10
# What all of a bundle's tokens may bring: each certificate and list is one signature to verify, and
# nothing else bounds how long a verifier of plain integers works.
IN_ALL = {"tokens": 32, "certificates": 128, "lists": 64, "list_bytes": 8 << 20}
_RENEWAL_TAG = b"modeldeed/renewal/1\x00"
_SIGNED_DATA = "1.2.840.113549.1.7.2"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE, _MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
_SIGNING_V1, _SIGNING_V2 = "1.2.840.113549.1.9.16.2.12", "1.2.840.113549.1.9.16.2.47"
_SHA256 = "2.16.840.1.101.3.4.2.1"
_SECOND = 1_000_000
_GIVE = "give the authority's root and issuing certificates with --tsa-root FILE"


@dataclass(frozen=True, slots=True)
class Token:
    """A token taken apart; nothing in it is verified yet.

    Attributes:
        imprint: what it dates.
        generated: genTime in microseconds since 1970.
        accuracy: in microseconds; None if it states none.
        serial: content of the INTEGER.
        nonce: that of the request; None if it had none.
        embedded: DER of the certificates that stand inside, which verification does not read.
    """

    imprint: Digest
    generated: int
    accuracy: int | None
    serial: bytes
    policy: str
    nonce: int | None
    content: bytes
    digest: str
    issuer: bytes
    signer_serial: bytes
    attributes: bytes
    algorithm: Node
    signature: bytes
    embedded: tuple[bytes, ...]

    @property
    def time(self) -> int:
        """The second in which it was made."""
        return self.generated // _SECOND

    @property
    def earliest(self) -> int | None:
        """The second before which it was not made; None if it states no accuracy."""
        return None if self.accuracy is None else (self.generated - self.accuracy) // _SECOND

    @property
    def latest(self) -> int:
        """The second by which what it dates existed."""
        return -(-(self.generated + (self.accuracy or 0)) // _SECOND)

    @classmethod
    def parse(cls, raw: bytes) -> Token:
        """Read a bare TimeStampToken.

        Raises:
            TimestampInvalid: malformed, or of a form that is not read.
        """
        if len(raw) > MAX_TOKEN_BYTES:
            raise TimestampInvalid(f"a token has at most {MAX_TOKEN_BYTES} bytes")
        outer = der.read(raw).fields()
        _named(outer.take(der.OID), _SIGNED_DATA)
        inside = outer.take(0xA0)
        outer.end()
        fields = der.read(inside.content).fields()
        der.integer(fields.take(der.INTEGER))
        fields.take(der.SET)
        wrapped = fields.take(der.SEQUENCE).fields()
        _named(wrapped.take(der.OID), _TST_INFO)
        content = der.read(wrapped.take(0xA0).content, der.OCTET_STRING).content
        wrapped.end()
        certificates = fields.maybe(0xA0)
        fields.maybe(0xA1)
        signers = fields.take(der.SET)
        fields.end()
        info = der.read(signers.content).fields()  # exactly one
        der.integer(info.take(der.INTEGER))
        who = info.take(der.SEQUENCE).fields()
        issuer, signer_serial = who.take(der.SEQUENCE).raw, who.take(der.INTEGER).content
        who.end()
        digest, _ = der.algorithm(info.take(der.SEQUENCE))
        attributes = info.take(0xA0).content
        algorithm, signature = info.take(der.SEQUENCE), info.take(der.OCTET_STRING).content
        info.maybe(0xA1)
        info.end()
        if digest not in HASHES:
            raise TimestampInvalid(f"the hash {digest} is not read")
        imprint, generated, accuracy, serial, policy, nonce = _info(content)
        return cls(
            imprint=imprint,
            generated=generated,
            accuracy=accuracy,
            serial=serial,
            policy=policy,
            nonce=nonce,
            content=content,
            digest=digest,
            issuer=issuer,
            signer_serial=signer_serial,
            attributes=attributes,
            algorithm=algorithm,
            signature=signature,
            embedded=tuple(one.raw for one in certificates.parts()) if certificates else (),
        )

    def check_signer(self, signer: Certificate) -> None:
        """This certificate's key signed the token, which names it.

        Raises:
            TimestampInvalid: another certificate is named, or the signature does not verify.
        """
        set_of = _rewrapped(self.attributes)
        found = _attributes(set_of)
        _named(_want(found, _CONTENT_TYPE, der.OID), _TST_INFO)
        stated = _want(found, _MESSAGE_DIGEST, der.OCTET_STRING).content
        if stated != _hash(HASHES[self.digest], self.content):
            raise TimestampInvalid("the token's digest is not that of its statement")
        if _SIGNING_V1 not in found and _SIGNING_V2 not in found:
            raise TimestampInvalid("the token does not name its signing certificate")
        if _SIGNING_V2 in found:
            fields = _first_id(_want(found, _SIGNING_V2, der.SEQUENCE))
            named = fields.maybe(der.SEQUENCE)
            digest = _SHA256 if named is None else der.algorithm(named)[0]
            if digest not in HASHES:
                raise TimestampInvalid(f"the hash {digest} is not read")
            if fields.take(der.OCTET_STRING).content != _hash(HASHES[digest], signer.raw):
                raise TimestampInvalid("the token names another signing certificate")
        if _SIGNING_V1 in found:
            fields = _first_id(_want(found, _SIGNING_V1, der.SEQUENCE))
            # RFC 2634: this attribute's hash is always SHA-1; it names, the signature proves.
            named_by = hashlib.sha1(signer.raw, usedforsecurity=False).digest()
            if fields.take(der.OCTET_STRING).content != named_by:
                raise TimestampInvalid("the token names another signing certificate")
        if (self.issuer, self.signer_serial) != (signer.issuer, signer.serial):
            raise TimestampInvalid("the token names another signer")
        verify_signature(self.algorithm, signer.key, set_of, self.signature, digest=self.digest)


@dataclass(frozen=True, slots=True)
class Stamp:
    """A verified token with the certificates that stand behind it."""

    token: Token
    chain: tuple[Certificate, ...]
    lists: tuple[RevocationList, ...]

    @property
    def root(self) -> Certificate:
        """Whom a reader must trust to believe it."""
        return self.chain[-1]

    @property
    def signer_until(self) -> int:
        """When the signing certificate ends: a renewal must come before."""
        return self.chain[0].not_after


def renewal_imprint(contents: Digest, earlier: Sequence[bytes]) -> Digest:
    """What token n dates: the contents, and every token before it."""
    if not earlier:
        return contents
    hashed = b"".join(hashlib.sha256(raw).digest() for raw in earlier)
    return Digest(hashlib.sha256(_RENEWAL_TAG + contents.raw + hashed).digest())


def verify_token(raw: bytes, pem: bytes, lists: bytes | None, imprint: Digest) -> Stamp:
    """Verify a token of `imprint` with its certificates and revocation lists.

    Args:
        raw: the bare token.
        pem: signer, issuers, root.
        lists: revocation lists in PEM, if carried.
        imprint: what it must date.

    Raises:
        TimestampInvalid: it does not hold.
    """
    token = Token.parse(raw)
    if token.imprint != imprint:
        raise TimestampInvalid("the token dates something else")
    stamp = Stamp(token, read_certificates(pem), () if lists is None else read_lists(lists))
    token.check_signer(stamp.chain[0])
    check_chain(stamp.chain, token.time)
    check_revocation(stamp.chain, stamp.lists, token.time)
    return stamp


def chain_of(token: Token, others: Sequence[bytes]) -> tuple[Certificate, ...]:
    """The token's signer, its issuers and their root, found inside the token and among others.

    Args:
        token: as answered.
        others: DER of certificates that one has: at least the root, mostly.

    Raises:
        TimestampInvalid: the signer, an issuer or the root is not among them.
    """
    pool = [Certificate.parse(raw) for raw in (*others, *token.embedded)]
    at = (token.issuer, token.signer_serial)
    chain = [one for one in pool if (one.issuer, one.serial) == at][:1]
    if not chain:
        raise TimestampInvalid("the token's signing certificate is not here", hint=_GIVE)
    while chain[-1].issuer != chain[-1].subject:
        above = next((one for one in pool if one.subject == chain[-1].issuer), None)
        if above is None or len(chain) == MAX_CERTIFICATES:
            raise TimestampInvalid(
                "the root certificate behind the token's signer is not here", hint=_GIVE
            )
        chain.append(above)
    return tuple(chain)


def check_renewals(stamps: Sequence[Stamp]) -> None:
    """Each token was made after the one before, while that one's certificate still held.

    Raises:
        TimestampInvalid: it was not.
    """
    for number, (before, after) in enumerate(itertools.pairwise(stamps), start=2):
        if after.token.generated < before.token.generated:
            raise TimestampInvalid(f"token {number} is older than the one it renews")
        if after.token.time > before.signer_until:
            raise TimestampInvalid(f"token {number} came after the certificate before it ended")


def _info(content: bytes) -> tuple[Digest, int, int | None, bytes, str, int | None]:
    fields = der.read(content).fields()
    if der.integer(fields.take(der.INTEGER)) != 1:
        raise TimestampInvalid("the token is not version 1")
    policy = der.identifier(fields.take(der.OID))
    imprint = fields.take(der.SEQUENCE).fields()
    digest, _ = der.algorithm(imprint.take(der.SEQUENCE))
    hashed = imprint.take(der.OCTET_STRING).content
    imprint.end()
    serial = fields.take(der.INTEGER)
    if digest != _SHA256 or len(hashed) != 32 or der.integer(serial) < 0:
        raise TimestampInvalid("the token does not date a SHA-256 digest")
    generated = der.token_time(fields.take(der.GENERALIZED_TIME))
    stated = fields.maybe(der.SEQUENCE)
    ordering = fields.maybe(der.BOOLEAN)
    asked = fields.maybe(der.INTEGER)
    fields.maybe(0xA0)
    extensions = fields.maybe(0xA1)
    fields.end()
    if ordering is not None:
        der.boolean(ordering)
    nonce = None if asked is None else der.integer(asked)
    if extensions is not None and any_critical(extensions.parts()):
        raise TimestampInvalid("the token has a critical extension")
    return Digest(hashed), generated, _accuracy(stated), serial.content, policy, nonce


def _accuracy(stated: Node | None) -> int | None:
    if stated is None:
        return None
    fields = stated.fields()
    seconds, millis, micros = fields.maybe(der.INTEGER), fields.maybe(0x80), fields.maybe(0x81)
    fields.end()
    whole = 0 if seconds is None else der.integer(seconds)
    parts = [0 if part is None else der.integer(part) for part in (millis, micros)]
    for node, value in zip((millis, micros), parts, strict=True):
        if node is not None and not 1 <= value <= 999:
            raise TimestampInvalid("the token's accuracy is malformed")
    if not 0 <= whole < 1 << 31:
        raise TimestampInvalid("the token's accuracy is malformed")
    return whole * _SECOND + parts[0] * 1000 + parts[1]


def _rewrapped(content: bytes) -> bytes:
    """The attributes as they were signed: under the tag of a SET (RFC 5652 section 5.4)."""
    size = len(content)
    if size < 0x80:
        return bytes([der.SET, size]) + content
    width = (size.bit_length() + 7) // 8
    return bytes([der.SET, 0x80 | width]) + size.to_bytes(width, "big") + content


def _attributes(set_of: bytes) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for one in der.read(set_of, der.SET).parts():
        if one.tag != der.SEQUENCE:
            raise TimestampInvalid("the token's attributes are malformed")
        fields = one.fields()
        name = der.identifier(fields.take(der.OID))
        values = fields.take(der.SET).parts()
        fields.end()
        if name in found or len(values) != 1:
            raise TimestampInvalid(f"the token's attribute {name} is not there once")
        found[name] = values[0]
    return found


def _want(found: dict[str, Node], name: str, tag: int) -> Node:
    if name not in found or found[name].tag != tag:
        raise TimestampInvalid(f"the token lacks the attribute {name}")
    return found[name]


def _first_id(signing: Node) -> der.Fields:
    """The fields of the first ESSCertID or ESSCertIDv2."""
    listed = signing.fields().take(der.SEQUENCE)
    return listed.fields().take(der.SEQUENCE).fields()


def _named(node: Node, wanted: str) -> None:
    if der.identifier(node) != wanted:
        raise TimestampInvalid("this is not a time-stamp token")


def _hash(kind: type[hashes.HashAlgorithm], data: bytes) -> bytes:
    digest = hashes.Hash(kind())
    digest.update(data)
    return digest.finalize()
