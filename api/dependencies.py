"""What routes are given: a snapshot of the index with its validator, and parsed identifiers."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, cast

from fastapi import Depends, Path, Query, Request, Response
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from api.feed import Feed
from api.forms import AS_OF, LICENSE
from api.memory import Memory
from api.problems import NotModified
from api.schemas.base import AsOf
from api.settings import Settings
from ledger.chain.deployment import Deployment
from ledger.chain.profile import ChainProfile
from ledger.chain.rpc import Rpc
from ledger.errors import UnknownRecord, UsageError
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.index.as_of import Tag
from ledger.index.decode import EVENTS
from ledger.index.endpoints import Endpoints
from ledger.index.follow import Follower
from ledger.index.keeper import Keeper
from ledger.index.views import Index, Snapshot
from ledger.index.watching import Mark, State


@dataclass(frozen=True, slots=True)
class Service:
    """What one process serves.

    `follower`, `endpoints` and `keeper` are None where another process follows the chain, `rpc`
    where no endpoint is named.
    """

    settings: Settings
    index: Index
    follower: Follower | None
    deployment: Deployment
    profile: ChainProfile
    endpoints: Endpoints | None = None
    keeper: Keeper | None = None
    rpc: Rpc | None = None


def service(request: Request) -> Service:
    """The process's service."""
    return cast("Service", request.app.state.service)


def feed_of(request: Request) -> Feed:
    """The process's feed of events."""
    return cast("Feed", request.app.state.feed)


def memory_of(request: Request) -> Memory:
    """The process's memory of answers."""
    return cast("Memory", request.app.state.memory)


async def _served(request: Request) -> Service:
    return service(request)


# Asynchronous, as `_asked`: what waits for nothing needs no thread.
Served = Annotated[Service, Depends(_served)]

HASH = "^0x[0-9a-f]{64}$"
ACCOUNT = "^0x[0-9a-fA-F]{40}$"

ModelPath = Annotated[str, Path(pattern=HASH, examples=["0x" + "ab" * 32])]
LicensePath = Annotated[
    str,
    Path(
        pattern=LICENSE,
        description="PLAN.SERIAL, or the decimal token id (PLAN * 2^32 + SERIAL)",
        examples=["1.1"],
    ),
]
HashQuery = Annotated[str | None, Query(pattern=HASH)]
AccountQuery = Annotated[str | None, Query(pattern=ACCOUNT)]
EVENT_NAMES = sorted(
    {kind.signature.partition("(")[0] for kinds in EVENTS.values() for kind in kinds.values()}
)


def _known_event(name: str) -> str:
    if name in EVENT_NAMES:
        return name
    near = " or ".join(difflib.get_close_matches(name, EVENT_NAMES, n=2))
    raise PydanticCustomError(
        "unknown_event",
        "there is no such event{near}; all names are in /v1/openapi.json",
        {"near": f" (perhaps {near})" if near else ""},
    )


EventName = Annotated[
    str,
    Field(json_schema_extra={"enum": EVENT_NAMES}, max_length=64),
    AfterValidator(_known_event),
]
EventQuery = Annotated[EventName | None, Query(description="an event's name")]
LIMIT, MOST = 50, 500
"""Rows on a page, unless asked for otherwise, and the most that are."""
COUNT = r"^(0|[1-9][0-9]{0,9})$"
Limit = Annotated[int, Query(ge=1, le=MOST, description="rows on a page")]
NUMBER_CURSOR = r"^[0-9]{1,18}$"


AsOfQuery = Annotated[
    str | None,
    Query(
        pattern=AS_OF,
        description="answer as of a block's number, `safe`, `finalized`, or the end of a UTC day "
        "or second",
        examples=["finalized"],
    ),
]
FinalityQuery = Annotated[
    Tag | None,
    Query(description="what the answer must rest on; by itself: the newest such block"),
]


def model_id(text: ModelPath) -> ModelId:
    """The model id of a path."""
    return ModelId.parse(text)


def license_id(text: str) -> LicenseId:
    """The license of a path.

    Raises:
        UnknownRecord: a number that no license can have.
    """
    try:
        return LicenseId.parse(text)
    except UsageError as error:
        raise UnknownRecord(error.message, hint=error.hint) from None


def unknown_license(which: LicenseId, block: int) -> UnknownRecord:
    """What is said of a license that there is not as of a block."""
    hint = "check the number and the network; a new license takes a moment to be read"
    if not which.plan:
        hint = LicenseId.ABOUT_NUMBERS
    return UnknownRecord(f"there is no license {which} as of block {block}", hint=hint)


