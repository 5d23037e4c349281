"""What else the index answers: plans, lineage, anchors, brokers, batches.

All functions read one `Snapshot`. Lists are keyset pages: `after` is the place of the last row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import and_, func, select, tuple_

from ledger.errors import UnknownRecord
from ledger.ids import Digest, ModelId
from ledger.index import tables
from ledger.index.chronicle import Place
from ledger.index.decode import decode
from ledger.index.journal import topics_of
from ledger.index.listing import narrowed
from ledger.index.views import RowMap, Snapshot

MAX_LINEAGE: Final = 500
"""Models in one answer about lineage."""

Direction = Literal["ancestors", "descendants", "both"]


# -- lists -----------------------------------------------------------------------------------------


def plans(
    snapshot: Snapshot,
    *,
    licensor: bytes | None = None,
    model_id: bytes | None = None,
    after: int = 0,
    limit: int = 50,
) -> Sequence[RowMap]:
    """Plans by number, optionally of one licensor or model."""
    table = tables.plan
    query = select(table).where(snapshot.alive(table), table.c.plan_id > after)
    query = narrowed(query, table, licensor=licensor, model_id=model_id)
    return snapshot.rows(query.order_by(table.c.plan_id).limit(limit))


def roles(snapshot: Snapshot, plan: RowMap) -> Sequence[RowMap]:
    """Accounts with roles on a plan that still hold, by account."""
    table = tables.role
    return snapshot.rows(
        select(table)
        .where(
            snapshot.alive(table),
            table.c.plan_id == plan["plan_id"],
            # A title that moved makes an end of the roles that its last holder gave.
            table.c.role_epoch == plan["role_epoch"],
            table.c.roles != 0,
        )
        .order_by(table.c.account)
    )


def anchors(
    snapshot: Snapshot,
    *,
    sender: bytes | None = None,
    first: int = 0,
    last: int | None = None,
    after: tuple[int, bytes] | None = None,
    limit: int = 50,
) -> Sequence[RowMap]:
    """Anchored roots by time, then root; `first` and `last` bound the Unix time, both included."""
    table = tables.anchor
    place = (table.c.anchored_at, table.c.root)
    query = select(table).where(snapshot.alive(table), table.c.anchored_at >= first)
    query = narrowed(query, table, sender=sender)
    if last is not None:
        query = query.where(table.c.anchored_at <= last)
    if after is not None:
        query = query.where(tuple_(*place) > after)
    return snapshot.rows(query.order_by(*place).limit(limit))


def anchor(snapshot: Snapshot, root: Digest) -> RowMap:
    """One anchored root.

    Raises:
        UnknownRecord: it was never anchored, as far as the index has read.
    """
    table = tables.anchor
    row = snapshot.row(select(table).where(snapshot.alive(table), table.c.root == root.raw))
    if row is None:
        raise UnknownRecord(
            f"no root {root} is anchored as of block {snapshot.as_of.block}",
            hint="a leaf of a batch is not a root: ask for the root it was anchored under",
        )
    return row


def brokers(snapshot: Snapshot, *, after: int = 0, limit: int = 50) -> Sequence[RowMap]:
    """Registered key brokers by number."""
    table = tables.broker
    return snapshot.rows(
        select(table)
        .where(snapshot.alive(table), table.c.broker_id > after)
        .order_by(table.c.broker_id)
        .limit(limit)
    )


def broker(snapshot: Snapshot, number: int) -> RowMap:
    """One registered key broker.

    Raises:
        UnknownRecord: there is none of that number, as far as the index has read.
    """
    table = tables.broker
    row = snapshot.row(select(table).where(snapshot.alive(table), table.c.broker_id == number))
    if row is None:
        raise UnknownRecord(
            f"there is no broker {number} as of block {snapshot.as_of.block}",
            hint="/v1/brokers lists those that are registered",
        )
    return row


def receipts(
    snapshot: Snapshot, broker: int, *, after: int = 0, limit: int = 50
) -> Sequence[RowMap]:
    """Roots under which a broker anchored its receipts, by sequence."""
    table = tables.receipt_root
    return snapshot.rows(
        select(table)
        .where(snapshot.alive(table), table.c.broker_id == broker, table.c.seq > after)
        .order_by(table.c.seq)
        .limit(limit)
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Licenses that were anchored as one root and are claimed one by one (docs/spec/batch.md).

    Attributes:
        closes_at: Unix time from which nothing more can be claimed; None while it is open.
        anchored: the journal entry.
    """

    root: bytes
    plan_id: int
    by: bytes
    first_serial: int
    count: int
    closes_at: int | None
    anchored: RowMap


