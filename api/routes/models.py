"""Models, their timelines and tensor ids."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api import pages, problems
from api.asking import ANYONE, allow
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
    Limit,
    ModelPath,
    Served,
    Service,
    account,
    as_of,
    digest,
    model_id,
    number_cursor,
    service,
)
from api.lanes import lanes
from api.once import described
from api.schemas import models as schemas
from api.schemas.base import AsOf
from api.schemas.catalogue import LineageAnswer, LineageEdge, TitlePage
from api.schemas.licenses import Plan
from ledger.canonical import parse_json
from ledger.claim import Claim, manifest_hash
from ledger.errors import ClaimMismatch, ManifestError, UnknownRecord
from ledger.fingerprint import ids
from ledger.ids import Digest, ModelId
from ledger.index import catalogue, library, listing
from ledger.index.database import writing
from ledger.index.timeline import timeline
from ledger.index.views import RowMap, Snapshot


def _page(
    licensor: str | None,
    artifact_root: str | None,
    parent: str | None,
    cursor: str | None,
    limit: int,
) -> pages.Write:
    def write(snapshot: Snapshot) -> str:
        rows = listing.models(
            snapshot,
            licensor=account(licensor),
            artifact_root=digest(artifact_root),
            parent=digest(parent),
            after=None if cursor is None else _place(cursor),
            limit=limit,
        )
        return pages.models(snapshot, rows, limit)

    return write


def _place(cursor: str) -> tuple[int, bytes]:
    block, _, digits = cursor.partition("-")
    return int(block), bytes.fromhex(digits)


def _plain(given: pages.Given) -> pages.Write | None:
    limit = int(given.get("limit", LIMIT))
    if not 1 <= limit <= MOST:
        return None
    licensor, artifact_root = given.get("licensor"), given.get("artifact_root")
    return _page(licensor, artifact_root, given.get("parent"), given.get("cursor"), limit)


CURSOR = r"^[0-9]{1,18}-[0-9a-f]{64}$"
_FORMS = {
    "licensor": ACCOUNT, "artifact_root": HASH, "parent": HASH, "cursor": CURSOR, "limit": COUNT,
}  # fmt: skip

router = APIRouter(
    prefix="/v1",
    tags=["models"],
    responses=problems.READ_FAILURES,
    route_class=pages.quick({"/v1/models": (_FORMS, _plain)}),
)

# For a whole body; 64 MiB at 5 Mbit/s.
BODY_SECONDS = 120
_EXAMPLE_FINGERPRINT = {"format": "mfp1", "level": "core", "tensors": []}


def shown(snapshot: Snapshot, row: RowMap) -> schemas.Model:
    """A model's row as it is answered."""
    return shown_all(snapshot, [row])[0]


def shown_all(snapshot: Snapshot, rows: Collection[RowMap]) -> list[schemas.Model]:
    """Models' rows as they are answered; their manifests are looked up together."""
    titles = library.manifest_titles(snapshot.connection, [row["manifest_hash"] for row in rows])
    return [
        schemas.Model.model_validate(
            {
                **row,
                "status": pages.MODEL_STATUS.get(row["status"], "active"),
                "title": titles.get(bytes(row["manifest_hash"])),
                "finality": snapshot.as_of.finality(row["registered_block"]),
            }
        )
        for row in rows
    ]


@router.get("/models", response_model=schemas.ModelPage)
async def list_models(
    request: Request,
    served: Served,
    which: Asked,
    *,
    licensor: AccountQuery = None,
    artifact_root: HashQuery = None,
    parent: HashQuery = None,
    cursor: Annotated[str | None, Query(pattern=CURSOR)] = None,
    limit: Limit = LIMIT,
) -> Response:
    """Registered models in order of registration, optionally of one licensor, content or parent."""
    return await pages.page(
        request, served, which, _page(licensor, artifact_root, parent, cursor, limit)
    )


