"""The broker over a real chain: deposit, decide, release, live on, account."""

import json
import logging
import secrets
import time
from dataclasses import replace
from threading import Event, Thread

import pytest

from ledger.broker.client import Asker, BrokerClient
from ledger.broker.home import BrokerHome
from ledger.broker.link import BrokerPin
from ledger.broker.pinning import require_registered
from ledger.broker.receipts import verify_log
from ledger.broker.service import BrokerService
from ledger.broker.store import BrokerStore
from ledger.chain.abi_codec import contract
from ledger.errors import (
    BrokerUnavailable,
    ConfigurationError,
    ContractReverted,
    Expired,
    KeyAccessError,
    KeyRequestRejected,
    NoLicense,
    NotYetValid,
    PendingFinality,
    PlanNotOfTitle,
    QuotaSpent,
    Revoked,
    RuntimeNotBound,
    SeatsFull,
    SignatureInvalid,
    Suspended,
    UseNotPermitted,
    WrongHolder,
    WrongPassphrase,
)
from ledger.ids import Digest, LicenseId
from ledger.licensing.terms import Use
from ledger.sealed.recipients import KemPrivateKey

pytestmark = pytest.mark.chain


@pytest.fixture
def client(world):
    with world.broker.client() as made:
        yield made


def asker(world, identity, license_id, published=None, **changes):
    made = published or world.published
    granted = identity.grant_for(
        31337, world.chain.deployment.addresses["LicenseLedger"], license_id
    )
    return Asker(
        **{
            "identity": identity,
            "license": license_id,
            "model": made.model_id,
            "sealing": made.record.hash(),
            "grant": granted and granted.grant,
            "acceptance": granted and granted.acceptance,
            "terms": world.terms,
            **changes,
        }
    )


def licensed(world, plan_id=None, **options):
    license_id = world.license(plan_id, **options)
    return license_id, world.runtime(license_id)


# -- deposit


def test_a_deposit_is_signed_for_after_it_was_read_back(world):
    receipt = world.deposit()
    assert receipt["deposit"]["commit"] == str(world.published.record.commit)
    world.broker.home.signing.public.verify(receipt)


def test_another_key_than_the_sealing_commits_to_is_refused(world, client):
    with pytest.raises(KeyAccessError, match="commits to"):
        client.deposit(
            world.published.record, secrets.token_bytes(32), world.chain.wallet("licensor")
        )


def test_only_the_titleholder_deposits(world, client):
    made = world.published
    with pytest.raises(KeyRequestRejected, match="title of model"):
        client.deposit(made.record, made.key, world.chain.wallet("rival"))


def test_a_sealing_that_is_not_lodged_is_told_to_wait(world, client):
    made = world.published
    with pytest.raises(PendingFinality, match="no sealing is lodged for epoch 9"):
        client.deposit(replace(made.record, epoch=9), made.key, world.chain.wallet("licensor"))


def test_a_changed_deposit_is_refused(world, client):
    sent = {}

    class Spy(BrokerClient):
        def _send(self, method, path, body=None, *, repeatable=False):
            if path.endswith("deposits"):
                sent.update(json.loads(json.dumps(body)))
            return super()._send(method, path, body)

    with Spy(world.broker.url) as spy:
        spy.deposit(world.published.record, world.published.key, world.chain.wallet("licensor"))
    assert client._send("POST", "/v1/broker/deposits", sent)["type"] == "deposit"
    unsigned = world.with_terms(title="never signed by the licensor").terms
    for change in ({"issued_at": sent["issued_at"] + 1}, {"terms": [unsigned]}):
        with pytest.raises(SignatureInvalid):
            client._send("POST", "/v1/broker/deposits", {**sent, **change})


# -- release


def test_the_licensed_runtime_gets_the_key_and_a_lease(world, client):
    license_id, identity = licensed(world)
    key, lease, decision = client.release(asker(world, identity, license_id))
    assert key == world.published.key
    assert [check.result for check in decision.checks] == ["pass"] * 10
    assert [check.number for check in decision.checks] == list(range(1, 11))
    assert lease.not_after == lease.issued_at + 60
    assert lease.grace_until == lease.issued_at + 120
    assert lease.finalized.number <= lease.head.number


