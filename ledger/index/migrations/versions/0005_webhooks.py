"""Webhooks: endpoints, messages, deliveries, and how far the outbox was read for them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLES = ("webhook_endpoint", "webhook_message", "webhook_delivery", "webhook_place")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "webhook_endpoint",
        sa.Column("id", sa.String(24), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(80), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.String(200), nullable=False),
        sa.Column("filters", sa.Text(), nullable=False),
        sa.Column("expiring_days", sa.Integer(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("key_name", sa.String(16), nullable=False),
        sa.Column("old_key_name", sa.String(16), nullable=True),
        sa.Column("old_until", sa.BigInteger(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("since_seq", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("resting_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("claim", sa.String(32), nullable=False),
        sa.Column("claimed_until_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_webhook_endpoint_owner", "webhook_endpoint", ["owner"])
    op.create_table(
        "webhook_message",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(24), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("made_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_webhook_message_made_at_ms", "webhook_message", ["made_at_ms"])
    op.create_table(
        "webhook_delivery",
        sa.Column("endpoint", sa.String(24), nullable=False),
        sa.Column("message", sa.String(40), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(9), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("made_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("tried_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("done_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("trouble", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("endpoint", "message"),
    )
    op.create_index(
        "ix_webhook_delivery_due", "webhook_delivery", ["endpoint", "state", "next_at_ms"]
    )
    op.create_index("ix_webhook_delivery_number", "webhook_delivery", ["endpoint", "number"])
    op.create_index("ix_webhook_delivery_done", "webhook_delivery", ["state", "done_at_ms"])
    op.create_index("ix_webhook_delivery_message", "webhook_delivery", ["message"])
    op.create_table(
        "webhook_place",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("after_seq", sa.BigInteger(), nullable=False),
        sa.Column("numbered", sa.BigInteger(), nullable=False),
        sa.Column("reminded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id"),
    )


def downgrade() -> None:
    """Take them away again."""
    for name in _TABLES:
        op.drop_table(name)
