"""Keys, sessions, nonces and roles, on both databases: what counts, and from when it does not."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert, select, text, update

from ledger.access import sessions, trail
from ledger.access import store as stores
from ledger.access.message import SignInMessage
from ledger.access.principals import By
from ledger.access.roles import ROLES, SCOPES, SESSION_ONLY, scopes_of
from ledger.access.store import AccessStore
from ledger.access.tokens import new_token
from ledger.errors import (
    CredentialExpired,
    CredentialRevoked,
    NotAuthenticated,
    ScopeMissing,
    SignInRefused,
    UnknownRecord,
    UsageError,
)
from ledger.ids import Address
from ledger.index import tables
from ledger.index.access_tables import access_key, access_nonce, access_session
from ledger.index.database import reading, writing

ALICE, BOB = Address(b"\xa1" * 20), Address(b"\xb0" * 20)
LOCAL = By("local:op@host")
DAY = 86_400
EVERY_SESSION = {"deposits:write", "evidence:write", "statistics:read", "transactions:write"}


def message(nonce, account=ALICE, **more):
    return SignInMessage(
        domain="deed.example", address=str(account), uri="https://deed.example/", chain_id="31337",
        nonce=nonce, issued_at="2027-01-15T08:00:00Z", **more,
    )  # fmt: skip


def signed_in(store, account=ALICE, **more):
    nonce, _ = store.new_nonce()
    return store.open_session(message(nonce, account, **more))


def owns(store, account, what="model", chain_id=31337):
    """Let the chain's index say that an account owns a title or license."""
    table = {"model": tables.model, "license": tables.license_}[what]
    row = {
        column.name: {
            "BIGINT": 1, "SMALLINT": 1, "BOOLEAN": True, "VARCHAR(20)": 1,
        }.get(str(column.type), b"\x01" * 32)
        for column in table.columns
    }  # fmt: skip
    row |= {"chain_id": chain_id, "died_block": None}
    row[{"model": "licensor", "license": "holder"}[what]] = account.raw
    row |= (
        {"pending_licensor": None, "guardian": None, "recovery_to": None} if what == "model" else {}
    )
    with writing(store.engine) as connection:
        connection.execute(insert(table).values(row))


def acts(store):
    with reading(store.engine) as connection:
        entries = [trail._entry(row) for row in trail.rows(connection)]
    return [(entry["act"], entry["subject"]) for entry in entries]


def holds(store):
    with reading(store.engine) as connection:
        return trail.verify(trail.rows(connection)).holds


# -- keys ----------------------------------------------------------------------------------------


def test_a_key_opens_until_it_is_revoked_and_each_change_is_in_the_log(store):
    token, facts = store.create_key(LOCAL, "ci", ["audit:read"], role="auditor")
    who = store.resolve(token)
    assert (who.kind, who.id, who.account, who.roles) == ("key", facts.id, None, ("auditor",))
    assert who.scopes == {"audit:read"}
    store.revoke_key(LOCAL, facts.id)
    with pytest.raises(CredentialRevoked, match=facts.id):
        store.resolve(token)
    store.revoke_key(LOCAL, facts.id)  # twice is once
    assert acts(store) == [
        ("key.created", f"key:{facts.id}"), ("key.revoked", f"key:{facts.id}"),
    ]  # fmt: skip
    assert holds(store)


def test_the_database_never_holds_what_opens(store):
    token, _ = store.create_key(LOCAL, "ci", ["audit:read"], role="auditor")
    session, _ = signed_in(store)
    with reading(store.engine) as connection:
        for name in tables.metadata.tables:
            if name.startswith("access_"):
                rows = connection.execute(select(tables.metadata.tables[name])).all()
                assert token.text[21:] not in repr(rows)
                assert session.text[24:] not in repr(rows)


def test_another_random_part_under_a_known_id_opens_nothing(store):
    key, _ = store.create_key(LOCAL, "ci", ["audit:read"], role="auditor")
    session, _ = signed_in(store)
    for good in (key, session):
        forged = type(good)(good.kind, good.id, new_token(good.kind).text)
        with pytest.raises(NotAuthenticated) as caught:
            store.resolve(forged)
        assert type(caught.value) is NotAuthenticated


def test_a_key_is_no_session_and_a_session_is_no_key(store):
    token, _ = store.create_key(LOCAL, "ci", ["audit:read"], role="auditor")
    session, _ = signed_in(store)
    for kind, each in (("session", token), ("live", session)):
        with pytest.raises(NotAuthenticated):
            store.resolve(type(each)(kind, each.id, each.text))


