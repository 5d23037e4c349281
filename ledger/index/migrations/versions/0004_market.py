"""Sales, what licensors took, and what is owed to whom: the state folded from LicenseMarket."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_AMOUNT = 78
_LIVE = sa.text("died_block IS NULL")


def upgrade() -> None:
    """Make the tables; they fill in an index made anew (`ledger.index.journal.pinned`)."""
    _state(
        "owed",
        [
            sa.Column("account", sa.LargeBinary(20), nullable=False),
            sa.Column("pay_token", sa.LargeBinary(20), nullable=False),
        ],
        sa.Column("accrued", sa.String(_AMOUNT), nullable=False),
        sa.Column("withdrawn", sa.String(_AMOUNT), nullable=False),
    )
    _state(
        "revenue",
        [
            sa.Column("licensor", sa.LargeBinary(20), nullable=False),
            sa.Column("pay_token", sa.LargeBinary(20), nullable=False),
        ],
        sa.Column("sales", sa.String(20), nullable=False),
        sa.Column("renewals", sa.String(20), nullable=False),
        sa.Column("refunds", sa.String(20), nullable=False),
        sa.Column("taken", sa.String(_AMOUNT), nullable=False),
        sa.Column("refunded", sa.String(_AMOUNT), nullable=False),
    )
    _state(
        "royalty",
        [
            sa.Column("model_id", sa.LargeBinary(32), nullable=False),
            sa.Column("pay_token", sa.LargeBinary(20), nullable=False),
        ],
        sa.Column("accrued", sa.String(_AMOUNT), nullable=False),
        sa.Column("collected", sa.String(_AMOUNT), nullable=False),
    )
    _state(
        "sale",
        [sa.Column("license_id", sa.BigInteger(), nullable=False)],
        sa.Column("payer", sa.LargeBinary(20), nullable=False),
        sa.Column("licensor", sa.LargeBinary(20), nullable=False),
        sa.Column("pay_token", sa.LargeBinary(20), nullable=False),
        sa.Column("amount", sa.String(_AMOUNT), nullable=False),
        sa.Column("sold_at", sa.BigInteger(), nullable=False),
        sa.Column("refundable_until", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
    )


def _state(name: str, keys: list[sa.Column[Any]], *values: sa.Column[Any]) -> None:
    named = [key.name for key in keys]
    op.create_table(
        name,
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        *keys,
        sa.Column("born_block", sa.BigInteger(), nullable=False),
        sa.Column("died_block", sa.BigInteger(), nullable=True),
        *values,
        sa.PrimaryKeyConstraint("chain_id", *named, "born_block"),
    )
    op.create_index(f"ix_{name}_born", name, ["chain_id", "born_block"])
    op.create_index(f"ix_{name}_died", name, ["chain_id", "died_block"])
    op.create_index(
        f"uq_{name}_live",
        name,
        ["chain_id", *named],
        unique=True,
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    )


def downgrade() -> None:
    """Drop them."""
    for name in ("sale", "royalty", "revenue", "owed"):
        op.drop_table(name)
