"""Copies of an index: whole, of one moment, and never beside what is not theirs."""

from __future__ import annotations

import errno
import importlib
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from ledger.errors import ConfigurationError, IndexDamaged, IndexUnavailable, UsageError
from ledger.index import copying, database_file
from ledger.index.copying import copy_index
from ledger.index.database import MIGRATIONS, open_database, reading, writing

world = importlib.import_module("index_world")


@pytest.fixture
def file(tmp_path):
    (tmp_path / "live").mkdir()
    return tmp_path / "live" / "index.db"


@pytest.fixture
def copy(tmp_path):
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies" / "monday.db"


@pytest.fixture
def database_url(file):
    return world.empty_sqlite(file)


@pytest.fixture
def followed(stand):
    """An index on the head of its chain, in use."""
    stand.chain.grow(6)
    stand.catch_up()
    return stand


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_takes_the_place_of_what_was_lost_and_the_index_goes_on(followed, file, copy):
    assert (file.parent / "index.db-wal").stat().st_size > 0
    file.chmod(0o640)
    before = world.state(followed.engine)
    made = copy_index(file, copy)
    assert made.block == followed.chain.head.number
    assert (copy.stat().st_mode & 0o777, made.size) == (0o640, copy.stat().st_size)
    followed.chain.grow(3)
    followed.catch_up()
    followed.engine.dispose()
    shutil.rmtree(file.parent)
    file.parent.mkdir()
    assert copy_index(copy, file) == made
    again = world.Stand(f"sqlite:///{file}", followed.chain)
    try:
        assert world.state(again.engine) == before
        again.catch_up()
        again.check()
    finally:
        again.close()


def test_a_copy_is_one_file_that_needs_no_log(followed, file, copy):
    copy_index(file, copy)
    assert names(copy.parent) == ["monday.db"]
    # The format's versions for writing and reading: 1 is without, 2 with a log (format, 1.3.3).
    assert copy.read_bytes()[18:20] == b"\1\1"


