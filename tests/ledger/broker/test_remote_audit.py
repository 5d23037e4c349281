"""A broker audited from outside, by the hashes of its log, over real HTTP and a real chain."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from ledger.broker import anchoring, remote_audit
from ledger.broker.audit import ChainSource
from ledger.broker.client import BrokerClient, BrokerPin
from ledger.broker.protocol import receipt_hash
from ledger.broker.remote_audit import SeenHead, audit_remote, signed_head, sound
from ledger.chain.brokers import BrokerRegistry
from ledger.errors import BrokerUnavailable, ManifestError, SignatureInvalid
from ledger.ids import Digest

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def stand(broker_world, tmp_path_factory):
    """A broker with receipts under two roots and some under none."""
    with broker_world.world(tmp_path_factory.mktemp("outside")) as made:
        for _ in range(2):
            for _ in range(3):
                made.deposit()
            anchor(made)
        made.deposit()
        made.deposit()
        yield made


def anchor(world):
    registry = BrokerRegistry(world.chain.rpc, world.chain.deployment.addresses["BrokerRegistry"])
    store = world.broker.service.store
    return anchoring.anchor(store, registry, world.chain.sender("broker"), world.broker.id)


def source(world):
    addresses = world.chain.deployment.addresses
    return ChainSource(
        world.chain.rpc, addresses["LicenseLedger"], addresses["BrokerRegistry"], from_block=0
    )


def audited(world, client=None, **options):
    with client or world.broker.client() as asking:
        return audit_remote(asking, broker_id=world.broker.id, chain=source(world), **options)


def results(report):
    return {each.number: each.result for each in report.findings}


@contextmanager
def changed(world, number, hash_=None):
    """The broker shows another hash for a receipt, or forgets it and what follows."""
    store = world.broker.service.store
    kept = store.rows("SELECT * FROM receipts WHERE sequence >= ? ORDER BY sequence", number)
    if hash_ is None:
        store.write("DELETE FROM receipts WHERE sequence >= ?", number)
    else:
        store.write("UPDATE receipts SET hash = ? WHERE sequence = ?", hash_, number)
    try:
        yield
    finally:
        store.write("DELETE FROM receipts WHERE sequence >= ?", number)
        for row in kept:
            store.write("INSERT INTO receipts VALUES (?, ?, ?, ?, ?)", *row)


@contextmanager
def between(world, alter):
    """A real server in the broker's place, which alters what it says of its log."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            reply = httpx.get(world.broker.url + self.path).json()
            if "/log" in self.path:
                reply = alter(self.path, reply)
            body = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = world.broker.home
    pin = BrokerPin(world.broker.id, home.signing_key_hash, home.kem_key_hash)
    try:
        yield BrokerClient(f"http://127.0.0.1:{server.server_address[1]}", pin=pin)
    finally:
        server.shutdown()
        server.server_close()


def test_an_honest_broker_passes_what_can_be_checked_from_outside(stand, monkeypatch):
    report = audited(stand)
    assert results(report) == dict.fromkeys((1, 2, 8), "pass") | dict.fromkeys(
        range(3, 8), "not checked"
    )
    assert sound(report)
    assert not report.holds  # what was not checked is not said to hold
    text = report.text()
    assert "2 roots over" in text
    assert "2 are not anchored yet" in text
    monkeypatch.setattr(remote_audit, "MAX_HASHES", 3)
    paged = audited(stand)
    assert sound(paged)
    assert "each of 3 pages" in paged.text()


def test_pages_are_bounded_and_tell_nothing_but_hashes(stand):
    url = f"{stand.broker.url}/v1/broker/log"
    page = httpx.get(url, params={"after": 1, "limit": 2}).json()
    assert page.keys() == {
        "version", "type", "audience", "time", "request", "after", "hashes", "head", "receipt",
        "signature",
    }  # fmt: skip
    assert len(page["hashes"]) == 2
    assert page["head"]["sequence"] == 9
    for wrong in ({"limit": 4097}, {"limit": -1}, {"after": -1}, {"after": "x"}):
        assert httpx.get(url, params=wrong).status_code == 422
    beyond = httpx.get(url, params={"after": 10**6}).json()
    assert beyond["hashes"] == []


