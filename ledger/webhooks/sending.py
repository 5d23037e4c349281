"""Sends what is due: one process holds an endpoint's claim, and one message is under way to it.

The claim outlasts an attempt by a little. Whoever records a result must still hold it; a process
that was killed leaves it to run out, and the message is sent again under the same id.
"""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select, update

from ledger.index.database import reading, writing
from ledger.index.views import Index
from ledger.index.webhook_tables import webhook_delivery, webhook_endpoint, webhook_message
from ledger.remote.posting import Sent, Way, post, signed_headers
from ledger.webhooks.keeping import DEAD, DELIVERED, WAITING
from ledger.webhooks.keys import KeyRing

PAUSES: Final = (5, 30, 120, 600, 1800, *(3600,) * 48)
"""Seconds before each further attempt; after the last one the message is dead, and kept. Never over
an hour, since who comes back after an outage is found by the next attempt and nothing else."""

JITTER: Final = 0.2
"""A pause is longer by up to this part, so that what failed together does not come together."""

REST_SECONDS: Final = 300
"""The longest that a failing receiver is left alone without asking for it."""

RESTORED_AFTER: Final = 3
"""Failures in a row, after which a message that is taken ends an outage."""

DISABLED_AFTER: Final = 5 * 86_400
"""Seconds of taking nothing, after which an endpoint is disabled."""

GONE: Final = 410
KEYLESS: Final = "the key that its secret comes from is not here: rotate it"
SLACK_SECONDS: Final = 5.0
"""By which a claim outlasts an attempt."""
_AT_A_TIME: Final = 16
# An enabled one with a reason is paused.
_SENT_TO: Final = (webhook_endpoint.c.enabled, webhook_endpoint.c.reason == "")
_TROUBLE: Final = 200


@dataclass(frozen=True, slots=True)
class Due:
    """A message to be sent, and what is needed for it."""

    endpoint: str
    message: str
    url: str
    body: bytes
    attempts: int
    secrets: tuple[bytes, ...]


Post = Callable[[Mapping[str, str]], Awaitable[Sent]]
"""Sends one message, with further headers."""


async def alone(send: Post) -> Sent:
    """An attempt with nothing around it."""
    return await send({})


