"""A comparison as one picture: for each matrix, where each of our units found its match.

SVG of our own, without any library and without time or randomness, so the same comparison gives the
same bytes. A diagonal means that units kept their places or their order; scattered points mean that
they did not.
"""

from __future__ import annotations

import math
from typing import Final
from xml.sax.saxutils import escape

from ledger.fingerprint.compare import DERIVED, Comparison
from ledger.fingerprint.pairing import MatrixResult
from ledger.fingerprint.wording import power_text

_SIDE: Final = 148
_GAP: Final = 34
_HEAD: Final = 96
_ACROSS: Final = 5
_MOST: Final = 60
_POINTS: Final = 400
_NAME: Final = 27
_INK, _PALE, _DERIVED, _OTHER = "#1d2733", "#c9d1da", "#0b6e4f", "#8a94a1"


def picture(made: Comparison) -> str:
    """The SVG document of a comparison."""
    shown = made.lineage.matrices[:_MOST]
    across = max(3, min(_ACROSS, len(shown)))
    down = max(1, math.ceil(len(shown) / across))
    width = across * (_SIDE + _GAP) + _GAP
    height = _HEAD + down * (_SIDE + 3 * _GAP) + _GAP // 2
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" fill="{_INK}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(_GAP, 32, f"{made.ours}  ~  {made.theirs}", 16, cut=width // 9),
        _text(_GAP, 54, _headline(made), 12, cut=width // 6),
        _text(
            _GAP,
            72,
            "Across: place of our unit. Down: place of the unit of theirs that is most like it.",
            10,
            colour=_OTHER,
        ),
    ]
    for number, result in enumerate(shown):
        x = _GAP + number % across * (_SIDE + _GAP)
        y = _HEAD + number // across * (_SIDE + 3 * _GAP)
        lines += _panel(x, y, result)
    if not shown:
        lines.append(_text(_GAP, _HEAD + 20, "No matrix had a counterpart.", 12))
    left = len(made.lineage.matrices) - len(shown)
    if left:
        lines.append(_text(_GAP, height - 8, f"and {left} matrices more", 10, colour=_OTHER))
    return "\n".join([*lines, "</svg>", ""])


def _headline(made: Comparison) -> str:
    lineage = made.lineage
    return (
        f"{made.verdict} · {len(lineage.matrices)} matrices, {lineage.tried} pairings counted · "
        f"p at most {power_text(lineage.log10_p_counted)} under H0 (orders independent)"
    )


def _panel(x: int, y: int, result: MatrixResult) -> list[str]:
    order = result.order
    colour = _DERIVED if order.log10_p <= DERIVED and not order.fitted else _OTHER
    lines = [
        f'<rect x="{x}" y="{y}" width="{_SIDE}" height="{_SIDE}" fill="#f7f9fb" stroke="{_PALE}"/>'
    ]
    step = max(1, math.ceil(len(order.matches) / _POINTS))
    dots = [
        f"M{x + _at(ours, result.units):.1f} {y + _at(theirs, result.their_units):.1f}h0"
        for ours, theirs in order.matches[::step]
    ]
    if dots:
        lines.append(
            f'<path d="{"".join(dots)}" stroke="{colour}" stroke-width="2" stroke-linecap="round" '
            'fill="none"/>'
        )
    bound = "no evidence" if order.log10_p > -1 else f"p ≤ 10^{math.ceil(order.log10_p)}"
    over = ", features aligned" if result.aligned else ""
    note = " · fitted" if order.fitted and order.log10_p < -3 else ""
    return [
        *lines,
        _text(x, y + _SIDE + 14, _tail(result.ours), 9),
        _text(x, y + _SIDE + 26, _tail(result.theirs), 9, colour=_OTHER),
        _text(x, y + _SIDE + 39, f"{order.in_place} of {order.tested} in place{over}", 9),
        _text(x, y + _SIDE + 51, f"{bound}{note}", 9, colour=colour),
    ]


def _at(place: int, size: int) -> float:
    return 2 + (_SIDE - 4) * place / max(1, size - 1)


def _tail(name: str) -> str:
    return name if len(name) <= _NAME else "…" + name[-_NAME + 1 :]


def _text(x: int, y: int, text: str, size: int, *, colour: str = _INK, cut: int = 200) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text)
    shown = shown if len(shown) <= cut else shown[: cut - 1] + "…"
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}">{escape(shown)}</text>'