def test_a_runtime_without_grant_is_refused_with_who_can_change_it(world, client):
    license_id = world.license()
    with pytest.raises(RuntimeNotBound) as caught:
        client.release(asker(world, world.runtime(), license_id))
    assert str(world.chain.wallet("holder").address) in caught.value.remedy


def test_an_unknown_license_is_refused(world, client):
    identity = world.runtime()
    with pytest.raises(NoLicense, match=r"there is no license 9\.9"):
        client.release(asker(world, identity, LicenseId.of(9, 9)))


def test_someone_elses_license_is_refused(world, client):
    license_id = world.license(to="rival")
    identity = world.runtime()
    world.grant(identity, license_id, who="holder")
    with pytest.raises(WrongHolder):
        client.release(asker(world, identity, license_id))


def test_a_revoked_license_is_refused_and_says_since_when(world, client):
    license_id, identity = licensed(world)
    client.release(asker(world, identity, license_id))
    world.chain.send("licensor", "LicenseLedger", "revoke", license_id, 0, bytes(32))
    with pytest.raises(Revoked) as caught:
        client.release(asker(world, identity, license_id))
    assert abs(caught.value.since - time.time()) < 120


def test_a_suspended_license_is_refused_until_it_is_reinstated(world, client):
    license_id, identity = licensed(world)
    world.chain.send("licensor", "LicenseLedger", "suspend", license_id, bytes(32))
    with pytest.raises(Suspended):
        client.release(asker(world, identity, license_id))
    world.chain.send("licensor", "LicenseLedger", "reinstate", license_id, bytes(32))
    client.release(asker(world, identity, license_id))


def test_a_license_that_begins_later_is_refused(world, client):
    license_id, identity = licensed(world, not_before=int(time.time()) + 86400)
    with pytest.raises(NotYetValid):
        client.release(asker(world, identity, license_id))


def test_a_license_that_ended_is_refused(world, client):
    end = world.chain.rpc.block("latest").timestamp + 3
    license_id, identity = licensed(world, not_after=end)
    while time.time() <= end:
        time.sleep(0.1)
    with pytest.raises(Expired):
        client.release(asker(world, identity, license_id))


def test_a_model_that_the_license_is_not_for_is_refused(world, client, broker_world):
    license_id, identity = licensed(world)
    other = broker_world.publish(world.chain, world.folder)
    world.deposit(other)
    with pytest.raises(PlanNotOfTitle, match="another model"):
        client.release(asker(world, identity, license_id, other))


def test_after_the_title_moved_the_old_plan_releases_nothing(world, client, broker_world):
    sold = broker_world.publish(world.chain, world.folder)
    world.deposit(sold)
    plan_id = broker_world.plan(world.chain, sold, world.terms, world.broker.set_id)
    license_id, identity = licensed(world, plan_id)
    client.release(asker(world, identity, license_id, sold))
    buyer = world.chain.wallet("buyer").address
    world.chain.send("licensor", "ModelRegistry", "proposeTransfer", sold.model_id, buyer)
    world.chain.send("buyer", "ModelRegistry", "acceptTransfer", sold.model_id)
    with pytest.raises(PlanNotOfTitle, match="title of model"):
        client.release(asker(world, identity, license_id, sold))
    world.chain.send("buyer", "LicenseLedger", "syncLicensor", plan_id)
    client.release(asker(world, identity, license_id, sold))


def test_a_compromised_model_is_released_no_more(world, client, broker_world):
    made = broker_world.publish(world.chain, world.folder)
    world.deposit(made)
    plan_id = broker_world.plan(world.chain, made, world.terms, world.broker.set_id)
    license_id, identity = licensed(world, plan_id)
    world.chain.send("licensor", "ModelRegistry", "setStatus", made.model_id, 3)
    with pytest.raises(KeyRequestRejected, match="compromised"):
        client.release(asker(world, identity, license_id, made))


