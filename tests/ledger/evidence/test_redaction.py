"""Members left out and put back: who did it can be signed, and what is proved stays proved."""

from pathlib import Path

import pytest
from two_verifiers import agree

from ledger.chain.wallet import dev_wallet
from ledger.errors import ClaimMismatch
from ledger.evidence.bundle import read_bundle
from ledger.investigation import redact_evidence, restore_evidence

BUNDLE = Path(__file__).resolve().parents[2] / "vectors" / "evidence" / "stamped.evidence.zip"
NAMES = ("fingerprint.json",)


def test_the_entry_of_whoever_withholds_or_puts_back_is_signed_like_any_other(tmp_path):
    signer = dev_wallet("auditor")
    less = redact_evidence(BUNDLE, tmp_path / "less.zip", NAMES, actor="counsel", signer=signer)
    given = [read_bundle(BUNDLE).members[name] for name in NAMES]
    whole = restore_evidence(less, tmp_path / "whole.zip", given, actor="court", signer=signer)
    log = read_bundle(whole).json("custody.json")
    assert [of.get("signer") for of in log[-2:]] == [str(signer.address)] * 2
    for path in (less, whole):
        assert agree(path.read_bytes())[0] == "holds, given the blocks it rests on"
    assert read_bundle(whole).contents == read_bundle(BUNDLE).contents


def test_bytes_that_are_of_no_withheld_member_are_named_and_nothing_is_written(tmp_path):
    less = redact_evidence(BUNDLE, tmp_path / "less.zip", NAMES, actor="counsel")
    data = read_bundle(BUNDLE).members[NAMES[0]]
    with pytest.raises(ClaimMismatch, match="file 2, of 1441 bytes"):
        restore_evidence(less, tmp_path / "x.zip", [data, data + b"\n"], actor="court")
    assert not (tmp_path / "x.zip").exists()
