"""The search for anything: what carries a digest, belongs to an account, or happened in a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Table, select

from ledger.ids import ZERO_DIGEST, Digest, LicenseId
from ledger.index import tables
from ledger.index.views import RowMap, Snapshot

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
_ORDER: Final = {
    ("model", "licensor"): ("registered_block", "model_id"),
    ("model", "artifact_root"): ("registered_block", "model_id"),
    ("anchor", "sender"): ("anchored_at", "root"),
}
_NAMED_BY: Final = {
    "model": "model_id",
    "plan": "plan_id",
    "license": "license_id",
    "anchor": "root",
    "broker": "broker_id",
}


def _hits(snapshot: Snapshot, kind: str, table: Table, column: str, value: bytes) -> Iterable[Hit]:
    # In the order of the column's index, so that fifty are found among any number.
    order = _ORDER.get((kind, column), tables.state_keys(table))
    keys = (table.c[key] for key in order)
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