def batches(
    snapshot: Snapshot,
    *,
    model_id: bytes | None = None,
    after: Place | None = None,
    limit: int = 50,
) -> Sequence[Batch]:
    """Batches in the order in which they were anchored, optionally of one model."""
    rows = snapshot.events(
        contract="LicenseLedger", name="BatchAnchored", subject=model_id, after=after, limit=limit
    )
    closed: dict[tuple[int, bytes], int] = {}
    for row in _closings(snapshot, {_values(row)["root"].raw for row in rows}):
        values = _values(row)
        # The last word counts, as in the contract.
        closed[values["planId"], values["root"].raw] = values["closesAt"]
    found = []
    for row in rows:
        values = _values(row)
        plan, root = values["planId"], values["root"].raw
        found.append(
            Batch(
                root,
                plan,
                values["by"].raw,
                values["firstSerial"],
                values["count"],
                closed.get((plan, root)),
                row,
            )
        )
    return found


def _closings(snapshot: Snapshot, roots: set[bytes]) -> Sequence[RowMap]:
    """What closed these batches, in chain order. It is filed under their roots."""
    link, log = tables.log_subject, tables.raw_log
    places = (
        select(link.c.chain_id, link.c.block, link.c.log_index)
        .distinct()
        .where(
            link.c.chain_id == snapshot.chain_id,
            link.c.subject.in_(sorted(roots)),
            link.c.block <= snapshot.as_of.block,
        )
        .subquery()
    )
    return snapshot.rows(
        select(log)
        .join(
            places,
            and_(
                log.c.chain_id == places.c.chain_id,
                log.c.block == places.c.block,
                log.c.log_index == places.c.log_index,
            ),
        )
        .where(func.coalesce(log.c.event, "") == "BatchClosed")
        .order_by(places.c.block, places.c.log_index)
    )


def _values(row: RowMap) -> Mapping[str, Any]:
    event = decode(row["contract"], topics_of(row["topics"]), row["data"])
    assert event is not None, "the journal holds what the follower could read"
    return event.values


# -- lineage ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lineage:
    """Declared descent around one model.

    Attributes:
        models: those registered, by id; a declared parent need not be.
        edges: rows of `tables.parent`, of models whose both ends were looked at.
        complete: whether nothing was left out for `MAX_LINEAGE` or the depth.
    """

    models: Mapping[bytes, RowMap]
    edges: Sequence[RowMap]
    complete: bool


def lineage(
    snapshot: Snapshot, model_id: ModelId, *, direction: Direction = "both", depth: int = 10
) -> Lineage:
    """Ancestors and descendants of a model by declared parents, nearest first.

    Raises:
        UnknownRecord: the model is not registered.
    """
    snapshot.model(model_id)
    edges: dict[tuple[bytes, bytes], RowMap] = {}
    seen, complete = {model_id.raw}, True
    ways = ("ancestors", "descendants") if direction == "both" else (direction,)
    for way in ways:
        here, there = ("model_id", "parent") if way == "ancestors" else ("parent", "model_id")
        edge = {model_id.raw}
        for _ in range(depth):
            rows = _links(snapshot, here, edge)
            edges.update({(bytes(r["model_id"]), bytes(r["parent"])): r for r in rows})
            edge = {bytes(row[there]) for row in rows} - seen
            room = MAX_LINEAGE - len(seen)
            if len(edge) > room:
                edge, complete = set(sorted(edge)[:room]), False
            seen |= edge
            if not edge:
                break
        complete = complete and not (edge and _links(snapshot, here, edge))
    table = tables.model
    models = {
        bytes(row["model_id"]): row
        for part in _parts(seen)
        for row in snapshot.rows(
            select(table).where(snapshot.alive(table), table.c.model_id.in_(part))
        )
    }
    kept = [row for ends, row in sorted(edges.items()) if seen.issuperset(ends)]
    return Lineage(models, kept, complete)


def _links(snapshot: Snapshot, column: str, ids: Iterable[bytes]) -> list[RowMap]:
    table = tables.parent
    alive = snapshot.alive(table, led=column == "parent")
    return [
        row
        for part in _parts(ids)
        for row in snapshot.rows(
            select(table)
            .where(alive, table.c[column].in_(part))
            .order_by(table.c.model_id, table.c.parent)
            .limit(MAX_LINEAGE + 1)
        )
    ]


def _parts(ids: Iterable[bytes], size: int = 250) -> Iterable[list[bytes]]:
    ordered = sorted(ids)
    return (ordered[i : i + size] for i in range(0, len(ordered), size))
