"""Limits and holds over a real chain: who they stop, and whom nobody can stop with them."""

import json
import time

import httpx
import pytest

from ledger.broker.anomaly import IMPOSSIBLE_CADENCE, Rules
from ledger.broker.grants import sign_grant
from ledger.broker.leases import Heartbeat, Lease
from ledger.broker.limits import Limits, Rate
from ledger.broker.protocol import Evidence, KeyRequest
from ledger.broker.receipts import verify_log
from ledger.broker.service import BrokerService, defence_of
from ledger.errors import RateLimited, UsageError
from ledger.ids import Digest
from ledger.licensing import terms as terms_module
from ledger.sealed.recipients import KemPrivateKey

pytestmark = pytest.mark.chain

HOME, AWAY = "203.0.113.0/24", "198.51.100.0/24"
STRICT = Rules(hosts=1000, releases=1000, strikes=2)


@pytest.fixture
def service(world):
    """A second service over the same broker, with rules that strike soon."""
    made = BrokerService(
        world.broker.home, world.broker.view, store=world.broker.service.store, rules=STRICT
    )
    yield made
    made.notices.stop()


def licensed(world, **plan):
    license_id = world.license(world.plan(**plan))
    return license_id, world.runtime(license_id)


def message(world, service, identity, license_id, *, grant="its own", intent="release"):
    """A signed request, as a runtime would send it."""
    ledger = world.chain.deployment.addresses["LicenseLedger"]
    held = identity.grant_for(31337, ledger, license_id)
    named = {"license": str(license_id), "model": str(world.published.model_id)}
    issued = service.challenge(named)
    now = int(time.time())
    request = KeyRequest(
        challenge=bytes.fromhex(issued["challenge"][2:]),
        license=license_id,
        model=world.published.model_id,
        kem=KemPrivateKey.generate().public,
        evidence=Evidence("software", intent, world.published.record.hash(), identity.use, "t"),
        audience=issued["audience"],
        issued_at=now,
        expires_at=now + 60,
        runtime=identity.key,
        grant=(held and held.grant) if grant == "its own" else grant,
        acceptance=held and held.acceptance,
    ).signed(identity.sign, service.identity.domain)
    return {"request": request.to_json(), "terms": None}


def ask(world, service, identity, license_id, network, **options):
    body = message(world, service, identity, license_id, **options)
    return service.release(body, network=network)


def hold(world, service, identity, license_id):
    """Ask from two places at once until the license is held; the reply that says so."""
    for number in range(20):
        reply = ask(world, service, identity, license_id, (HOME, AWAY)[number % 2])
        if not reply["granted"] and reply["denial"]["code"] == "LICENSE_HELD":
            return reply
    pytest.fail("never held")


def test_one_key_in_two_places_is_throttled_then_held_and_the_log_says_so(world, service):
    license_id, identity = licensed(world)
    assert ask(world, service, identity, license_id, HOME)["granted"]
    assert ask(world, service, identity, license_id, AWAY)["granted"]
    assert service.defence.conduct(license_id).level == "throttled"
    reply = hold(world, service, identity, license_id)
    denial = reply["denial"]
    assert (denial["check"], denial["retry_after"], denial["number"]) == (9, None, 110)
    assert "deed broker release-hold" in denial["remedy"]
    (kept,) = [c for name, c in service.defence.held() if name == license_id]
    assert kept.rule == IMPOSSIBLE_CADENCE
    entries = list(service.store.receipts(limit=100_000))
    kinds = [
        e["reply"]["type"] for _, e in entries if e["request"].get("license") == str(license_id)
    ]
    assert kinds.count("hold") == 1
    verify_log(entries, world.broker.home.signing.public)


def test_a_hold_stops_no_running_lease(world, service):
    license_id, identity = licensed(world)
    lease = ask(world, service, identity, license_id, HOME)["lease"]
    with world.broker.client() as client:
        granted = ask(world, service, identity, license_id, HOME)
        lease = granted["lease"]
        hold(world, service, identity, license_id)
        last = [
            e["reply"]["lease"]
            for _, e in service.store.receipts(limit=100_000)
            if e["reply"].get("granted") and e["request"].get("license") == str(license_id)
        ][-1]
        extended, decision = client.heartbeat(identity, Lease.from_json(last))
    assert decision.granted
    assert extended is not None
    assert lease["license"] == str(license_id)


def test_a_throttled_license_is_told_when_to_come_back(world, service):
    license_id, identity = licensed(world, seats=0)
    ask(world, service, identity, license_id, HOME)
    ask(world, service, identity, license_id, AWAY)
    replies = [ask(world, service, identity, license_id, AWAY) for _ in range(4)]
    refused = [reply["denial"] for reply in replies if not reply["granted"]]
    assert refused
    assert {(d["code"], d["check"]) for d in refused} == {("RATE_LIMITED", 9)}
    assert all(d["retry_after"] >= 1 for d in refused)
    assert service.defence.conduct(license_id).level == "throttled"


def test_the_operator_releases_a_hold_beside_the_service_and_the_log_holds(world, service):
    license_id, identity = licensed(world)
    hold(world, service, identity, license_id)
    with defence_of(world.broker.home) as operator:
        reply = operator.release(license_id, by="operator", now=int(time.time()))
        with pytest.raises(UsageError, match="not held"):
            operator.release(license_id, by="operator", now=int(time.time()))
    world.broker.home.signing.public.verify(reply)
    assert ask(world, service, identity, license_id, AWAY)["granted"]
    verify_log(list(service.store.receipts(limit=100_000)), world.broker.home.signing.public)


