"""The audit log: whatever is altered, taken out, put in or cut off is named."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update

from ledger.access import trail
from ledger.access.trail import Act, Head, Row
from ledger.canonical import canonical_json
from ledger.errors import LedgerError
from ledger.ids import ZERO_DIGEST, Digest
from ledger.index.access_tables import access_audit
from ledger.index.database import reading, writing


def fill(store, count=9):
    for number in range(1, count + 1):
        store.record(Act("account:0xa1", "key.created", f"key:{number}", "session:x"))


def report(store, **options):
    with reading(store.engine) as connection:
        return trail.verify(trail.rows(connection), **options)


def failed(found):
    return {check.number: check.detail for check in found.checks if check.result == "fail"}


def alter(store, number, **values):
    with writing(store.engine) as connection:
        connection.execute(
            update(access_audit).where(access_audit.c.sequence == number).values(**values)
        )


def rows(store):
    with reading(store.engine) as connection:
        return list(trail.rows(connection))


def test_an_entry_is_hashed_as_the_specification_says(store):
    fill(store, 2)
    first, second = rows(store)
    for row in (first, second):
        made = hashlib.sha256(b"modeldeed/audit-entry/1\0" + row.text.encode()).digest()
        assert made == row.hash
    assert json.loads(first.text)["previous"] == "0x" + "00" * 32
    assert json.loads(second.text)["previous"] == "0x" + first.hash.hex()


def test_a_log_that_nobody_touched_holds(store):
    assert report(store).holds
    fill(store)
    found = report(store)
    assert found.holds
    assert found.head == store.head()
    assert [check.number for check in found.checks] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_an_altered_entry_is_named(store):
    fill(store)
    text = rows(store)[6].text
    alter(store, 7, entry=text.replace("key:7", "key:8"))
    assert failed(report(store)) == {3: "entry 7 was altered: its hash is another"}


def test_an_altered_entry_with_its_hash_made_anew_is_named_by_the_next(store):
    fill(store)
    text = rows(store)[6].text.replace("key:7", "key:8")
    alter(store, 7, entry=text, hash=trail.hash_bytes(trail.TAG, text.encode()).raw)
    assert failed(report(store)) == {4: "entry 8 does not follow the entry before it"}


def test_an_entry_taken_out_is_named(store):
    fill(store)
    with writing(store.engine) as connection:
        connection.execute(delete(access_audit).where(access_audit.c.sequence == 4))
    found = failed(report(store))
    assert found[1] == "entry 4 is missing"
    assert 4 in found


def test_entries_cut_off_at_the_end_are_missed_by_whoever_kept_a_head(store):
    fill(store)
    kept = store.head()
    with writing(store.engine) as connection:
        connection.execute(delete(access_audit).where(access_audit.c.sequence > 6))
    assert report(store).holds  # by itself it cannot know
    assert failed(report(store, kept=[kept])) == {6: "entry 9, which was seen earlier, is gone"}


def test_a_log_written_anew_from_the_beginning_is_not_the_one_that_was_seen(store):
    fill(store)
    kept = store.head()
    with writing(store.engine) as connection:
        connection.execute(delete(access_audit))
    fill(store, 12)
    alter_free = report(store)
    assert alter_free.holds
    store.record(Act("local:x", "more"))
    changed = report(store, kept=[Head(kept.sequence, Digest(b"\x09" * 32))])
    assert failed(changed) == {6: "entry 9 is not the one that was seen earlier"}


def test_a_log_that_went_on_goes_on_from_what_was_seen(store):
    fill(store)
    kept = store.head()
    fill(store)
    assert report(store, kept=[kept]).holds
    assert report(store, kept=[Head(0, ZERO_DIGEST)]).holds


def test_roots_that_the_log_says_are_on_chain_are_looked_for(store):
    fill(store)
    head = store.head()
    detail = {"sequence": head.sequence, "block": 7}
    store.record(Act("local:x", trail.ANCHORED, str(head.hash), detail=detail))
    assert report(store, anchored_at=lambda root: (1, 7) if root == head.hash else None).holds
    assert failed(report(store, anchored_at=lambda _: None)) == {
        7: "entry 10 names a root that is not on chain"
    }
    unasked = report(store).checks[6]
    assert unasked.result == "not checked"
    other = {"sequence": 3, "block": 7}
    store.record(Act("local:x", trail.ANCHORED, str(head.hash), detail=other))
    assert failed(report(store)) == {7: "entry 11 anchors another hash than that of entry 3"}


def test_an_export_verifies_without_the_database(store):
    fill(store)
    lines = [trail.line_of(row).encode() + b"\n" for row in rows(store)]
    assert trail.verify(trail.rows_of(lines)).head == store.head()
    del lines[2]
    assert not trail.verify(trail.rows_of(lines)).holds


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b'{"entry":1,"hash":"0x"}', b'{"entry":"","hash":"0x12"}', b"\xff"]
)
def test_what_is_no_export_is_refused_in_words(line):
    with pytest.raises(LedgerError, match="line 1"):
        list(trail.rows_of([line]))


def chained(count):
    made, previous = [], ZERO_DIGEST
    for sequence in range(1, count + 1):
        entry = {
            "sequence": sequence, "previous": str(previous), "time_ms": 5, "actor": "a",
            "via": "local", "act": "x", "subject": "", "outcome": "done", "request": "",
            "detail": {},
        }  # fmt: skip
        text = canonical_json(entry)
        previous = trail.hash_bytes(trail.TAG, text)
        made.append(Row(sequence, text.decode(), previous.raw))
    return made


LOG = chained(5)


@settings(max_examples=300)
@given(
    number=st.integers(0, 4),
    place=st.integers(0, 400),
    cut=st.integers(0, 2),
    put=st.text(max_size=2),
)
def test_no_change_of_a_text_passes(number, place, cut, put):
    row = LOG[number]
    place = min(place, len(row.text))
    changed = row.text[:place] + put + row.text[place + cut :]
    if changed == row.text:
        return
    log = [*LOG[:number], Row(row.sequence, changed, row.hash), *LOG[number + 1 :]]
    found = trail.verify(log)
    assert not found.holds
    assert f"entry {number + 1} was altered" in found.checks[2].detail


@given(st.permutations(range(5)))
def test_no_other_order_passes(order):
    found = trail.verify([LOG[n] for n in order])
    assert found.holds == (order == list(range(5)))


def test_an_entry_of_another_form_is_named_even_if_its_hash_is_right():
    for text in ('{"sequence":1}', "[]", "x", LOG[0].text + " ", LOG[0].text.replace("{}", "[]")):
        row = Row(1, text, trail.hash_bytes(trail.TAG, text.encode()).raw)
        assert "entry 1 is not an entry" in trail.verify([row]).checks[1].detail
