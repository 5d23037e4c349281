"""``deed index`` in the folder of a stack that was stopped: its index is there all the same."""

from __future__ import annotations

import re

import pytest

from ledger.stack import Stack

pytestmark = pytest.mark.chain


def test_the_index_of_a_stopped_stack_is_found_in_its_folder_and_below(deed):
    Stack.start(deed.cwd).stop()
    file = deed.cwd / ".deed" / "index.sqlite3"
    below = deed.cwd / "below"
    below.mkdir()
    deed.cwd = below
    ran = deed("index", "audit")
    assert (ran.code, "by itself the index holds" in ran.out) == (0, True), ran.out + ran.err
    ran = deed("index", "status")
    assert (ran.code, bool(re.search(r"^network +none chosen", ran.out, re.MULTILINE))) == (3, True)
    assert not file.with_name("index.sqlite3-wal").exists()
    copy = below / "monday.db"
    assert deed("index", "backup", copy).code == 0
    file.unlink()
    assert f"there is no index database at {file}" in deed("index", "audit").err
    ran = deed("index", "restore", copy, "--json")
    assert (ran.code, ran.json["file"]) == (0, str(file)), ran.err
    assert deed("index", "rebuild").code == 0
    # Whoever follows needs a chain, and says so before anything else.
    ran = deed("index", "run")
    assert (ran.code, "no network is chosen" in ran.err) == (2, True), ran.err


def test_where_no_stack_ever_was_both_ways_to_name_a_database_are_told(deed):
    (deed.cwd / ".deed").mkdir()
    for words in (["status"], ["audit"], ["backup", "copy.db"], ["restore", "copy.db"]):
        ran = deed("index", *words)
        assert (ran.code, "no index database is named" in ran.err) == (2, True), ran.err
        assert "--database" in ran.err
        assert "DEED_DATABASE" in ran.err


@pytest.mark.parametrize("word", ["backup", "restore"])
def test_a_copy_without_its_end_is_refused(deed, word):
    Stack.start(deed.cwd).stop()
    copy = deed.cwd / "copy.db"
    assert deed("index", "backup", copy).code == 0
    with copy.open("r+b") as raw:
        raw.truncate(copy.stat().st_size - 4096)
    words = {
        "backup": ["backup", "new.db", "--database", copy],
        "restore": ["restore", copy, "--database", "new.db"],
    }
    ran = deed("index", *words[word])
    assert (ran.code, f"{copy} is damaged" in ran.err) == (2, True), ran.err
    assert "retry" not in ran.err
    assert not (deed.cwd / "new.db").exists()
    assert deed("index", "audit", "--database", copy).code == 2
