"""The page in a real Chromium: a person's file, fields and answer; nothing fetched, nothing run."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from chromium_pipe import chromium

from ledger.canonical import canonical_json
from ledger.evidence.bundle import CUSTODY, pack, read_bundle
from ledger.evidence.certificates import read_certificates, to_pem
from ledger.evidence.custody import append, read_log

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "ledger" / "evidence" / "verifiers" / "verify.html"
VECTORS = ROOT / "tests" / "vectors" / "evidence"
STAMPED = VECTORS / "stamped.evidence.zip"
EVIL = "<img src=x onerror=document.title='run'><b>"


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        one.open(PAGE.as_uri())
        one.call(
            "Network.emulateNetworkConditions",
            offline=True,
            latency=0,
            downloadThroughput=0,
            uploadThroughput=0,
        )
        yield one


@pytest.fixture
def page(browser):
    """The page as it is before anything was chosen."""
    browser.load("about:blank")
    browser.events.clear()
    browser.load(PAGE.as_uri())
    yield browser
    fetched = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert set(fetched) <= {PAGE.as_uri()}
    wrong = {"Log.entryAdded", "Runtime.exceptionThrown"}
    assert [event for event in browser.events if event["method"] in wrong] == []


def text(page, name):
    return page.value(f"document.getElementById('{name}').innerText")


def verdict(page):
    page.wait("!document.getElementById('answer').hidden")
    return page.value("document.getElementById('verdict').dataset.verdict")


def enter(page, name, value):
    page.value(f"document.getElementById('{name}').value = {json.dumps(value)}; 0")


def again(page):
    page.value("document.getElementById('answer').hidden = true; 0")
    page.value("document.getElementById('again').click()")


def test_the_file_is_what_its_parts_make():
    words = [sys.executable, str(ROOT / "scripts" / "make_verifier_page.py"), "--check"]
    assert subprocess.run(words, check=False).returncode == 0


def test_a_dropped_bundle_holds_and_a_block_from_elsewhere_verifies_it(page):
    page.drop(STAMPED)
    assert verdict(page) == "holds, given the blocks it rests on"
    bundle = read_bundle(STAMPED)
    assert str(bundle.subject.block_hash) in text(page, "verdict")
    assert text(page, "trusted").startswith("Trusted from outside: nothing yet.")
    report = page.value("document.getElementById('report').textContent")
    assert report == bundle.member("report.txt").decode()
    assert page.value("document.querySelectorAll('#steps li').length") == 20
    enter(page, "blocks", str(bundle.subject.block_hash))
    again(page)
    assert verdict(page) == "verified"
    assert page.value("document.activeElement.id") == "verdict"
    enter(page, "blocks", "0x" + "01" * 32)
    again(page)
    assert verdict(page) == "does not hold"
    assert "step 4 (trust)" in text(page, "verdict")
    enter(page, "blocks", "0x12")
    again(page)
    page.wait("document.getElementById('progress').innerText.startsWith('Nothing was checked')")
    assert page.value("document.getElementById('answer').hidden")


def test_a_root_certificate_in_a_file_makes_the_time_stamp_count(page, tmp_path):
    root = read_certificates(read_bundle(STAMPED).member("timestamps/1.pem"))[-1]
    pem = tmp_path / "root.pem"
    pem.write_bytes(b"what stands between blocks\n" + to_pem("CERTIFICATE", [root.raw]))
    page.choose("#roots", pem)
    page.wait("document.getElementById('roots-count').innerText.startsWith('1 root')")
    page.choose("#file", STAMPED)
    assert verdict(page) == "holds, given the blocks it rests on"
    assert "17. Time-stamps: pass" in text(page, "steps")


def test_a_changed_bundle_is_refused_by_the_step_that_finds_it(page, forge, tmp_path):
    path = tmp_path / "changed.evidence.zip"
    path.write_bytes(forge(json.loads((VECTORS / "storage-value-other.json").read_text())))
    page.choose("#file", path)
    assert verdict(page) == "does not hold"
    assert "step 6 (storage)" in text(page, "verdict")
    assert page.value("document.querySelector('#steps li.fail details').open")
    assert "Do not rely on this file" in text(page, "verdict")
    assert "Model  " not in text(page, "report")


def results(page):
    page.wait("!document.getElementById('with-suspect').hidden")
    words = "[...document.querySelectorAll('#checks .word')].map((of) => of.textContent)"
    return page.value(words)


def test_a_suspect_file_beside_the_bundle_is_looked_into(page, tmp_path):
    bundle, suspect = VECTORS / "match.evidence.zip", VECTORS / "match.suspect.safetensors"
    page.drop(suspect, bundle)
    assert results(page) == ["pass", "pass", "not checked"]
    assert "2 are found again" in page.value("document.getElementById('checks').textContent")
    assert "was read" in text(page, "suspect-chosen")
    other = tmp_path / f"{EVIL.replace('/', '')}.safetensors"
    other.write_bytes(suspect.read_bytes()[:-1] + b"\x00")
    page.choose("#suspect", other)
    assert verdict(page) == "holds, given the blocks it rests on"
    page.wait("document.querySelectorAll('#checks li').length === 1")
    assert results(page) == ["FAIL"]
    assert page.value("document.querySelectorAll('main img, main b').length") == 0
    above = text(page, "suspect-verdict")
    assert "is not the file that was examined" in above
    for path in (other, suspect):
        assert f"0x{hashlib.sha256(path.read_bytes()).hexdigest()}" in above
    # Nor is the bundle's own verdict green, even where its block is named.
    block = str(read_bundle(bundle).subject.block_hash)
    enter(page, "blocks", f"--block {block}, 0x{'12' * 32}")
    again(page)
    page.wait("!document.getElementById('suspect-verdict').hidden")
    assert verdict(page) == "verified"
    assert page.value("document.getElementById('verdict').className") == "verdict open"
    assert text(page, "verdict").startswith(
        "The bundle itself, without the suspect file: Verified."
    )
    enter(page, "blocks", f"{block}\n0x12zz")
    again(page)
    page.wait("document.getElementById('progress').textContent.includes('0x12zz is no block hash')")
    enter(page, "blocks", block)
    page.choose("#suspect", suspect)
    page.wait("document.querySelectorAll('#checks li').length === 3")
    assert page.value("document.getElementById('suspect-verdict').hidden")
    assert page.value("document.getElementById('verdict').className") == "verdict verified"
    page.drop(STAMPED)
    page.wait("document.getElementById('checks').textContent.includes('no findings')")


def test_until_the_suspect_was_read_the_verdict_is_the_bundles_alone(page):
    bundle, suspect = VECTORS / "match.evidence.zip", VECTORS / "match.suspect.safetensors"
    enter(page, "blocks", str(read_bundle(bundle).subject.block_hash))
    page.value(
        "const slice = File.prototype.slice;"
        "const held = new Promise((go) => { window.go = go; });"
        "File.prototype.slice = function (...at) {"
        " return { arrayBuffer: () => held.then(() => slice.apply(this, at).arrayBuffer()) }; }; 0"
    )
    page.drop(suspect, bundle)
    assert verdict(page) == "verified"
    alone = "The bundle itself, without the suspect file: Verified."
    assert text(page, "verdict").startswith(alone)
    assert page.value("document.getElementById('verdict').className") == "verdict open"
    page.value("window.go(); 0")
    assert results(page) == ["pass", "pass", "not checked"]
    assert alone not in text(page, "verdict")
    assert page.value("document.getElementById('verdict').className") == "verdict verified"


def test_what_strangers_wrote_is_shown_as_text(page, tmp_path):
    bundle = read_bundle(STAMPED)
    log = append(
        read_log(bundle.json(CUSTODY), bundle.computed_contents),
        time="2026-11-28T13:00:00Z",
        actor=EVIL,
        action="received",
        contents=bundle.computed_contents,
        software="none",
    )
    members = {**bundle.members, CUSTODY: canonical_json([entry.to_json() for entry in log])}
    path = tmp_path / f"{EVIL.replace('/', '')}\u202egpj.zip"
    path.write_bytes(pack(bundle.subject, members, bundle.left_out))
    page.choose("#file", path)
    assert verdict(page) == "holds, given the blocks it rests on"
    page.value("document.querySelectorAll('details').forEach((of) => { of.open = true; }); 0")
    assert EVIL in text(page, "steps")
    assert EVIL in text(page, "chosen")
    assert "\\u202egpj" in text(page, "chosen")
    assert page.value("document.querySelectorAll('main img, main b').length") == 0
    assert page.value("document.title") == "modeldeed: check a file of evidence"


def test_files_that_are_no_bundle_get_a_plain_sentence(page, tmp_path):
    empty, other = tmp_path / "empty.zip", tmp_path / "other.pdf"
    large, folder = tmp_path / "large.zip", tmp_path / "folder"
    empty.touch()
    other.write_bytes(b"%PDF-1.7 not a bundle at all")
    folder.mkdir()
    with large.open("wb") as file:
        file.truncate(300 << 20)
    for dropped, said in (
        ([empty], "is empty"),
        ([large], "more than a bundle can have"),
        ([folder], "A folder was dropped"),
        ([empty, other], "Several files were dropped"),
    ):
        page.drop(*dropped)
        page.wait(f"document.getElementById('chosen').innerText.includes({json.dumps(said)})")
        assert page.value("document.getElementById('answer').hidden")
    page.drop(other)
    assert verdict(page) == "does not hold"
    assert "no valid evidence bundle" in text(page, "verdict")


def test_the_page_is_usable_without_a_mouse_and_prints(page):
    page.choose("#file", STAMPED)
    verdict(page)
    unnamed = """[...document.querySelectorAll('input, textarea, button')].filter((of) =>
      !(of.labels?.length ? of.labels[0].textContent : of.textContent).trim()).map((of) => of.id)"""
    assert page.value(unnamed) == []
    assert page.value("document.querySelectorAll('[role=status]').length") >= 2
    assert page.call("Page.printToPDF")["data"][:5] == "JVBER"  # %PDF
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=380,
        height=800,
        deviceScaleFactor=1,
        mobile=True,
    )
    wide = "document.documentElement.scrollWidth"
    assert page.value(wide) <= 380
    page.call("Emulation.clearDeviceMetricsOverride")
