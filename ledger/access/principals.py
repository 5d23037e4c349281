"""Whom a credential stands for, and what there is to know of a key. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ledger.access.roles import ROLES, SCOPES, SESSION_ONLY
from ledger.errors import ScopeMissing, SignInTooOld, UsageError
from ledger.ids import Address

MAX_KEY_DAYS: Final = 366
FRESH_SECONDS: Final = 900
"""Between signing in and making an API key."""
_FRESH: Final = "a fresh sign-in"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: what one credential stands for, as of now.

    Attributes:
        kind: a signed-in session, or an API key.
        id: public name of the session or key.
        account: the wallet's account; None of a key that a local operator gave a role.
        roles: as the chain's index, the settings and the table of roles say now.
        scopes: what it may do.
        expires_at: Unix seconds.
        signed_at: when its wallet signed in, or the key was made; Unix seconds.
        needed: what was asked of it so far and was there, for whoever repeats the request.
    """

    kind: Literal["session", "key"]
    id: str
    account: Address | None
    roles: tuple[str, ...]
    scopes: frozenset[str]
    expires_at: int
    signed_at: int = 0
    needed: set[str] = field(default_factory=set, compare=False, repr=False)

    @property
    def actor(self) -> str:
        """Who the audit log names."""
        return f"key:{self.id}" if self.account is None else f"account:{self.account}"

    @property
    def via(self) -> str:
        """The credential the audit log names."""
        return f"{self.kind}:{self.id}"

    def need(self, scope: str) -> None:
        """Pass only with a scope.

        Raises:
            ScopeMissing: it is not there, or is not there any more.
        """
        if scope in self.scopes:
            self.needed.add(scope)
            return
        roles = ", ".join(self.roles) or "no role"
        raise ScopeMissing(
            f"this needs the scope {scope}; the {self.kind} has {roles}",
            scope=scope,
            hint=(
                "sign in with a wallet: no API key may do this"
                if self.kind == "key" and scope in SESSION_ONLY
                else None
            ),
        )

    def need_fresh(self, now: float) -> None:
        """Pass only shortly after signing in: what is stolen later does not reach this.

        Args:
            now: Unix seconds.

        Raises:
            SignInTooOld: the wallet must sign again.
        """
        if now >= self.signed_at + FRESH_SECONDS:
            raise SignInTooOld(
                f"this needs a sign-in of the last {FRESH_SECONDS // 60} minutes",
                max_age=FRESH_SECONDS,
            )
        self.needed.add(_FRESH)

    def need_again(self, needed: Iterable[str], now: float) -> None:
        """Pass only where all that was needed before (`needed`) is there now.

        Raises:
            ScopeMissing, SignInTooOld: it is not.
        """
        for each in needed:
            if each == _FRESH:
                self.need_fresh(now)
            else:
                self.need(each)


@dataclass(frozen=True, slots=True)
class By:
    """Who changes something, for the audit log."""

    actor: str
    via: str = "local"
    request: str = ""

    @classmethod
    def principal(cls, principal: Principal, request: str) -> By:
        """Of an authenticated request."""
        return cls(principal.actor, principal.via, request)


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """An API key without what opens it."""

    id: str
    name: str
    account: Address | None
    role: str | None
    scopes: tuple[str, ...]
    created_at: int
    created_by: str
    expires_at: int
    used_at: int | None
    revoked_at: int | None

    @classmethod
    def of(cls, row: Any) -> KeyFacts:
        """From a row."""
        account = None if row.account is None else Address(bytes(row.account))
        return cls(
            row.id, row.name, account, row.role, tuple(row.scopes.split()), row.created_at,
            row.created_by, row.expires_at, row.used_at, row.revoked_at,
        )  # fmt: skip


def checked_key(
    name: str, scopes: tuple[str, ...], account: Address | None, role: str | None, days: int
) -> tuple[str, ...]:
    """What a new key is to be, checked; its scopes, each once.

    Raises:
        UsageError: name, owner, days or scopes cannot be meant.
    """
    if not 0 < len(name) <= 80 or not name.isprintable():
        raise UsageError("a key's name has 1 to 80 printable characters")
    if (account is None) == (role is None) or role not in {None, *ROLES}:
        raise UsageError("a key belongs to an account, or has a role of its own: one of the two")
    if not 0 < days <= MAX_KEY_DAYS:
        raise UsageError(f"a key lasts 1 to {MAX_KEY_DAYS} days")
    wanted = tuple(dict.fromkeys(scopes))
    unknown = [each for each in wanted if each not in SCOPES or each in SESSION_ONLY]
    if not wanted or unknown:
        what = f"{unknown[0][:40]!r} is no scope of keys" if unknown else "a key needs a scope"
        names = ", ".join(each for each in SCOPES if each not in SESSION_ONLY)
        raise UsageError(what, hint=f"scopes of keys: {names}")
    return wanted