def test_an_older_sealing_is_refused_once_a_newer_is_final(world, client, broker_world):
    made = broker_world.publish(world.chain, world.folder)
    world.deposit(made)
    plan_id = broker_world.plan(world.chain, made, world.terms, world.broker.set_id)
    license_id, identity = licensed(world, plan_id)
    plain = next(world.folder.glob(made.path.stem.rpartition("-")[0] + ".safetensors"))
    newer = broker_world.reseal(world.chain, plain, made.model_id, epoch=2)
    with pytest.raises(KeyRequestRejected, match="not the current sealing"):
        client.release(asker(world, identity, license_id, made))
    with pytest.raises(KeyRequestRejected, match="holds no key"):
        client.release(asker(world, identity, license_id, newer))
    world.deposit(newer)
    key, lease, _ = client.release(asker(world, identity, license_id, newer))
    assert (key, lease.epoch) == (newer.key, 2)


def test_what_is_not_yet_final_is_told_to_wait(world, client):
    plan_id = world.plan()
    chain = world.chain
    with chain.node.hold_finality():
        abi = contract("LicenseLedger")
        holder = chain.wallet("holder").address
        receipt = chain.sender("licensor").send(
            chain.deployment.addresses["LicenseLedger"], abi.encode("issue", plan_id, holder, 0, 0)
        )
        events = [abi.event(log.topics, log.data) for log in receipt.logs]
        (issued,) = [e for e in events if e is not None and e.name == "LicenseIssued"]
        license_id = LicenseId(int(issued.arguments["licenseId"]))
        identity = world.runtime(license_id)
        with pytest.raises(PendingFinality):
            client.release(asker(world, identity, license_id))
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            client.release(asker(world, identity, license_id))
            break
        except PendingFinality:
            time.sleep(0.1)
    else:
        pytest.fail("never became final")


def test_cancelled_grants_open_nothing(world, client):
    license_id, identity = licensed(world)
    world.chain.send("holder", "LicenseLedger", "cancelGrants", license_id)
    with pytest.raises(RuntimeNotBound, match="cancelled"):
        client.release(asker(world, identity, license_id))
    world.grant(identity, license_id)
    client.release(asker(world, identity, license_id))


def test_a_bound_plan_needs_a_seat_on_chain_and_no_grant(world, client):
    license_id, identity = licensed(world, world.plan(floating=False))
    with pytest.raises(RuntimeNotBound, match="no seat"):
        client.release(asker(world, identity, license_id))
    world.chain.send(
        "holder", "LicenseLedger", "bindRuntime", license_id, identity.key_hash, 0, bytes(20)
    )
    client.release(asker(world, identity, license_id, grant=None))
    world.chain.send("licensor", "LicenseLedger", "evictRuntime", license_id, identity.key_hash)
    with pytest.raises(RuntimeNotBound):
        client.release(asker(world, identity, license_id))


def test_a_seat_bound_to_a_measurement_is_none_for_software(world, client):
    license_id, identity = licensed(world, world.plan(floating=False))
    world.chain.send(
        "holder", "LicenseLedger", "bindRuntime", license_id, identity.key_hash, 0, b"\x77" * 20
    )
    with pytest.raises(KeyRequestRejected, match="seat on chain is limited") as caught:
        client.release(asker(world, identity, license_id))
    assert caught.value.check == 7


def test_floating_seats_are_counted_over_runtimes(world, client):
    license_id = world.license(world.plan(seats=2))
    first, second, third = (world.runtime(license_id) for _ in range(3))
    for identity in (first, second, first):
        client.release(asker(world, identity, license_id))
    with pytest.raises(SeatsFull, match="all 2 floating seats"):
        client.release(asker(world, third, license_id))


def test_a_quota_counts_leases(world, client):
    license_id, identity = licensed(world, world.plan(quota=2))
    for _ in range(2):
        client.release(asker(world, identity, license_id))
    with pytest.raises(QuotaSpent):
        client.release(asker(world, identity, license_id))


def test_the_terms_decide_on_the_declared_use(world, client):
    limited = world.with_terms(territory=["DE"])
    license_id = limited.license()
    abroad, home = limited.runtime(), limited.runtime(use=Use("DE"))
    for identity in (abroad, home):
        limited.grant(identity, license_id)
    with pytest.raises(UseNotPermitted, match="territory to DE"):
        client.release(asker(limited, abroad, license_id))
    client.release(asker(limited, home, license_id))


