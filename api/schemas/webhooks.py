"""The shapes of what is asked and answered about webhooks (docs/spec/webhooks.md)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from api.dependencies import EventName
from api.forms import PLAN_AND_SERIAL
from api.schemas.base import AskedHash, Asking, AsOf, Hash, LicenseNumber, Shape
from api.schemas.events import EventItem
from ledger.ids import Address, Digest, LicenseId
from ledger.webhooks.endpoints import KEEP_HOURS, MAX_URL
from ledger.webhooks.filters import CHOSEN, USUAL
from ledger.webhooks.records import Asked
from ledger.webhooks.records import Delivery as DeliveryFacts
from ledger.webhooks.records import Endpoint as EndpointFacts

MessageType = Literal["event.applied", "event.retracted", "event.finalized", "license.expiring"]
_USUAL: tuple[MessageType, ...] = ("event.applied", "event.retracted", "license.expiring")
assert get_args(MessageType) == CHOSEN
assert _USUAL == USUAL

AskedUrl = Annotated[
    str,
    Field(
        pattern=r"^https?://[!-~]+$",
        max_length=MAX_URL,
        description="https, or http into a network that the operator allows",
        examples=["https://hooks.example/deed"],
    ),
]
Types = Annotated[list[MessageType], Field(min_length=1, max_length=len(CHOSEN))]
Events = Annotated[
    list[EventName],
    Field(max_length=64, description="names of events; none: all", examples=[["LicenseRevoked"]]),
]
Models = Annotated[list[AskedHash], Field(max_length=100)]
Licenses = Annotated[
    list[Annotated[str, Field(pattern=PLAN_AND_SERIAL, examples=["1.1"])]],
    Field(max_length=100),
]
Licensors = Annotated[
    list[Annotated[str, Field(pattern="^0x[0-9a-fA-F]{40}$")]], Field(max_length=100)
]
Days = Annotated[
    int, Field(ge=0, le=366, description="days before a license's end; 0: no reminders")
]
Description = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=200)]


class WebhookAsked(Asking):
    """A webhook to be made. Without models, licenses and licensors it gets everything."""

    url: AskedUrl
    types: Types = Field(default_factory=lambda: [*_USUAL])
    events: Events = Field(default_factory=list)
    models: Models = Field(default_factory=list)
    licenses: Licenses = Field(default_factory=list)
    licensors: Licensors = Field(default_factory=list)
    expiring_days: Days = 0
    description: Description = ""

    def asked(self) -> Asked:
        """As the store takes it."""
        filters = _filters({name: getattr(self, name) for name in _FILTERS})
        return Asked(self.url, filters, self.description, self.expiring_days)


class WebhookChanges(Asking):
    """What is to change; what is left out stays."""

    url: AskedUrl | None = None
    types: Types | None = None
    events: Events | None = None
    models: Models | None = None
    licenses: Licenses | None = None
    licensors: Licensors | None = None
    expiring_days: Days | None = None
    description: Description | None = None
    enabled: bool | None = Field(
        None,
        description="true: sent to again, what waits at once, by your right; false: not sent to",
    )

    def changes(self) -> dict[str, Any]:
        """As the store takes them."""
        given = {
            name: value
            for name in type(self).model_fields
            if (value := getattr(self, name)) is not None
        }
        filters = _filters({name: given.pop(name) for name in _FILTERS if name in given})
        given.pop("enabled", None)
        return given | ({"filters": filters} if filters else {})


_FILTERS = ("types", "events", "models", "licenses", "licensors")


def _filters(given: dict[str, list[str]]) -> dict[str, list[str]]:
    """The members that `ledger.webhooks.filters.Filter.of` reads, each value once."""
    read = {
        "models": lambda text: Digest.parse(text).raw.hex(),
        "licenses": lambda text: str(LicenseId.parse(text).value),
        "licensors": lambda text: Address.parse(text.lower()).raw.hex(),
    }
    return {
        name: list(dict.fromkeys(read[name](each) if name in read else each for each in values))
        for name, values in given.items()
    }


class Rotation(Asking):
    """How a secret is replaced."""

    keep_hours: int = Field(
        KEEP_HOURS, ge=0, le=168, description="so long the secret before signs too; 0: not at all"
    )


class Webhook(Shape):
    """A webhook, without its secret."""

    id: str
    url: str
    description: str
    types: list[str]
    events: list[str]
    models: list[str]
    licenses: list[str]
    licensors: list[str]
    expiring_days: int
    state: Literal["enabled", "failing", "paused", "disabled"]
    reason: str = Field(description="why it is disabled or paused; empty otherwise")
    disabled_at: int | None
    paused_at: int | None = Field(
        description="since when the right is gone by which it is sent to; what happens waits"
    )
    failing_since: int | None = Field(description="since when nothing was taken")
    failures: int = Field(description="attempts since the last that was taken")
    waiting: int = Field(description="deliveries that wait")
    dead: int = Field(description="deliveries that were given up; they can be retried")
    old_secret_until: int | None = Field(description="until then the secret before signs too")
    created_at: int

    @classmethod
    def of(cls, facts: EndpointFacts) -> Webhook:
        """From the store's."""
        return cls.model_validate(_members(facts))


