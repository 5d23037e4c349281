"""t of n brokers: two of three release, one may be down or lie, and one alone gives nothing."""

import time
import warnings
from importlib import import_module

import pytest

from ledger import runtime
from ledger.broker import joining, threshold
from ledger.broker.keyshares import KeyShares, release_label
from ledger.broker.shamir import Share, join
from ledger.errors import (
    BrokerUnavailable,
    FormatError,
    KeyAccessError,
    KeyRequestRejected,
    LeaseExpired,
    ManifestError,
    Revoked,
    SharesRejected,
    SignatureInvalid,
    ThresholdNotMet,
    UsageError,
)
from ledger.ids import Digest
from ledger.sealed.recipients import KemPrivateKey, unwrap

pytestmark = pytest.mark.chain

LIES = [
    "wrong share",
    "garbage",
    "altered ciphertext",
    "the share of another place",
    "another broker's ciphertext",
    "statement with its own commitments",
    "no statement",
    "short share",
]


@pytest.fixture(scope="module")
def trio(world, tmp_path_factory):
    """Three brokers behind HTTP, of which two must release."""
    with import_module("threshold_world").trio(world, tmp_path_factory.mktemp("trio")) as made:
        yield made


@pytest.fixture(scope="module")
def licensed(trio):
    return trio.licensed()


@pytest.fixture
def joined(monkeypatch):
    """Every key that the client comes to hold; the original still runs."""
    made = []

    def spy(shares):
        made.append(len(shares))
        return join(shares)

    monkeypatch.setattr(joining, "join", spy)
    return made


def loads(trio, licensed):
    _, card, identity = licensed
    with runtime.load(card, runtime=identity, timeout=10) as model:
        name, original = next(iter(trio.world.published.tensors.items()))
        return model.get_tensor(name).tobytes() == original.tobytes()


# -- which of them are up


@pytest.mark.parametrize("down", [(), (0,), (1,), (2,)])
def test_two_honest_brokers_are_enough_whichever_they_are(trio, licensed, down):
    with trio.down(*down):
        assert loads(trio, licensed)