def test_a_key_ends_on_its_day(store, clock):
    token, _ = store.create_key(LOCAL, "ci", ["audit:read"], role="auditor", days=2)
    clock.pass_(2 * DAY - 1)
    store.resolve(token)
    clock.pass_(1)
    with pytest.raises(CredentialExpired):
        store.resolve(token)


def test_when_a_key_was_used_is_known_to_the_hour(store, clock):
    token, facts = store.create_key(LOCAL, "ci", ["audit:read"], role="auditor")
    assert facts.used_at is None
    seen = []
    for _ in range(4):
        store.resolve(token)
        seen.append(store.keys()[0].used_at - 1_800_000_000)
        clock.pass_(1800)
    assert seen == [0, 0, 3600, 3600]


def test_a_key_of_an_account_loses_what_the_account_loses_at_the_next_request(store):
    owns(store, ALICE)
    wanted = ["deposits:write", "statistics:read"]
    token, _ = store.create_key(LOCAL, "ci", wanted, account=ALICE)
    assert store.resolve(token).scopes == set(wanted)
    with writing(store.engine) as connection:
        connection.execute(update(tables.model).values(died_block=9))
    downgraded = store.resolve(token)
    assert (downgraded.roles, downgraded.scopes) == ((), frozenset())
    with pytest.raises(ScopeMissing, match="deposits:write") as caught:
        downgraded.need("deposits:write")
    assert caught.value.scope == "deposits:write"


def test_no_key_reaches_what_makes_keys_even_if_its_row_says_so(store):
    token, facts = store.create_key(LOCAL, "op", ["audit:read"], role="operator")
    with writing(store.engine) as connection:
        connection.execute(
            update(access_key)
            .where(access_key.c.id == facts.id)
            .values(scopes="audit:read keys:write access:write nonsense")
        )
    assert store.resolve(token).scopes == {"audit:read"}
    with pytest.raises(ScopeMissing) as caught:
        store.resolve(token).need("keys:write")
    assert "sign in with a wallet" in caught.value.hint


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"name": ""}, UsageError),
        ({"name": "x" * 81}, UsageError),
        ({"name": "a\nb"}, UsageError),
        ({"scopes": []}, UsageError),
        ({"scopes": ["keys:write"]}, UsageError),
        ({"scopes": ["all"]}, UsageError),
        ({"scopes": ["deposits:write"]}, ScopeMissing),
        ({"days": 0}, UsageError),
        ({"days": 367}, UsageError),
        ({"role": "king"}, UsageError),
        ({"role": None}, UsageError),
        ({"account": ALICE}, UsageError),
        ({"account": ALICE, "role": None}, ScopeMissing),
    ],
    ids=str,
)
def test_a_key_that_cannot_be_meant_is_not_made(store, given, error):
    asked = {"name": "ci", "scopes": ["audit:read"], "role": "auditor"} | given
    with pytest.raises(error) as caught:
        store.create_key(LOCAL, **asked)
    assert caught.value.hint
    assert store.keys() == []
    assert acts(store) == []


def test_an_account_has_so_many_keys_and_no_more(store, monkeypatch):
    monkeypatch.setattr(stores, "MAX_KEYS", 2)
    owns(store, ALICE)
    for _ in range(2):
        _, facts = store.create_key(LOCAL, "ci", ["deposits:write"], account=ALICE)
    with pytest.raises(UsageError, match="live keys"):
        store.create_key(LOCAL, "ci", ["deposits:write"], account=ALICE)
    store.revoke_key(LOCAL, facts.id)
    store.create_key(LOCAL, "ci", ["deposits:write"], account=ALICE)


def test_nobody_revokes_or_sees_the_key_of_another_account(store):
    owns(store, ALICE)
    token, facts = store.create_key(LOCAL, "ci", ["deposits:write"], account=ALICE)
    with pytest.raises(UnknownRecord):
        store.revoke_key(By(f"account:{BOB}"), facts.id, account=BOB)
    assert store.keys(BOB) == []
    assert [each.id for each in store.keys(ALICE)] == [facts.id]
    store.resolve(token)


# -- sessions ------------------------------------------------------------------------------------


