"""Licenses: lists, and one with its plan and seats."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from api import pages, problems
from api.dependencies import (
    ACCOUNT,
    COUNT,
    HASH,
    LIMIT,
    MOST,
    NUMBER_CURSOR,
    AccountQuery,
    Asked,
    Cacheable,
    HashQuery,
    LicensePath,
    Limit,
    Served,
    account,
    as_of,
    digest,
    license_id,
    unknown_license,
)
from api.pages import LICENSE_STATUS
from api.schemas import licenses as schemas
from ledger.ids import LicenseId
from ledger.index import listing
from ledger.index.views import RowMap, Snapshot
from ledger.licensing.reference import MAX_CHARACTERS, reference_hash


def _page(
    holder: str | None,
    model: str | None,
    plan: int | None,
    cursor: str | None,
    limit: int,
    *,
    external_ref: str = "",
) -> pages.Write:
    def write(snapshot: Snapshot) -> str:
        rows = listing.licenses(
            snapshot,
            holder=account(holder),
            model_id=digest(model),
            plan_id=plan,
            external=reference_hash(external_ref) if external_ref else None,
            after=None if cursor is None else int(cursor),
            limit=limit,
        )
        return pages.licenses(rows, limit)

    return write


def _plain(given: pages.Given) -> pages.Write | None:
    limit = int(given.get("limit", LIMIT))
    plan = int(given["plan"]) if "plan" in given else None
    if not 1 <= limit <= MOST or (plan is not None and plan >= PLANS):
        return None
    holder, model, cursor = (given.get(name) for name in ("holder", "model", "cursor"))
    return _page(holder, model, plan, cursor, limit)


PLANS = 1 << 32
_FORMS = {
    "holder": ACCOUNT, "model": HASH, "plan": COUNT, "cursor": NUMBER_CURSOR, "limit": COUNT,
}  # fmt: skip

router = APIRouter(
    prefix="/v1",
    tags=["licenses"],
    responses=problems.READ_FAILURES,
    route_class=pages.quick({"/v1/licenses": (_FORMS, _plain)}),
)


def shown(row: RowMap) -> schemas.License:
    """A license's row as it is answered."""
    values: dict[str, Any] = {**row, "status": LICENSE_STATUS.get(row["status"], "revoked")}
    return schemas.License.model_validate(values)


@router.get("/licenses", response_model=schemas.LicensePage)
async def list_licenses(
    request: Request,
    served: Served,
    which: Asked,
    *,
    holder: AccountQuery = None,
    model: HashQuery = None,
    plan: Annotated[int | None, Query(ge=0, lt=PLANS)] = None,
    external_ref: Annotated[
        str,
        Query(max_length=MAX_CHARACTERS, description="an order or invoice number, as it was given"),
    ] = "",
    cursor: Annotated[str | None, Query(pattern=NUMBER_CURSOR)] = None,
    limit: Limit = LIMIT,
) -> Response:
    """Licenses by number, optionally of one holder, model, plan or external reference."""
    return await pages.page(
        request,
        served,
        which,
        _page(holder, model, plan, cursor, limit, external_ref=external_ref),
    )


@router.get("/licenses/{license}")
def show_license(snapshot: Cacheable, license: LicensePath) -> schemas.LicenseAnswer:  # noqa: A002 -- its name in the URL
    """One license with its plan and recorded seats."""
    which: LicenseId = license_id(license)
    row = snapshot.license(which)
    if row is None:
        raise unknown_license(which, snapshot.as_of.block)
    return schemas.LicenseAnswer(
        as_of=as_of(snapshot),
        license=shown(row),
        plan=schemas.Plan.model_validate(snapshot.plan(row["plan_id"])),
        seats=[schemas.Seat.model_validate(seat) for seat in snapshot.seats(which)],
        finality=snapshot.as_of.finality(row["born_block"]),  # type: ignore[arg-type]
    )
