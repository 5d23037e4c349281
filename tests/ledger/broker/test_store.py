"""What a broker keeps, under concurrency."""

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ledger.broker.grants import ALG_ED25519, RuntimeKey
from ledger.broker.leases import BlockRef, Heartbeat, Lease
from ledger.broker.store import BrokerStore
from ledger.ids import Digest, LicenseId, ModelId

LICENSE, MODEL = LicenseId.of(1, 1), ModelId(b"\x01" * 32)
NOW = 1_800_000_000


@pytest.fixture
def store(tmp_path):
    made = BrokerStore(tmp_path / "broker.sqlite3")
    yield made
    made.close()


def lease(runtime, grace_until=NOW + 60):
    block = BlockRef(1, Digest(bytes(32)), NOW)
    return Lease(
        Digest(secrets.token_bytes(32)),
        LICENSE,
        MODEL,
        1,
        Digest(bytes(32)),
        runtime.hash(),
        Digest(bytes(32)),
        "audience",
        NOW,
        NOW + 30,
        grace_until,
        0,
        10,
        bool(1),
        block,
        block,
    )


def runtime():
    return RuntimeKey(ALG_ED25519, secrets.token_bytes(32))


def many(action, count=200):
    start = threading.Barrier(16)

    def run(number):
        if number < 16:
            start.wait()
        return action(number)

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(run, range(count)))


def test_of_many_who_show_one_challenge_one_gets_it(store):
    challenge = secrets.token_bytes(32)
    store.add_challenge(challenge, LICENSE, MODEL, now=NOW, expires_at=NOW + 60)
    got = many(lambda _: store.consume_challenge(challenge))
    assert sum(issued is not None for issued in got) == 1


def test_of_many_who_want_ten_seats_ten_get_one(store):
    def take(_):
        key = runtime()
        return store.take_seat(lease(key), key, None, seats=10, now=NOW)

    assert sum(many(take)) == 10


def test_a_runtime_that_holds_a_seat_takes_no_second(store):
    key, other = runtime(), runtime()
    assert store.take_seat(lease(key), key, None, seats=1, now=NOW)
    assert store.take_seat(lease(key), key, None, seats=1, now=NOW)
    assert not store.take_seat(lease(other), other, None, seats=1, now=NOW)


def test_a_seat_is_held_until_grace_ends_even_when_its_lease_was_ended(store):
    key, other = runtime(), runtime()
    held = lease(key)
    store.take_seat(held, key, None, seats=1, now=NOW)
    store.end(held.id)
    assert not store.take_seat(lease(other), other, None, seats=1, now=held.grace_until - 1)
    assert store.take_seat(lease(other), other, None, seats=1, now=held.grace_until)


def test_of_many_heartbeats_with_one_number_one_counts(store):
    key = runtime()
    held = lease(key)
    store.take_seat(held, key, None, seats=0, now=NOW)
    beat = Heartbeat(held.id, 5, "audience", NOW)
    assert sum(many(lambda _: store.advance(beat), 64)) == 1
    assert not store.advance(Heartbeat(held.id, 4, "audience", NOW))


def test_an_ended_lease_takes_no_heartbeat(store):
    key = runtime()
    held = lease(key)
    store.take_seat(held, key, None, seats=0, now=NOW)
    store.end(held.id)
    assert not store.advance(Heartbeat(held.id, 9, "audience", NOW))


def test_an_extension_decided_before_the_lease_ended_is_void(store):
    key = runtime()
    held = lease(key)
    store.take_seat(held, key, None, seats=0, now=NOW)
    assert store.advance(Heartbeat(held.id, 1, "audience", NOW))
    store.end(held.id)
    later = replace(held, sequence=1, grace_until=NOW + 999)
    assert not store.extend(later)
    assert store.lease(held.id).lease == held
    assert store.lease(held.id).ended


def test_an_extension_overtaken_by_a_later_heartbeat_is_void(store):
    key = runtime()
    held = lease(key)
    store.take_seat(held, key, None, seats=0, now=NOW)
    for number in (1, 2):
        assert store.advance(Heartbeat(held.id, number, "audience", NOW))
    assert not store.extend(replace(held, sequence=1))
    assert store.extend(replace(held, sequence=2))


def test_a_quota_is_never_exceeded(store):
    assert sum(many(lambda _: store.use(LICENSE, quota=7), 64)) == 7
    assert store.used(LICENSE) == 7


def test_an_unlimited_quota_counts_and_never_refuses(store):
    assert all(store.use(LICENSE, quota=0) for _ in range(5))
    assert store.used(LICENSE) == 5


def test_a_failed_transaction_leaves_nothing(store):
    key = runtime()
    held = lease(key)

    def interrupted():
        with store.transaction():
            store.take_seat(held, key, None, seats=1, now=NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert store.lease(held.id) is None
    assert store.seats_taken(LICENSE, Digest(bytes(32)), now=NOW) == 0


def test_everything_survives_reopening(tmp_path):
    path = tmp_path / "broker.sqlite3"
    first = BrokerStore(path)
    key = runtime()
    held = lease(key)
    first.take_seat(held, key, None, seats=1, now=NOW)
    first.append_receipt(1, "release", LICENSE, b'{"a":1}')
    first.close()
    again = BrokerStore(path)
    assert again.lease(held.id).lease == held
    assert again.last_receipt()[0] == 1
    again.close()
    assert path.stat().st_mode & 0o077 == 0


def test_expired_challenges_do_not_pile_up(store):
    for number in range(5):
        store.add_challenge(secrets.token_bytes(32), LICENSE, MODEL, now=number, expires_at=number)
    assert store.row("SELECT count(*) FROM challenges")[0] == 1
