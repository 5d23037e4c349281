"""What else the index answers: plans, titles' lists, lineage, anchors, brokers, batches, figures.

All functions read one `Snapshot`. Lists are keyset pages: `after` is the place of the last row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Select, Table, and_, case, func, or_, select, tuple_

from ledger.errors import UnknownRecord
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, LicenseId, ModelId
from ledger.index import tables
from ledger.index.decode import decode
from ledger.index.fold_licenses import REVOKED, SUSPENDED
from ledger.index.journal import topics_of
from ledger.index.views import Place, RowMap, Snapshot
from ledger.licensing.entitlement import PERPETUAL

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
    query = _narrowed(query, table, licensor=licensor, model_id=model_id)
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
    query = _narrowed(query, table, sender=sender)
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
    first = rows[0]["block"] if rows else 0
    for row in snapshot.every_event("LicenseLedger", "BatchClosed", subject=model_id, first=first):
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


def _values(row: RowMap) -> Mapping[str, Any]:
    event = decode(row["contract"], topics_of(row["topics"]), row["data"])
    assert event is not None, "the journal holds what the follower could read"
    return event.values


def _narrowed(query: Select[Any], table: Table, **wanted: Any) -> Select[Any]:
    for column, value in wanted.items():
        if value is not None:
            query = query.where(table.c[column] == value)
    return query


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
    return [
        row
        for part in _parts(ids)
        for row in snapshot.rows(
            select(table)
            .where(snapshot.alive(table), table.c[column].in_(part))
            .order_by(table.c.model_id, table.c.parent)
            .limit(MAX_LINEAGE + 1)
        )
    ]


def _parts(ids: Iterable[bytes], size: int = 250) -> Iterable[list[bytes]]:
    ordered = sorted(ids)
    return (ordered[i : i + size] for i in range(0, len(ordered), size))


# -- figures ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figures:
    """A licensor's figures at one moment. Every license is counted in exactly one of the last six.

    Attributes:
        models, plans: that the account holds.
        issued: licenses ever issued under those plans.
        seats: runtimes bound to licenses of these plans.
        expiring: of `active`, those that end within the time asked about.
        next_end: when the first of `active` ends; None where none does.
        active: usable now.
        upcoming: not begun yet.
        noticed: revoked with notice, and usable until its end.
        suspended: not usable until reinstated.
        expired: ended.
        revoked: ended by the licensor.
    """

    models: int
    plans: int
    issued: int
    seats: int
    expiring: int
    next_end: int | None
    active: int
    upcoming: int
    noticed: int
    suspended: int
    expired: int
    revoked: int


def figures(snapshot: Snapshot, licensor: bytes, *, at: int, within: int) -> Figures:
    """Count a licensor's models, plans and licenses, by the rules of `licensing.entitlement`.

    Args:
        snapshot: at which block.
        licensor: whose.
        at: the moment, Unix seconds.
        within: how many seconds after it count as soon.
    """
    model, plan, license_ = tables.model, tables.plan, tables.license_
    end, revoked = license_.c.not_after, license_.c.status == REVOKED
    state = case(
        (and_(end <= at, revoked), "revoked"),
        (end <= at, "expired"),
        (or_(license_.c.status == SUSPENDED, license_.c.suspended_at != 0), "suspended"),
        (license_.c.not_before > at, "upcoming"),
        (revoked, "noticed"),
        else_="active",
    )
    # Once in the statement: PostgreSQL takes the same words with other parameters for another one.
    sorted_out = (
        select(
            state.label("state"),
            license_.c.seats_used,
            end.label("ends"),
            (end <= at + within).label("soon"),
        )
        .select_from(license_.join(plan, license_.c.plan_id == plan.c.plan_id))
        .where(snapshot.alive(plan), plan.c.licensor == licensor, snapshot.alive(license_))
        .subquery()
    )
    counted = snapshot.rows(
        select(
            sorted_out.c.state,
            func.count().label("count"),
            func.sum(case((sorted_out.c.soon, 1), else_=0)).label("soon"),
            func.min(sorted_out.c.ends).label("next_end"),
            func.sum(sorted_out.c.seats_used).label("seats"),
        ).group_by(sorted_out.c.state)
    )
    by_state = {row["state"]: row for row in counted}

    def of(name: str, column: str = "count") -> int:
        return int(by_state[name][column]) if name in by_state else 0

    next_end = of("active", "next_end")
    return Figures(
        models=_count(snapshot, model, model.c.licensor == licensor),
        plans=_count(snapshot, plan, plan.c.licensor == licensor),
        issued=sum(of(name) for name in by_state),
        seats=sum(of(name, "seats") for name in by_state),
        expiring=of("active", "soon"),
        next_end=next_end if 0 < next_end < PERPETUAL else None,
        active=of("active"),
        upcoming=of("upcoming"),
        noticed=of("noticed"),
        suspended=of("suspended"),
        expired=of("expired"),
        revoked=of("revoked"),
    )


def revenue(snapshot: Snapshot, licensor: bytes) -> Sequence[RowMap]:
    """What the market's sales of a licensor's plans took and gave back, by token.

    Whoever was the licensor when a sale was made: it stays with them when a title moves.
    """
    table = tables.revenue
    query = select(table).where(snapshot.alive(table), table.c.licensor == licensor)
    return snapshot.rows(query.order_by(table.c.pay_token))


def owed(snapshot: Snapshot, account: bytes) -> Sequence[RowMap]:
    """What the market credited to an account, as licensor, payee or by a refund, by token."""
    table = tables.owed
    query = select(table).where(snapshot.alive(table), table.c.account == account)
    return snapshot.rows(query.order_by(table.c.pay_token))


def royalties(snapshot: Snapshot, model_id: bytes) -> Sequence[RowMap]:
    """What the market credited to a model, as a parent of one that was sold, by token."""
    table = tables.royalty
    query = select(table).where(snapshot.alive(table), table.c.model_id == model_id)
    return snapshot.rows(query.order_by(table.c.pay_token))


def is_pay_token(snapshot: Snapshot, token: Address) -> bool:
    """Whether a plan is sold for this token; address zero is none."""
    if token == ZERO_ADDRESS:
        return False
    table = tables.plan
    query = select(table.c.plan_id).where(snapshot.alive(table), table.c.pay_token == token.raw)
    return snapshot.row(query.limit(1)) is not None


def sale(snapshot: Snapshot, license_id: LicenseId) -> RowMap | None:
    """How a license was sold; None where the market did not sell it."""
    table = tables.sale
    if license_id.value >= 1 << 63:
        return None
    query = select(table).where(snapshot.alive(table), table.c.license_id == license_id.value)
    return snapshot.row(query)


def _count(snapshot: Snapshot, table: Table, which: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(table).where(snapshot.alive(table), which)
    return int(snapshot.connection.execute(query).scalar_one())


# -- anything --------------------------------------------------------------------------------------

MAX_HITS: Final = 50
"""Of each kind."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that a searched word names.

    Attributes:
        kind: what it is: model, plan, license, anchor, broker or event.
        by: the column that holds the word.
        name: what to ask for next: a model id, a plan's number, PLAN.SERIAL, a root, a broker's
            number, or the place of an event (block-index).
        block: where it was last changed, or happened.
    """

    kind: str
    by: str
    name: str
    block: int


def find_digest(snapshot: Snapshot, digest: Digest) -> list[Hit]:
    """Whatever carries this 32-byte value: model ids, roots, document hashes, transactions."""
    if digest == ZERO_DIGEST:
        return []
    model, log = tables.model, tables.raw_log
    hits = [
        hit
        for table, kind, column in (
            *((model, "model", name) for name in _MODEL_DIGESTS),
            (tables.record, "model", "record_hash"),
            (tables.sealing, "model", "record_hash"),
            (tables.plan, "plan", "plan_digest"),
            (tables.plan, "plan", "terms_hash"),
            (tables.anchor, "anchor", "root"),
        )
        for hit in _hits(snapshot, kind, table, column, digest.raw)
    ]
    rows = snapshot.rows(
        select(log)
        .where(
            log.c.tx_hash == digest.raw,
            log.c.chain_id == snapshot.chain_id,
            log.c.block <= snapshot.as_of.block,
        )
        .order_by(log.c.block, log.c.log_index)
        .limit(MAX_HITS)
    )
    return [*hits, *(_event_hit(row, "tx_hash") for row in rows)]


def find_account(snapshot: Snapshot, account: bytes) -> list[Hit]:
    """What an account holds, anchored or runs: models, plans, licenses, anchors, brokers."""
    return [
        hit
        for table, kind, column in (
            (tables.model, "model", "licensor"),
            (tables.plan, "plan", "licensor"),
            (tables.license_, "license", "holder"),
            (tables.anchor, "anchor", "sender"),
            (tables.broker, "broker", "operator"),
        )
        for hit in _hits(snapshot, kind, table, column, account)
    ]


def find_time(snapshot: Snapshot, first: int, last: int) -> list[Hit]:
    """What was registered, anchored, offered or issued from `first` to `last`, Unix seconds."""
    low, high = snapshot.block_at(first - 1), snapshot.block_at(last)
    return [
        _event_hit(row, "block_time")
        for name in ("ModelRegistered", "RootAnchored", "PlanCreated", "LicenseIssued")
        for row in snapshot.events(name=name, first=low + 1, last=high, limit=MAX_HITS)
    ]


_MODEL_DIGESTS: Final = (
    "model_id",
    "artifact_root",
    "fingerprint_digest",
    "watermark_commitment",
    "manifest_hash",
)
_NAMED_BY: Final = {
    "model": "model_id",
    "plan": "plan_id",
    "license": "license_id",
    "anchor": "root",
    "broker": "broker_id",
}


def _hits(snapshot: Snapshot, kind: str, table: Table, column: str, value: bytes) -> Iterable[Hit]:
    keys = (table.c[key] for key in tables.state_keys(table))
    query = (
        select(table)
        .where(snapshot.alive(table), table.c[column] == value)
        .order_by(*keys)
        .limit(MAX_HITS)
    )
    for row in snapshot.rows(query):
        named = row[_NAMED_BY[kind]]
        if isinstance(named, bytes):
            named = Digest(named)
        elif kind == "license":
            named = LicenseId(named)
        yield Hit(kind, column, str(named), row["born_block"])


def _event_hit(row: RowMap, by: str) -> Hit:
    return Hit("event", by, f"{row['block']}-{row['log_index']}", row["block"])
