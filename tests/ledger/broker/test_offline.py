"""A key for a host without a network: request and answer as files, and what is kept of it."""

import json
import threading
import time
import warnings
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import runtime
from ledger.broker.carrying import Pending, accept_release, answer, make_request
from ledger.broker.keeping import KeptRelease, KeptReleases
from ledger.broker.offline import OfflineRequest, OfflineResponse
from ledger.broker.receipts import verify_log
from ledger.errors import (
    BrokerUnavailable,
    ClockFloorInvalid,
    FormatError,
    KeyAccessError,
    KeyRequestRejected,
    LeaseExpired,
    ManifestError,
    NoIdentityMatch,
    PendingFinality,
    Revoked,
    RuntimeNotBound,
    SignatureInvalid,
    UseNotPermitted,
)
from ledger.licensing import card as card_module

pytestmark = pytest.mark.chain


def licensed(world, **plan):
    license_id = world.license(world.plan(**plan))
    identity = world.runtime(license_id)
    return world.card_file(license_id), identity


def parsed(card):
    made = card_module.parse(card.read_bytes())
    made.verify()
    return made


def requested(card, identity, **options):
    """A request as it arrives: through JSON, as a file does it."""
    return json.loads(json.dumps(make_request(parsed(card), identity, **options).to_json()))


def answered(world, request):
    return json.loads(json.dumps(answer(world.broker.service, request).to_json()))


def later(seconds):
    return lambda: time.time() + seconds


def flipped(text):
    return text[:-1] + ("0" if text[-1] != "0" else "1")


# -- there and back


def test_a_host_without_network_gets_its_key_by_file(world):
    card, identity = licensed(world)
    lease = accept_release(identity, answered(world, requested(card, identity))).lease
    world.broker.unserve()
    try:
        with runtime.load(card, runtime=identity, offline=True) as model:
            assert model.lease == lease
            assert model.get_tensor("steps").tolist() == list(range(17))
    finally:
        world.broker.serve()


def test_the_ten_steps_and_the_receipt_are_those_of_any_release(world):
    card, identity = licensed(world)
    request = requested(card, identity)
    reply = answered(world, request)["reply"]
    assert [check["result"] for check in reply["checks"]] == ["pass"] * 10
    store, sequence = world.broker.service.store, reply["receipt"]["sequence"]
    (entry,) = (e for n, e in store.receipts(after=sequence - 1, limit=1))
    assert entry["request"] == request["request"]
    verify_log(store.receipts(limit=10**6), world.broker.home.signing.public)


def test_a_second_answer_to_the_same_request_is_the_first_one(world):
    card, identity = licensed(world)
    request = requested(card, identity)
    first = answered(world, request)
    counted = world.broker.service.store.last_receipt()
    # The same bytes again, for a courier who lost them; nothing is decided or counted.
    assert answered(world, request) == first
    assert world.broker.service.store.last_receipt() == counted
    accept_release(identity, first)
    with pytest.raises(KeyRequestRejected, match="no request of this host waits"):
        accept_release(identity, first)


def test_many_answers_at_once_give_one_release(world):
    card, identity = licensed(world, quota=0)
    request, granted = requested(card, identity), []

    def ask():
        granted.append(answer(world.broker.service, request).reply)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Whoever comes while it is decided is refused, whoever comes later is given the same.
    leases = {reply["lease"]["id"] for reply in granted if reply["granted"]}
    assert len(leases) == 1
    assert all(reply["denial"]["check"] == 1 for reply in granted if not reply["granted"])


def test_an_answer_for_another_host_does_not_open(world):
    card, identity = licensed(world)
    other = world.runtime(parsed(card).license)
    response = answered(world, requested(card, identity))
    requested(card, other)
    with pytest.raises(KeyRequestRejected, match="another host"):
        accept_release(other, response)
    # Even with the waiting file of the first, without its KEM key.
    folder = identity.path.with_name(identity.path.stem + ".requests")
    (mine,) = folder.glob("*.json")
    stolen = json.loads(mine.read_text())
    theirs = other.path.with_name(other.path.stem + ".requests")
    (own,) = theirs.glob("*.json")
    stolen["kem"] = json.loads(own.read_text())["kem"]
    (theirs / mine.name).write_text(json.dumps(stolen))
    (theirs / mine.name).chmod(0o600)
    with pytest.raises(NoIdentityMatch):
        accept_release(other, response)


