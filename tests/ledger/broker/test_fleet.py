"""Fleets: one grant, many workers, seats that count workers."""

import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.broker.client import Asker
from ledger.broker.enrolment import EnrolmentRequest, GrantFile
from ledger.broker.fleet import (
    MAX_SECONDS,
    WorkerCertificate,
    certify,
    check_certificate,
    fleet_key_hash,
)
from ledger.broker.fleet_identity import FleetIdentity
from ledger.broker.grants import ALG_ED25519, ALG_P256, sign_grant
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.runtime_signers import FileSigner, sign_digest
from ledger.chain.wallet import dev_wallet
from ledger.errors import (
    KeyRequestRejected,
    LedgerError,
    ManifestError,
    RuntimeNotBound,
    SeatsFull,
    SignatureInvalid,
    UsageError,
    WrongHolder,
)
from ledger.ids import Address, Digest, LicenseId
from ledger.licensing.card import ledger_domain

NOW = 1_800_000_000
DOMAIN = ledger_domain(31337, Address(b"\x11" * 20))
FLEET, WORKER, OTHER = (FileSigner(ALG_ED25519, bytes([n]) * 32) for n in (1, 2, 3))
IMAGE = "sha256:" + "ab" * 32


def grant_to(key_hash, **changes):
    arguments = {
        "license_id": LicenseId.of(1, 1),
        "runtime_key_hash": key_hash,
        "terms_hash": Digest(b"\x01" * 32),
        "grant_nonce": 0,
    } | changes
    return sign_grant(dev_wallet("holder"), DOMAIN, **arguments)


GRANT = grant_to(fleet_key_hash(FLEET.key))


def signed(certificate, by=FLEET):
    return replace(certificate, signature=sign_digest(by, certificate.digest()))


def made(**changes):
    base = certify(
        lambda digest: sign_digest(FLEET, digest),
        FLEET.key,
        WORKER.key,
        GRANT,
        DOMAIN,
        workload=IMAGE,
        seconds=3600,
        now=NOW,
    )
    return signed(replace(base, **changes)) if changes else base


def check(certificate, grant=GRANT, worker=WORKER.key, at=NOW):
    return check_certificate(certificate, grant, worker, domain=DOMAIN, at=at)


# -- the certificate


def test_a_certified_worker_passes_and_its_workload_is_told():
    assert IMAGE in check(made())


@pytest.mark.parametrize(
    ("certificate", "where", "why"),
    [
        (made(), {"at": NOW + 3600}, "ended on"),
        (made(), {"at": NOW - 61}, "begins on"),
        (made(not_after=NOW - 60 + MAX_SECONDS + 1), {}, "longer than 86400"),
        (made(not_after=NOW - 60), {}, "longer than"),
        (made(), {"worker": OTHER.key}, "another worker"),
        (made(), {"grant": grant_to(fleet_key_hash(OTHER.key))}, "another fleet"),
        (made(), {"grant": grant_to(FLEET.key.hash())}, "another fleet"),
        (made(), {"grant": grant_to(fleet_key_hash(FLEET.key))}, "another grant"),
        (made(worker=FLEET.key), {"worker": FLEET.key}, "another worker"),
    ],
)
def test_a_certificate_that_does_not_fit_is_refused(certificate, where, why):
    with pytest.raises(RuntimeNotBound, match=why):
        check(certificate, **where)


def test_a_day_is_allowed_and_not_a_second_more():
    check(made(not_after=NOW - 60 + MAX_SECONDS))


@pytest.mark.parametrize(
    "change",
    [
        {"workload": "spiffe://example.org/other"},
        {"not_after": NOW + 9999},
        {"serial": bytes(16)},
    ],
)
def test_a_certificate_changed_after_signing_is_refused(change):
    with pytest.raises(SignatureInvalid):
        check(replace(made(), **change))


def test_a_certificate_that_someone_else_signed_is_refused():
    with pytest.raises(SignatureInvalid):
        check(signed(made(), by=OTHER))


@pytest.mark.parametrize(
    "workload",
    ["", "latest", "sha256:ab", "sha256:" + "AB" * 32, "spiffe:// a", "x:" + "y" * 300, "A:b"],
)
def test_a_workload_is_an_image_digest_or_a_uri(workload):
    with pytest.raises(ManifestError):
        made(workload=workload)


