"""A large index for ``bench.py api``: models, plans, licenses and events of a chain's first blocks.

The rows are those that following such a chain would leave, but for contents made up by a counter.
They lie in blocks before the contracts were deployed, so that a real follower goes on after them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Engine, Table, insert, update

from ledger.chain.deployment import Deployment
from ledger.index import tables
from ledger.index.bulk import bound, insert_rows
from ledger.index.database import writing
from ledger.index.decode import EVENTS
from ledger.index.deferred import leave_out, restore
from ledger.index.fold_licenses import license_subject
from ledger.index.journal import Journal
from ledger.licensing.entitlement import PERPETUAL

BLOCKS = 2000
"""Blocks that hold the events."""
GAP = 300
"""Blocks after them before the contracts, so that none of them is a block that is not final."""
MODELS_A_PLAN = 10
TITLED = 10
"""One model in so many has a deposited manifest."""

_AT_ONCE = 20_000
_BORN = 1_700_000_000


def digest(kind: str, number: int) -> bytes:
    """Some 32 bytes."""
    return hashlib.sha256(f"{kind}{number}".encode()).digest()


def account(number: int) -> bytes:
    """One of some thousand accounts."""
    return digest("account", number % 5000)[:20]


def license_id(number: int) -> int:
    """Of the license of model `number`, counted from 0."""
    return (number // MODELS_A_PLAN + 1 << 32) | number % MODELS_A_PLAN + 1


def seed(engine: Engine, deployment: Deployment, head: Any, *, models: int, events: int) -> None:
    """Fill an empty index.

    Args:
        engine: of `open_database`.
        deployment: whose index it is; its first block lies after the seeded ones.
        head: the chain's newest block, at which the index is to stand.
        models: with one license each.
        events: at least three a model.
    """
    chain = deployment.chain_id
    journal = Journal(chain)
    with writing(engine) as connection:
        journal.pin(
            connection,
            genesis=deployment.genesis_hash,
            deployment={name: str(each) for name, each in deployment.addresses.items()},
            first=deployment.block,
        )
        leave_out(connection)
    every = max(1, -(-events // BLOCKS))
    addresses = {name: each.raw for name, each in deployment.addresses.items()}
    state = {
        tables.model: (_model(chain, n, n * events // models // every + 1) for n in range(models)),
        tables.plan: (_plan(chain, n) for n in range(-(-models // MODELS_A_PLAN))),
        tables.license_: (
            _license(chain, n, n * events // models // every + 1) for n in range(models)
        ),
        tables.block: (_block(chain, n) for n in range(1, BLOCKS + 1)),
        tables.document: (_manifest(n) for n in range(0, models, TITLED)),
    }
    for table, rows in state.items():
        _fill(engine, table, (_row(table, row) for row in rows))
    _fill(engine, tables.raw_log, _logs(chain, addresses, models, events, every))
    _fill(engine, tables.log_subject, _subjects(chain, models, events, every))
    restore(engine)
    with writing(engine) as connection:
        connection.execute(insert(tables.block).values(
            chain_id=chain, number=head.number, hash=head.hash.raw,
            parent_hash=head.parent_hash.raw, time=head.timestamp, has_logs=False,
        ))  # fmt: skip
        connection.execute(insert(tables.outbox_place).values(
            chain_id=chain, last_seq=events, pruned_seq=events, final_block=BLOCKS,
            applied=events, retracted=0,
        ))  # fmt: skip
        connection.execute(update(tables.cursor).values(
            next_block=head.number + 1, last_hash=head.hash.raw, last_time=head.timestamp,
            safe=BLOCKS, finalized=BLOCKS, head=head.number,
        ))  # fmt: skip
    if engine.dialect.name == "postgresql":
        # As its autovacuum would. Of an index on SQLite there are no statistics.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")


def _fill(engine: Engine, table: Table, rows: Iterable[tuple[Any, ...]]) -> None:
    rows = iter(rows)
    with writing(engine, durable=False) as connection:
        while part := list(islice(rows, _AT_ONCE)):
            insert_rows(connection, table, part)


def _row(table: Table, values: dict[str, Any]) -> tuple[Any, ...]:
    """A row in the order of the columns; what is not given is NULL."""
    found = []
    for column, form in zip(table.columns, bound(table), strict=True):
        value = values.get(column.name)
        found.append(value if form is None or value is None else form(value))
    return tuple(found)


def _model(chain: int, n: int, block: int) -> dict[str, Any]:
    return {
        "chain_id": chain, "model_id": digest("model", n), "born_block": block,
        "licensor": account(n), "artifact_root": digest("root", n),
        "fingerprint_digest": digest("print", n), "watermark_commitment": digest("mark", n),
        "manifest_hash": digest("manifest", n), "registered_at": _BORN + block,
        "registered_block": block, "registered_tx": digest("tx", n),
        "committed_at": _BORN + block, "committed": True, "status": 1, "title_sequence": 0,
        "sealing_epoch": 0,
    }  # fmt: skip


def _plan(chain: int, n: int) -> dict[str, Any]:
    return {
        "chain_id": chain, "plan_id": n + 1, "born_block": 1, "licensor": account(n),
        "model_id": digest("model", n * MODELS_A_PLAN), "terms_hash": digest("terms", n),
        "plan_digest": digest("plan", n), "created_at": _BORN, "paused": False, "role_epoch": 0,
        "issued": MODELS_A_PLAN, "duration": 86400, "grace": 3600, "lease_ttl": 600,
        "max_offline": 7200, "min_notice": 0, "refund_window": 0, "reissue_delay": 0, "seats": 2,
        "supply": 0, "quota": 0, "features": 0, "broker_set": 0, "pay_token": bytes(20),
        "price": 0, "floating": False, "warn_only": False, "transferable": True,
    }  # fmt: skip


def _license(chain: int, n: int, block: int) -> dict[str, Any]:
    return {
        "chain_id": chain, "license_id": license_id(n), "born_block": block,
        "plan_id": n // MODELS_A_PLAN + 1, "model_id": digest("model", n), "holder": account(n + 7),
        "issued_at": _BORN + block, "not_before": _BORN + block, "not_after": PERPETUAL - 1 - n,
        "status": 1, "held": False, "suspended_at": 0, "seats_used": 0, "grant_nonce": 0,
    }  # fmt: skip


def _block(chain: int, n: int) -> dict[str, Any]:
    return {
        "chain_id": chain, "number": n, "hash": digest("block", n),
        "parent_hash": digest("block", n - 1), "time": _BORN + n, "has_logs": True,
    }  # fmt: skip


def _manifest(n: int) -> dict[str, Any]:
    return {
        "kind": "manifest", "hash": digest("manifest", n), "complete": True,
        "body": f'{{"title":"model {n}"}}', "deposited_at_ms": _BORN * 1000 + n,
    }  # fmt: skip


def _named(models: int, events: int) -> Iterator[tuple[int, str, int]]:
    """Events in order: number, name, and of which model and license."""
    each = events // models
    for n in range(events):
        which, turn = (n // each, n % each) if n < each * models else (n % models, each)
        name = ("ModelRegistered", "Transfer", "LicenseIssued")[turn] if turn < 3 else _RENEWED
        yield n, name, which


_RENEWED = "LicenseRenewed"


def _logs(
    chain: int, addresses: dict[str, bytes], models: int, events: int, every: int
) -> Iterator[tuple[Any, ...]]:
    topic = {
        (contract, kind.name): topic0 for contract, kinds in EVENTS.items()
        for topic0, kind in kinds.items()
    }  # fmt: skip
    for n, name, which in _named(models, events):
        contract = "ModelRegistry" if name == "ModelRegistered" else "LicenseLedger"
        block, index = n // every + 1, n % every
        id_ = license_id(which).to_bytes(32, "big")
        who = account(which).rjust(32, b"\0")
        if name == "ModelRegistered":
            topics = digest("model", which) + who + digest("root", which)
            data = digest("print", which) + digest("mark", which) + digest("manifest", which)
            data += (_BORN + block).to_bytes(32, "big") * 2
        elif name == "Transfer":
            topics, data = bytes(32) + who + id_, b""
        elif name == "LicenseIssued":
            topics = id_ + (which // MODELS_A_PLAN + 1).to_bytes(32, "big") + who
            data = (_BORN + block).to_bytes(32, "big") + (PERPETUAL - 1).to_bytes(32, "big")
        else:
            topics, data = id_, (PERPETUAL - 1 - which).to_bytes(32, "big")
        yield (
            chain, block, index, digest("block", block), _BORN + block, digest("tx", n), 0,
            contract, addresses[contract], name, topic[contract, name] + topics, data,
        )  # fmt: skip


def _subjects(chain: int, models: int, events: int, every: int) -> Iterator[tuple[Any, ...]]:
    for n, name, which in _named(models, events):
        subject = (
            digest("model", which) if name == "ModelRegistered"
            else license_subject(license_id(which))
        )  # fmt: skip
        yield chain, subject, n // every + 1, n % every