@router.get("/models/{id}")
def show_model(snapshot: Cacheable, id: ModelPath) -> schemas.ModelAnswer:  # noqa: A002 -- its name in the URL
    """One model with its titles, sealings, other records, parents and plans."""
    which = model_id(id)
    row = snapshot.model(which)
    return schemas.ModelAnswer(
        as_of=as_of(snapshot),
        model=shown(snapshot, row),
        titles=[schemas.Title.model_validate(r) for r in snapshot.titles(which)],
        sealings=[schemas.Sealing.model_validate(r) for r in snapshot.sealings(which)],
        records=[schemas.Record.model_validate(r) for r in snapshot.records(which)],
        parents=[schemas.Parent.model_validate(r) for r in snapshot.parents(which)],
        plans=[Plan.model_validate(r) for r in snapshot.plans(which)],
    )


@router.get("/models/{id}/timeline")
def show_timeline(snapshot: Cacheable, id: ModelPath) -> schemas.Timeline:  # noqa: A002 -- as above
    """What happened to a model, in chain order, with how settled each event is."""
    which = model_id(id)
    entries = [
        schemas.TimelineEntry.model_validate(entry, from_attributes=True)
        for entry in timeline(snapshot, which)
    ]
    return schemas.Timeline(as_of=as_of(snapshot), model_id=str(which), entries=entries)


@router.get("/models/{id}/titles")
def list_titles(
    snapshot: Cacheable,
    id: ModelPath,  # noqa: A002 -- as above
    cursor: Annotated[str | None, Query(pattern=NUMBER_CURSOR)] = None,
    limit: Limit = 50,
) -> TitlePage:
    """Who held a model's title and since when, first to last."""
    which = model_id(id)
    snapshot.model(which)
    after = number_cursor(cursor) if cursor else -1
    rows = [row for row in snapshot.titles(which) if row["sequence"] > after]
    more, rows = len(rows) > limit, rows[:limit]
    return TitlePage(
        as_of=as_of(snapshot),
        model_id=str(which),
        titles=[schemas.Title.model_validate(row) for row in rows],
        next_cursor=str(rows[-1]["sequence"]) if more else None,
    )


@router.get("/models/{id}/lineage")
def show_lineage(
    snapshot: Cacheable,
    id: ModelPath,  # noqa: A002 -- as above
    direction: catalogue.Direction = "both",
    depth: Annotated[int, Query(ge=1, le=100, description="generations")] = 10,
) -> LineageAnswer:
    """The models that a model descends from and those that descend from it, as declared."""
    which = model_id(id)
    found = catalogue.lineage(snapshot, which, direction=direction, depth=depth)
    return LineageAnswer(
        as_of=as_of(snapshot),
        model_id=str(which),
        models=shown_all(snapshot, found.models.values()),
        edges=[
            LineageEdge.model_validate(
                {**row, "finality": snapshot.as_of.finality(row["born_block"])}
            )
            for row in found.edges
        ],
        complete=found.complete,
    )


@router.get("/models/{id}/leaves")
def show_leaves(snapshot: Cacheable, id: ModelPath) -> schemas.LeavesAnswer:  # noqa: A002 -- as above
    """A model's tensor ids, as deposited."""
    which = model_id(id)
    snapshot.model(which)
    name = Digest(which.raw)
    full = library.document(snapshot.connection, library.FINGERPRINT, name)
    listed = library.document(snapshot.connection, library.IDS, name)
    if full is None and listed is None:
        raise UnknownRecord(
            f"nobody has deposited the tensor ids of model {which.short}",
            hint="whoever has its fingerprint can: POST it to this path",
        )
    return schemas.LeavesAnswer(
        as_of=as_of(snapshot),
        model_id=str(which),
        names_verified=full is not None and full[1],
        fingerprint=None if full is None else full[0],
        ids=None if listed is None else listed[0],
    )


_DEPOSITOR: Final[Any] = allow("deposits:write")


def _json_body(description: str, example: Any) -> dict[str, Any]:
    schema = {"type": "object", "example": example}
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


