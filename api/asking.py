"""What routes ask of whoever comes: a credential, a session, a scope."""

from __future__ import annotations

from typing import Annotated, Any, Final, cast

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer

from api.access import LOOPBACK_COOKIE, SECURE_COOKIE
from ledger.access.principals import Principal
from ledger.errors import AccessError, NotAuthenticated, ScopeMissing

_BEARER = HTTPBearer(
    scheme_name="bearer", description="an API key or a session's token", auto_error=False
)
_COOKIE = APIKeyCookie(
    name=SECURE_COOKIE,
    scheme_name="session",
    description=f"a session in a browser; {LOOPBACK_COOKIE} over http on loopback",
    auto_error=False,
)


def principal_of(request: Request) -> Principal | None:
    """Who asks; None for anyone."""
    return cast("Principal | None", request.scope.get("state", {}).get("principal"))


async def _asker(
    request: Request,
    _bearer: Annotated[Any, Security(_BEARER)],
    _cookie: Annotated[Any, Security(_COOKIE)],
) -> Principal | None:
    """Who asks; it names the two credentials, so that operations that ask are described with both.

    They are read before any route (`api.access`).
    """
    return principal_of(request)


_Asker = Annotated[Principal | None, Depends(_asker)]


def require(scope: str | None = None, *, session: bool = False) -> Any:
    """A dependency: only those with a scope come in, and with `session` only those signed in.

    Raises:
        NotAuthenticated, ScopeMissing: from the dependency.
    """

    async def dependency(found: _Asker) -> Principal:
        if found is None:
            raise NotAuthenticated("this is for those who are signed in, or have an API key")
        if session and found.kind != "session":
            raise AccessError(
                "an API key may not do this", hint="sign in with a wallet: POST /v1/auth/nonce"
            )
        if scope is not None:
            found.need(scope)
        return found

    return dependency


def allow(scope: str) -> Any:
    """A dependency: anyone comes in without a credential, and with one only who has the scope.

    A key is for what it was made for, also where that needs none. A session has these scopes
    whatever its account is, since who may do it without one may do it signed in.

    Raises:
        ScopeMissing: from the dependency.
    """

    async def dependency(found: _Asker) -> None:
        if found is None:
            return
        try:
            found.need(scope)
        except ScopeMissing as error:
            error.hint = "make a key that has it, or ask without a key: anyone may do this"
            raise

    return Depends(dependency)


ANYONE: Final[dict[str, Any]] = {"security": [{}]}
"""For ``openapi_extra`` of what is `allow`ed: beside the credentials, none is a way in, too."""
