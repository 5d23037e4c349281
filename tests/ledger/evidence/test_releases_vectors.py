"""The vectors of step 15: bundles with receipts of a real broker, and one change of one each."""

import copy
import hashlib
import json
from pathlib import Path

import pytest

from ledger.canonical import canonical_json, hash_json
from ledger.errors import ClaimMismatch, SignatureInvalid
from ledger.evidence.bundle import CUSTODY, contents_of, pack, parse_bundle, read_bundle
from ledger.evidence.custody import append
from ledger.evidence.events import topic_of
from ledger.evidence.receipts import Receipt
from ledger.evidence.release_steps import parse_receipt
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import Result, Verdict, examine

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "evidence" / "releases"


@pytest.mark.parametrize(("name", "kind"), [("three", "model"), ("one", "release")])
def test_the_bundles_with_receipts_verify(name, kind):
    bundle = read_bundle(VECTORS / f"{name}.evidence.zip")
    report = examine(bundle, trust=TrustRoot(frozenset({bundle.subject.block_hash})))
    assert report.verdict is Verdict.VERIFIED, report.text()
    assert bundle.subject.kind == kind
    assert len(report.statement["releases"]) == len(bundle.folder("releases"))


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.json")), ids=lambda path: path.stem)
def test_each_fault_fails_first_in_the_step_it_names(path, forge_receipts):
    vector = json.loads(path.read_text())
    report = examine(parse_bundle(forge_receipts(vector)))
    assert first_failed(report) == vector["expect"]["first"]


def first_failed(report):
    return next(step.number for step in report.steps if step.result is Result.FAIL)


def closed(bundle, changed):
    """The bundle with other members (None: without), closed again as a forger would."""
    members = {name: data for name, data in {**bundle.members, **changed}.items() if data}
    log = append(
        (),
        time="2026-11-28T13:00:00Z",
        actor="a forger",
        action="collected",
        contents=contents_of(bundle.subject, members),
        software="none",
    )
    members[CUSTODY] = canonical_json([entry.to_json() for entry in log])
    return examine(parse_bundle(pack(bundle.subject, members)))


def rooted(document):
    """A receipt proof whose tree is its own entry alone: its signature and anchoring are left."""
    digest = hash_json("modeldeed/receipt/1", document["entry"])
    root = "0x" + hashlib.sha256(b"\0" + digest.raw).hexdigest()
    document["anchor"] |= {"root": root, "count": 1, "index": 0, "path": []}
    return document


def test_a_reply_that_the_key_did_not_sign_is_refused_wherever_it_is_rooted():
    proof = read_bundle(VECTORS / "one.evidence.zip").json("releases/1.json")
    receipt, _, _ = parse_receipt(rooted(copy.deepcopy(proof)))
    assert receipt.granted
    forged = copy.deepcopy(proof)
    forged["entry"]["reply"]["time"] += 1
    with pytest.raises(SignatureInvalid):
        parse_receipt(rooted(forged))
    other = copy.deepcopy(proof)
    other["entry"]["reply"]["signature"]["ed25519"] = "0x" + "11" * 64
    with pytest.raises(SignatureInvalid):
        parse_receipt(rooted(other))
    asked = copy.deepcopy(proof)
    asked["entry"]["request"]["issued_at"] += 1
    with pytest.raises(ClaimMismatch):
        parse_receipt(rooted(asked))


def test_a_receipt_under_a_root_that_was_never_anchored_fails():
    bundle = read_bundle(VECTORS / "one.evidence.zip")
    elsewhere = canonical_json(rooted(bundle.json("releases/1.json")))
    report = closed(bundle, {"releases/1.json": elsewhere})
    assert first_failed(report) == 15
    assert "not the one that was anchored" in report.steps[14].detail


@pytest.mark.parametrize("event", ["BrokerKeysSet", "ReceiptsAnchored"])
def test_without_the_event_of_the_key_or_of_the_root_the_step_fails(event):
    bundle = read_bundle(VECTORS / "one.evidence.zip")
    topic = topic_of("BrokerRegistry", event).raw
    gone = {
        f"receipts/{name}": None
        for name in bundle.folder("receipts")
        if any(
            topic in log.topics
            for log in Receipt.parse(
                bytes.fromhex(bundle.json(f"receipts/{name}")["receipt"][2:])
            ).logs
        )
    }
    assert gone
    assert first_failed(closed(bundle, gone)) == 15
