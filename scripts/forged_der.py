"""DER taken apart and put together again, and a forger's time-stamping authority made of it.

For hostile tests and vectors, not for anything real: keys are small numbers.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ledger.evidence.certificates import to_pem

# (tag, content), (tag, parts) or, for a BIT STRING around DER, (tag, ("bits", parts)).
Tree = list[Any]
_PARTS = ("root", "issuing", "signer", "info", "attributes", "token", "list", "none")
_BEGIN, _END = b"260101000000Z", b"270101000000Z"


def elements(data: bytes) -> Tree:
    """DER as (tag, parts or content); what cannot be taken apart is content.

    Raises:
        ValueError: not DER at the top.
    """
    found: Tree = []
    place = 0
    while place < len(data):
        if place + 2 > len(data) or data[place] & 0x1F == 0x1F:
            raise ValueError
        tag, size, start = data[place], data[place + 1], place + 2
        if size >= 0x80:
            width = size & 0x7F
            size, start = int.from_bytes(data[start : start + width], "big"), start + width
        if start + size > len(data):
            raise ValueError
        found.append((tag, _held(tag, data[start : start + size])))
        place = start + size
    return found


def _held(tag: int, content: bytes) -> Any:
    bits = tag == 3 and content[:1] == b"\0"
    if not (tag & 0x20 or tag == 4 or bits):
        return content
    try:
        parts = elements(content[1:] if bits else content)
    except ValueError:
        return content
    if bits and parts:
        return ("bits", parts)
    return parts if parts or tag & 0x20 else content


def encoded(tree: Tree) -> bytes:
    """The DER of what `elements` gives, lengths computed anew."""
    out = b""
    for tag, held in tree:
        if isinstance(held, tuple):
            out += tlv(tag, b"\0" + encoded(held[1]))
        else:
            out += tlv(tag, encoded(held) if isinstance(held, list) else held)
    return out


def tlv(tag: int, content: bytes) -> bytes:
    """One element."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    width = (size.bit_length() + 7) // 8
    return bytes([tag, 0x80 | width]) + size.to_bytes(width, "big") + content


def identifier(text: str) -> bytes:
    """An OBJECT IDENTIFIER from its dots."""
    first, second, *rest = map(int, text.split("."))
    body = bytes([40 * first + second])
    for arc in rest:
        left, part = arc, [arc & 0x7F]
        while left := left >> 7:
            part.insert(0, left & 0x7F | 0x80)
        body += bytes(part)
    return tlv(6, body)


def sequence(*parts: bytes) -> bytes:
    """A SEQUENCE of these."""
    return tlv(0x30, b"".join(parts))


_ECDSA = sequence(identifier("1.2.840.10045.4.3.2"))
_SHA256 = sequence(identifier("2.16.840.1.101.3.4.2.1"))
# Of the same bytes the same signature, so that vectors made anew do not change.
_SIGNING = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_TST = identifier("1.2.840.113549.1.9.16.1.4")


