"""Pages of models and licenses, and models by what their claims bind.

Lists are keyset pages: `after` is the place of the last row, and each filter has an index in the
order of its list, so that a page costs what it holds, however many rows there are. Statements are
built once for each set of filters, since putting one together costs more than running it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Label,
    LargeBinary,
    Row,
    Select,
    Table,
    bindparam,
    false,
    select,
    tuple_,
    union,
)

from ledger.ids import Digest, LicenseId
from ledger.index import tables
from ledger.index.views import RowMap, Snapshot, alive
from ledger.licensing.reference import reference_subject

MODEL: Final = (
    "model_id", "licensor", "status", "artifact_root", "fingerprint_digest",
    "watermark_commitment", "manifest_hash", "registered_at", "registered_block", "registered_tx",
    "committed", "committed_at", "title_sequence", "pending_licensor", "guardian", "recovery_to",
    "recovery_ready_at", "sealing_epoch", "sealing_hash",
)  # fmt: skip
"""Columns of a model in a list. After them comes ``manifest``: the deposited one, or None."""

LICENSE: Final = (
    "license_id", "plan_id", "model_id", "holder", "status", "held", "suspended_at", "issued_at",
    "not_before", "not_after", "revoked_at", "revoked_by", "reason", "seats_used", "grant_nonce",
)  # fmt: skip
"""Columns of a license in a list."""

_CHAIN: Final = bindparam("chain_id", type_=BigInteger)
_BLOCK: Final = bindparam("block", type_=BigInteger)


def models(
    snapshot: Snapshot,
    *,
    licensor: bytes | None = None,
    artifact_root: bytes | None = None,
    parent: bytes | None = None,
    after: tuple[int, bytes] | None = None,
    limit: int = 50,
) -> Sequence[Row[Any]]:
    """Models in order of registration (block, then id): rows of `MODEL` and the manifest."""
    given = {"licensor": licensor, "artifact_root": artifact_root, "parent": parent}
    asked: dict[str, Any] = {k: value for k, value in given.items() if value is not None}
    query = _models(frozenset(asked), begun=after is not None, past=not snapshot.at_head)
    if after is not None:
        asked |= {"after": after[0], "after_id": after[1]}
    return _page(snapshot, query, asked, limit)


@functools.cache
def _models(filters: frozenset[str], *, begun: bool, past: bool) -> Select[Any]:
    table, document = tables.model, tables.document
    place = (table.c.registered_block, table.c.model_id)
    block = _BLOCK if past else None
    manifest: Label[Any] = (
        select(document.c.body)
        .where(document.c.kind == "manifest", document.c.hash == table.c.manifest_hash)
        .scalar_subquery()
        .label("manifest")
    )
    query: Select[Any] = select(*(table.c[name] for name in MODEL), manifest)
    if "parent" in filters:
        link = tables.parent
        child = (
            select(link.c.chain_id, link.c.model_id)
            .distinct()
            .where(alive(link, _CHAIN, block), link.c.parent == bindparam("parent"))
            .subquery()
        )
        query = query.join(child, table.c.model_id == child.c.model_id)
        query = query.where(alive(table, child.c.chain_id, block))
    else:
        query = query.where(alive(table, _CHAIN, block))
    for name in filters - {"parent"}:
        query = query.where(table.c[name] == bindparam(name))
    if past and "parent" not in filters:
        # Later registrations end the list, whatever else they are.
        query = query.where(table.c.registered_block <= _BLOCK)
    if begun:
        after = (
            bindparam("after", type_=BigInteger),
            bindparam("after_id", type_=LargeBinary),
        )
        query = query.where(table.c.registered_block >= after[0], tuple_(*place) > tuple_(*after))
    return query.order_by(*place).limit(bindparam("limit"))


def licenses(
    snapshot: Snapshot,
    *,
    holder: bytes | None = None,
    model_id: bytes | None = None,
    plan_id: int | None = None,
    external: Digest | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Sequence[Row[Any]]:
    """Licenses by number: rows of `LICENSE`. `external`: hash of the reference they go by."""
    given = {"holder": holder, "model_id": model_id, "plan_id": plan_id, "after": after}
    asked: dict[str, Any] = {k: value for k, value in given.items() if value is not None}
    query = _licenses(frozenset(asked), past=not snapshot.at_head)
    if external is not None:
        named = {id_.value for id_, _ in referenced(snapshot, external)}
        query = query.where(tables.license_.c.license_id.in_(named) if named else false())
    return _page(snapshot, query, asked, limit)


@functools.cache
def _licenses(filters: frozenset[str], *, past: bool) -> Select[Any]:
    table = tables.license_
    query = select(*(table.c[name] for name in LICENSE)).where(
        alive(table, _CHAIN, _BLOCK if past else None)
    )
    for name in filters - {"after"}:
        query = query.where(table.c[name] == bindparam(name))
    if "after" in filters:
        query = query.where(table.c.license_id > bindparam("after"))
    return query.order_by(table.c.license_id).limit(bindparam("limit"))


def _page(
    snapshot: Snapshot, query: Select[Any], asked: dict[str, Any], limit: int
) -> Sequence[Row[Any]]:
    asked |= {"chain_id": snapshot.chain_id, "limit": limit}
    if not snapshot.at_head:
        asked["block"] = snapshot.as_of.block
    return snapshot.connection.execute(query, asked).all()


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
            # So that it stays a table of its own, which leads to the rows.
            .distinct()
        )
    found = union(*ids).subquery()
    return snapshot.rows(
        select(table)
        .join(found, table.c.model_id == found.c.model_id)
        .where(snapshot.alive(table, chain=found.c.chain_id))
        .order_by(table.c.committed_at, table.c.registered_block, table.c.model_id)
        .limit(limit)
    )


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