def test_a_session_begins_with_a_nonce_and_ends_when_it_is_ended(store):
    token, who = signed_in(store)
    assert (who.account, who.roles, who.scopes) == (ALICE, (), EVERY_SESSION)
    assert store.resolve(token) == who
    store.end_session(who)
    with pytest.raises(CredentialRevoked, match="ended"):
        store.resolve(token)
    assert [act for act, _ in acts(store)] == ["session.opened", "session.ended"]
    assert holds(store)


def test_looking_a_credential_up_does_not_wait_for_whoever_writes(store, clock):
    """When it was last used is worth telling, not waiting for."""
    token, _ = signed_in(store)
    clock.pass_(120)
    with ThreadPoolExecutor(1) as pool:
        with writing(store.engine) as held:
            held.execute(update(access_session).values(ended_at=None))
            found = pool.submit(store.resolve, token)
            assert found.result(timeout=8).account == ALICE
        store.resolve(token)
    with reading(store.engine) as connection:
        assert connection.execute(select(access_session.c.seen_at)).scalar_one() == clock()


def test_a_nonce_is_used_once_and_for_five_minutes(store, clock):
    nonce, expires = store.new_nonce()
    assert expires == clock() + 300
    store.open_session(message(nonce))
    with pytest.raises(SignInRefused) as caught:
        store.open_session(message(nonce))
    assert caught.value.step == 7
    late, _ = store.new_nonce()
    clock.pass_(300)
    with pytest.raises(SignInRefused):
        store.open_session(message(late))
    with pytest.raises(SignInRefused):
        store.open_session(message("neverGivenOut1234"))


def test_of_many_who_use_a_nonce_at_once_one_gets_a_session(store):
    """Two uses of a nonce at once, again and again: threads stand for processes."""
    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            nonce, _ = store.new_nonce()
            gate = threading.Barrier(8)

            def use(nonce=nonce, gate=gate):
                gate.wait()
                try:
                    store.open_session(message(nonce))
                except SignInRefused:
                    return 0
                return 1

            assert sum(pool.map(lambda _, use=use: use(), range(8))) == 1
    assert len(acts(store)) == 8
    assert holds(store)


def test_a_flood_of_nonces_takes_no_more_room_and_locks_out_nobody(store, clock, monkeypatch):
    monkeypatch.setattr(stores, "MAX_NONCES", 3)
    given = []
    for _ in range(5):
        given.append(store.new_nonce()[0])
        clock.pass_(1)
    with reading(store.engine) as connection:
        assert len(connection.execute(select(access_nonce)).all()) == 3
    for gone in given[:2]:
        with pytest.raises(SignInRefused):
            store.need_nonce(gone)
    for kept in given[2:]:
        store.need_nonce(kept)
        store.open_session(message(kept))
        with pytest.raises(SignInRefused):
            store.need_nonce(kept)
    store.new_nonce()
    clock.pass_(301)
    last, _ = store.new_nonce()
    with reading(store.engine) as connection:
        assert connection.execute(select(access_nonce.c.nonce)).scalars().all() == [last]


def test_a_session_ends_by_idleness_and_after_twelve_hours_of_use(store, clock):
    token, _ = signed_in(store)
    clock.pass_(29 * 60)
    store.resolve(token)
    clock.pass_(29 * 60)
    store.resolve(token)
    clock.pass_(30 * 60)
    with pytest.raises(CredentialExpired):
        store.resolve(token)
    token, _ = signed_in(store)
    for _ in range(12 * 3 - 1):
        clock.pass_(20 * 60)
        store.resolve(token)
    clock.pass_(20 * 60)
    with pytest.raises(CredentialExpired):
        store.resolve(token)


def test_an_account_has_so_many_sessions_and_the_next_sign_in_ends_the_oldest(
    store, clock, monkeypatch
):
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    idle, _ = signed_in(store)
    clock.pass_(31 * 60)  # what is over anyway makes room without being ended
    other, _ = signed_in(store, BOB)
    tokens = []
    for _ in range(5):
        clock.pass_(1)
        tokens.append(signed_in(store)[0])
    for token in tokens[:2]:
        with pytest.raises(CredentialRevoked, match="ended"):
            store.resolve(token)
    for token in (*tokens[2:], other):
        store.resolve(token)
    with pytest.raises(CredentialExpired):
        store.resolve(idle)
    ended = [subject for act, subject in acts(store) if act == "session.ended"]
    assert ended == [f"session:{token.id}" for token in tokens[:2]]
    assert holds(store)


