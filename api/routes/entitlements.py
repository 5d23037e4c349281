"""May this license be used, by whom, where, at what time; and if not, which rule says so."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api import problems, schemas
from api.dependencies import AccountQuery, Fresh, HashQuery, LicensePath, Served, as_of, license_id
from ledger.chain.reverts import CheckInPast
from ledger.errors import EntitlementError
from ledger.ids import Address, Digest, LicenseId
from ledger.index.views import RowMap, Snapshot
from ledger.licensing.entitlement import (
    Entitlement,
    LicenseFacts,
    Seat,
    Status,
    decide,
    moment,
    not_found,
)

router = APIRouter(prefix="/v1", tags=["entitlements"], responses=problems.READ_FAILURES)


@router.get("/entitlements/{license}")
def check(
    *,
    snapshot: Fresh,
    served: Served,
    license: LicensePath,  # noqa: A002 -- its name in the URL
    holder: AccountQuery = None,
    runtime: Annotated[
        HashQuery, Query(description="runtime key hash; asks for a seat unless the plan floats")
    ] = None,
    at: Annotated[
        int | None, Query(ge=0, lt=1 << 40, description="Unix seconds; now when left out")
    ] = None,
) -> schemas.EntitlementAnswer:
    """Decide as the contract's `check` does, on the index's state.

    A no is an answer, not an error: `entitled` is false, `code` names the rule. What releases a key
    is the broker's own reading of the chain, never this.
    """
    which = license_id(license)
    at = _moment(snapshot, at, now=int(served.index.now()))
    row = snapshot.license(which)
    if row is None:
        return _answer(snapshot, which, not_found(which), at, None)
    plan = snapshot.plan(row["plan_id"])
    facts = _facts(snapshot, which, row, plan, runtime)
    decision = decide(
        facts,
        at=at,
        holder=None if holder is None else Address.parse(holder),
        seat_needed=runtime is not None and not plan["floating"],
    )
    return _answer(snapshot, which, decision, at, row)


def _moment(snapshot: Snapshot, at: int | None, *, now: int) -> int:
    # A chain's clock may run ahead of ours; the contract refuses to decide about its past.
    chain = snapshot.as_of.time or 0
    if at is not None and at < chain:
        raise CheckInPast(
            f"at is {at}, before the time {chain} of block {snapshot.as_of.block}",
            hint="ask with as_of= for the state of an earlier block",
        )
    return max(now, chain) if at is None else at


def _facts(
    snapshot: Snapshot, which: LicenseId, row: RowMap, plan: RowMap, runtime: str | None
) -> LicenseFacts:
    seat = None if runtime is None else snapshot.seat(which, Digest.parse(runtime))
    return LicenseFacts(
        license=which,
        holder=Address(bytes(row["holder"])),
        status=Status(row["status"]),
        not_before=row["not_before"],
        not_after=row["not_after"],
        suspended_at=row["suspended_at"],
        licensor=Address(bytes(plan["licensor"])),
        grace=plan["grace"],
        seat=None if seat is None else Seat(seat["bound_at"], seat["until"]),
    )


def _answer(
    snapshot: Snapshot,
    which: LicenseId,
    decision: Entitlement | EntitlementError,
    at: int,
    row: RowMap | None,
) -> schemas.EntitlementAnswer:
    values = {
        "as_of": as_of(snapshot),
        "license": which.value,
        "entitled": isinstance(decision, Entitlement),
        "at": at,
        "not_after": None if row is None else row["not_after"],
        "plan_id": None if row is None else row["plan_id"],
        "model_id": None if row is None else row["model_id"],
        "holder": None if row is None else row["holder"],
        # What is absent is as settled as the block that does not show it.
        "finality": snapshot.as_of.finality(
            snapshot.as_of.block if row is None else row["born_block"]
        ),
    }
    if isinstance(decision, Entitlement):
        end = moment(decision.not_after)
        values |= {
            "code": decision.code.name,
            "number": int(decision.code),
            "text": f"license {which} entitles until {end}"
            + (" and is under notice" if decision.code.name == "REVOKING" else ""),
            "grace_until": decision.grace_until,
        }
    else:
        values |= {
            "code": decision.code,
            "number": decision.number,
            "text": decision.message,
            "since": decision.since,
            "remedy": decision.remedy,
        }
    return schemas.EntitlementAnswer.model_validate(values)
