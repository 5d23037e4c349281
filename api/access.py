"""Who asks: credentials, rate limits and the audit of what they write, as plain ASGI.

A request without a credential costs one look through its headers. One with a credential is held
against the database each time, so that what was revoked a moment ago is refused now. Steps of
docs/spec/access.md, "A request".
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

import structlog

from api import problems
from api.asgi import App, Message, Receive, Scope, Send
from api.dependencies import Service
from api.lanes import PARTY, lanes_of
from api.settings import Settings
from ledger.access.principals import Principal
from ledger.access.roles import AUDITOR, OPERATOR
from ledger.access.store import AccessStore
from ledger.access.tokens import Token, parse_token
from ledger.access.trail import Act
from ledger.broker.limits import Buckets, Rate, network_of
from ledger.errors import (
    AccessError,
    LedgerError,
    NotAuthenticated,
    OriginRefused,
    RateLimited,
)
from ledger.ids import Address

SECURE_COOKIE: Final = "__Host-deed"
LOOPBACK_COOKIE: Final = "deed-loopback"
"""Over http a browser takes no ``__Host-`` cookie; this one exists on loopback origins only."""
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
WRONG: Final = Rate(600, 1)
"""Credentials that are good for nothing, of one network. More than requests under way at once,
since a good one holds its token until it is found good."""
RECORDED: Final = Rate(1000, 20)
"""Requests of one key or session that go into the audit log."""
RECORDED_OF_ACCOUNT: Final = Rate(3000, 60)
"""Those of all keys and sessions of one account, of which it makes as many as it likes."""
ROLELESS: Final = Rate(60, 0.2)
"""The same of accounts without a role, of one network: anyone can make such accounts."""
ROLELESS_LOOKS: Final = Rate(60, 1)
"""Their looks at what became of transactions, of one network: each asks the node several times."""
_GOOD: Final = 10_000
# Asked by machines that watch the service, or before there is a credential.
_OPEN: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_BEGINNING: Final = frozenset({"/v1/auth/nonce", "/v1/auth/sign-in"})
_LOOKS: Final = "/v1/transactions/"
_MOST_TEXT: Final = 200

log = structlog.get_logger("api")


def open_access(served: Service) -> AccessStore:
    """The service's store of keys, sessions and roles."""
    settings = served.settings
    appointed = {
        OPERATOR: frozenset(Address.parse(each) for each in settings.operators),
        AUDITOR: frozenset(Address.parse(each) for each in settings.auditors),
    }
    return AccessStore(served.index.engine, served.index.chain_id, appointed, served.index.now)


def limits(settings: Settings) -> bool:
    """Whether requests are counted."""
    return bool(settings.rate_anonymous or settings.rate_principal)


