"""The broker's hot calls, answered without a web framework around them.

A key release is two calls, a running model sends heartbeats, and all that FastAPI does around one
takes longer than deciding it. So these three paths are served here, straight from ASGI. Their
routes in ``api.routes.broker`` stay: they describe the calls, and they answer whatever is not plain
JSON in one object, so that a fault is told in the same words either way.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.exceptions import HTTPException

from api import problems
from api.asgi import App, Receive, Scope, Send, again
from api.lanes import lanes_of
from ledger.broker.limits import UNKNOWN_NETWORK, network_of
from ledger.broker.service import BrokerService
from ledger.canonical import parse_json
from ledger.errors import LedgerError, ManifestError, UsageError
from ledger.ids import Digest

Act = Callable[[], dict[str, Any]]

LEASES: Final = "/v1/broker/leases/"
HEARTBEAT: Final = "/heartbeat"
_JSON: Final = b"application/json"
_OK: Final = int(problems.OK)


@dataclass(frozen=True, slots=True)
class Described:
    """The route that describes a call, as log lines and metrics name it."""

    path: str


_CHALLENGE = Described("/v1/broker/challenges")
_RELEASE = Described("/v1/broker/releases")
_BEAT = Described("/v1/broker/leases/{lease_id}/heartbeat")


class Direct:
    """Challenges, releases and heartbeats; everything else goes on to `app`.

    Args:
        app: the application inside, with the same routes.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        route = _route(scope) if scope["type"] == "http" else None
        broker = None if route is None else getattr(scope["app"].state, "broker", None)
        if route is None or broker is None:
            await self._app(scope, receive, send)
            return
        try:
            body = await whole_body(receive)
            if body is None:
                return  # the client is gone
            message = _object(body)
            if message is None:
                await self._app(scope, again(body, receive), send)
                return
            scope["route"] = route
            act = _act(route, broker, scope, message)
            reply = await lanes_of(scope["app"].state).keys.run(act)
        except LedgerError as error:
            await problems.of_error(error, commands=True)(scope, receive, send)
        except HTTPException as error:
            await problems.of_http(error)(scope, receive, send)
        else:
            await _answer(reply, send)


def _route(scope: Scope) -> Described | None:
    if scope["method"] != "POST" or scope.get("root_path") or scope["query_string"]:
        return None
    if not any(name == b"content-type" and value == _JSON for name, value in scope["headers"]):
        return None
    path: str = scope["path"]
    for route in (_CHALLENGE, _RELEASE):
        if path == route.path:
            return route
    if path.startswith(LEASES) and path.endswith(HEARTBEAT):
        lease = path[len(LEASES) : -len(HEARTBEAT)]
        return _BEAT if lease and "/" not in lease else None
    return None


def _act(route: Described, broker: BrokerService, scope: Scope, message: dict[str, Any]) -> Act:
    """What the call asks of the broker.

    Raises:
        ManifestError: a heartbeat for something that names no lease.
    """
    if route is _BEAT:
        try:
            lease = Digest.parse(scope["path"][len(LEASES) : -len(HEARTBEAT)])
        except UsageError as error:
            raise ManifestError(error.message, hint=error.hint) from None
        return lambda: broker.heartbeat(lease, message)
    client = scope.get("client")
    # The server has put the address that a trusted proxy names in the proxy's place.
    network = network_of(client[0]) if client else UNKNOWN_NETWORK
    call = broker.challenge if route is _CHALLENGE else broker.release
    return lambda: call(message, network=network)


async def whole_body(receive: Receive) -> bytes | None:
    """The whole body; None when the client went away."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _object(body: bytes) -> dict[str, Any] | None:
    """The JSON object that a body is; None for anything else, which the route refuses."""
    try:
        # Bounded in depth: Python's own scanner alone would let a body of brackets end the process.
        read = parse_json(body, what="the body")
    except LedgerError:
        return None
    return read if isinstance(read, dict) else None


async def _answer(reply: dict[str, Any], send: Send) -> None:
    # Said whole by the service, and signed: nothing here may read it again or change a byte.
    body = encoded(reply)
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", _JSON)]
    await send({"type": "http.response.start", "status": _OK, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def encoded(reply: dict[str, Any]) -> bytes:
    """A reply as it is sent."""
    return json.dumps(reply, ensure_ascii=False, separators=(",", ":")).encode()