@given(
    st.sampled_from(sorted(made().to_json())),
    st.none() | st.integers() | st.text(max_size=80) | st.dictionaries(st.text(), st.text()),
)
def test_no_changed_certificate_passes_or_raises_anything_but_our_errors(member, value):
    document = made().to_json()
    if document[member] == value:
        return
    with pytest.raises(LedgerError):
        check(WorkerCertificate.from_json({**document, member: value}))


@pytest.mark.parametrize("seconds", [0, 60, -5, MAX_SECONDS + 1])
def test_no_certificate_is_made_beyond_a_day(seconds):
    with pytest.raises(UsageError):
        certify(
            lambda digest: b"", FLEET.key, WORKER.key, GRANT, DOMAIN,
            workload=IMAGE, seconds=seconds, now=NOW,
        )  # fmt: skip


# -- the files


def test_a_runtimes_request_and_a_fleets_are_two_things(tmp_path):
    fleet = FleetIdentity.create(tmp_path / "fleet.json")
    as_runtime = {**fleet.enrolment_request(), "type": "modeldeed/runtime-request"}
    assert EnrolmentRequest.from_json(fleet.enrolment_request()).key_hash == fleet.key_hash
    with pytest.raises(SignatureInvalid):
        EnrolmentRequest.from_json(as_runtime)
    with pytest.raises(ManifestError):
        RuntimeIdentity.load(fleet.path)
    assert FleetIdentity.load(fleet.path).key_hash == fleet.key_hash


# -- against a broker


class Fleet:
    """A fleet with a grant, and workers by number."""

    def __init__(self, world, license_id, folder, *, alg=ALG_ED25519, **options):
        self.world, self.license = world, license_id
        self.folder = folder / secrets.token_hex(4)
        self.identity = FleetIdentity.create(self.folder / "fleet.json", alg=alg)
        self.regrant(**options)

    def regrant(self, **options):
        self.file = self.world.grant_file(self.identity, self.license, **options)

    def worker(self, identity=None, **options):
        worker = identity or RuntimeIdentity.create(
            self.folder / f"{secrets.token_hex(4)}" / "runtime.json"
        )
        worker.accept(self.certified(worker, **options))
        return worker

    def certified(self, worker, *, seconds=3600, now=None, workload=IMAGE):
        return self.identity.certify(
            worker.enrolment_request(), self.file, workload=workload, seconds=seconds, now=now
        )

    def asker(self, worker, **changes):
        file = worker.grants()[0]
        made = self.world.published
        base = Asker(
            worker, self.license, made.model_id, made.record.hash(), file.grant,
            file.acceptance, self.world.terms, file.certificate,
        )  # fmt: skip
        return replace(base, **changes)


@pytest.fixture
def client(world):
    with world.broker.client() as opened:
        yield opened


@pytest.fixture
def fleet(world, tmp_path):
    return Fleet(world, world.license(), tmp_path)


@pytest.mark.chain
@pytest.mark.parametrize("alg", [ALG_ED25519, ALG_P256])
def test_a_certified_worker_gets_the_key_under_its_fleets_grant(world, client, tmp_path, alg):
    fleet = Fleet(world, world.license(), tmp_path, alg=alg)
    worker = fleet.worker()
    key, lease, decision = client.release(fleet.asker(worker))
    assert key == world.published.key
    assert lease.runtime_key_hash == worker.key_hash
    assert IMAGE in decision.checks[3].detail
    assert client.heartbeat(worker, lease)[0] is not None


@pytest.mark.chain
def test_a_lease_ends_with_its_workers_certificate(client, fleet):
    worker = fleet.worker(seconds=90)
    _, lease, _ = client.release(fleet.asker(worker))
    assert lease.not_after == lease.grace_until == worker.grants()[0].certificate.not_after


@pytest.mark.chain
def test_an_expired_certificate_is_refused(client, fleet):
    worker = fleet.worker(now=int(time.time()) - 7200)
    with pytest.raises(RuntimeNotBound, match="ended on"):
        client.release(fleet.asker(worker))


@pytest.mark.chain
def test_a_certificate_for_longer_than_a_day_is_refused(client, fleet):
    worker = fleet.worker()
    asked = fleet.asker(worker)
    long = replace(asked.certificate, not_after=asked.certificate.not_before + MAX_SECONDS + 1)
    long = signed(long, by=fleet.identity.signer)
    with pytest.raises(RuntimeNotBound, match="longer than 86400"):
        client.release(replace(asked, certificate=long))


