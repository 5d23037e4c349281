"""Webhooks of one service: opened, worked on beside it, and counted."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from api.access import open_access
from api.dependencies import Service
from api.schemas.base import AsOf
from ledger.errors import LedgerError
from ledger.index.as_of import AsOf as AsOfFacts
from ledger.index.webhook_tables import webhook_delivery, webhook_endpoint
from ledger.remote.posting import Way
from ledger.webhooks.endpoints import Endpoints
from ledger.webhooks.keeping import DEAD, WAITING, place_of
from ledger.webhooks.keys import KeyRing
from ledger.webhooks.reminders import Reminders
from ledger.webhooks.rights import Rights
from ledger.webhooks.sending import Sending
from ledger.webhooks.spreading import Spreader
from ledger.webhooks.worker import Worker


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What a process has of them."""

    endpoints: Endpoints
    worker: Worker


def write_as_of(facts: AsOfFacts) -> dict[str, Any]:
    """The ``as_of`` member, as in every answer."""
    return AsOf.of(facts).model_dump(mode="json")


def open_webhooks(served: Service) -> Webhooks | None:
    """The webhooks of a service; None where nobody gave it a key.

    Raises:
        ConfigurationError: the key file is not what it must be.
    """
    settings = served.settings
    path = settings.webhook_keys
    if path is None:
        return None
    keys = KeyRing.read(path, make=settings.webhook_key_file is None)
    allowed = tuple(ipaddress.ip_network(each) for each in settings.webhook_networks)
    way = Way(allowed, seconds=settings.webhook_timeout)
    worker = Worker(
        Spreader(served.index, write_as_of),
        Reminders(served.index, write_as_of),
        Sending(served.index, keys, way),
        Rights(served.index, open_access(served)),
    )
    return Webhooks(Endpoints(served.index, keys, allowed), worker)


class WebhookGauges(Collector):
    """How webhooks stand, read when asked; attempts are those of this process."""

    def __init__(self, served: Service, worker: Worker) -> None:
        self._served = served
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """The values of this moment; one that cannot be had is left out."""
        attempts = CounterMetricFamily(
            "deed_webhook_attempts", "Attempts by outcome", labels=["outcome"]
        )
        counts = self._worker.counts
        for outcome in ("delivered", "refused", "failed"):
            attempts.add_metric([outcome], counts.get(outcome, 0))
        yield attempts
        with suppress(LedgerError):
            yield from self._database()

    def _database(self) -> Iterator[Metric]:
        index, made, table = self._served.index, webhook_delivery, webhook_endpoint
        with index.reading() as connection:
            counted = select(table.c.enabled, table.c.reason != "", func.count()).group_by(
                table.c.enabled, table.c.reason != ""
            )
            states = {"enabled": 0, "paused": 0, "disabled": 0}
            for enabled, reason, number in connection.execute(counted):
                state = ("paused" if reason else "enabled") if enabled else "disabled"
                states[state] += int(number)
            waiting = select(func.count(), func.min(made.c.made_at_ms)).where(
                made.c.state == WAITING
            )
            count, oldest = connection.execute(waiting).one()
            dead = connection.execute(
                select(func.count()).select_from(made).where(made.c.state == DEAD)
            ).scalar_one()
            last = index.journal.outbox.place(connection).last_seq
            place = place_of(connection, index.chain_id)
        endpoints = GaugeMetricFamily("deed_webhook_endpoints", "By state", labels=["state"])
        for state, number in states.items():
            endpoints.add_metric([state], number)
        yield endpoints
        lag = 0.0 if oldest is None else max(0.0, index.now() - oldest / 1000)
        for name, text, value in (
            ("deed_webhook_waiting", "Deliveries that wait", count),
            ("deed_webhook_dead", "Deliveries that were given up", dead),
            ("deed_webhook_oldest_waiting_seconds", "Since the oldest of those that wait", lag),
            (
                "deed_webhook_unread",
                "Outbox entries not read yet",
                last - (last if place is None else place),
            ),
        ):
            yield GaugeMetricFamily(name, text, value=value)