class NewWebhook(Webhook):
    """A webhook with its secret."""

    secret: str = Field(description="shown this once", examples=["whsec_" + "v8kR" * 11])

    @classmethod
    def made(cls, facts: EndpointFacts, secret: str) -> NewWebhook:
        """From the store's and the secret."""
        return cls.model_validate(_members(facts) | {"secret": secret})


def _members(facts: EndpointFacts) -> dict[str, Any]:
    told = facts.asked.filters
    return {
        "id": facts.id,
        "url": facts.asked.url,
        "description": facts.asked.description,
        "types": told["types"],
        "events": told["events"],
        "models": ["0x" + each for each in told["models"]],
        "licenses": [str(LicenseId(int(each))) for each in told["licenses"]],
        "licensors": [str(Address(bytes.fromhex(each))) for each in told["licensors"]],
        "expiring_days": facts.asked.expiring_days,
        "state": facts.state,
        "reason": facts.reason,
        "disabled_at": facts.disabled_at,
        "paused_at": facts.paused_at,
        "failing_since": facts.failing_since,
        "failures": facts.failures,
        "waiting": facts.waiting,
        "dead": facts.dead,
        "old_secret_until": facts.old_secret_until or None,
        "created_at": facts.created_at,
    }


class Webhooks(Shape):
    """One's own webhooks, the oldest first."""

    webhooks: list[Webhook]


class Delivery(Shape):
    """A message to one webhook, and what became of it; times are Unix seconds."""

    message: str = Field(description="the webhook-id of its attempts")
    type: str
    sequence: int | None = Field(description="the outbox's number, where one stands behind it")
    state: Literal["waiting", "delivered", "dead"]
    attempts: int
    last_status: int | None = Field(description="HTTP status of the last answer")
    trouble: str = Field(description="what went wrong last; empty when it was taken")
    made_at: float
    tried_at: float | None
    next_at: float | None = Field(description="when it is sent again, while it waits")
    done_at: float | None

    @classmethod
    def of(cls, facts: DeliveryFacts) -> Delivery:
        """From the store's."""
        return cls.model_validate({name: getattr(facts, name) for name in cls.model_fields})


class Deliveries(Shape):
    """Deliveries, the newest first."""

    deliveries: list[Delivery]
    next_cursor: str | None = None


class SentEvent(EventItem):
    """An event as it is sent; `retracted`: a reorganisation took it back."""

    finality: Literal["finalized", "safe", "included", "retracted"]  # type: ignore[assignment]  # one more than in answers
    subjects: list[Hash] = Field(description="models, licenses, roots that it is filed under")


class MessageData(BaseModel):
    """What a message says; further members by its type (docs/spec/webhooks.md)."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(description="as in the header webhook-id; take each once")
    chain_id: int
    as_of: AsOf
    sequence: int | None = Field(None, description="the outbox's number: the order of events")
    event: SentEvent | None = Field(None, description="of event.applied and event.retracted")
    retracts: str | None = Field(None, description="of event.retracted: id of what is taken back")
    block: int | None = Field(None, description="of event.finalized: up to it all is final")
    license: LicenseNumber | None = Field(None, description="of license.expiring")
    not_after: int | None = Field(None, description="of license.expiring: its end")


class Message(BaseModel):
    """The body that is sent, signed as Standard Webhooks 1.0 says."""

    type: Literal[
        "event.applied",
        "event.retracted",
        "event.finalized",
        "license.expiring",
        "events.missed",
        "webhook.test",
    ]
    timestamp: datetime
    data: MessageData
