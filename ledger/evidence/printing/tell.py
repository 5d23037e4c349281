"""Any JSON as tables: for findings whose shape other modules own.

Nothing is left out silently: what is too deep or too long is said to be so.
"""

from __future__ import annotations

from typing import Any

from ledger.evidence.printing.document import (
    MAX_ROWS,
    Block,
    Facts,
    Items,
    Paragraph,
    Run,
    Runs,
    Table,
    foreign,
)
from ledger.evidence.printing.words import Words, runs_of
from ledger.evidence.wording import utc

_DEEPEST = 5
# Lists within lists are cut sooner: their lengths multiply.
_MAX_INNER = 40
# How findings about a suspect write fractions (docs/spec/match.md).
_MILLIONTHS = {"alike", "other"}
_THOUSANDTHS = {"t", "v"}
_MOST_COLUMNS = 5
_TIMES = ("_at", "time", "_than", "not_before", "not_after", "until", "generated", "lists")


def tell(words: Words, value: Any, depth: int = 0, key: str = "") -> list[Block]:
    """Blocks that show a JSON value."""
    if isinstance(value, dict):
        return _object(words, value, depth)
    if isinstance(value, list):
        return _list(words, value, depth, key)
    return [Paragraph(scalar("", value))]


def scalar(key: str, value: Any) -> Runs:
    """One value; whole numbers under a name that says time are written as time."""
    if value is None:
        return (Run("–"),)
    if type(value) is int and key.endswith(_TIMES) and 946_684_800 <= value < 253_402_300_800:
        return (Run(utc(value)),)
    if type(value) is int and (key.startswith("log10") or key in _MILLIONTHS):
        return (Run(f"{value / 1_000_000:,.3f}"),)
    if type(value) is int and key in _THOUSANDTHS:
        return (Run(f"{value / 1_000:,.3f}"),)
    if isinstance(value, float):
        return (Run(f"{value:.6g}"),)
    return runs_of(value)


def label(key: str) -> Runs:
    """A key as a name."""
    said = key.replace("_", " ")
    return (foreign(said[:1].upper() + said[1:], 80),)


def _plain(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _object(words: Words, value: dict[str, Any], depth: int) -> list[Block]:
    blocks: list[Block] = []
    rows = [(label(key), scalar(key, of)) for key, of in value.items() if _plain(of)]
    if rows:
        blocks.append(Facts(tuple(rows[:MAX_ROWS])))
    for key, of in value.items():
        if _plain(of):
            continue
        if depth >= _DEEPEST:
            blocks.append(Paragraph(words("tell.deeper", name=label(key))))
        elif of:
            blocks.append(Paragraph(tuple(Run(run.text, "strong") for run in label(key))))
            blocks += tell(words, of, depth + 1, key)
        else:
            blocks.append(Paragraph((*label(key), Run(": "), *words("tell.none"))))
    return blocks


def _list(words: Words, value: list[Any], depth: int, key: str) -> list[Block]:
    most = MAX_ROWS if depth < 2 else _MAX_INNER
    shown, left = value[:most], len(value) - most
    blocks: list[Block] = []
    if all(_plain(item) for item in shown):
        blocks.append(Items(tuple(scalar(key, item) for item in shown)))
    elif _regular(shown):
        keys = tuple(shown[0])
        widths = tuple(_width(key, shown) for key in keys)
        rows = tuple(tuple(scalar(key, item[key]) for key in keys) for item in shown)
        blocks.append(Table(tuple(label(key) for key in keys), widths, rows))
    elif depth >= _DEEPEST:
        blocks.append(Paragraph(words("tell.deeper", name=(Run("…"),))))
    else:
        for item in shown:
            blocks += tell(words, item, depth + 1)
    if left > 0:
        blocks.append(Paragraph(words("table.cut", count=left)))
    return blocks


def _regular(items: list[Any]) -> bool:
    """Whether a list is a table: objects of plain values with the same few keys."""
    return (
        isinstance(items[0], dict)
        and 0 < len(items[0]) <= _MOST_COLUMNS
        and all(isinstance(item, dict) and set(item) == set(items[0]) for item in items)
        and all(_plain(of) for item in items for of in item.values())
    )


def _width(key: str, items: list[Any]) -> int:
    """A column's share of the line: by its longest value, digests being broken."""
    longest = max(len(str(item[key])) for item in items)
    return max(2, min(8, longest // 5, 8), len(key) // 4)
