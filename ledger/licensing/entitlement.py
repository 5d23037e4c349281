"""The entitlement decision, without chain, clock or database.

``decide`` answers for one license and moment as ``LicenseLedger.check`` does on chain; ``denial``
turns a contract code into the sentence a user reads: which rule, since when, who can change it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final

from ledger.errors import (
    EntitlementError,
    Expired,
    NoLicense,
    NotYetValid,
    ParentInvalid,
    QuotaSpent,
    Revoked,
    RuntimeNotBound,
    SeatLapsed,
    Suspended,
    WrongHolder,
)
from ledger.ids import ZERO_ADDRESS, Address, LicenseId

PERPETUAL: Final = (1 << 40) - 1


class Code(IntEnum):
    """Answers of ``ILicenseLedger.check``; VALID and REVOKING grant."""

    VALID = 0
    NOT_FOUND = 1
    SUSPENDED = 2
    REVOKED = 3
    EXPIRED = 4
    WRONG_HOLDER = 5
    RUNTIME_NOT_BOUND = 6
    SEAT_LAPSED = 7
    NOT_YET_VALID = 8
    PARENT_INVALID = 9
    REVOKING = 10
    QUOTA_SPENT = 11

    @property
    def grants(self) -> bool:
        """Whether this answer entitles."""
        return self in {Code.VALID, Code.REVOKING}


class Status(IntEnum):
    """``LicenseStatus`` of the ledger."""

    NONE = 0
    ACTIVE = 1
    SUSPENDED = 2
    REVOKED = 3


@dataclass(frozen=True, slots=True)
class Seat:
    """A seat on chain. Unix seconds; ``bound_at`` 0: none; ``until`` 0: as long as the license.

    `measurement`: 20 bytes that the runtime's evidence must show, zeros for none.
    """

    bound_at: int = 0
    until: int = 0
    measurement: bytes = bytes(20)


@dataclass(frozen=True, slots=True)
class LicenseFacts:
    """What the ledger holds about one license at one block. Times in Unix seconds."""

    license: LicenseId
    holder: Address
    status: Status
    not_before: int
    not_after: int
    suspended_at: int
    licensor: Address
    grace: int = 0
    seat: Seat | None = None


@dataclass(frozen=True, slots=True)
class Entitlement:
    """A yes: the code that granted it, and how long it holds (Unix seconds)."""

    code: Code
    not_after: int
    grace_until: int


def decide(
    facts: LicenseFacts, *, at: int, holder: Address | None = None, seat_needed: bool = False
) -> Entitlement | EntitlementError:
    """Whether the license entitles at `at` (Unix seconds).

    The order of the rules is that of ``LicenseLedger.check``: what is final before what can be
    mended, what concerns the license before what concerns the asker. A negative answer is returned,
    not raised.

    Args:
        facts: the license as read at one block.
        at: the moment asked about.
        holder: who must hold it; None does not ask.
        seat_needed: whether ``facts.seat`` must be a live seat.
    """
    code = _code(facts, at, holder, seat_needed=seat_needed)
    if not code.grants:
        return denial(code, facts)
    return Entitlement(code, facts.not_after, min(at + facts.grace, facts.not_after))


def _code(facts: LicenseFacts, at: int, holder: Address | None, *, seat_needed: bool) -> Code:
    if facts.status is Status.NONE or facts.holder == ZERO_ADDRESS:
        return Code.NOT_FOUND
    revoked = facts.status is Status.REVOKED
    if at >= facts.not_after:
        return Code.REVOKED if revoked else Code.EXPIRED
    # A license under notice can be suspended as well; then only suspended_at tells.
    if facts.status is Status.SUSPENDED or facts.suspended_at:
        return Code.SUSPENDED
    if at < facts.not_before:
        return Code.NOT_YET_VALID
    if holder is not None and holder != facts.holder:
        return Code.WRONG_HOLDER
    if seat_needed:
        if facts.seat is None or facts.seat.bound_at == 0:
            return Code.RUNTIME_NOT_BOUND
        if facts.seat.until and at >= facts.seat.until:
            return Code.SEAT_LAPSED
    return Code.REVOKING if revoked else Code.VALID


def moment(seconds: int) -> str:
    """A time for people, in UTC; "no end" for the perpetual mark."""
    if seconds >= PERPETUAL:
        return "no end"
    if seconds > 253402300799:  # the contract takes any uint40, a datetime does not
        return "after the year 9999"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _revoked(f: LicenseFacts) -> EntitlementError:
    return Revoked(
        f"license {f.license} was revoked with effect from {moment(f.not_after)}",
        since=f.not_after,
        remedy=f"revocation is final; ask the licensor {f.licensor} for a new license",
    )


def _suspended(f: LicenseFacts) -> EntitlementError:
    since = f.suspended_at or None
    when = f" since {moment(since)}" if since else ""
    return Suspended(
        f"license {f.license} is suspended{when}",
        since=since,
        remedy=f"only the licensor {f.licensor} can reinstate it (deed license reinstate)",
    )


def _expired(f: LicenseFacts) -> EntitlementError:
    return Expired(
        f"license {f.license} ended on {moment(f.not_after)}",
        since=f.not_after,
        remedy=f"ask the licensor {f.licensor} to renew it (deed license renew {f.license})",
    )


def _not_yet(f: LicenseFacts) -> EntitlementError:
    return NotYetValid(
        f"license {f.license} begins on {moment(f.not_before)}",
        since=None,
        remedy="wait until then, or ask the licensor for an earlier start",
    )


def _wrong_holder(f: LicenseFacts) -> EntitlementError:
    return WrongHolder(
        f"license {f.license} is held by {f.holder}, who did not sign this runtime's grant",
        remedy=f"let {f.holder} grant this runtime: deed runtime grant REQUEST "
        f"--license {f.license}",
    )


def _not_bound(f: LicenseFacts) -> EntitlementError:
    return RuntimeNotBound(
        f"license {f.license} has no seat for this runtime",
        remedy=f"the holder {f.holder} can give it one: deed license bind {f.license} REQUEST, "
        "besides deed runtime grant",
    )


def _lapsed(f: LicenseFacts) -> EntitlementError:
    until = f.seat.until if f.seat else None
    when = f" on {moment(until)}" if until else ""
    return SeatLapsed(
        f"this runtime's seat on license {f.license} ended{when}",
        since=until,
        remedy=f"the holder {f.holder} can bind it again",
    )


def _parent(f: LicenseFacts) -> EntitlementError:
    return ParentInvalid(
        f"the license that {f.license} was sublicensed from is not valid",
        remedy="ask whoever sublicensed it to you",
    )


def _quota(f: LicenseFacts) -> EntitlementError:
    return QuotaSpent(
        f"the metered quota of license {f.license} is used up",
        remedy=f"ask the licensor {f.licensor} for more",
    )


def not_found(license_id: LicenseId) -> NoLicense:
    """The denial for a license the ledger does not know."""
    return NoLicense(
        f"there is no license {license_id} on this ledger",
        remedy="check the number and the network: deed license list, deed network show",
    )


_SENTENCES: dict[Code, Callable[[LicenseFacts], EntitlementError]] = {
    Code.SUSPENDED: _suspended,
    Code.REVOKED: _revoked,
    Code.EXPIRED: _expired,
    Code.WRONG_HOLDER: _wrong_holder,
    Code.RUNTIME_NOT_BOUND: _not_bound,
    Code.SEAT_LAPSED: _lapsed,
    Code.NOT_YET_VALID: _not_yet,
    Code.PARENT_INVALID: _parent,
    Code.QUOTA_SPENT: _quota,
}


def denial(code: int, facts: LicenseFacts) -> EntitlementError:
    """The error for a contract code that does not grant.

    A code this release does not know denies too: closed, never open.
    """
    if code == Code.NOT_FOUND:
        return not_found(facts.license)
    try:
        return _SENTENCES[Code(code)](facts)
    except (ValueError, KeyError):
        return EntitlementError(
            f"license {facts.license} was denied with code {code}, unknown to this release",
            remedy="update modeldeed",
        )
