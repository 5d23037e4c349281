"""An SQLite index is one file: never made by who reads, never exchanged under who has it open."""

from __future__ import annotations

import importlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from api.routes.health import readiness
from api.settings import Settings
from ledger.cli.index_args import opened
from ledger.errors import IndexDamaged, IndexReplaced, IndexUnavailable, UsageError
from ledger.index import watching
from ledger.index.copying import copy_index
from ledger.index.database import PAGE_BYTES, open_database, reading, writing
from ledger.index.database_file import DatabaseFile
from ledger.index.views import Index

world = importlib.import_module("index_world")


def asleep_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "index.db"


@pytest.fixture
def database_url(file):
    engine = open_database(f"sqlite:///{file}")
    engine.dispose()
    return f"sqlite:///{file}"


@pytest.fixture
def running(stand):
    """A real follower in its thread, on the head."""
    stand.chain.grow(3)
    follower, stop = stand.new_follower(poll=0.01), threading.Event()
    thread = threading.Thread(target=follower.run, args=(stop,))
    thread.start()
    asleep_until(lambda: follower.status.state == "synced")
    yield follower
    stop.set()
    thread.join()


def test_a_plain_path_is_an_sqlite_file_wherever_a_database_is_named(
    tmp_path, database_url, file, monkeypatch
):
    open_database(str(file), create=False).dispose()
    monkeypatch.chdir(tmp_path)
    open_database("other.db").dispose()
    assert (tmp_path / "other.db").is_file()
    given = {"deployment": tmp_path, "database_url": str(file)}
    assert Settings.model_validate(given).database == database_url
    with pytest.raises(UsageError, match="no index database at"):
        open_database("absent.db", create=False)
    with pytest.raises(UsageError, match="mysql is not supported"):
        open_database("mysql://h/x")


def events(file):
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as raw:
        return raw.execute("SELECT count(*), max(seq) FROM outbox").fetchone()


def removed(file):
    for each in file.parent.glob("index.db*"):
        each.unlink()


def replaced(file):
    """Another database, as `deed index run` makes it, stands at the path."""
    removed(file)
    open_database(f"sqlite:///{file}").dispose()


def copied(file):
    """A copy of the same rows is another file all the same."""
    shutil.copy(file, file.with_name("copy"))
    os.replace(file.with_name("copy"), file)


@pytest.mark.parametrize("exchange", [removed, replaced, copied])
def test_a_follower_whose_file_is_gone_stops_and_says_the_way_out(stand, file, running, exchange):
    with stand.engine.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    exchange(file)
    before = events(file) if file.exists() else None
    # What a pool that has nothing left would open: the file that stands there now.
    stand.engine.dispose()
    stand.chain.grow(3)
    asleep_until(lambda: running.status.state == "stopped")
    reason = running.status.reason
    assert "removed" in reason if exchange is removed else "replaced" in reason
    assert "start this again" in reason
    for word in ("keys", "webhooks", "audit log"):
        assert word in reason
    stand.chain.grow(3)
    time.sleep(0.1)
    assert running.status.state == "stopped"
    assert (events(file) if file.exists() else None) == before


@pytest.mark.parametrize("exchange", [removed, replaced])
def test_no_connection_old_or_new_reads_or_writes_any_more(stand, file, exchange):
    with reading(stand.engine) as held:
        held.execute(text("SELECT 1"))
        exchange(file)
    for _ in range(2):
        with pytest.raises(IndexReplaced), reading(stand.engine) as connection:
            connection.execute(text("SELECT 1"))
        with pytest.raises(IndexReplaced), writing(stand.engine) as connection:
            connection.execute(text("DELETE FROM alembic_version"))
        # From now on the pool has none left, and must open new ones.
        stand.engine.dispose()
        with pytest.raises(IndexReplaced):
            stand.engine.raw_connection()
    assert file.exists() is (exchange is replaced)


def test_the_file_put_back_is_for_the_next_start(stand, file, running, database_url):
    before = events(file)
    file.rename(file.with_name("aside"))
    asleep_until(lambda: running.status.state == "stopped")
    file.with_name("aside").rename(file)
    stand.chain.grow(1)
    time.sleep(1.5)
    assert running.status.state == "stopped"
    with pytest.raises(IndexReplaced), writing(stand.engine):
        pass
    open_database(database_url, create=False).dispose()
    assert events(file) == before