def test_without_the_holders_acceptance_of_the_terms_nothing_is_released(world, client):
    license_id, identity = licensed(world)
    with pytest.raises(UseNotPermitted, match="has not accepted"):
        client.release(asker(world, identity, license_id, acceptance=None))
    client.release(asker(world, identity, license_id))
    client.release(asker(world, identity, license_id, acceptance=None))


def test_terms_nobody_has_deny(world, client):
    unseen = world.with_terms(text=secrets.token_hex(8))
    license_id = unseen.license()
    identity = unseen.runtime(license_id)
    with pytest.raises(UseNotPermitted, match="not at hand"):
        client.release(asker(unseen, identity, license_id, terms=world.terms))


# -- hostile clients


class Recorder(BrokerClient):
    """Keeps what it sent."""

    def _send(self, method, path, body=None, *, repeatable=False):
        if not path.endswith("challenges") and body is not None:
            self.sent = (path, json.loads(json.dumps(body)))
        return super()._send(method, path, body)


def replies(world, change):
    """The reply to a recorded, changed and signed-as-before release request."""
    license_id, identity = licensed(world)
    with Recorder(world.broker.url) as recorder:
        asked = asker(world, identity, license_id)
        recorder.facts()
        request = recorder._request(asked, KemPrivateKey.generate().public, "release").to_json()
        change(request)
        body = {"request": request, "terms": world.terms}
        return recorder._send("POST", "/v1/broker/releases", body)


def test_a_replayed_request_gets_nothing(world):
    license_id, identity = licensed(world)
    with Recorder(world.broker.url) as recorder:
        recorder.release(asker(world, identity, license_id))
        path, body = recorder.sent
        for _ in range(20):
            reply = recorder._send("POST", path, body)
            assert reply["granted"] is False
            assert reply["denial"]["check"] == 1
            assert reply["wraps"] == []


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda r: r.update(challenge="0x" + "00" * 32), 1),
        (lambda r: r.update(license="9.9"), 1),
        (lambda r: r.update(audience=r["audience"] + "1"), 2),
        (lambda r: r["evidence"].update(intent="check"), 2),
        (lambda r: r.update(expires_at=r["expires_at"] + 1), 3),
        (lambda r: r["evidence"].update(use={"territory": "DE"}), 3),
        (lambda r: r["evidence"].update(sealing="0x" + "00" * 32), 3),
        (lambda r: r["runtime"].update(key="0x" + "01" * 32), 3),
        (lambda r: r["grant"].update(not_after=5), 4),
        (lambda r: r["grant"].update(runtime_key_hash="0x" + "00" * 32), 4),
    ],
)
def test_a_request_changed_after_signing_fails_at_its_step(world, change, check):
    reply = replies(world, change)
    assert reply["granted"] is False
    assert reply["denial"]["check"] == check
    results = {step["number"]: step["result"] for step in reply["checks"]}
    assert results[check] == "fail"
    assert all(results[n] == "not checked" for n in results if n > check)


def test_a_check_takes_no_seat_and_no_quota(world, client):
    license_id = world.license(world.plan(seats=1, quota=1))
    one, two = world.runtime(license_id), world.runtime(license_id)
    for identity in (one, two, one, two):
        assert client.check(asker(world, identity, license_id)).granted
    client.release(asker(world, one, license_id))
    decision = client.check(asker(world, two, license_id))
    assert (decision.granted, decision.denial.code) == (False, "SEATS_FULL")


def test_a_broker_with_other_keys_than_pinned_is_not_believed(world):
    pin = BrokerPin(world.broker.id, Digest(bytes(32)), world.broker.home.kem_key_hash)
    with BrokerClient(world.broker.url, pin=pin) as client, pytest.raises(SignatureInvalid):
        client.facts()


def test_a_key_is_handed_only_to_the_broker_that_the_chain_lists(world, broker_world, tmp_path):
    chain, broker = world.chain, world.broker
    with broker.client() as client:
        pin = require_registered(client, chain.rpc, chain.deployment, broker_set=broker.set_id)
        assert pin.signing_key_hash == broker.home.signing_key_hash
    home = BrokerHome.create(tmp_path / "impostor", "pass", cost=14)
    home.register(broker.home.identity)
    impostor = BrokerService(home, broker.view)
    real, broker.service = broker.service, impostor
    broker.unserve()
    broker.serve()
    try:
        with (
            BrokerClient(broker.url) as client,
            pytest.raises(SignatureInvalid, match="other keys"),
        ):
            require_registered(client, chain.rpc, chain.deployment, broker_set=broker.set_id)
    finally:
        broker.unserve()
        broker.service = real
        broker.serve()
        impostor.close()


