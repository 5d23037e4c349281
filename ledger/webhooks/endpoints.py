"""Endpoints: made, changed, given new secrets, and what became of each delivery.

Each change has its entry in the audit log, in its own transaction. To everybody but its owner an
endpoint is not there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select, update

from ledger.access import trail
from ledger.access.principals import By
from ledger.access.tokens import random_text
from ledger.access.trail import Act
from ledger.errors import RateLimited, UnknownRecord, UsageError
from ledger.index.database import reading, writing
from ledger.index.views import Index
from ledger.index.webhook_tables import webhook_delivery, webhook_endpoint, webhook_message
from ledger.remote.resolved import Network, in_networks, is_public
from ledger.remote.web import WebAddress
from ledger.webhooks.filters import TEST
from ledger.webhooks.keeping import WAITING, Addressed, begin, keep, origin_of
from ledger.webhooks.keys import KeyRing, secret_text
from ledger.webhooks.records import (
    Asked,
    Delivery,
    Endpoint,
    asked_of,
    columns,
    counts_of,
    delivery_of,
    endpoint_of,
    shown,
)

MAX_ENDPOINTS: Final = 20
"""Endpoints of one owner."""
MAX_URL: Final = 2048
MAX_TESTS: Final = 10
"""Test messages that wait for one endpoint."""
KEEP_HOURS: Final = 24
BY_OWNER: Final = "disabled by its owner"
_HOUR: Final = 3600
_UNKNOWN_HINT: Final = "GET /v1/webhooks lists the ones there are"


class Endpoints:
    """The endpoints of one index's service.

    Args:
        index: whose events; its clock counts.
        keys: what secrets are derived from.
        allowed: networks that the operator allows besides public addresses.
    """

    def __init__(self, index: Index, keys: KeyRing, allowed: Sequence[Network] = ()) -> None:
        self._index = index
        self._keys = keys
        self._allowed = allowed

    # -- what owners do ------------------------------------------------------------------------

    def create(self, by: By, owner: str, asked: Asked) -> tuple[Endpoint, str]:
        """Make an endpoint; its secret is given this once.

        Raises:
            UsageError: a URL that cannot be sent to, or more endpoints than an owner may have.
        """
        self._check(asked.url)
        id_, now = "wh_" + random_text(16), int(self._index.now())
        secret = self._keys.secret(self._keys.newest, id_, 1)
        assert secret is not None
        with writing(self._index.engine) as connection:
            since = begin(connection, self._index.chain_id)
            table = webhook_endpoint
            mine = connection.execute(
                select(func.count()).select_from(table).where(table.c.owner == owner)
            ).scalar_one()
            if mine >= MAX_ENDPOINTS:
                raise UsageError(
                    f"there are {mine} webhooks already", hint="delete one that is not used"
                )
            connection.execute(
                insert(table).values(
                    id=id_,
                    chain_id=self._index.chain_id,
                    owner=owner,
                    generation=1,
                    key_name=self._keys.newest,
                    old_key_name=None,
                    old_until=0,
                    since_seq=since,
                    created_at=now,
                    claim="",
                    claimed_until_ms=0,
                    **columns(asked, _via(by)),
                    **_ENABLED,
                )
            )
            self._record(connection, by, "webhook.created", id_, shown(asked))
            return self._endpoint(connection, owner, id_), secret_text(secret)

    def all(self, owner: str | None = None) -> list[Endpoint]:
        """An owner's endpoints, or everybody's, the oldest first."""
        table = webhook_endpoint
        query = select(table).where(table.c.chain_id == self._index.chain_id)
        if owner is not None:
            query = query.where(table.c.owner == owner)
        with reading(self._index.engine) as connection:
            rows = connection.execute(query.order_by(table.c.created_at, table.c.id)).all()
            return [endpoint_of(row, counts_of(connection, row.id)) for row in rows]

    def get(self, owner: str, id_: str) -> Endpoint:
        """One of an owner's endpoints.

        Raises:
            UnknownRecord: there is none, or it is another's. So do all that follow.
        """
        with reading(self._index.engine) as connection:
            return self._endpoint(connection, owner, id_)

    def change(
        self, by: By, owner: str, id_: str, changes: Mapping[str, Any], *, enabled: bool | None
    ) -> Endpoint:
        """Change what is given.

        Args:
            by: who does.
            owner: whose it must be.
            id_: the endpoint.
            changes: new values of `Asked`; members of `filters` one by one.
            enabled: whether it is to be sent to. One that was disabled begins anew, one that was
                paused goes on, and what waited for it is sent at once; from now on by the right of
                whoever says so.
        """
        if "url" in changes:
            self._check(changes["url"])
        table = webhook_endpoint
        with writing(self._index.engine) as connection:
            row = self._row(connection, owner, id_, lock=True)
            before = asked_of(row)
            filters = {**before.filters, **changes.get("filters", {})}
            asked = Asked(
                changes.get("url", before.url),
                filters,
                changes.get("description", before.description),
                changes.get("expiring_days", before.expiring_days),
            )
            values = columns(asked, _via(by) if enabled else row.via)
            detail = shown(asked)
            if asked.url != before.url:
                values |= {"failures": 0, "failing_since": None, "resting_until_ms": 0}
            paused = row.enabled and row.reason
            if enabled is not None and (enabled != row.enabled or paused):
                detail["enabled"] = enabled
                values |= self._turned(connection, id_) if enabled else self._off(BY_OWNER)
                if paused and enabled:
                    values["since_seq"] = row.since_seq  # what happened meanwhile waits
            connection.execute(update(table).where(table.c.id == id_).values(**values))
            self._record(connection, by, "webhook.changed", id_, detail)
            return self._endpoint(connection, owner, id_)

    def _turned(self, connection: Connection, id_: str) -> dict[str, Any]:
        """On: what waits is due now, and what happened meanwhile is not sent."""
        made = webhook_delivery
        connection.execute(
            update(made)
            .where(made.c.endpoint == id_, made.c.state == WAITING)
            .values(next_at_ms=int(self._index.now() * 1000))
        )
        return {**_ENABLED, "since_seq": begin(connection, self._index.chain_id)}

    def _off(self, reason: str) -> dict[str, Any]:
        return {"enabled": False, "disabled_at": int(self._index.now()), "reason": reason}

    def delete(self, by: By, owner: str | None, id_: str) -> None:
        """End an endpoint, an owner's or with None anybody's, and all deliveries to it."""
        with writing(self._index.engine) as connection:
            row = self._row(connection, owner, id_, lock=True)
            for table, column in (
                (webhook_delivery, webhook_delivery.c.endpoint),
                (webhook_endpoint, webhook_endpoint.c.id),
            ):
                connection.execute(delete(table).where(column == id_))
            self._record(connection, by, "webhook.deleted", id_, shown(asked_of(row)))

    def rotate(
        self, by: By, owner: str, id_: str, *, keep_hours: int = KEEP_HOURS
    ) -> tuple[Endpoint, str]:
        """Give an endpoint a new secret, shown this once; the one before signs too for a while."""
        table = webhook_endpoint
        with writing(self._index.engine) as connection:
            row = self._row(connection, owner, id_, lock=True)
            secret = self._keys.secret(self._keys.newest, id_, row.generation + 1)
            assert secret is not None
            until = int(self._index.now()) + keep_hours * _HOUR if keep_hours else 0
            connection.execute(
                update(table)
                .where(table.c.id == id_)
                .values(
                    generation=row.generation + 1,
                    key_name=self._keys.newest,
                    old_key_name=row.key_name,
                    old_until=until,
                    resting_until_ms=0,
                )
            )
            self._record(connection, by, "webhook.rotated", id_, {"keep_hours": keep_hours})
            return self._endpoint(connection, owner, id_), secret_text(secret)

    def test(self, owner: str, id_: str, as_of: dict[str, Any]) -> Delivery:
        """Send a ``webhook.test`` message; its delivery.

        Raises:
            RateLimited: as many wait as anyone needs.
        """
        now = self._index.now()
        with writing(self._index.engine) as connection:
            self._row(connection, owner, id_, lock=True)
            waiting = connection.execute(
                select(func.count())
                .select_from(webhook_delivery)
                .join(webhook_message, webhook_message.c.id == webhook_delivery.c.message)
                .where(
                    webhook_delivery.c.endpoint == id_,
                    webhook_delivery.c.state == WAITING,
                    webhook_message.c.type == TEST,
                )
            ).scalar_one()
            if waiting >= MAX_TESTS:
                raise RateLimited(f"{waiting} test messages wait already", retry_after=10.0)
            origin = origin_of(connection, self._index.chain_id)
            name = origin.id("test", nonce=random_text(22))
            message = origin.message(TEST, name, now, as_of)
            made = [Addressed(message, frozenset({id_}))]
            keep(connection, self._index.chain_id, made, int(now * 1000))
            return self._delivery(connection, id_, name)

    # -- deliveries ----------------------------------------------------------------------------

    def deliveries(
        self,
        owner: str,
        id_: str,
        *,
        state: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Delivery]:
        """What was, or is to be, sent to an endpoint, the newest first.

        Args:
            owner: whose it must be.
            id_: the endpoint.
            state: only deliveries in it.
            before: only ones with lower numbers.
            limit: deliveries at most.
        """
        table = webhook_delivery
        query = _DELIVERIES.where(table.c.endpoint == id_)
        if state is not None:
            query = query.where(table.c.state == state)
        if before is not None:
            query = query.where(table.c.number < before)
        with reading(self._index.engine) as connection:
            self._row(connection, owner, id_)
            rows = connection.execute(query.order_by(table.c.number.desc()).limit(limit))
            return [delivery_of(row) for row in rows]

    def retry(self, owner: str, id_: str, message: str) -> Delivery:
        """Send a message again now, whatever became of it, with all its attempts before it.

        Raises:
            UnknownRecord: there is no such delivery, or it is another's.
        """
        table, now_ms = webhook_delivery, int(self._index.now() * 1000)
        with writing(self._index.engine) as connection:
            self._row(connection, owner, id_)
            connection.execute(
                update(table)
                .where(table.c.endpoint == id_, table.c.message == message)
                .values(state=WAITING, attempts=0, next_at_ms=now_ms, done_at_ms=None)
            )
            connection.execute(
                update(webhook_endpoint)
                .where(webhook_endpoint.c.id == id_)
                .values(resting_until_ms=0)
            )
            return self._delivery(connection, id_, message)

    # -- pieces --------------------------------------------------------------------------------

    def _check(self, url: str) -> None:
        """Refuse what could never be sent to; where a name leads is looked at by each attempt."""
        address = WebAddress.parse(url)
        if (
            len(url) > MAX_URL
            or not url.isascii()
            or not url.isprintable()
            or " " in url
            or address is None
            or address.port == 0
        ):
            raise UsageError(f"a webhook's URL is https://HOST/…, of {MAX_URL} characters at most")
        parts, host = address.parts, address.host
        if "@" in parts.netloc or "#" in url:
            raise UsageError("a webhook's URL has no user, password or fragment")
        if parts.scheme == "http" and not self._allowed:
            raise UsageError("a webhook's URL is https", hint="http is for allowed networks only")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return
        public = is_public(host) and parts.scheme == "https"
        if not public and not in_networks(host, self._allowed):
            raise UsageError(
                "the URL leads to an address that is not public",
                hint="the operator says with DEED_API_WEBHOOK_NETWORKS which networks are meant",
            )

    def _row(
        self, connection: Connection, owner: str | None, id_: str, *, lock: bool = False
    ) -> Any:
        table = webhook_endpoint
        query = select(table).where(table.c.id == id_, table.c.chain_id == self._index.chain_id)
        if owner is not None:
            query = query.where(table.c.owner == owner)
        row = connection.execute(query.with_for_update() if lock else query).one_or_none()
        if row is None:
            raise UnknownRecord("there is no such webhook", hint=_UNKNOWN_HINT)
        return row

    def _endpoint(self, connection: Connection, owner: str, id_: str) -> Endpoint:
        return endpoint_of(self._row(connection, owner, id_), counts_of(connection, id_))

    @staticmethod
    def _delivery(connection: Connection, id_: str, message: str) -> Delivery:
        table = webhook_delivery
        row = connection.execute(
            _DELIVERIES.where(table.c.endpoint == id_, table.c.message == message)
        ).one_or_none()
        if row is None:
            raise UnknownRecord("there is no such delivery", hint="its webhook lists its own")
        return delivery_of(row)

    def _record(
        self, connection: Connection, by: By, act: str, id_: str, detail: dict[str, Any]
    ) -> None:
        entry = Act(by.actor, act, f"webhook:{id_}", by.via, request=by.request, detail=detail)
        trail.append(connection, entry, now_ms=int(self._index.now() * 1000))


def _via(by: By) -> str:
    return by.via if by.via.startswith("key:") else ""


_ENABLED: Final = {
    "enabled": True,
    "disabled_at": None,
    "reason": "",
    "failures": 0,
    "failing_since": None,
    "resting_until_ms": 0,
}
_DELIVERIES: Final = select(
    webhook_delivery, webhook_message.c.type, webhook_message.c.sequence
).join(webhook_message, webhook_message.c.id == webhook_delivery.c.message)
