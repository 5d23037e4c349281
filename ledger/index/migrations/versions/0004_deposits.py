"""How many documents were ever deposited, so that a validator need not count them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; its one row goes on from the documents that are there."""
    op.create_table(
        "library_place",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("deposits", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute("INSERT INTO library_place (id, deposits) SELECT 1, count(*) FROM document")


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("library_place")
