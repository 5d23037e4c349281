"""What routes are given: a snapshot of the index with its validator, and parsed identifiers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Path, Query, Request, Response
from sqlalchemy import func, select

from api.problems import NotModified
from api.schemas import AsOf
from api.settings import Settings
from ledger.chain.deployment import Deployment
from ledger.chain.profile import ChainProfile
from ledger.errors import UnknownRecord, UsageError
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.index import tables
from ledger.index.follow import Follower
from ledger.index.views import Index, Snapshot


@dataclass(frozen=True, slots=True)
class Service:
    """What one process serves. `follower` is None where another process follows the chain."""

    settings: Settings
    index: Index
    follower: Follower | None
    deployment: Deployment
    profile: ChainProfile


def service(request: Request) -> Service:
    """The process's service."""
    return cast("Service", request.app.state.service)


Served = Annotated[Service, Depends(service)]

HASH = "^0x[0-9a-f]{64}$"
ACCOUNT = "^0x[0-9a-fA-F]{40}$"

ModelPath = Annotated[str, Path(pattern=HASH, examples=["0x" + "ab" * 32])]
LicensePath = Annotated[
    str,
    Path(
        pattern=r"^\d{1,20}(\.\d{1,10})?$",
        description="PLAN.SERIAL, or the decimal token id",
        examples=["1.1"],
    ),
]
HashQuery = Annotated[str | None, Query(pattern=HASH)]
AccountQuery = Annotated[str | None, Query(pattern=ACCOUNT)]
Limit = Annotated[int, Query(ge=1, le=500, description="rows on a page")]
NUMBER_CURSOR = r"^\d{1,18}$"
BlockQuery = Annotated[
    int | None,
    Query(ge=0, lt=1 << 53, description="answer as of the end of this block"),
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


def number_cursor(text: str | None) -> int:
    """A cursor that is a plain number; 0 without one."""
    return 0 if text is None else int(text)


def digest(text: str | None) -> bytes | None:
    """A hash of a query as bytes."""
    return None if text is None else Digest.parse(text).raw


def account(text: str | None) -> bytes | None:
    """An account of a query as bytes. A filter need not carry a checksum."""
    return None if text is None else Address.parse(text.lower()).raw


def fresh(served: Served, block: BlockQuery = None) -> Iterator[Snapshot]:
    """A snapshot whose answer is not to be kept."""
    with served.index.snapshot(block) as snapshot:
        yield snapshot


def cacheable(
    request: Request, response: Response, served: Served, block: BlockQuery = None
) -> Iterator[Snapshot]:
    """A snapshot whose answer has an ETag.

    The tag changes with the block, its finality and the deposited documents, and when the index
    falls behind; within it only `lag_s` differs, which is why it is a weak one (RFC 9110, 8.8.1).

    Raises:
        NotModified: the caller has this answer.
    """
    with served.index.snapshot(block) as snapshot:
        etag = _etag(request, snapshot, stale=snapshot.as_of.lag_s > served.settings.ready_lag)
        if etag in request.headers.get("if-none-match", ""):
            raise NotModified(etag)
        response.headers["ETag"] = etag
        response.headers["Cache-Control"] = "no-cache"
        yield snapshot


def _etag(request: Request, snapshot: Snapshot, *, stale: bool) -> str:
    facts = snapshot.as_of
    deposits = snapshot.connection.execute(
        select(func.count(), func.max(tables.document.c.deposited_at_ms))
    ).one()
    parts = (
        request.url.path,
        request.url.query,
        facts.block,
        facts.hash,
        facts.finalized,
        facts.safe,
        *deposits,
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