@pytest.mark.chain
def test_the_certificate_of_another_fleet_is_refused(world, client, fleet, tmp_path):
    other = Fleet(world, fleet.license, tmp_path)
    worker = fleet.worker()
    foreign = GrantFile.from_json(other.certified(worker)).certificate
    with pytest.raises(RuntimeNotBound, match="another license or runtime"):
        client.release(fleet.asker(worker, certificate=foreign))


@pytest.mark.chain
def test_a_certificate_counts_for_one_license(world, client, fleet, tmp_path):
    """The same fleet key is granted two licenses; a certificate of one opens not the other."""
    other_license = world.license()
    other = world.grant_file(fleet.identity, other_license)
    worker = fleet.worker()
    with pytest.raises(RuntimeNotBound, match="another grant"):
        client.release(
            replace(
                fleet.asker(worker),
                license=other_license,
                grant=GrantFile.from_json(other).grant,
            )
        )
    with pytest.raises(RuntimeNotBound, match="another license"):
        client.release(replace(fleet.asker(worker), license=other_license))


@pytest.mark.chain
def test_another_workers_certificate_is_refused(client, fleet):
    worker, thief = fleet.worker(), fleet.worker()
    stolen = fleet.asker(worker).certificate
    with pytest.raises(RuntimeNotBound, match="another worker"):
        client.release(fleet.asker(thief, certificate=stolen))


@pytest.mark.chain
def test_a_worker_without_its_certificate_or_without_the_grant_is_refused(client, fleet):
    worker = fleet.worker()
    with pytest.raises(RuntimeNotBound, match="another license or runtime"):
        client.release(fleet.asker(worker, certificate=None))
    with pytest.raises(RuntimeNotBound, match="only beside its fleet's grant"):
        client.release(fleet.asker(worker, grant=None))


@pytest.mark.chain
def test_a_granted_runtime_is_no_fleet(world, client, fleet):
    """A runtime cannot certify others: its grant names it by another hash."""
    runtime = world.runtime(fleet.license)
    own = runtime.grants()[0]
    worker = fleet.worker()
    forged = certify(
        runtime.sign,
        runtime.key,
        worker.key,
        replace(own.grant, runtime_key_hash=fleet_key_hash(runtime.key)),
        own.domain,
        workload=IMAGE,
        seconds=3600,
        now=int(time.time()),
    )
    with pytest.raises(RuntimeNotBound):
        client.release(fleet.asker(worker, certificate=forged, grant=own.grant))


@pytest.mark.chain
def test_a_fleet_key_is_no_runtime(client, fleet):
    posing = RuntimeIdentity(fleet.folder / "x.json", "", fleet.worker().use, fleet.identity.signer)
    asked = fleet.asker(fleet.worker(), certificate=None)
    with pytest.raises(RuntimeNotBound, match="another license or runtime"):
        client.release(replace(asked, identity=posing))


@pytest.mark.chain
def test_a_cancelled_grant_voids_every_worker(world, client, fleet):
    workers = [fleet.worker() for _ in range(2)]
    leases = [client.release(fleet.asker(worker))[1] for worker in workers]
    world.chain.send("holder", "LicenseLedger", "cancelGrants", fleet.license)
    for worker, lease in zip(workers, leases, strict=True):
        with pytest.raises(RuntimeNotBound, match="cancelled"):
            client.release(fleet.asker(worker))
        none, decision = client.heartbeat(worker, lease)
        assert (none, decision.reply["unload"]) == (None, True)


@pytest.mark.chain
def test_certificates_of_before_a_cancellation_stay_void_under_a_new_grant(world, client, fleet):
    worker = fleet.worker()
    old = fleet.asker(worker).certificate
    world.chain.send("holder", "LicenseLedger", "cancelGrants", fleet.license)
    fleet.regrant()
    renewed = fleet.asker(fleet.worker(worker))
    with pytest.raises(RuntimeNotBound, match="another grant"):
        client.release(replace(renewed, certificate=old))
    client.release(renewed)


@pytest.mark.chain
def test_a_fleet_that_a_stranger_granted_is_refused(world, client, tmp_path):
    fleet = Fleet(world, world.license(), tmp_path, who="rival")
    with pytest.raises(WrongHolder):
        client.release(fleet.asker(fleet.worker()))