@pytest.mark.parametrize("down", [(0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_with_fewer_the_key_is_never_had_and_the_error_names_who_is_missing(
    trio, licensed, joined, down
):
    _, card, identity = licensed
    with trio.down(*down), pytest.raises(ThresholdNotMet) as caught:
        runtime.load(card, runtime=identity, timeout=3)
    assert joined == []
    assert [broker for broker, _ in caught.value.failures] == [trio.brokers[n].id for n in down]
    for place in down:
        assert f"broker {trio.brokers[place].id}: the broker 127.0.0.1" in caught.value.message
    assert f"{3 - len(down)} of the 2 brokers needed agree" in caught.value.message


# -- liars


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_broker_is_named_and_left_out(trio, licensed, lie, monkeypatch):
    # The others' two shares are enough, and a liar that is slower than this is never heard.
    monkeypatch.setattr(threshold, "SETTLE_SECONDS", 30)
    trio.brokers[1].service.heard = {"wrap": foreign_wrap(trio, licensed)}
    with trio.lying(1, lie), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert loads(trio, licensed)
    assert [
        str(w.message) for w in told if f"broker {trio.brokers[1].id} was left" in str(w.message)
    ]


@pytest.mark.parametrize("lie", LIES)
def test_one_down_and_one_lying_is_too_few(trio, licensed, joined, lie):
    _, card, identity = licensed
    trio.brokers[1].service.heard = {"wrap": foreign_wrap(trio, licensed)}
    with trio.down(0), trio.lying(1, lie), pytest.raises(ThresholdNotMet) as caught:
        runtime.load(card, runtime=identity, timeout=3)
    assert joined == []
    failures = dict(caught.value.failures)
    assert set(failures) == {trio.brokers[0].id, trio.brokers[1].id}
    assert isinstance(
        failures[trio.brokers[1].id],
        (SharesRejected, KeyAccessError, SignatureInvalid, FormatError),
    )


def test_two_liars_are_no_outage(trio, licensed, joined):
    _, card, identity = licensed
    liars = (trio.lying(0, "wrong share"), trio.lying(2, "wrong share"))
    with liars[0], liars[1], pytest.raises(SharesRejected) as caught:
        runtime.load(card, runtime=identity, timeout=3)
    assert joined == []
    for place in (0, 2):
        assert f"broker {trio.brokers[place].id}: share {place + 1} of set" in caught.value.message


def foreign_wrap(trio, licensed):
    """What another broker released, to another KEM key, for another lease."""
    license_id, _, identity = licensed
    kem = KemPrivateKey.generate()
    with trio.brokers[0].client() as client:
        _, decision = client.ask_share(asker(trio, identity, license_id), kem.public)
    import base64

    return base64.b64decode(decision.reply["wraps"][0]["wrap"])


def asker(trio, identity, license_id):
    from ledger.broker.client import Asker

    world = trio.world
    granted = identity.grant_for(
        31337, world.chain.deployment.addresses["LicenseLedger"], license_id
    )
    return Asker(
        identity=identity,
        license=license_id,
        model=world.published.model_id,
        sealing=world.published.record.hash(),
        grant=granted.grant,
        acceptance=granted.acceptance,
        terms=world.terms,
    )


# -- what one share tells, and where it can be used


def test_one_broker_alone_gives_a_share_and_no_key(trio, licensed):
    license_id, _, identity = licensed
    with trio.brokers[0].client() as client, pytest.raises(ManifestError, match="no content key"):
        client.release(asker(trio, identity, license_id))


def test_a_share_opens_only_under_the_request_and_lease_it_was_given_for(trio, licensed):
    from ledger.broker.deposits import Wrap
    from ledger.broker.leases import Lease
    from ledger.broker.protocol import release_info
    from ledger.errors import NoIdentityMatch

    license_id, _, identity = licensed
    kem = KemPrivateKey.generate()
    replies = []
    for broker in trio.brokers[:2]:
        with broker.client() as client:
            replies.append(client.ask_share(asker(trio, identity, license_id), kem.public))
    (request, first), (other_request, other) = replies
    label, lease = release_label(1), Lease.from_json(first.reply["lease"])
    data = Wrap.from_json(first.reply["wraps"][0]).data
    value = unwrap(data, kem, info=release_info(label, request, lease))
    KeyShares.from_json(first.reply["shares"]).share(1, value).check()
    # Broker 2 replays it as its own: under its lease, its challenge, or its label.
    theirs = Lease.from_json(other.reply["lease"])
    for info in (
        release_info(label, other_request, theirs),
        release_info(label, request, theirs),
        release_info(label, other_request, lease),
        release_info(release_label(2), request, lease),
    ):
        with pytest.raises(NoIdentityMatch):
            unwrap(data, kem, info=info)


def test_a_share_for_one_broker_is_refused_by_another(trio):
    world, signer = trio.world, trio.world.chain.wallet("licensor")
    record, domain = world.published.record, trio.brokers[0].home.identity.domain
    from ledger.broker.shamir import split

    parts = split(world.published.key, 2, 3)
    shares = KeyShares.of(
        record, parts, broker_set=trio.set_id, licensor=signer.address, issued_at=int(time.time())
    ).signed(signer, domain)
    wrong = Share(2, 3, 1, bytearray(parts[1].value), parts[0].commitments)
    with trio.brokers[0].client() as client:
        with pytest.raises(SharesRejected, match="share 1 of set"):
            client.deposit_share(record, wrong, shares, signer, domain)
        forged = KeyShares.of(
            record, parts, broker_set=trio.set_id,
            licensor=world.chain.wallet("holder").address, issued_at=int(time.time()),
        ).signed(world.chain.wallet("holder"), domain)  # fmt: skip
        with pytest.raises(SignatureInvalid, match="statement about the shares"):
            client.deposit_share(record, parts[0], forged, signer, domain)
        early = KeyShares.of(
            record, parts, broker_set=trio.set_id, licensor=signer.address, issued_at=1
        ).signed(signer, domain)
        with pytest.raises(KeyRequestRejected, match="signed later"):
            client.deposit_share(record, parts[0], early, signer, domain)


def test_shares_in_the_wrong_places_release_nothing(trio, licensed):
    _, card, identity = licensed
    mixed = import_module("threshold_world").Trio(trio.world, trio.brokers[::-1], trio.set_id)
    clients = mixed.clients()
    with pytest.raises(SignatureInvalid, match="answer where set"):
        clients.require_registered(trio.world.chain.rpc, trio.world.chain.deployment)
    world = trio.world
    try:
        clients.deposit(
            world.published.record, world.published.key, world.chain.wallet("licensor"),
            trio.brokers[0].home.identity.domain,
        )  # fmt: skip
        with pytest.raises(KeyRequestRejected, match="holds no key for sealing"):
            runtime.load(card, runtime=identity, timeout=3)
    finally:
        clients.close()
        time.sleep(1)  # a later statement takes the place of an earlier one
        trio.deposit()
    assert loads(trio, licensed)


def test_shares_of_two_splits_do_not_mix(trio, licensed):
    _, card, identity = licensed
    time.sleep(1)
    # As an interrupted publication leaves it: only the first broker has the new split's share.
    world = trio.world
    clients, made, licensor = trio.clients(), world.published, world.chain.wallet("licensor")
    domain = trio.brokers[0].home.identity.domain
    with trio.down(1, 2), pytest.raises(BrokerUnavailable, match="does not answer"):
        clients.deposit(made.record, made.key, licensor, domain)
    clients.close()
    assert loads(trio, licensed)  # the two others still have shares of one split
    with trio.down(2), pytest.raises(ThresholdNotMet):
        runtime.load(card, runtime=identity, timeout=3)
    trio.deposit()
    with trio.down(2):
        assert loads(trio, licensed)


def test_shares_of_another_key_are_found_out_before_the_file_is_opened(trio, licensed):
    _, card, identity = licensed
    world = trio.world
    clients = trio.clients()
    try:
        clients.deposit(
            world.published.record, bytes(32), world.chain.wallet("licensor"),
            trio.brokers[0].home.identity.domain,
        )  # fmt: skip
        with pytest.raises(SharesRejected, match="do not give the key"):
            runtime.load(card, runtime=identity, timeout=3)
    finally:
        clients.close()
        trio.deposit()
    assert loads(trio, licensed)


def test_a_content_key_for_another_set_is_not_released_under_a_threshold(trio, licensed):
    license_id, _, identity = licensed
    world, broker = trio.world, trio.brokers[0]
    with broker.client() as client:
        made = world.published
        client.deposit(made.record, made.key, world.chain.wallet("licensor"))
        _, decision = client.ask_share(
            asker(trio, identity, license_id), KemPrivateKey.generate().public
        )
    assert [wrap["label"] for wrap in decision.reply["wraps"]] == ["share/1"]


# -- the decision


def test_floating_seats_and_quotas_are_refused_under_a_threshold(trio):
    for changes, step, word in (
        ({"floating": True}, 9, "floating seats"),
        ({"quota": 5}, 10, "metered"),
    ):
        _, card, identity = trio.licensed(**changes)
        with pytest.raises(KeyRequestRejected, match=word) as caught:
            runtime.load(card, runtime=identity, timeout=5)
        assert caught.value.check == step
        decision = runtime.check(card, runtime=identity, timeout=5)
        assert not decision.granted
        assert decision.denial.check == step


def test_check_tells_whether_enough_brokers_would_release(trio, licensed):
    _, card, identity = licensed
    assert runtime.check(card, runtime=identity).granted
    with trio.down(1):
        assert runtime.check(card, runtime=identity).granted
    with trio.down(0, 1), pytest.raises(ThresholdNotMet, match="1 of the 2 brokers needed"):
        runtime.check(card, runtime=identity)


def test_one_broker_named_instead_of_the_set_is_refused(trio, licensed):
    _, card, identity = licensed
    for ask in (runtime.load, runtime.check):
        with pytest.raises(UsageError, match="the key is shared: 2 of 3"):
            ask(card, runtime=identity, broker=trio.brokers[0].url)


def test_a_revoked_license_is_told_as_such_even_with_one_broker_down(trio):
    license_id, card, identity = trio.licensed()
    trio.world.chain.send(
        "licensor", "LicenseLedger", "revoke", license_id, 0, Digest(bytes(32))
    )  # fmt: skip
    with trio.down(2):
        with pytest.raises(Revoked) as caught:
            runtime.load(card, runtime=identity, timeout=3)
        assert not runtime.check(card, runtime=identity, timeout=3).granted
    assert caught.value.number == Revoked.number
    assert "0 of the 2 brokers needed agree" in caught.value.message


# -- living on


def wait_for(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def test_the_model_runs_while_two_leases_hold_and_no_longer(trio):
    _, card, identity = trio.licensed(leaseTtl=3, grace=3)
    lost = []
    with runtime.load(card, runtime=identity, on_loss=lost.append) as model:
        sequence = model.lease.sequence
        with trio.down(0):
            wait_for(lambda: model.lease.sequence > sequence + 1)
            time.sleep(6)  # the first broker's lease has ended with its grace
            assert lost == []
            model.get_tensor("layer.weight")
            with trio.down(1):
                wait_for(lambda: lost)
                with pytest.raises(LeaseExpired, match="fewer than 2 brokers"):
                    model.get_tensor("layer.weight")
    assert len(lost) == 1


def test_a_no_of_one_broker_of_three_unloads_nothing_and_of_two_unloads(trio):
    _, card, identity = trio.licensed(leaseTtl=3, grace=60)
    lost = []
    with runtime.load(card, runtime=identity, on_loss=lost.append) as model:
        leases = [lease for _, lease in model._keeper._group.held]
        assert len({lease.id for lease in leases}) == 3
        refuse(trio.brokers[0])
        try:
            wait_for(lambda: model._keeper._gone)
            time.sleep(1.5)
            assert lost == []
            model.get_tensor("layer.weight")
            refuse(trio.brokers[1])
            wait_for(lambda: lost)
        finally:
            for broker in trio.brokers[:2]:
                broker.service._decisions.__dict__.pop("still_entitled", None)
        with pytest.raises(LeaseExpired):
            model.get_tensor("layer.weight")
    assert isinstance(lost[0], Revoked)


def refuse(broker):
    """A contrary broker: it signs that the license is revoked, which the chain does not say."""
    honest = type(broker.service._decisions).still_entitled

    def contrary(held, now):
        talk, chain = honest(broker.service._decisions, held, now)
        from ledger.broker.denials import Denial

        talk.denial = Denial("REVOKED", 3, "revoked, says this broker", now, "", 5, None)
        return talk, chain

    broker.service._decisions.still_entitled = contrary


def test_a_revocation_unloads_by_the_brokers_own_reading(trio):
    license_id, card, identity = trio.licensed(leaseTtl=3, grace=60)
    lost = []
    with runtime.load(card, runtime=identity, on_loss=lost.append):
        trio.world.chain.send(
            "licensor", "LicenseLedger", "revoke", license_id, 0, Digest(bytes(32))
        )  # fmt: skip
        wait_for(lambda: lost)
    assert [type(reason) for reason in lost] == [Revoked]


def test_where_waiting_does_not_help_nobody_is_told_to_wait(trio, licensed):
    _, card, identity = licensed
    lies = trio.lying(0, "wrong share"), trio.lying(1, "garbage")
    with lies[0], lies[1], trio.down(2), pytest.raises(SharesRejected) as caught:
        runtime.load(card, runtime=identity, timeout=3)
    assert not isinstance(caught.value, ThresholdNotMet)
