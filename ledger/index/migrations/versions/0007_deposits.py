"""How many documents were ever deposited, so that a validator need not count them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; its one row comes with the next deposit."""
    op.create_table(
        "library_place",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("deposits", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("library_place")
