"""Tables of the index. Alembic's migrations make them; this page is what the code reads and writes.

Three kinds. The *journal* (`raw_log`, `raw_read`) is what the chain said, and the only truth. The
*state* tables are folded from it and carry half-open versions ``[born_block, died_block)``, so any
past state can be asked for and a reorganisation is undone by two statements a table. The *library*
holds documents that people deposit; each is named by its own hash, so no reorganisation touches it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from ledger.errors import IndexDamaged


class Uint(TypeDecorator[int]):
    """An unsigned integer as zero-padded decimal digits, so that text order is number order.

    Anyone can make a contract emit 2^64 − 1, which no SQL integer holds; an index that fails on it
    could be stopped by a stranger. 20 digits hold uint64, 29 uint96, 78 uint256.
    """

    impl = String
    cache_ok = True

    def __init__(self, digits: int = 20) -> None:
        super().__init__(digits)
        self.digits = digits

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | None:
        """To digits."""
        del dialect
        return None if value is None else str(int(value)).zfill(self.digits)

    def process_result_value(self, value: str | None, dialect: Dialect) -> int | None:
        """From digits."""
        del dialect
        return None if value is None else int(value)


class _Told(FunctionElement[bytes]):
    """A body as `Body` has it read."""

    inherit_cache = True


@compiles(_Told)
def _as_it_is(element: _Told, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(_Told, "sqlite")
def _in_hex(element: _Told, compiler: SQLCompiler, **options: Any) -> str:
    body = compiler.process(element.clauses, **options)
    return f"CASE typeof({body}) WHEN 'blob' THEN {body} ELSE hex({body}) END"


class Body(LargeBinary):
    """Bytes of which SQLite says in hex what became text there (`ledger.index.evidence_rows.raw`).

    That text mostly is no UTF-8, such as a header's, and the driver gives no row that has such. It
    could be told to decode otherwise, but then every text of every row would go through Python,
    and bear what no answer or log can be written with. This is the one column that is mended.
    """

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[bytes]:
        """Wherever it is selected."""
        return _Told(column)


UINT64 = Uint(20)
UINT96 = Uint(29)
UINT256 = Uint(78)

metadata = MetaData(naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s"})


def _column(
    name: str,
    kind: TypeEngine[Any] | type[TypeEngine[Any]],
    *,
    nullable: bool = False,
    primary_key: bool = False,
) -> Column[Any]:
    return Column(name, kind, nullable=nullable, primary_key=primary_key, autoincrement=False)


def _chain_id() -> Column[Any]:
    return _column("chain_id", BigInteger, primary_key=True)


# -- where the index stands ----------------------------------------------------------------------

chain = Table(
    "chain",
    metadata,
    _chain_id(),
    _column("genesis_hash", LargeBinary(32)),
    _column("deployment_hash", LargeBinary(32)),
    _column("first_block", BigInteger),
)
cursor = Table(
    "cursor",
    metadata,
    _chain_id(),
    _column("next_block", BigInteger),
    _column("last_hash", LargeBinary(32), nullable=True),
    _column("last_time", BigInteger),
    _column("safe", BigInteger),
    _column("finalized", BigInteger),
    _column("head", BigInteger),
    _column("epoch", BigInteger),
    _column("holder", String(64)),
    # Unix milliseconds at which the index last stood on the endpoint's head, and was last written.
    _column("synced_at_ms", BigInteger),
    _column("updated_at_ms", BigInteger),
)
block = Table(
    "block",
    metadata,
    _chain_id(),
    _column("number", BigInteger, primary_key=True),
    _column("hash", LargeBinary(32)),
    _column("parent_hash", LargeBinary(32)),
    _column("time", BigInteger),
    _column("has_logs", Boolean),
    # The few that a step forgets once they are final, found without reading the others.
    Index(
        "ix_block_empty",
        "chain_id",
        "number",
        sqlite_where=text("has_logs IS 0"),
        postgresql_where=text("has_logs IS false"),
    ),
)
reorg = Table(
    "reorg",
    metadata,
    Column("id", Integer, primary_key=True),
    _column("chain_id", BigInteger),
    _column("ancestor", BigInteger),
    _column("old_head", BigInteger),
    _column("old_hash", LargeBinary(32)),
    _column("depth", BigInteger),
    _column("past_finality", Boolean),
    _column("detected_at_ms", BigInteger),
    # Who let it pass finality, and what they said; NULL where no operator was needed.
    _column("accepted_by", String(200), nullable=True),
    _column("accepted_why", Text, nullable=True),
)

# -- journal -------------------------------------------------------------------------------------


def _log_columns() -> list[Column[Any]]:
    return [
        _column("block_hash", LargeBinary(32)),
        _column("block_time", BigInteger),
        _column("tx_hash", LargeBinary(32)),
        _column("tx_index", BigInteger),
        _column("contract", String(32)),
        _column("address", LargeBinary(20)),
        _column("event", String(64)),
        _column("topics", LargeBinary),
        _column("data", LargeBinary),
    ]


raw_log = Table(
    "raw_log",
    metadata,
    _chain_id(),
    _column("block", BigInteger, primary_key=True),
    _column("log_index", BigInteger, primary_key=True),
    *_log_columns(),
    Index("ix_raw_log_event", "chain_id", "event", "block", "log_index"),
    Index("ix_raw_log_tx_hash", "tx_hash"),
    sqlite_with_rowid=False,
)
# What a log leaves out and the contract tells: the terms of a plan, which never change.
raw_read = Table(
    "raw_read",
    metadata,
    _chain_id(),
    _column("block", BigInteger, primary_key=True),
    _column("log_index", BigInteger, primary_key=True),
    _column("answer", LargeBinary),
)
orphan_log = Table(
    "orphan_log",
    metadata,
    Column("id", Integer, primary_key=True),
    _column("reorg_id", Integer),
    _column("retracted_at_ms", BigInteger),
    _column("chain_id", BigInteger),
    _column("block", BigInteger),
    _column("log_index", BigInteger),
    *_log_columns(),
    Index("ix_orphan_log_place", "chain_id", "block", "log_index"),
)
# Which log concerns which model or license, so that a timeline is one indexed read.
log_subject = Table(
    "log_subject",
    metadata,
    _chain_id(),
    _column("subject", LargeBinary(32), primary_key=True),
    _column("block", BigInteger, primary_key=True),
    _column("log_index", BigInteger, primary_key=True),
    sqlite_with_rowid=False,
)

# -- state ---------------------------------------------------------------------------------------

STATE: dict[str, Table] = {}


# Indexes by which lists are asked hold the chain, since SQLite, which has no statistics, takes the
# one that holds most of what is asked for; and they end with the list's order, so that a page reads
# its own rows alone. The chain comes second: PostgreSQL sorts by the first column's first bytes.


def _state(name: str, keys: list[Column[Any]], *columns: Column[Any] | Index) -> Table:
    for key in keys:
        key.primary_key = True
    table = Table(
        name,
        metadata,
        _chain_id(),
        *keys,
        _column("born_block", BigInteger, primary_key=True),
        _column("died_block", BigInteger, nullable=True),
        *columns,
        Index(f"ix_{name}_born", "chain_id", "born_block"),
        # Of the dead alone: "alive" is a reason to look at no more than the whole table.
        Index(
            f"ix_{name}_died",
            "chain_id",
            "died_block",
            sqlite_where=text("died_block IS NOT NULL"),
            postgresql_where=text("died_block IS NOT NULL"),
        ),
    )
    STATE[name] = table
    return table


def state_keys(table: Table) -> tuple[str, ...]:
    """Names of the columns that name one entity of a state table."""
    names = (column.name for column in table.primary_key.columns)
    return tuple(name for name in names if name not in {"chain_id", "born_block"})


model = _state(
    "model",
    [_column("model_id", LargeBinary(32))],
    _column("licensor", LargeBinary(20)),
    _column("artifact_root", LargeBinary(32)),
    _column("fingerprint_digest", LargeBinary(32)),
    _column("watermark_commitment", LargeBinary(32)),
    _column("manifest_hash", LargeBinary(32)),
    _column("registered_at", BigInteger),
    _column("registered_block", BigInteger),
    _column("registered_tx", LargeBinary(32)),
    _column("committed_at", BigInteger),
    _column("committed", Boolean),
    _column("status", SmallInteger),
    _column("title_sequence", UINT64),
    _column("pending_licensor", LargeBinary(20), nullable=True),
    _column("guardian", LargeBinary(20), nullable=True),
    _column("guardian_delay", BigInteger, nullable=True),
    _column("recovery_to", LargeBinary(20), nullable=True),
    _column("recovery_ready_at", BigInteger, nullable=True),
    _column("sealing_epoch", UINT64),
    _column("sealing_hash", LargeBinary(32), nullable=True),
    Index("ix_model_registered", "chain_id", "registered_block", "model_id"),
    Index("ix_model_artifact_root", "artifact_root", "chain_id", "registered_block", "model_id"),
    Index("ix_model_fingerprint_digest", "fingerprint_digest", "chain_id", "model_id"),
    Index("ix_model_licensor", "licensor", "chain_id", "registered_block", "model_id"),
    Index("ix_model_manifest_hash", "manifest_hash", "chain_id", "model_id"),
    Index("ix_model_watermark_commitment", "watermark_commitment", "chain_id", "model_id"),
)
parent = _state(
    "parent",
    [_column("model_id", LargeBinary(32)), _column("parent", LargeBinary(32))],
    _column("confirmed_by", LargeBinary(20), nullable=True),
    Index("ix_parent_parent", "parent", "chain_id", "model_id"),
)
title = _state(
    "title",
    [_column("model_id", LargeBinary(32)), _column("sequence", UINT64)],
    _column("holder", LargeBinary(20)),
    _column("previous", LargeBinary(20), nullable=True),
    _column("since", BigInteger),
)
sealing = _state(
    "sealing",
    [_column("model_id", LargeBinary(32)), _column("epoch", UINT64)],
    _column("record_hash", LargeBinary(32)),
    _column("lodged_at", BigInteger),
    Index("ix_sealing_record_hash", "record_hash", "chain_id", "model_id", "epoch"),
)
record = _state(
    "record",
    [
        _column("model_id", LargeBinary(32)),
        _column("block", BigInteger),
        _column("log_index", BigInteger),
    ],
    _column("kind", Integer),
    _column("sender", LargeBinary(20)),
    _column("record_hash", LargeBinary(32)),
    _column("lodged_at", BigInteger),
    Index("ix_record_record_hash", "record_hash", "chain_id", "model_id", "block", "log_index"),
)
plan = _state(
    "plan",
    [_column("plan_id", BigInteger)],
    _column("licensor", LargeBinary(20)),
    _column("model_id", LargeBinary(32)),
    _column("terms_hash", LargeBinary(32)),
    _column("plan_digest", LargeBinary(32)),
    _column("created_at", BigInteger),
    _column("paused", Boolean),
    _column("role_epoch", BigInteger),
    _column("issued", BigInteger),
    _column("duration", BigInteger),
    _column("grace", BigInteger),
    _column("lease_ttl", BigInteger),
    _column("max_offline", BigInteger),
    _column("min_notice", BigInteger),
    _column("refund_window", BigInteger),
    _column("reissue_delay", BigInteger),
    _column("seats", BigInteger),
    _column("supply", BigInteger),
    _column("quota", UINT64),
    _column("features", UINT64),
    _column("broker_set", UINT64),
    _column("pay_token", LargeBinary(20)),
    _column("price", UINT96),
    _column("floating", Boolean),
    _column("warn_only", Boolean),
    _column("transferable", Boolean),
    Index("ix_plan_model_id", "model_id", "chain_id", "plan_id"),
    Index("ix_plan_licensor", "licensor", "chain_id", "plan_id"),
    Index("ix_plan_plan_digest", "plan_digest", "chain_id", "plan_id"),
    Index("ix_plan_terms_hash", "terms_hash", "chain_id", "plan_id"),
)
role = _state(
    "role",
    [_column("plan_id", BigInteger), _column("account", LargeBinary(20))],
    _column("roles", SmallInteger),
    _column("role_epoch", BigInteger),
)
# A license id is plan << 32 | serial, plans being counted up by one: it stays below 2^63.
license_ = _state(
    "license",
    [_column("license_id", BigInteger)],
    _column("plan_id", BigInteger),
    _column("model_id", LargeBinary(32)),
    _column("holder", LargeBinary(20)),
    _column("issued_at", BigInteger),
    _column("not_before", BigInteger),
    _column("not_after", BigInteger),
    _column("status", SmallInteger),
    _column("reason", LargeBinary(32), nullable=True),
    _column("revoked_by", LargeBinary(20), nullable=True),
    _column("revoked_at", BigInteger, nullable=True),
    _column("held", Boolean),
    _column("suspended_at", BigInteger),
    _column("seats_used", BigInteger),
    _column("grant_nonce", UINT64),
    Index("ix_license_holder", "holder", "chain_id", "license_id"),
    Index("ix_license_model_id", "model_id", "chain_id", "license_id"),
    Index("ix_license_plan_id", "plan_id", "chain_id", "license_id"),
)
seat = _state(
    "seat",
    [_column("license_id", BigInteger), _column("runtime_key", LargeBinary(32))],
    _column("bound_at", BigInteger),
    _column("until", BigInteger),
    _column("measurement", LargeBinary(20)),
)
anchor = _state(
    "anchor",
    [_column("root", LargeBinary(32))],
    _column("sender", LargeBinary(20)),
    _column("anchored_at", BigInteger),
    Index("ix_anchor_time", "chain_id", "anchored_at", "root"),
    Index("ix_anchor_sender", "sender", "chain_id", "anchored_at", "root"),
)
phase_a = _state(
    "phase_a",
    [_column("sender", LargeBinary(20)), _column("number", UINT64)],
    _column("commitment", LargeBinary(32)),
    _column("committed_at", BigInteger),
)
broker = _state(
    "broker",
    [_column("broker_id", UINT64)],
    _column("operator", LargeBinary(20)),
    _column("pending_operator", LargeBinary(20), nullable=True),
    _column("epoch", BigInteger),
    _column("signing_key_hash", LargeBinary(32), nullable=True),
    _column("kem_key_hash", LargeBinary(32), nullable=True),
    _column("url_hash", LargeBinary(32), nullable=True),
    _column("url", Text),
)
broker_set = _state(
    "broker_set",
    [_column("set_id", UINT64)],
    _column("owner", LargeBinary(20)),
    _column("threshold", SmallInteger),
    _column("broker_ids", Text),
)
receipt_root = _state(
    "receipt_root",
    [_column("broker_id", UINT64), _column("seq", UINT64)],
    _column("prev_root", LargeBinary(32)),
    _column("root", LargeBinary(32)),
    _column("count", UINT64),
    _column("anchored_at", BigInteger),
)

# Amounts are in units of the token (of twenty zero bytes: of the chain's coin).
sale = _state(
    "sale",
    [_column("license_id", BigInteger)],
    _column("payer", LargeBinary(20)),
    _column("licensor", LargeBinary(20)),
    _column("pay_token", LargeBinary(20)),
    _column("amount", UINT256),
    _column("sold_at", BigInteger),
    _column("refundable_until", BigInteger),
    _column("state", SmallInteger),
)
# Running totals, so that a licensor of a million sales is one row a token.
revenue = _state(
    "revenue",
    [_column("licensor", LargeBinary(20)), _column("pay_token", LargeBinary(20))],
    _column("sales", UINT64),
    _column("renewals", UINT64),
    _column("refunds", UINT64),
    _column("taken", UINT256),
    _column("refunded", UINT256),
)
owed = _state(
    "owed",
    [_column("account", LargeBinary(20)), _column("pay_token", LargeBinary(20))],
    _column("accrued", UINT256),
    _column("withdrawn", UINT256),
)
royalty = _state(
    "royalty",
    [_column("model_id", LargeBinary(32)), _column("pay_token", LargeBinary(20))],
    _column("accrued", UINT256),
    _column("collected", UINT256),
)

# -- library -------------------------------------------------------------------------------------

document = Table(
    "document",
    metadata,
    _column("kind", String(16), primary_key=True),
    _column("hash", LargeBinary(32), primary_key=True),
    # Whether everything in it is bound by what the chain holds, or the ids alone.
    _column("complete", Boolean),
    _column("body", Text),
    _column("deposited_at_ms", BigInteger),
)
leaf = Table(
    "leaf",
    metadata,
    _column("model_id", LargeBinary(32), primary_key=True),
    _column("kind", String(4), primary_key=True),
    _column("id", LargeBinary(32), primary_key=True),
    Index("ix_leaf_id", "id"),
    sqlite_with_rowid=False,
)
# What a model calls the tensors it holds: a JSON list, since tied tensors share an id.
leaf_name = Table(
    "leaf_name",
    metadata,
    _column("model_id", LargeBinary(32), primary_key=True),
    _column("kind", String(4), primary_key=True),
    _column("id", LargeBinary(32), primary_key=True),
    _column("names", Text),
    sqlite_with_rowid=False,
)

# Rises with each deposit, in its transaction: what an answer says of documents is as new as this.
library_place = Table(
    "library_place",
    metadata,
    _column("id", Integer, primary_key=True),
    _column("deposits", BigInteger),
)

# One live version an entity: what the fold, and every read at the head, looks up.
for _table in STATE.values():
    Index(
        f"uq_{_table.name}_live",
        *(_table.c[name] for name in ("chain_id", *state_keys(_table))),
        unique=True,
        sqlite_where=text("died_block IS NULL"),
        postgresql_where=text("died_block IS NULL"),
    )

# -- what the index tells, and what it keeps (docs/spec/index-keeping.md) --------------------------

# What happened to the journal, in the order in which it was committed. Pruned by age.
outbox = Table(
    "outbox",
    metadata,
    _chain_id(),
    _column("seq", BigInteger, primary_key=True),
    _column("kind", String(9)),
    _column("block", BigInteger),
    # NULL in a row that speaks of all events up to and including its block.
    _column("log_index", BigInteger, nullable=True),
    _column("block_hash", LargeBinary(32), nullable=True),
    _column("event", String(64)),
    # 32 bytes each, one after the other.
    _column("subjects", LargeBinary),
    _column("created_at_ms", BigInteger),
    sqlite_with_rowid=False,
)
# Where the outbox stands; seq goes on from here when every row is pruned.
outbox_place = Table(
    "outbox_place",
    metadata,
    _chain_id(),
    _column("last_seq", BigInteger),
    _column("pruned_seq", BigInteger),
    _column("final_block", BigInteger),
    _column("applied", BigInteger),
    _column("retracted", BigInteger),
)
# Proofs by SHA-256 of their bytes; what each proves is in `evidence`.
proof = Table(
    "proof",
    metadata,
    _column("hash", LargeBinary(32), primary_key=True),
    _column("kind", String(8)),
    _column("body", Body),
    _column("size", Integer),
)
# Which event rests on which proof, or why it could no longer be had. Named by block hash, so that
# an event which a reorganisation took back keeps its own.
evidence = Table(
    "evidence",
    metadata,
    _chain_id(),
    _column("block", BigInteger, primary_key=True),
    _column("block_hash", LargeBinary(32), primary_key=True),
    _column("log_index", BigInteger, primary_key=True),
    _column("kind", String(8), primary_key=True),
    _column("hash", LargeBinary(32), nullable=True),
    _column("lost", Text, nullable=True),
    sqlite_with_rowid=False,
)
evidence_place = Table(
    "evidence_place",
    metadata,
    _chain_id(),
    _column("next_block", BigInteger),
    # Events whose proofs are all held, and proofs that could not be had.
    _column("events", BigInteger),
    _column("lost", BigInteger),
    _column("bytes", BigInteger),
)


def require_kinds(table: Table, row: Row[Any]) -> None:
    """See that a row has what its columns are for: to SQLite their types are advice.

    Raises:
        IndexDamaged: it has something else.
    """
    for name, value in zip(row._fields, row, strict=True):
        kinds = _kinds(table).get(name)
        if kinds is not None and type(value) not in kinds:
            raise IndexDamaged(f"{name} of {table.name} in the index database is not of its kind")


@cache
def _kinds(table: Table) -> dict[str, tuple[type, ...]]:
    nothing = type(None)
    return {
        column.name: (column.type.python_type, *((nothing,) if column.nullable else ()))
        for column in table.columns
        if isinstance(column.type, (Integer, LargeBinary, String))
    }
