"""The shapes of answers. Hashes are 0x text, accounts EIP-55, times Unix seconds.

Integers that may pass 2^53 are decimal text, since JSON readers lose their last digits.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.forms import AS_OF
from ledger.ids import Address, Digest, LicenseId
from ledger.index.views import AsOf as AsOfFacts

_H = "0x" + "ab" * 32


def _hex(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return str(value) if isinstance(value, Digest) else value


@functools.lru_cache(maxsize=4096)
def _checksummed(raw: bytes) -> str:
    # A checksum is a hash: most of what a row costs, and licensors come again and again.
    return str(Address(raw))


def _account(value: Any) -> Any:
    if isinstance(value, bytes):
        return _checksummed(value)
    return str(value) if isinstance(value, Address) else value


def _license(value: Any) -> Any:
    return str(LicenseId(value)) if isinstance(value, int) else value


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) else value


Hash = Annotated[str, BeforeValidator(_hex), Field(pattern="^0x[0-9a-f]{64}$", examples=[_H])]
AskedHash = Annotated[str, Field(pattern="^0x[0-9a-f]{64}$", examples=[_H])]
Measurement = Annotated[str, BeforeValidator(_hex), Field(pattern="^0x[0-9a-f]{40}$")]
Account = Annotated[
    str,
    BeforeValidator(_account),
    Field(pattern="^0x[0-9a-fA-F]{40}$", examples=["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]),
]
LicenseNumber = Annotated[
    str, BeforeValidator(_license), Field(pattern=r"^[0-9]+\.[0-9]+$", examples=["7.42"])
]
BigInt = Annotated[str, BeforeValidator(_text), Field(pattern=r"^[0-9]+$", examples=["0"])]
Finality = Literal["finalized", "safe", "included"]


class Shape(BaseModel):
    """What all answers share: frozen, and nothing beyond what is named."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Asking(Shape):
    """What all bodies share that somebody sends: what is not named is refused."""

    model_config = ConfigDict(extra="forbid")


class Point(Shape):
    """A block of the chain; hash and time are null where its header is no longer kept."""

    block: int
    hash: Hash | None
    time: int | None


class AsOf(Shape):
    """What an answer rests on: the index's block, how much of the chain is final, and its age."""

    block: int = Field(description="last block that counts", examples=[1234])
    hash: Hash | None = Field(description="its hash; null for a past block no longer kept")
    time: int | None = Field(description="its time; null likewise")
    finality: Finality = Field(description="how settled it is")
    finalized: int = Field(description="highest final block at or below it", examples=[1232])
    safe: int = Field(description="highest safe block at or below it", examples=[1233])
    lag_s: float = Field(
        description="seconds since the index last stood on the chain's head", examples=[0.4]
    )
    chain: dict[Literal["latest", "safe", "finalized"], Point] = Field(
        description="where the index stands, whatever block was asked for"
    )

    @classmethod
    def of(cls, facts: AsOfFacts) -> AsOf:
        """From a snapshot's."""
        return cls.model_validate(
            {
                "block": facts.block,
                "hash": facts.hash,
                "time": facts.time,
                "finality": facts.finality(facts.block),
                "finalized": facts.finalized,
                "safe": facts.safe,
                "lag_s": facts.lag_s,
                "chain": {
                    tag: {"block": point.block, "hash": point.hash, "time": point.time}
                    for tag, point in facts.points.items()
                },
            }
        )


class Answer(Shape):
    """Every answer says what it rests on."""

    as_of: AsOf


class Model(Shape):
    """A registered model."""

    model_id: Hash
    title: str | None = Field(default=None, description="from the manifest, when deposited")
    licensor: Account
    status: Literal["active", "withdrawn", "compromised"]
    artifact_root: Hash
    fingerprint_digest: Hash
    watermark_commitment: Hash
    manifest_hash: Hash
    registered_at: int
    registered_block: int
    registered_tx: Hash
    committed: bool = Field(description="whether an earlier anchored commitment was proven")
    committed_at: int
    title_sequence: BigInt
    pending_licensor: Account | None = None
    guardian: Account | None = None
    recovery_to: Account | None = None
    recovery_ready_at: int | None = None
    sealing_epoch: BigInt = Field(description="highest lodged, 0 when none")
    sealing_hash: Hash | None = None
    finality: Finality = Field(description="of the block that registered it")


