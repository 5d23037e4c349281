"""The database is made by migrations alone, and refused in words when it cannot be used."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    create_engine,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import QueuePool

from ledger.cli.index_args import opened
from ledger.errors import ConfigurationError, IndexDamaged, IndexUnavailable, UsageError
from ledger.index import tables
from ledger.index.database import MIGRATIONS, migrate, open_database, reading, writing
from ledger.index.deferred import leave_out, left_out, restore
from ledger.index.kept_evidence import KeptEvidence
from ledger.index.views import Index
from ledger.index.webhook_tables import webhook_endpoint


def alembic(engine: Engine, run: Any, revision: str, *, beside: Path | None = None) -> None:
    """Run an Alembic command, with revisions of the test's own beside the real ones."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    if beside is not None:
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", f"{MIGRATIONS / 'versions'}\n{beside}")
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        run(config, revision)


def a_row(table: Table, number: int) -> dict[str, Any]:
    """A row with something in every column."""

    def value(column: Column[Any]) -> Any:
        match column.type:
            case tables.Uint():
                return 2**64 - 1
            case LargeBinary(length=length):
                return bytes([number]) * (length or 7)
            case Boolean():
                return True
            case BigInteger():
                return 2**62 + number
            case SmallInteger() | Integer():
                return number
        return str(number)

    return {column.name: value(column) for column in table.columns}


def fill(engine: Engine) -> None:
    """Two rows in every table."""
    with writing(engine) as connection:
        for table in tables.metadata.tables.values():
            connection.execute(insert(table), [a_row(table, 1), a_row(table, 2)])


def everything(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    with engine.connect() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for name, table in tables.metadata.tables.items()
        }


