import json
from dataclasses import replace

import pytest

from ledger.evidence.releases import CONTRACTS, identify, known_code, shipped_code
from ledger.evidence.trust import TrustRoot
from ledger.evidence.verify import Verdict, verify
from ledger.ids import Address, Digest


def test_the_vectors_were_made_with_the_contracts_that_ship(members):
    for name in CONTRACTS:
        known = identify(name, members[f"code/{name}.bin"])
        assert known is not None, f"{name} changed: run scripts/make_vectors_evidence.py"


def test_deployed_code_is_recognised_whatever_its_constructor_fixed(members):
    for name in CONTRACTS:
        assert identify(name, members[f"code/{name}.bin"]) == shipped_code(name)


def test_code_with_one_byte_changed_is_not_recognised(members):
    code = bytearray(members["code/ModelRegistry.bin"])
    code[100] ^= 1
    assert identify("ModelRegistry", bytes(code)) is None


def test_one_contract_is_never_taken_for_another(members):
    assert identify("Anchors", members["code/LicenseLedger.bin"]) is None


def test_the_immutables_of_the_registry_name_its_anchors_and_itself(members):
    index = json.loads(members["bundle.json"])
    code = members["code/ModelRegistry.bin"]
    values = shipped_code("ModelRegistry").values(code)
    for name in ("Anchors", "ModelRegistry"):
        address = bytes.fromhex(index["contracts"][name]["address"][2:])
        assert address.rjust(32, b"\0") in values


def test_unknown_code_is_not_checked_rather_than_trusted(bundle_path, monkeypatch):
    """As a verifier older than the contracts would see it."""
    monkeypatch.setattr("ledger.evidence.releases.known_code", lambda: known_code()[:1])
    report = verify(bundle_path)
    assert report.verdict is Verdict.INCOMPLETE
    assert not report.holds
    assert "step 4 (trust), 5 (contracts) could not be checked" in report.sentence


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_contract_is_known_in_at_least_the_version_shipped(name):
    assert any(code.contract == name for code in known_code())


def test_releases_that_share_code_are_told_apart_by_address(members, monkeypatch):
    """As after a release that changed only what the registry is created with."""
    code, ours = members["code/ModelRegistry.bin"], shipped_code("ModelRegistry")
    earlier = replace(ours, release="0.0.9", init_code_hash=Digest(b"\x01" * 32))
    monkeypatch.setattr("ledger.evidence.releases.known_code", lambda: (ours, earlier))
    assert identify("ModelRegistry", code, earlier.address) == earlier
    assert identify("ModelRegistry", code, ours.address) == ours
    assert identify("ModelRegistry", code, Address(b"\x07" * 20)) == ours


def test_a_contract_made_by_other_creation_code_counts_only_if_the_reader_names_it(
    bundle_path, members, monkeypatch
):
    """The same bundle, as it would look had someone's own creation code made the registry."""
    address = Address.parse(
        json.loads(members["bundle.json"])["contracts"]["ModelRegistry"]["address"]
    )
    other = [
        replace(of, init_code_hash=Digest(b"\x01" * 32)) if of.contract == "ModelRegistry" else of
        for of in known_code()
    ]
    monkeypatch.setattr("ledger.evidence.releases.known_code", lambda: tuple(other))
    blocks = frozenset(block for _, block in verify(bundle_path).assumed)
    report = verify(bundle_path, trust=TrustRoot(blocks))
    assert report.verdict is Verdict.INCOMPLETE
    assert not report.holds
    assert report.sentence == "not verified: step 5 (contracts) could not be checked"
    named = verify(bundle_path, trust=TrustRoot(blocks, {"ModelRegistry": address}))
    assert named.verdict is Verdict.VERIFIED
    assert "ModelRegistry at addresses that you named" in named.steps[4].detail
    elsewhere = TrustRoot(blocks, {"Anchors": Address(b"\x07" * 20)})
    assert verify(bundle_path, trust=elsewhere).verdict is Verdict.BROKEN