class ModelPage(Answer):
    """Models in order of registration."""

    models: list[Model]
    next_cursor: str | None = None


class Title(Shape):
    """One holder of a title, and since when."""

    sequence: BigInt
    holder: Account
    previous: Account | None = None
    since: int


class Sealing(Shape):
    """One lodged sealing record."""

    epoch: BigInt
    record_hash: Hash
    lodged_at: int


class Record(Shape):
    """Another lodged record: detection, dispute, identity."""

    kind: int
    sender: Account
    record_hash: Hash
    lodged_at: int


class Parent(Shape):
    """A declared parent; unconfirmed until its licensor signs."""

    parent: Hash
    confirmed_by: Account | None = None


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


class ModelAnswer(Answer):
    """A model with all that hangs on it."""

    model: Model
    titles: list[Title]
    sealings: list[Sealing]
    records: list[Record]
    parents: list[Parent]
    plans: list[Plan]


class TimelineEntry(Shape):
    """One event of a model's story."""

    kind: str = Field(examples=["license issued"])
    text: str
    block: int | None = Field(description="null for an anchor that the chain alone cannot name")
    log_index: int | None
    time: int
    tx: Hash | None
    finality: Finality
    event: str
    license: str | None
    arguments: dict[str, Any]


class Timeline(Answer):
    """A model's events in chain order."""

    model_id: Hash
    entries: list[TimelineEntry]


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

    licenses: list[
        Annotated[str, Field(pattern=r"^[0-9]{1,20}(\.[0-9]{1,10})?$", examples=["1.1"])]
    ] = Field(min_length=1, max_length=200)
    holder: str | None = Field(default=None, pattern="^0x[0-9a-fA-F]{40}$")
    runtime: str | None = Field(default=None, pattern="^0x[0-9a-f]{64}$")


class EntitlementsAnswer(Answer):
    """One item for each license, in the order asked."""

    entitlements: list[EntitlementItem]


class EventItem(Shape):
    """One journal entry."""

    contract: str
    event: str
    block: int
    block_hash: Hash
    block_time: int
    log_index: int
    tx_hash: Hash
    tx_index: int
    address: Account
    finality: Finality
    arguments: dict[str, Any] | None


class EventPage(Answer):
    """Events in chain order, to be read on for ever."""

    events: list[EventItem]
    next_cursor: str | None = Field(
        default=None,
        description="where this page ends, also at the end of all: a page with fewer events than "
        "`limit` is the last for now, and its cursor gives what comes later. An empty page gives "
        "back the cursor that it was asked with, null without one",
    )


class Retraction(EventItem):
    """An event that a reorganisation took back."""

    retracted_at: float
    ancestor: int = Field(description="the last block that both branches share")
    finality: Literal["retracted"] = "retracted"  # type: ignore[assignment]


class RetractionPage(Answer):
    """Retracted events, in the order in which they were taken back."""

    events: list[Retraction]
    next_cursor: str | None = Field(default=None, description="as of a page of events")


class LeavesDeposited(Answer):
    """What became of a deposit of tensor ids."""

    model_id: Hash
    tensors: int
    names_verified: bool = Field(description="whether the chain binds the tensors' names too")
    new: bool


class LeavesAnswer(Answer):
    """A model's tensor ids as deposited: the public list, the whole fingerprint, or both."""

    model_id: Hash
    names_verified: bool
    fingerprint: dict[str, Any] | None
    ids: dict[str, Any] | None


class DocumentsDeposited(Answer):
    """Which documents were taken."""

    model_id: Hash
    taken: list[str]


