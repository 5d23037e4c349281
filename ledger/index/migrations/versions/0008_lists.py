"""Indexes in the order of the lists they serve, and what closed a batch filed under its root."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Name, table, columns before, columns now.
_INDEXES = (
    ("ix_model_artifact_root", "model", ["artifact_root"],
     ["artifact_root", "chain_id", "registered_block", "model_id"]),
    ("ix_model_fingerprint_digest", "model", ["fingerprint_digest"],
     ["fingerprint_digest", "chain_id", "model_id"]),
    ("ix_model_licensor", "model", ["licensor"],
     ["licensor", "chain_id", "registered_block", "model_id"]),
    ("ix_model_manifest_hash", "model", ["manifest_hash"],
     ["manifest_hash", "chain_id", "model_id"]),
    ("ix_model_watermark_commitment", "model", ["watermark_commitment"],
     ["watermark_commitment", "chain_id", "model_id"]),
    ("ix_parent_parent", "parent", ["parent"], ["parent", "chain_id", "model_id"]),
    ("ix_sealing_record_hash", "sealing", ["record_hash"],
     ["record_hash", "chain_id", "model_id", "epoch"]),
    ("ix_record_record_hash", "record", ["record_hash"],
     ["record_hash", "chain_id", "model_id", "block", "log_index"]),
    ("ix_plan_model_id", "plan", ["model_id"], ["model_id", "chain_id", "plan_id"]),
    ("ix_plan_licensor", "plan", ["licensor"], ["licensor", "chain_id", "plan_id"]),
    ("ix_plan_plan_digest", "plan", ["plan_digest"], ["plan_digest", "chain_id", "plan_id"]),
    ("ix_plan_terms_hash", "plan", ["terms_hash"], ["terms_hash", "chain_id", "plan_id"]),
    ("ix_license_holder", "license", ["holder"], ["holder", "chain_id", "license_id"]),
    ("ix_license_model_id", "license", ["model_id"], ["model_id", "chain_id", "license_id"]),
    ("ix_anchor_sender", "anchor", ["sender"], ["sender", "chain_id", "anchored_at", "root"]),
)  # fmt: skip
_NEW = (
    ("ix_model_registered", "model", ["chain_id", "registered_block", "model_id"]),
    ("ix_license_plan_id", "license", ["plan_id", "chain_id", "license_id"]),
)
_STATE = (
    "model", "parent", "title", "sealing", "record", "plan", "role", "license", "seat", "anchor",
    "phase_a", "broker", "broker_set", "receipt_root", "sale", "revenue", "owed", "royalty",
)  # fmt: skip
_DEAD = sa.text("died_block IS NOT NULL")


def _there() -> set[str]:
    """Names of the indexes that there are: a first backfill under way has left most out."""
    found = sa.inspect(op.get_bind()).get_multi_indexes()
    return {str(index["name"]) for indexes in found.values() for index in indexes}


def _root() -> str:
    """A closing's root in SQL: its second indexed argument."""
    if op.get_bind().dialect.name == "postgresql":
        return "substring(topics from 65 for 32)"
    return "substr(topics, 65, 32)"


def upgrade() -> None:
    """Make them anew, where they are, and file what there is."""
    there = _there()
    for name, table, _, columns in _INDEXES:
        if name in there:
            op.drop_index(name, table)
            op.create_index(name, table, columns)
    if "ix_model_licensor" in there:
        for name, table, columns in _NEW:
            op.create_index(name, table, columns)
    for table in _STATE:
        name = f"ix_{table}_died"
        if name in there:
            op.drop_index(name, table)
            op.create_index(
                name,
                table,
                ["chain_id", "died_block"],
                sqlite_where=_DEAD,
                postgresql_where=_DEAD,
            )
    op.execute(
        "INSERT INTO log_subject (chain_id, subject, block, log_index) "  # noqa: S608  ours
        f"SELECT chain_id, {_root()}, block, log_index FROM raw_log "
        "WHERE event = 'BatchClosed'"
    )


def downgrade() -> None:
    """The indexes as they were; a closing's other subject does no harm, and goes."""
    there = _there()
    op.execute(
        "DELETE FROM log_subject WHERE EXISTS (SELECT 1 FROM raw_log "  # noqa: S608  ours
        "WHERE raw_log.chain_id = log_subject.chain_id AND raw_log.block = log_subject.block "
        "AND raw_log.log_index = log_subject.log_index AND raw_log.event = 'BatchClosed' "
        f"AND {_root()} = log_subject.subject)"
    )
    for table in reversed(_STATE):
        name = f"ix_{table}_died"
        if name in there:
            op.drop_index(name, table)
            op.create_index(name, table, ["chain_id", "died_block"])
    for name, table, _ in reversed(_NEW):
        if name in there:
            op.drop_index(name, table)
    for name, table, columns, _ in reversed(_INDEXES):
        if name in there:
            op.drop_index(name, table)
            op.create_index(name, table, columns)
