"""What is said of a database's tables, keys and indexes: each fault, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy import text

from ledger.index.database import open_database, reading, writing
from ledger.index.deferred import leave_out, left_out, restore
from ledger.index.shape import lacking, make_indexes


def done(engine, *statements):
    with writing(engine) as connection:
        for statement in statements:
            connection.execute(text(statement))


def said(engine, **options):
    with reading(engine) as connection:
        return lacking(connection, **options)


def made(engine):
    with writing(engine) as connection:
        return make_indexes(connection)


def on(engine, kind):
    if engine.dialect.name != kind:
        pytest.skip(f"this is about {kind}")


@pytest.mark.parametrize(
    "rows",
    [
        "died_block IS NULL AND chain_id = 0",
        "died_block IS NOT NULL",
        "died_block IS NULL\n AND chain_id = 0",
    ],
)
def test_an_index_of_other_rows_is_told_and_made_anew(engine, rows):
    done(
        engine,
        "DROP INDEX uq_license_live",
        "CREATE UNIQUE INDEX uq_license_live ON license (chain_id, license_id)\nWHERE " + rows,
    )
    assert said(engine) == ["index uq_license_live is another one, or lacks rows"]
    assert made(engine) == ["uq_license_live"]
    assert (said(engine), made(engine)) == ([], [])


def test_an_index_of_all_rows_and_one_of_some_are_not_each_others(engine):
    done(
        engine,
        "DROP INDEX uq_license_live",
        "CREATE UNIQUE INDEX uq_license_live ON license (chain_id, license_id)",
        "DROP INDEX ix_leaf_id",
        "CREATE INDEX ix_leaf_id ON leaf (id) WHERE kind = 'cid'",
    )
    assert len(said(engine)) == 2
    assert made(engine) == ["ix_leaf_id", "uq_license_live"]
    assert said(engine) == []


def test_an_index_over_an_expression_in_the_place_of_ours_is_made_anew(engine):
    done(engine, "DROP INDEX ix_leaf_id", "CREATE INDEX ix_leaf_id ON leaf (lower(kind))")
    assert said(engine) == ["index ix_leaf_id is another one, or lacks rows"]
    assert made(engine) == ["ix_leaf_id"]
    assert said(engine) == []


@pytest.mark.parametrize(
    "written",
    [
        (
            'CREATE UNIQUE INDEX "uq_license_live" ON "license" ("chain_id", "license_id") '
            'where ("died_block" is null)'
        ),
        (
            "CREATE UNIQUE INDEX uq_license_live ON license(chain_id,license_id)\n"
            "  WHERE\n  died_block   IS\nNULL"
        ),
    ],
)
def test_how_a_right_index_is_written_is_no_fault(engine, written):
    done(engine, "DROP INDEX uq_license_live", written)
    assert said(engine) == []


def test_an_index_that_the_server_calls_invalid_is_told_and_made_anew(engine):
    on(engine, "postgresql")
    done(
        engine,
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'uq_license_live'::regclass",
    )
    assert said(engine) == ["index uq_license_live is another one, or lacks rows"]
    assert made(engine) == ["uq_license_live"]
    assert said(engine) == []


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "ALTER TABLE raw_log ADD CONSTRAINT low CHECK (block < 1000)",
            "condition low on table raw_log is another's",
        ),
        (
            "ALTER TABLE evidence ADD CONSTRAINT mine FOREIGN KEY (hash) REFERENCES proof (hash)",
            "constraint mine on table evidence is another's",
        ),
        (
            "ALTER TABLE proof ADD CONSTRAINT once UNIQUE (body)",
            "constraint once on table proof is another's",
        ),
        (
            "ALTER TABLE raw_log ADD COLUMN mine integer NOT NULL",
            "column raw_log.mine is not of this release, and needed",
        ),
        ("ALTER TABLE proof SET UNLOGGED", "table proof is not logged: a crash would empty it"),
    ],
)
def test_what_may_refuse_or_lose_the_next_row_is_told(engine, statement, told):
    on(engine, "postgresql")
    done(engine, statement)
    assert said(engine) == [told]


def test_a_condition_in_a_file_is_told_and_a_column_of_somebodys_own_is_not(engine):
    on(engine, "sqlite")
    done(
        engine,
        "ALTER TABLE raw_log ADD COLUMN mine integer",
        "ALTER TABLE proof ADD COLUMN low integer CHECK (low < 1000)",
    )
    assert said(engine) == ["condition low < 1000 on table proof is another's"]


def test_a_unique_index_of_somebodys_own_is_told(engine):
    done(engine, "CREATE UNIQUE INDEX mine ON raw_log (chain_id)")
    assert said(engine) == ["unique index mine may refuse the next row"]


def test_an_index_that_finds_no_single_row_is_made_anew(engine):
    on(engine, "postgresql")
    done(
        engine,
        "DROP INDEX ix_orphan_log_place",
        "CREATE INDEX ix_orphan_log_place ON orphan_log USING brin (chain_id, block, log_index)",
    )
    assert said(engine) == ["index ix_orphan_log_place is another one, or lacks rows"]
    assert made(engine) == ["ix_orphan_log_place"]
    assert said(engine) == []


@pytest.mark.parametrize("table", ["raw_log", "evidence", "license", "access_key"])
def test_a_table_without_its_key_is_told(engine, table):
    on(engine, "postgresql")
    done(engine, f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
    # Also in a first backfill, which leaves out none of these.
    for backfill in (False, True):
        assert said(engine, backfill=backfill) == [f"table {table} has not its primary key"]
    assert made(engine) == []


@pytest.mark.parametrize("table", ["raw_log", "log_subject"])
def test_a_key_that_the_server_calls_invalid_is_told(engine, table):
    on(engine, "postgresql")
    done(
        engine,
        f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{table}_pkey'::regclass",
    )
    assert said(engine) == [f"table {table} has not its primary key"]


def test_a_key_of_other_columns_is_told(engine):
    if engine.dialect.name == "postgresql":
        done(
            engine,
            "ALTER TABLE leaf DROP CONSTRAINT leaf_pkey",
            "ALTER TABLE leaf ADD PRIMARY KEY (model_id, id)",
        )
    else:
        done(
            engine,
            "DROP TABLE leaf",
            "CREATE TABLE leaf (model_id BLOB NOT NULL, kind VARCHAR(4) NOT NULL, id BLOB NOT NULL,"
            " PRIMARY KEY (model_id, id)) WITHOUT ROWID",
            "CREATE INDEX ix_leaf_id ON leaf (id)",
        )
    assert said(engine) == ["table leaf has not its primary key"]


@pytest.mark.parametrize("table", ["orphan_log", "reorg"])
@pytest.mark.parametrize("how", ["DROP DEFAULT", "SET DEFAULT 7"])
def test_a_column_that_no_longer_counts_is_told(engine, table, how):
    on(engine, "postgresql")
    done(engine, f"ALTER TABLE {table} ALTER COLUMN id {how}")
    assert said(engine) == [f"column {table}.id does not count by itself"]


def test_a_first_backfill_lacks_what_it_leaves_out_and_nothing_else(engine):
    with writing(engine) as connection:
        assert leave_out(connection)
    assert len(said(engine)) >= len(left_out(engine.dialect.name))
    assert said(engine, backfill=True) == []
    done(
        engine,
        "DROP INDEX ix_leaf_id",
        "CREATE UNIQUE INDEX uq_license_live ON license (chain_id, license_id)",
    )
    assert said(engine, backfill=True) == [
        "index ix_leaf_id is not there",
        "index uq_license_live is another one, or lacks rows",
    ]
    assert "uq_license_live" in made(engine)
    restore(engine)
    assert said(engine) == []


def test_links_whose_index_is_not_their_key_yet_are_no_fault(engine):
    on(engine, "postgresql")
    done(
        engine,
        "ALTER TABLE log_subject DROP CONSTRAINT log_subject_pkey",
        "CREATE UNIQUE INDEX log_subject_pkey ON log_subject (subject, chain_id, block, log_index)",
    )
    assert said(engine) == []


OWN = (
    "CREATE INDEX own ON license (holder)",
    "CREATE INDEX own_some ON license (holder) WHERE seats_used > 3",
    "CREATE INDEX own_lower ON access_key (lower(name))",
)


def test_an_index_of_somebodys_own_is_no_fault(engine):
    done(engine, *OWN)
    assert (said(engine), made(engine)) == ([], [])
    if engine.dialect.name == "postgresql":
        done(
            engine,
            "CREATE TYPE mood AS ENUM ('low')",
            "CREATE TABLE theirs (id int PRIMARY KEY, m mood)",
            "CREATE INDEX ix_theirs ON theirs (m)",
            "CREATE SCHEMA other",
            "CREATE TABLE other.license (x int)",
            "CREATE INDEX uq_license_live ON other.license (x)",
        )
        assert (said(engine), made(engine)) == ([], [])


def test_of_an_index_over_an_expression_nothing_is_printed(engine):
    done(engine, *OWN)
    program = (
        "import sys; from ledger.index.database import open_database;"
        "from ledger.index.shape import lacking, make_indexes;"
        "from ledger.index.deferred import restore; engine = open_database(sys.argv[1]);"
        "connection = engine.connect(); print(lacking(connection), make_indexes(connection));"
        "connection.close(); print(restore(engine))"
    )
    url = engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", program, url]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("[] []\n0\n", "")


def test_a_schema_of_the_roles_own_holds_an_index_as_well_as_public(postgres):
    name = postgres.fresh()
    try:
        with postgres.admin(name) as admin:
            admin.execute("CREATE SCHEMA deed")  # "$user", first in the default search_path
            admin.execute("CREATE TABLE public.theirs (id int PRIMARY KEY)")
        engine = open_database(postgres.url(name))
        with postgres.admin(name) as admin:
            # Hidden behind ours.
            admin.execute("CREATE TABLE public.license (x int)")
            admin.execute("CREATE INDEX uq_license_live ON public.license (x)")
            found = admin.execute("SELECT to_regclass('deed.license')").fetchone()
        assert found == ("license",)
        assert (said(engine), made(engine)) == ([], [])
        done(engine, "ALTER TABLE deed.raw_log DROP CONSTRAINT raw_log_pkey")
        assert said(engine) == ["table raw_log has not its primary key"]
        engine.dispose()
    finally:
        postgres.drop(name)
