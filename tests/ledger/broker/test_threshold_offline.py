"""A shared key for a host without a network: carried from t brokers, kept, joined when used."""

import json
import time
from dataclasses import replace
from importlib import import_module

import pytest

from ledger import runtime
from ledger.broker.carrying import accept_release, answer, make_request
from ledger.broker.keeping import KeptReleases
from ledger.broker.keyshares import KeyShares
from ledger.errors import (
    BrokerUnavailable,
    ClaimMismatch,
    FormatError,
    KeyRequestRejected,
    LeaseExpired,
    SharesRejected,
    SignatureInvalid,
    UsageError,
)
from ledger.licensing import card as card_module

pytestmark = pytest.mark.chain


def parsed(card):
    made = card_module.parse(card.read_bytes())
    made.verify()
    return made


def requested(card, identity, **options):
    """A request as it arrives: through JSON, as a file does it."""
    return json.loads(json.dumps(make_request(parsed(card), identity, **options).to_json()))


def answered(broker, request):
    return json.loads(json.dumps(answer(broker.service, request).to_json()))


@pytest.fixture(scope="module")
def trio(world, tmp_path_factory):
    with import_module("threshold_world").trio(
        world, tmp_path_factory.mktemp("trio-offline")
    ) as made:
        yield made


@pytest.fixture
def licensed(trio):
    """A card and a runtime that has its seat."""
    _, card, identity = trio.licensed()
    return card, identity


def carried(trio, licensed, *places, **options):
    """Ask the brokers of these places by file, and accept; what the last acceptance said."""
    card, identity = licensed
    accepted = None
    for place in places:
        broker = trio.brokers[place]
        request = requested(card, identity, broker=broker.id)
        accepted = accept_release(identity, answered(broker, request), **options)
    return accepted


def opened(trio, licensed, *, clock=time.time):
    card, identity = licensed
    keys, lease, _ = KeptReleases(identity, clock=clock).open(
        parsed(card), trio.world.published.record
    )
    return bytes(keys.content), lease


def files(identity):
    return sorted(KeptReleases(identity).folder.glob("*.json"))


def test_two_answers_by_file_open_the_model_and_one_does_not(trio, licensed):
    card, identity = licensed
    first = carried(trio, licensed, 2)
    assert (first.kept, first.needed) == (1, 2)
    with trio.down(0, 1, 2):
        with pytest.raises(LeaseExpired, match="1 of the 2 releases"):
            opened(trio, licensed)
        with pytest.raises(LeaseExpired):
            runtime.load(card, runtime=identity, offline=True, timeout=1)
    second = carried(trio, licensed, 0)
    assert (second.kept, second.needed) == (2, 2)
    with trio.down(0, 1, 2), runtime.load(card, runtime=identity, offline=True) as model:
        assert model.lease.grace_until == min(first.lease.grace_until, second.lease.grace_until)
        assert model.get_tensor("steps").tolist() == list(range(17))


def test_what_was_released_online_is_kept_share_by_share(trio, licensed):
    card, identity = licensed
    with runtime.load(card, runtime=identity, offline=True, timeout=10) as model:
        assert model.get_tensor("steps").tolist() == list(range(17))
    assert len(files(identity)) == 3
    with trio.down(0, 1, 2), runtime.load(card, runtime=identity, offline=True) as model:
        assert model.get_tensor("steps").tolist() == list(range(17))
    # Neither the key nor a share of it stands in any of them.
    for path in files(identity):
        assert path.stat().st_mode & 0o077 == 0
        text = path.read_text()
        assert trio.world.published.key.hex() not in text
        assert '"wrap"' not in text


def test_one_file_altered_or_of_an_ended_lease_is_made_up_for_by_the_others(trio, licensed):
    _, identity = licensed
    carried(trio, licensed, 0, 1, 2)
    expected = trio.world.published.key
    spoiled = files(identity)[0]
    before = spoiled.read_text()
    for member in ("sealed", "reply", "request"):
        document = json.loads(before)
        if member == "sealed":
            document[member] = ("B" if document[member][0] == "A" else "A") + document[member][1:]
        else:
            document[member] = {}
        spoiled.write_text(json.dumps(document))
        assert opened(trio, licensed)[0] == expected
    files(identity)[1].write_text("{}")
    with pytest.raises(FormatError):
        opened(trio, licensed)