class Sending:
    """Claims, attempts and their results, for one process. All but `attempt` work on the database.

    Args:
        index: whose messages; its clock counts.
        keys: what secrets are derived from.
        way: how messages get out.
        chance: from 0 up to 1, at random.
    """

    def __init__(
        self,
        index: Index,
        keys: KeyRing,
        way: Way,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._index = index
        self._keys = keys
        self._way = way
        self._chance = chance
        self._claim = secrets.token_hex(12)
        self._lease_ms = int((way.seconds + SLACK_SECONDS) * 1000)
        self.counts: Counter[str] = Counter()
        """Attempts by outcome: delivered, refused (an answer that is no 2xx), failed (none)."""
        self.around: Callable[[Post], Awaitable[Sent]] = alone
        """What each attempt is made within, such as a span, which names itself in a header."""

    def _now_ms(self) -> int:
        return int(self._index.now() * 1000)

    def claim(self, free: int = _AT_A_TIME) -> list[str]:
        """Claim endpoints for which something is due, fairly among their owners; their ids.

        Args:
            free: places that are left. An owner whose endpoints hold as many as then remain gets no
                further one, so that some are left for whoever comes next: one owner alone has half
                of them, two have two thirds.

        Raises:
            IndexUnavailable: the database does not answer.
        """
        now, table, made = self._now_ms(), webhook_endpoint, webhook_delivery
        due = (
            table.c.chain_id == self._index.chain_id,
            *_SENT_TO,
            table.c.claimed_until_ms <= now,
            table.c.resting_until_ms <= now,
            exists().where(
                made.c.endpoint == table.c.id,
                made.c.state == WAITING,
                made.c.next_at_ms <= now,
            ),
        )
        # Most looks find nothing, and need not lock anything.
        with reading(self._index.engine) as connection:
            chosen = self._fair(connection, due, now, free)
        if not chosen:
            return []
        with writing(self._index.engine, durable=False) as connection:
            # On PostgreSQL others pass over rows that this transaction holds; on SQLite there is
            # one writer.
            found = set(
                connection.execute(
                    select(table.c.id)
                    .where(table.c.id.in_(chosen), *due)
                    .with_for_update(skip_locked=True, of=table)
                ).scalars()
            )
            connection.execute(
                update(table)
                .where(table.c.id.in_(found))
                .values(claim=self._claim, claimed_until_ms=now + self._lease_ms)
            )
        return [each for each in chosen if each in found]

    def _fair(
        self, connection: Connection, due: Sequence[ColumnElement[bool]], now: int, free: int
    ) -> list[str]:
        """Of endpoints with something due, those whose turn it is.

        First come owners who hold the fewest places, and of these who was served the longest ago:
        `resting_until_ms` is when an endpoint's rest ends or, where it took the last message, then.
        """
        table, other = webhook_endpoint, webhook_endpoint.alias()
        held = (
            select(func.count())
            .where(
                other.c.owner == table.c.owner,
                other.c.claim == self._claim,
                other.c.claimed_until_ms > now,
            )
            .scalar_subquery()
        )
        served = (
            select(func.max(other.c.resting_until_ms))
            .where(other.c.owner == table.c.owner, other.c.resting_until_ms <= now)
            .scalar_subquery()
        )
        place = func.row_number().over(
            partition_by=table.c.owner, order_by=(table.c.resting_until_ms, table.c.id)
        )
        found = select(
            table.c.id,
            (place + held).label("place"),
            served.label("served"),
            table.c.resting_until_ms,
        ).where(*due)
        ranked = found.subquery()
        rows = connection.execute(
            select(ranked.c.id, ranked.c.place)
            .order_by(ranked.c.place, ranked.c.served, ranked.c.resting_until_ms, ranked.c.id)
            .limit(free)
        )
        chosen: list[str] = []
        for id_, number in rows:
            if number > free - len(chosen):
                break  # nor anyone after it, who holds as many
            chosen.append(id_)
        return chosen

    def next(self, endpoint: str) -> Due | None:
        """What is due for an endpoint that this process has claimed; None when it is done with."""
        now, made, kept, table = (
            self._now_ms(),
            webhook_delivery,
            webhook_message,
            webhook_endpoint,
        )
        with reading(self._index.engine) as connection:
            row = connection.execute(
                select(table, made.c.message, made.c.attempts, kept.c.body)
                .join(made, made.c.endpoint == table.c.id)
                .join(kept, kept.c.id == made.c.message)
                .where(
                    table.c.id == endpoint,
                    table.c.claim == self._claim,
                    *_SENT_TO,
                    table.c.resting_until_ms <= now,
                    made.c.state == WAITING,
                    made.c.next_at_ms <= now,
                )
                .order_by(made.c.number)
                .limit(1)
            ).one_or_none()
        if row is None:
            return None
        body = row.body.encode()
        return Due(endpoint, row.message, row.url, body, row.attempts, self._secrets(row))

    def _secrets(self, row: Any) -> tuple[bytes, ...]:
        """The secrets that sign now; none where the one that must is not to be had."""
        new = self._keys.secret(row.key_name, row.id, row.generation)
        if new is None:
            return ()
        if row.old_key_name is None or self._index.now() >= row.old_until:
            return (new,)
        old = self._keys.secret(row.old_key_name, row.id, row.generation - 1)
        return (new,) if old is None else (new, old)

    async def attempt(self, due: Due) -> Sent:
        """Send once. Without its secret nothing is sent."""
        if not due.secrets:
            return Sent(None, KEYLESS)
        stamp = int(self._index.now())
        headers = signed_headers(due.secrets, due.message, stamp, due.body)

        async def send(more: Mapping[str, str]) -> Sent:
            return await post(due.url, due.body, {**more, **headers}, self._way)

        return await self.around(send)

    def record(self, due: Due, sent: Sent) -> bool:
        """Write down what came of an attempt; whether this process still holds the claim.

        Raises:
            IndexUnavailable: the database does not answer; the message will be sent again.
        """
        now, table = self._now_ms(), webhook_endpoint
        taken = not sent.trouble
        outcome = "delivered" if taken else "refused" if sent.status is not None else "failed"
        self.counts[outcome] += 1
        with writing(self._index.engine) as connection:
            row = connection.execute(
                select(table)
                .where(table.c.id == due.endpoint, table.c.claim == self._claim)
                .with_for_update()
            ).one_or_none()
            if row is None:
                return False  # deleted, or claimed by another since
            if taken:
                values = self._taken(connection, due, sent, row, now)
            else:
                values = self._refused(connection, due, sent, row, now)
            connection.execute(
                update(table)
                .where(table.c.id == due.endpoint)
                .values(claimed_until_ms=now + self._lease_ms, **values)
            )
        return True

    def _taken(
        self, connection: Connection, due: Due, sent: Sent, row: Any, now: int
    ) -> dict[str, Any]:
        made = webhook_delivery
        self._set(
            connection, due, state=DELIVERED, attempts=due.attempts + 1, tried_at_ms=now,
            done_at_ms=now, last_status=sent.status, trouble="",
        )  # fmt: skip
        if row.failures >= RESTORED_AFTER:
            connection.execute(
                update(made)
                .where(made.c.endpoint == due.endpoint, made.c.state == WAITING)
                .values(next_at_ms=now)
            )
        return {"failures": 0, "failing_since": None, "resting_until_ms": now}

    def _refused(
        self, connection: Connection, due: Due, sent: Sent, row: Any, now: int
    ) -> dict[str, Any]:
        gone, keyless = sent.status == GONE, not due.secrets
        attempts = due.attempts + (0 if keyless else 1)
        dead = gone or attempts > len(PAUSES)
        asked = sent.retry_after or 0.0
        pause = max(asked, self._pause(attempts))
        self._set(
            connection, due, state=DEAD if dead else WAITING, attempts=attempts, tried_at_ms=now,
            done_at_ms=now if dead else None, next_at_ms=now + int(pause * 1000),
            last_status=sent.status, trouble=sent.trouble[:_TROUBLE],
        )  # fmt: skip
        failures = row.failures + 1
        rest = max(asked, min(self._pause(failures), REST_SECONDS))
        values: dict[str, Any] = {
            "failures": failures,
            "failing_since": row.failing_since or now // 1000,
            "resting_until_ms": now + int(rest * 1000),
        }
        since = now // 1000 - values["failing_since"]
        if gone or since >= DISABLED_AFTER:
            why = "it answered 410: gone" if gone else f"it took nothing for {since // 86_400} days"
            values |= {"enabled": False, "disabled_at": now // 1000, "reason": why}
        return values

    def _pause(self, attempts: int) -> float:
        pause = PAUSES[min(max(attempts, 1), len(PAUSES)) - 1]
        return pause * (1 + JITTER * self._chance())

    @staticmethod
    def _set(connection: Connection, due: Due, **values: Any) -> None:
        made = webhook_delivery
        connection.execute(
            update(made)
            .where(made.c.endpoint == due.endpoint, made.c.message == due.message)
            .values(**values)
        )

    def release(self, endpoint: str) -> None:
        """Give a claim back, where this process still holds it."""
        table = webhook_endpoint
        with writing(self._index.engine, durable=False) as connection:
            connection.execute(
                update(table)
                .where(and_(table.c.id == endpoint, table.c.claim == self._claim))
                .values(claim="", claimed_until_ms=0)
            )
