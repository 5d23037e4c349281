"""Indexes by which the catalogue is asked: what carries a digest, what an account did, and when."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INDEXES = (
    ("ix_anchor_time", "anchor", ["chain_id", "anchored_at", "root"]),
    ("ix_anchor_sender", "anchor", ["sender"]),
    ("ix_model_manifest_hash", "model", ["manifest_hash"]),
    ("ix_model_watermark_commitment", "model", ["watermark_commitment"]),
    ("ix_parent_parent", "parent", ["parent"]),
    ("ix_plan_licensor", "plan", ["licensor"]),
    ("ix_plan_plan_digest", "plan", ["plan_digest"]),
    ("ix_plan_terms_hash", "plan", ["terms_hash"]),
    ("ix_record_record_hash", "record", ["record_hash"]),
    ("ix_sealing_record_hash", "sealing", ["record_hash"]),
)


def upgrade() -> None:
    """Make them."""
    for name, table, columns in _INDEXES:
        op.create_index(name, table, columns)


def downgrade() -> None:
    """Drop them."""
    for name, table, _ in reversed(_INDEXES):
        op.drop_index(name, table)
