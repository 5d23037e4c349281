"""The audit log's oldest entries are forgotten, and nothing may be missing but what it says."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import delete, func, select, update

from ledger.access import forgetting, trail
from ledger.access.forgetting import forget
from ledger.access.trail import Act
from ledger.errors import UsageError
from ledger.index.access_tables import access_audit
from ledger.index.database import reading, writing

DAY = 86_400
BY = "local:service@here"


def tell(store, clock, days, count=1):
    """So many entries now, and then so many days pass."""
    for _ in range(count):
        store.record(Act("account:0xa1", "key.created"))
    clock.pass_(days * DAY)


def gone(store, clock, days=100):
    return forget(store.engine, days, actor=BY, now=clock())


def kept(store):
    with reading(store.engine) as connection:
        return [row.sequence for row in trail.rows(connection)]


def report(store, **options):
    with reading(store.engine) as connection:
        return trail.verify(trail.rows(connection), **options)


def failed(found):
    return {check.number: check.detail for check in found.checks if check.result == "fail"}


def result(found, number):
    return found.checks[number - 1].result


def newest(store):
    with reading(store.engine) as connection:
        return json.loads(list(trail.rows(connection))[-1].text)


def change(store, statement):
    with writing(store.engine) as connection:
        connection.execute(statement)


@pytest.fixture
def forgotten(store, clock):
    """Three entries of day 0, one each of days 60 and 130; on day 140 the first three are gone."""
    tell(store, clock, 60, count=3)
    tell(store, clock, 70)
    tell(store, clock, 10)
    assert gone(store, clock) == 3
    return store


def test_what_is_older_goes_and_the_log_says_so_and_holds(forgotten, clock):
    assert kept(forgotten) == [4, 5, 6]
    told = newest(forgotten)
    assert (told["act"], told["actor"], told["detail"]["sequence"]) == ("audit.pruned", BY, 3)
    assert told["detail"]["before_ms"] == int((clock() - 100 * DAY) * 1000)
    found = report(forgotten)
    assert found.holds, failed(found)
    assert found.head == forgotten.head()
    assert found.checks[0].detail == "3 entries from 4 without a gap"
    forgotten.record(Act("local:x", "more"))
    assert report(forgotten).head.sequence == 7


def test_nothing_younger_goes_whatever_comes_after(store, clock):
    tell(store, clock, 50)
    tell(store, clock, 49)
    assert gone(store, clock) == 0
    clock.pass_(DAY)
    assert gone(store, clock) == 0  # by a day's worth, else a log grows by its own forgetting
    clock.pass_(DAY + 1)
    assert gone(store, clock) == 1
    assert kept(store) == [2, 3]
    assert gone(store, clock) == 0


def test_a_clock_set_back_makes_no_entry_older_than_it_is(store, clock):
    """An entry is never earlier than the one before it, so none goes before its time."""
    tell(store, clock, -200)
    tell(store, clock, 250)
    assert gone(store, clock) == 0


def test_an_altered_entry_keeps_all_that_follow_it(store, clock):
    tell(store, clock, 200, count=4)
    change(store, update(access_audit).where(access_audit.c.sequence == 3).values(entry="{}"))
    assert gone(store, clock) == 2
    assert kept(store) == [3, 4, 5]
    assert "entry 3 was altered" in failed(report(store))[3]


def test_less_than_the_least_is_refused(store, clock):
    tell(store, clock, 200)
    with pytest.raises(UsageError, match="90 days"):
        gone(store, clock, days=89)
    assert kept(store) == [1]


def test_much_goes_bit_by_bit(store, clock, monkeypatch):
    monkeypatch.setattr(forgetting, "AT_ONCE", 2)
    tell(store, clock, 200, count=5)
    assert [gone(store, clock) for _ in range(4)] == [2, 2, 1, 0]
    assert kept(store) == [6, 7, 8]
    assert report(store).holds


def test_of_two_processes_one_forgets(store, clock, monkeypatch):
    tell(store, clock, 200, count=2)
    real = trail.lock

    def late(connection):
        """The other process was first, between the look and the lock."""
        real(connection)
        connection.execute(delete(access_audit).where(access_audit.c.sequence == 1))

    monkeypatch.setattr(trail, "lock", late)
    assert gone(store, clock) == 0
    with reading(store.engine) as connection:
        acts = select(func.count()).where(access_audit.c.entry.contains("audit.pruned"))
        assert connection.execute(acts).scalar_one() == 0


# -- what verifying makes of it ------------------------------------------------------------------


def test_a_beginning_that_was_taken_away_is_named(forgotten):
    change(forgotten, delete(access_audit).where(access_audit.c.sequence == 4))
    said = failed(report(forgotten))
    assert said[1] == "entries 1 to 4 are missing; entry 6 says that 3 was the last"


def test_a_beginning_that_no_entry_tells_of_is_named(store, clock):
    tell(store, clock, 1, count=3)
    change(store, delete(access_audit).where(access_audit.c.sequence == 1))
    said = failed(report(store))
    assert said[1] == "entry 1 is missing, and no entry says that they were forgotten"


def forged(store, clock, *, days, hash_=None):
    """As one who writes the table: its beginning taken away, and an entry that explains it."""
    with reading(store.engine) as connection:
        last = next(row for row in trail.rows(connection) if row.sequence == 2)
    detail = {"sequence": 2, "before_ms": int((clock() - days * DAY) * 1000)}
    subject = "0x" + (hash_ or last.hash).hex()
    store.record(Act(BY, "audit.pruned", subject, detail=detail))
    change(store, delete(access_audit).where(access_audit.c.sequence <= 2))


def test_nobody_hides_what_is_recent_by_saying_that_it_was_forgotten(store, clock):
    tell(store, clock, 1, count=3)
    forged(store, clock, days=89)
    assert failed(report(store)) == {1: "entry 4 forgot what was younger than 90 days"}


def test_what_is_forgotten_is_named_by_its_hash(store, clock):
    tell(store, clock, 1, count=3)
    forged(store, clock, days=91, hash_=b"\x07" * 32)
    assert set(failed(report(store))) == {4}


def test_an_entry_about_forgetting_that_cannot_be_read_explains_nothing(store, clock):
    tell(store, clock, 1, count=2)
    store.record(Act(BY, "audit.pruned", "0x12", detail={"sequence": "two"}))
    assert report(store).holds  # nothing is missing
    change(store, delete(access_audit).where(access_audit.c.sequence == 1))
    assert "says that 0 was the last" in failed(report(store))[1]


def test_a_head_that_was_kept_holds_up_to_where_the_log_begins(store, clock):
    tell(store, clock, 60)
    early = store.head()
    tell(store, clock, 0, count=2)
    last = store.head()
    clock.pass_(140 * DAY)
    assert gone(store, clock) == 3
    assert result(report(store, kept=[last]), 6) == "pass"
    other = trail.Head(last.sequence, early.hash)
    assert set(failed(report(store, kept=[other]))) == {6}
    too_old = report(store, kept=[early]).checks[5]
    assert too_old.result == "not checked"
    assert too_old.detail == "entry 1, seen earlier, was forgotten: the log begins with 4"


def test_roots_of_what_was_forgotten_are_no_faults_and_all_others_are(store, clock):
    """Two heads anchored, the first long ago; then one that is missing though it is recent."""
    times = {}

    def anchor():
        head = store.head()
        times[head.hash] = (int(clock()), 7)
        detail = {"sequence": head.sequence, "block": 7}
        store.record(Act(BY, trail.ANCHORED, str(head.hash), detail=detail))
        return head.hash

    tell(store, clock, 0)
    old = anchor()
    clock.pass_(200 * DAY)
    tell(store, clock, 0)
    recent = anchor()
    assert gone(store, clock) == 2
    asked = {"anchored_at": times.get, "anchored": [old, recent]}
    found = report(store, **asked)
    assert found.holds, failed(found)
    assert found.checks[7].detail == "1 roots, each of an entry; 1 of entries that were forgotten"
    lost = trail.hash_bytes(trail.TAG, b"cut off")
    times[lost] = (int(clock()), 9)
    asked["anchored"] = [old, recent, lost]
    assert set(failed(report(store, **asked))) == {8}


def test_an_export_of_what_is_kept_verifies_without_the_database(forgotten):
    with reading(forgotten.engine) as connection:
        lines = [trail.line_of(row).encode() for row in trail.rows(connection)]
    found = trail.verify(trail.rows_of(lines))
    assert found.holds, failed(found)
    assert found.head == forgotten.head()
    assert not trail.verify(trail.rows_of(lines[1:])).holds
    del lines[1]
    assert not trail.verify(trail.rows_of(lines)).holds
