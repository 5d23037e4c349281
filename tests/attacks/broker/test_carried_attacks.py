"""Attacks on carried and kept releases: by a lying broker, by a licensee, by a thief of files."""

import json
import time

import pytest

from ledger import runtime
from ledger.broker.carrying import accept_release, answer, make_request
from ledger.broker.keeping import KeptReleases
from ledger.errors import (
    KeyAccessError,
    SignatureInvalid,
)
from ledger.licensing import card as card_module

pytestmark = pytest.mark.chain
DAY = 86400


def parsed(card):
    made = card_module.parse(card.read_bytes())
    made.verify()
    return made


def licensed(world, **plan):
    license_id = world.license(world.plan(**plan))
    return world.card_file(license_id), world.runtime(license_id)


def requested(card, identity, **options):
    return json.loads(json.dumps(make_request(parsed(card), identity, **options).to_json()))


def answered(broker, request):
    return json.loads(json.dumps(answer(broker.service, request).to_json()))


def opened(world, card, identity, *, clock=time.time):
    return KeptReleases(identity, clock=clock).open(parsed(card), world.published.record)


def folder(identity, kind):
    return identity.path.with_name(identity.path.stem + kind)


def resigned(broker, response, **changes):
    """What the broker's own keys sign of its answer, changed."""
    reply = {**response["reply"], **changes}
    del reply["signature"]
    return {**response, "reply": broker.home.signing.sign(reply)}


def test_a_broker_that_lies_about_the_time_ends_no_other_brokers_leases(world):
    """Its signed time raises the floor, by which all that this runtime keeps ends."""
    card, identity = licensed(world)
    accept_release(identity, answered(world.broker, requested(card, identity)))
    other_id = world.license(world.plan())
    world.grant(identity, other_id)
    other = world.card_file(other_id)
    response = answered(world.broker, requested(other, identity))
    lie = resigned(world.broker, response, time=int(time.time()) + 30 * 365 * DAY)
    with pytest.raises(SignatureInvalid, match="says that it answered at"):
        accept_release(identity, lie)
    assert opened(world, card, identity)[0].content == world.published.key


def test_nor_does_one_that_lies_about_it_over_the_network(world, trio, monkeypatch):
    """Of three brokers, the liar is left out and named; the floor stays where it was."""
    _, card, identity = trio.licensed()
    liar = trio.brokers[0]

    def lying(*arguments, **options):
        reply = liar_release(*arguments, **options)
        return resigned(liar, {"reply": reply}, time=int(time.time()) + 30 * 365 * DAY)["reply"]

    liar_release = liar.service.release
    monkeypatch.setattr(liar.service, "release", lying)
    with (
        pytest.warns(UserWarning, match=f"broker {liar.id} was left out: the broker says"),
        runtime.load(card, runtime=identity, offline=True),
    ):
        pass
    assert KeptReleases(identity).floor.now() <= time.time() + 5
    assert KeptReleases(identity).holds(parsed(card))


def test_a_wrong_key_of_a_broker_takes_no_good_ones_place(world, monkeypatch):
    card, identity = licensed(world)
    accept_release(identity, answered(world.broker, requested(card, identity)))
    from ledger.broker.vault import Vault

    good = Vault.secret

    def wrong(self, *args):
        context = good(self, *args)

        class Wrong:
            def __enter__(self):
                made = context.__enter__()
                return bytearray(len(made))

            def __exit__(self, *what):
                return context.__exit__(*what)

        return Wrong()

    assert opened(world, card, identity)[0].content == world.published.key
    monkeypatch.setattr(Vault, "secret", wrong)
    # Its lease over, the host asks again and keeps what comes.
    for path in folder(identity, ".releases").glob("*.json"):
        saved = path, path.read_bytes()
        path.unlink()
    with pytest.raises(KeyAccessError):
        runtime.load(card, runtime=identity, offline=True)
    assert not list(folder(identity, ".releases").glob("*.json"))
    monkeypatch.undo()
    saved[0].write_bytes(saved[1])
    saved[0].chmod(0o600)
    assert opened(world, card, identity)[0].content == world.published.key
