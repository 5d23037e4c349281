"""Identifiers as values: parse, format, compare.

A digest is never a naked ``bytes`` across modules. All are immutable and hashable; ``str()`` gives
the canonical text form and ``parse`` reads it back, raising ``UsageError``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar, Self

from sha3 import keccak_256

from ledger.errors import UsageError

_MAX_QUOTED = 42  # an address with its 0x


def quoted(text: str) -> str:
    """A user's text as an error may repeat it: in quotes, and only its length where it is long.

    What is longer than an address may be a private key, typed where it does not belong.
    """
    return repr(text) if len(text) <= _MAX_QUOTED else f"a text of {len(text)} characters"


def keccak256(data: bytes | bytearray | memoryview) -> bytes:
    """32 bytes of Keccak-256 (the pre-FIPS padding that the EVM uses)."""
    digest: bytes = keccak_256(data).digest()
    return digest


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """32 bytes of a hash."""

    KIND: ClassVar[str] = "digest"  # as people call it

    raw: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.raw, bytes) or len(self.raw) != 32:
            raise UsageError(f"a {self.KIND} has 32 bytes", hint="give 64 hex digits")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 64 hex digits, with or without ``0x``.

        Raises:
            UsageError: anything else.
        """
        digits = text.removeprefix("0x")
        try:
            raw = bytes.fromhex(digits)
        except ValueError:
            raw = b""
        if len(raw) != 32 or len(digits) != 64:
            # Of a text as long as it must be, its length alone would tell nothing.
            why = ": one of its characters is no hex digit" if len(digits) == 64 else ""
            raise UsageError(
                f"{quoted(text)} is not a {cls.KIND}{why}", hint="give 0x and 64 hex digits"
            )
        return cls(raw)

    def __str__(self) -> str:
        return "0x" + self.raw.hex()

    def __bytes__(self) -> bytes:
        return self.raw

    @property
    def short(self) -> str:
        """First and last four bytes, for people."""
        return f"0x{self.raw[:4].hex()}…{self.raw[-4:].hex()}"

    @property
    def is_zero(self) -> bool:
        """Whether all bytes are zero, which contracts read as "none"."""
        return not any(self.raw)


ZERO_DIGEST = Digest(bytes(32))


@dataclass(frozen=True, slots=True, order=True)
class ModelId(Digest):
    """The registry's self-certifying id of a model (docs/spec/claim.md)."""

    KIND: ClassVar[str] = "model id"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A 20-byte EVM account."""

    raw: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.raw, bytes) or len(self.raw) != 20:
            raise UsageError("an address has 20 bytes", hint="give 0x and 40 hex digits")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 40 hex digits; a mixed-case text must carry its EIP-55 checksum.

        Raises:
            UsageError: not an address, or a wrong checksum.
        """
        digits = text.removeprefix("0x")
        try:
            raw = bytes.fromhex(digits)
        except ValueError:
            raw = b""
        if len(raw) != 20 or len(digits) != 40:
            raise UsageError(f"{quoted(text)} is not an address", hint="give 0x and 40 hex digits")
        address = cls(raw)
        mixed = digits not in {digits.lower(), digits.upper()}
        if mixed and str(address)[2:] != digits:
            raise UsageError(
                f"{text} has a wrong EIP-55 checksum", hint="a character is mistyped; copy it again"
            )
        return address

    def __str__(self) -> str:
        """EIP-55 mixed-case checksum form."""
        return _checksummed(self.raw)

    def __bytes__(self) -> bytes:
        return self.raw


@functools.lru_cache(maxsize=4096)
def _checksummed(raw: bytes) -> str:
    # Kept, because one decision of a broker writes the same few contracts dozens of times.
    plain = raw.hex()
    mask = keccak256(plain.encode()).hex()
    return "0x" + "".join(
        c.upper() if int(m, 16) >= 8 else c for c, m in zip(plain, mask, strict=False)
    )


ZERO_ADDRESS = Address(bytes(20))


# int() refuses texts of more than some thousand digits with an error of its own.
MAX_LICENSE_TEXT = 64


@dataclass(frozen=True, slots=True, order=True)
class LicenseId:
    """``plan << 32 | serial``: the ERC-721 token id of a license."""

    ABOUT_NUMBERS: ClassVar[str] = (
        "give PLAN.SERIAL, such as 7.42: a number without a dot is a token id, PLAN * 2^32 + "
        "SERIAL, and plans count from 1"
    )
    """The way out where there is none and its plan is 0: a place in a list may have been meant."""

    value: int

    def __post_init__(self) -> None:
        if not 0 <= self.value < 1 << 64:
            raise UsageError("a license id is below 2^64", hint="see deed license list")

    @classmethod
    def of(cls, plan: int, serial: int) -> Self:
        """Join plan (32 bits) and serial (32 bits)."""
        return cls(plan << 32 | serial)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``PLAN.SERIAL`` or the plain decimal token id.

        Raises:
            UsageError: neither.
        """
        plan, dot, serial = text.strip().partition(".")
        if (
            len(text) <= MAX_LICENSE_TEXT
            and plan.isascii()
            and plan.isdigit()
            and (not dot or (serial.isascii() and serial.isdigit()))
        ):
            if not dot:
                return cls(int(plan))
            if int(plan) < 1 << 32 and int(serial) < 1 << 32:
                return cls.of(int(plan), int(serial))
        raise UsageError(
            f"{quoted(text)} is not a license", hint="give PLAN.SERIAL, as deed license list prints"
        )

    @property
    def plan(self) -> int:
        """The plan's number."""
        return self.value >> 32

    @property
    def serial(self) -> int:
        """The license's number in its plan; the first is 1."""
        return self.value & 0xFFFFFFFF

    def __int__(self) -> int:
        return self.value

    def __str__(self) -> str:
        return f"{self.plan}.{self.serial}"