@pytest.mark.chain
def test_fifty_workers_for_five_seats_get_exactly_five(world, fleet, tmp_path):
    fleet = Fleet(world, world.license(world.plan(seats=5)), tmp_path)
    workers = [fleet.worker() for _ in range(50)]

    def ask(worker):
        with world.broker.client() as client:
            try:
                return client.release(fleet.asker(worker))[1]
            except SeatsFull:
                return None

    with ThreadPoolExecutor(16) as pool:
        leases = [lease for lease in pool.map(ask, workers) if lease is not None]
    assert len(leases) == 5
    assert len({lease.runtime_key_hash for lease in leases}) == 5


@pytest.mark.chain
def test_one_worker_key_on_two_hosts_is_one_seat_and_one_lease(world, client, tmp_path):
    fleet = Fleet(world, world.license(world.plan(seats=1)), tmp_path)
    worker = fleet.worker()
    _, first, _ = client.release(fleet.asker(worker))
    again = fleet.worker(worker)  # a second certificate for the same key
    client.release(fleet.asker(again))
    with pytest.raises(KeyRequestRejected):
        client.heartbeat(worker, first)
    with pytest.raises(SeatsFull):
        client.release(fleet.asker(fleet.worker()))


@pytest.mark.chain
def test_a_newer_certificate_carries_a_running_lease_on(world, client, tmp_path):
    fleet = Fleet(world, world.license(), tmp_path)
    worker = fleet.worker(seconds=75)
    _, lease, _ = client.release(fleet.asker(worker))
    assert lease.grace_until - lease.issued_at < 20
    fleet.worker(worker, seconds=3600)
    later, _ = client.heartbeat(worker, lease)
    assert later.grace_until - later.issued_at > 60
    # An older one, or one that does not verify, takes nothing away again.
    held = world.broker.service.store.lease(lease.id).certificate
    worker.accept(fleet.certified(worker, seconds=70))
    still, _ = client.heartbeat(worker, later)
    assert still.grace_until - still.issued_at > 60
    assert world.broker.service.store.lease(lease.id).certificate == held


@pytest.mark.chain
def test_a_lease_ends_when_its_worker_is_certified_no_more(world, client, tmp_path):
    fleet = Fleet(world, world.license(), tmp_path)
    worker = fleet.worker(seconds=64)
    _, lease, _ = client.release(fleet.asker(worker))
    while time.time() < worker.grants()[0].certificate.not_after + 0.2:
        time.sleep(0.2)
    none, decision = client.heartbeat(worker, lease)
    assert (none, decision.reply["unload"]) == (None, True)
    assert "ended on" in decision.denial.message


@pytest.mark.chain
def test_a_bound_plan_takes_bound_workers_and_says_so_to_the_rest(world, client, tmp_path):
    fleet = Fleet(world, world.license(world.plan(floating=False)), tmp_path)
    bound, unbound = fleet.worker(), fleet.worker()
    world.chain.send(
        "holder", "LicenseLedger", "bindRuntime", fleet.license, bound.key_hash, 0, bytes(20)
    )
    client.release(fleet.asker(bound))
    with pytest.raises(RuntimeNotBound, match="keeps its seats on chain"):
        client.release(fleet.asker(unbound))


# -- the worker's host


@pytest.mark.chain
def test_a_host_accepts_only_its_own_certified_grant(fleet, tmp_path):
    worker = RuntimeIdentity.create(tmp_path / "w" / "runtime.json")
    other = RuntimeIdentity.create(tmp_path / "o" / "runtime.json")
    file = fleet.certified(worker)
    with pytest.raises(UsageError, match="another runtime"):
        other.accept(file)
    with pytest.raises(UsageError, match="another runtime"):
        worker.accept(fleet.file)
    kept = worker.accept(json.loads(json.dumps(file)))
    assert kept.certificate.workload == IMAGE
    changed = json.loads(json.dumps(file))
    changed["certificate"]["workload"] = "spiffe://example.org/x"
    with pytest.raises(SignatureInvalid):
        worker.accept(changed)
    with pytest.raises(UsageError, match="not other fleets"):
        fleet.identity.certify(
            fleet.identity.enrolment_request(), fleet.file, workload=IMAGE, seconds=3600
        )
