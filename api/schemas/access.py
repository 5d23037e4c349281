"""The shapes of what is asked and answered about access (docs/spec/access.md)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field

from api.schemas.base import Account, Asking, Hash, Shape
from ledger.access.message import MAX_BYTES
from ledger.access.principals import MAX_KEY_DAYS, KeyFacts, Principal
from ledger.access.roles import SCOPES, SESSION_ONLY
from ledger.access.store import KEY_DAYS

AskedAccount = Annotated[str, Field(pattern="^0x[0-9a-fA-F]{40}$")]
KeyId = Annotated[str, Field(pattern="^[0-9A-Za-z]{10}$", examples=["Ab3dE5fG7h"])]
KeyScope = Literal[
    "deposits:write",
    "evidence:write",
    "transactions:write",
    "webhooks:write",
    "statistics:read",
    "audit:read",
]
assert set(get_args(KeyScope)) == set(SCOPES) - SESSION_ONLY


def _asked(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class NonceAsked(Asking):
    """For whom a sign-in begins."""

    model_config = _asked({"account": "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"})

    account: AskedAccount | None = Field(
        None, description="with it, the message comes ready to sign"
    )


class Nonce(Shape):
    """What a sign-in message is made of."""

    nonce: str
    expires_at: int
    domain: str
    uri: str
    chain_id: int
    message: str | None = Field(description="the text to sign, where an account was named")


class SignIn(Asking):
    """A signed message."""

    model_config = _asked(
        {"message": "deed.example wants you to sign in …", "signature": "0x" + "ab" * 65}
    )

    message: str = Field(max_length=MAX_BYTES)
    signature: str = Field(
        pattern="^0x([0-9a-fA-F]{2}){65,4096}$",
        description="of personal_sign, or a contract wallet's",
    )
    deliver: Literal["token", "cookie"] = Field(
        "token", description="cookie: for the service's own pages"
    )


class Who(Shape):
    """Whom a credential stands for, and what it may do now."""

    kind: Literal["session", "key"]
    id: KeyId
    account: Account | None
    roles: list[str]
    scopes: list[str]
    expires_at: int

    @classmethod
    def of(cls, who: Principal) -> Who:
        """From a principal."""
        return cls.model_validate(_members(who))


class SignedIn(Who):
    """A new session."""

    token: str | None = Field(description="shown this once; null where it is in a cookie")

    @classmethod
    def made(cls, who: Principal, token: str | None) -> SignedIn:
        """From a principal and the token, where it is to be shown."""
        return cls.model_validate({**_members(who), "token": token})


def _members(who: Principal) -> dict[str, Any]:
    return {
        "kind": who.kind,
        "id": who.id,
        "account": who.account,
        "roles": list(who.roles),
        "scopes": sorted(who.scopes),
        "expires_at": who.expires_at,
    }


class KeyAsked(Asking):
    """A key to be made."""

    model_config = _asked({"name": "nightly", "scopes": ["evidence:write"], "days": 30})

    name: str = Field(min_length=1, max_length=80)
    scopes: list[KeyScope] = Field(min_length=1, max_length=len(SCOPES))
    days: int = Field(KEY_DAYS, ge=1, le=MAX_KEY_DAYS)
    account: AskedAccount | None = Field(None, description="another's, for operators")


class Key(Shape):
    """An API key without what opens it."""

    id: KeyId
    name: str
    account: Account | None
    role: str | None = Field(description="of a key of no account")
    scopes: list[str]
    created_at: int
    created_by: str
    expires_at: int
    used_at: int | None = Field(description="to the hour")
    revoked_at: int | None

    @classmethod
    def of(cls, facts: KeyFacts) -> Key:
        """From the store's."""
        return cls.model_validate(key_members(facts))


class NewKey(Key):
    """A key with what opens it."""

    key: str = Field(description="shown this once")


class Keys(Shape):
    """Keys, the newest first."""

    keys: list[Key]
    next_after: KeyId | None = Field(description="`after` of the next page; null at the end")


class SessionsEnded(Shape):
    """Sessions that open nothing any more."""

    account: Account
    ended: int = Field(description="how many there were")


def key_members(facts: KeyFacts) -> dict[str, Any]:
    """The members of a key's shape."""
    names = ("id", "name", "account", "role", "created_at", "created_by", "expires_at")
    told = {name: getattr(facts, name) for name in (*names, "used_at", "revoked_at")}
    return told | {"scopes": list(facts.scopes)}


class AuditEntry(Shape):
    """An entry as it is hashed, and its hash."""

    hash: Hash
    text: str = Field(description="the canonical JSON that is hashed")
    entry: dict[str, Any] = Field(description="the same, read")


class AuditHead(Shape):
    """The newest entry's number and hash."""

    sequence: int
    hash: Hash


class AuditPage(Shape):
    """Entries in order."""

    entries: list[AuditEntry]
    head: AuditHead
    next_after: int | None = Field(description="`after` of the next page; null at the end")
