"""Reading durations, times, amounts and features as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Final

from ledger.errors import UsageError
from ledger.ids import quoted

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_DURATION: Final = re.compile(r"([0-9]{1,12})([smhdwy]?)")
_ETHER: Final = Decimal(10**18)
_MEASUREMENT: Final = 20
_EXACT: Final = Context(prec=80)  # 96 bits have 29 digits; the default keeps 28


def duration(text: str, *, bits: int = 32) -> int:
    """Seconds from ``90``, ``90s``, ``15m``, ``24h``, ``30d``, ``2w`` or ``1y`` (365 days).

    Args:
        text: what the person wrote.
        bits: what the contract keeps of it; 32 bits are 136 years.

    Raises:
        UsageError: anything else, or more than that.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{quoted(text)} is not a duration", hint="write 90s, 15m, 24h, 30d, 2w or 1y"
        )
    seconds = int(match[1]) * _UNITS[match[2] or "s"]
    if seconds >> bits:
        unit, size = ("y", _UNITS["y"]) if bits > 24 else ("d", _UNITS["d"])
        most = f"{((1 << bits) - 1) // size}{unit}"
        raise UsageError(f"{quoted(text)} is too long", hint=f"write at most {most}")
    return seconds


def duration_text(seconds: int) -> str:
    """The shortest exact way to write a duration."""
    if seconds == 0:
        return "0"
    for unit in ("y", "w", "d", "h", "m"):
        if seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


def moment(text: str, *, now: int) -> int:
    """Unix seconds from ISO 8601 (UTC unless it says otherwise), ``+DURATION`` or plain seconds.

    Args:
        text: what the person wrote.
        now: what ``+`` counts from.

    Raises:
        UsageError: anything else, or before 1970 or beyond forty bits.
    """
    text = text.strip()
    if text.startswith("+"):
        value = now + duration(text[1:], bits=40)
    elif text.isascii() and text.isdigit():
        value = int(text[:14])
    else:
        try:
            parsed = datetime.fromisoformat(text.removesuffix(" UTC"))
        except ValueError:
            raise UsageError(
                f"{quoted(text)} is not a time", hint="write 2026-03-01, 2026-03-01T12:00Z or +30d"
            ) from None
        value = int(parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp())
    if not 0 < value < 1 << 40:
        raise UsageError(f"{quoted(text)} is out of range", hint="write a year from 1970 on")
    return value


def ether(text: str) -> int:
    """Wei from an amount of the chain's coin, such as ``0.05``.

    Raises:
        UsageError: not a number, negative, finer than a wei, or beyond 96 bits.
    """
    try:
        wei = _EXACT.multiply(Decimal(text), _ETHER)
    except InvalidOperation:
        wei = Decimal(-1)
    if not wei.is_finite() or wei < 0 or wei != wei.to_integral_value() or wei >= 1 << 96:
        raise UsageError(f"{quoted(text)} is not an amount", hint="write it in ether, such as 0.05")
    return int(wei)


def ether_text(wei: int) -> str:
    """An amount in ether, exactly."""
    amount = f"{_EXACT.divide(Decimal(wei), _ETHER):f}"
    return amount.rstrip("0").rstrip(".") if "." in amount else amount


def share(text: str) -> int:
    """Parts in 1/10,000 from a percentage such as ``5%`` or ``2.5``.

    Raises:
        UsageError: not a number, negative, above 100 %, or finer than 0.01 %.
    """
    try:
        parts = _EXACT.multiply(Decimal(text.strip().removesuffix("%").strip()), Decimal(100))
    except InvalidOperation:
        parts = Decimal(-1)
    if not parts.is_finite() or not 0 <= parts <= 10_000 or parts != parts.to_integral_value():
        raise UsageError(
            f"{quoted(text)} is not a share", hint="write a percentage such as 5% or 2.5%"
        )
    return int(parts)


def share_text(bps: int) -> str:
    """Parts in 1/10,000 as a percentage."""
    return f"{bps / 100:g} %"


def measurement_bytes(text: str | None) -> bytes:
    """20 bytes of hex that name a measured image; zeros when nothing is asked for.

    Raises:
        UsageError: not 40 hex digits.
    """
    if text is None:
        return bytes(_MEASUREMENT)
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != _MEASUREMENT:
        raise UsageError("a measurement has 20 bytes", hint="give 0x and 40 hex digits")
    return raw


def feature_bits(text: str) -> int:
    """A set of features: a number, decimal or 0x hex, below 2^64.

    Raises:
        UsageError: not one.
    """
    try:
        bits = int(text, 0)
    except ValueError:
        bits = -1
    if not 0 <= bits < 1 << 64:
        raise UsageError(f"{quoted(text)} is no set of features", hint="a number such as 0x5")
    return bits
