"""Certificates and revocation lists as of a token's time (docs/spec/timestamps.md).

A chain stands in the order of its members, so there is no path to search: each certificate is
issued by the next. Judged at the time given, never at today's. RFC 5280 sections 4.1, 5.1, 6.1 (the
part named on that page).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ledger.errors import TimestampInvalid
from ledger.evidence import der
from ledger.evidence.der import Fields, Node
from ledger.evidence.signatures import verify_signature
from ledger.ids import Digest

MAX_CERTIFICATES = 8
MAX_LISTS = 16
MAX_PEM_BYTES = 64 << 10
MAX_LIST_BYTES = 4 << 20
_KEY_USAGE, _BASIC, _EXTENDED_USAGE = "2.5.29.15", "2.5.29.19", "2.5.29.37"
# key identifiers, alternative names, list locations, policies: read over, they restrict nothing.
_KNOWN = {_KEY_USAGE, _BASIC, _EXTENDED_USAGE} | {
    f"2.5.29.{arc}" for arc in (14, 17, 18, 31, 32, 35)
}
_TIME_STAMPING = "1.3.6.1.5.5.7.3.8"
_COMMON_NAME = "2.5.4.3"
_TEXTS = {0x0C: "utf-8", 0x13: "ascii", 0x16: "ascii"}
_DIGITAL_SIGNATURE, _NON_REPUDIATION, _CERT_SIGN, _CRL_SIGN = 0, 1, 5, 6
_REASON = "2.5.29.21"
# Reasons that leave earlier tokens standing, RFC 3161 section 4: unspecified, affiliation changed,
# superseded, cessation of operation.
_HARMLESS = {0, 3, 4, 5}
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\n([A-Za-z0-9+/=\n]+)-----END \1-----\n")


@dataclass(frozen=True)
class Certificate:
    """What of an X.509 certificate counts here.

    Attributes:
        issuer: DER of the Name; so is `subject`.
        name: the first common name of the subject, if it is in a usual encoding.
        serial: content of the INTEGER.
        key: DER of the SubjectPublicKeyInfo.
        extensions: critical or not, and the value's DER, by OID.
    """

    raw: bytes
    version: int
    serial: bytes
    issuer: bytes
    subject: bytes
    name: str | None
    not_before: int
    not_after: int
    key: bytes
    extensions: Mapping[str, tuple[bool, bytes]]
    signed: bytes
    algorithm: Node
    signature: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Certificate:
        """Read DER.

        Raises:
            TimestampInvalid: malformed.
        """
        body, algorithm, signature = _signed(raw)
        fields = body.fields()
        marked = fields.maybe(0xA0)
        version = 0 if marked is None else der.integer(der.read(marked.content, der.INTEGER))
        serial = fields.take(der.INTEGER)
        der.integer(serial)
        if fields.take(der.SEQUENCE).raw != algorithm.raw:
            raise TimestampInvalid("a certificate names two signature algorithms")
        issuer = fields.take(der.SEQUENCE).raw
        validity = fields.take(der.SEQUENCE).fields()
        not_before, not_after = der.time_of(validity), der.time_of(validity)
        validity.end()
        subject = fields.take(der.SEQUENCE).raw
        key = fields.take(der.SEQUENCE).raw
        fields.maybe(0x81)
        fields.maybe(0x82)
        extensions = _extensions(fields.maybe(0xA3))
        fields.end()
        if version not in {0, 2} or (extensions and version != 2):
            raise TimestampInvalid("a certificate is neither version 1 nor version 3")
        return cls(
            name=_common_name(subject),
            raw=raw,
            version=version,
            serial=serial.content,
            issuer=issuer,
            subject=subject,
            not_before=not_before,
            not_after=not_after,
            key=key,
            extensions=extensions,
            signed=body.raw,
            algorithm=algorithm,
            signature=signature,
        )

    @cached_property
    def digest(self) -> Digest:
        """SHA-256 of the DER: how certificates are named here."""
        return Digest(hashlib.sha256(self.raw).digest())

    def may(self, *uses: int) -> bool:
        """Whether keyUsage, if there, has one of these bits."""
        if _KEY_USAGE not in self.extensions:
            return True
        content = der.read(self.extensions[_KEY_USAGE][1], der.BIT_STRING).content
        if len(content) < 2:
            raise TimestampInvalid("a certificate's key usage is malformed")
        return any(
            1 + use // 8 < len(content) and content[1 + use // 8] >> (7 - use % 8) & 1
            for use in uses
        )

    def check_signer(self) -> None:
        """May sign time-stamps, and nothing else.

        Raises:
            TimestampInvalid: it may not.
        """
        critical, value = self.extensions.get(_EXTENDED_USAGE, (False, b""))
        if not critical:
            raise TimestampInvalid("the signing certificate is not for time-stamps alone")
        uses = [der.identifier(_tagged(use, der.OID)) for use in der.read(value).parts()]
        if uses != [_TIME_STAMPING]:
            raise TimestampInvalid("the signing certificate is not for time-stamps alone")
        if not self.may(_DIGITAL_SIGNATURE, _NON_REPUDIATION):
            raise TimestampInvalid("the signing certificate's key may not sign")

    def check_issuer(self, below: int) -> None:
        """May issue certificates, with `below` authorities between it and the signer.

        Raises:
            TimestampInvalid: it may not.
        """
        if self.version == 0:
            return
        if _BASIC not in self.extensions:
            raise TimestampInvalid("a certificate in the chain is not of an authority")
        fields = der.read(self.extensions[_BASIC][1]).fields()
        authority = fields.maybe(der.BOOLEAN)
        limit = fields.maybe(der.INTEGER)
        fields.end()
        if authority is None or not der.boolean(authority) or not self.may(_CERT_SIGN):
            raise TimestampInvalid("a certificate in the chain is not of an authority")
        if limit is not None and der.integer(limit) < below:
            raise TimestampInvalid("a certificate chain is longer than its authority allows")


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A revocation list.

    Attributes:
        issued: thisUpdate.
        revoked: when, and with what reason (None if none is given), by serial number.
    """

    issuer: bytes
    issued: int
    revoked: Mapping[bytes, tuple[int, int | None]]
    signed: bytes
    algorithm: Node
    signature: bytes

    @classmethod
    def parse(cls, raw: bytes) -> RevocationList:
        """Read DER.

        Raises:
            TimestampInvalid: malformed, or of a kind that says less than it seems to.
        """
        body, algorithm, signature = _signed(raw)
        fields = body.fields()
        fields.maybe(der.INTEGER)
        if fields.take(der.SEQUENCE).raw != algorithm.raw:
            raise TimestampInvalid("a revocation list names two signature algorithms")
        issuer, issued = fields.take(der.SEQUENCE).raw, der.time_of(fields)
        following = fields.maybe(der.UTC_TIME) or fields.maybe(der.GENERALIZED_TIME)
        del following
        entries = fields.maybe(der.SEQUENCE)
        extensions = _extensions(fields.maybe(0xA0))
        fields.end()
        if any(critical for critical, _ in extensions.values()):
            raise TimestampInvalid("this kind of revocation list is not read")
        revoked = {}
        for entry in [] if entries is None else entries.parts():
            serial, when, reason = _revoked(_tagged(entry, der.SEQUENCE).fields())
            revoked[serial] = (when, reason)
        return cls(issuer, issued, revoked, body.raw, algorithm, signature)