def test_where_it_matters_a_broker_is_believed_only_once_it_is_final(world, client):
    chain, broker = world.chain, world.broker
    valued = replace(chain.profile, test_network=False)
    with chain.node.hold_finality():
        abi = contract("BrokerRegistry")
        receipt = chain.sender("broker").send(
            chain.deployment.addresses["BrokerRegistry"],
            abi.encode("createBrokerSet", [broker.id], 1),
        )
        (event,) = (abi.event(log.topics, log.data) for log in receipt.logs)
        made = int(event.arguments["setId"])

        def pinned(profile):
            return require_registered(
                client, chain.rpc, chain.deployment, broker_set=made, profile=profile
            )

        assert pinned(None).broker_id == broker.id
        with pytest.raises(ContractReverted):
            pinned(valued)
    chain.sender("broker").wait_final(receipt)
    assert pinned(valued).broker_id == broker.id


def test_a_broker_outside_the_plans_set_releases_nothing(world, client, broker_world):
    chain = world.chain
    (event,) = chain.send("broker", "BrokerRegistry", "createBrokerSet", [world.broker.id], 1)
    del event
    home = world.broker.home
    events = chain.send(
        "rival", "BrokerRegistry", "registerBroker", home.signing_key_hash, home.kem_key_hash, "u"
    )
    other = next(int(e["brokerId"]) for e in events if "operator" in e)
    (made,) = chain.send("rival", "BrokerRegistry", "createBrokerSet", [other], 1)
    license_id, identity = licensed(world, world.plan(brokerSet=int(made["setId"])))
    with pytest.raises(KeyRequestRejected, match="not in broker set"):
        client.release(asker(world, identity, license_id))


# -- heartbeat


def test_a_heartbeat_extends_the_lease_and_keeps_the_seat(world, client):
    license_id, identity = licensed(world)
    _, lease, _ = client.release(asker(world, identity, license_id))
    time.sleep(1.1)
    extended, decision = client.heartbeat(identity, lease)
    assert decision.granted
    assert extended.not_after > lease.not_after
    assert (extended.id, extended.sequence) == (lease.id, 1)


def test_a_heartbeat_consumes_no_quota(world, client):
    license_id, identity = licensed(world, world.plan(quota=1))
    _, lease, _ = client.release(asker(world, identity, license_id))
    for _ in range(3):
        lease, decision = client.heartbeat(identity, lease)
        assert decision.granted


def test_a_heartbeat_of_a_revoked_license_says_unload(world, client):
    license_id, identity = licensed(world)
    _, lease, _ = client.release(asker(world, identity, license_id))
    world.chain.send("licensor", "LicenseLedger", "revoke", license_id, 0, bytes(32))
    extended, decision = client.heartbeat(identity, lease)
    assert extended is None
    assert decision.denial.code == "REVOKED"
    assert decision.reply["unload"] is True


def test_in_warn_mode_an_ended_license_warns_and_does_not_unload(world, client):
    plan = world.plan(warnOnly=True)
    # Of the chain's time after the plan: on a busy machine making one takes seconds of it.
    end = world.chain.rpc.block("latest").timestamp + 6
    license_id, identity = licensed(world, plan, not_after=end)
    _, lease, _ = client.release(asker(world, identity, license_id))
    assert lease.enforce is False
    while time.time() <= end:
        time.sleep(0.1)
    extended, decision = client.heartbeat(identity, lease)
    assert extended is None
    assert decision.reply["unload"] is False


def test_nobody_elses_heartbeat_counts(world, client):
    license_id, identity = licensed(world)
    _, lease, _ = client.release(asker(world, identity, license_id))
    with pytest.raises(SignatureInvalid):
        client.heartbeat(world.runtime(), lease)


