"""A licensee that wants more than its license: more seats, longer, or at another time."""

import threading

import pytest

from ledger.broker.audit import Book, ChainSource, audit
from ledger.errors import KeyRequestRejected, LedgerError, SeatsFull

pytestmark = pytest.mark.chain


def two_runtimes(world, **plan):
    license_id = world.license(world.plan(**{"seats": 1, "leaseTtl": 5, "grace": 5} | plan))
    return license_id, world.runtime(license_id), world.runtime(license_id)


def test_a_heartbeat_decided_before_its_lease_ended_does_not_bring_the_seat_back(world, stand):
    """The seat is free at the lease's end. A heartbeat that began before and ends after it,
    because the chain (or a wallet that burns gas) was slow, must not make a second holder."""
    license_id, first, second = two_runtimes(world)
    client = stand.client()
    _, lease, _ = client.release(stand.asker(first, license_id))
    reading, go_on = threading.Event(), threading.Event()

    def before(runtime):
        if runtime == first.key_hash:
            reading.set()
            assert go_on.wait(30)

    stand.view.before = before
    stand.clock.value = lease.grace_until - 1
    outcome = []

    def beat():
        try:
            outcome.append(client.heartbeat(first, lease)[0])
        except LedgerError:
            outcome.append(None)

    thread = threading.Thread(target=beat)
    thread.start()
    assert reading.wait(30)
    stand.clock.value = lease.grace_until + 1
    _, other, _ = stand.client().release(stand.asker(second, license_id))
    go_on.set()
    thread.join(30)
    (extended,) = outcome
    now = stand.clock.value
    running = [each for each in (extended, other) if each and each.grace_until > now]
    assert len(running) == 1, "two runtimes live on one seat"


def test_a_heartbeat_in_time_keeps_the_seat(world, stand):
    license_id, first, second = two_runtimes(world)
    client = stand.client()
    _, lease, _ = client.release(stand.asker(first, license_id))
    stand.clock.value = lease.grace_until - 1
    extended, _ = client.heartbeat(first, lease)
    assert extended.grace_until == stand.clock.value + 10
    stand.clock.value += 5
    with pytest.raises(SeatsFull):
        client.release(stand.asker(second, license_id))


def test_the_audit_of_an_honest_broker_passes_whatever_was_slow(world, stand, broker_world):
    """A heartbeat decided a second before another seat changed hands, and logged after it."""
    license_id, first, second = two_runtimes(world, seats=2)
    third = world.runtime(license_id)
    client, clock = stand.client(), stand.clock
    _, leaving, _ = client.release(stand.asker(second, license_id))
    clock.value += 3
    _, lease, _ = client.release(stand.asker(first, license_id))
    reading, go_on = threading.Event(), threading.Event()

    def before(runtime):
        if runtime == first.key_hash:
            reading.set()
            assert go_on.wait(30)

    stand.view.before = before
    clock.value = leaving.grace_until - 1
    thread = threading.Thread(target=client.heartbeat, args=(first, lease))
    thread.start()
    assert reading.wait(30)
    clock.value = leaving.grace_until
    stand.client().release(stand.asker(third, license_id))
    go_on.set()
    thread.join(30)
    stand.view.before = None
    addresses = world.chain.deployment.addresses
    source = ChainSource(
        world.chain.rpc,
        addresses["LicenseLedger"],
        addresses["BrokerRegistry"],
        from_block=world.chain.deployment.block,
    )
    home = world.broker.home
    report = audit(
        Book.read(home.database),
        [home.signing.public],
        home.identity.domain,
        broker_id=home.identity.id,
        chain=source,
    )
    seats = next(each for each in report.findings if each.title == "seats")
    assert f"of license {license_id}" not in seats.detail, seats.detail


def test_a_heartbeat_of_a_superseded_or_replayed_lease_gives_nothing(world, stand):
    license_id, first, _ = two_runtimes(world)
    client = stand.client()
    _, lease, _ = client.release(stand.asker(first, license_id))
    extended, _ = client.heartbeat(first, lease)
    with pytest.raises(KeyRequestRejected):
        client.heartbeat(first, lease)
    _, again, _ = client.release(stand.asker(first, license_id))
    with pytest.raises(KeyRequestRejected):
        client.heartbeat(first, extended)
    assert client.heartbeat(first, again)[0] is not None
