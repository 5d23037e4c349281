"""A broker's account: kills at every step, many at once, anchoring, audit, receipts, logs."""

import base64
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.broker import anchoring
from ledger.broker.anomaly import Rules
from ledger.broker.audit import Book, ChainSource, audit
from ledger.broker.client import Asker, BrokerClient
from ledger.broker.leases import Heartbeat
from ledger.broker.link import BrokerPin
from ledger.broker.service import BrokerService
from ledger.broker.store import BrokerStore
from ledger.chain.brokers import BrokerRegistry
from ledger.errors import (
    BrokerUnavailable,
    ClaimMismatch,
    InclusionProofInvalid,
    KeyRequestRejected,
    RateLimited,
    Revoked,
    SeatsFull,
    SignatureInvalid,
    UnknownRecord,
    UsageError,
)
from ledger.sealed.recipients import KemPrivateKey

pytestmark = pytest.mark.chain

DYING = Path(__file__).parents[2] / "worlds" / "dying_broker.py"
POINTS = (
    "challenge consumed", "chain read", "seat taken", "quota counted", "key wrapped",
    "reply signed", "receipt written", "committed", "on disk", "answered",
)  # fmt: skip
KEPT = {"committed", "on disk", "answered"}
# Thousands ask for one license here: what looks like an attack is what is tested.
CROWD = Rules(hosts=1 << 20, releases=1 << 20)


@pytest.fixture(scope="module")
def world(broker_world, tmp_path_factory):
    """A stack of our own: these tests stop its service, and read its whole log."""
    folder = tmp_path_factory.mktemp("account")
    chain = broker_world.Chain()
    try:
        broker = broker_world.Broker(chain, folder, rules=CROWD)
        try:
            published = broker_world.publish(chain, folder)
            made = broker_world.World(chain, broker, folder, published, broker_world.some_terms())
            made.deposit()
            chain.deployment.save(folder / "deployment.json")
            yield made
        finally:
            broker.close()
    finally:
        chain.close()


def asker(world, identity, license_id):
    ledger = world.chain.deployment.addresses["LicenseLedger"]
    granted = identity.grant_for(31337, ledger, license_id)
    return Asker(
        identity=identity,
        license=license_id,
        model=world.published.model_id,
        sealing=world.published.record.hash(),
        grant=granted.grant,
        acceptance=granted.acceptance,
    )


def source(world):
    addresses = world.chain.deployment.addresses
    return ChainSource(
        world.chain.rpc, addresses["LicenseLedger"], addresses["BrokerRegistry"], from_block=0
    )


def audited(world, book=None):
    home = world.broker.home
    return audit(
        book or Book.read(home.database),
        [home.signing.public],
        home.identity.domain,
        broker_id=world.broker.id,
        chain=source(world),
    )


def beat(world, identity, lease, sequence):
    """A signed heartbeat as it is sent."""
    domain = world.broker.home.identity.domain
    unsigned = Heartbeat(lease.id, sequence, world.broker.home.identity.audience, int(time.time()))
    return replace(unsigned, signature=identity.sign(unsigned.digest(domain))).to_json()


def results(report):
    return {each.number: each.result for each in report.findings}


# -- killed at every step


class Process:
    """The broker in a process of its own."""

    def __init__(self, world, point):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = world.folder / f"process-{self.port}.log"
        rpc = world.chain.node.rpc_url
        arguments = (world.broker.home.path, world.folder / "deployment.json", rpc, self.port)
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(DYING), *map(str, arguments), point],
                stdout=out,
                stderr=out,
                cwd=DYING.parents[2],
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                break
            time.sleep(0.05)
        home = world.broker.home
        pin = BrokerPin(world.broker.id, home.signing_key_hash, home.kem_key_hash)
        self.client = BrokerClient(f"http://127.0.0.1:{self.port}", pin=pin)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)


