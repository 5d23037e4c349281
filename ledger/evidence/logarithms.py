"""Logarithms that every verifier computes to the same bit: docs/spec/match.md, "Formulas".

Libraries' logarithms differ in their last bits, and a stated bound at the very edge of what is
accepted would pass in one verifier and fail in another. These use + - * / alone, which IEEE 754
rounds in one way, in a fixed order.
"""

from __future__ import annotations

import math
from typing import Final

LN10: Final = 2.302585092994046
_LN2: Final = 0.6931471805599453
_ROOT2: Final = 1.4142135623730951
_HALF_LN_2PI: Final = 0.9189385332046727


def ln(x: float) -> float:
    """The natural logarithm of a number from 1 upwards."""
    mantissa, exponent = math.frexp(x)
    m, e = mantissa * 2, exponent - 1
    if m > _ROOT2:
        m, e = m / 2, e + 1
    t = (m - 1) / (m + 1)
    u, s = t * t, 1 / 21
    for k in range(19, 0, -2):
        s = s * u + 1 / k
    return e * _LN2 + 2 * t * s


def log10(x: float) -> float:
    """The logarithm to base 10 of a number from 1 upwards."""
    return ln(x) / LN10


def ln_factorial(n: int) -> float:
    """The natural logarithm of n!, by Stirling's series where n! has no exact binary64."""
    if n <= 18:
        return ln(math.factorial(n))
    x = float(n)
    w = 1 / (x * x)
    return (x + 0.5) * ln(x) - x + _HALF_LN_2PI + (1 / 12 - w * (1 / 360 - w / 1260)) / x