class SearchMatch(Shape):
    """A registered model that holds the searched tensor."""

    model: Model
    names: list[str]
    names_verified: bool


class SearchAnswer(Answer):
    """All claims on a tensor, earliest commitment first."""

    kind: Literal["cid", "vid"]
    id: Hash
    matches: list[SearchMatch]


class SearchAsked(Asking):
    """Tensor ids to look for, by the kind of registered id that each may equal."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"cid": ["0x" + "ab" * 32]}]})

    cid: list[AskedHash] = Field(default=[], description="against content ids")
    vid: list[AskedHash] = Field(default=[], description="against value-multiset ids")
    cast: list[AskedHash] = Field(default=[], description="against the ids of casts")


class Place(Shape):
    """Where something stands on the chain."""

    block: int
    transaction: int = Field(description="its index in the block")


class SearchHolding(Shape):
    """A registered model and which of the ids asked for it holds."""

    model: Model
    place: Place | None = Field(
        description="of the commitment that `committed_at` is of: what came first within a second; "
        "null where the chain alone does not tell which it is"
    )
    cid: list[Hash] = Field(description="bound by the model's artifact root")
    vid: list[Hash] = Field(description="bound by the model's fingerprint digest")
    cast: list[Hash] = Field(
        description="bound by nothing on chain: the word of whoever deposited them"
    )


class SearchHoldings(Answer):
    """The earliest models that hold any of the ids, earliest commitment first."""

    models: list[SearchHolding]
    more: bool = Field(description="whether later models, which are left out, hold some too")


class Alive(Shape):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str


class Ready(Shape):
    """Whether this service can be relied on now, and if not why."""

    ready: bool
    state: str
    reason: str
    lag_s: float | None
    lag_blocks: int | None
    block: int | None
    head: int | None
    finalized: int | None
    chain_id: int
    reorgs: int
    broker: Literal["off", "on"]
    anchoring: Literal["off", "on", "failing"]


class EvidenceAsked(Asking):
    """What a bundle is to be about, and documents for it that are not deposited here."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "0x" + "ab" * 32}]})

    model: AskedHash | None = Field(default=None, description="may be left out beside the others")
    license: str | None = Field(default=None, pattern=r"^[0-9]{1,20}(\.[0-9]{1,10})?$")
    release: dict[str, Any] | None = Field(
        default=None, description="a receipt proof (docs/spec/key-release.md)"
    )
    claim: dict[str, Any] | None = Field(
        default=None, description="opened: whoever gets the bundle reads its salt"
    )
    manifest: dict[str, Any] | None = None
    fingerprint: dict[str, Any] | None = None
    sealings: list[dict[str, Any]] = Field(default=[], max_length=100)
    terms: list[dict[str, Any]] = Field(default=[], max_length=100)
    cards: list[dict[str, Any]] = Field(default=[], max_length=1000)
    tensors: bool = Field(default=True, description="whether the list of tensors is disclosed")
    as_of: Annotated[int, Field(ge=0, lt=1 << 53)] | Annotated[str, Field(pattern=AS_OF)] | None = (
        Field(default=None, description="a final block, as in a query; by default the newest")
    )
    note: str = Field(default="", max_length=2000, description="for the custody log, one line")


class JobError(Shape):
    """Why a job failed; code, sentence and way out as in problem answers."""

    code: str
    message: str
    hint: str


class Job(Shape):
    """A bundle that is collected in the background. `as_of` and `clock` are the bundle's own."""

    job: str
    state: Literal["queued", "collecting", "done", "failed"]
    kind: Literal["model", "license", "release"]
    model: Hash
    license: str | None
    steps: list[str] = Field(description="what has been done; the last one is being done")
    asked_at: int
    expires_at: int | None = Field(description="until when the bundle can be fetched")
    error: JobError | None
    bundle: str | None = Field(description="where to fetch it")
    bytes: int | None
    id: Hash | None
    as_of: int | None
    clock: str | None
