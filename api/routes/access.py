"""Signing in, API keys, and the audit log (docs/spec/access.md)."""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api import problems
from api.access import ended_cookie, rate_of, same_origin, session_cookie
from api.asking import require
from api.dependencies import ACCOUNT, service
from api.lanes import lanes
from api.once import described
from api.schemas import access as schemas
from api.strict import StrictRoute
from ledger.access import trail
from ledger.access.message import SignInMessage, parse_message
from ledger.access.principals import By, Principal
from ledger.access.sign_in import NONCE_SECONDS, SIGNED, AskWallet, Place, check_sign_in
from ledger.access.store import KEYS_PAGE, AccessStore
from ledger.broker.limits import Buckets, Rate, network_of
from ledger.canonical import parse_json
from ledger.chain.rpc import Rpc
from ledger.errors import ConfigurationError, SignatureInvalid, SignInRefused, UnknownRecord
from ledger.ids import Address, Digest
from ledger.index.database import reading

router = APIRouter(
    prefix="/v1",
    tags=["access"],
    route_class=StrictRoute,
    responses=problems.ACCESS_FAILURES,
)

_NONE = Rate(1, 1 / 3600)
WALLETS = Rate(10, 0.1)
"""Questions to contract wallets, each of which is a call of the chain."""

KeyPath = Annotated[str, Path(pattern="^[0-9A-Za-z]{10}$", examples=["Ab3dE5fG7h"])]
Anyone = Annotated[Principal, Depends(require())]
SignedIn = Annotated[Principal, Depends(require(session=True))]
KeyMaker = Annotated[Principal, Depends(require("keys:write", session=True))]
Auditor = Annotated[Principal, Depends(require("audit:read"))]


class _Desk:
    """Limits of signing in, which are always on.

    Args:
        rate: nonces, and attempts to sign in, of one network.
    """

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.sign_ins = Buckets("this network", time.monotonic, by="this service")
        self.wallets = Buckets("this network", time.monotonic, by="this service")


def _desk(request: Request) -> _Desk:
    made: _Desk | None = getattr(request.app.state, "access_desk", None)
    if made is None:
        rate = rate_of(service(request).settings.rate_sign_in)
        made = request.app.state.access_desk = _Desk(rate or _NONE)
    return made


def _begin(request: Request) -> None:
    desk = _desk(request)
    desk.sign_ins.take(_network(request), desk.rate)


def _store(request: Request) -> AccessStore:
    return cast("AccessStore", request.app.state.access)


def _network(request: Request) -> str:
    return network_of(request.client.host if request.client else None)


def _place(request: Request) -> Place:
    served = service(request)
    origin = served.settings.origin
    if origin is None:
        raise UnknownRecord(
            "nobody can sign in here: the service does not know its own address",
            hint="its operator sets DEED_API_PUBLIC_URL",
        )
    return Place(origin, served.deployment.chain_id)


def _by(request: Request, who: Principal) -> By:
    return By.principal(who, _request_id(request))


def _request_id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))


async def _act(request: Request, call: Any, *args: Any, **given: Any) -> Any:
    """A change that makes its own entry in the audit log."""
    done = await lanes(request).access.run(call, *args, **given)
    request.scope.setdefault("state", {})["recorded"] = True
    return done


# -- signing in ----------------------------------------------------------------------------------


@router.post("/auth/nonce")
async def nonce(request: Request, asked: schemas.NonceAsked) -> schemas.Nonce:
    """Begin a sign-in: a nonce for one use within five minutes, and the message to sign."""
    place = _place(request)
    _begin(request)
    made, expires_at = await lanes(request).access.run(_store(request).new_nonce)
    uri = f"{place.origin}/v1/auth/sign-in"
    text = None
    if asked.account is not None:
        text = str(
            SignInMessage(
                domain=place.domain,
                address=str(Address.parse(asked.account.lower())),
                uri=uri,
                chain_id=str(place.chain_id),
                nonce=made,
                issued_at=_rfc3339(expires_at - NONCE_SECONDS),
                expiration_time=None,
                statement="Sign in to modeldeed. This costs nothing and sends no transaction.",
            )
        )
    return schemas.Nonce(
        nonce=made,
        expires_at=expires_at,
        domain=place.domain,
        uri=uri,
        chain_id=place.chain_id,
        message=text,
    )


@router.post("/auth/sign-in")
async def sign_in(request: Request, response: Response, asked: schemas.SignIn) -> schemas.SignedIn:
    """Open a session for the account that signed the message.

    With `deliver` cookie the token goes into a cookie that no script can read, and the request must
    come from the service's own origin.
    """
    place, store = _place(request), _store(request)
    if asked.deliver == "cookie" or "origin" in request.headers:
        same_origin(request.scope, place.origin)
    _begin(request)
    signature, lane = bytes.fromhex(asked.signature[2:]), lanes(request).access

    def checked(ask: AskWallet | None = None) -> SignInMessage:
        return check_sign_in(asked.message, signature, place, now=store.now(), ask_wallet=ask)

    try:
        message = await lane.run(checked)
    except SignInRefused as refused:
        ask = _wallet(request) if refused.step == SIGNED else None
        if ask is None:
            raise
        # Whoever makes us ask a chain has a nonce for it, and waits among their like: a node that
        # is slow holds up no look-up of a credential.
        await lane.run(store.need_nonce, parse_message(asked.message).nonce)
        _desk(request).wallets.take(_network(request), WALLETS)
        message = await lanes(request).wallets.run(checked, ask)
    token, who = await lane.run(store.open_session, message, request=_request_id(request))
    if asked.deliver == "token":
        return schemas.SignedIn.made(who, token.text)
    seconds = max(1, who.expires_at - int(store.now()))
    response.headers["Set-Cookie"] = session_cookie(place.origin, token, seconds)
    return schemas.SignedIn.made(who, None)


