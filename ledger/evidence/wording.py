"""Times and strangers' texts as reports show them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_LAST_DATE = 253_402_300_799
# Controls, format characters, separators but the space, letters and signs that are blank,
# surrogates, private use, noncharacters and tags. Named one by one, not asked of a Unicode table:
# tables differ between versions of Python and browsers, and every verifier must write the same
# report.txt.
_NOT_PLAIN = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160"
    "\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ud800-\uf8ff"
    "\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000110bd\U000110cd"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a"
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff\U000f0000-\U0010ffff"
    + "".join(chr(plane << 16 | low) for plane in range(1, 15) for low in (0xFFFE, 0xFFFF))
    + "]"
)
_SPACES = re.compile("(?<= ) ")


def utc(seconds: int) -> str:
    """Unix seconds for people; the number itself when no calendar has that date."""
    if not 0 <= seconds <= _LAST_DATE:
        return f"second {seconds}"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def one_line(text: str) -> str:
    """Someone else's text so that it cannot pass for lines, colours or directions of ours."""
    shown = _NOT_PLAIN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    # A row of spaces would, where a long line is broken, begin what looks like a line of ours.
    return _SPACES.sub(r"\\x20", shown)


def in_quotes(text: str) -> str:
    """Someone else's text in quotes that it cannot end: what follows them is ours."""
    return '"' + one_line(text.replace("\\", r"\\").replace('"', r"\"")) + '"'


def is_plain(text: str) -> bool:
    """Whether a text is one line that shows what it says (docs/spec/evidence-bundle.md)."""
    return _NOT_PLAIN.search(text) is None
