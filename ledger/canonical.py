"""Canonical JSON (RFC 8785) and domain-separated hashing.

One rule for every JSON document that is hashed or signed: ``H(tag ‖ 0x00 ‖ canonical(document))``
with a tag from ``docs/spec/domains.md``. The zero byte ends the tag, so no tag is a prefix of
another's input.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import rfc8785

from ledger.errors import LimitExceeded, ManifestError
from ledger.ids import Digest

MAX_JSON_BYTES = 64 << 20
MAX_JSON_DEPTH = 64
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")
_MAX_INTEGER = (1 << 53) - 1

_SHORT = 1 << 16  # pieces between quotes take up to 40 times their bytes
# A run of strings, the last perhaps not closed, and what lies between them. Possessive, so that no
# input makes it slow.
_STRINGS = re.compile(r'(?:"(?:[^"\\]++|\\.)*+"?[^"\[\]{}]*+)++', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")  # +1 and, as a signed byte, −1


def canonical_json(document: Any) -> bytes:
    """UTF-8 bytes of `document` under RFC 8785.

    Raises:
        ManifestError: a value JSON cannot carry, or an integer beyond ±(2^53 − 1).
    """
    try:
        if _common(document):
            # C instead of Python: the same bytes, tenfold as fast, for what `_common` lets through.
            return json.dumps(
                document, ensure_ascii=False, sort_keys=True, separators=(",", ":")
            ).encode()
        return bytes(rfc8785.dumps(document))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise ManifestError(
            f"the document has no canonical form: {error}",
            hint="write integers beyond 2^53 as decimal or 0x text",
        ) from None


def canonical_object(members: Mapping[str, bytes]) -> bytes:
    """The canonical form of an object whose members' values are canonical already.

    What is signed, hashed and logged shares most members, each of which is written once so.

    Raises:
        ManifestError: a name that is not plain ASCII, which would be sorted or escaped otherwise.
    """
    if not all(map(_PLAIN_NAME.fullmatch, members)):
        raise ManifestError("an object is put together of members with plain names alone")
    return b"{%s}" % b",".join(
        b'"%s":%s' % (name.encode(), members[name]) for name in sorted(members)
    )


def _common(value: Any) -> bool:
    """Whether sorting by code point and plain numbers are all that RFC 8785 asks of it.

    It asks more of floats, of keys beyond ASCII (UTF-16 order) and of large integers (refused).
    Types are compared exactly: what only looks like a text or number goes the long way.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return bool(-_MAX_INTEGER <= value <= _MAX_INTEGER)
    if kind is dict:
        return all(
            type(key) is str and key.isascii() and _common(item) for key, item in value.items()
        )
    if kind is list or kind is tuple:
        return all(map(_common, value))
    return False


def parse_json(data: bytes, *, what: str, limit: int = MAX_JSON_BYTES) -> Any:
    """Read untrusted JSON strictly: UTF-8, no duplicate keys, no NaN, bounded size and depth.

    Raises:
        LimitExceeded: more than `limit` bytes.
        ManifestError: not strict JSON, or nested deeper than `MAX_JSON_DEPTH`.
    """
    if len(data) > limit:
        raise LimitExceeded(f"{what} has {len(data)} bytes; at most {limit} are read")
    if _depth(data) > MAX_JSON_DEPTH:
        raise ManifestError(
            f"{what} nests deeper than {MAX_JSON_DEPTH}, as no document of ours does"
        )

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = dict(pairs)
        if len(seen) != len(pairs):
            raise ManifestError(f"{what} repeats a key")
        return seen

    def refuse(text: str) -> Any:
        raise ManifestError(f"{what} holds {text}, which is not JSON")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestError(f"{what} is not JSON: {error}") from None
    except ValueError:
        # Python bounds the digits of an integer, and would advise to lift that.
        raise ManifestError(f"{what} holds a number with thousands of digits") from None


def _depth(data: bytes) -> int:
    """How deep brackets nest outside strings, up to the first fault; quick when there are few.

    Python's scanner recurses on the C stack: where a library has raised the recursion limit, a deep
    document would not raise RecursionError but end the process.
    """
    if data.count(b"[") + data.count(b"{") <= MAX_JSON_DEPTH:
        return 0
    if len(data) <= _SHORT and b"\\" not in data:
        # Without escapes every other piece between quotes is a string.
        rest = b"".join(data.split(b'"')[::2])
    else:
        # As text, because joining many pieces of bytes takes 80 bytes of bookkeeping for each.
        rest = _STRINGS.sub("", data.decode("latin-1")).encode("latin-1")
    steps = rest.translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0)


def hash_bytes(tag: str, data: bytes) -> Digest:
    """SHA-256 of ``tag ‖ 00 ‖ data``."""
    return Digest(hashlib.sha256(tag.encode("ascii") + b"\0" + data).digest())


def hash_json(tag: str, document: Any) -> Digest:
    """SHA-256 of ``tag ‖ 00 ‖ canonical_json(document)``."""
    return hash_bytes(tag, canonical_json(document))