def test_a_file_is_not_answered_over_the_network(world):
    card, identity = licensed(world)
    request = requested(card, identity)
    body = {"request": request["request"], "terms": request["terms"]}
    with world.broker.client() as client:
        reply = client._send("POST", "/v1/broker/releases", body)
    assert (reply["granted"], reply["denial"]["check"]) == (False, 1)
    # Its nonce is still good for the one way it was signed for.
    assert answered(world, request)["reply"]["granted"] is True


def test_a_request_made_for_the_network_is_not_answered_as_a_file(world):
    card, identity = licensed(world)
    carried = OfflineRequest.from_json(requested(card, identity)).request
    live = replace(carried, evidence=replace(carried.evidence, intent="release"))
    live = live.signed(identity.sign, parsed(card).domain)
    reply = answered(world, OfflineRequest(live, world.terms).to_json())["reply"]
    assert reply["denial"]["check"] == 2
    assert "signed to release, not to offline" in reply["denial"]["message"]


@pytest.mark.parametrize("age", [72 * 3600 + 3700, -3700])
def test_outside_its_window_nothing_is_answered(world, age):
    card, identity = licensed(world)
    reply = answered(world, requested(card, identity, clock=later(-age)))["reply"]
    assert reply["denial"]["check"] == 2


def test_a_changed_copy_spends_nothing(world):
    card, identity = licensed(world)
    request = requested(card, identity)
    changed = json.loads(json.dumps(request))
    changed["request"]["expires_at"] -= 1
    assert answered(world, changed)["reply"]["denial"]["check"] == 3
    assert answered(world, request)["reply"]["granted"] is True


def test_not_yet_leaves_the_request_open_and_no_spends_it(world, monkeypatch):
    card, identity = licensed(world)
    request, service = requested(card, identity), world.broker.service
    real = service._chain.license_state

    def not_yet(*args, **options):
        raise PendingFinality("not yet", retry_after=2.0)

    monkeypatch.setattr(service._chain, "license_state", not_yet)
    early = answered(world, request)
    with pytest.raises(PendingFinality):
        accept_release(identity, early)
    monkeypatch.setattr(service._chain, "license_state", real)
    accept_release(identity, answered(world, request))

    ungranted = OfflineRequest.from_json(requested(card, identity))
    bare = replace(ungranted.request, grant=None).signed(identity.sign, parsed(card).domain)
    refused = OfflineRequest(bare, world.terms).to_json()
    assert answered(world, refused)["reply"]["denial"]["check"] == 4
    assert answered(world, refused)["reply"]["denial"]["check"] == 1


def test_a_refusal_comes_back_as_what_it_is(world):
    card, identity = licensed(world)
    request = requested(card, identity)
    number = parsed(card).license
    world.chain.send("licensor", "LicenseLedger", "revoke", number, 0, bytes(32))
    with pytest.raises(Revoked):
        accept_release(identity, answered(world, request))
    assert not list(identity.path.with_name(identity.path.stem + ".requests").glob("*"))


def test_without_a_grant_nothing_is_asked(world):
    license_id = world.license()
    with pytest.raises(RuntimeNotBound, match="accepted no grant"):
        make_request(parsed(world.card_file(license_id)), world.runtime())


def test_an_answer_by_other_keys_or_an_altered_one_is_refused(world):
    card, identity = licensed(world)
    response = answered(world, requested(card, identity))
    forged = json.loads(json.dumps(response))
    forged["signing"]["ed25519"] = flipped(forged["signing"]["ed25519"])
    with pytest.raises(SignatureInvalid, match="other keys"):
        accept_release(identity, forged)
    longer = json.loads(json.dumps(response))
    longer["reply"]["lease"]["grace_until"] += 1
    with pytest.raises(SignatureInvalid):
        accept_release(identity, longer)
    with pytest.raises(ManifestError):
        accept_release(identity, {**response, "more": 1})
    accept_release(identity, response)


def test_an_answer_that_took_longer_than_its_lease_is_told_so(world):
    card, identity = licensed(world)
    response = answered(world, requested(card, identity))
    with pytest.raises(LeaseExpired, match="before it came here"):
        accept_release(identity, response, clock=later(200))