# All points under make deep.
QUICK = {"seat taken", "reply signed", "receipt written", "committed"}


@pytest.mark.parametrize(
    "point",
    [p if p in QUICK else pytest.param(p, marks=pytest.mark.deep) for p in POINTS],
)
def test_a_broker_killed_in_a_release_keeps_seat_and_receipt_together_or_neither(world, point):
    license_id = world.license(world.plan(seats=1, leaseTtl=3, grace=1, quota=2))
    one, two = world.runtime(license_id), world.runtime(license_id)
    before = len(Book.read(world.broker.home.database).entries)
    with Process(world, point) as dying:
        dying.client.facts()
        with pytest.raises(BrokerUnavailable):
            dying.client.release(asker(world, one, license_id))
        assert dying.process.wait(30) == -signal.SIGKILL
    began = time.time()
    book = Book.read(world.broker.home.database)
    assert len(book.entries) - before == (point in KEPT)
    assert book.tables.used.get(str(license_id), 0) == (point in KEPT)
    report = audited(world, book)
    assert {results(report)[n] for n in range(1, 9)} == {"pass"}, report.text()
    with Process(world, "none") as again:
        # The seat is held exactly when there is a receipt for it, and no longer than its lease.
        refused = False
        while time.time() < began + 30:
            try:
                again.client.release(asker(world, two, license_id))
                break
            except SeatsFull:
                refused = True
                time.sleep(0.2)
        else:
            pytest.fail("the seat is leaked")
        assert refused <= (point in KEPT)
    report = audited(world)
    assert report.holds, report.text()


def test_logs_of_a_broker_process_hold_no_secret(world):
    license_id = world.license(world.plan(seats=1))
    one, two = world.runtime(license_id), world.runtime(license_id)
    with Process(world, "none") as running:
        key, lease, _ = running.client.release(asker(world, one, license_id))
        with pytest.raises(SeatsFull):
            running.client.release(asker(world, two, license_id))
        path = f"/v1/broker/leases/{lease.id}/heartbeat"
        running.client.heartbeat(one, lease, sequence=1)
        with pytest.raises(KeyRequestRejected):
            running.client._send("POST", path, beat(world, one, lease, 1))
    home = world.broker.home
    text = running.log.read_text(errors="replace")
    assert text.strip(), "nothing was logged at all"
    for secret in (
        bytes(key), one.signer.seed, two.signer.seed,
        home.signing.ed25519_seed, home.signing.mldsa65_seed,
        bytes(home.kem.to_bytes()[2:]), bytes(home.keystore._kek.view),
    ):  # fmt: skip
        assert secret.hex() not in text
        assert base64.b64encode(secret).decode().rstrip("=") not in text
        assert repr(secret) not in text
    for line in text.splitlines():
        json.loads(line)


# -- many at once


def prepared(world, client, wanted):
    """A signed request, ready to be sent."""
    request = client._request(wanted, KemPrivateKey.generate().public, "release")
    return {"request": request.to_json(), "terms": None}


@pytest.mark.parametrize("count", [250, pytest.param(1000, marks=pytest.mark.deep)])
def test_of_so_many_requests_at_once_for_ten_seats_exactly_ten_are_granted(world, count):
    license_id = world.license(world.plan(seats=10, leaseTtl=600, grace=600))
    runtimes = [world.runtime(license_id) for _ in range(count)]
    with world.broker.client() as client:
        client.facts()

        def ask(identity):
            body = prepared(world, client, asker(world, identity, license_id))
            return client._send("POST", "/v1/broker/releases", body)

        with ThreadPoolExecutor(32) as pool:
            replies = list(pool.map(ask, runtimes))
    granted = [reply for reply in replies if reply["granted"]]
    assert len(granted) == 10
    codes = {reply["denial"]["code"] for reply in replies if not reply["granted"]}
    assert codes == {"SEATS_FULL"}
    report = audited(world)
    assert results(report)[5] == "pass", report.text()


