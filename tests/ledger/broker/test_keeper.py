"""The heartbeat thread outlives whatever one beat runs into."""

import time

import pytest

from ledger.broker.client import BrokerClient
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.keeper import LeaseKeeper
from ledger.broker.leases import BlockRef, Lease
from ledger.errors import LeaseExpired
from ledger.ids import Digest, LicenseId, ModelId


class Tripping(BrokerClient):
    """A client whose every heartbeat fails in a way nobody foresaw."""

    beats = 0

    def heartbeat(self, identity, lease, *, sequence=None):
        self.beats += 1
        raise OverflowError("cannot convert float infinity to integer")


def lease_from(now):
    digest, block = Digest(b"\x01" * 32), BlockRef(1, Digest(b"\x02" * 32), now)
    return Lease(
        id=digest, license=LicenseId.of(1, 1), model=ModelId(b"\x03" * 32), epoch=1,
        sealing=digest, runtime_key_hash=digest, kem_key_hash=digest, audience="nobody",
        issued_at=now, not_after=now + 1, grace_until=now + 2, sequence=0, heartbeat=1,
        enforce=True, head=block, finalized=block,
    )  # fmt: skip


def test_an_unforeseen_error_of_one_beat_is_tried_again_and_the_lease_still_ends(tmp_path):
    lost = []
    client = Tripping("http://127.0.0.1:9")
    identity = RuntimeIdentity.create(tmp_path / "runtime.json")
    keeper = LeaseKeeper(client, identity, lease_from(int(time.time())), on_loss=lost.append)
    keeper.start()
    try:
        deadline = time.monotonic() + 10
        while not lost and time.monotonic() < deadline:
            time.sleep(0.05)
        assert client.beats >= 2
        assert isinstance(lost[0], LeaseExpired)
        with pytest.raises(LeaseExpired):
            keeper.require()
    finally:
        keeper.stop()
