"""A strict reader of one JSON object from outside.

Cards, terms, requests, grants and replies are all read through this class, so that a missing
member, a wrong type, an unknown member or an oversized value is the same clear ``ManifestError``
everywhere, and nothing untyped goes further in.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any

from ledger.errors import ManifestError, UnsupportedVersion, UsageError
from ledger.ids import Address, Digest, LicenseId, ModelId

MAX_SAFE = (1 << 53) - 1
MAX_TEXT = 4096
_HEX = re.compile(r"0x(?:[0-9a-f]{2})*\Z")


class Document:
    """Typed access to the members of one JSON object.

    Args:
        value: the parsed JSON value; anything but an object is refused.
        what: how messages call it, such as "the license card".
        members: every member the object may have; others are refused. None allows any.

    Raises:
        ManifestError: from every method, when a member is absent or is not what it must be.
    """

    def __init__(self, value: Any, what: str, members: Iterable[str] | None = None) -> None:
        if not isinstance(value, dict):
            raise ManifestError(f"{what} is not a JSON object")
        self.what = what
        self.value: dict[str, Any] = value
        if members is not None:
            unknown = sorted(set(value) - set(members))
            if unknown:
                raise ManifestError(
                    f"{what} has an unknown member {unknown[0][:60]!r}",
                    hint="it may be of a later version: update modeldeed",
                )

    def fail(self, name: str, must: str) -> ManifestError:
        """The error to raise when member `name` breaks its rule."""
        return ManifestError(f"{self.what}: {name} must be {must}")

    def has(self, name: str) -> bool:
        """Whether the member is there and is not null."""
        return self.value.get(name) is not None

    def text(self, name: str, *, limit: int = MAX_TEXT) -> str:
        """A string of at most `limit` characters."""
        value = self.value.get(name)
        if not isinstance(value, str) or len(value) > limit:
            raise self.fail(name, f"text of at most {limit} characters")
        return value

    def choice(self, name: str, allowed: Iterable[str]) -> str:
        """One of a fixed set of words."""
        words = tuple(allowed)
        value = self.value.get(name)
        if value not in words:
            raise self.fail(name, " or ".join(repr(word) for word in words))
        return str(value)

    def integer(self, name: str, low: int = 0, high: int = MAX_SAFE) -> int:
        """An integer from `low` to `high`, both allowed."""
        value = self.value.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fail(name, f"an integer from {low} to {high}")
        return value

    def boolean(self, name: str) -> bool:
        """True or false."""
        value = self.value.get(name)
        if not isinstance(value, bool):
            raise self.fail(name, "true or false")
        return value

    def object(self, name: str) -> dict[str, Any]:
        """A JSON object."""
        value = self.value.get(name)
        if not isinstance(value, dict):
            raise self.fail(name, "an object")
        return value

    def items(self, name: str, *, limit: int = 256) -> list[Any]:
        """A list of at most `limit` items."""
        value = self.value.get(name)
        if not isinstance(value, list) or len(value) > limit:
            raise self.fail(name, f"a list of at most {limit} items")
        return value

    def texts(self, name: str, *, limit: int = 256) -> tuple[str, ...]:
        """A list of strings."""
        values = self.items(name, limit=limit)
        if not all(isinstance(value, str) and len(value) <= MAX_TEXT for value in values):
            raise self.fail(name, "a list of texts")
        return tuple(values)

    def raw(self, name: str, length: int) -> bytes:
        """Exactly `length` bytes, as ``0x`` and lower-case hex."""
        value = self.value.get(name)
        if not isinstance(value, str) or len(value) != 2 + 2 * length or _HEX.match(value) is None:
            raise self.fail(name, f"0x and {2 * length} lower-case hex digits")
        return bytes.fromhex(value[2:])

    def blob(self, name: str, *, limit: int = 1 << 16) -> bytes:
        """At most `limit` bytes, as base64 with padding (RFC 4648 section 4)."""
        value = self.value.get(name)
        if isinstance(value, str) and len(value) <= 4 * ((limit + 2) // 3):
            try:
                data = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                data = b""
            # Only the canonical text is read, or one signed blob would have several spellings.
            if len(data) <= limit and base64.b64encode(data).decode() == value:
                return data
        raise self.fail(name, f"base64 of at most {limit} bytes")

    def digest(self, name: str) -> Digest:
        """32 bytes in hex."""
        return Digest(self.raw(name, 32))

    def model(self, name: str = "model") -> ModelId:
        """A model id."""
        return ModelId(self.raw(name, 32))

    def address(self, name: str) -> Address:
        """An account, in EIP-55 or lower case."""
        try:
            return Address.parse(self.text(name, limit=42))
        except UsageError:
            raise self.fail(name, "an address") from None

    def license(self, name: str = "license") -> LicenseId:
        """A license as ``PLAN.SERIAL``."""
        value = self.text(name, limit=24)
        try:
            license_id = LicenseId.parse(value)
        except UsageError:
            raise self.fail(name, "PLAN.SERIAL") from None
        if str(license_id) != value:
            raise self.fail(name, "PLAN.SERIAL without leading zeros")
        return license_id

    def kind(self, kind: str, version: int = 1) -> None:
        """Check the ``type`` and ``version`` members.

        Raises:
            ManifestError: another type of document.
            UnsupportedVersion: the type is right and the version is not.
        """
        if self.value.get("type") != kind:
            raise self.fail("type", repr(kind))
        found = self.value.get("version")
        if found != version or isinstance(found, bool):
            raise UnsupportedVersion(
                f"{self.what} has version {str(found)[:20]}; this release reads {version}"
            )


def base64_text(data: bytes | bytearray) -> str:
    """Base64 with padding, as ``Document.blob`` reads it."""
    return base64.b64encode(data).decode()


def hex_text(data: bytes) -> str:
    """``0x`` and lower-case hex, as ``Document.raw`` reads it."""
    return "0x" + data.hex()