def test_whoever_only_reads_a_copy_or_is_refused_it_keeps_every_byte_of_it(followed, file, copy):
    copy_index(file, copy)
    before = copy.read_bytes()
    for writes in (True, False):
        engine = open_database(str(copy), create=writes)
        with reading(engine) as connection:
            assert connection.execute(text("SELECT count(*) FROM raw_log")).scalar()
            assert names(copy.parent) == ["monday.db"]
        engine.dispose()
        assert (copy.read_bytes() == before, names(copy.parent)) == (True, ["monday.db"])
    with closing(sqlite3.connect(copy)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    newer = copy.read_bytes()
    for writes in (True, False):
        with pytest.raises(ConfigurationError, match="shape this release does not know"):
            open_database(str(copy), create=writes)
        assert (copy.read_bytes() == newer, names(copy.parent)) == (True, ["monday.db"])


def test_a_copy_gets_a_log_with_the_first_that_is_written_into_it(followed, file, copy):
    copy_index(file, copy)
    engine = open_database(str(copy), create=False)
    with writing(engine) as connection:
        connection.execute(text("UPDATE cursor SET epoch = epoch + 1"))
        # Whoever reads waits for nobody who writes.
        other = open_database(str(copy), create=False)
        with reading(other) as apart:
            assert apart.execute(text("SELECT epoch FROM cursor")).scalar() == 1
        other.dispose()
    engine.dispose()
    assert copy.read_bytes()[18:20] == b"\2\2"


def test_a_copy_of_an_older_release_gets_its_tables_and_no_log_from_who_reads(file, copy):
    engine = open_database(str(file))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0008")
    engine.dispose()
    copy_index(file, copy)
    before = copy.read_bytes()
    open_database(str(copy), create=False).dispose()
    assert (copy.read_bytes() == before, copy.read_bytes()[18:20]) == (False, b"\1\1")
    assert names(copy.parent) == ["monday.db"]


def test_what_is_written_meanwhile_is_not_waited_for_and_not_in_it(
    followed, file, copy, monkeypatch
):
    monkeypatch.setattr(copying, "_PAGES_AT_ONCE", 1)
    before = world.state(followed.engine)
    looks = []

    def written(done, pages):
        looks.append((done, pages))
        assert len(looks) <= pages
        with writing(followed.engine, wait=0.1) as connection:
            connection.execute(text("UPDATE cursor SET epoch = epoch + 1"))

    copy_index(file, copy, progress=written)
    done, pages = zip(*looks, strict=True)
    assert list(done) == list(range(1, pages[0] + 1))
    engine = open_database(str(copy))
    assert world.state(engine) == before
    engine.dispose()


def test_ended_half_way_there_is_no_copy(followed, file, copy):
    def ended(_done, _pages):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_index(file, copy, progress=ended)
    assert names(copy.parent) == []


@pytest.mark.parametrize("log", ["-wal", "-shm", "-journal"])
def test_no_copy_gets_a_name_that_sqlite_would_remove(followed, file, copy, log):
    with pytest.raises(UsageError, match=f"monday.db{log} is what SQLite calls a log"):
        copy_index(file, copy.with_name(copy.name + log))
    assert names(copy.parent) == []


def test_what_is_written_through_another_mount_than_a_read_only_one_is_noticed(
    followed, file, copy, monkeypatch
):
    """SQLite is told there that nobody writes, and looks for no locks."""
    followed.engine.dispose()
    assert names(file.parent) == [file.name]
    # What such a mount says; to make one takes more rights than a test has.
    monkeypatch.setattr(database_file, "_is_still", lambda path: True)
    monkeypatch.setattr(copying, "_PAGES_AT_ONCE", 1)
    elsewhere = []

    def written(_done, _pages):
        if not elsewhere:
            elsewhere.append(sqlite3.connect(file, isolation_level=None))
            elsewhere[0].execute("UPDATE cursor SET epoch = epoch + 1")
            elsewhere[0].close()

    with pytest.raises(IndexUnavailable, match="was written while it was read"):
        copy_index(file, copy, progress=written)
    assert names(copy.parent) == []
    assert copy_index(file, copy).size == copy.stat().st_size


def test_pages_of_two_moments_are_no_damage_of_an_index_that_is_written_meanwhile(
    followed, file, copy, monkeypatch
):
    followed.engine.dispose()
    monkeypatch.setattr(database_file, "_is_still", lambda path: True)
    monkeypatch.setattr(copying, "_PAGES_AT_ONCE", 1)
    whole, written = file.read_bytes(), []

    def torn(_done, pages):
        # What is read of a file that is written meanwhile.
        if not written:
            written.append(pages)
            file.write_bytes(whole[:8192] + os.urandom(len(whole) - 8192))

    with pytest.raises(IndexUnavailable, match="was written while it was read"):
        copy_index(file, copy, progress=torn)
    assert names(copy.parent) == []


def test_what_becomes_of_a_copy_on_its_disk_is_no_damage_of_the_index(followed, file, copy):
    def lost(done, pages):
        if done == pages:
            (part,) = (
                file
                for file in copy.parent.glob(".monday.db.*")
                if not file.name.endswith(("-wal", "-shm", "-journal"))
            )
            part.write_bytes(bytes(part.stat().st_size))

    with pytest.raises(IndexUnavailable, match="is not what is read from there: file is not"):
        copy_index(file, copy, progress=lost)
    assert names(copy.parent) == []


def test_where_there_are_no_hard_links_nothing_is_replaced_either(
    followed, file, copy, monkeypatch
):
    def no_links(_part, _dest):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    copy_index(file, copy)
    assert names(copy.parent) == [copy.name]
    other = copy.with_name("tuesday.db")

    def no_links_and_another_comes(_part, dest):
        dest.write_bytes(b"another")
        no_links(_part, dest)

    monkeypatch.setattr(os, "link", no_links_and_another_comes)
    with pytest.raises(UsageError, match="is there already"):
        copy_index(file, other)
    assert other.read_bytes() == b"another"


@pytest.mark.parametrize("there", ["file", "link", "folder", "log", "journal"])
def test_nothing_that_stands_there_is_replaced_or_taken_over(followed, file, copy, there):
    match there:
        case "file":
            copy.write_bytes(b"")
        case "link":
            copy.symlink_to("nowhere")
        case "folder":
            copy.mkdir()
        case "journal":
            copy.with_name("monday.db-journal").touch()
        case "log":
            copy.with_name("monday.db-wal").write_bytes(b"newest part of another database")
    before = names(copy.parent)
    with pytest.raises(UsageError, match=r"is there already|is the log of another database"):
        copy_index(file, copy)
    assert names(copy.parent) == before


def test_what_comes_to_stand_there_meanwhile_is_not_replaced(followed, file, copy):
    with pytest.raises(UsageError, match="there already"):
        copy_index(file, copy, progress=lambda _done, _pages: copy.touch())
    assert (names(copy.parent), copy.stat().st_size) == (["monday.db"], 0)


def test_a_copy_that_was_made_read_only_is_restored_for_use(followed, file, copy):
    copy_index(file, copy)
    copy.chmod(0o400)
    restored = copy.with_name("restored.db")
    copy_index(copy, restored)
    assert restored.stat().st_mode & 0o777 == 0o600


def test_a_missing_folder_a_missing_source_and_another_file_are_named(followed, file, copy):
    with pytest.raises(UsageError, match="there is no folder"):
        copy_index(file, copy.parent / "no" / "copy.db")
    with pytest.raises(UsageError, match=r"there is no .*other.db"):
        copy_index(file.with_name("other.db"), copy)
    copy.with_name("text").write_bytes(b"text\n" * 1000)
    with pytest.raises(UsageError, match="no SQLite database"):
        copy_index(copy.with_name("text"), copy)
    with pytest.raises(UsageError, match="no SQLite database") as caught:
        copy_index(copy.with_name("text"), copy, restores=True)
    assert "use another copy" in caught.value.hint
    assert names(copy.parent) == ["text"]


def test_a_damaged_database_is_said_to_be_so_and_no_copy_of_it_is_kept(followed, file, copy):
    followed.engine.dispose()
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'block'").fetchone()
        (size,) = raw.execute("PRAGMA page_size").fetchone()
    with file.open("r+b") as raw:
        raw.seek((page - 1) * size)
        raw.write(os.urandom(size))
    with pytest.raises(IndexDamaged, match=f"{file} is damaged: ") as caught:
        copy_index(file, copy)
    assert "\n" not in caught.value.message
    assert names(copy.parent) == []


def test_damage_between_a_table_and_its_index_is_found_too(followed, file, copy):
    followed.engine.dispose()
    named = "name = 'ix_raw_log_tx_hash'"

    def schema(*statement):
        with closing(sqlite3.connect(file)) as raw, raw:
            raw.execute("PRAGMA writable_schema=ON")
            return raw.execute(*statement).fetchone()

    row = schema(f"SELECT * FROM sqlite_master WHERE {named}")
    schema(f"DELETE FROM sqlite_master WHERE {named}")
    schema("DELETE FROM raw_log WHERE block = (SELECT min(block) FROM raw_log)")
    schema("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row)
    with closing(sqlite3.connect(file)) as raw:
        assert raw.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    with pytest.raises(IndexDamaged, match="is damaged"):
        copy_index(file, copy)
    assert names(copy.parent) == []


@pytest.mark.parametrize("restores", [True, False])
@pytest.mark.parametrize("fault", ["cut", "torn", "changed"])
def test_the_way_out_of_a_bad_source_is_another_copy_or_of_the_index_a_restore(
    followed, file, copy, fault, restores
):
    copy_index(file, copy)
    match fault:
        case "cut":
            os.truncate(copy, copy.stat().st_size - 4096)
        case "torn":
            with copy.open("r+b") as raw:
                raw.seek(100)
                raw.write(bytes(copy.stat().st_size - 200))
        case "changed":
            with closing(sqlite3.connect(copy)) as raw, raw:
                raw.execute("DELETE FROM alembic_version")
    with pytest.raises(
        ConfigurationError, match=r"is damaged|does not say which release"
    ) as caught:
        copy_index(copy, copy.with_name("other.db"), restores=restores)
    if restores:
        assert caught.value.hint.startswith("nothing was put back: use another copy")
        assert "restore" not in caught.value.hint
    else:
        assert "with deed index restore" in caught.value.hint
    assert names(copy.parent) == [copy.name]


def test_every_use_of_a_damaged_index_says_so(followed, file):
    followed.engine.dispose()
    with file.open("r+b") as raw:
        raw.seek(100)
        raw.write(bytes(file.stat().st_size - 200))
    with pytest.raises(IndexDamaged, match="is damaged") as caught:
        open_database(str(file), create=False)
    assert "deed index restore" in caught.value.hint


def test_of_a_database_in_use_the_file_alone_is_said_to_be_no_copy(stand, file, copy):
    shutil.copyfile(file, copy)
    with closing(sqlite3.connect(copy)) as raw:  # as when every table is in the log yet
        raw.executescript(
            "PRAGMA writable_schema=ON; DELETE FROM sqlite_master; PRAGMA writable_schema=OFF;"
        )
    with pytest.raises(UsageError, match="without tables") as caught:
        copy_index(copy, copy.with_name("other.db"))
    assert "deed index backup" in caught.value.hint


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("linked", [True, False])
def test_a_log_without_its_database_is_not_thrown_away(
    followed, file, tmp_path, create, empty, linked
):
    log = file.with_name("index.db-wal")
    kept = log.read_bytes()
    followed.engine.dispose()
    file.unlink()
    log.write_bytes(kept)
    if empty:
        file.touch()
    named = tmp_path / "elsewhere" if linked else file
    if linked:
        named.symlink_to(file)
    with pytest.raises(UsageError, match=r" is not beside it"):
        open_database(str(named), create=create)
    assert log.read_bytes() == kept


def test_what_pg_dump_and_pg_restore_carry_over_is_the_index(postgres, postgres_template, tmp_path):
    name = postgres.fresh(postgres_template)
    stand = world.Stand(postgres.url(name))
    stand.chain.grow(6)
    stand.catch_up()
    before = world.state(stand.engine)
    dump, server = tmp_path / "index.dump", ["-h", postgres.folder, "-U", "deed"]
    subprocess.run(
        [postgres.programs / "pg_dump", *server, "--format=custom", "-f", dump, name], check=True
    )
    other = postgres.fresh()
    subprocess.run(
        [postgres.programs / "pg_restore", *server, "--exit-on-error", "-d", other, dump],
        check=True,
    )
    again = world.Stand(postgres.url(other), stand.chain)
    try:
        assert world.state(again.engine) == before
        stand.chain.grow(2)
        again.catch_up()
        again.check()
    finally:
        again.close()
        stand.close()
        postgres.drop(name)
        postgres.drop(other)
