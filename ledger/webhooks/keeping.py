"""Messages and deliveries into the tables, each once; inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, insert, select, update

from ledger.errors import IndexUnavailable
from ledger.index import tables
from ledger.index.outbox import Outbox
from ledger.index.webhook_tables import (
    webhook_delivery,
    webhook_endpoint,
    webhook_message,
    webhook_place,
)
from ledger.webhooks.messages import Message, Origin

WAITING: Final = "waiting"
DELIVERED: Final = "delivered"
DEAD: Final = "dead"
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Addressed:
    """A message, and the endpoints that it goes to."""

    message: Message
    to: frozenset[str]


def place_of(connection: Connection, chain_id: int) -> int | None:
    """The outbox's number up to which messages were made; None before the first endpoint."""
    table = webhook_place
    found = connection.execute(
        select(table.c.after_seq).where(table.c.chain_id == chain_id)
    ).scalar_one_or_none()
    return None if found is None else int(found)


def begin(connection: Connection, chain_id: int) -> int:
    """Make the place where there is none yet; the outbox's last number."""
    last = Outbox(chain_id).place(connection).last_seq
    if place_of(connection, chain_id) is None:
        connection.execute(
            insert(webhook_place).values(
                chain_id=chain_id, after_seq=last, numbered=0, reminded_at=0
            )
        )
    return last


def origin_of(connection: Connection, chain_id: int) -> Origin:
    """The chain that messages are of.

    Raises:
        IndexUnavailable: nothing was read of it yet.
    """
    table = tables.chain
    genesis = connection.execute(
        select(table.c.genesis_hash).where(table.c.chain_id == chain_id)
    ).scalar_one_or_none()
    if genesis is None:
        raise IndexUnavailable(f"the index has read nothing of chain {chain_id} yet")
    return Origin(chain_id, bytes(genesis))


def already(connection: Connection, ids: Sequence[str]) -> set[tuple[str, str]]:
    """Which of these messages (500 at most) have a delivery: endpoint and message."""
    table = webhook_delivery
    rows = connection.execute(
        select(table.c.endpoint, table.c.message).where(table.c.message.in_(ids))
    )
    return {(row.endpoint, row.message) for row in rows}


def keep(connection: Connection, chain_id: int, made: Sequence[Addressed], now_ms: int) -> int:
    """Keep messages and what is to be delivered; what is kept already stays as it is.

    Args:
        connection: a writing transaction. The place's row serialises those who do this at once.
        chain_id: whose.
        made: in the order in which they are to be sent.
        now_ms: Unix milliseconds.

    Returns:
        How many deliveries are new.
    """
    if not made:
        return 0
    # Lock the row before anything is looked at.
    connection.execute(
        update(webhook_place)
        .where(webhook_place.c.chain_id == chain_id)
        .values(numbered=webhook_place.c.numbered)
    )
    count = 0
    for at in range(0, len(made), _AT_ONCE):
        count += _keep(connection, chain_id, made[at : at + _AT_ONCE], now_ms)
    return count


def _keep(connection: Connection, chain_id: int, made: Sequence[Addressed], now_ms: int) -> int:
    ids = [each.message.id for each in made]
    messages, deliveries = webhook_message, webhook_delivery
    held = set(connection.execute(select(messages.c.id).where(messages.c.id.in_(ids))).scalars())
    sent = already(connection, ids)
    alive = set(connection.execute(select(webhook_endpoint.c.id)).scalars())
    wanted = [
        (endpoint, each.message.id)
        for each in made
        for endpoint in sorted(each.to & alive)
        if (endpoint, each.message.id) not in sent
    ]
    if not wanted:
        return 0
    new = {id_ for _, id_ in wanted} - held
    bodies = [
        {
            "id": each.message.id,
            "chain_id": chain_id,
            "type": each.message.type,
            "sequence": each.message.sequence,
            "body": each.message.body,
            "made_at_ms": now_ms,
        }
        for each in made
        if each.message.id in new
    ]
    if bodies:
        connection.execute(insert(messages), bodies)
    place = webhook_place
    numbered = connection.execute(
        select(place.c.numbered).where(place.c.chain_id == chain_id)
    ).scalar_one()
    connection.execute(
        insert(deliveries),
        [
            {
                "endpoint": endpoint,
                "message": id_,
                "number": number,
                "state": WAITING,
                "attempts": 0,
                "next_at_ms": now_ms,
                "made_at_ms": now_ms,
                "tried_at_ms": None,
                "done_at_ms": None,
                "last_status": None,
                "trouble": "",
            }
            for number, (endpoint, id_) in enumerate(wanted, numbered + 1)
        ],
    )
    connection.execute(
        update(place).where(place.c.chain_id == chain_id).values(numbered=numbered + len(wanted))
    )
    return len(wanted)