def test_nobody_without_the_holders_grant_can_bring_a_license_into_trouble(world, service):
    license_id, identity = licensed(world)
    assert ask(world, service, identity, license_id, HOME)["granted"]
    before = service.store.rows("SELECT * FROM sighted_hosts WHERE license = ?", str(license_id))
    stranger = world.runtime()
    forged = sign_grant(
        world.chain.wallet("rival"),
        service.identity.domain,
        license_id=license_id,
        runtime_key_hash=stranger.key.hash(),
        terms_hash=terms_module.terms_hash(world.terms),
        grant_nonce=0,
    )
    ledger = world.chain.deployment.addresses["LicenseLedger"]
    stolen = identity.grant_for(31337, ledger, license_id).grant
    for grant in (None, forged, stolen):
        for network in (HOME, AWAY, HOME, AWAY, HOME, AWAY):
            reply = ask(world, service, stranger, license_id, network, grant=grant)
            assert reply["denial"]["check"] == 4
    # A replay of the runtime's own request from elsewhere ends at the challenge.
    body = message(world, service, identity, license_id)
    assert service.release(body, network=HOME)["granted"]
    for _ in range(6):
        assert service.release(body, network=AWAY)["denial"]["check"] == 1
    assert service.defence.conduct(license_id).level == "calm"
    after = service.store.rows("SELECT * FROM sighted_hosts WHERE license = ?", str(license_id))
    assert [row[1] for row in after] == [row[1] for row in before]


def test_a_bound_plan_needs_no_grant_and_a_stranger_still_counts_for_nothing(world, service):
    license_id = world.license(world.plan(floating=False, seats=1))
    stranger = world.runtime()
    for network in (HOME, AWAY) * 4:
        reply = ask(world, service, stranger, license_id, network, grant=None)
        assert reply["denial"]["check"] == 5
    assert (
        service.store.rows("SELECT * FROM sighted_hosts WHERE license = ?", str(license_id)) == []
    )


def test_a_network_that_asks_too_often_is_refused_before_anything_is_read(world):
    service = BrokerService(
        world.broker.home,
        world.broker.view,
        store=world.broker.service.store,
        limits=Limits(network=Rate(2, 0.01)),
    )
    for _ in range(2):
        with pytest.raises(Exception, match="the body"):
            service.release({}, network=HOME)
    with pytest.raises(RateLimited) as caught:
        service.release({}, network=HOME)
    assert caught.value.retry_after > 1
    with pytest.raises(Exception, match="the body"):
        service.release({}, network=AWAY)


def test_over_http_a_limited_network_gets_429_with_the_time_to_wait(world):
    service = world.broker.service
    real = service.defence._limits
    service.defence._limits = Limits(network=Rate(1, 0.01))
    service.defence._networks._held.clear()
    try:
        with httpx.Client(trust_env=False) as http:
            named = {"license": "1.1", "model": str(world.published.model_id)}
            url = world.broker.url + "/v1/broker/challenges"
            answers = [http.post(url, json=named) for _ in range(2)]
    finally:
        service.defence._limits = real
        service.defence._networks._held.clear()
    assert [a.status_code for a in answers] == [200, 429]
    assert answers[1].json()["code"] == "RATE_LIMITED"
    assert int(answers[1].headers["retry-after"]) > 1


def test_a_runtime_that_asks_too_often_costs_no_chain_reads_and_no_entries(world):
    service = BrokerService(
        world.broker.home,
        world.broker.view,
        store=world.broker.service.store,
        limits=Limits(runtime=Rate(1, 0.01)),
    )
    license_id, identity = licensed(world)
    assert ask(world, service, identity, license_id, HOME)["granted"]
    before = service.store.last_receipt()
    reply = ask(world, service, identity, license_id, HOME)
    assert (reply["denial"]["code"], reply["denial"]["check"]) == ("RATE_LIMITED", 3)
    assert service.store.last_receipt() == before


def test_heartbeats_without_end_are_refused_and_not_logged(world):
    service = BrokerService(
        world.broker.home,
        world.broker.view,
        store=world.broker.service.store,
        limits=Limits(lease=Rate(1, 0.01)),
    )
    license_id, identity = licensed(world)
    lease = ask(world, service, identity, license_id, HOME)["lease"]

    def beat(sequence):
        lease_id = Digest.parse(lease["id"])
        unsigned = Heartbeat(lease_id, sequence, lease["audience"], int(time.time()))
        sign = identity.sign(unsigned.digest(service.identity.domain))
        signed = Heartbeat(lease_id, sequence, lease["audience"], unsigned.issued_at, sign)
        return service.heartbeat(lease_id, signed.to_json())

    assert beat(1)["granted"]
    before = service.store.last_receipt()
    with pytest.raises(RateLimited):
        beat(2)
    assert service.store.last_receipt() == before


def test_what_was_seen_outlasts_a_restart(world, service):
    license_id, identity = licensed(world)
    ask(world, service, identity, license_id, HOME)
    again = BrokerService(
        world.broker.home, world.broker.view, store=world.broker.service.store, rules=STRICT
    )
    ask(world, again, identity, license_id, AWAY)
    assert again.defence.conduct(license_id).level == "throttled"
    assert (
        json.loads(
            again.store.row("SELECT conduct FROM conduct WHERE license = ?", str(license_id))[0]
        )["rule"]
        == IMPOSSIBLE_CADENCE
    )
