"""By whose right an endpoint is sent to: paused where it is gone, sent to again where it is back.

docs/spec/webhooks.md, "Whose right it is sent by".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, select, update

from ledger.access import trail
from ledger.access.roles import ROLES, reach
from ledger.access.statements import KEY_BY_ID
from ledger.access.store import AccessStore
from ledger.access.trail import Act
from ledger.ids import Address
from ledger.index.database import writing
from ledger.index.views import Index
from ledger.index.webhook_tables import webhook_delivery, webhook_endpoint
from ledger.webhooks.keeping import WAITING

SCOPE: Final = "webhooks:write"
LOOK_SECONDS: Final = 5.0
PAUSED_SECONDS: Final = 30 * 86_400
"""After which a paused endpoint is disabled: until then all that happens waits for it."""
STALE_SECONDS: Final = 300
"""An index older than this, such as one that is made anew, may not know who has a role."""
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights by which one index's endpoints are sent to.

    Args:
        index: whose; its clock counts.
        access: keys and roles, as requests are held against them.
    """

    index: Index
    access: AccessStore

    def look(self) -> int:
        """Pause, resume and disable what has to be; how many endpoints changed.

        Raises:
            IndexUnavailable: the database does not answer.
        """
        table, now = webhook_endpoint, int(self.index.now())
        with self.index.reading() as connection:
            rows = connection.execute(
                select(
                    table.c.id, table.c.owner, table.c.via, table.c.reason, table.c.disabled_at
                ).where(table.c.chain_id == self.index.chain_id, table.c.enabled)
            ).all()
        if not rows:
            return 0
        with self.index.snapshot() as snapshot:
            told: dict[tuple[str, str], str | None] = {}
            for row in rows:
                whose = row.owner, row.via
                if whose not in told:
                    stale = snapshot.as_of.lag_s > STALE_SECONDS
                    told[whose] = self._missing(snapshot.connection, *whose, now, stale=stale)
        return sum(self._turn(row, told[row.owner, row.via], now) for row in rows)

    def _missing(
        self, connection: Connection, owner: str, via: str, now: int, *, stale: bool
    ) -> str | None:
        """What is missing, in words; empty where nothing is, None where nobody knows."""
        kind, _, name = owner.partition(":")
        roles: tuple[str, ...] = ()
        scopes: list[str] | None = None
        if via or kind == "key":
            id_ = (via or owner).removeprefix("key:")
            key = connection.execute(KEY_BY_ID, {"id": id_}).one_or_none()
            if key is None or key.revoked_at is not None:
                return f"API key {id_}, by which it was made, was revoked"
            if now >= key.expires_at:
                return f"API key {id_}, by which it was made, has expired"
            scopes = key.scopes.split()
            roles = (key.role,) if key.role in ROLES else ()
        if kind == "account":
            if stale:
                return None
            roles = self.access.roles_of(connection, Address.parse(name))
        if SCOPE in reach(scopes, roles):
            return ""
        return f"{name} has no role any more that may have webhooks"

    def _turn(self, row: Any, missing: str | None, now: int) -> bool:
        """Write down what `missing` changes, unless its owner came first."""
        values: dict[str, Any]
        long = bool(row.reason) and now - (row.disabled_at or now) >= PAUSED_SECONDS
        if missing is None or (missing == row.reason and not long):
            return False
        if not missing:
            act, values = "webhook.resumed", {"reason": "", "disabled_at": None}
        elif long:
            why = f"paused for {PAUSED_SECONDS // _DAY} days: {missing}"
            act, values = "webhook.disabled", {"enabled": False, "reason": why, "disabled_at": now}
        else:
            since = row.disabled_at if row.reason else now
            act, values = "webhook.paused", {"reason": missing, "disabled_at": since}
        table, made = webhook_endpoint, webhook_delivery
        with writing(self.index.engine) as connection:
            turned = connection.execute(
                update(table)
                .where(
                    table.c.id == row.id,
                    table.c.enabled,
                    table.c.reason == row.reason,
                    table.c.via == row.via,
                )
                .values(**values)
            )
            if turned.rowcount != 1:
                return False
            if not missing:
                connection.execute(
                    update(made)
                    .where(made.c.endpoint == row.id, made.c.state == WAITING)
                    .values(next_at_ms=now * 1000)
                )
            detail = {"reason": missing} if missing else {}
            entry = Act(trail.service_name(), act, f"webhook:{row.id}", detail=detail)
            trail.append(connection, entry, now_ms=now * 1000)
        return True
