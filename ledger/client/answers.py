"""What a service answers, as types. Times are Unix seconds, amounts the smallest unit.

Names are those of the service's description, ``/v1/openapi.json``, which explains them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ledger.ids import Address, Digest, LicenseId, ModelId


@dataclass(frozen=True, slots=True)
class Point:
    """A block; hash and time are None where the index keeps its header no longer."""

    block: int
    hash: Digest | None
    time: int | None


@dataclass(frozen=True, slots=True)
class AsOf(Point):
    """The block that an answer rests on.

    Attributes:
        finality: finalized, safe, or included.
        lag_s: seconds since the index last stood on the chain's head.
        chain: the index's own `latest`, `safe` and `finalized`.
    """

    finality: str
    finalized: int
    safe: int
    lag_s: float
    chain: dict[str, Point]


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model."""

    model_id: ModelId
    licensor: Address
    status: str
    artifact_root: Digest
    fingerprint_digest: Digest
    watermark_commitment: Digest
    manifest_hash: Digest
    registered_at: int
    registered_block: int
    registered_tx: Digest
    committed: bool
    committed_at: int
    title_sequence: int
    finality: str
    sealing_epoch: int = 0
    sealing_hash: Digest | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a licensor offers; 0 seats, supply or quota are unlimited."""

    plan_id: int
    licensor: Address
    model_id: ModelId
    terms_hash: Digest
    plan_digest: Digest
    created_at: int
    paused: bool
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
    quota: int
    features: int
    broker_set: int
    pay_token: Address
    price: int
    floating: bool
    warn_only: bool
    transferable: bool


@dataclass(frozen=True, slots=True)
class RoleHeld:
    """What an account may do on a plan: issuer, revoker, meter, guardian."""

    account: Address
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanAnswer:
    """A plan, who may act on it, and whether anyone can buy a license of it."""

    as_of: AsOf
    plan: Plan
    roles: tuple[RoleHeld, ...]
    on_sale: bool
    finality: str


@dataclass(frozen=True, slots=True)
class Sale:
    """How the market sold a license: open (it may be refunded), settled or refunded."""

    as_of: AsOf
    license_id: LicenseId
    payer: Address
    licensor: Address
    pay_token: Address
    amount: int
    sold_at: int
    refundable_until: int | None
    state: str
    finality: str


@dataclass(frozen=True, slots=True)
class License:
    """One license."""

    license: LicenseId
    plan_id: int
    model_id: ModelId
    holder: Address
    status: str
    suspended: bool
    issued_at: int
    not_before: int
    not_after: int
    seats_used: int
    revoked_at: int | None = None
    revoked_by: Address | None = None


@dataclass(frozen=True, slots=True)
class Seat:
    """A runtime bound to a license; `until` 0: as long as the license."""

    runtime_key: Digest
    bound_at: int
    until: int


@dataclass(frozen=True, slots=True)
class LicenseAnswer:
    """A license with its plan and seats."""

    as_of: AsOf
    license: License
    plan: Plan
    seats: tuple[Seat, ...]
    finality: str


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """A model with its plans."""

    as_of: AsOf
    model: Model
    plans: tuple[Plan, ...]


@dataclass(frozen=True, slots=True)
class Entitlement:
    """Whether a license entitles, and if not which rule says so. A no is an answer."""

    as_of: AsOf
    license: LicenseId
    entitled: bool
    code: str
    number: int
    text: str
    at: int
    finality: str
    remedy: str = ""
    since: int | None = None
    not_after: int | None = None
    grace_until: int | None = None
    holder: Address | None = None


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One event of a model's story, in words."""

    kind: str
    text: str
    block: int | None
    time: int
    tx: Digest | None
    finality: str
    event: str
    license: str | None
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A model's events in chain order."""

    as_of: AsOf
    model_id: ModelId
    entries: tuple[TimelineEntry, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the journal."""

    contract: str
    event: str
    block: int
    block_hash: Digest
    block_time: int
    log_index: int
    tx_hash: Digest
    finality: str
    arguments: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands on the chain: its block, and the transaction's index in it."""

    block: int
    transaction: int


@dataclass(frozen=True, slots=True)
class Holding:
    """A model and which of the ids asked for it holds; where its commitment stands, if known."""

    model: Model
    cid: tuple[Digest, ...]
    vid: tuple[Digest, ...]
    cast: tuple[Digest, ...]
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Holdings:
    """The earliest models that hold any of the ids; `more`: others were left out."""

    as_of: AsOf
    models: tuple[Holding, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """Licenses by what they are now."""

    active: int
    upcoming: int
    noticed: int
    suspended: int
    expired: int
    revoked: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """A licensor's figures."""

    as_of: AsOf
    licensor: Address
    at: int
    models: int
    plans: int
    issued: int
    seats: int
    licenses: Counts
    expiring: int
    next_end: int | None


@dataclass(frozen=True, slots=True)
class Key:
    """An API key. `key` opens it, and is there once: in the answer that made it."""

    id: str
    name: str
    account: Address | None
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int
    used_at: int | None
    revoked_at: int | None
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something failed, in words."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Job:
    """A bundle that is collected in the background: queued, collecting, done or failed."""

    job: str
    state: str
    kind: str
    model: ModelId
    license: str | None
    steps: tuple[str, ...]
    error: Failure | None
    id: Digest | None
    as_of: int | None
    clock: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """One entry of the stream of events: applied, retracted or finalized.

    Attributes:
        seq: the number to go on from.
    """

    seq: int
    kind: str
    block: int
    event: str | None = None
    log_index: int | None = None
    block_hash: Digest | None = None
    tx_hash: Digest | None = None
    contract: str | None = None
    arguments: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in. `token` is the credential."""

    id: str
    account: Address
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    expires_at: int
    token: str = field(repr=False)
