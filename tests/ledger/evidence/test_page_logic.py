"""The page's verifier (in node) beside the library and ``verify.py``, on all that there is."""

import copy
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import page_calls
import pytest
import two_verifiers
from bundle_forgery import Forger

from ledger.canonical import canonical_json
from ledger.errors import LedgerError
from ledger.evidence import archive
from ledger.evidence.bundle import CUSTODY, contents_of, pack, parse_bundle, read_bundle
from ledger.evidence.custody import UNNAMED, append
from ledger.evidence.report import render
from ledger.evidence.verify import examine
from ledger.investigation import add_custody_entry

ROOT = Path(__file__).resolve().parents[3]
VECTORS = ROOT / "tests" / "vectors" / "evidence"
FAULTS = sorted(VECTORS.glob("*.json"))
BUNDLES = sorted(VECTORS.rglob("*.evidence.zip"))
RELEASES = sorted((VECTORS / "releases").glob("*.json"))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with page_calls.functions(tmp_path_factory.mktemp("page")) as call:
        yield call


def by_page(page, data, trust):
    """Verdict and steps as the library and the script give them, and all that the page found."""
    given = trust or {}
    for_page = {
        "blocks": given.get("blocks", []),
        "tsaRoots": given.get("tsa_roots", []),
        "collectors": given.get("collectors", []),
    }
    found = page(f"(data) => verified_(data, {json.dumps(for_page)})", data)
    astray = [of["detail"] for of in found["steps"] if "could not be made" in of["detail"]]
    assert not astray, astray
    if len(found["steps"]) == 1:
        assert found["first"] == 1
        return found["steps"][0]["code"], [], found
    steps = [(of["number"], of["name"], of["result"], of["needed"]) for of in found["steps"]]
    return found["verdict"], steps, found


def agree(page, data, trust=None):
    """What all three find; an assertion fails where they differ."""
    expected = two_verifiers.agree(data, trust)
    verdict, steps, found = by_page(page, data, trust)
    differing = [pair for pair in zip(expected[1], steps, strict=True) if pair[0] != pair[1]]
    details = {of["number"]: of["detail"] for of in found["steps"]}
    assert not differing, [(*pair, details[pair[0][0]]) for pair in differing]
    assert verdict == expected[0], found["sentence"]
    if steps:
        library, _ = two_verifiers.trusting(trust)
        report = examine(parse_bundle(data), trust=library)
        if report.holds and verdict != "does not hold":
            assert found["sentence"] == report.sentence
            assert found["statement"].encode() == canonical_json(report.statement)
            assert found["report"] == render(report.statement)
        else:
            assert found["report"] is None or not report.holds
    return found


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_all_three_end_every_step_of_every_vector_alike(page, path, forge):
    vector = json.loads(path.read_text())
    found = agree(page, forge(vector), vector.get("trust"))
    expected = vector["expect"]
    if expected.get("verdict") == "not verified":
        assert found["first"] is None
        left = [of["number"] for of in found["steps"] if of["result"] == "not checked"]
        assert expected["first"] in left
        return
    assert found["first"] == expected.get("first", 1 if "error" in expected else None)


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
def test_every_good_bundle_is_verified_once_its_block_is_named(page, path):
    data = path.read_bytes()
    block = json.loads(archive.parse(data).members["bundle.json"])["state"]["hash"]
    found = agree(page, data)
    assert found["verdict"] == "holds, given the blocks it rests on"
    assert found["report"] == read_bundle(path).member("report.txt").decode()
    assert agree(page, data, {"blocks": [block]})["verdict"] == "verified"
    assert agree(page, data, {"blocks": ["0x" + "01" * 32]})["verdict"] == "does not hold"


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.stem)
def test_receipts_of_brokers_end_every_step_alike(page, path):
    vector = json.loads(path.read_text())
    bundle = read_bundle(VECTORS / "releases" / "three.evidence.zip")
    edit = vector["edit"]
    document = holder = copy.deepcopy(bundle.json(edit["member"]))
    *above, last = edit["path"]
    for key in above:
        holder = holder[key]
    holder.pop(last, None)
    if "value" in edit:
        holder[last] = edit["value"]
    members = {**bundle.members, edit["member"]: canonical_json(document)}
    log = append(
        (),
        time="2026-11-28T13:00:00Z",
        actor="a forger",
        action="collected",
        contents=contents_of(bundle.subject, members),
        software="none",
    )
    members[CUSTODY] = canonical_json([entry.to_json() for entry in log])
    assert agree(page, pack(bundle.subject, members))["first"] == vector["expect"]["first"]