def test_a_receipt_rewritten_or_cut_off_under_a_root_is_found(stand):
    with changed(stand, 3, b"\x77" * 32):
        report = audited(stand)
        assert results(report)[8] == "fail"
        assert "anchoring 1 has another root" in report.text()
    with changed(stand, 6):
        report = audited(stand)
        assert results(report)[8] == "fail"
    assert sound(audited(stand))


def test_a_rewritten_receipt_that_no_root_covers_is_found_by_an_earlier_head(stand):
    with stand.broker.client() as client:
        seen = signed_head(client, 0)
    seen = SeenHead.from_json(json.loads(json.dumps(seen.to_json()))).head
    assert sound(audited(stand, seen=seen))
    for fault in (b"\x77" * 32, None):
        with changed(stand, 9, fault):
            assert sound(audited(stand))  # by itself nobody could tell
            report = audited(stand, seen=seen)
            assert results(report)[1] == "fail"
            assert "than the one it signed at" in report.text()


def test_a_receipt_at_hand_has_its_place_in_the_log(stand):
    ((_, entry),) = stand.broker.service.store.receipts(after=8, limit=1)
    mine = {9: receipt_hash(entry)}
    assert sound(audited(stand, receipts=mine))
    with changed(stand, 9, b"\x77" * 32):
        assert results(audited(stand, receipts=mine))[1] == "fail"
    assert results(audited(stand, receipts={10: mine[9]}))[1] == "fail"


def test_a_page_that_the_broker_did_not_sign_for_this_question_is_refused(stand):
    def altered(_, page):
        page["hashes"][0] = "0x" + "77" * 32
        return page

    old = httpx.get(f"{stand.broker.url}/v1/broker/log", params={"after": 1, "limit": 2}).json()

    def unsigned(_, page):
        return {name: value for name, value in page.items() if name != "signature"}

    for alter in (altered, lambda *_: old, unsigned):
        with between(stand, alter) as client:
            report = audited(stand, client)
        assert not sound(report)
        assert results(report)[1] == "fail"
        assert results(report)[8] == "not checked"


def test_a_log_that_goes_back_or_runs_dry_between_two_pages_is_refused(stand, monkeypatch):
    monkeypatch.setattr(remote_audit, "MAX_HASHES", 3)
    store = stand.broker.service.store

    def at(number):
        """The same question answered by a broker that lost what follows a receipt."""

        def alter(path, page):
            if "after=0" in path:
                return page
            with changed(stand, number):
                return httpx.get(stand.broker.url + path).json()

        return alter

    for number, words in ((5, "went back"), (9, "went back")):
        with between(stand, at(number)) as client:
            report = audited(stand, client)
        assert results(report)[1] == "fail"
        assert words in report.text()
    assert store.last_receipt()[0] == 9


def test_a_broker_that_does_not_answer_is_not_said_to_be_wrong(stand):
    home = stand.broker.home
    pin = BrokerPin(stand.broker.id, home.signing_key_hash, home.kem_key_hash)
    with pytest.raises(BrokerUnavailable):
        audited(stand, BrokerClient("http://127.0.0.1:9", pin=pin))


def test_a_kept_head_proves_itself(stand):
    with stand.broker.client() as client:
        document = signed_head(client, 0).to_json()
    assert SeenHead.from_json(document).head.hash == Digest.parse(document["head"]["head"]["hash"])
    forged = json.loads(json.dumps(document))
    forged["head"]["head"]["sequence"] = 1
    with pytest.raises(SignatureInvalid):
        SeenHead.from_json(forged)
    with pytest.raises(ManifestError):
        SeenHead.from_json({**document, "broker": document["broker"] + 1})
    with pytest.raises(ManifestError):
        SeenHead.from_json({**document, "more": 1})
