"""The shapes of answers from the catalogue: plans, lineage, anchors, brokers, batches, figures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.schemas.base import Account, Answer, BigInt, Finality, Hash, Shape
from api.schemas.licenses import Plan
from api.schemas.models import Model, Title


class Role(Shape):
    """What an account may do for a plan (docs/spec/storage-layout.md)."""

    account: Account
    roles: list[Literal["issuer", "revoker", "meter", "guardian"]]


class PlanAnswer(Answer):
    """A plan and who may act for its licensor."""

    plan: Plan
    roles: list[Role]
    on_sale: bool = Field(
        description="whether anyone can buy a license: the market may issue, nothing is paused or "
        "sold out, and the model is active and its licensor's"
    )
    finality: Finality = Field(description="of the plan's last change")


class PlanPage(Answer):
    """Plans by number."""

    plans: list[Plan]
    next_cursor: str | None = None


class TitlePage(Answer):
    """Who held a model's title, first to last."""

    model_id: Hash
    titles: list[Title]
    next_cursor: str | None = None


class LineageEdge(Shape):
    """A declared parent; unconfirmed until the parent's licensor signs."""

    model_id: Hash
    parent: Hash
    confirmed_by: Account | None = None
    finality: Finality


class LineageAnswer(Answer):
    """Declared descent around a model. It shows what licensors declared, not what is so."""

    model_id: Hash
    models: list[Model] = Field(description="all that are registered; a parent need not be")
    edges: list[LineageEdge]
    complete: bool = Field(description="false where the depth or 500 models ended the search")


class Anchor(Shape):
    """An anchored root."""

    root: Hash
    sender: Account
    anchored_at: int
    block: int = Field(validation_alias="born_block")
    finality: Finality


class AnchorAnswer(Answer):
    """One anchored root."""

    anchor: Anchor


class AnchorPage(Answer):
    """Anchored roots by time."""

    anchors: list[Anchor]
    next_cursor: str | None = None


class Broker(Shape):
    """A key broker as the chain knows it."""

    broker_id: BigInt
    operator: Account
    pending_operator: Account | None = None
    epoch: int
    signing_key_hash: Hash | None = None
    kem_key_hash: Hash | None = None
    url: str


class BrokerPage(Answer):
    """Registered key brokers by number."""

    brokers: list[Broker]
    next_cursor: str | None = None


class ReceiptRoot(Shape):
    """A root under which a broker anchored its receipts (docs/spec/broker-log.md)."""

    broker_id: BigInt
    seq: BigInt
    prev_root: Hash
    root: Hash
    count: BigInt
    anchored_at: int
    finality: Finality


class ReceiptPage(Answer):
    """A broker's anchored receipts by sequence."""

    receipts: list[ReceiptRoot]
    next_cursor: str | None = None


class Batch(Shape):
    """Licenses anchored as one root, claimed one by one (docs/spec/batch.md)."""

    root: Hash
    plan_id: int
    by: Account
    first_serial: int
    count: int
    anchored_at: int
    closes_at: int | None = Field(description="nothing can be claimed from then on; null: open")
    block: int
    tx: Hash
    finality: Finality


class BatchPage(Answer):
    """Batches in the order in which they were anchored."""

    batches: list[Batch]
    next_cursor: str | None = None


class Licenses(Shape):
    """Licenses of a licensor's plans by what they are now; each is counted once."""

    active: int
    upcoming: int = Field(description="not begun yet")
    noticed: int = Field(description="revoked with notice, usable until their end")
    suspended: int
    expired: int
    revoked: int


class Revenue(Shape):
    """What the market's sales took in one token; of twenty zero bytes: in the chain's coin."""

    pay_token: Account
    sales: int
    renewals: int
    refunds: int
    taken: BigInt = Field(description="by sales and renewals, in units of the token")
    refunded: BigInt
    net: BigInt = Field(description="taken without what was refunded; royalties are part of it")


class Owed(Shape):
    """What the market credited to an account in one token: shares of sales, and refunds."""

    pay_token: Account
    accrued: BigInt
    withdrawn: BigInt
    open: BigInt = Field(description="what may be withdrawn now")


class Royalty(Shape):
    """What the market credited to a model in one token: shares of sales of its descendants."""

    pay_token: Account
    accrued: BigInt
    collected: BigInt
    open: BigInt = Field(description="what its title's holder may collect now")


class RoyaltyAnswer(Answer):
    """A model's royalties by token."""

    model_id: Hash
    royalties: list[Royalty]


class SaleAnswer(Answer):
    """How the market sold a license."""

    license_id: str = Field(examples=["7.42"])
    payer: Account
    licensor: Account = Field(description="of the plan when it was sold")
    pay_token: Account
    amount: BigInt = Field(description="in units of the token")
    sold_at: int
    refundable_until: int | None = Field(description="null: it never was")
    state: Literal["open", "settled", "refunded"]
    finality: Finality = Field(description="of the sale's last change")


class Statistics(Answer):
    """A licensor's figures."""

    licensor: Account
    at: int = Field(description="the moment at which they hold")
    models: int
    plans: int
    issued: int
    seats: int = Field(description="runtimes bound")
    licenses: Licenses
    expiring: int = Field(description="of the active, those that end within the days asked about")
    next_end: int | None = Field(description="when the first of the active ends")
    revenue: list[Revenue] = Field(description="of sales through the market, by token")
    owed: list[Owed] = Field(description="by the market to this account, by token")


class Hit(Shape):
    """Something that what was searched for names."""

    kind: Literal["model", "plan", "license", "anchor", "broker", "event"]
    by: str = Field(description="where it stands", examples=["artifact_root"])
    name: str = Field(description="what to ask for next", examples=["7.42"])
    href: str | None = Field(description="the path to ask", examples=["/v1/licenses/7.42"])
    finality: Finality


class FindAnswer(Answer):
    """Everything that carries a digest, account, transaction or day; at most 50 of each kind."""

    asked: str
    hits: list[Hit]
