"""Write ledger/sealed/codeword_tables.py: the bias distributions of docs/spec/variants.md.

For up to c = 2m or 2m - 1 colluders the biases are (1 + x) / 2 for the m roots x of the Legendre
polynomial P_m, with probabilities in proportion to 1 / ((p (1 - p))^(3/2) P_m'(x)^2): the
Gauss-Legendre distributions of Nuida, Fujitsu, Hagiwara, Kitagawa, Watanabe, Ogawa and Imai, "An
improvement of discrete Tardos fingerprinting codes", Des. Codes Cryptogr. 52 (2009). Decimal
arithmetic with 80 digits; the tables are rounded to 64 bits and thereby exact from then on.
"""

from __future__ import annotations

import sys
from decimal import Decimal, getcontext
from itertools import pairwise
from pathlib import Path

DEST = Path(__file__).parents[1] / "ledger" / "sealed" / "codeword_tables.py"
LARGEST = 8
ONE = 1 << 64
getcontext().prec = 80


def legendre(degree: int, x: Decimal) -> tuple[Decimal, Decimal]:
    """P_degree(x) and its derivative, by the three-term recurrence."""
    before, value = Decimal(1), x
    for n in range(2, degree + 1):
        before, value = value, ((2 * n - 1) * x * value - (n - 1) * before) / n
    return value, degree * (x * value - before) / (x * x - 1)


def roots(degree: int) -> list[Decimal]:
    """The roots in (-1, 1), ascending, by bisection between a grid's changes of sign."""
    steps = 4096
    grid = [Decimal(2 * i - steps) / steps + Decimal(1) / 99991 for i in range(steps)]
    found = []
    for left, right in pairwise(grid):
        low, high = left, right
        if legendre(degree, low)[0] * legendre(degree, high)[0] > 0:
            continue
        for _ in range(240):
            middle = (low + high) / 2
            if legendre(degree, low)[0] * legendre(degree, middle)[0] <= 0:
                high = middle
            else:
                low = middle
        found.append((low + high) / 2)
    return found


def nearest(value: Decimal) -> int:
    """`value` of [0, 1] in units of 2^-64, to the nearest."""
    return int((value * ONE + Decimal("0.5")).to_integral_value(rounding="ROUND_FLOOR"))


def table(order: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Cumulative probabilities (the last one is 2^64 and left out) and biases."""
    if order == 1:
        return (), (ONE // 2,)
    points = [((1 + x) / 2, legendre(order, x)[1]) for x in roots(order)]
    if len(points) != order:
        raise SystemExit(f"{len(points)} roots of P_{order} were found")
    weights = [1 / ((p * (1 - p)) ** Decimal("1.5") * slope * slope) for p, slope in points]
    total, sums, running = sum(weights), [], Decimal(0)
    for weight in weights[:-1]:
        running += weight
        sums.append(nearest(running / total))
    return tuple(sums), tuple(nearest(p) for p, _ in points)


def source() -> str:
    """The module's text."""
    lines = [
        '"""Bias distributions by scripts/make_code_tables.py: do not edit.',
        "",
        "Entry m serves up to 2m colluders: cumulative probabilities, biases, in units of 2^-64.",
        "The last cumulative probability is 2^64 and left out.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Final",
        "",
        "DISTRIBUTIONS: Final[dict[int, tuple[tuple[int, ...], tuple[int, ...]]]] = {",
    ]
    for order in range(1, LARGEST + 1):
        lines.append(f"    {order}: (")
        for part in table(order):
            if not part:
                lines.append("        (),")
                continue
            if len(part) == 1:
                lines.append(f"        (0x{part[0]:016X},),")
                continue
            lines.append("        (")
            lines += [f"            0x{value:016X}," for value in part]
            lines.append("        ),")
        lines.append("    ),")
    return "\n".join([*lines, "}"]) + "\n"


if __name__ == "__main__":
    DEST.write_text(source())
    sys.stdout.write(f"wrote {DEST.name}\n")
