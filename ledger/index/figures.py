"""Figures: what a licensor's licenses come to, and what the market took, owes and credited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Table, and_, case, func, or_, select

from ledger.ids import ZERO_ADDRESS, Address, LicenseId
from ledger.index import tables
from ledger.index.fold_licenses import REVOKED, SUSPENDED
from ledger.index.views import RowMap, Snapshot
from ledger.licensing.entitlement import PERPETUAL


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
    offered = (
        select(plan.c.chain_id, plan.c.plan_id)
        .distinct()
        .where(snapshot.alive(plan), plan.c.licensor == licensor)
        .subquery()
    )
    # Once in the statement: PostgreSQL takes the same words with other parameters for another one.
    sorted_out = (
        select(
            state.label("state"),
            license_.c.seats_used,
            end.label("ends"),
            (end <= at + within).label("soon"),
        )
        .select_from(license_.join(offered, license_.c.plan_id == offered.c.plan_id))
        .where(snapshot.alive(license_, chain=offered.c.chain_id))
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


def sale(snapshot: Snapshot, license_id: LicenseId) -> RowMap | None:
    """How a license was sold; None where the market did not sell it."""
    table = tables.sale
    if license_id.value >= 1 << 63:
        return None
    query = select(table).where(snapshot.alive(table), table.c.license_id == license_id.value)
    return snapshot.row(query)


def is_pay_token(snapshot: Snapshot, token: Address) -> bool:
    """Whether a plan is sold for this token; address zero is none."""
    if token == ZERO_ADDRESS:
        return False
    table = tables.plan
    query = select(table.c.plan_id).where(snapshot.alive(table), table.c.pay_token == token.raw)
    return snapshot.row(query.limit(1)) is not None


def _count(snapshot: Snapshot, table: Table, which: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(table).where(snapshot.alive(table), which)
    return int(snapshot.connection.execute(query).scalar_one())