class Access:
    """Finds out who asks, counts, and records what authenticated requests write.

    The principal is ``scope["state"]["principal"]``; absent where nobody was named. A route that
    has made its own entry in the audit log sets ``scope["state"]["recorded"]``.

    Args:
        app: the application inside.
        settings: for the origin and the limits.
    """

    def __init__(self, app: App, *, settings: Settings) -> None:
        self._app = app
        self._origin = settings.origin
        self._cookie = cookie_name(settings.origin).encode()
        self._wrong = Buckets("this network", time.monotonic, by="this service")
        # Hashes of credentials that were good the last time: they are not held back for the wrong
        # ones of their network. It lets in nobody; that is looked up each time.
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._recorded_of = Buckets("this key or session", time.monotonic, by="this service")
        self._recorded_of_account = Buckets("this account", time.monotonic, by="this service")
        self._roleless = Buckets("this network", time.monotonic, by="this service")
        self._looks = Buckets("this network", time.monotonic, by="this service")
        self._anonymous = Meter.of("anonymous", settings.rate_anonymous)
        self._principal = Meter.of("principal", settings.rate_principal)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        before = PARTY.set(_network(scope))
        try:
            await self._serve(scope, receive, send)
        finally:
            PARTY.reset(before)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = []
        principal: Principal | None = None
        try:
            # (1) What it shows. (2) Whether a page of another site made a browser show it.
            token, cookie = None, False
            if scope["path"] not in _BEGINNING:
                token, cookie = credential(scope, self._cookie)
            if cookie and scope["method"] not in SAFE:
                same_origin(scope, self._origin)
            # (3) Whom it stands for, now.
            if token is not None:
                principal = await self._known(scope, token)
            # (4) How often they ask.
            self._count(scope, principal, headers)
        except LedgerError as error:
            if isinstance(error, NotAuthenticated) and _by_cookie(scope, self._cookie):
                # Else a browser would send it for ever, and be refused what anyone may read.
                headers.append((b"set-cookie", ended_cookie(self._origin).encode()))
            await problems.of_error(error)(scope, receive, _adding(send, headers))
            return
        if headers:
            send = _adding(send, headers)
        if principal is None:
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {}).update(principal=principal, token=token)
        if principal.roles:
            PARTY.set(principal.actor)
        if scope["method"] in SAFE:
            await self._app(scope, receive, send)
        else:
            await self._recorded(principal, scope, receive, send)

    async def _known(self, scope: Scope, token: Token) -> Principal:
        state, network, hash_ = scope["app"].state, _network(scope), token.hash()
        store: AccessStore = state.access
        counted = hash_ not in self._good
        if counted:
            self._wrong.take(network, WRONG)
        try:
            found = await lanes_of(state).credentials.run(store.resolve, token)
        except AccessError as error:
            self._good.pop(hash_, None)
            log.warning(
                "credential refused", credential=f"{token.kind}:{token.id}", code=error.code
            )
            raise
        except LedgerError:
            if counted:
                self._wrong.give(network, WRONG)  # not the credential's fault
            raise
        if counted:
            self._wrong.give(network, WRONG)
            self._good[hash_] = None
            if len(self._good) > _GOOD:
                self._good.popitem(last=False)
        return found

    def _count(
        self, scope: Scope, principal: Principal | None, headers: list[tuple[bytes, bytes]]
    ) -> None:
        if principal is None:
            if self._anonymous is not None:
                self._anonymous.take(_network(scope), headers)
            return
        if self._principal is not None:
            self._principal.take(principal.via, headers)
        if scope["method"] not in SAFE:
            if principal.roles:
                self._recorded_of.take(principal.via, RECORDED)
                self._recorded_of_account.take(principal.actor, RECORDED_OF_ACCOUNT)
            else:
                self._roleless.take(_network(scope), ROLELESS)
        elif not principal.roles and scope["path"].startswith(_LOOKS):
            self._looks.take(_network(scope), ROLELESS_LOOKS)

    async def _recorded(
        self, principal: Principal, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """(5) What an authenticated request writes is in the audit log before it is answered."""
        failed: LedgerError | None = None

        async def send_on(message: Message) -> None:
            nonlocal failed
            if message["type"] == "http.response.start":
                failed = await self._record(principal, scope, message["status"])
                if failed is not None:
                    await problems.of_error(failed)(scope, receive, send)
            if failed is None:
                await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception:
            await self._record(principal, scope, int(problems.BUG))
            raise

    async def _record(self, principal: Principal, scope: Scope, status: int) -> LedgerError | None:
        state = scope["state"]
        if state.get("recorded"):
            return None
        state["recorded"] = True
        route = getattr(scope.get("route"), "path", "unknown")
        act = Act(
            principal.actor,
            f"{scope['method'][:16]} {route}",
            scope["path"][:_MOST_TEXT],
            principal.via,
            str(status),
            state.get("request_id", ""),
        )
        store: AccessStore = scope["app"].state.access
        try:
            await lanes_of(scope["app"].state).access.run(store.record, act)
        except LedgerError as error:
            log.error(  # noqa: TRY400  a trace would hold the statement
                "not recorded", request_id=act.request, code=error.code
            )
            error.hint = (
                "it may have been done, and could not be recorded: look before repeating it"
            )
            return error
        return None


def rate_of(text: str) -> Rate | None:
    """The rate of a setting, ``PER_SECOND/AT_ONCE``; None of an empty one or of none a second."""
    per_second, slash, burst = text.partition("/")
    if not slash or not float(per_second):
        return None
    return Rate(float(burst), float(per_second))


class Meter:
    """One kind of rate limit, told in the headers of every answer.

    RateLimit and RateLimit-Policy are those of draft-ietf-httpapi-ratelimit-headers. Counted in
    memory and by each process for itself: n processes let n times as much through.
    """

    def __init__(self, name: str, rate: Rate) -> None:
        whose = "this network" if name == "anonymous" else "this key or session"
        self._buckets = Buckets(whose, time.monotonic, by="this service")
        self._rate = rate
        self._name = name
        window = max(1, round(rate.burst / rate.per_second))
        self._policy = f'"{name}";q={rate.burst:.0f};w={window}'.encode()

    @classmethod
    def of(cls, name: str, text: str) -> Meter | None:
        """From a setting; None from an empty one."""
        rate = rate_of(text)
        return None if rate is None else cls(name, rate)

    def take(self, key: str, headers: list[tuple[bytes, bytes]]) -> None:
        """Count one request, and say in `headers` what is left.

        Raises:
            RateLimited: nothing is.
        """
        try:
            left = self._buckets.take(key, self._rate)
        except RateLimited:
            self._told(headers, 0.0)
            raise
        self._told(headers, left)

    def _told(self, headers: list[tuple[bytes, bytes]], left: float) -> None:
        full = max(1, round((self._rate.burst - left) / self._rate.per_second))
        headers.append((b"ratelimit-policy", self._policy))
        headers.append((b"ratelimit", f'"{self._name}";r={int(left)};t={full}'.encode()))


# -- credentials ---------------------------------------------------------------------------------


def credential(scope: Scope, cookie: bytes) -> tuple[Token | None, bool]:
    """The credential that a request shows, and whether as a cookie.

    Raises:
        NotAuthenticated: more than one, or one that cannot be read.
    """
    bearer = _bearers(scope)
    if len(bearer) > 1:
        raise NotAuthenticated("the request has several Authorization headers")
    if bearer:
        # What comes with it as a cookie was not asked for by whoever wrote the header.
        return parse_token(bearer[0][7:].strip().decode("latin-1")), False
    found = _named(scope, cookie)
    if not found:
        return None, False
    if len(found) > 1:
        raise NotAuthenticated("the request has several cookies of one name")
    token = parse_token(found[0].decode("latin-1"))
    if token.kind != "session":
        raise NotAuthenticated("an API key is no cookie")
    return token, True


def _bearers(scope: Scope) -> list[bytes]:
    """Authorization headers of the scheme Bearer; another scheme is a proxy's business."""
    return [
        value
        for name, value in scope["headers"]
        if name == b"authorization" and value[:7].lower() == b"bearer "
    ]


def _by_cookie(scope: Scope, cookie: bytes) -> bool:
    return not _bearers(scope) and bool(_named(scope, cookie))


def _named(scope: Scope, cookie: bytes) -> list[bytes]:
    """The values of a cookie; several only where somebody plays tricks."""
    found = []
    for name, value in scope["headers"]:
        if name == b"cookie":
            for part in value.split(b";"):
                key, _, text = part.strip().partition(b"=")
                if key == cookie:
                    found.append(text)
    return found


def same_origin(scope: Scope, origin: str | None) -> None:
    """Let only the service's own pages use a cookie.

    Raises:
        OriginRefused: the browser names another origin or none, or says that sites are crossed.
    """
    given = [value for name, value in scope["headers"] if name == b"origin"]
    if origin is None or given != [origin.encode()]:
        raise OriginRefused("the request does not come from this service's own origin")
    site = [value for name, value in scope["headers"] if name == b"sec-fetch-site"]
    if site not in ([], [b"same-origin"]):
        raise OriginRefused("the browser says that the request comes from another site")


def cookie_name(origin: str | None) -> str:
    """The session cookie's name; by its ``__Host-`` no other host can set it."""
    return LOOPBACK_COOKIE if origin is not None and origin.startswith("http:") else SECURE_COOKIE


def session_cookie(origin: str, token: Token, seconds: int) -> str:
    """The Set-Cookie header that begins a session in a browser."""
    return _cookie(origin, token.text, seconds)


def ended_cookie(origin: str | None) -> str:
    """The one that ends it."""
    return _cookie(origin, "", 0)


def _cookie(origin: str | None, value: str, seconds: int) -> str:
    name = cookie_name(origin)
    secure = "; Secure" if name == SECURE_COOKIE else ""
    return f"{name}={value}; Path=/; Max-Age={seconds}{secure}; HttpOnly; SameSite=Strict"


def _network(scope: Scope) -> str:
    client = scope.get("client")
    return network_of(client[0] if client else None)


def _adding(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return send_on