@router.post("/auth/sign-out", status_code=int(problems.NO_CONTENT), response_class=Response)
async def sign_out(request: Request, who: SignedIn) -> Response:
    """End this session; its token opens nothing from now on."""
    end = functools.partial(_store(request).end_session, who, request=_request_id(request))
    await _act(request, end)
    gone = {"Set-Cookie": ended_cookie(service(request).settings.origin)}
    return Response(status_code=int(problems.NO_CONTENT), headers=gone)


@router.get("/auth/me")
async def me(who: Anyone) -> schemas.Who:
    """Whom this credential stands for, and what it may do now."""
    return schemas.Who.of(who)


@router.delete("/sessions/{account}")
async def end_sessions(
    request: Request,
    who: SignedIn,
    account: Annotated[str, Path(pattern=ACCOUNT)],
) -> schemas.SessionsEnded:
    """End every session of one's own account, as after a token was stolen; operators anyone's.

    This one ends too, where it is of that account. API keys stay; they are revoked by themselves.
    """
    whose = Address.parse(account.lower())
    if whose != who.account:
        who.need("access:write")
    ended = await _act(request, _store(request).end_sessions, _by(request, who), whose)
    return schemas.SessionsEnded.model_validate({"account": whose, "ended": ended})


def _wallet(request: Request) -> AskWallet | None:
    """Asks contract wallets (ERC-1271, ERC-6492) at the head, where the service has a chain."""
    served = service(request)
    urls = tuple(url.get_secret_value() for url in served.settings.rpc_urls)
    if not urls:
        return None

    def ask(account: Address, digest: Digest, signature: bytes) -> bool:
        from ledger.broker.wallet_probe import ask_wallet
        from ledger.broker.wallet_signatures import WalletSays

        try:
            with Rpc(urls, chain_id=served.deployment.chain_id, timeout=5.0) as rpc:
                return ask_wallet(rpc, account, digest, signature) is WalletSays.ACCEPTED
        except SignatureInvalid as error:
            raise SignInRefused(error.message, step=SIGNED) from None
        except ConfigurationError:
            raise UnknownRecord("no chain can be asked about contract wallets") from None

    return ask


def _rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# -- keys ----------------------------------------------------------------------------------------


@router.post("/keys", status_code=int(problems.CREATED), dependencies=[described])
async def create_key(request: Request, who: KeyMaker, asked: schemas.KeyAsked) -> schemas.NewKey:
    """Make an API key of one's own, or as an operator of another account. It is shown this once.

    A key outlives the session that makes it by far, so the wallet must have signed in within the
    last 15 minutes.
    """
    who.need_fresh(_store(request).now())
    account = who.account
    if asked.account is not None and Address.parse(asked.account.lower()) != account:
        who.need("access:write")
        account = Address.parse(asked.account.lower())
    token, facts = await _act(
        request,
        _store(request).create_key,
        _by(request, who),
        asked.name,
        asked.scopes,
        account=account,
        days=asked.days,
    )
    return schemas.NewKey.model_validate(schemas.key_members(facts) | {"key": token.text})


@router.get("/keys")
async def keys(
    request: Request,
    who: KeyMaker,
    after: Annotated[
        str, Query(pattern="^([0-9A-Za-z]{10})?$", description="a key's id: what follows it")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=KEYS_PAGE)] = KEYS_PAGE,
) -> schemas.Keys:
    """One's own keys, and for operators everyone's, newest first; never what opens them."""
    account = None if "access:write" in who.scopes else who.account
    listed = functools.partial(_store(request).keys, account, after=after or None, limit=limit)
    found = await lanes(request).access.run(listed)
    return schemas.Keys(
        keys=[schemas.Key.of(each) for each in found],
        next_after=found[-1].id if len(found) == limit else None,
    )


@router.delete("/keys/{id}", dependencies=[described])
async def revoke_key(request: Request, who: KeyMaker, id: KeyPath) -> schemas.Key:  # noqa: A002 -- the path's word
    """Revoke a key: it is refused from the next request on, by every process."""
    account = None if "access:write" in who.scopes else who.account
    facts = await _act(request, _store(request).revoke_key, _by(request, who), id, account=account)
    return schemas.Key.of(facts)


# -- audit log -----------------------------------------------------------------------------------


@router.get("/audit")
async def audit(
    request: Request,
    _: Auditor,
    after: Annotated[int, Query(ge=0, lt=1 << 53, description="a sequence number")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> schemas.AuditPage:
    """Who changed access or wrote something, in the order in which it was recorded."""
    store = _store(request)

    def page() -> schemas.AuditPage:
        with reading(store.engine) as connection:
            rows = list(trail.rows(connection, after=after, limit=limit))
            head = trail.head(connection)
        return schemas.AuditPage(
            entries=[_entry(row) for row in rows],
            head=schemas.AuditHead.model_validate({"sequence": head.sequence, "hash": head.hash}),
            next_after=rows[-1].sequence if rows and rows[-1].sequence < head.sequence else None,
        )

    return await run_in_threadpool(page)


def _entry(row: trail.Row) -> schemas.AuditEntry:
    entry = parse_json(row.text.encode(), what="an audit entry")
    told = entry if isinstance(entry, dict) else {}
    return schemas.AuditEntry.model_validate({"hash": row.hash, "text": row.text, "entry": told})
