"""Journal, state and library: all tables of release 0.1.

Written once; a later change of shape is a later revision.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:  # noqa: PLR0915 -- a list of tables, not a program
    """Make the tables."""
    op.create_table(
        "anchor",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(32), nullable=False),
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        sa.Column("sender", sa.LargeBinary(20), nullable=False),
        sa.Column("anchored_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "root", "born_block"),
    )
    op.create_index("ix_anchor_born", "anchor", ["chain_id", "born_block"])
    op.create_index("ix_anchor_died", "anchor", ["chain_id", "died_block"])
    op.create_index(
        "uq_anchor_live",
        "anchor",
        ["chain_id", "root"],
        unique=True,
        sqlite_where=sa.text("died_block IS NULL"),
        postgresql_where=sa.text("died_block IS NULL"),
    )
    op.create_table(
        "block",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("parent_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("has_logs", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "number"),
    )
    op.create_index(
        "ix_block_empty",
        "block",
        ["chain_id", "number"],
        sqlite_where=sa.text("has_logs IS 0"),
        postgresql_where=sa.text("has_logs IS false"),
    )
    op.create_table(
        "broker",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("broker_id", sa.String(20), nullable=False),
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        sa.Column("operator", sa.LargeBinary(20), nullable=False),
        sa.Column("pending_operator", sa.LargeBinary(20), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("signing_key_hash", sa.LargeBinary(32), nullable=True),
        sa.Column("kem_key_hash", sa.LargeBinary(32), nullable=True),
        sa.Column("url_hash", sa.LargeBinary(32), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "broker_id", "born_block"),
    )
    op.create_index("ix_broker_born", "broker", ["chain_id", "born_block"])
    op.create_index("ix_broker_died", "broker", ["chain_id", "died_block"])
    op.create_index(
        "uq_broker_live",
        "broker",
        ["chain_id", "broker_id"],
        unique=True,
        sqlite_where=sa.text("died_block IS NULL"),
        postgresql_where=sa.text("died_block IS NULL"),
    )
    op.create_table(
        "broker_set",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("set_id", sa.String(20), nullable=False),
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        sa.Column("owner", sa.LargeBinary(20), nullable=False),
        sa.Column("threshold", sa.SmallInteger(), nullable=False),
        sa.Column("broker_ids", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "set_id", "born_block"),
    )
    op.create_index("ix_broker_set_born", "broker_set", ["chain_id", "born_block"])
    op.create_index("ix_broker_set_died", "broker_set", ["chain_id", "died_block"])
    op.create_index(
        "uq_broker_set_live",
        "broker_set",
        ["chain_id", "set_id"],
        unique=True,
        sqlite_where=sa.text("died_block IS NULL"),
        postgresql_where=sa.text("died_block IS NULL"),
    )
    op.create_table(
        "chain",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("genesis_hash", sa.LargeBinary(32), autoincrement=False, nullable=False),
        sa.Column("deployment_hash", sa.LargeBinary(32), autoincrement=False, nullable=False),
        sa.Column("first_block", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("chain_id"),
    )
    op.create_table(
        "cursor",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("next_block", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_hash", sa.LargeBinary(32), autoincrement=False, nullable=True),
        sa.Column("last_time", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("safe", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("finalized", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("head", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.String(64), autoincrement=False, nullable=False),
        sa.Column("synced_at_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("chain_id"),
    )
    op.create_table(
        "document",
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("deposited_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "hash"),
    )
    op.create_table(
        "leaf",
        sa.Column("model_id", sa.LargeBinary(32), nullable=False),
        sa.Column("kind", sa.String(4), nullable=False),
        sa.Column("id", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "kind", "id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_leaf_id", "leaf", ["id"])
    op.create_table(
        "leaf_name",
        sa.Column("model_id", sa.LargeBinary(32), nullable=False),
        sa.Column("kind", sa.String(4), nullable=False),
        sa.Column("id", sa.LargeBinary(32), nullable=False),
        sa.Column("names", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "kind", "id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "license",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("license_id", sa.BigInteger(), nullable=False),
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        sa.Column("plan_id", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.LargeBinary(32), nullable=False),
        sa.Column("holder", sa.LargeBinary(20), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.LargeBinary(32), nullable=True),
        sa.Column("revoked_by", sa.LargeBinary(20), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("suspended_at", sa.BigInteger(), nullable=False),
        sa.Column("seats_used", sa.BigInteger(), nullable=False),
        sa.Column("grant_nonce", sa.String(20), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "license_id", "born_block"),
    )
    op.create_index("ix_license_born", "license", ["chain_id", "born_block"])
    op.create_index("ix_license_died", "license", ["chain_id", "died_block"])
    op.create_index("ix_license_holder", "license", ["holder"])
    op.create_index("ix_license_model_id", "license", ["model_id"])
    op.create_index(
        "uq_license_live",
        "license",
        ["chain_id", "license_id"],
        unique=True,
        sqlite_where=sa.text("died_block IS NULL"),
        postgresql_where=sa.text("died_block IS NULL"),
    )
    op.create_table(
        "log_subject",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.LargeBinary(32), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "subject", "block", "log_index"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "model",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.LargeBinary(32), nullable=False),
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        sa.Column("licensor", sa.LargeBinary(20), nullable=False),
        sa.Column("artifact_root", sa.LargeBinary(32), nullable=False),
        sa.Column("fingerprint_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("watermark_commitment", sa.LargeBinary(32), nullable=False),
        sa.Column("manifest_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.Column("registered_block", sa.BigInteger(), nullable=False),
        sa.Column("registered_tx", sa.LargeBinary(32), nullable=False),
        sa.Column("committed_at", sa.BigInteger(), nullable=False),
        sa.Column("committed", sa.Boolean(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("title_sequence", sa.String(20), nullable=False),
        sa.Column("pending_licensor", sa.LargeBinary(20), nullable=True),
        sa.Column("guardian", sa.LargeBinary(20), nullable=True),
        sa.Column("guardian_delay", sa.BigInteger(), nullable=True),
        sa.Column("recovery_to", sa.LargeBinary(20), nullable=True),
        sa.Column("recovery_ready_at", sa.BigInteger(), nullable=True),
        sa.Column("sealing_epoch", sa.String(20), nullable=False),
        sa.Column("sealing_hash", sa.LargeBinary(32), nullable=True),
        sa.PrimaryKeyConstraint("chain_id", "model_id", "born_block"),
    )
    op.create_index("ix_model_artifact_root", "model", ["artifact_root"])
    op.create_index("ix_model_fingerprint_digest", "model", ["fingerprint_digest"])
    op.create_index("ix_model_born", "model", ["chain_id", "born_block"])
    op.create_index("ix_model_died", "model", ["chain_id", "died_block"])
    op.create_index("ix_model_licensor", "model", ["licensor"])
    op.create_index(
        "uq_model_live",
        "model",
        ["chain_id", "model_id"],
        unique=True,
        sqlite_where=sa.text("died_block IS NULL"),
        postgresql_where=sa.text("died_block IS NULL"),
    )
    op.create_table(
        "orphan_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reorg_id", sa.Integer(), nullable=False),
        sa.Column("retracted_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("block_time", sa.BigInteger(), nullable=False),
        sa.Column("tx_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("tx_index", sa.BigInteger(), nullable=False),
        sa.Column("contract", sa.String(32), nullable=False),
        sa.Column("address", sa.LargeBinary(20), nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("topics", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_orphan_log_place", "orphan_log", ["chain_id", "block", "log_index"])
    op.create_table(
        "parent",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.LargeBinary(32), nullable=False),
        sa.Column("parent", sa.LargeBinary(32), nullable=False),
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        sa.Column("confirmed_by", sa.LargeBinary(20), nullable=True),
        sa.PrimaryKeyConstraint("chain_id", "model_id", "parent", "born_block"),
    )
    op.create_index("ix_parent_born", "parent", ["chain_id", "born_block"])
    op.create_index("ix_parent_died", "parent", ["chain_id", "died_block"])
    op.create_index(
        "uq_parent_live",
        "parent",
        ["chain_id", "model_id", "parent"],
        unique=True,
        sqlite_where=sa.text("died_block IS NULL"),
        postgresql_where=sa.text("died_block IS NULL"),
    )
    op.create_table(
        "phase_a",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("sender", sa.LargeBinary(20), nullable=False),
        sa.Column("number", sa.String(20), nullable=False),
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        sa.Column("commitment", sa.LargeBinary(32), nullable=False),
        sa.Column("committed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "sender", "number", "born_block"),
    )
    op.create_index("ix_phase_a_born", "phase_a", ["chain_id", "born_block"])
    op.create_index("ix_phase_a_died", "phase_a", ["chain_id", "died_block"])
    op.create_index(
        "uq_phase_a_live",
        "phase_a",
        ["chain_id", "sender", "number"],
        unique=True,
        sqlite_where=sa.text("died_block IS NULL"),
        postgresql_where=sa.text("died_block IS NULL"),
    )
    op.create_table(
        "plan",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("plan_id", sa.BigInteger(), nullable=False),
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        sa.Column("licensor", sa.LargeBinary(20), nullable=False),
        sa.Column("model_id", sa.LargeBinary(32), nullable=False),
        sa.Column("terms_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("plan_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("role_epoch", sa.BigInteger(), nullable=False),
        sa.Column("issued", sa.BigInteger(), nullable=False),
        sa.Column("duration", sa.BigInteger(), nullable=False),
        sa.Column("grace", sa.BigInteger(), nullable=False),
        sa.Column("lease_ttl", sa.BigInteger(), nullable=False),
        sa.Column("max_offline", sa.BigInteger(), nullable=False),
        sa.Column("min_notice", sa.BigInteger(), nullable=False),
        sa.Column("refund_window", sa.BigInteger(), nullable=False),
        sa.Column("reissue_delay", sa.BigInteger(), nullable=False),
        sa.Column("seats", sa.BigInteger(), nullable=False),
        sa.Column("supply", sa.BigInteger(), nullable=False),
        sa.Column("quota", sa.String(20), nullable=False),
        sa.Column("features", sa.String(20), nullable=False),
        sa.Column("broker_set", sa.String(20), nullable=False),
        sa.Column("pay_token", sa.LargeBinary(20), nullable=False),
        sa.Column("price", sa.String(29), nullable=False),
        sa.Column("floating", sa.Boolean(), nullable=False),
        sa.Column("warn_only", sa.Boolean(), nullable=False),
        sa.Column("transferable", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "plan_id", "born_block"),
    )
    op.create_index("ix_plan_born", "plan", ["chain_id", "born_block"])
    op.create_index("ix_plan_died", "plan", ["chain_id", "died_block"])
    op.create_index("ix_plan_model_id", "plan", ["model_id"])
    op.create_index(
        "uq_plan_live",
        "plan",
        ["chain_id", "plan_id"],
        unique=True,
        sqlite_where=sa.text("died_block IS NULL"),
        postgresql_where=sa.text("died_block IS NULL"),
    )
    op.create_table(
        "raw_log",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("block_time", sa.BigInteger(), nullable=False),
        sa.Column("tx_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("tx_index", sa.BigInteger(), nullable=False),
        sa.Column("contract", sa.String(32), nullable=False),
        sa.Column("address", sa.LargeBinary(20), nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("topics", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "block", "log_index"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_raw_log_event", "raw_log", ["chain_id", "event", "block", "log_index"])
    op.create_index("ix_raw_log_tx_hash", "raw_log", ["tx_hash"])
    op.create_table(
        "raw_read",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "block", "log_index"),
    )
    op.create_table(
        "receipt_root",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("broker_id", sa.String(20), nullable=False),
        sa.Column("seq", sa.String(20), nullable=False),
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        sa.Column("prev_root", sa.LargeBinary(32), nullable=False),
        sa.Column("root", sa.LargeBinary(32), nullable=False),
        sa.Column("count", sa.String(20), nullable=False),
        sa.Column("anchored_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "broker_id", "seq", "born_block"),
    )
    op.create_index("ix_receipt_root_born", "receipt_root", ["chain_id", "born_block"])
    op.create_index("ix_receipt_root_died", "receipt_root", ["chain_id", "died_block"])
    op.create_index(
        "uq_receipt_root_live",
        "receipt_root",
        ["chain_id", "broker_id", "seq"],
        unique=True,
        sqlite_where=sa.text("died_block IS NULL"),
        postgresql_where=sa.text("died_block IS NULL"),
    )
    op.create_table(
        "record",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.LargeBinary(32), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("sender", sa.LargeBinary(20), nullable=False),
        sa.Column("record_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("lodged_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "model_id", "block", "log_index", "born_block"),
    )
    op.create_index("ix_record_born", "record", ["chain_id", "born_block"])
    op.create_index("ix_record_died", "record", ["chain_id", "died_block"])
    op.create_index(
        "uq_record_live",
        "record",
        ["chain_id", "model_id", "block", "log_index"],
        unique=True,
        sqlite_where=sa.text("died_block IS NULL"),
        postgresql_where=sa.text("died_block IS NULL"),
    )
    op.create_table(
        "reorg",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("ancestor", sa.BigInteger(), nullable=False),
        sa.Column("old_head", sa.BigInteger(), nullable=False),
        sa.Column("old_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("depth", sa.BigInteger(), nullable=False),
        sa.Column("past_finality", sa.Boolean(), nullable=False),
        sa.Column("detected_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("accepted_by", sa.String(200), nullable=True),
        sa.Column("accepted_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "role",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("plan_id", sa.BigInteger(), nullable=False),
        sa.Column("account", sa.LargeBinary(20), nullable=False),
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        sa.Column("roles", sa.SmallInteger(), nullable=False),
        sa.Column("role_epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "plan_id", "account", "born_block"),
    )
    op.create_index("ix_role_born", "role", ["chain_id", "born_block"])
    op.create_index("ix_role_died", "role", ["chain_id", "died_block"])
    op.create_index(
        "uq_role_live",
        "role",
        ["chain_id", "plan_id", "account"],
        unique=True,
        sqlite_where=sa.text("died_block IS NULL"),
        postgresql_where=sa.text("died_block IS NULL"),
    )
    op.create_table(
        "sealing",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.LargeBinary(32), nullable=False),
        sa.Column("epoch", sa.String(20), nullable=False),
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        sa.Column("record_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("lodged_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "model_id", "epoch", "born_block"),
    )
    op.create_index("ix_sealing_born", "sealing", ["chain_id", "born_block"])
    op.create_index("ix_sealing_died", "sealing", ["chain_id", "died_block"])
    op.create_index(
        "uq_sealing_live",
        "sealing",
        ["chain_id", "model_id", "epoch"],
        unique=True,
        sqlite_where=sa.text("died_block IS NULL"),
        postgresql_where=sa.text("died_block IS NULL"),
    )
    op.create_table(
        "seat",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("license_id", sa.BigInteger(), nullable=False),
        sa.Column("runtime_key", sa.LargeBinary(32), nullable=False),
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        sa.Column("bound_at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("measurement", sa.LargeBinary(20), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "license_id", "runtime_key", "born_block"),
    )
    op.create_index("ix_seat_born", "seat", ["chain_id", "born_block"])
    op.create_index("ix_seat_died", "seat", ["chain_id", "died_block"])
    op.create_index(
        "uq_seat_live",
        "seat",
        ["chain_id", "license_id", "runtime_key"],
        unique=True,
        sqlite_where=sa.text("died_block IS NULL"),
        postgresql_where=sa.text("died_block IS NULL"),
    )
    op.create_table(
        "title",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.LargeBinary(32), nullable=False),
        sa.Column("sequence", sa.String(20), nullable=False),
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        sa.Column("holder", sa.LargeBinary(20), nullable=False),
        sa.Column("previous", sa.LargeBinary(20), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "model_id", "sequence", "born_block"),
    )
    op.create_index("ix_title_born", "title", ["chain_id", "born_block"])
    op.create_index("ix_title_died", "title", ["chain_id", "died_block"])
    op.create_index(
        "uq_title_live",
        "title",
        ["chain_id", "model_id", "sequence"],
        unique=True,
        sqlite_where=sa.text("died_block IS NULL"),
        postgresql_where=sa.text("died_block IS NULL"),
    )
    op.create_table(
        "evidence",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=True),
        sa.Column("lost", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("chain_id", "block", "block_hash", "log_index", "kind"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "evidence_place",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("next_block", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("lost", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id"),
    )
    op.create_table(
        "outbox",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(9), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", sa.LargeBinary(32), nullable=True),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("subjects", sa.LargeBinary(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "seq"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outbox_place",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("pruned_seq", sa.BigInteger(), nullable=False),
        sa.Column("final_block", sa.BigInteger(), nullable=False),
        sa.Column("applied", sa.BigInteger(), nullable=False),
        sa.Column("retracted", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id"),
    )
    op.create_table(
        "proof",
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )


def downgrade() -> None:
    """Take them away again."""
    for name in sa.inspect(op.get_bind()).get_table_names():
        if name != "alembic_version":
            op.drop_table(name)