def test_a_replayed_heartbeat_is_refused(world):
    license_id, identity = licensed(world)
    with Recorder(world.broker.url) as recorder:
        _, lease, _ = recorder.release(asker(world, identity, license_id))
        recorder.heartbeat(identity, lease)
        path, body = recorder.sent
        with pytest.raises(KeyRequestRejected, match="used before"):
            recorder._send("POST", path, body)


class Held:
    """A chain whose first answer is held back until it is let go."""

    def __init__(self, real):
        self.real, self.asked, self.go, self.first = real, Event(), Event(), True

    def license_state(self, *args, **options):
        seen, first = self.real.license_state(*args, **options), self.first
        self.first = False
        if first:
            self.asked.set()
            self.go.wait(30)
        return seen


def test_a_heartbeat_decided_before_a_revocation_does_not_revive_the_lease(world, client):
    license_id, identity = licensed(world)
    _, lease, _ = client.release(asker(world, identity, license_id))
    service, outcome = world.broker.service, []

    def beat():
        with world.broker.client() as other:
            try:
                outcome.append(other.heartbeat(identity, lease, sequence=1))
            except KeyRequestRejected as error:
                outcome.append(error)

    held = Held(service._decisions.chain)
    service._decisions.chain = held
    try:
        slow = Thread(target=beat)
        slow.start()
        assert held.asked.wait(30)
        world.chain.send("licensor", "LicenseLedger", "revoke", license_id, 0, bytes(32))
        _, decision = client.heartbeat(identity, lease, sequence=2)
        assert decision.reply["unload"] is True
        held.go.set()
        slow.join(30)
    finally:
        held.go.set()
        service._decisions.chain = held.real
    assert isinstance(outcome[0], KeyRequestRejected)
    assert service.store.lease(lease.id).ended
    assert service.store.lease(lease.id).lease == lease


def test_a_new_release_to_a_runtime_ends_its_earlier_lease_of_the_license(world, client):
    license_id, identity = licensed(world, world.plan(seats=1))
    other = world.license(world.plan())
    world.grant(identity, other)
    _, apart, _ = client.release(asker(world, identity, other))
    world.grant(identity, license_id)
    _, first, _ = client.release(asker(world, identity, license_id))
    _, second, _ = client.release(asker(world, identity, license_id))
    with pytest.raises(KeyRequestRejected, match="has ended"):
        client.heartbeat(identity, first)
    for lease in (second, apart):
        assert client.heartbeat(identity, lease)[1].granted


def test_a_refused_release_leaves_the_earlier_lease_alive(world, client):
    license_id, identity = licensed(world, world.plan(quota=1))
    _, lease, _ = client.release(asker(world, identity, license_id))
    with pytest.raises(QuotaSpent):
        client.release(asker(world, identity, license_id))
    assert client.heartbeat(identity, lease)[1].granted


def test_floating_seats_of_leases_without_time_release_nothing(world, client):
    license_id, identity = licensed(world, world.plan(seats=1, leaseTtl=0, grace=0))
    assert client.check(asker(world, identity, license_id)).denial.check == 9
    with pytest.raises(KeyRequestRejected, match="last no time"):
        client.release(asker(world, identity, license_id))


# -- account, custody, secrets


def test_what_no_runtime_key_signed_is_answered_and_not_logged(world):
    before = world.broker.service.store.last_receipt()
    reply = replies(world, lambda request: request.update(signature="0x" + "00" * 64))
    assert (reply["denial"]["check"], reply["receipt"]) == (3, None)
    assert world.broker.service.store.last_receipt() == before


def test_a_signed_refusal_is_logged_up_to_a_size(world, client):
    identity, license_id = world.runtime(), world.license()
    store = world.broker.service.store
    for size, logged in ((100, 1), (20_000, 0)):
        before, _ = store.last_receipt()
        asked = asker(world, identity, license_id)
        client.facts()
        request = client._request(asked, KemPrivateKey.generate().public, "release")
        shown = replace(request.evidence, kind="tee", token="t" * size)
        domain = world.broker.home.identity.domain
        signed = replace(request, evidence=shown).signed(identity.sign, domain)
        body = {"request": signed.to_json(), "terms": None}
        reply = client._send("POST", "/v1/broker/releases", body)
        assert reply["denial"]["check"] == 4
        assert store.last_receipt()[0] == before + logged


