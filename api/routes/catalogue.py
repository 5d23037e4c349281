"""Plans, batches, anchors, brokers and receipts; figures of a licensor; the search for anything."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query

from api import problems
from api.asking import ANYONE, allow
from api.dependencies import (
    ACCOUNT,
    HASH,
    NUMBER_CURSOR,
    AccountQuery,
    Cacheable,
    HashQuery,
    LicensePath,
    Limit,
    Served,
    account,
    as_of,
    digest,
    last_second,
    license_id,
    number_cursor,
)
from api.forms import ANYTHING
from api.remembered import Remembered
from api.schemas import catalogue as shapes
from api.schemas.licenses import Plan
from ledger.chain.plans import Role
from ledger.chain.registry import ModelStatus
from ledger.errors import UnknownRecord
from ledger.ids import Address, Digest, ModelId
from ledger.index import catalogue, figures, finding
from ledger.index.views import RowMap, Snapshot

router = APIRouter(
    prefix="/v1", tags=["catalogue"], responses=problems.READ_FAILURES, route_class=Remembered
)

PlanNumber = Annotated[int, Path(ge=0, lt=1 << 32)]
BrokerNumber = Annotated[int, Path(ge=0, lt=1 << 53)]
NumberCursor = Annotated[str | None, Query(pattern=NUMBER_CURSOR)]

_DAY: Final = 86_400


def settled(snapshot: Snapshot, row: RowMap) -> dict[str, Any]:
    """A row of state with how settled its last change is."""
    return {**row, "finality": snapshot.as_of.finality(row["born_block"])}


@router.get("/plans")
def list_plans(
    *,
    snapshot: Cacheable,
    licensor: AccountQuery = None,
    model: HashQuery = None,
    cursor: NumberCursor = None,
    limit: Limit = 50,
) -> shapes.PlanPage:
    """Plans by number, optionally of one licensor or model."""
    rows = catalogue.plans(
        snapshot,
        licensor=account(licensor),
        model_id=digest(model),
        after=number_cursor(cursor),
        limit=limit,
    )
    return shapes.PlanPage(
        as_of=as_of(snapshot),
        plans=[Plan.model_validate(row) for row in rows],
        next_cursor=str(rows[-1]["plan_id"]) if len(rows) == limit else None,
    )


@router.get("/plans/{plan}")
def show_plan(snapshot: Cacheable, served: Served, plan: PlanNumber) -> shapes.PlanAnswer:
    """One plan, which accounts may act for its licensor, and whether it is on sale."""
    row = snapshot.plan(plan)
    market = served.deployment.addresses["LicenseMarket"].raw
    held = catalogue.roles(snapshot, row)
    sells = any(each["account"] == market and Role.ISSUER & each["roles"] for each in held)
    left = not row["supply"] or row["issued"] < row["supply"]
    model = snapshot.model(ModelId(row["model_id"]))
    its = model["licensor"] == row["licensor"] and model["status"] == ModelStatus.ACTIVE
    roles = [
        {
            "account": each["account"],
            "roles": [role.name.lower() for role in Role if role & each["roles"]],  # type: ignore[union-attr]  # members have names
        }
        for each in held
    ]
    return shapes.PlanAnswer.model_validate(
        {
            "as_of": as_of(snapshot),
            "plan": Plan.model_validate(row),
            "roles": roles,
            "on_sale": sells and left and its and not row["paused"],
            "finality": snapshot.as_of.finality(row["born_block"]),
        }
    )


@router.get("/batches")
def list_batches(
    *,
    snapshot: Cacheable,
    model: HashQuery = None,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,18}-[0-9]{1,18}$")] = None,
    limit: Limit = 50,
) -> shapes.BatchPage:
    """Batches of licenses in the order in which they were anchored, optionally of one model."""
    after = None
    if cursor is not None:
        block, _, index = cursor.partition("-")
        after = int(block), int(index)
    found = catalogue.batches(snapshot, model_id=digest(model), after=after, limit=limit)
    last = found[-1].anchored if len(found) == limit else None
    return shapes.BatchPage(
        as_of=as_of(snapshot),
        batches=[
            shapes.Batch.model_validate(
                {
                    **{name: getattr(each, name) for name in ("root", "plan_id", "by", "count")},
                    "first_serial": each.first_serial,
                    "closes_at": each.closes_at,
                    "anchored_at": each.anchored["block_time"],
                    "block": each.anchored["block"],
                    "tx": each.anchored["tx_hash"],
                    "finality": snapshot.as_of.finality(each.anchored["block"]),
                }
            )
            for each in found
        ],
        next_cursor=None if last is None else f"{last['block']}-{last['log_index']}",
    )


@router.get("/anchors")
def list_anchors(
    *,
    snapshot: Cacheable,
    sender: AccountQuery = None,
    since: Annotated[int, Query(ge=0, lt=1 << 53, description="Unix seconds")] = 0,
    until: Annotated[int | None, Query(ge=0, lt=1 << 53, description="Unix seconds")] = None,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,18}-[0-9a-f]{64}$")] = None,
    limit: Limit = 50,
) -> shapes.AnchorPage:
    """Anchored roots by time, optionally of one sender or between two times, both included."""
    after = None
    if cursor is not None:
        when, _, digits = cursor.partition("-")
        after = int(when), bytes.fromhex(digits)
    rows = catalogue.anchors(
        snapshot, sender=account(sender), first=since, last=until, after=after, limit=limit
    )
    last = rows[-1] if len(rows) == limit else None
    return shapes.AnchorPage(
        as_of=as_of(snapshot),
        anchors=[shapes.Anchor.model_validate(settled(snapshot, row)) for row in rows],
        next_cursor=None if last is None else f"{last['anchored_at']}-{last['root'].hex()}",
    )


@router.get("/anchors/{root}")
def show_anchor(
    snapshot: Cacheable, root: Annotated[str, Path(pattern=HASH)]
) -> shapes.AnchorAnswer:
    """One anchored root: by whom, and when."""
    row = catalogue.anchor(snapshot, Digest.parse(root))
    return shapes.AnchorAnswer(
        as_of=as_of(snapshot), anchor=shapes.Anchor.model_validate(settled(snapshot, row))
    )


@router.get("/brokers")
def list_brokers(
    snapshot: Cacheable, cursor: NumberCursor = None, limit: Limit = 50
) -> shapes.BrokerPage:
    """Key brokers that are registered on the chain, by number."""
    rows = catalogue.brokers(snapshot, after=number_cursor(cursor), limit=limit)
    return shapes.BrokerPage(
        as_of=as_of(snapshot),
        brokers=[shapes.Broker.model_validate(row) for row in rows],
        next_cursor=str(rows[-1]["broker_id"]) if len(rows) == limit else None,
    )


@router.get("/brokers/{broker}/receipts")
def list_receipts(
    snapshot: Cacheable, broker: BrokerNumber, cursor: NumberCursor = None, limit: Limit = 50
) -> shapes.ReceiptPage:
    """Roots under which a broker anchored its receipts."""
    catalogue.broker(snapshot, broker)
    rows = catalogue.receipts(snapshot, broker, after=number_cursor(cursor), limit=limit)
    return shapes.ReceiptPage(
        as_of=as_of(snapshot),
        receipts=[shapes.ReceiptRoot.model_validate(settled(snapshot, row)) for row in rows],
        next_cursor=str(rows[-1]["seq"]) if len(rows) == limit else None,
    )


@router.get(
    "/licensors/{licensor}/statistics",
    responses=problems.SCOPE_FAILURES,
    dependencies=[allow("statistics:read")],
    openapi_extra=ANYONE,
)
def show_statistics(
    snapshot: Cacheable,
    licensor: Annotated[str, Path(pattern=ACCOUNT)],
    days: Annotated[int, Query(ge=1, le=3650, description="what counts as ending soon")] = 30,
) -> shapes.Statistics:
    """How many licenses of a licensor's plans are active, end soon, are suspended, and so on.

    They hold at the time of the block that the answer is as of, so equal questions about one block
    have equal answers.
    """
    at = snapshot.as_of.time or 0
    which = Address.parse(licensor.lower())
    found = asdict(figures.figures(snapshot, which.raw, at=at, within=days * _DAY))
    licenses = {name: found.pop(name) for name in shapes.Licenses.model_fields}
    return shapes.Statistics.model_validate(
        {
            "as_of": as_of(snapshot),
            "licensor": which,
            "at": at,
            "licenses": licenses,
            **found,
            "revenue": [
                {**row, "net": row["taken"] - row["refunded"]}
                for row in figures.revenue(snapshot, which.raw)
            ],
            "owed": [
                {**row, "open": row["accrued"] - row["withdrawn"]}
                for row in figures.owed(snapshot, which.raw)
            ],
        }
    )


@router.get("/models/{model}/royalties")
def show_royalties(
    snapshot: Cacheable, model: Annotated[str, Path(pattern=HASH)]
) -> shapes.RoyaltyAnswer:
    """What the market credited to a model for sales of those that descend from it."""
    which = ModelId.parse(model)
    snapshot.model(which)
    return shapes.RoyaltyAnswer.model_validate(
        {
            "as_of": as_of(snapshot),
            "model_id": which,
            "royalties": [
                {**row, "open": row["accrued"] - row["collected"]}
                for row in figures.royalties(snapshot, which.raw)
            ],
        }
    )


@router.get("/licenses/{license}/sale")
def show_sale(snapshot: Cacheable, license: LicensePath) -> shapes.SaleAnswer:  # noqa: A002 -- its name in the URL
    """For what, by whom and when the market sold a license, and whether it was given back."""
    which = license_id(license)
    row = figures.sale(snapshot, which)
    if row is None:
        raise UnknownRecord(
            f"no sale of license {which} as of block {snapshot.as_of.block}",
            hint="a license that its licensor issued was not sold by the market",
        )
    return shapes.SaleAnswer.model_validate(
        {
            **settled(snapshot, row),
            "as_of": as_of(snapshot),
            "license_id": str(which),
            "refundable_until": row["refundable_until"] or None,
            "state": ("open", "settled", "refunded")[row["state"]],
        }
    )


_PATHS: Final = {
    "model": "/v1/models/{}",
    "plan": "/v1/plans/{}",
    "license": "/v1/licenses/{}",
    "anchor": "/v1/anchors/{}",
    "broker": "/v1/brokers/{}/receipts",
}


@router.get("/find")
def find(
    snapshot: Cacheable,
    q: Annotated[
        str,
        Query(
            max_length=66,
            pattern=ANYTHING,
            description="a digest, id or transaction hash; an account; or a UTC day",
            examples=["0x" + "ab" * 32],
        ),
    ],
) -> shapes.FindAnswer:
    """Everything on record that carries a digest, belongs to an account, or happened on a day.

    Tensors are looked for by /v1/search.
    """
    if len(q) == 66:
        hits = finding.find_digest(snapshot, Digest.parse(q.lower()))
    elif q.startswith("0x"):
        hits = finding.find_account(snapshot, Address.parse(q.lower()).raw)
    else:
        end = last_second(q)
        hits = finding.find_time(snapshot, end - _DAY + 1, end)
    return shapes.FindAnswer(
        as_of=as_of(snapshot),
        asked=q,
        hits=[
            shapes.Hit.model_validate(
                {
                    **asdict(hit),
                    "href": _PATHS[hit.kind].format(hit.name) if hit.kind in _PATHS else None,
                    "finality": snapshot.as_of.finality(hit.block),
                }
            )
            for hit in hits
        ],
    )
