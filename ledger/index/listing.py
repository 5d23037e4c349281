"""Pages of models and licenses, and models by what their claims bind.

Lists are keyset pages: `after` is the place of the last row, and each filter has an index in the
order of its list, so that a page costs what it holds, however many rows there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, Table, select, tuple_, union

from ledger.ids import Digest, LicenseId
from ledger.index import tables
from ledger.index.views import RowMap, Snapshot
from ledger.licensing.reference import reference_subject

_SERIAL_BITS = 32
_MOST_LICENSE = (1 << 63) - 1


def models(
    snapshot: Snapshot,
    *,
    licensor: bytes | None = None,
    artifact_root: bytes | None = None,
    parent: bytes | None = None,
    after: tuple[int, bytes] | None = None,
    limit: int = 50,
) -> Sequence[RowMap]:
    """Models in order of registration (block, then id)."""
    return snapshot.rows(
        models_query(
            snapshot,
            licensor=licensor,
            artifact_root=artifact_root,
            parent=parent,
            after=after,
            limit=limit,
        )
    )


def models_query(
    snapshot: Snapshot,
    *,
    licensor: bytes | None,
    artifact_root: bytes | None,
    parent: bytes | None,
    after: tuple[int, bytes] | None,
    limit: int,
) -> Select[Any]:
    """What `models` asks."""
    table = tables.model
    place = (table.c.registered_block, table.c.model_id)
    query = select(table)
    if parent is None:
        query = query.where(snapshot.alive(table))
    else:
        link = tables.parent
        child = (
            select(link.c.chain_id, link.c.model_id)
            .distinct()
            .where(snapshot.alive(link), link.c.parent == parent)
            .subquery()
        )
        query = query.join(child, table.c.model_id == child.c.model_id).where(
            snapshot.alive(table, chain=child.c.chain_id)
        )
    query = narrowed(query, table, licensor=licensor, artifact_root=artifact_root)
    if after is not None:
        query = query.where(table.c.registered_block >= after[0], tuple_(*place) > after)
    # Of a past block: later registrations end the list, whatever else they are.
    query = query.where(table.c.registered_block <= snapshot.as_of.block)
    return query.order_by(*place).limit(limit)


def claims(snapshot: Snapshot, bound: Mapping[str, Select[Any]], *, limit: int) -> Sequence[RowMap]:
    """Models any of whose columns is among the values given for it, earliest commitment first.

    Args:
        snapshot: of the index.
        bound: a query for the values of each column; its only other column is ``chain_id``.
        limit: models at most.
    """
    table, named = tables.model, tables.model.alias("named")
    # One query for each column, because each has an index of its own.
    ids = []
    for column, values in bound.items():
        value = values.distinct().subquery()
        ids.append(
            select(named.c.chain_id, named.c.model_id)
            .join(value, named.c[column] == value.c[column])
            .where(named.c.chain_id == value.c.chain_id)
        )
    found = union(*ids).subquery()
    return snapshot.rows(
        select(table)
        .join(found, table.c.model_id == found.c.model_id)
        .where(snapshot.alive(table, chain=found.c.chain_id))
        .order_by(table.c.committed_at, table.c.registered_block, table.c.model_id)
        .limit(limit)
    )


def licenses(
    snapshot: Snapshot,
    *,
    holder: bytes | None = None,
    model_id: bytes | None = None,
    plan_id: int | None = None,
    external: Digest | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Sequence[RowMap]:
    """Licenses by number; `external`: hash of the reference they were issued under."""
    return snapshot.rows(
        licenses_query(
            snapshot,
            holder=holder,
            model_id=model_id,
            plan_id=plan_id,
            external=external,
            after=after,
            limit=limit,
        )
    )


def licenses_query(
    snapshot: Snapshot,
    *,
    holder: bytes | None,
    model_id: bytes | None,
    plan_id: int | None,
    external: Digest | None,
    after: int | None,
    limit: int,
) -> Select[Any]:
    """What `licenses` asks."""
    table = tables.license_
    number = table.c.license_id
    query = select(table).where(snapshot.alive(table)).order_by(number).limit(limit)
    query = narrowed(query, table, holder=holder, model_id=model_id)
    low, high = 0 if after is None else after + 1, _MOST_LICENSE
    if plan_id is not None:
        # A plan's licenses are numbered in a row (`ledger.ids.LicenseId`).
        low = max(low, plan_id << _SERIAL_BITS)
        high = min(high, (plan_id + 1 << _SERIAL_BITS) - 1)
    if external is not None:
        query = query.where(number.in_([id_.value for id_, _ in referenced(snapshot, external)]))
    return query.where(number >= low, number <= high)


def referenced(snapshot: Snapshot, ext_hash: Digest) -> Sequence[tuple[LicenseId, RowMap]]:
    """Licenses that were issued under an external reference, with the event that says so.

    The oldest first, 500 at most. Other licensors' too: a reference is anyone's to use.
    """
    subject = reference_subject(ext_hash).raw
    rows = snapshot.events(contract="LicenseLedger", subject=subject, limit=500)
    # The first indexed argument of both events is the license.
    return [(LicenseId(int.from_bytes(row["topics"][32:64], "big")), row) for row in rows]


def narrowed(query: Select[Any], table: Table, **wanted: Any) -> Select[Any]:
    """The same of rows with these values alone, where one is given."""
    for column, value in wanted.items():
        if value is not None:
            query = query.where(table.c[column] == value)
    return query