def test_secrets_of_a_waiting_request_are_the_owners_alone_and_not_shown(world):
    card, identity = licensed(world)
    requested(card, identity)
    folder = identity.path.with_name(identity.path.stem + ".requests")
    (path,) = folder.glob("*.json")
    assert path.stat().st_mode & 0o077 == 0
    accept_release(identity, answered(world, requested(card, identity)))
    (kept,) = KeptReleases(identity).find(parsed(card))
    assert world.published.key.hex() not in kept.to_json().__repr__() + repr(kept)


# -- kept


@pytest.fixture
def kept(world):
    """A card, its runtime, and a release kept on it for a minute and one of grace."""
    card, identity = licensed(world)
    accept_release(identity, answered(world, requested(card, identity)))
    return card, identity


def opened(world, card, identity, *, clock=time.time):
    return KeptReleases(identity, clock=clock).open(parsed(card), world.published.record)


def kept_file(identity):
    (path,) = identity.path.with_name(identity.path.stem + ".releases").glob("*.json")
    return path


def test_a_kept_release_opens_until_its_grace_ends_and_then_says_the_way_out(world, kept):
    card, identity = kept
    key, lease, _ = opened(world, card, identity)
    assert key.content == world.published.key
    # Between the lease's end and the grace's the plan's grace counts.
    assert opened(world, card, identity, clock=later(90))[0].content == world.published.key
    with pytest.raises(LeaseExpired, match="ended on") as caught:
        opened(world, card, identity, clock=later(lease.grace_until - lease.issued_at + 1))
    assert "deed runtime request" in caught.value.hint


def test_a_clock_set_back_brings_no_lease_back(world, kept):
    card, identity = kept
    with pytest.raises(LeaseExpired):
        opened(world, card, identity, clock=later(200))
    with pytest.raises(LeaseExpired):
        opened(world, card, identity)


def test_another_runtime_key_does_not_open_it(world, kept):
    card, identity = kept
    other = world.runtime(parsed(card).license)
    moved = other.path.with_name(other.path.stem + ".releases") / kept_file(identity).name
    moved.parent.mkdir()
    moved.write_bytes(kept_file(identity).read_bytes())
    moved.chmod(0o600)
    KeptReleases(other).floor.confirm(int(time.time()))
    with pytest.raises(Exception, match="another license, model or runtime"):
        opened(world, card, other)
    # Nor the right name with another seed.
    thief = replace(identity, signer=other.signer)
    (sealed,) = KeptReleases(identity).find(parsed(card))
    assert KeptReleases(thief)._key(sealed.lease) != KeptReleases(identity)._key(sealed.lease)


@pytest.mark.parametrize("member", ["nonce", "sealed"])
def test_an_altered_ciphertext_does_not_open(world, kept, member):
    card, identity = kept
    document = json.loads(kept_file(identity).read_text())
    value = document[member]
    document[member] = flipped(value) if member == "nonce" else "A" + value[1:]
    if document[member] == value:
        document[member] = "B" + value[1:]
    kept_file(identity).write_text(json.dumps(document))
    with pytest.raises(KeyAccessError, match="does not open"):
        opened(world, card, identity)


def test_a_lease_made_longer_on_the_host_is_not_signed(world, kept):
    card, identity = kept
    document = json.loads(kept_file(identity).read_text())
    document["reply"]["lease"]["grace_until"] += 10**6
    kept_file(identity).write_text(json.dumps(document))
    with pytest.raises(SignatureInvalid):
        opened(world, card, identity)


def test_an_altered_or_missing_floor_stops_everything_until_a_new_release(world, kept):
    card, identity = kept
    path = KeptReleases(identity).floor.path
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "floor": document["floor"] - 1000}))
    with pytest.raises(ClockFloorInvalid, match="altered"):
        opened(world, card, identity)
    path.unlink()
    with pytest.raises(ClockFloorInvalid, match="missing") as caught:
        opened(world, card, identity)
    assert "deed runtime request" in caught.value.hint
    other_license = world.license()
    world.grant(identity, other_license)
    other = world.card_file(other_license)
    accept_release(identity, answered(world, requested(other, identity)))
    assert opened(world, other, identity)[0].content == world.published.key
    # What was kept under the lost floor is gone with it.
    with pytest.raises(LeaseExpired, match="no release"):
        opened(world, card, identity)


