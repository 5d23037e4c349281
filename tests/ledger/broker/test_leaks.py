"""What a report of a traced leak says in words."""

from __future__ import annotations

import numpy as np
import pytest

from ledger.broker.leaks import UNASKED, LeakReport, Lodging
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.sealed.codeword import CodeParameters
from ledger.sealed.record import SealingRecord
from ledger.tracing.accusation import Accusation, Candidate, Finding
from ledger.tracing.extraction import Reading
from ledger.tracing.planning import plan
from ledger.tracing.scores import Evidence

ZERO = Digest(bytes(32))
RECORD = SealingRecord(ModelId(b"\1" * 32), 1, ZERO, ZERO, ZERO, broker_set=1)
CELLS = 64


def report(fractions, *, named=0, lodging=UNASKED):
    findings = tuple(
        Finding(
            Candidate(LicenseId((1 << 32) + serial), Address(b"\2" * 20), 0),
            9.0,
            "symmetric",
            -12.0 if serial <= named else 0.0,
            serial <= named,
        )
        for serial in range(1, 6)
    )
    shown = np.full(CELLS, np.nan)
    shown[: len(fractions)] = fractions
    evidence = Evidence(shown, np.where(np.isnan(shown), np.inf, 0.01))
    return LeakReport(
        RECORD,
        (),
        Reading(evidence, ()),
        Accusation(findings, 5, 1e-9, 50.0),
        plan(CodeParameters(CELLS, 2)),
        lodging,
    )


def test_a_copy_that_shows_form_a_only_is_said_to_be_unmarked():
    unmarked = report([0.0] * CELLS)
    assert ["form A: this is the registered model" in said for said in unmarked.remarks] == [True]
    assert report([0.0] * 40).remarks == unmarked.remarks  # the rest erased


@pytest.mark.parametrize(
    "fractions",
    [
        [0.0] * 63 + [1.0],
        [0.0] * 63 + [0.5],
        [0.0] * 20,  # too few to say anything
        [],
        [0.0, 0.2] * 32,  # merged with the master: faint marks, and not none
    ],
)
def test_other_copies_are_not_said_to_be_unmarked(fractions):
    assert report(fractions).remarks == ()


def test_more_named_than_are_proven_to_be_found_is_explained():
    marked = [0.0, 1.0] * 32
    assert report(marked, named=1).remarks == ()
    assert [said[:20] for said in report(marked, named=3).remarks] == ["3 licenses are named"]
    assert "holds for each license" in report(marked, named=3).remarks[0]


@pytest.mark.parametrize("named", [0, 1, 2])
def test_who_else_is_told_where_a_license_is_named(named):
    assert bool(report([0.0, 1.0] * 32, named=named).to_json()["who_else"]) == bool(named)


@pytest.mark.parametrize(
    ("result", "proven", "words"),
    [
        ("pass", True, "traced to 2 licenses"),
        ("fail", False, "does not stand on chain"),
        ("not checked", True, "was not checked"),
    ],
)
def test_the_verdict_says_whether_the_code_was_fixed_on_chain(result, proven, words):
    found = report([0.0, 1.0] * 32, named=2, lodging=Lodging(result, "why"))
    assert found.proven is proven
    assert words in found.verdict
    nobody = report([0.0, 1.0] * 32, lodging=Lodging(result, "why"))
    assert (nobody.proven, nobody.verdict) == (False, "no license is named")
