"""The event journal, and what reorganisations took back from it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from api import problems
from api.dependencies import (
    NUMBER_CURSOR,
    Cacheable,
    EventQuery,
    Fresh,
    HashQuery,
    as_of,
    digest,
    feed_of,
    license_id,
    number_cursor,
)
from api.feed import Feed
from api.forms import LICENSE
from api.remembered import Remembered
from api.schemas import events as schemas
from ledger.broker.limits import network_of
from ledger.index.chronicle import format_place, parse_place
from ledger.index.decode import decode, json_values
from ledger.index.fold_licenses import license_subject
from ledger.index.journal import topics_of
from ledger.index.views import RowMap, Snapshot

router = APIRouter(
    prefix="/v1", tags=["events"], responses=problems.READ_FAILURES, route_class=Remembered
)

Contract = Literal["Anchors", "ModelRegistry", "LicenseLedger", "BrokerRegistry", "LicenseMarket"]
Limit = Annotated[int, Query(ge=1, le=1000)]

RETRY_MS: Final = 1000
"""After which a listener whose connection broke comes back."""

SILENCE_SECONDS: Final = 15.0
"""After which a comment shows that the connection stands."""

_HERE: Final = frozenset({"127.0.0.1", "::1"})

# One event of the stream, as OpenAPI 3.2 (section 4.14.4) describes them; `data` is JSON.
_SENT_EVENT: Final = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": NUMBER_CURSOR},
        "event": {"type": "string", "enum": ["applied", "retracted", "finalized"]},
        "data": {"type": "string"},
        "retry": {"type": "integer"},
    },
}


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
    event: EventQuery = None,
    subject: Annotated[
        HashQuery, Query(description="a model id, an anchored root, or a token id as 32 bytes")
    ] = None,
    from_block: Annotated[int, Query(ge=0, lt=1 << 53)] = 0,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,18}-[0-9]{1,18}-[0-9a-f]{64}$")] = None,
    limit: Limit = 100,
) -> schemas.EventPage:
    """Events in chain order.

    A feed: the last page has a `next_cursor` too, and an empty one gives back the one that it was
    asked with. A page with fewer events than `limit` is the last for now; ask again later with its
    cursor for what is new. When a reorganisation took back the event at which your page ended, the
    answer is a 409: read again from an earlier block, and see /v1/retractions for what was taken
    back.
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


@router.get(
    "/events/stream",
    response_class=Response,
    responses={
        int(problems.OK): {
            "description": "server-sent events: applied, retracted, finalized",
            "content": {EventSourceResponse.media_type: {"schema": _SENT_EVENT}},
        }
    },
)
async def stream_events(
    request: Request,
    *,
    event: EventQuery = None,
    subject: Annotated[
        HashQuery, Query(description="a model id, an anchored root, or a token id as 32 bytes")
    ] = None,
    license: Annotated[  # noqa: A002 -- its name in the URL
        str | None, Query(pattern=LICENSE, description="in place of `subject`")
    ] = None,
    after: Annotated[
        int | None, Query(ge=0, lt=1 << 53, description="a number read before")
    ] = None,
    last_event_id: Annotated[str, Header(pattern=r"^([0-9]{1,18})?$")] = "",
) -> Response:
    """What happens, as it happens: server-sent events with the outbox's numbers as their ids.

    `applied`: an event is in the journal; `retracted`: a reorganisation took it back; `finalized`:
    every event up to and including that block is final. It begins with what comes next, or after
    the number in `Last-Event-ID` (or `after`), so a connection that broke goes on where it was. A
    number whose successors are no longer kept is answered with 404: read /v1/events instead.
    """
    feed = feed_of(request)
    since = int(last_event_id) if last_event_id else after
    client = request.client.host if request.client else None
    network = None if client in _HERE else network_of(client)
    start = await feed.begin(since, network=network)
    wanted = digest(subject)
    if license is not None:
        wanted = license_subject(license_id(license).value)
    return EventSourceResponse(
        _sent(feed, start, event, wanted, network), headers={"X-Accel-Buffering": "no"}
    )


async def _sent(
    feed: Feed, start: int, event: str | None, subject: bytes | None, network: str | None
) -> AsyncIterator[bytes]:
    # Now, so that the listener knows that it listens; and the number to come back with.
    yield format_sse_event(id=str(start), retry=RETRY_MS, comment="listening")
    listening = feed.listen(start, silence=SILENCE_SECONDS, network=network)
    # Ended with this generator: whoever hangs up listens no longer.
    async with contextlib.aclosing(listening) as entries:
        async for told in entries:
            if told is None:
                yield KEEPALIVE_COMMENT
            elif told.kind == "finalized" or (
                event in {None, told.event} and (subject is None or subject in told.subjects)
            ):
                yield format_sse_event(id=str(told.seq), event=told.kind, data_str=told.body)


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
