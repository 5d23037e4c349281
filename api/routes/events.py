"""The event journal, and what reorganisations took back from it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from api import problems, schemas
from api.dependencies import (
    NUMBER_CURSOR,
    Cacheable,
    Fresh,
    HashQuery,
    as_of,
    digest,
    number_cursor,
)
from ledger.index.decode import decode, json_values
from ledger.index.journal import topics_of
from ledger.index.views import RowMap, Snapshot, format_place, parse_place

router = APIRouter(prefix="/v1", tags=["events"], responses=problems.READ_FAILURES)

Contract = Literal["Anchors", "ModelRegistry", "LicenseLedger", "BrokerRegistry"]
Limit = Annotated[int, Query(ge=1, le=1000)]


def _values(snapshot: Snapshot, row: RowMap) -> dict[str, object]:
    event = decode(row["contract"], topics_of(row["topics"]), row["data"])
    return {
        **row,
        "arguments": None if event is None else json_values(event),
        "finality": snapshot.as_of.finality(row["block"]),
    }


@router.get("/events")
def list_events(
    *,
    snapshot: Cacheable,
    contract: Contract | None = None,
    event: Annotated[str | None, Query(max_length=64, pattern=r"^\w+$")] = None,
    subject: Annotated[
        HashQuery, Query(description="a model id, an anchored root, or a token id as 32 bytes")
    ] = None,
    from_block: Annotated[int, Query(ge=0, lt=1 << 53)] = 0,
    cursor: Annotated[str | None, Query(pattern=r"^\d{1,18}-\d{1,18}-[0-9a-f]{64}$")] = None,
    limit: Limit = 100,
) -> schemas.EventPage:
    """Events in chain order.

    Follow `next_cursor` to the end and ask again later for what is new. When a reorganisation took
    back the event at which your page ended, the answer is a 409: read again from an earlier block,
    and see /v1/retractions for what was taken back.
    """
    after = None
    if cursor is not None:
        after, block_hash = parse_place(cursor)
        snapshot.check_place(after, block_hash)
    rows = snapshot.events(
        contract=contract,
        name=event,
        subject=digest(subject),
        first=from_block,
        after=after,
        limit=limit,
    )
    return schemas.EventPage(
        as_of=as_of(snapshot),
        events=[schemas.EventItem.model_validate(_values(snapshot, row)) for row in rows],
        next_cursor=format_place(rows[-1]) if rows else cursor,
    )


@router.get("/retractions")
def list_retractions(
    *,
    snapshot: Fresh,
    cursor: Annotated[str | None, Query(pattern=NUMBER_CURSOR)] = None,
    limit: Limit = 100,
) -> schemas.RetractionPage:
    """Events that were shown and then taken back by a reorganisation of the chain."""
    rows = snapshot.orphans(after=number_cursor(cursor), limit=limit)
    return schemas.RetractionPage(
        as_of=as_of(snapshot),
        events=[
            schemas.Retraction.model_validate(
                {
                    **_values(snapshot, row),
                    "finality": "retracted",
                    "retracted_at": row["retracted_at_ms"] / 1000,
                }
            )
            for row in rows
        ],
        next_cursor=str(rows[-1]["id"]) if rows else cursor,
    )