@router.post(
    "/models/{id}/leaves",
    responses=problems.WRITE_FAILURES,
    dependencies=[described, _DEPOSITOR],
    openapi_extra=_json_body(
        "public tensor ids, or a whole fingerprint document (docs/spec/fingerprint.md)",
        _EXAMPLE_FINGERPRINT,
    )
    | ANYONE,
)
async def deposit_leaves(
    request: Request,
    response: Response,
    id: ModelPath,  # noqa: A002 -- as above
) -> schemas.LeavesDeposited:
    """Deposit a model's tensor ids, so that it is found by them.

    Nobody needs to be trusted: only the registered model's own ids lead to its root.
    """
    served, which, lane = service(request), model_id(id), lanes(request).deposits
    model, facts = await run_in_threadpool(_registered, served, which)
    with ExitStack() as held:
        body = bytearray()
        async with problems.body_deadline(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > served.settings.max_body and lane is not lanes(request).large:
                    lane = lanes(request).large
                    held.enter_context(lane.place())
        if lane is not lanes(request).large:
            held.enter_context(lane.place())
        answer = await lane.run_placed(_deposit_leaves, served, model, facts, bytes(body))
    if answer.new:
        response.status_code = int(problems.CREATED)
    return answer


def _registered(served: Service, which: ModelId) -> tuple[RowMap, AsOf]:
    with served.index.snapshot() as snapshot:
        return snapshot.model(which), as_of(snapshot)


def _deposit_leaves(
    served: Service, model: RowMap, facts: AsOf, body: bytes
) -> schemas.LeavesDeposited:
    which = ModelId(bytes(model["model_id"]))
    document = parse_json(body, what="the tensor ids", limit=served.settings.max_leaves_body)
    now_ms = int(served.index.now() * 1000)
    if isinstance(document, dict) and document.get("format") == ids.FORMAT:
        listed = library.check_ids(document, model)
        with writing(served.index.engine) as connection:
            done = library.deposit_ids(connection, which, listed, now_ms=now_ms)
    else:
        found, bound = library.check_leaves(document, model)
        with writing(served.index.engine) as connection:
            done = library.deposit_leaves(connection, which, found, bound=bound, now_ms=now_ms)
    return schemas.LeavesDeposited(
        as_of=facts,
        model_id=str(which),
        tensors=done.tensors,
        names_verified=done.names_verified,
        new=done.new,
    )


@router.post(
    "/models/{id}/documents",
    responses=problems.WRITE_FAILURES,
    dependencies=[described, _DEPOSITOR],
    openapi_extra=_json_body(
        "the model's manifest, its claim, or both (docs/spec/claim.md)", {"manifest": {}}
    )
    | ANYONE,
)
async def deposit_documents(request: Request, id: ModelPath) -> schemas.DocumentsDeposited:  # noqa: A002 -- as above
    """Deposit a model's manifest and claim: what the registered hashes were made of."""
    served = service(request)
    model, facts = await run_in_threadpool(_registered, served, model_id(id))
    async with problems.body_deadline(BODY_SECONDS):
        body = await request.body()
    return await lanes(request).deposits.run(_deposit_documents, served, model, facts, body)


def _deposit_documents(
    served: Service, model: RowMap, facts: AsOf, body: bytes
) -> schemas.DocumentsDeposited:
    which = ModelId(bytes(model["model_id"]))
    given = parse_json(body, what="the request", limit=served.settings.max_body)
    if not isinstance(given, dict) or not given or set(given) - {"manifest", "claim"}:
        raise ManifestError('the body is {"manifest": …, "claim": …}, at least one of them')
    taken: dict[str, tuple[Digest, Any]] = {}
    if "manifest" in given:
        name = manifest_hash(given["manifest"])
        if name.raw != model["manifest_hash"]:
            raise ClaimMismatch(
                f"the manifest has the hash {name}, which is not the registered one"
            )
        taken["manifest"] = name, given["manifest"]
    if "claim" in given:
        claim = Claim.from_json(given["claim"])
        if claim.model_id() != which:
            raise ClaimMismatch(f"the claim is that of model {claim.model_id()}")
        taken["claim"] = Digest(which.raw), claim.to_json()
    now_ms = int(served.index.now() * 1000)
    with writing(served.index.engine) as connection:
        for kind, (name, document) in taken.items():
            if library.document(connection, kind, name) is None:
                library.put_document(connection, kind, name, document, complete=True, now_ms=now_ms)
    return schemas.DocumentsDeposited(as_of=facts, model_id=str(which), taken=sorted(taken))