class Tsa:
    """Root, issuing authority and signer of a forger, each signed by the one above.

    Args:
        chance: decides what is changed, where that is left open, and how lists turn out.
        change: makes other DER of DER.
        where: one of the parts; None lets chance decide.
    """

    def __init__(
        self,
        chance: random.Random,
        change: Callable[[bytes], bytes],
        where: str | None = None,
    ) -> None:
        self.chance, self.change = chance, change
        self.keys = [ec.derive_private_key(7 + number, ec.SECP256R1()) for number in range(3)]
        self.where = where or chance.choice(_PARTS)
        self.told, self.lists = self.where, b""
        self.compressed = False

    def token(self, imprint: bytes) -> tuple[bytes, bytes]:
        """A token over `imprint`, and its certificates in PEM; changed before it is signed."""
        root = self._certificate("root", 0, 0)
        issuing = self._certificate("issuing", 1, 0)
        signer = self._certificate("signer", 2, 1)
        info = self._maybe("info", self._info(imprint))
        attributes = b"".join(
            (
                _attribute("1.2.840.113549.1.9.3", _TST),
                _attribute("1.2.840.113549.1.9.4", tlv(4, hashlib.sha256(info).digest())),
                _attribute(
                    "1.2.840.113549.1.9.16.2.47",
                    sequence(sequence(sequence(tlv(4, hashlib.sha256(signer).digest())))),
                ),
            )
        )
        attributes = self._maybe("attributes", attributes)
        signature = self.keys[2].sign(tlv(0x31, attributes), _SIGNING)
        who = _named_by(signer)
        signed = sequence(
            *(tlv(2, b"\x01"), who, _SHA256, tlv(0xA0, attributes), _ECDSA, tlv(4, signature))
        )
        content = sequence(_TST, tlv(0xA0, tlv(4, info)))
        data = sequence(tlv(2, b"\x03"), tlv(0x31, _SHA256), content, tlv(0x31, signed))
        raw = sequence(identifier("1.2.840.113549.1.7.2"), tlv(0xA0, data))
        if self.where == "list":
            self.lists = to_pem("X509 CRL", [self._list()])
        return self._maybe("token", raw), to_pem("CERTIFICATE", [signer, issuing, root])

    def _info(self, imprint: bytes) -> bytes:
        accuracy = sequence(tlv(2, b"\x01"), tlv(0x80, b"\x05"))
        return sequence(
            *(tlv(2, b"\x01"), identifier("1.2.3.4"), sequence(_SHA256, tlv(4, imprint))),
            *(tlv(2, b"\x05"), tlv(0x18, b"20260601000000Z"), accuracy),
            *(tlv(1, b"\xff"), tlv(2, b"\x09")),
        )

    def _list(self) -> bytes:
        serial = self.chance.choice((b"\x07", b"\x12"))
        when = self.chance.choice((b"260501000000Z", b"260701000000Z"))
        reason = tlv(4, tlv(10, self.chance.choice((b"\0", b"\x01", b"\x03"))))
        entry = sequence(
            tlv(2, serial), tlv(0x17, when), sequence(sequence(identifier("2.5.29.21"), reason))
        )
        body = sequence(
            *(tlv(2, b"\x01"), _ECDSA, _name("issuing")),
            *(tlv(0x17, b"260501000000Z"), tlv(0x17, b"270501000000Z"), sequence(entry)),
        )
        return self._signed(self._maybe("list", body), 1)

    def _maybe(self, where: str, data: bytes) -> bytes:
        return self.change(data) if self.where == where else data

    def _signed(self, body: bytes, key: int) -> bytes:
        signature = self.keys[key].sign(body, _SIGNING)
        return sequence(body, _ECDSA, tlv(3, b"\0" + signature))

    def _certificate(self, name: str, key: int, issuer_key: int) -> bytes:
        public = self.keys[key].public_key()
        kinds = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        if self.where == name and (self.compressed or self.chance.random() < 0.1):
            kinds = (kinds[0], serialization.PublicFormat.CompressedPoint)
        about = sequence(identifier("1.2.840.10045.2.1"), identifier("1.2.840.10045.3.1.7"))
        held = sequence(about, tlv(3, b"\0" + public.public_bytes(*kinds)))
        if name == "signer":
            use = _extension("2.5.29.37", sequence(identifier("1.3.6.1.5.5.7.3.8")), critical=True)
        else:
            use = _extension("2.5.29.19", sequence(tlv(1, b"\xff")), critical=True)
        uses = sequence(use, _extension("2.5.29.15", tlv(3, b"\0\xfe")))
        body = sequence(
            *(tlv(0xA0, tlv(2, b"\x02")), tlv(2, bytes([0x10 + key])), _ECDSA),
            _name("root" if key < 2 else "issuing"),  # the root names itself
            sequence(tlv(0x17, _BEGIN), tlv(0x17, _END)),
            *(_name(name), held, tlv(0xA3, uses)),
        )
        return self._signed(self._maybe(name, body), issuer_key)


def _attribute(name: str, value: bytes) -> bytes:
    return sequence(identifier(name), tlv(0x31, value))


def _extension(name: str, value: bytes, *, critical: bool = False) -> bytes:
    return sequence(identifier(name), tlv(1, b"\xff") if critical else b"", tlv(4, value))


def _name(text: str) -> bytes:
    return sequence(tlv(0x31, sequence(identifier("2.5.4.3"), tlv(0x0C, text.encode()))))


def _named_by(certificate: bytes) -> bytes:
    """Issuer and serial number as they stand in a certificate, changed or not."""
    try:
        body = elements(certificate)[0][1][0][1]
    except (ValueError, IndexError, TypeError):  # whatever a change has made of it
        return sequence()
    if not isinstance(body, list):
        return sequence()
    names = [encoded([of]) for of in body if of[0] == 0x30]
    serial = next((of for of in body if of[0] == 2), (2, b"\x01"))
    return sequence(names[1] if len(names) > 1 else b"", encoded([serial]))
