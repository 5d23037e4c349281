"""Sign-in messages (EIP-4361), read strictly by the ABNF of the EIP. Pure.

Nothing is skipped, trimmed or guessed: a text is read only if writing its fields again gives the
very same text, so what a wallet showed and what the service understood cannot differ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ledger.errors import SignInRefused, UsageError
from ledger.ids import Address, Digest, keccak256

MAX_BYTES: Final = 4096
MAX_RESOURCES: Final = 20
GREETING: Final = " wants you to sign in with your Ethereum account:"
STEP: Final = 1

# RFC 3986: unreserved, reserved, percent-encoded.
_UNRESERVED = r"A-Za-z0-9\-._~"
_SUB = r"!$&'()*+,;="
_PERCENT = r"%[0-9A-Fa-f]{2}"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*"
_URI = re.compile(rf"{_SCHEME}:(?:[{_UNRESERVED}{_SUB}:/?#\[\]@]|{_PERCENT})+")
_HOST = rf"(?:\[[0-9A-Fa-f:.]+\]|(?:[{_UNRESERVED}{_SUB}]|{_PERCENT})+)"
_USER = rf"(?:(?:[{_UNRESERVED}{_SUB}:]|{_PERCENT})*@)?"
_DOMAIN = re.compile(rf"(?:({_SCHEME})://)?({_USER}{_HOST}(?::[0-9]*)?)")
_STATEMENT = re.compile(rf"[{_UNRESERVED}{_SUB}:/?#\[\]@ ]+")
_ADDRESS = re.compile(r"0x[0-9A-Fa-f]{40}")
_CHAIN = re.compile(r"[0-9]{1,19}")
_NONCE = re.compile(r"[0-9A-Za-z]{8,64}")
_REQUEST = re.compile(rf"(?:[{_UNRESERVED}{_SUB}:@]|{_PERCENT})*")
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+\-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class SignInMessage:
    """One message; every field is the text that the message carries.

    Attributes:
        domain: RFC 3986 authority that asks for the sign-in.
        address: the account, with its EIP-55 checksum.
        uri: what the sign-in is for.
        chain_id: decimal digits.
        nonce: from the service.
        issued_at: RFC 3339 time, as are the two that may be absent.
        scheme: of the domain, where the message names one.
        statement: one line for the person who signs.
    """

    domain: str
    address: str
    uri: str
    chain_id: str
    nonce: str
    issued_at: str
    scheme: str | None = None
    statement: str | None = None
    expiration_time: str | None = None
    not_before: str | None = None
    request_id: str | None = None
    resources: tuple[str, ...] | None = None

    def __str__(self) -> str:
        """The text that a wallet shows and signs."""
        lines = [
            f"{self.scheme + '://' if self.scheme is not None else ''}{self.domain}{GREETING}",
            self.address,
            "",
            *([self.statement] if self.statement is not None else []),
            "",
            f"URI: {self.uri}",
            "Version: 1",
            f"Chain ID: {self.chain_id}",
            f"Nonce: {self.nonce}",
            f"Issued At: {self.issued_at}",
        ]
        optional = (
            ("Expiration Time: ", self.expiration_time),
            ("Not Before: ", self.not_before),
            ("Request ID: ", self.request_id),
        )
        lines += [label + value for label, value in optional if value is not None]
        if self.resources is not None:
            lines += ["Resources:", *(f"- {each}" for each in self.resources)]
        return "\n".join(lines)

    def digest(self) -> Digest:
        """What the wallet signs: Keccak-256 of the EIP-191 personal message."""
        text = str(self).encode("ascii")
        return Digest(keccak256(b"\x19Ethereum Signed Message:\n%d" % len(text) + text))

    @property
    def account(self) -> Address:
        """The account that says it signed."""
        return Address.parse(self.address)


def parse_message(text: str) -> SignInMessage:
    """Read a message.

    Raises:
        SignInRefused: (1) it does not follow the grammar, down to the last byte; the line is named.
    """
    if len(text) > MAX_BYTES or not text.isascii():
        raise SignInRefused(f"a sign-in message is ASCII of at most {MAX_BYTES} bytes", step=STEP)
    lines = _Lines(text)
    first = lines.next("the domain and the greeting of EIP-4361")
    named = _DOMAIN.fullmatch(first.removesuffix(GREETING)) if first.endswith(GREETING) else None
    if named is None:
        raise lines.fault("the domain and the greeting of EIP-4361")
    address = lines.matching(_ADDRESS, "0x and 40 hex digits")
    try:
        written = str(Address.parse(address.lower()))
    except UsageError:
        written = ""
    if written != address:
        raise lines.fault("an address with its EIP-55 checksum")
    lines.exactly("")
    statement = lines.next("a statement, or an empty line")
    if statement:
        if _STATEMENT.fullmatch(statement) is None:
            raise lines.fault("a statement of the characters that RFC 3986 knows, and spaces")
        lines.exactly("")
    uri = lines.labelled("URI: ", _URI)
    lines.exactly("Version: 1")
    chain_id = lines.labelled("Chain ID: ", _CHAIN)
    nonce = lines.labelled("Nonce: ", _NONCE)
    issued_at = lines.labelled("Issued At: ", _TIME)
    expiration = lines.optional("Expiration Time: ", _TIME)
    not_before = lines.optional("Not Before: ", _TIME)
    request_id = lines.optional("Request ID: ", _REQUEST)
    resources = lines.resources()
    lines.end()
    found = SignInMessage(
        domain=named[2],
        address=address,
        uri=uri,
        chain_id=chain_id,
        nonce=nonce,
        issued_at=issued_at,
        scheme=named[1],
        statement=statement or None,
        expiration_time=expiration,
        not_before=not_before,
        request_id=request_id,
        resources=resources,
    )
    for when in (issued_at, expiration, not_before):
        if when is not None:
            unix_time(when)
    if str(found) != text:
        raise SignInRefused("the message can be read in more than one way", step=STEP)
    return found


def unix_time(text: str) -> float:
    """Unix seconds of an RFC 3339 time.

    Raises:
        SignInRefused: (1) there is no such time, such as the 30th of February.
    """
    found = _TIME.fullmatch(text)
    if found is not None:
        zone = "+00:00" if found[3] == "Z" else found[3]
        try:
            whole = datetime.fromisoformat(found[1] + zone).timestamp()
            return whole + float(found[2] or 0)
        except (ValueError, OverflowError):
            pass
    raise SignInRefused("the message names a time that does not exist", step=STEP)


class _Lines:
    """A message's lines, taken one after the other."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._at = 0

    def next(self, wanted: str) -> str:
        if self._at >= len(self._lines):
            self._at += 1
            raise self.fault(wanted)
        self._at += 1
        return self._lines[self._at - 1]

    def fault(self, wanted: str) -> SignInRefused:
        # What stands there is not repeated: it may be anything.
        return SignInRefused(f"line {self._at} of the message is not {wanted}", step=STEP)

    def exactly(self, line: str) -> None:
        wanted = repr(line) if line else "empty"
        if self.next(wanted) != line:
            raise self.fault(wanted)

    def matching(self, pattern: re.Pattern[str], wanted: str) -> str:
        line = self.next(wanted)
        if pattern.fullmatch(line) is None:
            raise self.fault(wanted)
        return line

    def labelled(self, label: str, pattern: re.Pattern[str]) -> str:
        wanted = f"{label.rstrip(': ')!r} with a value of its form"
        line = self.next(wanted)
        value = line.removeprefix(label)
        if not line.startswith(label) or pattern.fullmatch(value) is None:
            raise self.fault(wanted)
        return value

    def optional(self, label: str, pattern: re.Pattern[str]) -> str | None:
        if self._at < len(self._lines) and self._lines[self._at].startswith(label):
            return self.labelled(label, pattern)
        return None

    def resources(self) -> tuple[str, ...] | None:
        if self._at >= len(self._lines) or self._lines[self._at] != "Resources:":
            return None
        self._at += 1
        found = []
        while self._at < len(self._lines):
            found.append(self.labelled("- ", _URI))
            if len(found) > MAX_RESOURCES:
                raise self.fault(f"among at most {MAX_RESOURCES} resources")
        return tuple(found)

    def end(self) -> None:
        if self._at < len(self._lines):
            self._at += 1
            raise self.fault("one that EIP-4361 knows in this place")