def test_two_files_of_one_broker_are_one_share(trio, licensed):
    _, identity = licensed
    carried(trio, licensed, 1)
    (first,) = files(identity)
    # Only at the end: a digest before it may begin like a broker's number.
    stem = first.name.removesuffix(f"-{trio.brokers[1].id}.json")
    assert stem != first.name
    copy = first.with_name(f"{stem}-{trio.brokers[0].id}.json")
    copy.write_bytes(first.read_bytes())
    copy.chmod(0o600)
    with pytest.raises(ClaimMismatch, match="another license, model or runtime"):
        opened(trio, licensed)
    assert carried(trio, licensed, 1).kept == 2  # counted by files, and still not enough
    with pytest.raises(ClaimMismatch):
        opened(trio, licensed)


def test_the_lease_that_ends_first_ends_the_model(trio, licensed):
    carried(trio, licensed, 0, 1)
    key, lease = opened(trio, licensed)
    assert key == trio.world.published.key
    with pytest.raises(LeaseExpired):
        opened(trio, licensed, clock=lambda: lease.grace_until + 5)


def test_no_broker_named_is_told_with_those_there_are(trio, licensed):
    card, identity = licensed
    with pytest.raises(UsageError, match="2 of the brokers"):
        requested(card, identity)
    with pytest.raises(UsageError, match="no broker 99"):
        requested(card, identity, broker=99)


def test_an_answer_of_another_broker_of_the_set_is_not_taken(trio, licensed):
    card, identity = licensed
    request = requested(card, identity, broker=trio.brokers[0].id)
    refused = answered(trio.brokers[1], request)
    assert refused["reply"]["granted"] is False
    with pytest.raises((SignatureInvalid, KeyRequestRejected)):
        accept_release(identity, refused)


def test_a_wrong_share_is_refused_when_it_is_accepted(trio, licensed):
    _, identity = licensed
    with trio.lying(0, "wrong share"), pytest.raises(SharesRejected):
        carried(trio, licensed, 0)
    assert not files(identity)


def test_a_statement_that_is_not_the_licensors_is_refused_when_it_is_used(
    trio, licensed, monkeypatch
):
    stranger = trio.world.chain.wallet("stranger")
    signed = KeyShares.to_json

    def forged(self):
        made = replace(self, licensor=stranger.address)
        return signed(made.signed(stranger, trio.brokers[0].home.identity.domain))

    monkeypatch.setattr(KeyShares, "to_json", forged)
    carried(trio, licensed, 0, 1)
    monkeypatch.undo()
    with pytest.raises(SignatureInvalid, match="not signed by the licensor"):
        opened(trio, licensed)


def test_a_final_no_deletes_every_kept_share(trio):
    license_id, card, identity = trio.licensed()
    carried(trio, (card, identity), 0, 1, 2)
    assert len(files(identity)) == 3
    trio.world.chain.send("licensor", "LicenseLedger", "revoke", license_id, 0, bytes(32))
    with pytest.raises(Exception, match="revoked"):
        runtime.load(card, runtime=identity, timeout=10)
    assert not files(identity)


def test_without_offline_a_kept_release_serves_when_too_few_brokers_answer(trio, licensed):
    card, identity = licensed
    carried(trio, licensed, 0, 2)
    with trio.down(0, 1):
        with runtime.load(card, runtime=identity, timeout=1) as model:
            assert model.get_tensor("steps").tolist() == list(range(17))
        KeptReleases(identity).forget(parsed(card).license, parsed(card).sealing_hash)
        with pytest.raises(BrokerUnavailable):
            runtime.load(card, runtime=identity, timeout=1)
