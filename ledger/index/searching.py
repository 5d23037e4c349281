"""Search by many tensor ids at once: which registered models hold them, by hash alone.

A content id is bound by the artifact root and a value id by the fingerprint digest of a claim, so
what was deposited for one model counts for every claim that binds the same. The id of a cast is
bound by nothing that the chain holds. It counts for the model alone that it was deposited for, and
stays the word of whoever deposited it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Select, Subquery, literal, select

from ledger.claim import commitment_leaf
from ledger.fingerprint.search import IdKind
from ledger.ids import Digest, ModelId
from ledger.index import tables
from ledger.index.listing import claims
from ledger.index.views import RowMap, Snapshot

BINDS: Final[Mapping[str, str]] = {
    "cid": "artifact_root",
    "vid": "fingerprint_digest",
    "cast": "model_id",
}
"""The column of a model that a leaf of this kind belongs to."""
MAX_MODELS: Final = 50


@dataclass(frozen=True, slots=True)
class Holding:
    """A registered model and the ids asked for that it holds, by kind, each list sorted.

    Attributes:
        place: block and transaction of its commitment, which tell what came first within a second;
            None where the commitment's anchor cannot be told from the chain alone.
    """

    model: RowMap
    ids: Mapping[IdKind, tuple[Digest, ...]]
    place: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Holdings:
    """The earliest models that hold any of them, and whether there are more."""

    found: tuple[Holding, ...]
    more: bool


def bound_by(snapshot: Snapshot, kind: str, ids: Iterable[bytes]) -> Select[Any]:
    """What claims are bound by that hold one of these ids, and the chain."""
    deposited = tables.model.alias("deposited")
    leaf = _leaves(snapshot, kind, ids, tables.leaf.c.model_id)
    return (
        select(deposited.c.chain_id, deposited.c[BINDS[kind]])
        .join(leaf, leaf.c.model_id == deposited.c.model_id)
        .where(deposited.c.chain_id == leaf.c.chain_id, deposited.c.died_block.is_(None))
    )


def _leaves(
    snapshot: Snapshot, kind: str, ids: Iterable[bytes], *columns: ColumnElement[Any]
) -> Subquery:
    # With the chain, by which the models are then found (`Snapshot.alive` says why so).
    leaf = tables.leaf
    chain = literal(snapshot.chain_id, BigInteger).label("chain_id")
    return (
        select(chain, *columns)
        .distinct()
        .where(leaf.c.id.in_(list(ids)), leaf.c.kind == kind)
        .subquery()
    )


def holdings(
    snapshot: Snapshot, asked: Mapping[IdKind, Sequence[Digest]], *, limit: int = MAX_MODELS
) -> Holdings:
    """Registered models that hold any of the ids, earliest commitment first.

    Args:
        snapshot: of the index.
        asked: ids by the kind of leaf that they may equal; the caller bounds how many.
        limit: models at most.
    """
    raw = {kind: {one.raw for one in ids} for kind, ids in asked.items() if ids}
    if not raw:
        return Holdings((), more=False)
    bound = {BINDS[kind]: bound_by(snapshot, kind, ids) for kind, ids in raw.items()}
    rows = claims(snapshot, bound, limit=limit + 1)
    more, rows = len(rows) > limit, rows[:limit]
    held = {kind: _held(snapshot, kind, ids, rows) for kind, ids in raw.items()}
    return Holdings(
        tuple(
            Holding(
                row,
                {
                    kind: tuple(Digest(one) for one in sorted(ids))
                    for kind in held
                    if (ids := held[kind].get(bytes(row[BINDS[kind]])))
                },
                _place(snapshot, row),
            )
            for row in rows
        ),
        more,
    )


def _place(snapshot: Snapshot, model: RowMap) -> tuple[int, int] | None:
    """Where the commitment that a model's time is of stands on the chain."""
    name, subject = "ModelRegistered", bytes(model["model_id"])
    if model["committed"]:
        leaf = commitment_leaf(ModelId(subject))
        anchor = snapshot.commitment(leaf, model["committed_at"])
        if anchor is None or anchor["anchored_at"] != model["committed_at"]:
            return None
        name, subject = "RootAnchored", bytes(anchor["root"])
    logs = snapshot.events(subject=subject, name=name, limit=1)
    return (int(logs[0]["block"]), int(logs[0]["tx_index"])) if logs else None


def _held(
    snapshot: Snapshot, kind: IdKind, ids: Iterable[bytes], rows: Sequence[RowMap]
) -> dict[bytes, set[bytes]]:
    """The ids under each value of the column that binds them, of these models."""
    deposited = tables.model.alias("deposited")
    leaf = _leaves(snapshot, kind, ids, tables.leaf.c.model_id, tables.leaf.c.id)
    column = deposited.c[BINDS[kind]]
    found = snapshot.connection.execute(
        select(column, leaf.c.id)
        .distinct()
        .join(leaf, leaf.c.model_id == deposited.c.model_id)
        .where(
            deposited.c.chain_id == leaf.c.chain_id,
            column.in_({bytes(row[BINDS[kind]]) for row in rows}),
            deposited.c.died_block.is_(None),
        )
    )
    made: dict[bytes, set[bytes]] = {}
    for value, one in found:
        made.setdefault(bytes(value), set()).add(bytes(one))
    return made
