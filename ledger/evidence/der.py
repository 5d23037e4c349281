"""A strict reader of DER (X.690 section 10), for the few structures that date evidence.

Our own, because three verifiers must take and refuse the same bytes (docs/adr/0040): definite
lengths and numbers in the fewest bytes, one-byte tags, nothing after the end. It never recurses.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from ledger.errors import TimestampInvalid

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
ENUMERATED, UTC_TIME, GENERALIZED_TIME, SEQUENCE, SET = 0x0A, 0x17, 0x18, 0x30, 0x31
_UTC_TIME = re.compile(r"(\d\d)(\d{10})Z", re.ASCII)
_FULL_TIME = re.compile(r"(\d{14})Z", re.ASCII)
_TOKEN_TIME = re.compile(r"(\d{14})(?:\.(\d{1,6}))?Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Node:
    """One element: its tag, its content, and its bytes as they stand."""

    tag: int
    content: bytes
    raw: bytes

    def fields(self) -> Fields:
        """Its parts, to be taken one after the other."""
        return Fields(self.content)

    def parts(self) -> list[Node]:
        """All of its parts."""
        found, at = [], 0
        while at < len(self.content):
            node = _element(self.content, at)
            at += len(node.raw)
            found.append(node)
        return found


class Fields:
    """The parts of a constructed element, in order; each must be asked for."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, tag: int) -> Node:
        """The next part.

        Raises:
            TimestampInvalid: there is none, or it has another tag.
        """
        node = self.maybe(tag)
        if node is None:
            raise TimestampInvalid(f"a DER element {tag:#04x} is missing")
        return node

    def maybe(self, tag: int) -> Node | None:
        """The next part if it has this tag."""
        if self._at >= len(self._content) or self._content[self._at] != tag:
            return None
        node = _element(self._content, self._at)
        self._at += len(node.raw)
        return node

    def end(self) -> None:
        """Nothing may be left.

        Raises:
            TimestampInvalid: something is.
        """
        if self._at != len(self._content):
            raise TimestampInvalid("a DER element has a part too many")


def read(data: bytes, tag: int = SEQUENCE) -> Node:
    """`data` as one element.

    Raises:
        TimestampInvalid: it is not DER, has another tag, or has bytes after its end.
    """
    fields = Fields(data)
    node = fields.take(tag)
    fields.end()
    return node


def integer(node: Node) -> int:
    """An INTEGER or ENUMERATED, of either sign.

    Raises:
        TimestampInvalid: not in the fewest bytes, or endless.
    """
    raw = node.content
    padded = len(raw) > 1 and (
        (raw[0] == 0 and raw[1] < 0x80) or (raw[0] == 0xFF and raw[1] >= 0x80)
    )
    if not raw or len(raw) > 64 or padded:
        raise TimestampInvalid("a DER number is malformed")
    return int.from_bytes(raw, "big", signed=True)


def identifier(node: Node) -> str:
    """An object identifier in dots.

    Raises:
        TimestampInvalid: malformed, or endless.
    """
    raw = node.content
    if not raw or len(raw) > 64 or raw[-1] & 0x80:
        raise TimestampInvalid("an object identifier is malformed")
    arcs: list[int] = []
    value, fresh = 0, True
    for byte in raw:
        if fresh and byte == 0x80:
            raise TimestampInvalid("an object identifier is malformed")
        value, fresh = value << 7 | byte & 0x7F, not byte & 0x80
        if fresh:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (first, arcs[0] - 40 * first, *arcs[1:]))


def boolean(node: Node) -> bool:
    """A BOOLEAN.

    Raises:
        TimestampInvalid: neither 00 nor ff.
    """
    if node.content not in {b"\x00", b"\xff"}:
        raise TimestampInvalid("a DER truth value is malformed")
    return node.content == b"\xff"


def bits(node: Node) -> bytes:
    """A BIT STRING of whole bytes.

    Raises:
        TimestampInvalid: it has unused bits.
    """
    if not node.content or node.content[0]:
        raise TimestampInvalid("a bit string has unused bits")
    return node.content[1:]


def algorithm(node: Node) -> tuple[str, bool]:
    """An AlgorithmIdentifier whose parameters are NULL or absent: its OID, and whether NULL stands.

    Raises:
        TimestampInvalid: it has other parameters.
    """
    fields = node.fields()
    name = identifier(fields.take(OID))
    null = fields.maybe(NULL)
    fields.end()
    if null is not None and null.content:
        raise TimestampInvalid("a NULL has content")
    return name, null is not None


def time_of(fields: Fields) -> int:
    """A Time of a certificate or list, in Unix seconds.

    Raises:
        TimestampInvalid: not in the form RFC 5280 asks for.
    """
    short = fields.maybe(UTC_TIME)
    text = (short or fields.take(GENERALIZED_TIME)).content.decode("latin-1")
    found = (_UTC_TIME if short else _FULL_TIME).fullmatch(text)
    if found is None:
        raise TimestampInvalid("a certificate's time is malformed")
    if short:
        return _seconds(("19" if found[1] >= "50" else "20") + found[1] + found[2])
    return _seconds(found[1])


def token_time(node: Node) -> int:
    """A GeneralizedTime with a fraction, in microseconds since 1970.

    Raises:
        TimestampInvalid: malformed.
    """
    found = _TOKEN_TIME.fullmatch(node.content.decode("latin-1"))
    if found is None:
        raise TimestampInvalid("the token's time is malformed")
    return _seconds(found[1]) * 1_000_000 + int((found[2] or "").ljust(6, "0"))


def _seconds(digits: str) -> int:
    try:
        moment = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise TimestampInvalid("a time names no moment") from None
    return calendar.timegm(moment.timetuple())


def _element(data: bytes, at: int) -> Node:
    if at + 2 > len(data) or data[at] & 0x1F == 0x1F:
        raise TimestampInvalid("a DER element is cut off, or has a long tag")
    size, start = data[at + 1], at + 2
    if size >= 0x80:
        width = size & 0x7F
        if not 1 <= width <= 4 or start + width > len(data):
            raise TimestampInvalid("a DER length is malformed")
        size = int.from_bytes(data[start : start + width], "big")
        if size < 0x80 or size >> 8 * (width - 1) == 0:
            raise TimestampInvalid("a DER length is not in the fewest bytes")
        start += width
    end = start + size
    if end > len(data):
        raise TimestampInvalid("a DER element is cut off")
    return Node(data[at], data[start:end], data[at:end])
