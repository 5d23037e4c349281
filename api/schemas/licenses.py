"""The shapes of plans, of licenses issued under them, and of whether a license entitles."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from api.forms import LICENSE
from api.schemas.base import (
    Account,
    Answer,
    Asking,
    BigInt,
    Finality,
    Hash,
    LicenseNumber,
    Measurement,
    Shape,
)


class Plan(Shape):
    """What a licensor offers. Durations in seconds; 0 seats, supply or quota: unlimited."""

    plan_id: int
    licensor: Account
    model_id: Hash
    terms_hash: Hash
    plan_digest: Hash
    created_at: int
    paused: bool
    role_epoch: int
    issued: int
    duration: int
    grace: int
    lease_ttl: int
    max_offline: int
    min_notice: int
    refund_window: int
    reissue_delay: int
    seats: int
    supply: int
    quota: BigInt
    features: BigInt
    broker_set: BigInt
    pay_token: Account
    price: BigInt
    floating: bool
    warn_only: bool
    transferable: bool


class License(Shape):
    """One license token."""

    license: LicenseNumber = Field(validation_alias="license_id")
    token_id: BigInt = Field(validation_alias="license_id")
    plan_id: int
    model_id: Hash
    holder: Account
    status: Literal["active", "suspended", "revoked"]
    suspended: bool = Field(validation_alias="held")
    suspended_at: int
    issued_at: int
    not_before: int
    not_after: int
    revoked_at: int | None = None
    revoked_by: Account | None = None
    reason: Hash | None = None
    seats_used: int
    grant_nonce: BigInt


class LicensePage(Answer):
    """Licenses by number."""

    licenses: list[License]
    next_cursor: str | None = None


class Seat(Shape):
    """A runtime bound to a license; until 0 means as long as the license."""

    runtime_key: Hash
    bound_at: int
    until: int
    measurement: Measurement


class LicenseAnswer(Answer):
    """A license with its plan and seats."""

    license: License
    plan: Plan
    seats: list[Seat]
    finality: Finality = Field(description="of the license's last change")


class EntitlementItem(Shape):
    """Whether a license entitles, and if not which rule says so."""

    license: LicenseNumber
    entitled: bool
    code: str = Field(examples=["VALID"])
    number: int = Field(description="the contract's code", examples=[0])
    text: str = Field(description="one sentence: the answer and its rule")
    since: int | None = Field(default=None, description="from when the rule applies")
    remedy: str = Field(default="", description="who can change it, and how")
    at: int = Field(description="the moment asked about")
    not_after: int | None = None
    grace_until: int | None = None
    plan_id: int | None = None
    model_id: Hash | None = None
    holder: Account | None = None
    finality: Finality = Field(description="of the license's last change")


class EntitlementAnswer(EntitlementItem, Answer):
    """The same, and what it rests on."""


class EntitlementsAsked(Asking):
    """Licenses to decide about, for one holder and one runtime where these are named."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"licenses": ["1.1", "1.2"]}]})

    licenses: list[Annotated[str, Field(pattern=LICENSE, examples=["1.1"])]] = Field(
        min_length=1, max_length=200
    )
    holder: str | None = Field(default=None, pattern="^0x[0-9a-fA-F]{40}$")
    runtime: str | None = Field(default=None, pattern="^0x[0-9a-f]{64}$")


class EntitlementsAnswer(Answer):
    """One item for each license, in the order asked."""

    entitlements: list[EntitlementItem]