def read_certificates(data: bytes) -> tuple[Certificate, ...]:
    """The certificates of a PEM member, in its only spelling.

    Raises:
        TimestampInvalid: another spelling, too many, or malformed ones.
    """
    blocks = _blocks(data, "CERTIFICATE", MAX_PEM_BYTES, MAX_CERTIFICATES)
    return tuple(Certificate.parse(raw) for raw in blocks)


def read_lists(data: bytes) -> tuple[RevocationList, ...]:
    """The revocation lists of a PEM member, in its only spelling.

    Raises:
        TimestampInvalid: another spelling, too many, or malformed ones.
    """
    blocks = _blocks(data, "X509 CRL", MAX_LIST_BYTES, MAX_LISTS)
    return tuple(RevocationList.parse(raw) for raw in blocks)


def to_pem(kind: str, documents: Sequence[bytes]) -> bytes:
    """PEM as bundles carry it."""
    return "".join(_pem(kind, raw) for raw in documents).encode()


def pem_blocks(text: str, kind: str) -> list[bytes]:
    """The DER of a kind of block in anyone's PEM file, whatever stands between the blocks.

    Raises:
        TimestampInvalid: a block is no base64.
    """
    found = []
    pattern = rf"-----BEGIN {kind}-----\s+([A-Za-z0-9+/=\s]+?)-----END {kind}-----"
    for body in re.findall(pattern, text):
        try:
            found.append(base64.b64decode("".join(body.split()), validate=True))
        except ValueError:
            raise TimestampInvalid("a PEM block is no base64") from None
    return found


def check_chain(chain: Sequence[Certificate], at: int) -> None:
    """Each certificate is issued by the next and valid at `at`; the last names itself.

    Raises:
        TimestampInvalid: it is not.
    """
    for place, one in enumerate(chain):
        last = place == len(chain) - 1
        above = one if last else chain[place + 1]
        if one.issuer != above.subject:
            raise TimestampInvalid("a certificate is not issued by the next one, or has no root")
        if not last:
            verify_signature(one.algorithm, above.key, one.signed, one.signature)
        if not one.not_before <= at <= one.not_after:
            raise TimestampInvalid(f"certificate {place + 1} was not valid at the token's time")
        if one.version == 0 and not last:
            raise TimestampInvalid("a certificate below the root is version 1")
        for name, (critical, _) in one.extensions.items():
            if critical and name not in _KNOWN:
                raise TimestampInvalid(f"the critical certificate extension {name} is not read")
        if place:
            one.check_issuer(place - 1)
    chain[0].check_signer()