def ready(stand, follower):
    served = SimpleNamespace(
        follower=follower,
        endpoints=None,
        index=Index(stand.engine, stand.chain.chain_id),
        settings=SimpleNamespace(ready_lag=1e12),
        profile=SimpleNamespace(max_head_age=None),
    )
    return readiness(served, broker=False)


@pytest.mark.parametrize("follows", [True, False])
@pytest.mark.parametrize("exchange", [removed, replaced, copied])
def test_a_service_is_not_ready_and_gives_no_answers_from_memory(stand, file, exchange, follows):
    stand.chain.grow(3)
    stand.catch_up()
    # It was idle meanwhile, and says of itself what it said before.
    follower = stand.follower if follows else None
    watch = watching.watch_of(stand.engine, stand.chain.chain_id)
    assert watch.look()
    assert ready(stand, follower).ready
    exchange(file)
    said = ready(stand, follower)
    assert (said.ready, said.state, said.code) == (False, "stopped", "INDEX_REPLACED")
    assert said.reason.endswith(said.hint)
    assert "while it was open" in said.reason
    assert "start this again" in said.reason
    time.sleep(watching._FILE_SECONDS)
    with pytest.raises(IndexReplaced):
        watch.look()
    watch.close()


def zeros(file):
    """As a disk leaves it that lost a part: the pages of every table but the schema's."""
    with file.open("r+b") as raw:
        raw.seek(PAGE_BYTES)
        raw.write(bytes(file.stat().st_size - PAGE_BYTES))


def rubbish(file):
    with file.open("r+b") as raw:
        raw.write(b"garbage\n" * 512)


@pytest.mark.parametrize("follows", [True, False])
@pytest.mark.parametrize("harm", [zeros, rubbish])
def test_a_file_that_is_found_damaged_while_it_is_used_stops_all_of_it_with_the_way_out(
    stand, file, harm, follows
):
    stand.chain.grow(3)
    stand.catch_up()
    watch = watching.watch_of(stand.engine, stand.chain.chain_id)
    assert watch.look()
    watch.close()
    # The last to close it takes the log into the file.
    stand.engine.dispose()
    harm(file)
    stand.chain.grow(3)
    ends = threading.Event()
    late = threading.Timer(10, ends.set)
    late.start()
    with pytest.raises(IndexDamaged) as told:
        stand.new_follower().run(ends, patient=False)
    late.cancel()
    assert "deed index restore" in told.value.hint
    follower = None
    if follows:
        follower, stop = stand.new_follower(poll=0.01), threading.Event()
        thread = threading.Thread(target=follower.run, args=(stop,))
        thread.start()
        asleep_until(lambda: follower.status.state == "stopped")
        stop.set()
        thread.join()
    said = ready(stand, follower)
    assert (said.ready, said.state, said.code) == (False, "stopped", "INDEX_DAMAGED")
    assert (said.hint, "damaged" in said.reason) == (told.value.hint, True)
    # It reaches whoever asks.
    assert str(file) not in said.reason
    with pytest.raises(IndexDamaged):
        watch.look()
    watch.close()


# -- opening -------------------------------------------------------------------------------------


def test_who_only_reads_makes_neither_file_nor_folder(tmp_path):
    for path in (tmp_path / "none.db", tmp_path / "no" / "folder" / "none.db"):
        with pytest.raises(UsageError, match=f"no index database at {path}"):
            open_database(f"sqlite:///{path}", create=False)
    assert list(tmp_path.iterdir()) == []


def test_who_only_reads_makes_no_tables_in_an_empty_file(tmp_path):
    (tmp_path / "empty.db").touch()
    with pytest.raises(UsageError, match=r"empty.db is empty, and no index") as caught:
        open_database(f"sqlite:///{tmp_path / 'empty.db'}", create=False)
    assert "remove the empty file first" in caught.value.hint
    with pytest.raises(UsageError, match=r"empty.db is empty, and no index") as caught:
        copy_index(tmp_path / "empty.db", tmp_path / "index.db", restores=True)
    assert caught.value.hint.startswith("nothing was put back: use another copy")
    assert [(each.name, each.stat().st_size) for each in tmp_path.iterdir()] == [("empty.db", 0)]


