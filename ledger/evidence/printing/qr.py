"""QR codes as paths of squares, for both renderers."""

from __future__ import annotations


def modules(text: str) -> list[str]:
    """The dark and light squares of a QR code, quiet zone included: rows of ``0`` and ``1``."""
    import segno

    code = segno.make(text, micro=False, error="m", boost_error=False)
    return ["".join("1" if dark else "0" for dark in row) for row in code.matrix_iter(border=4)]


def svg(text: str, label: str) -> str:
    """A QR code as SVG; `label` is for those who do not see it, and must be free of markup."""
    rows = modules(text)
    path = "".join(
        f"M{x} {y}h{length}v1h-{length}z" for y, row in enumerate(rows) for x, length in bars(row)
    )
    size = len(rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" role="img" '
        f'aria-label="{label}"><path fill="#fff" d="M0 0h{size}v{size}H0z"/>'
        f'<path d="{path}"/></svg>'
    )


def bars(row: str) -> list[tuple[int, int]]:
    """Start and length of each run of dark squares in a row."""
    found, start = [], -1
    for x, cell in enumerate(row + "0"):
        if cell == "1" and start < 0:
            start = x
        elif cell == "0" and start >= 0:
            found.append((start, x - start))
            start = -1
    return found
