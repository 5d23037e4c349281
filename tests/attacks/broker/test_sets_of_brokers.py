"""Sets of several brokers: what one hostile member can do, and what their number gives away."""

import contextlib
import json
import time
import warnings
from dataclasses import replace

import pytest

from ledger import runtime
from ledger.broker.client import Asker
from ledger.broker.leases import Lease
from ledger.errors import (
    FormatError,
    KeyAccessError,
    KeyRequestRejected,
    LeaseExpired,
    QuotaSpent,
    Revoked,
    SeatsFull,
)
from ledger.licensing.card import BrokerSet

pytestmark = pytest.mark.chain


class Pair:
    """Two brokers of the trio, either of which suffices."""

    def __init__(self, trio, broker_world):
        self.trio, self.world, self.module = trio, trio.world, broker_world
        self.brokers = trio.brokers[:2]
        (event,) = self.world.chain.send(
            "broker", "BrokerRegistry", "createBrokerSet", [b.id for b in self.brokers], 1
        )
        self.set_id = int(event["setId"])
        made = self.world.published
        for broker in self.brokers:
            with broker.client() as client:
                client.deposit(
                    made.record, made.key, self.world.chain.wallet("licensor"),
                    terms=[self.world.terms],
                )  # fmt: skip

    def card_brokers(self):
        return BrokerSet(self.set_id, 1, self.trio.card_brokers().members[:2])

    def licensed(self, **changes):
        world = self.world
        plan = self.module.plan(world.chain, world.published, world.terms, self.set_id, **changes)
        return world.license(plan)

    def asker(self, license_id, identity):
        held = identity.grant_for(
            31337, self.world.chain.deployment.addresses["LicenseLedger"], license_id
        )
        made = self.world.published
        return Asker(
            identity, license_id, made.model_id, made.record.hash(), held.grant, held.acceptance,
            self.world.terms,
        )  # fmt: skip


@pytest.fixture(scope="module")
def pair(trio, broker_world):
    return Pair(trio, broker_world)


def granted(pair, license_id, identities):
    """How many of these runtimes, each asking every broker, run at once."""
    count = 0
    for identity in identities:
        for broker in pair.brokers:
            with (
                broker.client() as client,
                contextlib.suppress(SeatsFull, QuotaSpent, KeyRequestRejected),
            ):
                client.release(pair.asker(license_id, identity))[0][:] = bytes(32)
                count += 1
                break
    return count


def test_two_brokers_that_decide_alone_do_not_double_the_floating_seats(pair):
    license_id = pair.licensed(seats=1)
    identities = [pair.world.runtime(license_id) for _ in range(3)]
    assert granted(pair, license_id, identities) <= 1


def test_nor_the_quota(pair):
    license_id = pair.licensed(seats=0, quota=1)
    identities = [pair.world.runtime(license_id) for _ in range(3)]
    assert granted(pair, license_id, identities) <= 1


def test_either_releases_where_the_chain_counts_or_nothing_is_counted(pair):
    license_id = pair.licensed(seats=0)
    identity = pair.world.runtime(license_id)
    for broker in pair.brokers:
        with broker.client() as client:
            assert client.release(pair.asker(license_id, identity))[0] == pair.world.published.key


# -- one hostile member of two of three


def test_a_check_says_which_brokers_answer_also_where_one_suffices(pair):
    license_id = pair.licensed(seats=0)
    identity = pair.world.runtime(license_id, brokers_hash=pair.card_brokers().hash())
    card = pair.world.card_file(license_id, brokers=pair.card_brokers())
    whole = runtime.check(card, runtime=identity, timeout=10).standing
    assert (whole.answering, whole.reached, whole.strained) == (2, True, False)
    with pair.trio.down(0):
        seen = runtime.check(card, runtime=identity, timeout=10)
    assert seen.granted
    assert (seen.standing.answering, seen.standing.reached, seen.standing.strained) == (
        1, True, True,
    )  # fmt: skip
    assert [m.trouble is None for m in seen.standing.members] == [False, True]


