"""A licensee who sets the clock back, ends processes hard, or takes time from a lying broker."""

import threading
from dataclasses import replace

import pytest

from ledger.broker.floor import JUMP_SECONDS, ClockFloor
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.joint import BrokerGroup, deciding, keeper_of
from ledger.broker.keeping import Nobody
from ledger.broker.leases import BlockRef, Lease
from ledger.ids import ZERO_DIGEST, Digest, LicenseId, ModelId

NOON = 1_800_000_000
BLOCK = BlockRef(1, ZERO_DIGEST, NOON)


def lease(**changes):
    made = Lease(
        id=Digest(b"\1" * 32), license=LicenseId.parse("1.1"),
        model=ModelId(b"\2" * 32), epoch=1, sealing=Digest(b"\3" * 32),
        runtime_key_hash=Digest(b"\4" * 32), kem_key_hash=Digest(b"\5" * 32), audience="a:1",
        issued_at=NOON, not_after=NOON + 30 * JUMP_SECONDS, grace_until=NOON + 30 * JUMP_SECONDS,
        sequence=0, heartbeat=10 * JUMP_SECONDS, enforce=True, head=BLOCK, finalized=BLOCK,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.fixture
def identity(tmp_path):
    return RuntimeIdentity.create(tmp_path / "runtime.json")


def test_a_kept_model_remembers_time_while_it_runs_however_long_its_lease(identity, monkeypatch):
    """kill -9 before a third of the lease, clock back, again: use without end."""
    waited = []

    class Event(threading.Event):
        def wait(self, timeout=None):
            if timeout is not None:
                waited.append(timeout)
                return True
            return super().wait(timeout)

    monkeypatch.setattr("ledger.broker.keeper.threading.Event", Event)
    floor = ClockFloor(identity, clock=lambda: NOON)
    floor.confirm(NOON)
    keeper = keeper_of(Nobody(floor), identity, lease(), on_loss=lambda _: None, now=NOON)
    keeper.start()
    keeper.stop()
    # What a kill loses is what comes before the first.
    assert 0 < waited[0] <= 60


def test_one_brokers_lease_that_never_ends_is_no_reason_to_run_on():
    honest = lease()
    endless = lease(grace_until=honest.grace_until - 1, not_after=honest.not_after - 1,
                    enforce=False, audience="a:2")  # fmt: skip
    assert deciding([honest, endless], 2) == honest
    assert BrokerGroup(2, []).deciding([endless, honest]) == honest


def test_a_pause_of_more_than_a_day_is_a_time_that_can_be_taken_back(identity):
    """Held visible: docs/spec/offline-release.md, "Clock floor", 2.

    What is more than a day ahead is not remembered, so after one such pause nothing is but what
    processes ran, until a broker signs a time. Who wants to can set the clock back to that pause.
    """
    clock = {"wall": NOON}

    def use():
        # Without a boot that is known to be the same one.
        return ClockFloor(identity, clock=lambda: clock["wall"], boot_id="").now()

    ClockFloor(identity, clock=lambda: NOON, boot_id="").confirm(NOON)
    for day in range(2, 30):
        clock["wall"] = NOON + day * JUMP_SECONDS
        assert use() == clock["wall"]
    clock["wall"] = NOON + 60
    assert use() == NOON + 60
    # Without the pause it cannot.
    for day in range(1, 30):
        clock["wall"] = NOON + day * JUMP_SECONDS
        assert use() == clock["wall"]
    clock["wall"] = NOON
    assert use() == NOON + 29 * JUMP_SECONDS