# How often each kind of forgery is tried; many times as often in `make deep`.
FORGERIES = {
    "change_document": 20,
    "change_receipt": 12,
    "change_state": 12,
    "forged_token": 16,
    "change_stamp": 8,
    "spell_document": 6,
    "change_header": 5,
    "change_log": 5,
    "change_index": 4,
    "change_kind": 3,
    "change_list_of_licenses": 3,
    "lose": 3,
    "nest_in_request": 3,
    "change_findings": 2,
    "refit_findings": 4,
}
ROUNDS = 60 if os.environ.get("DEED_DEEP") else 1
FORGED = {
    "nest_in_request": ("releases/three", "releases/one"),
    "change_stamp": ("stamped", "redacted"),
    "change_findings": ("match",),
    "refit_findings": ("match",),
}
ALL = ("model", "stamped", "redacted", "releases/three", "releases/one", "match")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_bundle_ends_every_step_alike_in_all_three(page, kind):
    for seed in range(FORGERIES[kind] * ROUNDS):
        chance = random.Random(f"page {kind} {seed}")
        name = chance.choice(FORGED.get(kind, ALL))
        forger = Forger((VECTORS / f"{name}.evidence.zip").read_bytes(), chance)
        getattr(forger, kind)()
        data = forger.close(custody=kind != "change_log", report=chance.random() < 0.7)
        try:
            agree(page, data)
        except Exception as error:
            raise AssertionError(f"forgery {kind} {seed}, {forger.told}: {error}") from error


@pytest.mark.parametrize(
    ("actor", "said"),
    [
        (UNNAMED, "somebody who is not named"),
        ("not named by me", '"not named by me"'),
        ('A "B" \\', r'"A \"B\" \\"'),
    ],
)
def test_all_three_tell_the_last_entry_of_the_log_in_the_same_words(page, tmp_path, actor, said):
    dest = tmp_path / "more.zip"
    path = VECTORS / "model.evidence.zip"
    bundle = add_custody_entry(path, dest, actor=actor, action="handed over").read_bytes()
    told = examine(parse_bundle(bundle), trust=two_verifiers.trusting()[0]).steps[17].detail
    assert told == f'2 entries, the last "handed over" by {said} (times are claimed)'
    assert agree(page, bundle)["steps"][17]["detail"] == told
    assert (
        two_verifiers.script().verify(bundle, two_verifiers.trusting()[1])["steps"][17]["detail"]
        == told
    )


def test_the_tables_of_the_page_are_this_versions():
    words = [sys.executable, str(ROOT / "scripts" / "make_verifier_tables.py"), "--check"]
    assert subprocess.run(words, check=False).returncode == 0


@pytest.mark.parametrize(
    "trust", [{"blocks": ["0x12"]}, {"contracts": {"Anchors": "x"}}, {"collectors": [""]}]
)
def test_what_a_reader_mistypes_is_not_passed_over(page, trust):
    data = (VECTORS / "model.evidence.zip").read_bytes()
    found = page(f"(data) => verified_(data, {json.dumps(trust)})", data)
    assert (found["verdict"], found["steps"]) == ("not used", [])


@pytest.mark.parametrize("data", [b"", b"PK", bytes(22), b"\x50\x4b\x05\x06" + bytes(18)])
def test_a_file_that_is_no_bundle_fails_the_first_step(page, data):
    with pytest.raises(LedgerError):
        parse_bundle(data)
    found = page("(data) => verified_(data, {})", data)
    assert (found["verdict"], found["first"], len(found["steps"])) == ("does not hold", 1, 1)
    assert found["index"] is None
