"""What a class of a Solidity error is: a signature, a sentence, a hint, and how to fill them.

Arguments of our errors are all static words, so no ABI library is needed to read them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import ClassVar

from ledger.errors import ContractReverted
from ledger.ids import Address, Digest, LicenseId, keccak256

MAX_TIME = (1 << 40) - 1
"""``type(uint40).max``: how contracts write "for ever"."""

BY_SELECTOR: dict[bytes, type[SolidityError]] = {}
"""Every class by the first four bytes of its revert data."""

_SIGNATURE = re.compile(r"^(\w+)\((.*)\)$")
_TIMES = {"uint40"}


class SolidityError(ContractReverted):
    """One custom error of our contracts.

    Attributes:
        signature: the error with its argument types and names, as Solidity declares it.
        sentence: the message, with the arguments by name.
        enums: arguments that are shown by a table.
    """

    signature: ClassVar[str] = ""
    sentence: ClassVar[str] = ""
    enums: ClassVar[dict[str, dict[int, str]]] = {}

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        BY_SELECTOR[cls.selector()] = cls

    @classmethod
    def inputs(cls) -> tuple[tuple[str, str], ...]:
        """(type, name) of each argument."""
        match = _SIGNATURE.match(cls.signature)
        assert match is not None
        return tuple(
            (kind, name)
            for kind, _, name in (part.strip().partition(" ") for part in match[2].split(","))
            if kind
        )

    @classmethod
    def selector(cls) -> bytes:
        """The first four bytes of revert data of this error."""
        name = cls.signature.partition("(")[0]
        return keccak256(f"{name}({','.join(kind for kind, _ in cls.inputs())})".encode())[:4]

    @classmethod
    def of(cls, words: bytes) -> SolidityError:
        """Build from the argument words of revert data."""
        inputs = cls.inputs()
        arguments = {
            name: _value(kind, words[32 * i : 32 * i + 32]) for i, (kind, name) in enumerate(inputs)
        }
        shown = {
            name: cls.enums[name].get(int(str(arguments[name])), str(arguments[name]))
            if name in cls.enums
            else _shown(kind, name, arguments[name])
            for kind, name in inputs
        }
        return cls(
            cls.sentence.format(**shown),
            error_name=cls.signature.partition("(")[0],
            arguments=arguments,
            hint=cls.default_hint.format(**shown),
        )


def _value(kind: str, word: bytes) -> object:
    if kind == "address":
        return Address(word[12:])
    if kind == "bytes32":
        return Digest(word)
    return int.from_bytes(word, "big")


def _shown(kind: str, name: str, value: object) -> str:
    if isinstance(value, Digest):
        return value.short
    if isinstance(value, int) and kind in _TIMES:
        return when(value)
    if isinstance(value, int) and name == "licenseId" and value < 1 << 64:
        return str(LicenseId(value))
    return str(value)


def when(seconds: int) -> str:
    """A contract's time for people: UTC, or "for ever"."""
    if seconds >= MAX_TIME:
        return "for ever"
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"second {seconds}"