@pytest.mark.parametrize(
    ("lie", "told"),
    [("wrong share", "key is not the one"), ("garbage", ""), ("short share", "")],
)
def test_a_wrong_key_of_one_of_several_that_suffice_stops_no_load_and_is_named(pair, lie, told):
    license_id = pair.licensed(seats=0)
    identity = pair.world.runtime(license_id, brokers_hash=pair.card_brokers().hash())
    card = pair.world.card_file(license_id, brokers=pair.card_brokers())
    liar = pair.brokers[0].service
    name = f"broker {pair.brokers[0].id} was left out"
    liar.lie = lie
    try:
        with pytest.warns(UserWarning, match=f"{name}: .*{told}"):
            model = runtime.load(card, runtime=identity, timeout=10)
        with model:
            assert set(model.keys()) == set(pair.world.published.tensors)
        # Warnings that are errors must not open what they warn of, nor keep the good key away.
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            runtime.load(card, runtime=identity, timeout=10).close()
        pair.brokers[1].service.lie = lie
        with pytest.raises((KeyAccessError, FormatError)):
            runtime.load(card, runtime=identity, timeout=10)
    finally:
        liar.lie = pair.brokers[1].service.lie = ""


def test_one_member_cannot_keep_a_model_alive_alone(trio, monkeypatch):
    """It gives leases for ever and grants every heartbeat; one honest no more, and it is over."""
    license_id, card, identity = trio.licensed(leaseTtl=3, grace=0)
    liar = trio.brokers[1].service
    sign = type(liar.home.signing).sign_whole

    def for_ever(self, reply):
        if self is liar.home.signing and isinstance(reply.get("lease"), dict):
            lease = {**reply["lease"], "not_after": 2**53 - 1, "grace_until": 2**53 - 1}
            reply = {**reply, "lease": {**lease, "heartbeat": 2**53 - 1}}
        return sign(self, reply)

    wrapped = type(liar)._wrap

    def wrap_for_ever(self, request, lease, chain):
        if self is liar:
            lease = replace(lease, not_after=2**53 - 1, grace_until=2**53 - 1, heartbeat=2**53 - 1)
        return wrapped(self, request, lease, chain)

    monkeypatch.setattr(type(liar.home.signing), "sign_whole", for_ever)
    monkeypatch.setattr(type(liar), "_wrap", wrap_for_ever)
    with runtime.load(card, runtime=identity, timeout=10) as model:
        leases = [lease for _, lease in model._keeper._group.held]
        assert any(lease.grace_until == 2**53 - 1 for lease in leases)
        assert model.lease.grace_until < time.time() + 60
        trio.world.chain.send("licensor", "LicenseLedger", "suspend", license_id, bytes(32))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                model.get_tensor("steps")
            except LeaseExpired:
                break
            time.sleep(0.2)
        with pytest.raises(LeaseExpired):
            model.get_tensor("steps")


def test_a_share_of_an_older_split_is_left_out_whatever_its_statement(trio, monkeypatch):
    """A member that kept what it was given before replays both, rightly signed."""
    liar = trio.brokers[1].service
    sealing = trio.world.published.record.hash()
    row = liar.store.row(
        "SELECT number, document FROM share_sets WHERE sealing = ? AND broker_set = ?",
        sealing.raw,
        trio.set_id,
    )
    with liar._vault.secret(sealing, f"share/{trio.set_id}") as share:
        old = bytearray(share)
    time.sleep(1.1)
    trio.deposit()
    with liar.store.transaction():
        liar._vault.put(sealing, f"share/{trio.set_id}", old)
        liar.store.write(
            "UPDATE share_sets SET document = ? WHERE sealing = ? AND broker_set = ?",
            row[1], sealing.raw, trio.set_id,
        )  # fmt: skip
    try:
        assert json.loads(row[1])["signature"]
        _, card, identity = trio.licensed()
        with runtime.load(card, runtime=identity, timeout=10) as model:
            assert model.get_tensor("steps").tolist() == list(range(17))
    finally:
        time.sleep(1.1)
        trio.deposit()


def test_one_member_that_denies_for_good_ends_nothing(trio, monkeypatch):
    liar = trio.brokers[2].service
    _, card, identity = trio.licensed()
    answer = type(liar._decisions).decide

    def no(self, request, offered, *, intent, now):
        talk, chain, terms = answer(self, request, offered, intent=intent, now=now)
        if self is liar._decisions:
            fresh = type(talk)()

            def deny():
                raise Revoked("for ever", since=1, remedy="none")

            fresh.step(5, deny)
            talk = fresh
        return talk, chain, terms

    monkeypatch.setattr(type(liar._decisions), "decide", no)
    with runtime.load(card, runtime=identity, timeout=10) as model:
        assert isinstance(model.lease, Lease)
    assert runtime.check(card, runtime=identity, timeout=10).granted