def check_revocation(
    chain: Sequence[Certificate], lists: Sequence[RevocationList], at: int
) -> None:
    """No list takes the chain's word for `at` away.

    Raises:
        TimestampInvalid: a certificate was revoked by then, or for a reason that taints what it
            signed before; or a list is not of this chain.
    """
    for of in lists:
        issuers = [one for one in chain[1:] if one.subject == of.issuer]
        if not issuers or not issuers[0].may(_CRL_SIGN):
            raise TimestampInvalid("a revocation list is not of an authority in the chain")
        verify_signature(of.algorithm, issuers[0].key, of.signed, of.signature)
        for one in chain:
            if one.issuer != of.issuer or one.serial not in of.revoked:
                continue
            when, reason = of.revoked[one.serial]
            if when <= at:
                raise TimestampInvalid("a certificate was revoked before the token was made")
            if reason not in _HARMLESS:
                raise TimestampInvalid("a certificate was revoked for a reason that taints tokens")


def _signed(raw: bytes) -> tuple[Node, Node, bytes]:
    """Body, signature algorithm and signature of a certificate or list."""
    fields = der.read(raw).fields()
    body, algorithm = fields.take(der.SEQUENCE), fields.take(der.SEQUENCE)
    signature = der.bits(fields.take(der.BIT_STRING))
    fields.end()
    return body, algorithm, signature


def _extensions(wrapped: Node | None) -> dict[str, tuple[bool, bytes]]:
    """Extensions inside their context tag."""
    return {} if wrapped is None else _extension_list(der.read(wrapped.content).parts())


def _extension_list(parts: Sequence[Node]) -> dict[str, tuple[bool, bytes]]:
    found: dict[str, tuple[bool, bytes]] = {}
    for part in parts:
        fields = _tagged(part, der.SEQUENCE).fields()
        name = der.identifier(fields.take(der.OID))
        critical = fields.maybe(der.BOOLEAN)
        value = fields.take(der.OCTET_STRING).content
        fields.end()
        if name in found:
            raise TimestampInvalid(f"the extension {name} stands twice")
        found[name] = (critical is not None and der.boolean(critical), value)
    return found


def any_critical(parts: Sequence[Node]) -> bool:
    """Whether an extension in this list is critical."""
    return any(critical for critical, _ in _extension_list(parts).values())


def _revoked(fields: Fields) -> tuple[bytes, int, int | None]:
    serial = fields.take(der.INTEGER).content
    when = der.time_of(fields)
    listed = fields.maybe(der.SEQUENCE)
    fields.end()
    extensions = {} if listed is None else _extension_list(listed.parts())
    if any(critical for critical, _ in extensions.values()):
        raise TimestampInvalid("this kind of revocation list is not read")
    if _REASON not in extensions:
        return serial, when, None
    return serial, when, der.integer(der.read(extensions[_REASON][1], der.ENUMERATED))


def _common_name(subject: bytes) -> str | None:
    for names in der.read(subject).parts():
        for pair in names.parts():
            fields = pair.fields()
            if der.identifier(fields.take(der.OID)) != _COMMON_NAME:
                continue
            for tag, encoding in _TEXTS.items():
                text = fields.maybe(tag)
                if text is not None:
                    try:
                        return text.content.decode(encoding)
                    except UnicodeDecodeError:
                        return None
            return None
    return None


def _tagged(node: Node, tag: int) -> Node:
    if node.tag != tag:
        raise TimestampInvalid(f"a DER element {tag:#04x} is missing")
    return node


def _blocks(data: bytes, kind: str, limit: int, most: int) -> list[bytes]:
    if len(data) > limit:
        raise TimestampInvalid(f"a PEM member has at most {limit} bytes")
    found = list(_read_blocks(data, kind))
    if not 0 < len(found) <= most or to_pem(kind, found) != data:
        raise TimestampInvalid(f"a PEM member is not 1 to {most} {kind} blocks as written here")
    return found


def _read_blocks(data: bytes, kind: str) -> Iterator[bytes]:
    for block in _BLOCK.finditer(data.decode("latin-1")):
        if block[1] == kind:
            try:
                yield base64.b64decode(block[2].replace("\n", ""), validate=True)
            except ValueError:
                raise TimestampInvalid("a PEM block is no base64") from None


def _pem(kind: str, raw: bytes) -> str:
    text = base64.b64encode(raw).decode()
    rows = "".join(text[at : at + 64] + "\n" for at in range(0, len(text), 64))
    return f"-----BEGIN {kind}-----\n{rows}-----END {kind}-----\n"
