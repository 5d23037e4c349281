"""Alembic's entry: run the migrations on the connection that `ledger.index.database` holds."""

from alembic import context

from ledger.index import access_tables  # noqa: F401  its tables join the metadata
from ledger.index.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
