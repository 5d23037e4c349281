"""An account's sessions by its index, so that a sign-in counts them."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    op.create_index("ix_access_session_account", "access_session", ["account"])


def downgrade() -> None:
    """Take it away."""
    op.drop_index("ix_access_session_account", table_name="access_session")
