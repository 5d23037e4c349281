"""The search by tensor: which registered models hold one, or any of many."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api import problems
from api.dependencies import HASH, Cacheable, Fresh, as_of
from api.remembered import Remembered
from api.routes.models import shown
from api.schemas import search as schemas
from ledger.errors import LimitExceeded
from ledger.fingerprint.search import MAX_ASKED, IdKind
from ledger.ids import Digest
from ledger.index import library, searching
from ledger.index.views import Snapshot

router = APIRouter(
    prefix="/v1", tags=["search"], responses=problems.READ_FAILURES, route_class=Remembered
)


@router.get("/search")
def search(
    snapshot: Cacheable,
    cid: Annotated[str, Query(pattern=HASH, description="content id of a tensor")],
) -> schemas.SearchAnswer:
    """Registered models that hold a tensor, all claims on it, earliest commitment first."""
    return _matches(snapshot, "cid", cid)


@router.get("/search/values")
def search_values(
    snapshot: Cacheable,
    vid: Annotated[str, Query(pattern=HASH, description="value-multiset id of a tensor")],
) -> schemas.SearchAnswer:
    """The same by value id, which survives permutation and transposition."""
    return _matches(snapshot, "vid", vid)


def _matches(snapshot: Snapshot, kind: str, text: str) -> schemas.SearchAnswer:
    which = Digest.parse(text)
    matches = [
        schemas.SearchMatch(
            model=shown(snapshot, match.model),
            names=list(match.names),
            names_verified=match.names_verified,
        )
        for match in library.search(snapshot, kind, which)
    ]
    return schemas.SearchAnswer.model_validate(
        {"as_of": as_of(snapshot), "kind": kind, "id": which, "matches": matches}
    )


@router.post("/search", responses=problems.WRITE_FAILURES)
def search_many(snapshot: Fresh, asked: schemas.SearchAsked) -> schemas.SearchHoldings:
    """Registered models that hold any of up to 1,000 ids: the 50 with the earliest commitments."""
    kinds: dict[IdKind, list[str]] = {
        "cid": asked.cid,
        "vid": asked.vid,
        "cast": asked.cast,
    }
    if sum(map(len, kinds.values())) > MAX_ASKED:
        raise LimitExceeded(
            f"at most {MAX_ASKED} ids are looked for at once",
            hint="ask for the others in further requests",
        )
    found = searching.holdings(
        snapshot, {kind: [Digest.parse(text) for text in ids] for kind, ids in kinds.items()}
    )
    return schemas.SearchHoldings(
        as_of=as_of(snapshot),
        models=[
            schemas.SearchHolding.model_validate(
                {
                    "model": shown(snapshot, one.model),
                    "place": one.place and {"block": one.place[0], "transaction": one.place[1]},
                    **{kind: one.ids.get(kind, ()) for kind in kinds},
                }
            )
            for one in found.found
        ],
        more=found.more,
    )
