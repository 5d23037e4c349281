"""Refusals on the wire: an error becomes a JSON object here, and the same error there. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from ledger import errors
from ledger.errors import (
    ChainUnavailable,
    EndpointsDisagree,
    EntitlementError,
    KeyRequestRejected,
    LeaseExpired,
    LedgerError,
    PendingFinality,
    Reorganised,
    UnavailableError,
)
from ledger.licensing.document import Document

_MEMBERS = ("code", "number", "message", "since", "remedy", "check", "retry_after")
_RETRYABLE: Final = (PendingFinality, EndpointsDisagree, Reorganised, UnavailableError)


@dataclass(frozen=True, slots=True)
class Denial:
    """A refusal.

    Attributes:
        code: name of the error class (``LedgerError.code``).
        number: contract code, ≥ 100 for rules decided off chain, 0 for none.
        message: which rule, as a sentence.
        since: Unix seconds since when it applies, None when unknown.
        remedy: who can change it.
        check: number of the failed decision step.
        retry_after: seconds after which the same request may succeed; None: an authoritative no.
    """

    code: str
    number: int
    message: str
    since: int | None
    remedy: str
    check: int
    retry_after: int | None

    @property
    def authoritative(self) -> bool:
        """Whether a running lease must stop because of it."""
        return self.retry_after is None

    @classmethod
    def of(cls, error: LedgerError, *, check: int) -> Denial:
        """The refusal that an error at one decision step means."""
        entitlement = error if isinstance(error, EntitlementError) else None
        wait = getattr(error, "retry_after", 2.0) if isinstance(error, _RETRYABLE) else None
        return cls(
            code=error.code,
            number=entitlement.number if entitlement else 0,
            message=error.message,
            since=entitlement.since if entitlement else None,
            remedy=error.hint,
            check=check,
            retry_after=None if wait is None else max(1, math.ceil(wait)),
        )

    def to_json(self) -> dict[str, Any]:
        """The refusal as replies carry it."""
        return {name: getattr(self, name) for name in _MEMBERS}

    @classmethod
    def from_json(cls, value: Any) -> Denial:
        """Read one out of a verified reply.

        Raises:
            ManifestError: not a refusal.
        """
        doc = Document(value, "the denial", _MEMBERS)
        return cls(
            code=doc.text("code", limit=64),
            number=doc.integer("number"),
            message=doc.text("message"),
            since=doc.integer("since") if doc.has("since") else None,
            remedy=doc.text("remedy"),
            check=doc.integer("check"),
            retry_after=doc.integer("retry_after") if doc.has("retry_after") else None,
        )

    def error(self) -> LedgerError:
        """The exception to raise for it; an unknown code is a rejected request."""
        kind = _by_code().get(self.code)
        if kind is not None and issubclass(kind, EntitlementError):
            return kind(self.message, since=self.since, remedy=self.remedy)
        if kind is not None and issubclass(kind, (PendingFinality, UnavailableError)):
            wait = float(self.retry_after or 1)
            return kind(self.message, retry_after=wait, hint=self.remedy)
        if kind is not None and issubclass(kind, (EndpointsDisagree, LeaseExpired)):
            return kind(self.message, hint=self.remedy)
        if self.retry_after is not None:
            return ChainUnavailable(
                self.message, retry_after=float(self.retry_after), hint=self.remedy
            )
        return KeyRequestRejected(self.message, check=self.check, hint=self.remedy)


def _by_code() -> dict[str, type[LedgerError]]:
    found: dict[str, type[LedgerError]] = {}
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, LedgerError):
            found[value.code] = value
    return found
