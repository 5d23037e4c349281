"""Alembic migrations of the index: the only way its tables are made."""