def test_the_receipt_log_verifies_and_shows_any_change(world, client):
    license_id, identity = licensed(world)
    client.release(asker(world, identity, license_id))
    keys = world.broker.home.signing.public
    entries = list(world.broker.service.store.receipts())
    hashes = verify_log(entries, keys)
    assert hashes[-1] == world.broker.service.store.last_receipt()[1]
    with pytest.raises(Exception, match="does not follow"):
        verify_log(entries[:-2] + entries[-1:], keys)
    forged = json.loads(json.dumps(entries))
    forged[-1][1]["reply"]["granted"] = not forged[-1][1]["reply"]["granted"]
    with pytest.raises(SignatureInvalid):
        verify_log([tuple(entry) for entry in forged], keys)


def test_a_receipt_holds_both_signatures_and_the_holders_acceptance(world, client):
    license_id, identity = licensed(world)
    client.release(asker(world, identity, license_id))
    *_, (_, entry) = world.broker.service.store.receipts(limit=100000)
    assert entry["request"]["signature"].startswith("0x")
    assert entry["request"]["acceptance"]["signature"].startswith("0x")
    assert set(entry["reply"]["signature"]) == {"ed25519", "mldsa65"}
    assert "wrap" not in entry["reply"]["wraps"][0]


def test_no_secret_is_in_the_database_the_log_or_any_message(world, client, caplog):
    caplog.set_level(logging.DEBUG)
    license_id, identity = licensed(world)
    key, _, decision = client.release(asker(world, identity, license_id))
    with pytest.raises(RuntimeNotBound) as caught:
        client.release(asker(world, world.runtime(), license_id))
    home = world.broker.home
    secrets_ = [
        bytes(key),
        identity.signer.seed,
        home.signing.ed25519_seed,
        home.signing.mldsa65_seed,
    ]
    texts = caplog.text + json.dumps(decision.reply) + str(caught.value) + repr(caught.value)
    texts += repr(world.broker.service) + repr(home) + repr(asker(world, identity, license_id))
    stored = b"".join(
        path.read_bytes() for path in (world.folder / "broker").iterdir() if path.is_file()
    )
    for secret in secrets_:
        assert secret not in stored
        assert secret.hex() not in texts
        assert secret.hex().encode() not in stored


def test_a_broker_folder_opens_again_with_the_same_keys(world, broker_world):
    again = BrokerHome.open(world.folder / "broker", broker_world.PASSPHRASE)
    assert again.signing_key_hash == world.broker.home.signing_key_hash
    assert again.kem_key_hash == world.broker.home.kem_key_hash
    assert again.identity == world.broker.home.identity
    with pytest.raises(WrongPassphrase):
        BrokerHome.open(world.folder / "broker", "guess")
    with pytest.raises(ConfigurationError):
        BrokerHome.create(world.folder / "broker", "pass")


def test_a_broker_with_a_database_gets_no_new_keys(tmp_path, broker_world):
    folder = tmp_path / "broker"
    home = BrokerHome.create(folder, "pass", cost=14)
    sealed = home.keystore.encrypt(b"x" * 32, context="c")
    BrokerStore(home.database).close()
    kept = (folder / "keys.json").read_bytes()
    (folder / "keys.json").unlink()
    with pytest.raises(ConfigurationError, match="without its keys"):
        BrokerHome.create(folder, "pass", cost=14)
    (folder / "keys.json").write_bytes(kept)
    (folder / "keys.json").chmod(0o600)
    again = BrokerHome.open(folder, "pass")
    assert bytes(again.keystore.decrypt(sealed, context="c")) == b"x" * 32


def test_an_interrupted_creation_of_a_broker_can_be_repeated(tmp_path):
    BrokerHome.create(tmp_path, "pass", cost=14)
    (tmp_path / "keys.json").unlink()
    BrokerHome.create(tmp_path, "pass", cost=14)
    BrokerHome.open(tmp_path, "pass")


def test_a_broker_that_does_not_answer_is_unavailable(world):
    with BrokerClient("http://127.0.0.1:9") as nobody, pytest.raises(BrokerUnavailable):
        nobody.facts()
