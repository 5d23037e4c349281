"""The outbox tells, in order and without gaps, what happened to the journal."""

from __future__ import annotations

import secrets
import time

import pytest
from sqlalchemy import delete, event, select

from ledger.errors import IndexDamaged, UnknownRecord
from ledger.index import tables
from ledger.index.database import writing
from ledger.index.follow import Follower
from ledger.index.journal import Journal
from ledger.index.outbox import Outbox
from ledger.index.standing import standing

pytestmark = pytest.mark.chain


def read(engine, ledger, **where):
    with engine.connect() as connection:
        return Outbox(ledger.deployment.chain_id).read(connection, **{"limit": 10_000, **where})


def told(engine, ledger):
    """What a receiver that reads everything believes to be in the journal, and to be final."""
    events, final = set(), -1
    for number, entry in enumerate(read(engine, ledger).entries, 1):
        assert entry.seq == number
        at = (entry.block, entry.log_index, entry.block_hash)
        if entry.kind == "applied":
            assert at not in events
            events.add(at)
        elif entry.kind == "retracted":
            events.remove(at)
        else:
            final = entry.block
    return events, final


def journal(engine):
    table = tables.raw_log
    with engine.connect() as connection:
        rows = connection.execute(select(table.c.block, table.c.log_index, table.c.block_hash))
        return {tuple(row) for row in rows}


def test_whoever_reads_it_all_knows_the_journal(ledger, engine, follower, look):
    ledger.busy()
    look.catch_up(follower)
    events, final = told(engine, ledger)
    assert events == journal(engine)
    assert events
    with engine.connect() as connection:
        finalized = connection.execute(select(tables.cursor.c.finalized)).scalar_one()
    newest = max((block for block, *_ in events if block <= finalized), default=-1)
    assert newest <= final <= finalized


def test_a_reorganisation_takes_events_back_newest_first(ledger, engine, follower, look):
    look.catch_up(follower)
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    look.catch_up(follower)
    before = journal(engine)
    last = read(engine, ledger).after
    ledger.reorg(2)
    ledger.mine()
    look.catch_up(follower)
    assert len(before - journal(engine)) == 2
    events, _ = told(engine, ledger)
    assert events == journal(engine)
    back = [e for e in read(engine, ledger, after=last).entries if e.kind == "retracted"]
    assert [e.block for e in back] == sorted((e.block for e in back), reverse=True)
    assert all(e.event == "RootAnchored" for e in back)
    assert all(e.subjects for e in back)


def test_entries_of_one_subject_are_its_own_and_what_concerns_all(ledger, engine, follower, look):
    model = ledger.register()
    ledger.register()
    ledger.mine(4)
    look.catch_up(follower)
    found = read(engine, ledger, subject=model.raw).entries
    assert {entry.event for entry in found} == {"ModelRegistered", ""}
    assert [e.kind for e in found if not e.event] == ["finalized"] * sum(not e.event for e in found)
    assert sum(entry.kind == "applied" for entry in found) == 1


def test_entries_and_rows_come_together_or_not_at_all(ledger, engine, follower, look):
    look.catch_up(follower)
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    last = read(engine, ledger).after
    place = look.journal(engine)

    def fail(conn, cursor, statement, *_):
        if statement.startswith(("INSERT INTO outbox_place", "UPDATE outbox_place")):
            raise RuntimeError("the process dies here")

    event.listen(engine, "before_cursor_execute", fail)
    with pytest.raises(RuntimeError):
        look.catch_up(follower)
    event.remove(engine, "before_cursor_execute", fail)
    assert read(engine, ledger).after == last
    assert look.journal(engine) == place
    look.catch_up(follower)
    assert told(engine, ledger)[0] == journal(engine)


def test_old_entries_are_forgotten_and_numbers_go_on(ledger, engine, look):
    clock = [time.time() - 1000.0]
    follower = Follower(ledger.rpc, engine, ledger.deployment, look.Profile(), now=lambda: clock[0])
    ledger.register()
    look.catch_up(follower)
    old = read(engine, ledger).after
    clock[0] += 900
    outbox = Outbox(ledger.deployment.chain_id)
    ledger.register()
    look.catch_up(follower)
    with writing(engine) as connection:
        assert outbox.prune(connection, int((clock[0] - 10) * 1000)) == old
        assert outbox.prune(connection, int((clock[0] - 10) * 1000)) == 0
    with pytest.raises(UnknownRecord, match="and not what follows 0") as caught:
        read(engine, ledger)
    assert "last block" in caught.value.hint
    assert read(engine, ledger, after=old).entries[0].seq == old + 1
    with writing(engine) as connection:
        outbox.prune(connection, int((clock[0] + 10) * 1000))
    last = read(engine, ledger, after=outbox_last(engine, outbox)).after
    ledger.register()
    look.catch_up(follower)
    assert read(engine, ledger, after=last).entries[0].seq == last + 1


def outbox_last(engine, outbox):
    with engine.connect() as connection:
        return outbox.place(connection).last_seq


def test_a_number_from_the_future_is_refused(ledger, engine, follower, look):
    look.catch_up(follower)
    with pytest.raises(UnknownRecord):
        read(engine, ledger, after=10**9)


@pytest.mark.parametrize("gone", [(tables.outbox_place,), (tables.outbox_place, tables.outbox)])
def test_a_place_that_is_gone_is_damage_to_whoever_asks_for_it(gone, ledger, engine, young, look):
    """Numbers would begin anew, and events be counted from none."""
    ledger.register()
    look.catch_up(young)
    with writing(engine) as connection:
        for table in gone:
            connection.execute(delete(table))
    ledger.register()
    with pytest.raises(IndexDamaged, match="outbox_place is gone"):
        look.catch_up(young)
    for ask in (standing, lambda connection, id_: Journal(id_).position(connection)):
        with engine.connect() as connection, pytest.raises(IndexDamaged, match="outbox_place"):
            ask(connection, ledger.deployment.chain_id)