def drift(engine: Engine) -> list[Any]:
    """Where the tables as they are differ from the tables as the code has them."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, tables.metadata))


def test_the_migrations_make_exactly_the_tables_the_code_uses(engine):
    assert drift(engine) == []


def test_a_column_that_only_the_database_has_is_noticed_as_drift(engine):
    with writing(engine) as connection:
        connection.execute(text("ALTER TABLE model ADD COLUMN forgotten INTEGER"))
        connection.execute(text("DROP INDEX ix_raw_log_event"))
    found = repr(drift(engine))
    assert "forgotten" in found
    assert "ix_raw_log_event" in found


def test_the_migrations_can_be_taken_back_with_data_and_made_again(engine):
    fill(engine)
    alembic(engine, command.downgrade, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    alembic(engine, command.upgrade, "head")
    assert drift(engine) == []
    fill(engine)


LATER = '''
"""A column and an index that some later release adds."""
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "later", "{head}", None, None


def upgrade():
    with op.batch_alter_table("license") as table:
        table.add_column(sa.Column("later", sa.BigInteger(), server_default="7", nullable=False))
    op.create_index("ix_license_later", "license", ["later"])


def downgrade():
    op.drop_index("ix_license_later", "license")
    with op.batch_alter_table("license") as table:
        table.drop_column("later")
'''


@pytest.fixture
def later(tmp_path, engine):
    """A folder with a revision that follows the newest one."""
    with engine.connect() as connection:
        head = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    folder = tmp_path / "later"
    folder.mkdir()
    (folder / "later.py").write_text(LATER.format(head=head))
    return folder


def test_a_later_revision_keeps_every_row_on_the_way_up_and_on_the_way_down(engine, later):
    fill(engine)
    before = everything(engine)
    alembic(engine, command.upgrade, "later", beside=later)
    assert everything(engine) == before
    with engine.connect() as connection:
        assert connection.execute(text("SELECT DISTINCT later FROM license")).scalars().all() == [7]
    alembic(engine, command.downgrade, "-1", beside=later)
    assert everything(engine) == before
    assert drift(engine) == []


def test_closings_of_an_older_index_are_filed_under_their_batches_roots(engine):
    alembic(engine, command.downgrade, "0007")
    log, link, root = tables.raw_log, tables.log_subject, b"\xab" * 32
    values = a_row(log, 1) | {"topics": bytes(64) + root + bytes(32)}
    closed, other = ({**values, "block": n, "event": e} for n, e in enumerate(("BatchClosed", "x")))
    with writing(engine) as connection:
        connection.execute(insert(log), [closed, other])
    alembic(engine, command.upgrade, "head")
    with engine.connect() as connection:
        filed = connection.execute(select(link.c.subject, link.c.block)).all()
    assert filed == [(root, 0)]
    alembic(engine, command.downgrade, "0007")
    with engine.connect() as connection:
        assert connection.execute(select(link)).all() == []


def test_indexes_that_a_backfill_left_out_are_made_at_its_end_in_their_new_shape(engine):
    alembic(engine, command.downgrade, "0007")
    with writing(engine) as connection:
        assert leave_out(connection)
    alembic(engine, command.upgrade, "head")
    assert restore(engine) == len(left_out(engine.dialect.name))
    assert drift(engine) == []


def test_the_key_of_an_older_indexs_webhook_moves_into_its_own_column_and_back(engine):
    alembic(engine, command.downgrade, "0008")
    old = {"a": '{"events": [], "via": "key:Ab3dE5fG7h"}', "b": '{"events": ["x"], "via": ""}',
           "c": '{"events": ["y"]}'}  # fmt: skip
    row = {name: value for name, value in a_row(webhook_endpoint, 1).items() if name != "via"}
    table = Table("webhook_endpoint", MetaData(), autoload_with=engine)
    assert "via" not in table.c
    with writing(engine) as connection:
        connection.execute(insert(table), [row | {"id": k, "filters": v} for k, v in old.items()])

    def held(*columns):
        query = text(f"SELECT {', '.join(columns)} FROM webhook_endpoint ORDER BY id")
        with engine.connect() as connection:
            return [tuple(found) for found in connection.execute(query)]

    before = held("url", "owner", "description", "since_seq")
    alembic(engine, command.upgrade, "head")
    assert held("id", "via", "filters") == [
        ("a", "key:Ab3dE5fG7h", '{"events": []}'),
        ("b", "", '{"events": ["x"]}'),
        ("c", "", '{"events": ["y"]}'),
    ]
    assert held("url", "owner", "description", "since_seq") == before
    assert drift(engine) == []
    alembic(engine, command.downgrade, "0008")
    assert held("filters") == [(old["a"],), (old["b"],), ('{"events": ["y"], "via": ""}',)]
    assert held("url", "owner", "description", "since_seq") == before


def test_a_database_of_a_newer_release_is_refused_in_words_and_left_alone(
    engine, later, database_url
):
    alembic(engine, command.upgrade, "later", beside=later)
    fill(engine)
    with pytest.raises(ConfigurationError, match="shape this release does not know") as caught:
        open_database(database_url)
    assert "update modeldeed" in caught.value.hint
    with engine.connect() as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    assert found == "later"


def test_a_start_on_an_older_database_brings_it_up_to_date(engine, database_url):
    alembic(engine, command.downgrade, "base")
    open_database(database_url).dispose()
    assert drift(engine) == []


def test_an_empty_database_that_many_processes_open_at_once_is_made_once(engine, database_url):
    alembic(engine, command.downgrade, "base")
    with writing(engine) as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    failures: list[BaseException] = []

    def start() -> None:
        try:
            open_database(database_url).dispose()
        except BaseException as error:  # noqa: BLE001 -- shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert drift(engine) == []


# -- whose it is ---------------------------------------------------------------------------------


def shape(url):
    """What a database holds: each table's columns, and the revisions on record."""
    engine = create_engine(url)
    with engine.connect() as connection:
        look = inspect(connection)
        found = {t: [c["name"] for c in look.get_columns(t)] for t in look.get_table_names()}
        revisions = []
        if "version_num" in found.get("alembic_version", ()):
            revisions = connection.execute(text("SELECT * FROM alembic_version")).scalars().all()
    engine.dispose()
    return found, revisions


@pytest.fixture
def bare(postgres):
    """The URL of a database on a server with nothing in it."""
    name = postgres.fresh()
    yield postgres.url(name)
    postgres.drop(name)


def made(url, *statements):
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_who_only_reads_makes_no_tables_on_a_server(bare):
    made(bare, "CREATE TABLE theirs (id int)")
    before = shape(bare)
    with pytest.raises(UsageError, match="there is no index in the database") as caught:
        open_database(bare, create=False)
    assert "deed index run" in caught.value.hint
    assert "pg_restore" in caught.value.hint
    assert shape(bare) == before
    # As extensions have them, other tables may be there.
    open_database(bare).dispose()
    open_database(bare, create=False).dispose()
    assert "theirs" in shape(bare)[0]


def test_where_the_first_table_was_taken_back_who_only_reads_makes_none(engine, database_url):
    alembic(engine, command.downgrade, "base")
    with pytest.raises(UsageError, match="there is no index"):
        open_database(database_url, create=False)
    assert shape(database_url) == ({"alembic_version": ["version_num"]}, [])


