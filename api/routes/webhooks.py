"""Webhooks: events sent to URLs (docs/spec/webhooks.md)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response

from api import problems
from api.access import SAFE
from api.asking import require
from api.dependencies import NUMBER_CURSOR, service
from api.lanes import lanes
from api.once import described
from api.schemas import webhooks as schemas
from api.strict import StrictRoute
from api.webhooks import write_as_of
from ledger.access.principals import By, Principal
from ledger.errors import UnknownRecord
from ledger.webhooks.endpoints import Endpoints

router = APIRouter(
    prefix="/v1/webhooks",
    tags=["webhooks"],
    route_class=StrictRoute,
    responses=problems.ACCESS_FAILURES,
)

sent = APIRouter()
"""What others are sent, for the description: nothing of it is served here."""


@sent.post("message", status_code=int(problems.NO_CONTENT))
def receive_message(
    body: schemas.Message,
    webhook_id: Annotated[str, Header(description="the same in every attempt")],
    webhook_timestamp: Annotated[int, Header(description="Unix seconds of this attempt")],
    webhook_signature: Annotated[str, Header(description="v1,BASE64; several with spaces")],
) -> None:
    """A message to a webhook's URL. Any 2xx answer takes it; 410 ends the webhook."""


Owner = Annotated[Principal, Depends(require("webhooks:write"))]
WebhookPath = Annotated[str, Path(pattern="^wh_[0-9A-Za-z]{16}$", examples=["wh_4kQ9aB3dE5fG7hJ1"])]
MessagePath = Annotated[str, Path(pattern="^msg_[0-9a-f]{32}$", examples=["msg_" + "5b1f0e7c" * 4])]


def _endpoints(request: Request) -> Endpoints:
    found = request.app.state.webhooks
    if found is None:
        raise UnknownRecord(
            "this service sends no webhooks",
            hint="its operator sets DEED_API_WEBHOOK_KEY_FILE; GET /v1/events/stream needs none",
        )
    endpoints: Endpoints = found.endpoints
    return endpoints


async def _run(request: Request, call: Any, *args: Any, **given: Any) -> Any:
    done = await lanes(request).access.run(call, *args, **given)
    if request.method not in SAFE:
        request.app.state.webhooks.worker.wake()
    return done


async def _act(request: Request, call: Any, *args: Any, **given: Any) -> Any:
    """A change that makes its own entry in the audit log."""
    done = await _run(request, call, *args, **given)
    request.scope.setdefault("state", {})["recorded"] = True
    return done


def _by(request: Request, who: Principal) -> By:
    return By.principal(who, str(request.scope.get("state", {}).get("request_id", "")))


@router.post("", status_code=int(problems.CREATED), dependencies=[described])
async def create_webhook(
    request: Request, who: Owner, asked: schemas.WebhookAsked
) -> schemas.NewWebhook:
    """Have events sent to a URL. The secret that signs them is shown this once."""
    made, secret = await _act(
        request, _endpoints(request).create, _by(request, who), who.actor, asked.asked()
    )
    return schemas.NewWebhook.made(made, secret)


@router.get("")
async def list_webhooks(request: Request, who: Owner) -> schemas.Webhooks:
    """One's own webhooks, and how they stand."""
    found = await _run(request, _endpoints(request).all, who.actor)
    return schemas.Webhooks(webhooks=[schemas.Webhook.of(each) for each in found])


@router.get("/{id}")
async def get_webhook(request: Request, who: Owner, id: WebhookPath) -> schemas.Webhook:  # noqa: A002 -- the path's word
    """One webhook, and how it stands."""
    return schemas.Webhook.of(await _run(request, _endpoints(request).get, who.actor, id))


@router.patch("/{id}", dependencies=[described])
async def change_webhook(
    request: Request,
    who: Owner,
    id: WebhookPath,  # noqa: A002 -- the path's word
    asked: schemas.WebhookChanges,
) -> schemas.Webhook:
    """Change what is given. `enabled` sends again to one that was disabled, what waits at once."""
    changed = await _act(
        request,
        _endpoints(request).change,
        _by(request, who),
        who.actor,
        id,
        asked.changes(),
        enabled=asked.enabled,
    )
    return schemas.Webhook.of(changed)


@router.delete(
    "/{id}", status_code=int(problems.NO_CONTENT), response_class=Response, dependencies=[described]
)
async def delete_webhook(request: Request, who: Owner, id: WebhookPath) -> Response:  # noqa: A002 -- the path's word
    """End a webhook; what waits is not sent any more."""
    await _act(request, _endpoints(request).delete, _by(request, who), who.actor, id)
    return Response(status_code=int(problems.NO_CONTENT))


@router.post("/{id}/rotate", dependencies=[described])
async def rotate_secret(
    request: Request,
    who: Owner,
    id: WebhookPath,  # noqa: A002 -- the path's word
    asked: Annotated[schemas.Rotation, Body(default_factory=schemas.Rotation)],
) -> schemas.NewWebhook:
    """A new secret, shown this once. For a while both sign, so that receivers can change over."""
    made, secret = await _act(
        request,
        _endpoints(request).rotate,
        _by(request, who),
        who.actor,
        id,
        keep_hours=asked.keep_hours,
    )
    return schemas.NewWebhook.made(made, secret)


@router.post("/{id}/test", status_code=int(problems.ACCEPTED), dependencies=[described])
async def test_webhook(request: Request, who: Owner, id: WebhookPath) -> schemas.Delivery:  # noqa: A002 -- the path's word
    """Send a `webhook.test` message; see its delivery for what came of it."""
    endpoints, index = _endpoints(request), service(request).index

    def sent() -> Any:
        with index.snapshot() as snapshot:
            as_of = write_as_of(snapshot.as_of)
        return endpoints.test(who.actor, id, as_of)

    return schemas.Delivery.of(await _run(request, sent))


@router.get("/{id}/deliveries")
async def list_deliveries(
    request: Request,
    who: Owner,
    id: WebhookPath,  # noqa: A002 -- the path's word
    *,
    state: Literal["waiting", "delivered", "dead"] | None = None,
    cursor: Annotated[str | None, Query(pattern=NUMBER_CURSOR)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> schemas.Deliveries:
    """What was sent, or is to be, the newest first."""
    found = await _run(
        request,
        _endpoints(request).deliveries,
        who.actor,
        id,
        state=state,
        before=None if cursor is None else int(cursor),
        limit=limit,
    )
    return schemas.Deliveries(
        deliveries=[schemas.Delivery.of(each) for each in found],
        next_cursor=str(found[-1].number) if len(found) == limit else None,
    )


@router.post(
    "/{id}/deliveries/{message}/retry", status_code=int(problems.ACCEPTED), dependencies=[described]
)
async def retry_delivery(
    request: Request,
    who: Owner,
    id: WebhookPath,  # noqa: A002 -- the path's word
    message: MessagePath,
) -> schemas.Delivery:
    """Send a message again now, whatever became of it: one that was given up, too."""
    return schemas.Delivery.of(
        await _run(request, _endpoints(request).retry, who.actor, id, message)
    )
