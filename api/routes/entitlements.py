"""May this license be used, by whom, where, at what time; and if not, which rule says so."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api import problems
from api.dependencies import (
    AccountQuery,
    Fresh,
    HashQuery,
    LicensePath,
    Served,
    license_id,
    memory_of,
)
from api.memory import BATCH, Entry, Moment, entry_key, plan_facts, together
from api.remembered import Remembered
from api.schemas import licenses as schemas
from ledger.chain.reverts import CheckInPast
from ledger.errors import EntitlementError
from ledger.ids import Address, Digest, LicenseId
from ledger.index.views import RowMap, Snapshot
from ledger.index.watching import mark_in
from ledger.licensing.entitlement import (
    Entitlement,
    LicenseFacts,
    Seat,
    Status,
    decide,
    moment,
    not_found,
)

router = APIRouter(
    prefix="/v1",
    tags=["entitlements"],
    responses=problems.READ_FAILURES,
    route_class=Remembered,
)

_NEVER = 1 << 62
# What a question about the present moment may name. With another word an answer is not kept: it is
# of another moment, or under one more of the endless names that a stranger can give one answer.
_PRESENT = frozenset({"holder", "runtime"})


@router.get("/entitlements/{license}", response_model=schemas.EntitlementAnswer)
def check(
    request: Request,
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
) -> Response:
    """Decide as the contract's `check` does, on the index's state.

    A no is an answer, not an error: `entitled` is false, `code` names the rule. What releases a key
    is the broker's own reading of the chain, never this.
    """
    which = license_id(license)
    at = _moment(snapshot, at, now=int(served.index.now()))
    entry = _entries(snapshot, [which], holder, runtime, at)[which]
    if request.query_params.keys() <= _PRESENT:
        key = (request.scope["path"], request.scope["query_string"])
        mark = mark_in(snapshot.connection, snapshot.chain_id)
        memory_of(request).put(key, entry, mark)
    body = entry.body(Moment.of(snapshot.as_of, at))
    return Response(body, media_type="application/json")


def _moment(snapshot: Snapshot, at: int | None, *, now: int) -> int:
    # A chain's clock may run ahead of ours; the contract refuses to decide about its past.
    chain = snapshot.as_of.time or 0
    if at is not None and at < chain:
        raise CheckInPast(
            f"at is {at}, before the time {chain} of block {snapshot.as_of.block}",
            hint="ask with as_of= for the state of an earlier block",
        )
    return max(now, chain) if at is None else at


@router.post(
    BATCH.removeprefix(router.prefix),
    response_model=schemas.EntitlementsAnswer,
    responses=problems.WRITE_FAILURES,
)
def check_many(
    request: Request, snapshot: Fresh, served: Served, asked: schemas.EntitlementsAsked
) -> Response:
    """Decide about up to 200 licenses at one block and one time, each as `GET` of it does."""
    which = {text: license_id(text) for text in asked.licenses}
    at = _moment(snapshot, None, now=int(served.index.now()))
    entries = _entries(snapshot, list(which.values()), asked.holder, asked.runtime, at)
    if not request.query_params:
        mark = mark_in(snapshot.connection, snapshot.chain_id)
        for text, id_ in which.items():
            key = entry_key(text, asked.holder, asked.runtime)
            memory_of(request).put(key, entries[id_], mark)
    body = together(
        [entries[which[text]] for text in asked.licenses], Moment.of(snapshot.as_of, at)
    )
    return Response(body, media_type="application/json")


def _entries(
    snapshot: Snapshot,
    asked: list[LicenseId],
    holder: str | None,
    runtime: str | None,
    at: int,
) -> dict[LicenseId, Entry]:
    """The answers at the time `at`, and between which times they are the same."""
    who = None if holder is None else Address.parse(holder.lower())
    rows = snapshot.licenses_of(asked)
    plans = snapshot.plans_of({row["plan_id"] for row in rows.values()})
    seats = {} if runtime is None else snapshot.seats_of(rows, Digest.parse(runtime))
    found = {}
    for which in asked:
        row = rows.get(which.value)
        if row is None:
            found[which] = _written(which, None, None, [], at=at)
            continue
        plan, seat = plans[row["plan_id"]], seats.get(which.value)
        facts = LicenseFacts(
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
        edges = [facts.not_before, facts.not_after]
        if facts.seat is not None:
            edges.append(facts.seat.until)
        needed = runtime is not None and not plan["floating"]
        decision = decide(facts, at=at, holder=who, seat_needed=needed)
        found[which] = _written(which, row, plan, edges, at=at, decision=decision)
    return found


def _written(
    which: LicenseId,
    row: RowMap | None,
    plan: RowMap | None,
    edges: list[int],
    *,
    at: int,
    decision: Entitlement | EntitlementError | None = None,
) -> Entry:
    """A decision in the parts of its answer; `schemas.EntitlementItem` describes the whole."""
    found = decision or not_found(which)
    if isinstance(found, Entitlement):
        end = moment(found.not_after)
        notice = " and is under notice" if found.code.name == "REVOKING" else ""
        said = {
            "code": found.code.name,
            "number": int(found.code),
            "text": f"license {which} entitles until {end}{notice}",
            "since": None,
            "remedy": "",
        }
    else:
        said = {
            "code": found.code,
            "number": found.number,
            "text": found.message,
            "since": found.since,
            "remedy": found.remedy,
        }
    granted = isinstance(found, Entitlement)
    head = _json({"license": str(which), "entitled": granted, **said})
    known = row or {"not_after": None, "plan_id": None, "model_id": None, "holder": None}
    tail = {
        "plan_id": known["plan_id"],
        "model_id": None if row is None else "0x" + bytes(row["model_id"]).hex(),
        "holder": None if row is None else str(Address(bytes(row["holder"]))),
    }
    ends = _json({"not_after": known["not_after"], "grace_until": None})
    return Entry(
        license=which.value,
        plan=known["plan_id"],
        facts=None if plan is None else plan_facts(plan),
        born=None if row is None else row["born_block"],
        begin=max((edge for edge in edges if edge <= at), default=0),
        end=min((edge for edge in edges if edge > at), default=_NEVER),
        head=head[1:-1] + b',"at":',
        middle=b"," + (ends[1 : -len(b"null}")] if granted else ends[1:-1]),
        grace=plan["grace"] if granted and plan is not None else None,
        not_after=0 if row is None else row["not_after"],
        tail=b"," + _json(tail)[1:-1] + b',"finality":"',
    )


def _json(values: dict[str, object]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