def test_of_many_who_sign_in_at_once_no_more_stay_than_may(store, monkeypatch):
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)
    nonces = [store.new_nonce()[0] for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda nonce: store.open_session(message(nonce)), nonces))
    live = select(access_session.c.id).where(access_session.c.ended_at.is_(None))
    with reading(store.engine) as connection:
        assert len(connection.execute(live).all()) == 2


def test_a_session_lasts_no_longer_than_the_message_that_began_it(store):
    _, who = signed_in(store, expiration_time="2027-01-15T08:10:00Z")
    assert who.expires_at == 1_800_000_600


def test_sessions_long_over_are_forgotten(store, clock):
    signed_in(store)
    clock.pass_(12 * 3600 + DAY + 1)
    signed_in(store)
    with reading(store.engine) as connection:
        assert len(connection.execute(select(access_session)).all()) == 1


# -- roles ---------------------------------------------------------------------------------------


def test_licensor_and_holder_are_who_the_index_says_now_and_on_this_chain(store):
    owns(store, ALICE, "model")
    owns(store, ALICE, "license")
    owns(store, BOB, "model", chain_id=1)
    with reading(store.engine) as connection:
        assert store.roles_of(connection, ALICE) == ("licensor", "holder")
        assert store.roles_of(connection, BOB) == ()


def test_operators_and_auditors_are_granted_and_taken_back(store):
    _, session = signed_in(store)
    token, _ = signed_in(store)
    assert store.grant_role(LOCAL, ALICE, "operator")
    assert not store.grant_role(LOCAL, ALICE, "operator")
    assert store.resolve(token).scopes == set(SCOPES)
    assert [(a, r) for a, r, _, _ in store.roles()] == [(ALICE, "operator")]
    assert store.revoke_role(LOCAL, ALICE, "operator")
    assert not store.revoke_role(LOCAL, ALICE, "operator")
    assert store.resolve(token).scopes == EVERY_SESSION
    assert [act for act, _ in acts(store)][2:] == ["role.granted", "role.revoked"]
    for role in ("licensor", "king"):
        with pytest.raises(UsageError):
            store.grant_role(LOCAL, ALICE, role)
    assert session.roles == ()


def test_operators_of_the_settings_need_no_row(engine, clock):
    store = AccessStore(engine, 31337, {"operator": frozenset({ALICE})}, clock)
    assert signed_in(store)[1].roles == ("operator",)
    assert signed_in(store, BOB)[1].roles == ()


def test_the_table_of_roles_is_the_one_that_the_specification_prints():
    from pathlib import Path

    page = (Path(__file__).parents[3] / "docs" / "spec" / "access.md").read_text()
    for scope in SCOPES:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{scope}` |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        shown = {role for role, cell in zip(ROLES, cells[2:6], strict=True) if cell == "yes"}
        assert shown == {role for role in ROLES if scope in scopes_of([role])}, scope
        assert (cells[6] == "no") == (scope in SESSION_ONLY), scope


# -- the log, written at once ----------------------------------------------------------------------


def test_many_who_write_at_once_make_one_chain(store):
    from ledger.access.trail import Act

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.record(Act("local:x", "test", str(n))), range(64)))
    with reading(store.engine) as connection:
        report = trail.verify(trail.rows(connection))
    assert report.holds, report
    assert report.head.sequence == 64
    assert store.head() == report.head


def test_the_clock_set_back_does_not_run_the_log_backwards(store, clock):
    from ledger.access.trail import Act

    store.record(Act("local:x", "one"))
    clock.pass_(-3600)
    store.record(Act("local:x", "two"))
    assert holds(store)


def test_the_migration_keeps_the_rows_of_an_index_that_was_there_before(engine, database_url):
    """Down to the shape before and up again, with rows in the other tables."""
    from alembic import command
    from alembic.config import Config

    from ledger.index.database import MIGRATIONS

    def run(what, revision):
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with writing(engine) as connection:
            config.attributes["connection"] = connection
            what(config, revision)

    store = AccessStore(engine, 31337)
    owns(store, ALICE)
    token, _ = store.create_key(LOCAL, "ci", ["deposits:write"], account=ALICE)
    run(command.downgrade, "0002")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM model")).scalar_one() == 1
    run(command.upgrade, "head")
    with pytest.raises(NotAuthenticated):
        store.resolve(token)
    assert store.create_key(LOCAL, "ci", ["deposits:write"], account=ALICE)
