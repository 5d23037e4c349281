"""Requests that take effect once, and transactions that were passed on."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "access_once",
        sa.Column("credential", sa.String(32), nullable=False),
        sa.Column("name", sa.LargeBinary(32), nullable=False),
        sa.Column("print", sa.LargeBinary(32), nullable=False),
        sa.Column("attempt", sa.LargeBinary(16), nullable=False),
        sa.Column("held_until", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("credential", "name"),
    )
    op.create_index("ix_access_once_expires_at", "access_once", ["expires_at"])
    op.create_table(
        "relayed",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("sender", sa.LargeBinary(20), nullable=False),
        sa.Column("nonce", sa.String(20), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "hash"),
    )
    op.create_index("ix_relayed_sent_at", "relayed", ["sent_at"])


def downgrade() -> None:
    """Take them away again."""
    op.drop_table("relayed")
    op.drop_table("access_once")
