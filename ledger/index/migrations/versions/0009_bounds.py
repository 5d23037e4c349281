"""An account's sessions by its index; by which key an endpoint is, in a column of its own."""

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_ENDPOINT = sa.table(
    "webhook_endpoint", sa.column("id"), sa.column("filters"), sa.column("via", sa.String(40))
)


def _each(columns: tuple[Any, ...], moved: Callable[[Any, dict[str, Any]], Any]) -> None:
    """Write anew what `moved` makes of each endpoint and its filters; there are few."""
    connection = op.get_bind()
    for row in connection.execute(sa.select(_ENDPOINT.c.id, *columns)).all():
        told = json.loads(row.filters)
        if isinstance(told, dict):  # as this program writes them, all are
            values = moved(row, told) | {"filters": json.dumps(told, sort_keys=True)}
            connection.execute(
                sa.update(_ENDPOINT).where(_ENDPOINT.c.id == row.id).values(**values)
            )


def _out(_: Any, told: dict[str, Any]) -> dict[str, str]:
    return {"via": told.pop("via", "")}


def _back(row: Any, told: dict[str, Any]) -> dict[str, str]:
    told["via"] = row.via
    return {}


def upgrade() -> None:
    """Make the index; take the key out of the filters."""
    op.create_index("ix_access_session_account", "access_session", ["account"])
    op.add_column("webhook_endpoint", sa.Column("via", sa.String(40), server_default=""))
    _each((_ENDPOINT.c.filters,), _out)
    with op.batch_alter_table("webhook_endpoint") as table:
        table.alter_column("via", existing_type=sa.String(40), nullable=False, server_default=None)


def downgrade() -> None:
    """Put it back there; take the index away."""
    _each((_ENDPOINT.c.filters, _ENDPOINT.c.via), _back)
    with op.batch_alter_table("webhook_endpoint") as table:
        table.drop_column("via")
    op.drop_index("ix_access_session_account", table_name="access_session")
