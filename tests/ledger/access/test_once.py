"""Names of requests: one row decides, and what is kept opens with its credential alone."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from sqlalchemy import select

from ledger.access import once
from ledger.access.once import Attempt, Named, OnceStore, parse_name
from ledger.access.tokens import new_token
from ledger.errors import (
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    RateLimited,
    RequestUnderWay,
)
from ledger.index.access_tables import access_once

TOKEN = new_token("session")
ASKED = (b"POST", b"/v1/keys", b"", b'{"name":"ci"}')
SECRET = b'{"key":"deed_live_Ab3dE5fG7h_that-is-shown-once"}'


@pytest.fixture
def names(engine, clock):
    return OnceStore(engine, clock)


def request(name="a", token=TOKEN, parts=ASKED):
    return Named.of(token, name, *parts)


def rows(engine):
    with engine.connect() as connection:
        return connection.execute(select(access_once)).all()


def test_a_repeat_gets_the_answer_and_another_request_does_not(names):
    attempt = names.begin(request())
    assert isinstance(attempt, Attempt)
    with pytest.raises(RequestUnderWay):
        names.begin(request())
    names.end(attempt, SECRET)
    assert names.begin(request()) == SECRET
    for place, other in enumerate((b"DELETE", b"/v1/keys/x", b"a=1", b'{"name":"cj"}')):
        parts = list(ASKED)
        parts[place] = other
        with pytest.raises(IdempotencyKeyReused):
            names.begin(request(parts=parts))
    # Where one part ends and the next begins is part of it.
    with pytest.raises(IdempotencyKeyReused):
        names.begin(request(parts=(b"POST", b"/v1/key", b"s", ASKED[3])))


def test_a_name_belongs_to_one_credential(names):
    attempt = names.begin(request())
    names.end(attempt, SECRET)
    assert isinstance(names.begin(request(token=new_token("session"))), Attempt)
    assert isinstance(names.begin(request(name="b")), Attempt)


def test_a_name_that_was_given_back_is_free_for_another_request(names):
    names.free(names.begin(request()))
    assert isinstance(names.begin(request(parts=(b"POST", b"/", b"", b""))), Attempt)


def test_an_attempt_that_died_can_be_made_again_and_its_late_answer_is_not_kept(names, clock):
    dead = names.begin(request())
    clock.pass_(once.HELD_SECONDS - 1)
    with pytest.raises(RequestUnderWay):
        names.begin(request())
    clock.pass_(1)
    second = names.begin(request())
    assert isinstance(second, Attempt)
    names.end(dead, b"late")
    names.free(dead)
    with pytest.raises(RequestUnderWay):
        names.begin(request())
    names.end(second, b"the answer")
    assert names.begin(request()) == b"the answer"


def test_an_answer_is_kept_for_a_day(names, clock, engine):
    names.end(names.begin(request()), SECRET)
    clock.pass_(once.KEPT_SECONDS - 1)
    assert names.begin(request()) == SECRET
    clock.pass_(1)
    assert isinstance(names.begin(request()), Attempt)
    assert len(rows(engine)) == 1


def test_the_database_shows_neither_name_nor_body_nor_answer(names, engine):
    names.end(names.begin(request(name="order-4711")), SECRET)
    (row,) = rows(engine)
    everything = b"".join(each for each in row if isinstance(each, bytes))
    assert b"order-4711" not in everything
    assert b"deed_live" not in everything
    assert TOKEN.text.encode() not in everything
    # Somebody who exchanges rows gives nobody another one's answer.
    other = Named.of(new_token("session"), "order-4711", *ASKED)
    with pytest.raises(IdempotencyKeyReused):
        other.open(bytes(row.answer))
    elsewhere = Named.of(TOKEN, "order-4712", *ASKED)
    with pytest.raises(IdempotencyKeyReused):
        elsewhere.open(bytes(row.answer))


def test_names_are_bounded_for_each_credential(names, monkeypatch):
    monkeypatch.setattr(once, "MAX_NAMES", 3)
    for name in "abc":
        names.begin(request(name=name))
    with pytest.raises(RateLimited):
        names.begin(request(name="d"))
    assert isinstance(names.begin(request(token=new_token("session"))), Attempt)


def test_kept_answers_are_bounded_for_each_credential(names, monkeypatch, clock):
    monkeypatch.setattr(once, "MAX_KEPT", 1000)
    for name in "abc":
        attempt = names.begin(request(name=name))
        names.end(attempt, b"x" * 400)
    with pytest.raises(RateLimited, match="of answers"):
        names.begin(request(name="d"))
    # What is there is given all the same, and of another credential nothing is held back.
    assert names.begin(request(name="a")) == b"x" * 400
    assert isinstance(names.begin(request(token=new_token("session"))), Attempt)
    clock.pass_(once.KEPT_SECONDS)
    assert isinstance(names.begin(request(name="d")), Attempt)


PROCESS = """
import sys, threading
from ledger.access.once import Attempt, Named, OnceStore
from ledger.access.tokens import parse_token
from ledger.errors import RequestUnderWay
from ledger.index.database import open_database