ALEMBIC = "CREATE TABLE alembic_version (version_num varchar(32))"


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    "theirs",
    [
        ["CREATE TABLE model (id int)"],
        ["CREATE TABLE webhook_endpoint (id int)", "CREATE TABLE access_key (id int)"],
        [ALEMBIC, "INSERT INTO alembic_version VALUES ('3f9c2b7a1d00')"],
        [ALEMBIC, "INSERT INTO alembic_version VALUES ('0008')"],
        ["CREATE TABLE alembic_version (id int)"],
    ],
)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_of_another_program_is_refused_and_not_changed(
    request, tmp_path, kind, theirs, create
):
    file = tmp_path / "theirs.db"
    url = request.getfixturevalue("bare") if kind == "postgresql" else f"sqlite:///{file}"
    made(url, *theirs)
    before, held = shape(url), file.read_bytes() if kind == "sqlite" else b""
    with pytest.raises(UsageError, match="holds tables of another program") as caught:
        open_database(url, create=create)
    assert "nothing in it was changed" in caught.value.hint
    assert shape(url) == before
    if kind == "sqlite":
        assert file.read_bytes() == held


@pytest.mark.parametrize("create", [True, False])
def test_a_name_that_another_program_took_beside_an_older_index_is_said_to_be_taken(
    engine, database_url, create
):
    alembic(engine, command.downgrade, "0004")
    made(database_url, "CREATE TABLE webhook_endpoint (id int)")
    before = shape(database_url)
    with pytest.raises(UsageError, match="under a name that the index needs"):
        open_database(database_url, create=create)
    assert shape(database_url) == before


@pytest.fixture
def postgres_reader(postgres, postgres_template):
    """An index on a server: its owner's connection, and its URL for a role that may only read."""
    name = postgres.fresh(postgres_template)
    with postgres.admin(name) as admin:
        admin.execute("CREATE ROLE reader LOGIN")
        admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        yield admin, postgres.url(name).replace("deed@", "reader@")
        admin.execute("DROP OWNED BY reader")
        admin.execute("DROP ROLE reader")
    postgres.drop(name)


def test_a_role_that_may_make_no_tables_is_told_so(postgres, bare):
    made(bare, "CREATE ROLE poor LOGIN")
    try:
        with pytest.raises(UsageError, match="the role that the URL names may not") as caught:
            open_database(bare.replace("deed@", "poor@"))
        assert "createdb --owner" in caught.value.hint
    finally:
        made(bare, "DROP ROLE poor")


@pytest.fixture
def walled(postgres):
    """A role of which the server asks a password."""
    rules = postgres.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("local all walled scram-sha-256\n" + before)
    with postgres.admin() as admin:
        admin.execute("CREATE ROLE walled LOGIN PASSWORD 'right'")
        admin.execute("SELECT pg_reload_conf()")
        yield
        rules.write_text(before)
        admin.execute("SELECT pg_reload_conf()")
        admin.execute("DROP ROLE walled")


@pytest.mark.parametrize(
    ("user", "name", "said"),
    [
        ("deed", "nodb", 'database "nodb" does not exist'),
        ("nobody", "postgres", 'role "nobody" does not exist'),
        ("walled:wrong", "postgres", 'password authentication failed for user "walled"'),
        ("walled", "postgres", "no password supplied"),
    ],
)
def test_who_is_refused_by_the_server_is_not_told_to_wait(postgres, walled, user, name, said):
    with pytest.raises(UsageError, match="the server refuses the connection: ") as caught:
        open_database(postgres.url(name).replace("deed@", f"{user}@"))
    assert said in caught.value.message
    assert "createdb" in caught.value.hint
    assert "wrong" not in caught.value.message


def test_a_role_that_may_only_read_opens_an_index_and_is_told_where_it_may_not(
    postgres_reader,
):
    admin, url = postgres_reader
    open_database(url, create=False).dispose()
    admin.execute("REVOKE SELECT ON alembic_version FROM reader")
    with pytest.raises(UsageError, match="the role that the URL names may not"):
        open_database(url, create=False)


@pytest.mark.parametrize("create", [True, False])
def test_an_index_whose_revisions_have_another_column_is_no_server_that_does_not_run(
    engine, database_url, create
):
    made(database_url, "ALTER TABLE alembic_version RENAME COLUMN version_num TO v")
    before = shape(database_url)
    with pytest.raises(UsageError, match="has not the tables that this release made"):
        open_database(database_url, create=create)
    assert shape(database_url) == before


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("how", ["DELETE FROM alembic_version", "DROP TABLE alembic_version"])
def test_an_index_that_lost_its_revision_is_said_to_be_changed_by_another_hand(
    engine, database_url, how, create
):
    fill(engine)
    made(database_url, how)
    before, rows = shape(database_url), everything(engine)
    with pytest.raises(UsageError, match="does not say which release's shape") as caught:
        open_database(database_url, create=create)
    back = "pg_restore" if engine.dialect.name == "postgresql" else "deed index restore"
    assert back in caught.value.hint
    assert (shape(database_url), everything(engine)) == (before, rows)