def test_who_follows_makes_the_file_and_no_folder(tmp_path):
    with pytest.raises(UsageError, match=f"no folder {tmp_path / 'no'}"):
        open_database(f"sqlite:///{tmp_path / 'no' / 'index.db'}")
    assert list(tmp_path.iterdir()) == []
    open_database(f"sqlite:///{tmp_path / 'a 100% new.db'}").dispose()
    open_database(f"sqlite:///{tmp_path / 'a 100% new.db'}", create=False).dispose()


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("content", [b"hi\n", b"root:x:0:0:root:/root:/bin/bash\n" * 99])
def test_a_file_that_is_no_database_is_said_to_be_none_and_left_alone(tmp_path, content, create):
    file = tmp_path / "passwd"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="passwd is no SQLite database") as caught:
        open_database(f"sqlite:///{file}", create=create)
    assert "disk" not in caught.value.hint
    assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("create", [True, False])
def test_a_database_of_another_program_is_said_to_be_so_and_left_alone(tmp_path, create):
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("CREATE TABLE model (id)")
        # It may keep its revisions as we do.
        raw.execute("CREATE TABLE alembic_version (version_num)")
        raw.commit()
    before = file.read_bytes()
    with pytest.raises(UsageError, match=r"other.db holds tables of another program") as caught:
        open_database(f"sqlite:///{file}", create=create)
    assert "disk" not in caught.value.hint
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE VIEW v AS SELECT 1"],
        ["PRAGMA application_id=1234"],
        ["PRAGMA user_version=9"],
        ["CREATE TABLE alembic_version (version_num)", "CREATE VIEW v AS SELECT 1"],
    ],
)
def test_a_database_of_another_program_without_tables_is_left_alone(tmp_path, statements, create):
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as raw:
        for statement in statements:
            raw.execute(statement)
        raw.commit()
    before = file.read_bytes()
    with pytest.raises(UsageError, match=r"other.db is another program's") as caught:
        open_database(f"sqlite:///{file}", create=create)
    assert "nothing in it was changed" in caught.value.hint
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("create", [True, False])
def test_what_somebody_added_to_an_index_does_not_make_it_anothers(database_url, file, create):
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("CREATE VIEW v AS SELECT * FROM license")
        raw.execute("PRAGMA user_version=9")
        raw.commit()
    open_database(database_url, create=create).dispose()


@pytest.mark.parametrize("name", ["b%41.db", "q?x.db", "a b#c.db", "ü.db", "/two.db"])
def test_a_path_is_taken_as_it_is_written(tmp_path, name):
    open_database(f"{tmp_path}/{name}").dispose()
    assert [path.name for path in tmp_path.iterdir()] == [name.strip("/")]
    open_database(f"/{tmp_path}/{name}", create=False).dispose()


