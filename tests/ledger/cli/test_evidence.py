"""What ``deed evidence verify`` answers: a yes is said only where nothing is left to assume."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

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
