"""Key broker over HTTP. Thin: the rules are in ``ledger.broker``.

The service is ``request.app.state.broker``; when this process runs none, that attribute is absent
or None and every route answers that the broker is unavailable. Refusals are signed replies and come
with status 200: they are the broker's answer, and the signature must reach the client whole. Key
release runs on threads of its own (`api.lanes`), which no reader of the index can take. Challenges,
releases and heartbeats that are plain JSON objects are answered before they come here
(`api.direct`).
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import Response

from api.direct import encoded
from api.lanes import lanes
from api.problems import WRITE_FAILURES
from api.strict import StrictRoute
from ledger.broker.limits import network_of
from ledger.broker.log_pages import DEFAULT_HASHES, MAX_HASHES
from ledger.broker.service import BrokerService
from ledger.errors import BrokerUnavailable, ManifestError, UsageError
from ledger.ids import Digest, LicenseId

router = APIRouter(
    prefix="/v1/broker", tags=["broker"], responses=WRITE_FAILURES, route_class=StrictRoute
)

Message = Annotated[dict[str, Any], Body()]


def _service(request: Request) -> BrokerService:
    service: BrokerService | None = getattr(request.app.state, "broker", None)
    if service is None:
        raise BrokerUnavailable(
            "this service runs no key broker", hint="use the broker the license card names"
        )
    return service


def _network(request: Request) -> str:
    # The server has put the address that a trusted proxy names in the proxy's place.
    return network_of(request.client.host if request.client else None)


def _sent(reply: dict[str, Any]) -> Response:
    # Said whole by the service, and signed: nothing here may read it again or change a byte.
    return Response(encoded(reply), media_type="application/json")


@router.get("", summary="Who this broker is, and its public keys", response_model=dict[str, Any])
async def show_broker(request: Request) -> Response:
    """The broker's identity, its signing and KEM keys; signed with them."""
    return _sent(await lanes(request).keys.run(_service(request).info))


@router.get("/endpoints", summary="How its chain endpoints are")
async def broker_endpoints(request: Request) -> dict[str, Any]:
    """What the broker remembers of each endpoint it asks: hosts only. Asks none of them."""
    return await lanes(request).desk.run(_service(request).endpoints)


@router.post("/deposits", summary="Deposit the key of a sealing", response_model=dict[str, Any])
async def deposit_key(request: Request, message: Message) -> Response:
    """Take a licensor-signed deposit; the reply is the broker's signed receipt."""
    return _sent(
        await lanes(request).desk.run(_service(request).deposit, message, network=_network(request))
    )


@router.post("/challenges", summary="Get a challenge", response_model=dict[str, Any])
async def ask_challenge(request: Request, message: Message) -> Response:
    """32 random bytes for one license and model, good for 60 seconds and one use."""
    return _sent(
        await lanes(request).keys.run(
            _service(request).challenge, message, network=_network(request)
        )
    )


@router.post("/releases", summary="Ask for a key", response_model=dict[str, Any])
async def ask_release(request: Request, message: Message) -> Response:
    """Ten numbered checks; if all pass, the wrapped key and a lease."""
    return _sent(
        await lanes(request).keys.run(_service(request).release, message, network=_network(request))
    )


@router.post(
    "/checks", summary="Ask whether a key would be released", response_model=dict[str, Any]
)
async def check_release(request: Request, message: Message) -> Response:
    """The same ten checks; nothing is taken or released."""
    return _sent(
        await lanes(request).desk.run(_service(request).check, message, network=_network(request))
    )


@router.post(
    "/leases/{lease_id}/heartbeat", summary="Extend a lease", response_model=dict[str, Any]
)
async def heartbeat(request: Request, lease_id: str, message: Message) -> Response:
    """An extended lease, or the reason why it must end."""
    try:
        lease = Digest.parse(lease_id)
    except UsageError as error:
        raise ManifestError(error.message, hint=error.hint) from None
    return _sent(await lanes(request).keys.run(_service(request).heartbeat, lease, message))


# -- holds: docs/spec/hold-release.md --------------------------------------------------------------


def _license(text: str) -> LicenseId:
    try:
        found = LicenseId.parse(text)
    except UsageError as error:
        raise ManifestError(error.message, hint=error.hint) from None
    if text not in {str(found), str(found.value)}:
        raise ManifestError(f"license {found} has another form", hint=f"ask for {found}")
    return found


@router.get(
    "/holds/{license_id}", summary="Whether a license is held", response_model=dict[str, Any]
)
async def show_hold(request: Request, license_id: str) -> Response:
    """Whether this broker holds a license, and what the hold is called; signed."""
    holds, which = _service(request).holds, _license(license_id)
    return _sent(await lanes(request).desk.run(holds.look, which, network=_network(request)))


@router.post(
    "/holds/{license_id}/release",
    summary="End a hold, as its licensor",
    response_model=dict[str, Any],
)
async def release_hold(request: Request, license_id: str, message: Message) -> Response:
    """End the hold that a message signed by the license's licensor names; a signed receipt."""
    holds, which = _service(request).holds, _license(license_id)
    return _sent(
        await lanes(request).desk.run(holds.release, which, message, network=_network(request))
    )


@router.get("/log", summary="Hashes of the broker's receipts", response_model=dict[str, Any])
async def broker_log(
    request: Request,
    after: Annotated[int, Query(ge=0, lt=1 << 53)] = 0,
    limit: Annotated[int, Query(ge=0, le=MAX_HASHES)] = DEFAULT_HASHES,
) -> Response:
    """One page of the log's hashes and its head, signed (docs/spec/broker-log.md)."""
    pages = _service(request).pages
    return _sent(await lanes(request).desk.run(pages.page, after, limit, network=_network(request)))


@router.get("/anchoring", summary="How the anchoring of its receipts stands")
async def broker_anchoring(request: Request) -> dict[str, Any]:
    """Whether and how often this broker anchors by itself, and what is wrong. Unsigned."""
    return (await lanes(request).desk.run(_service(request).anchoring.status)).to_json()
