"""The database is made by migrations alone, and refused in words when it cannot be used."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import IntegrityError

from ledger.errors import ConfigurationError, IndexUnavailable, UsageError
from ledger.index import tables
from ledger.index.database import MIGRATIONS, open_database, writing


def test_the_migrations_make_exactly_the_tables_the_code_uses(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []


def test_the_migrations_can_be_taken_back_and_made_again(engine):
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    assert "raw_log" in inspect(engine).get_table_names()


def test_a_database_of_a_newer_release_is_refused(engine):
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError) as caught:
        open_database(str(engine.url))
    assert "update modeldeed" in caught.value.hint


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://u:secret@h/x"]
)
def test_a_url_that_cannot_be_meant_is_refused_without_repeating_it(url):
    with pytest.raises(UsageError) as caught:
        open_database(url)
    assert "secret" not in caught.value.message


def test_a_place_that_cannot_be_written_is_said_to_be_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IndexUnavailable):
        open_database(f"sqlite:///{tmp_path / 'file' / 'index.db'}")
    (tmp_path / "text.db").write_text(
        "this is no database, and long enough to be seen as none\n" * 9
    )
    with pytest.raises(IndexUnavailable):
        open_database(f"sqlite:///{tmp_path / 'text.db'}")


def test_an_interrupted_transaction_leaves_nothing(engine):
    def interrupted():
        with writing(engine) as connection:
            connection.execute(text("INSERT INTO alembic_version VALUES ('x')"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1


def test_one_entity_cannot_have_two_live_versions(engine):
    row = "INSERT INTO anchor VALUES (1, x'00', {}, NULL, x'00', 0)"
    with engine.connect() as connection, connection.begin() as transaction:
        connection.execute(text(row.format(1)))
        with pytest.raises(IntegrityError, match="UNIQUE"):
            connection.execute(text(row.format(2)))
        transaction.rollback()


def test_a_database_that_another_process_holds_is_unavailable_and_not_a_crash(engine):
    held = create_engine(engine.url)
    with held.connect() as other:
        raw = other.connection.dbapi_connection
        raw.isolation_level = None
        raw.execute("BEGIN IMMEDIATE")
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=50")
        with pytest.raises(IndexUnavailable, match="cannot be written"), writing(engine):
            pass
        raw.execute("ROLLBACK")
    held.dispose()
