"""Printed forms as plain text, 78 columns."""

from __future__ import annotations

import textwrap

from ledger.evidence.printing.document import (
    Blanks,
    Block,
    Codes,
    Document,
    Facts,
    Heading,
    Items,
    Notice,
    PageBreak,
    Paragraph,
    Runs,
    Table,
    plain,
)
from ledger.evidence.printing.software import software

_WIDTH = 78


def render(document: Document) -> bytes:
    """The document as UTF-8 lines."""
    parts = [plain(document.banner).upper()] if document.banner else []
    parts += [plain(document.title), f"{plain(document.head)}\n{document.contents}"]
    parts += [part for block in document.blocks if (part := _block(block))]
    return ("\n\n".join([*parts, f"({software().mark})"]) + "\n").encode()


def _block(block: Block) -> str:  # one return for each kind
    match block:
        case Heading():
            title = plain(block.text)
            return f"\n{title}\n{'-=='[block.level % 3] * min(len(title), _WIDTH)}"
        case Paragraph() | Notice():
            return _wrapped(block.text)
        case Items():
            return "\n".join(
                _wrapped(item, f"{place}. " if block.numbered else "- ", "   ")
                for place, item in enumerate(block.items, start=1)
            )
        case Facts():
            return "\n".join(
                _wrapped(value, f"{plain(name)}: ", "    ") for name, value in block.rows
            )
        case Table():
            return "\n".join(
                _wrapped(tuple(r for cell in row for r in cell), "- ") for row in block.rows
            )
        case Codes():
            return "\n".join(f"{plain(caption)}: {digest}" for caption, digest in block.codes)
        case Blanks():
            return "\n\n".join(f"{plain(label)} {'_' * 40}" for label in block.labels)
        case PageBreak():
            return "=" * _WIDTH


def _wrapped(runs: Runs, first: str = "", rest: str = "") -> str:
    return textwrap.fill(
        plain(runs),
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