def test_a_path_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(UsageError, match="UTF-8"):
        open_database(f"{tmp_path}/\udcff.db")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def someone_else():
    """A place open to all, and this process as a user who may not write what others have there."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)

        @contextmanager
        def someone_else():
            own = os.geteuid()
            os.seteuid(own or 65534)
            try:
                yield
            finally:
                os.seteuid(own)

        yield Path(place), someone_else


@pytest.mark.parametrize("create", [True, False])
def test_a_folder_is_said_to_be_one(tmp_path, create):
    with pytest.raises(UsageError, match=f"{tmp_path} is a folder"):
        open_database(str(tmp_path), create=create)


def test_who_writes_is_refused_a_file_that_may_only_be_read_and_who_reads_is_not(someone_else):
    place, being = someone_else
    file = place / "index.db"
    open_database(str(file)).dispose()
    file.chmod(0o444)
    with being():
        with pytest.raises(UsageError, match=f"{file} may only be read") as refused:
            open_database(str(file))
        assert f"deed index restore {file} puts" in refused.value.hint
        engine = open_database(str(file), create=False)
        with reading(engine) as connection:
            assert connection.execute(text("SELECT count(*) FROM raw_log")).scalar() == 0
        engine.dispose()
        # A command that writes now and then, and makes no file.
        with (
            pytest.raises(UsageError, match=f"{file} may only be read"),
            opened(None, str(file)) as engine,
            writing(engine) as connection,
        ):
            connection.execute(text("DELETE FROM raw_log"))


@pytest.mark.parametrize(
    ("create", "file_mode", "folder_mode", "said"),
    [
        (True, 0o600, 0o755, "index.db may not be read"),
        (False, 0o600, 0o755, "index.db may not be read"),
        (True, 0o644, 0o555, "index.db may only be read"),
        (True, 0o666, 0o555, "nothing may be written into"),
        (True, 0o666, 0o600, "may not be entered"),
        (False, 0o666, 0o600, "may not be entered"),
    ],
)
def test_what_permissions_forbid_is_a_refusal_that_says_which(
    someone_else, file_mode, folder_mode, said, create
):
    place, being = someone_else
    folder = place / "kept"
    folder.mkdir()
    file = folder / "index.db"
    open_database(str(file)).dispose()
    file.chmod(file_mode)
    folder.chmod(folder_mode)
    if os.geteuid() != 0 and file_mode == 0o600:
        file.chmod(0)
    try:
        with being(), pytest.raises(UsageError, match=said) as refused:
            open_database(str(file), create=create)
        assert "let this user read and write" in refused.value.hint
    finally:
        folder.chmod(0o755)


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize(
    ("file_mode", "folder_mode"), [(0o644, 0o555), (0o666, 0o555), (0o444, 0o777)]
)
def test_where_nothing_may_be_written_an_index_is_read_and_copied_and_no_log_is_left(
    someone_else, file_mode, folder_mode, linked
):
    """Also one that has had a log, and wants one beside it to be read."""
    place, being = someone_else
    folder = place / "kept"
    folder.mkdir()
    file = folder / "index.db"
    open_database(str(file)).dispose()
    before = file.read_bytes()
    assert before[18:20] == b"\2\2"
    file.chmod(file_mode)
    folder.chmod(folder_mode)
    named = place / "link.db" if linked else file
    if linked:
        named.symlink_to(file)
    try:
        with being():
            engine = open_database(str(named), create=False)
            with reading(engine) as connection:
                assert connection.execute(text("SELECT count(*) FROM raw_log")).scalar() == 0
            engine.dispose()
            # The way out that is told: from there on it is an index as any other.
            with pytest.raises(UsageError) as refused:
                open_database(str(named))
            assert f"deed index restore {named} puts a copy of it elsewhere" in refused.value.hint
            copy_index(named, place / "own.db", restores=True)
            open_database(str(place / "own.db")).dispose()
        assert [each.name for each in folder.iterdir()] == ["index.db"]
        assert file.read_bytes() == before
    finally:
        folder.chmod(0o755)


def test_what_another_user_writes_while_it_is_read_without_locks_is_noticed(someone_else):
    place, being = someone_else
    folder = place / "kept"
    folder.mkdir()
    file = folder / "index.db"
    open_database(str(file)).dispose()
    folder.chmod(0o555)

    def read():
        with reading(engine) as connection:
            connection.execute(text("SELECT count(*) FROM raw_log"))
            folder.chmod(0o755)
            with closing(sqlite3.connect(file)) as raw, raw:
                raw.execute("CREATE TABLE more (body)")

    try:
        with being():
            engine = open_database(str(file), create=False)
            # A connection that is kept: of the owner this process has the rights again below.
            engine.connect().close()
        with pytest.raises(IndexUnavailable, match="was written while it was read"):
            read()
        engine.dispose()
    finally:
        folder.chmod(0o755)


def test_where_the_newest_part_is_in_a_log_that_cannot_be_read_both_files_are_named(someone_else):
    place, being = someone_else
    folder = place / "kept"
    folder.mkdir()
    file = place / "index.db"
    engine = open_database(str(file))
    # As after a process that was killed: the log is there, and nobody who uses it.
    for end in ("", "-wal"):
        shutil.copy(f"{file}{end}", folder)
    engine.dispose()
    folder.chmod(0o555)
    try:
        with being():
            for read in (lambda at: open_database(str(at), create=False), reached_as_a_copy):
                with pytest.raises(UsageError) as refused:
                    read(folder / "index.db")
                assert "restore" not in refused.value.hint
                assert "index.db and index.db-wal, copied together" in refused.value.hint
    finally:
        folder.chmod(0o755)


def reached_as_a_copy(file):
    copy_index(file, file.parent.parent / "another.db", restores=True)


def test_of_a_file_that_is_not_there_nothing_is_to_be_restored(someone_else):
    place, being = someone_else
    folder = place / "kept"
    folder.mkdir()
    folder.chmod(0o555)
    with being(), pytest.raises(UsageError, match="nothing may be written into") as refused:
        open_database(str(folder / "z.db"))
    assert "restore" not in refused.value.hint


# -- whole ---------------------------------------------------------------------------------------


def reached(file, how):
    """The ways in which commands and the service come to a file."""
    if how == "copied":
        copy_index(file, file.with_name("another.db"))
    else:
        open_database(str(file), create=how == "followed").dispose()


@pytest.mark.parametrize("how", ["read", "followed", "copied"])
@pytest.mark.parametrize("of", ["a copy", "an index"])
@pytest.mark.parametrize("short", [1, 4096, PAGE_BYTES, 3 * PAGE_BYTES])
def test_a_file_whose_end_is_missing_is_damaged_whatever_is_made_of_it(stand, file, of, short, how):
    """SQLite takes a page that is cut for a whole one, and reads zeros where its end was."""
    stand.chain.grow(3)
    stand.catch_up()
    stand.engine.dispose()
    cut = file
    if of == "a copy":
        cut = file.with_name("copy.db")
        copy_index(file, cut)
    assert not os.path.lexists(f"{cut}-wal")
    os.truncate(cut, cut.stat().st_size - short)
    before = cut.read_bytes()
    with pytest.raises(IndexDamaged, match=f"{cut} is damaged: "):
        reached(cut, how)
    assert cut.read_bytes() == before
    assert not file.with_name("another.db").exists()


@pytest.mark.parametrize("more", [0, 1, 4096, PAGE_BYTES, PAGE_BYTES + 512])
def test_where_a_checkpoint_was_cut_off_the_log_has_what_the_file_lacks(
    stand, file, tmp_path, more
):
    """As a process that was killed in the middle of one leaves both."""
    stand.engine.dispose()
    small = file.read_bytes()
    with writing(stand.engine) as connection:
        connection.execute(text("CREATE TABLE grown (body)"))
        connection.execute(text("INSERT INTO grown VALUES (randomblob(300000))"))
    log = Path(f"{file}-wal").read_bytes()
    stand.engine.dispose()
    whole = file.read_bytes()
    assert len(whole) > len(small) + 2 * PAGE_BYTES
    there = tmp_path / "killed.db"
    there.write_bytes(whole[: len(small) + more])
    Path(f"{there}-wal").write_bytes(log)
    engine = open_database(str(there), create=False)
    with reading(engine) as connection:
        assert connection.execute(text("SELECT length(body) FROM grown")).scalar() == 300_000
        assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
    engine.dispose()


WRITER = """
import itertools, sqlite3, sys
raw = None
for turn in itertools.count():
    if raw is None:
        raw = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=OFF")
        raw.execute("PRAGMA wal_autocheckpoint=0")
        raw.execute("CREATE TABLE IF NOT EXISTS grown (body)")
    raw.execute("INSERT INTO grown VALUES (randomblob(300000))")
    raw.execute("PRAGMA wal_checkpoint(%s)" % ("PASSIVE", "RESTART", "TRUNCATE")[turn % 3])
    if turn % 8 == 7:
        raw.execute("DELETE FROM grown")
        raw.execute("VACUUM")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if turn % 5 == 4:
        # The last to close it takes the log away.
        raw.close()
        raw = None
    print(turn, flush=True)
"""


def test_an_index_that_is_written_and_checkpointed_meanwhile_is_never_damaged(database_url, file):
    command = [sys.executable, "-c", WRITER, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout.readline() == "0\n"
            for _ in range(1500):
                DatabaseFile.open(file, create=False)
            assert writer.poll() is None
        finally:
            writer.kill()
            turns = len(writer.stdout.read().splitlines())
    assert turns > 20