def test_replays_of_one_request_grant_none(world):
    license_id = world.license(world.plan(seats=0))
    identity = world.runtime(license_id)
    count = 10_000 if "DEED_DEEP" in os.environ else 500
    with world.broker.client() as client:
        client.facts()
        body = prepared(world, client, asker(world, identity, license_id))
        assert client._send("POST", "/v1/broker/releases", body)["granted"]
        before = world.broker.service.store.last_receipt()

        def replay(_):
            while True:
                try:
                    reply = client._send("POST", "/v1/broker/releases", body)
                except RateLimited as error:  # a limit: the attacker comes again
                    time.sleep(error.retry_after)
                else:
                    return reply["granted"], reply["denial"]["check"]

        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(replay, range(count))) == {(False, 1)}
        assert world.broker.service.store.last_receipt() == before


def test_a_revocation_reaches_a_new_request_at_once_and_a_runtime_with_its_next_heartbeat(world):
    license_id = world.license(world.plan())
    identity = world.runtime(license_id)
    with world.broker.client() as client:
        _, lease, _ = client.release(asker(world, identity, license_id))
        world.chain.send("licensor", "LicenseLedger", "revoke", license_id, 0, bytes(32))
        with pytest.raises(Revoked):
            client.release(asker(world, identity, license_id))
        extended, decision = client.heartbeat(identity, lease)
    assert (extended, decision.reply["unload"]) == (None, True)


# -- anchoring and receipts


def registry(world):
    return BrokerRegistry(world.chain.rpc, world.chain.deployment.addresses["BrokerRegistry"])


def anchored(world, sender=None):
    store = world.broker.service.store
    return anchoring.anchor(
        store, registry(world), sender or world.chain.sender("broker"), world.broker.id
    )


def one_more(world):
    license_id = world.license(world.plan())
    with world.broker.client() as client:
        client.release(asker(world, world.runtime(license_id), license_id))


def test_anchoring_takes_every_new_receipt_once(world):
    one_more(world)
    first = anchored(world)
    assert first.last == world.broker.service.store.last_receipt()[0]
    assert anchored(world) is None
    one_more(world)
    second = anchored(world)
    assert (second.sequence, second.first, second.previous) == (
        first.sequence + 1, first.last + 1, first.root,
    )  # fmt: skip
    assert registry(world).receipts_of(world.broker.id) == (second.sequence, second.root)
    assert audited(world).holds


class Stopped(Exception):
    pass


@pytest.mark.parametrize("mined", [False, True])
def test_an_anchoring_interrupted_anywhere_goes_on_with_the_same_root(world, mined):
    one_more(world)
    real = world.chain.sender("broker")

    class Dying:
        rpc, address = real.rpc, real.address

        def keeping(self, keep):
            return self

        def send(self, *args, **options):
            if mined:
                real.send(*args, **options)
            raise Stopped

    with pytest.raises(Stopped):
        anchored(world, Dying())
    prepared_ = anchoring.anchorings(world.broker.service.store)[-1]
    one_more(world)
    done = anchored(world)
    known = {each.sequence: each for each in anchoring.anchorings(world.broker.service.store)}
    assert known[prepared_.sequence].root == prepared_.root
    assert known[prepared_.sequence].anchored
    assert done.sequence == prepared_.sequence + mined
    report = audited(world)
    assert report.holds, report.text()


def test_a_log_that_the_chain_contradicts_is_not_anchored_over(world, tmp_path):
    one_more(world)
    anchored(world)
    other = BrokerStore(tmp_path / "other.sqlite3")
    with pytest.raises(ClaimMismatch, match="did not make"):
        anchoring.anchor(other, registry(world), world.chain.sender("broker"), world.broker.id)
    other.close()