@pytest.mark.parametrize("table", ["cursor", "raw_log"])
def test_an_index_without_its_first_tables_is_no_other_program_s(engine, database_url, table):
    with writing(engine) as connection:
        connection.execute(text(f"DROP TABLE {table}"))
    engine.dispose()
    with pytest.raises(UsageError, match=f"there is no table {table}"):
        open_database(database_url, create=True)


@pytest.mark.parametrize(
    "how", ["DROP TABLE sealing", "ALTER TABLE sealing RENAME record_hash TO gone"]
)
def test_an_index_that_lost_a_table_or_a_column_is_no_matter_of_trying_again(
    engine, database_url, how
):
    made(database_url, how)
    with (
        pytest.raises(UsageError, match="has not the tables that this release made: ") as caught,
        opened(None, database_url) as again,
        reading(again) as connection,
    ):
        connection.execute(select(tables.sealing))
    assert "another hand changed it" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    ["", "://nonsense", "nonsense://h", "sqlite://", "sqlite:///:memory:", "mysql://u:secret@h/x"],
)
def test_a_url_that_cannot_be_meant_is_refused_without_repeating_it(url):
    with pytest.raises(UsageError) as caught:
        open_database(url)
    assert "secret" not in caught.value.message


def test_a_server_that_is_not_there_is_said_to_be_so_without_its_password(tmp_path, caplog):
    url = f"postgresql+psycopg://deed:hunter2@/index?host={tmp_path}"
    with pytest.raises(IndexUnavailable) as caught:
        open_database(url)
    # Who only reads would wonder what was to be written.
    assert "written" not in caplog.text
    assert "hunter2" not in caught.value.message
    assert "cannot be opened" in caught.value.message
    assert "that the server runs" in caught.value.hint


def test_who_asks_is_not_told_where_the_server_is_and_the_log_is(tmp_path, caplog):
    engine = create_engine(f"postgresql+psycopg://deed:hunter2@/index?host={tmp_path}")
    with pytest.raises(IndexUnavailable) as read, reading(engine) as connection:
        connection.execute(select(1))
    with pytest.raises(IndexUnavailable) as written, writing(engine):
        pass
    assert read.value.message == "the index database cannot be read: OperationalError"
    assert written.value.message == "the index database cannot be written: OperationalError"
    assert ["connection to server" in each.getMessage() for each in caplog.records] == [True] * 2
    assert "hunter2" not in caplog.text


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
    def row(born):
        return {**a_row(tables.anchor, 1), "born_block": born, "died_block": None}

    with engine.connect() as connection, connection.begin() as transaction:
        connection.execute(insert(tables.anchor), row(1))
        with pytest.raises(IntegrityError, match=r"UNIQUE|uq_anchor_live"):
            connection.execute(insert(tables.anchor), row(2))
        transaction.rollback()


def test_a_snapshot_shows_one_moment_whatever_is_committed_meanwhile(engine, look):
    journal = Index(engine, 1).journal
    with writing(engine) as connection:
        journal.pin(connection, genesis=look.digest(b"g"), deployment={}, first=1)
    with Index(engine, 1).snapshot() as snapshot:
        with writing(engine) as connection:
            connection.execute(
                insert(tables.role), {**a_row(tables.role, 1), "chain_id": 1, "died_block": None}
            )
        count = select(func.count()).select_from(tables.role)
        assert snapshot.connection.execute(count).scalar_one() == 0
    with engine.connect() as connection:
        assert connection.execute(count).scalar_one() == 1