store = OnceStore(open_database(sys.argv[1]))
begun = []

def ask():
    for _ in range(5):
        try:
            request = Named.of(parse_token(sys.argv[2]), "a", b"POST", b"/", b"", b"")
            begun.append(isinstance(store.begin(request), Attempt))
        except RequestUnderWay:
            begun.append(False)

threads = [threading.Thread(target=ask) for _ in range(4)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(begun), sum(begun))
"""


def test_of_many_in_two_processes_one_is_served(database_url, engine):
    del engine  # has made the tables
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, database_url, TOKEN.text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for each in processes:
        assert each.stdout.readline() == "ready\n"
    for each in processes:
        each.stdin.write("go\n")
        each.stdin.flush()
    told = [each.communicate(timeout=120)[0].split() for each in processes]
    assert [int(asked) for asked, _ in told] == [20, 20]
    assert sum(int(served) for _, served in told) == 1


@pytest.mark.parametrize(("values", "name"), [
    ([b'"8e03978e-40d5"'], "8e03978e-40d5"), ([b"8e03978e-40d5"], "8e03978e-40d5"),
    ([b' "a"\t'], "a"), ([b'"!#[]~"'], "!#[]~"), ([b"A" * 255], "A" * 255),
])  # fmt: skip
def test_names_are_read_quoted_and_bare(values, name):
    assert parse_name(values) == name


@pytest.mark.parametrize("values", [
    [], [b""], [b'""'], [b'"a'], [b'a"'], [b'"a"b"'], [b'"a b"'], [b'"a\\"b"'], [b"a b"], [b"a,b"],
    [b'"a";x=1'], [b"A" * 256], [b'"' + b"A" * 256 + b'"'], ["é".encode()], [b'"\x7f"'],
    [b"a", b"a"], [b"a\n"], [b'"a"\x00'],
])  # fmt: skip
def test_other_forms_are_no_names(values):
    with pytest.raises(IdempotencyKeyInvalid):
        parse_name(values)


def test_the_description_gives_the_form_that_is_read():
    described = re.compile(f"^({once.PATTERN})$")
    for text in ('"a b"', '"a"', "a", "a b", '"', "A" * 256):
        try:
            parse_name([text.encode()])
        except IdempotencyKeyInvalid:
            assert described.match(text) is None
        else:
            assert described.match(text)


def test_the_migration_keeps_rows_and_goes_back(engine):
    """Down to the shape before and up again, with rows in the other tables."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import inspect

    from ledger.access.relayed import Relays
    from ledger.access.store import AccessStore
    from ledger.chain.relay import Passed
    from ledger.ids import Address, Digest
    from ledger.index.database import MIGRATIONS, writing

    def run(what, revision):
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with writing(engine) as connection:
            config.attributes["connection"] = connection
            what(config, revision)

    nonce, _ = AccessStore(engine, 31337).new_nonce()
    relays, who = Relays(engine, 31337), Address(b"\x05" * 20)
    assert relays.keep(Digest(b"\x01" * 32), who, 2**64 - 2, "account:x")
    assert not relays.keep(Digest(b"\x01" * 32), who, 2**64 - 2, "account:y")
    assert relays.find(Digest(b"\x01" * 32)) == Passed(who, 2**64 - 2)
    run(command.downgrade, "0006-1")
    assert not {"access_once", "relayed"} & set(inspect(engine).get_table_names())
    run(command.upgrade, "head")
    assert relays.find(Digest(b"\x01" * 32)) is None
    from ledger.index.access_tables import access_nonce

    with engine.connect() as connection:
        assert connection.execute(select(access_nonce.c.nonce)).scalar_one() == nonce


def test_what_was_passed_on_is_forgotten_after_a_week_and_stays_apart_by_chain(engine, clock):
    from ledger.access import relayed
    from ledger.ids import Address, Digest

    which, who = Digest(b"\x01" * 32), Address(b"\x05" * 20)
    here, there = relayed.Relays(engine, 1, clock), relayed.Relays(engine, 2, clock)
    here.keep(which, who, 7, "account:x")
    assert there.find(which) is None
    clock.pass_(relayed.KEPT_SECONDS + 1)
    there.keep(which, who, 7, "account:x")
    assert here.find(which) is None
    there.forget(which)
    assert there.find(which) is None
