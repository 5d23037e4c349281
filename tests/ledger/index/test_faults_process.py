"""Whatever happens to the process or its database, no row is wrong and following goes on.

Faults of group 6. That a follower may be killed between any two statements is in ``test_follow``.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sqlite3
import subprocess
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from psycopg.errors import DiskFull
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from ledger.errors import Fenced, IndexUnavailable
from ledger.index.blocks import Header, Heads
from ledger.index.database import writing

world: Any = importlib.import_module("index_world")
chaos: Any = importlib.import_module("chaos_world")


def on_statement(engine, number, action):
    """Do something before the n-th statement from now; what takes the listener away."""
    left = [number]

    def count(connection, *_):
        left[0] -= 1
        if left[0] == -1:
            action(connection)

    event.listen(engine, "before_cursor_execute", count)
    return lambda: event.remove(engine, "before_cursor_execute", count)


@pytest.mark.parametrize("fault", ["terminated", "timed out"])
def test_a_backend_that_is_ended_before_any_statement(postgres, postgres_template, fault):
    stand = world.Stand(postgres.url(postgres.fresh(postgres_template)))

    def end(connection):
        raw = connection.connection.dbapi_connection
        if fault == "terminated":
            with postgres.admin() as admin:
                admin.execute("SELECT pg_terminate_backend(%s)", (raw.info.backend_pid,))
        else:
            with raw.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = 1")
                with contextlib.suppress(Exception):
                    cursor.execute("SELECT pg_sleep(1)")

    stand.chain.grow(10)
    stand.catch_up()
    for number in range(0, 45, 2):
        stand.chain.grow(2)
        if number % 6 == 4:
            stand.chain.reorg(3)
        off = on_statement(stand.engine, number, end)
        stand.steps(2)
        off()
        stand.check_so_far() if number % 6 != 4 else None
    assert any(isinstance(error, IndexUnavailable) for error in stand.errors)
    stand.catch_up()
    stand.check()
    stand.close()


def test_a_server_that_crashes_and_comes_back_under_a_follower():
    postgres = importlib.import_module("postgres_world")
    with postgres.server(fsync="on") as server:
        stand = world.Stand(server.url(server.fresh()))
        stand.chain.grow(20)
        stand.catch_up()
        for number in (1, 5, 9):
            stand.chain.reorg(2, 5)
            off = on_statement(stand.engine, number, lambda _: server.crash())
            stand.steps(2)
            off()
            server.restart()
            stand.catch_up()
            stand.check(clean=False)
        stand.check()
        stand.close()


def test_a_full_disk_is_said_to_be_full_and_nothing_is_half_written(tmp_path):
    stand = world.Stand(world.empty_sqlite(tmp_path / "small.db"))
    stand.chain.grow(20)
    stand.catch_up()
    with stand.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def limit(pages):
        def listen(raw, _):
            raw.execute(f"PRAGMA max_page_count={pages}")

        return listen

    small = limit(pages + 2)
    event.listen(stand.engine, "connect", small)
    stand.engine.dispose()
    stand.chain.grow(60)
    stand.steps(5)
    assert isinstance(stand.errors[-1], IndexUnavailable)
    assert "free space" in stand.errors[-1].hint
    stand.check_so_far()
    event.remove(stand.engine, "connect", small)
    event.listen(stand.engine, "connect", limit(1 << 30))
    stand.engine.dispose()
    stand.catch_up()
    stand.check()
    stand.close()


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of its own, which only root may make; gives what makes it larger."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        yield lambda size: subprocess.run(
            ["mount", "-o", f"remount,size={size}", str(folder)], check=True
        )
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_of_the_server_is_said_to_be_full_and_nothing_is_half_written(postgres):
    with small_disk(postgres.folder / "small", "24m") as grow:
        owner = postgres.folder.stat()
        os.chown(postgres.folder / "small", owner.st_uid, owner.st_gid)
        (postgres.folder / "small").chmod(0o700)
        with postgres.admin() as admin:
            admin.execute(f"CREATE TABLESPACE small LOCATION '{postgres.folder / 'small'}'")
            admin.execute("CREATE DATABASE small TABLESPACE small")
        stand = world.Stand(postgres.url("small"))
        stand.chain.grow(20)
        stand.catch_up()
        filler = postgres.admin("small")
        filler.execute("CREATE TABLE filler (a bytea) WITH (autovacuum_enabled = false)")
        filler.execute("INSERT INTO filler VALUES ('as much again each time')")
        with contextlib.suppress(DiskFull):
            for _ in range(40):
                filler.execute("INSERT INTO filler SELECT a FROM filler")
        stand.chain.grow(200)
        stand.steps(5)
        assert isinstance(stand.errors[-1], IndexUnavailable)
        assert "free space" in stand.errors[-1].hint
        stand.check_so_far()
        filler.close()
        grow("200m")
        stand.catch_up()
        stand.check()
        stand.close()
        postgres.drop("small")
        with postgres.admin() as admin:
            admin.execute("DROP TABLESPACE small")


def test_a_database_that_another_process_holds_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("ledger.index.database.BUSY_SECONDS", 0.2)
    path = tmp_path / "held.db"
    stand = world.Stand(world.empty_sqlite(path))
    stand.chain.grow(20)
    stand.catch_up()
    stand.chain.grow(5)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    stand.steps(2)
    assert isinstance(stand.errors[-1], IndexUnavailable)
    assert "OperationalError" in stand.errors[-1].message
    stand.check_so_far()
    other.execute("ROLLBACK")
    other.close()
    stand.catch_up()
    stand.check()
    stand.close()


def test_a_leader_that_slept_through_a_take_over_commits_nothing(stand):
    stand.chain.grow(20)
    stand.catch_up()
    second = stand.new_follower()
    done: list[int] = []

    def before(questions):
        """While the old leader waits for its answer, it is fenced; nothing else has changed."""
        if not done and any(question["method"] == "eth_getLogs" for question in questions):
            done.append(1)
            second.take_over()

    at = stand.cursor().next_block
    stand.chain.grow(3)
    stand.endpoint.before = before
    stand.steps(1)
    assert [error.code for error in stand.errors] == ["FENCED"]
    assert stand.cursor().next_block == at
    stand.catch_up(second)
    stand.check()


def test_whoever_takes_over_says_from_whom_and_how_long_that_one_was_silent(stand, caplog):
    stand.chain.grow(3)
    stand.catch_up()
    said = "this follower leads now, in place of "
    assert said not in caplog.text
    stand.catch_up(stand.new_follower())
    assert said not in caplog.text, "its own process"
    wrote = stand.cursor().updated_at_ms / 1000

    def taken(seconds, holder, state="starting"):
        caplog.clear()
        later = stand.new_follower(now=lambda: wrote + seconds)
        later._holder = holder
        later._set(state)
        later.take_over()
        return caplog.text

    first = stand.cursor().holder
    told = taken(2.5, "there:7")
    assert f"{said}{first}, which last wrote 2.5 s ago; where that one still runs" in told
    # It stood by until the other was silent for long enough to be gone.
    told = taken(31, "there:8", "standby")
    assert f"{said}there:7, which last wrote 31.0 s ago\n" in told
    # Begun again the day after.
    assert said not in taken(86_400, "there:9")


@pytest.mark.parametrize("stale", ["next_block", "last_hash", "epoch"])
def test_a_cursor_that_moved_in_any_respect_is_not_moved_again(stand, stale):
    stand.chain.grow(5)
    stand.catch_up()
    now = stand.cursor()
    old = replace(now, **{stale: b"x" * 32 if stale == "last_hash" else getattr(now, stale) - 1})
    heads = Heads(Header(9, b"h" * 32, b"p" * 32, 0, 0), 0, 0)
    with pytest.raises(Fenced), writing(stand.engine) as connection:
        stand.follower.journal.note(connection, old, heads, 1)
    assert stand.cursor() == now


def test_a_leader_that_was_stopped_in_mid_transaction_commits_nothing(postgres, postgres_template):
    url = postgres.url(postgres.fresh(postgres_template))
    stand = world.Stand(url)
    stand.chain.grow(20)
    stand.catch_up()
    stand.chain.grow(5)
    # It stops itself after its compare-and-set, with the cursor's row locked.
    child = chaos.Child(stand, stop_after="UPDATE cursor SET next_block", frozen=1)
    deadline = time.monotonic() + 30
    while not child.stopped() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert child.stopped()
    stand.chain.reorg(3, 6)
    stand.catch_up(stand.new_follower())
    after = world.state(stand.engine)
    child.signal(signal.SIGCONT)
    time.sleep(1.0)
    assert world.state(stand.engine) == after
    child.kill()
    stand.check()
    stand.close()


@pytest.mark.parametrize("when", ["INSERT INTO raw_log", "UPDATE cursor", "SELECT"])
def test_a_follower_that_is_asked_to_end_finishes_its_step_and_ends_with_0(stand, when):
    stand.chain.grow(10)
    child = chaos.Child(stand, term_at=when)
    child.process.join(30)
    assert child.process.exitcode == 0
    if when != "SELECT":
        # The transaction it was in was carried through.
        assert stand.cursor().block > 0
    stand.check_so_far()
    stand.catch_up()
    stand.check()


def test_three_followers_that_race_leave_the_rows_of_one(stand):
    stand.chain.grow(3)
    children = [chaos.Child(stand, silent_ms=100) for _ in range(3)]
    chaos.wait_quiet(stand)
    for _ in range(12):
        stand.chain.grow(3)
        time.sleep(0.1)
        stand.chain.reorg(2)
    chaos.wait_quiet(stand)
    for child in children:
        child.kill()
    stand.check()


def test_a_follower_on_watch_outlives_its_database(postgres, postgres_template):
    stand = world.Stand(postgres.url(postgres.fresh(postgres_template)))
    stand.chain.grow(5)
    stand.catch_up()
    watch = stand.new_follower(poll=0.01)
    watch.take_over()
    stand.follower.take_over()
    stop = threading.Event()
    thread = threading.Thread(target=watch.run, args=(stop,))
    thread.start()

    def wait_for(state):
        deadline = time.monotonic() + 20
        while watch.status.state != state and time.monotonic() < deadline:
            time.sleep(0.01)
        assert watch.status.state == state

    reads: list[int] = []

    def gone(connection, cursor, statement, *_):
        """The step reads the cursor and finds itself fenced; the look at the leader fails."""
        reads.append(1)
        if "FROM cursor" in statement and len(reads) % 2:
            return
        raise OperationalError("SELECT", {}, sqlite3.OperationalError("gone"))

    wait_for("standby")
    event.listen(stand.engine, "before_cursor_execute", gone)
    deadline = time.monotonic() + 20
    while len(reads) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    event.remove(stand.engine, "before_cursor_execute", gone)
    assert thread.is_alive()
    wait_for("standby")
    stop.set()
    thread.join(10)
    stand.check()
    stand.close()
