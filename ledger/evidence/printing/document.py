"""A printed form as a list of blocks: what is said, apart from how a page or a screen shows it.

Text is kept in runs. A run knows whether its words are ours, a digest, or somebody else's, so that
no renderer has to guess, and none ever reads markup out of a text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ledger.evidence.wording import one_line

Style = Literal["plain", "strong", "hash", "mono", "foreign"]
# A table longer than this is cut, and says so; report.json has all of it.
MAX_ROWS = 300
MAX_TEXT = 2_000


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of text in one style.

    Attributes:
        style: ``hash`` is hexadecimal that may be broken in groups; ``foreign`` is text that the
            bundle brought, in whatever script.
    """

    text: str
    style: Style = "plain"


Runs = tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """A section's title; level 1 to 3."""

    level: int
    text: Runs


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: Runs


@dataclass(frozen=True, slots=True)
class Notice:
    """A paragraph that must be seen."""

    text: Runs


@dataclass(frozen=True, slots=True)
class Items:
    """A list; numbered or not."""

    items: tuple[Runs, ...]
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and what they stand for."""

    rows: tuple[tuple[Runs, Runs], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under column titles.

    Attributes:
        widths: share of the line for each column.
    """

    columns: tuple[Runs, ...]
    widths: tuple[int, ...]
    rows: tuple[tuple[Runs, ...], ...]


@dataclass(frozen=True, slots=True)
class Codes:
    """QR codes of digests, side by side: (caption, digest)."""

    codes: tuple[tuple[Runs, str], ...]


@dataclass(frozen=True, slots=True)
class Blanks:
    """Lines for a person to fill in by hand."""

    labels: tuple[Runs, ...]


@dataclass(frozen=True, slots=True)
class PageBreak:
    """What follows begins on a new page."""


Block = Heading | Paragraph | Notice | Items | Facts | Table | Codes | Blanks | PageBreak


@dataclass(frozen=True, slots=True)
class Document:
    """A whole form.

    Attributes:
        language: BCP 47 tag of our own words.
        contents: digest of the evidence, for the running head.
        banner: what stands on every page, or empty.
        moment: time of the proved state in Unix seconds; the date of the file, which has no clock.
    """

    language: str
    title: Runs
    subtitle: Runs
    head: Runs
    contents: str
    banner: Runs
    page_of: str
    moment: int
    blocks: tuple[Block, ...]


def foreign(text: str, limit: int = MAX_TEXT) -> Run:
    """Somebody else's text, in one line, without directions or controls, and bounded."""
    kept = one_line(text[:limit])
    if len(text) > limit:
        kept += f" … [{len(text) - limit} characters more]"
    return Run(kept, "foreign")


def hex_run(text: str) -> Run:
    """A digest or address; any other text is somebody else's."""
    digits = text.removeprefix("0x")
    if digits and len(digits) <= 200 and all(c in "0123456789abcdefABCDEF" for c in digits):
        return Run(text, "hash")
    return foreign(text)


def plain(runs: Iterable[Run]) -> str:
    """The text of runs without their styles."""
    return "".join(run.text for run in runs)


def cut(rows: tuple[tuple[Runs, ...], ...]) -> tuple[tuple[tuple[Runs, ...], ...], int]:
    """As many rows as are printed, and how many are not."""
    return rows[:MAX_ROWS], max(0, len(rows) - MAX_ROWS)