def number_cursor(text: str | None) -> int:
    """A cursor that is a plain number; 0 without one."""
    return 0 if text is None else int(text)


def digest(text: str | None) -> bytes | None:
    """A hash of a query as bytes."""
    return None if text is None else Digest.parse(text).raw


def account(text: str | None) -> bytes | None:
    """An account of a query as bytes. A filter need not carry a checksum."""
    return None if text is None else Address.parse(text.lower()).raw


@dataclass(frozen=True, slots=True)
class Moment:
    """The state that a caller asks about; as the arguments of `Index.snapshot`."""

    block: int | Tag | None
    at: int | None
    settled: Tag


def moment(as_of: str | None, min_finality: Tag | None = None) -> Moment:
    """What `as_of` and `min_finality` come to.

    Raises:
        UsageError: a day or time that there is not.
    """
    settled: Tag = min_finality or "latest"
    if as_of is None:
        return Moment(None, None, settled)
    if as_of in {"latest", "safe", "finalized"}:
        return Moment(cast("Tag", as_of), None, settled)
    if as_of.isdigit():
        return Moment(int(as_of), None, settled)
    return Moment(None, last_second(as_of), settled)


def last_second(text: str) -> int:
    """The last Unix second of a UTC day (``2026-11-28``), or a UTC time (``…T12:00:00Z``) itself.

    Raises:
        UsageError: there is no such day or time.
    """
    try:
        when = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"there is no {text}", hint="such as 2026-11-28") from None
    seconds = int(when.timestamp())
    return seconds if "T" in text else seconds + _DAY - 1


_DAY = 86_400


async def _asked(as_of: AsOfQuery = None, min_finality: FinalityQuery = None) -> Moment:
    return moment(as_of, min_finality)


Asked = Annotated[Moment, Depends(_asked)]


def fresh(served: Served, which: Asked) -> Iterator[Snapshot]:
    """A snapshot whose answer is not to be kept."""
    with served.index.snapshot(which.block, at=which.at, settled=which.settled) as snapshot:
        yield snapshot


@contextmanager
def answering(
    request: Request, served: Service, which: Moment
) -> Iterator[tuple[Snapshot, dict[str, str]]]:
    """A snapshot whose answer has an ETag, and the headers that say so.

    The tag changes with the block, its finality and the deposited documents, and when the index
    falls behind; within it only `lag_s` differs, which is why it is a weak one (RFC 9110, 8.8.1).

    Raises:
        NotModified: the caller has this answer.
    """
    with served.index.snapshot(which.block, at=which.at, settled=which.settled) as snapshot:
        mark = mark_of(snapshot)
        ready_lag = served.settings.ready_lag
        stale = snapshot.as_of.lag_s > ready_lag
        etag = _etag(request, snapshot, mark.deposits, stale=stale)
        if etag in request.headers.get("if-none-match", ""):
            raise NotModified(etag)
        if not stale:
            request.scope["state"]["basis"] = (mark, ready_lag)
        yield snapshot, {"ETag": etag, "Cache-Control": "no-cache"}


def cacheable(
    request: Request, response: Response, served: Served, which: Asked
) -> Iterator[Snapshot]:
    """A snapshot whose answer has an ETag (`answering`)."""
    with answering(request, served, which) as (snapshot, headers):
        response.headers.update(headers)
        yield snapshot


def mark_of(snapshot: Snapshot) -> Mark:
    """The mark that a snapshot was made at."""
    cursor = snapshot.position.cursor
    return Mark(
        State(cursor.next_block, cursor.last_hash, cursor.epoch),
        cursor.safe,
        cursor.finalized,
        snapshot.position.deposits,
        cursor.synced_at_ms,
        snapshot.position.last_seq,
    )


def _etag(request: Request, snapshot: Snapshot, deposits: int, *, stale: bool) -> str:
    facts = snapshot.as_of
    parts = (
        request.scope["path"],
        request.scope["query_string"],
        facts.block,
        facts.hash,
        *((point.block, point.hash) for point in facts.points.values()),
        deposits,
        stale,
    )
    return 'W/"' + hashlib.sha256(repr(parts).encode()).hexdigest()[:32] + '"'


# A snapshot holds a connection of the database's pool (15 in all). Beyond these numbers requests
# wait without a thread, and it ends before the answer is sent: a slow reader holds none.
Fresh = Annotated[Snapshot, Depends(fresh, scope="function", max_concurrency=4)]
Cacheable = Annotated[Snapshot, Depends(cacheable, scope="function", max_concurrency=6)]


def as_of(snapshot: Snapshot) -> AsOf:
    """The `as_of` member of an answer."""
    return AsOf.of(snapshot.as_of)
