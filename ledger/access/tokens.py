"""API keys and session tokens as texts: their grammar, checksum and hash. Pure.

    deed_live_Ab3dE5fG7h_<43 digits of a 256-bit number><6 digits of CRC-32>

The prefix lets scanners of repositories and logs find a leaked one, the checksum lets them pass
over what only looks like one (docs/spec/access.md, "Keys"). A token is random through and through:
one SHA-256 is all that hides it at rest, and no slow hash would make guessing 2^256 any slower.
"""

from __future__ import annotations

import re
import secrets
import string
import zlib
from dataclasses import dataclass, field
from typing import Final, Literal

from ledger.canonical import hash_bytes
from ledger.errors import NotAuthenticated

Kind = Literal["live", "session"]

ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_DIGITS: Final = 10
BODY_DIGITS: Final = 43  # 62^43 > 2^256
CHECK_DIGITS: Final = 6  # 62^6 > 2^32
PATTERN: Final = re.compile(
    r"deed_(live|session)_([0-9A-Za-z]{10})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})"
)
"""What a scanner looks for; ``\\b`` at both ends."""

_TAGS: Final[dict[str, str]] = {
    "live": "modeldeed/api-key/1",
    "session": "modeldeed/api-session/1",
}


@dataclass(frozen=True, slots=True)
class Token:
    """An API key (``live``) or a session token.

    Attributes:
        kind: which.
        id: its public name, which lists and logs show.
        text: all of it. Whoever has this is let in, so no ``repr`` shows it.
    """

    kind: Kind
    id: str
    text: str = field(repr=False)

    def hash(self) -> bytes:
        """What is kept at rest: SHA-256 over tag and text, 32 bytes."""
        return hash_bytes(_TAGS[self.kind], self.text.encode("ascii")).raw


def new_token(kind: Kind) -> Token:
    """A token of 256 random bits."""
    name = "".join(secrets.choice(ALPHABET) for _ in range(ID_DIGITS))
    head = f"deed_{kind}_{name}_{_digits(secrets.randbits(256), BODY_DIGITS)}"
    return Token(kind, name, head + checksum(head))


def parse_token(text: str) -> Token:
    """Read a token that somebody sent.

    Raises:
        NotAuthenticated: it is none, or was mistyped. The text is not repeated.
    """
    found = PATTERN.fullmatch(text)
    if found is None:
        raise NotAuthenticated("the credential is not an API key or session token of this service")
    head = text[:-CHECK_DIGITS]
    if found[4] != checksum(head):
        raise NotAuthenticated(
            "the credential has a wrong checksum", hint="a character is mistyped; copy it again"
        )
    kind: Kind = "live" if found[1] == "live" else "session"
    return Token(kind, found[2], text)


def checksum(head: str) -> str:
    """CRC-32 of all that stands before it, as six digits. It finds slips, and hides nothing."""
    return _digits(zlib.crc32(head.encode("ascii")), CHECK_DIGITS)


def random_text(digits: int) -> str:
    """So many random digits of base 62."""
    return "".join(secrets.choice(ALPHABET) for _ in range(digits))


def _digits(number: int, count: int) -> str:
    text = ""
    for _ in range(count):
        number, digit = divmod(number, len(ALPHABET))
        text = ALPHABET[digit] + text
    return text
