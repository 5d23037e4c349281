"""Verification as a user meets it: what holds, and which step names each fault."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.canonical import canonical_json
from ledger.errors import FormatError, LedgerError
from ledger.evidence.bundle import parse_bundle
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import STEPS, Result, Verdict, examine, verify
from ledger.fingerprint.exact import Fingerprint, _assemble
from ledger.ids import Address, Digest

FAULTS = sorted((Path(__file__).resolve().parents[2] / "vectors" / "evidence").glob("*.json"))


def state_hash(path):
    return verify(path).assumed[0][1]


def test_a_bundle_holds_given_that_its_newest_block_is_canonical(bundle_path):
    report = verify(bundle_path)
    assert report.verdict is Verdict.CONDITIONAL
    assert report.holds
    number, block = report.assumed[0]
    assert report.sentence == f"holds, given that block {number} {block} belongs to chain 31337"


def test_naming_that_block_makes_it_verified(bundle_path):
    report = verify(bundle_path, trust=TrustRoot(frozenset({state_hash(bundle_path)})))
    assert report.verdict is Verdict.VERIFIED
    assert report.assumed == ()
    assert all(step.result is Result.PASS or not step.needed for step in report.steps)


def test_naming_other_blocks_only_does_not_hold(bundle_path):
    report = verify(bundle_path, trust=TrustRoot(frozenset({Digest(b"\x01" * 32)})))
    assert report.verdict is Verdict.BROKEN
    assert "step 4 (trust)" in report.sentence


def test_naming_another_contract_address_does_not_hold(bundle_path):
    trust = TrustRoot(
        frozenset({state_hash(bundle_path)}), {"ModelRegistry": Address(b"\x01" * 20)}
    )
    assert "step 4 (trust)" in verify(bundle_path, trust=trust).sentence


def test_the_first_lines_say_what_is_trusted_and_that_a_test_network_proves_nothing(bundle_path):
    lines = verify(bundle_path).text().splitlines()
    assert lines[0] == "Trusted from outside: nothing yet."
    assert lines[1].startswith("Taken from the bundle, not from elsewhere: block ")
    assert lines[3] == "test network: no evidentiary value."


def test_every_step_is_numbered_and_says_what_it_found(bundle_path):
    report = verify(bundle_path)
    assert [step.number for step in report.steps] == list(range(1, len(STEPS) + 1))
    assert all(step.detail for step in report.steps)
    assert json.loads(json.dumps(report.to_json()))["verdict"] == report.verdict


def test_the_statement_tells_the_story_that_happened(bundle_path):
    told = verify(bundle_path).statement
    assert told["title"]["committed"]
    assert len(told["title"]["transfers"]) == 1
    assert told["title"]["held_by"] != told["title"]["registered_by"]
    assert [(of["id"], of["standing"]) for of in told["licenses"]] == [
        ("1.1", "revoked"),
        ("1.2", "suspended"),
    ]
    assert len(told["rivals"]) == 1
    anchored, registered, stood = [entry["not_later_than"] for entry in told["times"]]
    assert anchored < registered < stood


def trust_of(vector):
    given = vector.get("trust", {})
    return TrustRoot(
        blocks=frozenset(Digest.parse(text) for text in given.get("blocks", ())),
        tsa_roots=frozenset(Digest.parse(text) for text in given.get("tsa_roots", ())),
        collectors=frozenset(Address.parse(text) for text in given.get("collectors", ())),
    )


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_each_fault_is_refused_and_its_step_named(path, forge):
    vector = json.loads(path.read_text())
    expect = vector["expect"]
    data = forge(vector)
    if "error" in expect:
        with pytest.raises(LedgerError) as caught:
            parse_bundle(data)
        assert caught.value.code == expect["error"]
        return
    report = examine(parse_bundle(data), trust=trust_of(vector))
    assert report.verdict == expect["verdict"]
    if "first" not in expect:  # a change that is no fault, or what a reader knows
        assert report.holds
        return
    assert not report.holds
    failed = Result.NOT_CHECKED if report.verdict is Verdict.INCOMPLETE else Result.FAIL
    first = next(of for of in report.steps if of.result is failed and of.needed and of.number != 4)
    assert first.number == expect["first"], first


def test_a_consistent_fingerprint_of_fewer_tensors_is_not_the_claimed_one(members, forge):
    """The forger recomputes the roots, so only the claim can tell."""
    whole = Fingerprint.from_json(json.loads(members["fingerprint.json"]))
    fewer = canonical_json(_assemble(whole.level, whole.tensors[:1]).to_json())
    edit = {"op": "add", "member": "fingerprint.json", "hex": fewer.hex()}
    report = examine(parse_bundle(forge({"edit": [edit], "reseal": True})))
    assert report.verdict is Verdict.BROKEN
    assert report.steps[7].detail == "the tensors listed are not the ones claimed"


def test_forging_nothing_still_holds(forge):
    assert examine(parse_bundle(forge({"edit": [], "reseal": True}))).holds


def refused(data):
    try:
        return not examine(parse_bundle(data)).holds
    except FormatError:
        return True


def test_a_flipped_bit_in_any_member_or_in_the_archive_is_caught(bundle_bytes, members):
    chosen = random.Random(2026)
    places = [len(bundle_bytes) - 1 - chosen.randrange(4000) for _ in range(40)]  # the directory
    for name, content in members.items():
        at = bundle_bytes.index(name.encode() + content) + len(name)
        places += [at, at + len(content) - 1, at + chosen.randrange(len(content))]
        places += [at - len(name) - chosen.randrange(1, 30)]  # its local header
    for place in places:
        damaged = bytearray(bundle_bytes)
        damaged[place] ^= 1 << chosen.randrange(8)
        assert refused(bytes(damaged)), f"byte {place}"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_changed_inserted_or_removed_stretch_of_bytes_is_caught(bundle_bytes, data):
    at = data.draw(st.integers(0, len(bundle_bytes) - 1))
    length = data.draw(st.integers(0, 64))
    new = data.draw(st.binary(max_size=64))
    changed = bundle_bytes[:at] + new + bundle_bytes[at + length :]
    assert changed == bundle_bytes or refused(changed)


def test_verification_opens_no_socket_and_needs_no_chain_package(bundle_path):
    """A fresh interpreter in which sockets, web3 and eth_account cannot be used."""
    program = (
        "import sys, socket\n"
        "def no(*_a, **_k): raise AssertionError('a socket was opened')\n"
        "socket.socket.connect = no\n"
        "for name in ('web3', 'eth_account', 'httpx', 'fastapi', 'sqlalchemy', 'torch'):\n"
        "    sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from ledger.evidence.verify import verify\n"
        "print(verify(Path(sys.argv[1])).verdict)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(bundle_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == Verdict.CONDITIONAL, done.stderr
