"""Attacks on carried and kept releases: by a lying broker, by a licensee, by a thief of files."""

import base64
import copy
import json
import random
import time

import pytest

from ledger import runtime
from ledger.broker.carrying import accept_release, answer, make_request
from ledger.broker.deposits import Wrap, wraps_of
from ledger.broker.keeping import KeptReleases
from ledger.broker.leases import Lease
from ledger.broker.protocol import KeyRequest, release_info
from ledger.broker.vault import Vault
from ledger.errors import (
    ClaimMismatch,
    KeyAccessError,
    KeyRequestRejected,
    LeaseExpired,
    LedgerError,
    SignatureInvalid,
)
from ledger.licensing import card as card_module
from ledger.sealed.recipients import KemPrivateKey, unwrap, wrap

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


# -- a licensee, who has all files and the clock


def test_an_answer_kept_back_brings_its_time_again_when_the_floor_is_deleted(world):
    """Held visible: it is the older copy of the folder that a clock floor does not stop.

    Two answers of one hour; the second is accepted when the first has ended, without a floor and
    with the clock set back. Its signed time begins the floor anew.
    """
    card, identity = licensed(world)
    first, second = (requested(card, identity) for _ in range(2))
    answers = [answered(world.broker, first), answered(world.broker, second)]
    lease = accept_release(identity, answers[0]).lease
    end = lease.grace_until - int(time.time()) + 1
    with pytest.raises(LeaseExpired):
        opened(world, card, identity, clock=lambda: time.time() + end)
    # With the floor there, setting the clock back wins nothing.
    with pytest.raises(LeaseExpired):
        accept_release(identity, answers[1])
    folder(identity, ".clock.json").unlink()
    accept_release(identity, answers[1])
    assert opened(world, card, identity)[0].content == world.published.key


def test_an_answer_is_accepted_once_and_not_after_its_key_is_gone(world):
    card, identity = licensed(world)
    response = answered(world.broker, requested(card, identity))
    accept_release(identity, response)
    with pytest.raises(KeyRequestRejected, match="no request of this host waits"):
        accept_release(identity, response)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("lease", "grace_until"), 2**50),
        (("lease", "enforce"), False),
        (("lease", "kem_key_hash"), "0x" + "00" * 32),
        (("time",), 1),
        (("granted",), True),
    ],
)
def test_nothing_that_is_kept_can_be_made_better_by_hand(world, place, value):
    card, identity = licensed(world)
    accept_release(identity, answered(world.broker, requested(card, identity)))
    (path,) = folder(identity, ".releases").glob("*.json")
    document = json.loads(path.read_text())
    inner = document["reply"]
    for name in place[:-1]:
        inner = inner[name]
    if inner.get(place[-1]) == value:
        inner["more"] = value
    inner[place[-1]] = value
    path.write_text(json.dumps(document))
    with pytest.raises(LedgerError):
        opened(world, card, identity)


def test_a_kept_release_of_one_license_opens_as_no_other(world):
    """The same model and sealing under a license whose lease is longer."""
    card, identity = licensed(world)
    accept_release(identity, answered(world.broker, requested(card, identity)))
    other_id = world.license(world.plan())
    world.grant(identity, other_id)
    other = world.card_file(other_id)
    (path,) = folder(identity, ".releases").glob("*.json")
    name = path.name.replace(str(parsed(card).license), str(other_id))
    path.with_name(name).write_bytes(path.read_bytes())
    path.with_name(name).chmod(0o600)
    with pytest.raises(ClaimMismatch):
        opened(world, other, identity)
    # Nor a good reply around another's ciphertext.
    accept_release(identity, answered(world.broker, requested(other, identity)))
    mixed = json.loads(path.with_name(name).read_text())
    old = json.loads(path.read_text())
    mixed |= {"sealed": old["sealed"], "nonce": old["nonce"]}
    path.with_name(name).write_text(json.dumps(mixed))
    with pytest.raises(KeyAccessError):
        opened(world, other, identity)


# -- brokers of a set


def test_a_conspiring_broker_cannot_make_a_joined_lease_endless(world, trio):
    """Its lease only warns and ends a second before the honest one's, so that it would decide."""
    _, card, identity = trio.licensed()
    honest, liar = trio.brokers[:2]
    accept_release(identity, answered(honest, requested(card, identity, broker=honest.id)))
    response = answered(liar, requested(card, identity, broker=liar.id))
    lease = response["reply"]["lease"]
    # Its wrap is bound to the lease, so a conspirator wraps its share to the lease that it wants.
    made = dict(lease, enforce=False, grace_until=lease["grace_until"] - 1,
                not_after=min(lease["not_after"], lease["grace_until"] - 1))  # fmt: skip
    (path,) = folder(identity, ".requests").glob("*.json")
    pending = json.loads(path.read_text())
    request = KeyRequest.from_json(pending["request"])
    kem = KemPrivateKey.from_bytes(base64.b64decode(pending["kem"]))
    (wrapped,) = response["reply"]["wraps"]
    label = wrapped["label"]
    share = unwrap(
        wraps_of([wrapped])[0].data, kem,
        info=release_info(label, request, Lease.from_json(lease)),
    )  # fmt: skip
    again = wrap(share, request.kem, info=release_info(label, request, Lease.from_json(made)))
    entry = Wrap(label, again).to_json()
    accept_release(identity, resigned(liar, response, lease=made, wraps=[entry]))
    keys, decides, _ = opened(world, card, identity)
    assert keys.content == world.published.key
    assert decides.enforce
    assert decides.audience.endswith(f":{honest.id}")


STRANGE = [
    None, True, -1, 0, 2**53, 2**70, 1.5, "", "x" * 70000, "0x", "\u0000", "\U0001f600", [], [[]],
    {}, {"a": {}}, "0x" + "ff" * 32, "share/2", "1.1",
]  # fmt: skip


def spots(value, path=()):
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in items:
        found += spots(inner, (*path, name)) if isinstance(inner, dict | list) else [(*path, name)]
    return found


def test_no_answer_of_a_lying_broker_trips_the_reader(world, trio):
    """Whatever a broker signs, the host says which class of error it is, and asks the others."""
    _, card, identity = trio.licensed()
    liar = trio.brokers[0]
    response = answered(liar, requested(card, identity, broker=liar.id))
    random_ = random.Random(4)
    places = [path for path in spots(response["reply"]) if path and path[0] != "signature"]
    told = {}
    for _ in range(500):
        reply = copy.deepcopy(response["reply"])
        *way, last = random_.choice(places)
        inner = reply
        for name in way:
            inner = inner[name]
        if random_.random() < 0.2:
            del inner[last]
        else:
            inner[last] = random_.choice(STRANGE)
        del reply["signature"]
        try:
            signed = liar.home.signing.sign(reply)
        except LedgerError:
            continue
        try:
            accept_release(identity, {**response, "reply": signed})
        except LedgerError as error:
            told[error.code] = told.get(error.code, 0) + 1
        else:
            for path in folder(identity, ".releases").glob("*.json"):
                path.unlink()
        if not list(folder(identity, ".requests").glob("*.json")):
            response = answered(liar, requested(card, identity, broker=liar.id))
    assert sum(told.values()) > 300
