"""What ``deed evidence verify`` answers: a yes is said only where nothing is left to assume."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import openssl_tsa
import pytest
from two_verifiers import SCRIPT

from ledger.evidence.bundle import pack, read_bundle
from ledger.evidence.releases import known_code
from ledger.evidence.verify import Verdict
from ledger.ids import Digest

BUNDLE = Path(__file__).resolve().parents[2] / "vectors" / "evidence" / "model.evidence.zip"


@pytest.fixture
def block(deed):
    return deed("evidence", "verify", BUNDLE, "--json").json["assumed"][0]["hash"]


def test_a_bundle_that_rests_on_its_own_block_is_no_yes(deed, block):
    ran = deed("evidence", "verify", BUNDLE, "--json")
    assert ran.code == 3
    assert ran.json["verdict"] == Verdict.CONDITIONAL
    assert f"hint: give --block {block} " in ran.err


def test_naming_the_block_makes_it_a_yes(deed, block):
    ran = deed("evidence", "verify", BUNDLE, "--block", block)
    assert ran.code == 0
    assert "\nverified\n" in ran.out
    assert ran.err == ""


def test_naming_another_block_is_a_no(deed):
    ran = deed("evidence", "verify", BUNDLE, "--block", "0x" + "11" * 32)
    assert ran.code == 1
    assert "does not hold: step 4 (trust) failed" in ran.out


def test_contracts_made_by_other_creation_code_are_a_no_until_all_are_named(
    deed, block, monkeypatch
):
    others = tuple(replace(of, init_code_hash=Digest(b"\1" * 32)) for of in known_code())
    monkeypatch.setattr("ledger.evidence.releases.known_code", lambda: others)
    words = ["evidence", "verify", BUNDLE, "--block", block]
    ran = deed(*words, "--json")
    assert ran.code == 1
    assert ran.json["verdict"] == Verdict.INCOMPLETE
    assert ran.json["statement"] is None
    at = deed("evidence", "show", BUNDLE, "--json").json["contracts"]
    for name in ("Anchors", "ModelRegistry"):
        words += ["--contract", f"{name}={at[name]['address']}"]
    assert deed(*words).code == 1
    assert deed(*words, "--contract", f"LicenseLedger={at['LicenseLedger']['address']}").code == 0


@pytest.mark.parametrize(
    "given",
    [
        ["ModelRegistry"],
        ["Registry=0x" + "11" * 20],
        ["ModelRegistry=0x11"],
        ["ModelRegistry=0x" + "11" * 20, "ModelRegistry=0x" + "22" * 20],
    ],
)
def test_a_contract_that_is_not_named_with_its_address_is_wrong_usage(deed, given):
    words = [word for text in given for word in ("--contract", text)]
    ran = deed("evidence", "verify", BUNDLE, *words, "--json")
    assert ran.code == 2
    assert json.loads(ran.out)["error"]["exit"] == 2


STAMPED = BUNDLE.with_name("stamped.evidence.zip")


def test_a_root_certificate_and_a_collector_are_what_a_reader_brings(deed, block, tmp_path):
    pem = read_bundle(STAMPED).members["timestamps/1.pem"]
    known = tmp_path / "root.pem"
    known.write_bytes(b"-----BEGIN" + pem.rpartition(b"-----BEGIN")[2])
    words = ["evidence", "verify", STAMPED, "--block", block, "--json"]
    ran = deed(*words, "--tsa-root", known)
    assert ran.code == 0
    assert ran.json["steps"][16]["result"] == "pass"
    other = tmp_path / "other.pem"
    other.write_bytes(openssl_tsa.root("Another").pem)
    ran = deed(*words, "--tsa-root", other)
    assert ran.code == 1
    assert ran.json["steps"][16]["result"] == "fail"
    signer = read_bundle(STAMPED).json("custody.json")[1]["signer"]
    assert deed(*words, "--collector", signer).code == 0
    assert deed(*words, "--collector", "0x" + "11" * 20).code == 1
    assert deed(*words, "--tsa-root", BUNDLE).code == 2


def test_stamping_by_an_authority_and_logging_a_suspect(deed, tmp_path):
    ca = openssl_tsa.root("Root")
    (tmp_path / "root.pem").write_bytes(ca.pem)
    suspect = tmp_path / "found.bin"
    suspect.write_bytes(b"abc")
    out = tmp_path / "out.zip"
    with openssl_tsa.Authority(tmp_path / "tsa", ca.issue("TSA")) as tsa:
        ran = deed(
            *("evidence", "stamp", BUNDLE, "--tsa", tsa.url, "--tsa-root", tmp_path / "root.pem"),
            *("--action", "received", "--suspect", suspect, "--out", out, "--json"),
        )
    assert ran.code == 0, ran.err
    assert ran.json["tokens"] == 1
    log = read_bundle(out).json("custody.json")
    assert log[1]["action"] == "received"
    assert log[1]["note"].startswith("suspect found.bin, 3 bytes, SHA-256 0xba7816bf")
    assert deed("evidence", "verify", out).code == 3


# -- redact


def test_a_redacted_copy_verifies_and_names_what_it_leaves_out(deed, block, tmp_path):
    dest = tmp_path / "less.evidence.zip"
    words = ["evidence", "redact", BUNDLE, "--withhold", "fingerprint", "--out", dest]
    ran = deed(*words, "--actor", "counsel", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["withheld"] == ["fingerprint.json"]
    seen = deed("evidence", "verify", dest, "--block", block, "--json")
    assert seen.code == 0
    assert seen.json["statement"]["withheld"] == ["fingerprint.json"]
    again = deed(*words)
    assert again.code == 2
    assert "exists" in again.err


@pytest.mark.parametrize("name", ["claim", "headers/16.rlp", "match", "nonsense"])
def test_what_must_stay_or_is_not_there_cannot_be_withheld(deed, tmp_path, name):
    dest = tmp_path / "less.evidence.zip"
    ran = deed("evidence", "redact", BUNDLE, "--withhold", name, "--out", dest)
    assert ran.code == 2
    assert "hint" in ran.err
    assert not dest.exists()


def test_only_one_licenses_card_stays(deed, tmp_path):
    dest = tmp_path / "less.evidence.zip"
    ran = deed("evidence", "redact", BUNDLE, "--license", "1.1", "--out", dest)
    assert ran.code == 2  # it is the only card: nothing would be withheld
    assert "nothing is to be withheld" in ran.err


# -- restore


def test_what_was_withheld_is_put_back_by_whoever_has_the_bytes(deed, block, tmp_path):
    less, whole = tmp_path / "less.evidence.zip", tmp_path / "whole.evidence.zip"
    words = ["evidence", "redact", BUNDLE, "--withhold", "fingerprint", "--withhold", "terms"]
    assert deed(*words, "--out", less).code == 0
    bundle = read_bundle(BUNDLE)
    given = []
    for name in read_bundle(less).withheld:
        given.append(tmp_path / f"{len(given)}.bin")  # its name says nothing
        given[-1].write_bytes(bundle.members[name])
    other = tmp_path / "other"
    other.write_bytes(b"{}")
    ran = deed("evidence", "restore", less, *given, other, "--out", whole)
    assert ran.code == 1
    assert f"{other}: " in ran.err
    assert not whole.exists()
    ran = deed("evidence", "restore", less, *given, "--out", whole, "--json")
    assert ran.code == 0, ran.err
    assert set(ran.json["restored"]) == read_bundle(less).withheld
    made = read_bundle(whole)
    assert (made.contents, made.withheld) == (bundle.contents, frozenset())
    assert made.members["report.json"] == bundle.members["report.json"]
    assert [of["action"] for of in made.json("custody.json")] == [
        *("collected", "redacted", "restored")
    ]
    assert deed("evidence", "verify", whole, "--block", block).code == 0
    assert deed("evidence", "restore", less, *given, "--out", whole).code == 2  # it exists
    for wrong in (tmp_path, tmp_path / "none"):
        assert deed("evidence", "restore", less, wrong, "--out", tmp_path / "x").code == 2
    assert deed("evidence", "restore", BUNDLE, given[0], "--out", tmp_path / "x").code == 1
    assert not (tmp_path / "x").exists()


def test_a_disk_that_is_full_leaves_nothing_half_written(deed, tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    dest = tmp_path / "less.evidence.zip"
    ran = deed("evidence", "redact", BUNDLE, "--withhold", "fingerprint", "--out", dest)
    assert ran.code == 3
    assert f"{dest}: no space left" in ran.err
    assert not list(tmp_path.glob("*less*"))


# -- what is no bundle


@pytest.mark.parametrize("data", [b"", b"PK", b"%PDF-1.7\n", BUNDLE.read_bytes()[:-1]])
def test_a_file_that_is_no_bundle_fails_step_1_as_the_script_says(deed, tmp_path, data):
    file = tmp_path / "found.zip"
    file.write_bytes(data)
    ran = deed("evidence", "verify", file, "--json")
    alone = subprocess.run(
        [sys.executable, str(SCRIPT), str(file), "--json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    told = json.loads(alone.stdout)
    assert ran.code == alone.returncode == 1
    assert ran.json["error"]["code"] == told["error"]["code"]
    for key in ("verdict", "sentence", "holds", "statement", "assumed"):
        assert ran.json[key] == told[key]
    assert [of["result"] for of in ran.json["steps"]] == ["fail"]
    plain = deed("evidence", "verify", file)
    assert plain.code == 1
    assert plain.out.startswith("(1) form: fail\n")


def test_a_file_that_cannot_be_read_is_wrong_usage_as_the_script_says(deed, tmp_path):
    for path in (tmp_path, tmp_path / "none.zip"):
        alone = subprocess.run(
            [sys.executable, str(SCRIPT), str(path)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert deed("evidence", "verify", path).code == alone.returncode == 2
    assert deed("evidence", "verify", "/dev/null").code == 1


def test_the_first_line_says_what_the_reader_brought_and_no_more(deed, tmp_path):
    members = dict(read_bundle(BUNDLE).members)
    del members["headers/16.rlp"]
    headless = tmp_path / "headless.zip"
    headless.write_bytes(pack(read_bundle(BUNDLE).subject, members))
    ran = deed("evidence", "verify", headless)
    assert ran.out.startswith("Trusted from outside: nothing yet.\nBundle ")
    account = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    ran = deed("evidence", "verify", BUNDLE, "--collector", account)
    assert ran.out.startswith(f"Trusted from outside: collector {account}.\nTaken from the bundle")


@pytest.mark.parametrize(
    "words",
    [
        ["--contract", "Foo=0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],
        ["--contract", "Anchors"],
        ["--contract", f"Anchors=0x{'11' * 20}", "--contract", f"Anchors=0x{'22' * 20}"],
        ["--tsa-root", "none.pem"],
        ["--tsa-root", "."],
        ["--tsa-root", "cut.pem"],
        ["--tsa-root", "text.pem"],
        ["--block", "0x12"],
        ["--collector", "0x12"],
        ["--nonsense"],
    ],
)
def test_what_a_reader_brings_wrongly_is_wrong_usage_in_both(deed, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    begin, end = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"
    (tmp_path / "cut.pem").write_text(f"{begin}AAA\n{end}")
    (tmp_path / "text.pem").write_text("no certificate\n")
    alone = subprocess.run(
        [sys.executable, str(SCRIPT), str(BUNDLE), *words],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (deed("evidence", "verify", BUNDLE, *words).code, alone.returncode) == (2, 2)


def test_a_root_in_der_is_one_in_both(deed, block, tmp_path):
    pem = read_bundle(STAMPED).members["timestamps/1.pem"].decode()
    known = tmp_path / "root.der"
    known.write_bytes(base64.b64decode("".join(pem.split("-----")[-3].split())))
    words = [str(STAMPED), "--block", block, "--tsa-root", str(known)]
    alone = subprocess.run(
        [sys.executable, str(SCRIPT), *words, "--json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert json.loads(alone.stdout)["steps"][16]["result"] == "pass"
    ran = deed("evidence", "verify", *words, "--json")
    assert ran.json["steps"][16]["result"] == "pass"
    assert ran.code == alone.returncode == 0


def test_a_suspect_that_is_not_there_is_wrong_usage_and_not_another_file(deed, tmp_path):
    bundle = BUNDLE.with_name("match.evidence.zip")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("none", "empty", "pipe"):
        ran = deed("evidence", "verify", bundle, "--suspect", tmp_path / name)
        assert (ran.code, ran.out) == (2, "")
        assert name in ran.err


def test_another_suspect_is_told_beside_the_one_examined(deed, tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"x")
    ran = deed("evidence", "verify", BUNDLE.with_name("match.evidence.zip"), "--suspect", other)
    assert ran.code == 1
    for path in (other, BUNDLE.with_name("match.suspect.safetensors")):
        data = path.read_bytes()
        said = f"0x{hashlib.sha256(data).hexdigest()} ({len(data)} bytes)"
        assert said in " ".join(ran.out.split())