def test_a_database_that_another_process_holds_is_unavailable_and_not_a_crash(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
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
    engine.dispose()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_text_that_is_no_utf_8_is_damage_and_no_matter_of_trying_again(engine, database_url):
    no_text = "CAST(X'736563726574C3C3' AS TEXT)"
    with writing(engine) as connection:
        connection.execute(insert(tables.cursor).values(a_row(tables.cursor, 1)))
        connection.exec_driver_sql(f"UPDATE cursor SET holder = {no_text}")
    for using in (reading, writing):
        with (
            pytest.raises(IndexDamaged, match=r"column 'holder'$") as error,
            using(engine) as connection,
        ):
            connection.execute(select(tables.cursor)).all()
        assert "put a copy in its place" in error.value.hint
    with writing(engine) as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = {no_text}")
    with pytest.raises(IndexDamaged, match=r"column 'version_num'$"):
        open_database(database_url)


@pytest.mark.parametrize("uses", [reading, writing])
def test_a_pool_whose_connections_are_all_taken_is_unavailable_and_not_a_crash(tmp_path, uses):
    open_database(str(tmp_path / "index.db")).dispose()
    small = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0, "pool_timeout": 0}
    engine = create_engine(f"sqlite:///{tmp_path / 'index.db'}", **small)
    with engine.connect():
        with pytest.raises(IndexUnavailable, match="are in use") as refused, uses(engine):
            pass
        with pytest.raises(IndexUnavailable), Index(engine, 1).reading():
            pass
        with pytest.raises(IndexUnavailable):
            KeptEvidence(engine, 1).reaches(1)
    assert refused.value.hint.startswith("try again shortly")
    with uses(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


@pytest.fixture
def server_database(postgres, postgres_template):
    name = postgres.fresh(postgres_template)
    engine = open_database(postgres.url(name))
    yield engine
    engine.dispose()
    postgres.drop(name)


def test_a_row_that_another_transaction_holds_is_waited_for_and_not_for_ever(
    server_database, monkeypatch
):
    monkeypatch.setattr("ledger.index.database.BUSY_SECONDS", 1)
    with writing(server_database) as connection:
        connection.execute(insert(tables.cursor), a_row(tables.cursor, 1))
    take = text("UPDATE cursor SET epoch = epoch + 1")
    with server_database.connect() as holder, holder.begin():
        holder.execute(take)
        with (
            pytest.raises(IndexUnavailable, match="cannot be written"),
            writing(server_database) as connection,
        ):
            connection.execute(take)


def test_a_transaction_of_a_process_that_is_frozen_ends_and_frees_what_it_held(
    server_database, monkeypatch
):
    monkeypatch.setattr("ledger.index.database.FROZEN_SECONDS", 1)
    with writing(server_database) as connection:
        connection.execute(insert(tables.cursor), a_row(tables.cursor, 1))
    take = text("UPDATE cursor SET epoch = epoch + 1")

    freed: list[int] = []

    def sleep_and_wake():
        with writing(server_database) as frozen:
            frozen.execute(take)
            with writing(server_database) as connection:
                connection.execute(take)  # waits until the server has ended the other
                freed.append(1)
            frozen.execute(take)

    with pytest.raises(IndexUnavailable):
        sleep_and_wake()
    assert freed


def test_connections_that_the_server_ended_are_replaced_before_they_are_used(
    postgres, server_database
):
    connections = [server_database.connect() for _ in range(3)]
    for connection in connections:
        connection.execute(text("SELECT 1"))
        connection.close()
    with postgres.admin() as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = %s AND pid <> pg_backend_pid()",
            (server_database.url.database,),
        )
    with writing(server_database) as connection:
        connection.execute(text("SELECT 1"))


def test_a_transaction_whose_backend_is_terminated_is_unavailable_and_leaves_nothing(
    postgres, server_database
):
    def broken():
        with writing(server_database) as connection:
            connection.execute(insert(tables.cursor), a_row(tables.cursor, 1))
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with postgres.admin() as admin:
                admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
            connection.execute(text("SELECT 1"))

    with pytest.raises(IndexUnavailable, match="cannot be written"):
        broken()
    with server_database.connect() as connection:
        count = connection.execute(select(func.count()).select_from(tables.cursor)).scalar_one()
    assert count == 0


def test_a_statement_that_the_server_times_out_is_unavailable_and_leaves_nothing(server_database):
    def slow():
        with writing(server_database) as connection:
            connection.execute(insert(tables.cursor), a_row(tables.cursor, 1))
            connection.execute(text("SET LOCAL statement_timeout = '100ms'"))
            connection.execute(text("SELECT pg_sleep(5)"))

    with pytest.raises(IndexUnavailable) as caught:
        slow()
    assert isinstance(caught.value.__cause__, DBAPIError)
    with server_database.connect() as connection:
        count = connection.execute(select(func.count()).select_from(tables.cursor)).scalar_one()
    assert count == 0


def test_a_server_that_goes_down_is_unavailable_and_one_that_comes_back_is_used(tmp_path):
    world = importlib.import_module("postgres_world")
    with world.server() as server:
        engine = open_database(server.url(server.fresh()))
        with writing(engine) as connection:
            connection.execute(insert(tables.cursor), a_row(tables.cursor, 1))
        server.crash()
        with pytest.raises(IndexUnavailable), writing(engine):
            pass
        server.restart()
        with writing(engine) as connection:
            count = select(func.count()).select_from(tables.cursor)
            assert connection.execute(count).scalar_one() == 1
        migrate(engine)
        engine.dispose()
