"""A licensee with a kept release and the host's clock in its hand, and a broker's lying time."""

import json
import time

import pytest

from ledger import runtime
from ledger.broker import floor as floor_module
from ledger.broker import keeping
from ledger.broker.carrying import accept_release, answer, make_request
from ledger.broker.floor import ClockFloor
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.keeping import KeptReleases
from ledger.errors import LedgerError, SignatureInvalid
from ledger.licensing import card as card_module

pytestmark = pytest.mark.chain

LONG = {"leaseTtl": 30 * 86400, "grace": 0, "maxOffline": 60 * 86400}
DAY = 86400


def licensed(world, **plan):
    license_id = world.license(world.plan(**LONG | plan))
    return world.card_file(license_id), world.runtime(license_id)


def parsed(card):
    made = card_module.parse(card.read_bytes())
    made.verify()
    return made


def kept(world, card, identity):
    request = json.loads(json.dumps(make_request(parsed(card), identity).to_json()))
    response = json.loads(json.dumps(answer(world.broker.service, request).to_json()))
    return accept_release(identity, response).lease


def test_time_that_a_killed_process_used_is_remembered(world, monkeypatch):
    """Load, use for a week, kill, set the clock back, load again: each time a week was free.

    What a running process saw must be remembered soon, whenever its first heartbeat is due."""
    card, identity = licensed(world)
    kept(world, card, identity)
    monkeypatch.setattr(keeping, "_REMEMBER_SECONDS", 1.0)
    began, boot = time.time(), floor_module.boot_seconds()
    with runtime.load(card, runtime=identity, offline=True) as model:
        time.sleep(3.0)
        # Six hours later, as both clocks tell this process; it is killed before it closes.
        monkeypatch.setattr(floor_module, "boot_seconds", lambda: boot + 6 * 3600)
        later = ClockFloor(identity, clock=lambda: began + 6 * 3600)
        monkeypatch.setattr(model._keeper._client._floor, "_clock", lambda: began + 6 * 3600)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and later._read().floor < began + 5 * 3600:
            time.sleep(0.5)
        remembered = later._read().floor
    assert remembered >= began + 5 * 3600


def test_a_broker_does_not_push_the_clock_of_the_whole_host_into_the_future(world, broker_world):
    """All releases of a host share one floor. One licensor's broker, which signs what time it
    likes, must not end those of every other licensor for good."""
    card, identity = licensed(world)
    lease = kept(world, card, identity)
    other, _ = licensed(world)
    world.grant(identity, parsed(other).license)
    carried = make_request(parsed(other), identity)
    reply = world.broker.service.release(
        {"request": carried.request.to_json(), "terms": dict(carried.terms)}, intent="offline"
    )
    # Its own keys sign a lease and a time of the year 2300.
    bare = {name: value for name, value in reply.items() if name != "signature"}
    bare["time"] = 10_413_792_000
    signed = world.broker.home.signing.sign(bare)
    response = {
        "type": "modeldeed/offline-response",
        "version": 1,
        "signing": world.broker.home.signing.public.to_json(),
        "reply": signed,
    }
    with pytest.raises(SignatureInvalid):
        accept_release(identity, response)
    assert KeptReleases(identity).floor.now() < lease.grace_until
    assert KeptReleases(identity).holds(parsed(card))


def test_nor_a_broker_that_is_asked_online(world, monkeypatch):
    card, identity = licensed(world)
    lease = kept(world, card, identity)
    other, _ = licensed(world)
    world.grant(identity, parsed(other).license)
    signing = type(world.broker.home.signing)
    honest = signing.sign_whole

    def future(self, reply):
        # What `HTTP` carries is still a well-formed, well-signed release.
        return honest(self, {**reply, "time": 10_413_792_000} if "lease" in reply else reply)

    monkeypatch.setattr(signing, "sign_whole", future)
    with pytest.raises(LedgerError):
        runtime.load(other, runtime=identity, offline=True).close()
    monkeypatch.undo()
    assert KeptReleases(identity).floor.now() < lease.grace_until


def test_a_clock_set_back_before_the_release_is_accepted_gains_nothing(world):
    card, identity = licensed(world)
    request = make_request(parsed(card), identity)
    lease = accept_release(
        identity,
        json.loads(json.dumps(answer(world.broker.service, request.to_json()).to_json())),
        clock=lambda: time.time() - 300 * DAY,
    ).lease
    back = KeptReleases(identity, clock=lambda: time.time() - 300 * DAY)
    assert lease.issued_at <= back.floor.now() <= lease.issued_at + 60
    late = KeptReleases(identity, clock=lambda: lease.grace_until)
    assert not late.holds(parsed(card))
    assert not KeptReleases(identity, clock=lambda: lease.grace_until - 1 + 1).holds(parsed(card))


def test_a_floor_of_another_runtime_or_an_older_release_beside_it_opens_nothing(world, tmp_path):
    card, identity = licensed(world)
    lease = kept(world, card, identity)
    folder = KeptReleases(identity).folder
    (file,) = folder.glob("*.json")
    saved = file.read_bytes()
    # The floor of a runtime that the licensee made itself, with any time it likes.
    own = RuntimeIdentity.create(tmp_path / "own.json")
    forged = ClockFloor(own)
    forged.confirm(lease.issued_at)
    clock = ClockFloor(identity).path
    clock.write_bytes(forged.path.read_bytes())
    assert not KeptReleases(identity).holds(parsed(card))
    # Without one, a new release deletes the rest and begins anew.
    clock.unlink()
    assert not KeptReleases(identity).holds(parsed(card))
    again, _ = licensed(world)
    world.grant(identity, parsed(again).license)
    kept(world, again, identity)
    assert not file.exists()
    # Put back, it is under a floor that knows the time of the newer release.
    file.write_bytes(saved)
    assert KeptReleases(identity, clock=lambda: 0.0).floor.now() >= lease.issued_at


def test_what_the_boot_clock_counted_between_processes_is_not_lost(tmp_path):
    """A host that was idle for a day and an hour: from then on its system clock is never
    remembered, though one boot clock has counted all the time. Set back after that, the clock
    brings a month's lease back as often as one likes."""
    wall, boot = 1_800_000_000.0, 1000.0
    identity = RuntimeIdentity.create(tmp_path / "runtime.json")

    def process(offset=0.0):
        return ClockFloor(identity, clock=lambda: wall + offset, boot=lambda: boot)

    process().confirm(int(wall))
    wall, boot = wall + 25 * 3600, boot + 25 * 3600
    for _ in range(20 * 24):  # hourly batches for twenty days, each a process of its own
        process().now()
        wall, boot = wall + 3600, boot + 3600
    assert process(offset=-40.0 * DAY).now() >= 1_800_000_000 + 20 * DAY
