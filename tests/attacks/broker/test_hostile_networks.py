"""Whoever stands between runtime and broker: it drops, delays, drips and replays."""

import contextlib
import socket
import threading
import time
from dataclasses import replace

import pytest

from ledger import runtime
from ledger.broker import asking
from ledger.broker.client import BrokerClient
from ledger.broker.joint import BrokerGroup, JointKeeper
from ledger.broker.keeper import LeaseKeeper
from ledger.broker.leases import BlockRef, Lease
from ledger.broker.threshold import ask_shares
from ledger.errors import BrokerUnavailable, LeaseExpired, LedgerError, ThresholdNotMet
from ledger.ids import Digest, LicenseId, ModelId
from ledger.licensing import card as card_module

LONGEST = 8.0
"""Seconds in which a call with a time limit of two must have ended, on a busy machine."""


@contextlib.contextmanager
def dripping(head=b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"):
    """A server that answers without end, one byte every 0.2 s: no read of it ever times out."""
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(head)
            while not ended.wait(0.2):
                connection.sendall(b" " if head.endswith(b"\r\n\r\n") else b"x")

    def accept():
        while not ended.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        thread.join(5)
        listener.close()


def within(seconds, act):
    """What came of an act, or None when it did not end in time."""
    came = []

    def run():
        try:
            came.append(act())
        except LedgerError as error:
            came.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return came[0] if came else None


def some_lease(*, lasts, heartbeat=1):
    now, block = int(time.time()), BlockRef(1, Digest(bytes(32)), 0)
    return Lease(
        id=Digest(b"\1" * 32),
        license=LicenseId.parse("1.1"),
        model=ModelId(b"\2" * 32),
        epoch=1,
        sealing=Digest(b"\3" * 32),
        runtime_key_hash=Digest(b"\4" * 32),
        kem_key_hash=Digest(b"\5" * 32),
        audience="modeldeed-broker:1:0x00:1",
        issued_at=now,
        not_after=now + lasts,
        grace_until=now + lasts,
        sequence=0,
        heartbeat=heartbeat,
        enforce=True,
        head=block,
        finalized=block,
    )


class Hanging:
    """A broker whose answer to a heartbeat never ends."""

    def __init__(self):
        self.asked, self.end = threading.Event(), threading.Event()

    def heartbeat(self, identity, lease, *, sequence=None):
        self.asked.set()
        self.end.wait(60)
        raise BrokerUnavailable("it dripped")

    def close(self):
        self.end.set()


def test_a_heartbeat_that_never_ends_does_not_outlive_the_lease():
    """The model is unloaded at `grace_until`, not when the answer has come."""
    client, lost = Hanging(), threading.Event()
    keeper = LeaseKeeper(client, None, some_lease(lasts=3), on_loss=lambda _: lost.set())
    keeper.start()
    assert client.asked.wait(5)
    try:
        assert lost.wait(6), "the model is still loaded three seconds after its lease"
        with pytest.raises(LeaseExpired):
            keeper.require()
    finally:
        client.end.set()
        keeper.stop()


def test_closing_a_model_does_not_wait_for_an_answer_that_never_ends():
    client = Hanging()
    keeper = LeaseKeeper(client, None, some_lease(lasts=60), on_loss=lambda _: None)
    keeper.start()
    assert client.asked.wait(5)
    try:
        assert within(LONGEST, lambda: keeper.stop() or "stopped") == "stopped"
    finally:
        client.end.set()


def test_nor_do_those_of_several_brokers():
    clients, lost = [Hanging() for _ in range(3)], threading.Event()
    held = [(client, some_lease(lasts=3 + place)) for place, client in enumerate(clients)]
    keeper = JointKeeper(BrokerGroup(2, held), None, on_loss=lambda _: lost.set())
    keeper.start()
    try:
        # The second to end leaves one of two.
        assert lost.wait(8), "the model is still loaded after two of three leases"
        with pytest.raises(LeaseExpired):
            keeper.require()
    finally:
        for client in clients:
            client.end.set()
        keeper.stop()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-drip: ",
    ],
    ids=["body", "headers"],
)
def test_a_reply_that_drips_has_no_longer_than_the_timeout(head):
    with dripping(head) as url, BrokerClient(url, timeout=2.0) as client:
        assert isinstance(within(LONGEST, client.facts), BrokerUnavailable)


@pytest.mark.chain
def test_one_dripping_broker_of_three_holds_up_no_answer(world, trio):
    """One is down, one drips: too few, and the caller is told so in time."""
    _, card, identity = trio.licensed()
    with dripping() as url, trio.down(0):
        brokers = trio.card_brokers()
        members = (*brokers.members[:2], replace(brokers.members[2], urls=(url,)))
        slow = replace(
            card_module.parse(card.read_bytes()), brokers=replace(brokers, members=members)
        )
        asker = asking._asker(slow, identity)
        came = within(40, lambda: ask_shares(slow, asker, 2.0))
    assert isinstance(came, ThresholdNotMet)


@pytest.mark.chain
def test_a_network_that_replays_an_older_heartbeat_reply_extends_nothing(world, monkeypatch):
    license_id = world.license(world.plan(leaseTtl=60))
    identity, card = world.runtime(license_id), world.card_file(license_id)
    with runtime.load(card, runtime=identity) as model:
        client, seen = model._keeper._client, []
        send = client._send

        def replayed(method, path, body=None):
            if "heartbeat" in path and seen:
                return seen[0]
            reply = send(method, path, body)
            if "heartbeat" in path:
                seen.append(reply)
            return reply

        monkeypatch.setattr(client, "_send", replayed)
        keeper = model._keeper
        assert keeper._beat()
        first = keeper.lease
        assert not keeper._beat()
        assert keeper.lease == first