def test_terms_are_evaluated_on_the_host_as_well(world):
    made = world.with_terms(purposes=["research"])
    license_id = made.license()
    identity = made.runtime(license_id, use=runtime_use("research"))
    card = made.card_file(license_id)
    accept_release(identity, answered(made, requested(card, identity)))
    assert opened(made, card, identity)[0].content == made.published.key
    with pytest.raises(UseNotPermitted, match="declares production"):
        opened(made, card, replace(identity, use=runtime_use("production")))


def runtime_use(purpose):
    from ledger.licensing.terms import Use

    return Use(purpose=purpose)


def test_offline_keeps_what_it_is_given_and_uses_it_without_asking(world):
    card, identity = licensed(world)
    with runtime.load(card, runtime=identity, offline=True) as model:
        first = model.lease
    world.broker.unserve()
    try:
        with runtime.load(card, runtime=identity, offline=True) as model:
            assert model.lease.id == first.id
        # Without the option it is the last resort.
        with runtime.load(card, runtime=identity, timeout=1.0) as model:
            assert model.lease.id == first.id
    finally:
        world.broker.serve()


def test_nothing_is_kept_unless_asked_for(world):
    card, identity = licensed(world)
    runtime.load(card, runtime=identity).close()
    world.broker.unserve()
    try:
        with pytest.raises(BrokerUnavailable):
            runtime.load(card, runtime=identity, timeout=1.0)
    finally:
        world.broker.serve()


def test_a_no_for_good_deletes_what_was_kept(world, kept):
    card, identity = kept
    world.chain.send("licensor", "LicenseLedger", "revoke", parsed(card).license, 0, bytes(32))
    with pytest.raises(Revoked):
        runtime.load(card, runtime=identity)
    with pytest.raises(LeaseExpired, match="no release"):
        opened(world, card, identity)


def test_a_running_model_of_a_kept_release_ends_with_its_grace(world):
    card, identity = licensed(world, leaseTtl=3, grace=2)
    accept_release(identity, answered(world, requested(card, identity)))
    lost = threading.Event()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = runtime.load(
            card, runtime=identity, offline=True, on_loss=lambda reason: lost.set()
        )
    with model:
        model.get_tensor("steps")
        assert lost.wait(10)
        with pytest.raises(LeaseExpired):
            model.get_tensor("steps")


def test_a_lease_that_its_broker_ends_takes_the_kept_release_along(world):
    card, identity = licensed(world, leaseTtl=2, grace=10)
    lost = []
    with runtime.load(card, runtime=identity, offline=True, on_loss=lost.append):
        assert kept_file(identity).exists()
        world.chain.send("licensor", "LicenseLedger", "revoke", parsed(card).license, 0, bytes(32))
        deadline = time.monotonic() + 15
        while not lost and time.monotonic() < deadline:
            time.sleep(0.05)
    assert isinstance(lost[0], Revoked)
    with pytest.raises(LeaseExpired, match="no release"):
        opened(world, card, identity)


def test_a_denial_of_the_lease_by_the_clock_can_be_accepted_once_the_clock_is_right(world):
    card, identity = licensed(world)
    response = answered(world, requested(card, identity))
    with pytest.raises(LeaseExpired):
        accept_release(identity, response, clock=later(3 * 86400))
    accept_release(identity, response)
    assert opened(world, card, identity)[0].content == world.published.key


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "version", "request", "terms", "signing", "reply"]), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(json_values, st.sampled_from([OfflineRequest, OfflineResponse, Pending, KeptRelease]))
def test_what_is_no_such_file_is_a_format_error(value, kind):
    types = {
        OfflineRequest: "modeldeed/offline-request",
        OfflineResponse: "modeldeed/offline-response",
        Pending: "modeldeed/pending-request",
        KeptRelease: "modeldeed/kept-release",
    }
    typed = {**value, "type": types[kind], "version": 1} if isinstance(value, dict) else value
    for document in (value, typed):
        with pytest.raises(FormatError):
            kind.from_json(document)
