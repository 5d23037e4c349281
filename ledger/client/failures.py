"""Problem answers (RFC 9457) as the errors they were made from, hints and fields included."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final

from ledger.chain import reverts
from ledger.errors import (
    EntitlementError,
    IndexUnavailable,
    LedgerError,
    LimitExceeded,
    NotAuthenticated,
    RateLimited,
    UnknownRecord,
    UsageError,
)

_BY_STATUS: Final[dict[int, type[LedgerError]]] = {
    401: NotAuthenticated,
    404: UnknownRecord,
    413: LimitExceeded,
    429: RateLimited,
}
_NUMBERS: Final = ("since", "number", "check", "step", "retry_after")
_TEXTS: Final = ("remedy", "scope", "error_name")
_LONGEST: Final = 1000
_LARGEST: Final = 1 << 53
"""Whatever a number counts, seconds or steps, it is below this."""


def failure(status: int, body: Any, retry_after: float | None) -> LedgerError:
    """The error that an answer of failure tells.

    Args:
        status: of HTTP.
        body: its parsed JSON, whatever that is.
        retry_after: seconds of its Retry-After header.
    """
    told = body if isinstance(body, dict) else {}
    kind = _kinds().get(str(told.get("code", "")))
    # A rule that says no has its number. NOT_FOUND without one is HTTP's own, of a path.
    if kind is not None and issubclass(kind, EntitlementError) and "number" not in told:
        kind = None
    if kind is None:
        kind = _BY_STATUS.get(status, IndexUnavailable if status >= 500 else UsageError)
    message = _shown(told.get("detail")) or f"the service answered with status {status}"
    error = kind(message)
    error.hint = _shown(told.get("hint")) or error.hint
    if retry_after is not None:
        told = {**told, "retry_after": retry_after}
    for name in _NUMBERS:
        if _counts(told.get(name)) and hasattr(error, name):
            setattr(error, name, told[name])
    for name in _TEXTS:
        if isinstance(told.get(name), str) and hasattr(error, name):
            setattr(error, name, _shown(told[name]))
    if isinstance(told.get("arguments"), dict) and hasattr(error, "arguments"):
        error.arguments = told["arguments"]
    return error


@functools.cache
def _kinds() -> dict[str, type[LedgerError]]:
    """Every class by its code; those of contracts among them."""
    return {kind.code: kind for kind in (*reverts.error_classes().values(), *_tree(LedgerError))}


def _tree(kind: type[LedgerError]) -> Iterator[type[LedgerError]]:
    for below in kind.__subclasses__():
        yield from _tree(below)
    yield kind


def _counts(value: Any) -> bool:
    """Whether a value is a number that may be meant: 1e999 is infinite, and True no second."""
    return type(value) in {int, float} and 0 <= value < _LARGEST


def _shown(value: Any) -> str | None:
    """What a service says, as a terminal may show it."""
    if not isinstance(value, str):
        return None
    return "".join(each if each.isprintable() else " " for each in value[:_LONGEST]) or None
