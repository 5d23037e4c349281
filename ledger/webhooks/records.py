"""What an endpoint is, how it stands, and what became of a delivery: to and from their rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, func, select

from ledger.index.webhook_tables import webhook_delivery
from ledger.webhooks.keeping import WAITING


@dataclass(frozen=True, slots=True)
class Asked:
    """What an endpoint is to be.

    Attributes:
        url: where messages go.
        description: for people.
        filters: the members that `ledger.webhooks.filters.Filter.of` reads.
        expiring_days: how long before a license's end its reminder comes; 0 never.
    """

    url: str
    filters: Mapping[str, Any]
    description: str = ""
    expiring_days: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint, without what its secret is made of.

    Attributes:
        owner: ``account:0x…``, or ``key:ID`` of a key that is no account's.
        asked: what its owner wants.
        enabled, disabled_at, reason: whether it is sent to; since when and why not.
        paused_at: since when the right is gone by which it is sent to, as `reason` says.
        failures, failing_since: attempts since the last that was taken, and since when.
        old_secret_until: Unix seconds until which the secret before signs too; 0 it does not.
        waiting, dead: deliveries in these states.
    """

    id: str
    owner: str
    asked: Asked
    created_at: int
    enabled: bool
    disabled_at: int | None
    paused_at: int | None
    reason: str
    failures: int
    failing_since: int | None
    old_secret_until: int
    waiting: int
    dead: int

    @property
    def state(self) -> str:
        """How it stands: disabled, paused, failing or enabled."""
        if not self.enabled:
            return "disabled"
        if self.paused_at is not None:
            return "paused"
        return "failing" if self.failures else "enabled"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one endpoint, and what became of it; times are Unix seconds."""

    number: int
    message: str
    type: str
    sequence: int | None
    state: str
    attempts: int
    made_at: float
    tried_at: float | None
    next_at: float | None
    done_at: float | None
    last_status: int | None
    trouble: str


def columns(asked: Asked, via: str) -> dict[str, Any]:
    """The columns of what an endpoint is to be, and by which key it is."""
    return {
        "url": asked.url,
        "description": asked.description,
        "via": via,
        "filters": json.dumps(asked.filters, sort_keys=True),
        "expiring_days": asked.expiring_days,
    }


def shown(asked: Asked) -> dict[str, Any]:
    """What the audit log says of it: the host, since a path may open something."""
    return {"host": urlsplit(asked.url).hostname or "", "types": list(asked.filters["types"])}


def asked_of(row: Any) -> Asked:
    """What an endpoint is to be, from its row."""
    return Asked(row.url, json.loads(row.filters), row.description, row.expiring_days)


def counts_of(connection: Connection, id_: str) -> dict[str, int]:
    """How many of an endpoint's deliveries wait, and how many are dead."""
    table = webhook_delivery
    rows: Iterable[Any] = connection.execute(
        select(table.c.state, func.count())
        .where(table.c.endpoint == id_, table.c.state != "delivered")
        .group_by(table.c.state)
    )
    return {state: int(count) for state, count in rows}


def endpoint_of(row: Any, counts: Mapping[str, int]) -> Endpoint:
    """An endpoint, from its row and `counts_of`."""
    return Endpoint(
        row.id,
        row.owner,
        asked_of(row),
        row.created_at,
        row.enabled,
        None if row.enabled else row.disabled_at,
        row.disabled_at if row.enabled else None,
        row.reason,
        row.failures,
        row.failing_since,
        row.old_until,
        counts.get(WAITING, 0),
        counts.get("dead", 0),
    )


def delivery_of(row: Any) -> Delivery:
    """A delivery, from its row with its message's type and number."""

    def seconds(ms: int | None) -> float | None:
        return None if ms is None else ms / 1000

    return Delivery(
        row.number,
        row.message,
        row.type,
        row.sequence,
        row.state,
        row.attempts,
        row.made_at_ms / 1000,
        seconds(row.tried_at_ms),
        row.next_at_ms / 1000 if row.state == WAITING else None,
        seconds(row.done_at_ms),
        row.last_status,
        row.trouble,
    )
