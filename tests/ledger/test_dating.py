"""Stamping a bundle by a real authority over HTTP, renewing it, signing for it."""

import dataclasses
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openssl_tsa
import pytest

from ledger.chain.wallet import dev_wallet
from ledger.dating import Dating, close_bundle, stamp_bundle
from ledger.errors import StoreUnavailable, TimestampInvalid, UsageError
from ledger.evidence.bundle import CUSTODY, pack, read_bundle
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import Result, Verdict, examine, verify
from ledger.ids import Digest
from ledger.remote.stamping import request_token

GOOD = Path(__file__).resolve().parents[1] / "vectors" / "evidence" / "model.evidence.zip"
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def ca():
    return openssl_tsa.root("Root")


@pytest.fixture(scope="module")
def authority(tmp_path_factory, ca):
    with openssl_tsa.Authority(tmp_path_factory.mktemp("tsa"), ca.issue("TSA")) as running:
        yield running


@pytest.fixture
def stamped(tmp_path, authority, ca):
    dating = Dating(authorities=(authority.url,), certificates=(ca.der,))
    out = tmp_path / "stamped.evidence.zip"
    return stamp_bundle(GOOD, out, dating, actor="A", now=NOW, signer=dev_wallet("auditor"))


def test_a_stamped_bundle_holds_and_its_contents_stay(stamped, ca):
    before, after = read_bundle(GOOD), read_bundle(stamped)
    assert after.contents == before.contents
    assert after.id != before.id
    report = verify(stamped)
    assert report.verdict is Verdict.CONDITIONAL
    assert report.steps[16].result is Result.NOT_CHECKED
    (token,) = report.statement["timestamps"]["tokens"]
    assert token["tsa"] == "TSA"
    assert 'by "TSA", token 1 (root "Root" 0x' in report.text()
    known = TrustRoot(tsa_roots=frozenset({Digest(bytes.fromhex(token["root"][2:]))}))
    assert verify(stamped, trust=known).steps[16].result is Result.PASS


def test_a_renewal_covers_the_token_before(stamped, tmp_path, authority, ca):
    dating = Dating(authorities=(authority.url, authority.url), certificates=(ca.der,))
    again = stamp_bundle(stamped, tmp_path / "again.zip", dating, actor="B", now=NOW)
    tokens = verify(again).statement["timestamps"]["tokens"]
    assert [token["number"] for token in tokens] == [1, 2, 3]
    assert len({token["imprint"] for token in tokens}) == 3
    bundle = read_bundle(again)
    members = {name: data for name, data in bundle.members.items() if "timestamps/1." not in name}
    assert examine(dataclasses.replace(bundle, members=members)).steps[16].result is Result.FAIL


def test_the_collector_s_signature_is_found_and_a_stranger_s_is_not_enough(stamped):
    log = read_bundle(stamped).json(CUSTODY)
    assert log[1]["signer"] == str(dev_wallet("auditor").address)
    assert "signed by" in verify(stamped).steps[17].detail


def test_what_an_entry_lists_is_what_may_stand_there(stamped, tmp_path):
    bundle = read_bundle(stamped)
    swapped = pack(bundle.subject, {**bundle.members, "certification.txt": b"x"})
    path = tmp_path / "with.zip"
    path.write_bytes(swapped)
    assert verify(path).steps[17].result is Result.FAIL


def test_an_authority_that_is_gone_costs_nothing_but_the_stamp(tmp_path, ca):
    dating = Dating(authorities=("http://127.0.0.1:9/",), certificates=(ca.der,))
    with pytest.raises(StoreUnavailable, match="does not answer"):
        stamp_bundle(GOOD, tmp_path / "none.zip", dating, actor="A")
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_not_given_is_asked_for(tmp_path, authority):
    with pytest.raises(TimestampInvalid, match="root certificate") as caught:
        stamp_bundle(GOOD, tmp_path / "x.zip", Dating(authorities=(authority.url,)), actor="A")
    assert "--tsa-root" in caught.value.hint


@pytest.mark.parametrize(
    "answer",
    [b"", b"\x30\x05\x30\x03\x02\x01\x02", b"x" * 200_000, b"\x30\x80", "replay"],
)
def test_answers_that_are_no_token_of_this_request_are_refused(answer, authority):
    imprint = Digest(b"\x07" * 32)
    if answer == "replay":  # a genuine answer to another request
        inner = authority.stamp(imprint.raw)
        status = bytes.fromhex("3003020100")
        size = len(status) + len(inner)
        answer = b"\x30\x82" + size.to_bytes(2, "big") + status + inner

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises((TimestampInvalid, StoreUnavailable)):
            request_token(f"http://127.0.0.1:{server.server_address[1]}/", imprint)
    finally:
        server.shutdown()
        server.server_close()


def test_an_address_that_is_none_is_wrong_usage():
    for url in ("tsa.example", "file:///etc/passwd", "http://"):
        with pytest.raises(UsageError):
            request_token(url, Digest(bytes(32)))


def test_a_header_without_a_proof_is_wrong_usage(tmp_path):
    with pytest.raises((UsageError, TimestampInvalid)):
        stamp_bundle(GOOD, tmp_path / "x.zip", Dating(headers=(bytes(80),)), actor="A")


def test_closing_what_is_closed_changes_nothing():
    bundle = read_bundle(GOOD)
    assert close_bundle(bundle.subject, bundle.members) == GOOD.read_bytes()