def test_a_receipt_travels_with_its_proof_and_shows_any_change(world):
    one_more(world)
    made, store, home = anchored(world), world.broker.service.store, world.broker.home
    chain = home.identity.chain_json()

    def proof(number):
        found = anchoring.receipt_proof(
            store, [home.signing.public], number, chain, world.broker.id
        )
        return json.loads(json.dumps(found))

    proven = anchoring.verify_receipt(proof(made.last))
    assert (proven.root, proven.anchoring) == (made.root, made.sequence)
    assert proven.signing_key_hash == home.signing_key_hash
    for change, error in (
        (lambda p: p["entry"]["reply"].update(granted=False), SignatureInvalid),
        (lambda p: p["entry"]["request"].update(issued_at=1), InclusionProofInvalid),
        (lambda p: p["anchor"].update(root="0x" + "11" * 32), InclusionProofInvalid),
        (lambda p: p.update(sequence=p["sequence"] + 1), ClaimMismatch),
    ):
        altered = proof(made.last)
        change(altered)
        with pytest.raises(error):
            anchoring.verify_receipt(altered)
    with pytest.raises(UnknownRecord):
        proof(10**6)
    one_more(world)
    with pytest.raises(UsageError, match="not anchored yet"):
        proof(made.last + 1)


# -- audit: what each step finds


def altered(world, tmp_path, *statements):
    """A copy of the broker's database with something changed behind its back."""
    path = tmp_path / "copy.sqlite3"
    with sqlite3.connect(world.broker.home.database) as real, sqlite3.connect(path) as copy:
        real.backup(copy)
        for statement in statements:
            assert copy.execute(statement).rowcount > 0, statement
        copy.commit()
    return Book.read(path)


@pytest.mark.parametrize(
    ("statement", "steps"),
    [
        ("DELETE FROM receipts WHERE sequence = 2", {1}),
        (("UPDATE receipts SET entry = replace(entry, '\"granted\":true', '\"granted\":false') "
         "WHERE kind = 'release'"), {2}),
        ("DELETE FROM leases WHERE sequence = 0", {7}),
        (("INSERT INTO leases SELECT randomblob(32), license, runtime_key_hash, runtime, "
         "grant_document, lease, grace_until, sequence, ended FROM leases LIMIT 1"), {7}),
        ("UPDATE usage SET used = used + 1", {7}),
        ("UPDATE leases SET grace_until = grace_until + 1", {7}),
        ("DELETE FROM receipts WHERE sequence = (SELECT max(sequence) FROM receipts)", {7, 8}),
    ],
)  # fmt: skip
def test_an_audit_finds_what_was_changed_behind_the_log(world, tmp_path, statement, steps):
    one_more(world)
    anchored(world)
    report = audited(world, altered(world, tmp_path, statement))
    assert not report.holds
    failed = {number for number, result in results(report).items() if result == "fail"}
    assert steps <= failed, report.text()


def test_an_audit_finds_a_seat_too_many(world, tmp_path):
    license_id = world.license(world.plan(seats=1))
    one, two = world.runtime(license_id), world.runtime(license_id)
    path = tmp_path / "careless"
    path.mkdir()

    class Careless(BrokerStore):
        def take_seat(self, *args, seats, **options):
            return super().take_seat(*args, seats=0, **options)

    store = Careless(path / "careless.sqlite3")
    real = world.broker.service
    for name in ("sealings", "secrets", "terms"):
        for row in real.store.rows(f"SELECT * FROM {name}"):
            store.write(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", *row)
    service = BrokerService(world.broker.home, world.broker.view, store=store)
    real_service, world.broker.service = real, service
    world.broker.unserve()
    world.broker.serve()
    try:
        with world.broker.client() as client:
            client.release(asker(world, one, license_id))
            client.release(asker(world, two, license_id))
        report = audited(world, Book.read(path / "careless.sqlite3"))
        assert results(report)[5] == "fail", report.text()
    finally:
        world.broker.unserve()
        world.broker.service = real_service
        world.broker.serve()
        store.close()
