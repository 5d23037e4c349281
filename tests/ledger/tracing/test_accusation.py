"""Who is named, and who never is."""

import hashlib
import math
import os

import numpy as np
import pytest

from ledger.errors import UsageError
from ledger.ids import Address, LicenseId
from ledger.sealed.codeword import CodeParameters, code_word
from ledger.tracing.accusation import ALL_TENURES, Candidate, accuse
from ledger.tracing.scores import Evidence, scores


def candidates(count, *, tenure=0):
    return [
        Candidate(LicenseId((7 << 32) + n), Address(n.to_bytes(20, "big")), tenure)
        for n in range(1, count + 1)
    ]


def words(parameters, key, chosen):
    rows = [
        np.frombuffer(
            code_word(parameters, key, one.license_id, one.holder, one.tenure).bits, np.uint8
        )
        for one in chosen
    ]
    return np.array(rows, dtype=float)


def seen(fraction, spread=0.03):
    return Evidence(np.asarray(fraction, float), np.full(len(fraction), spread))


@pytest.fixture
def key(request):
    """One key for each test: what colluders leave names all but a few keys' licenses."""
    return hashlib.sha256(request.node.name.encode()).digest()


@pytest.mark.parametrize("colluders", [2, 4])
def test_one_license_s_copy_names_it_and_nobody_else(key, colluders):
    parameters, all_of = CodeParameters(96, colluders), candidates(200)
    found = accuse(parameters, key, [seen(words(parameters, key, all_of[3:4])[0])], all_of)
    assert [one.candidate for one in found.named] == [all_of[3]]
    assert found.findings[0].log10_p < -9


def test_the_master_names_nobody(key):
    parameters = CodeParameters(96, 2)
    for form in (0.0, 1.0):
        assert not accuse(parameters, key, [seen([form] * 96)], candidates(200)).named


def test_erased_and_unsure_cells_say_nothing(key):
    parameters, all_of = CodeParameters(128, 2), candidates(50)
    word = words(parameters, key, all_of[:1])[0]
    word[:48] = math.nan
    spread = np.full(128, 0.03)
    spread[:48] = math.inf
    spread[48:60] = 5.0
    found = accuse(parameters, key, [Evidence(word, spread)], all_of)
    assert [one.candidate for one in found.named] == all_of[:1]
    nothing = Evidence(np.full(128, math.nan), np.full(128, math.inf))
    empty = accuse(parameters, key, [nothing], all_of)
    assert not empty.named
    assert empty.findings[0].log10_p == 0
    assert math.isinf(empty.threshold)


@pytest.mark.parametrize("colluders", [2, 3, 5])
def test_averaged_copies_name_colluders_alone(key, colluders):
    parameters, all_of = CodeParameters(400, 4), candidates(100)
    mean = words(parameters, key, all_of[:colluders]).mean(axis=0)
    found = accuse(parameters, key, [seen(mean)], all_of)
    named = {one.candidate for one in found.named}
    assert named
    assert named <= set(all_of[:colluders])


@pytest.mark.parametrize("colluders", [2, 3])
def test_cellwise_mixes_name_colluders_alone(key, colluders):
    parameters, all_of = CodeParameters(600, 4), candidates(100)
    rows = words(parameters, key, all_of[:colluders])
    rng = np.random.default_rng(1)
    mixed = rows[rng.integers(0, colluders, 600), np.arange(600)]
    named = {one.candidate for one in accuse(parameters, key, [seen(mixed)], all_of).named}
    assert named
    assert named <= set(all_of[:colluders])


@pytest.mark.parametrize("strategy", ["exact", "average", "minority", "interleaved", "random"])
def test_thousands_of_innocents_are_never_named(strategy):
    """At the stated bound none; at a lax bound of 5 % in no more than 5 % of all traces."""
    rng = np.random.default_rng(len(strategy))
    rounds = 40 if "DEED_DEEP" in os.environ else 16
    parameters, wrong = CodeParameters(256, 4), 0
    for _ in range(rounds):
        key, guilty = rng.bytes(32), candidates(3)
        innocent = [
            Candidate(LicenseId((9 << 32) + n), Address(n.to_bytes(20, "big")), 0)
            for n in range(1, 61)
        ]
        rows = words(parameters, key, guilty)
        evidence = {
            "exact": rows[0],
            "average": rows.mean(axis=0),
            "minority": (rows.sum(axis=0) == 1).astype(float),
            "interleaved": rows[rng.integers(0, 3, 256), np.arange(256)],
            "random": rng.uniform(-0.3, 1.3, 256),
        }[strategy]
        found = accuse(parameters, key, [seen(evidence)], innocent)
        assert not found.named
        wrong += bool(
            accuse(parameters, key, [seen(evidence)], innocent, false_accusation=0.05).named
        )
    assert wrong <= 0.05 * rounds + 1


def test_every_score_has_the_mean_its_bound_presumes(key):
    """Under the biases each score's expectation is at most zero, or the symmetric one's: zero."""
    rng = np.random.default_rng(7)
    p = rng.uniform(0.1, 0.9, 300)
    for name, score in scores(p, seen(rng.uniform(0, 1, 300))).items():
        mean = ((1 - p) * score.zero + p * score.one).sum()
        assert mean <= 1e-9, name
        if name == "symmetric":
            assert mean == pytest.approx(0, abs=1e-9)


def test_two_words_of_one_holder_count_together(key):
    """Whoever cancels grants gets a second word, and is one suspect for both."""
    parameters, all_of = CodeParameters(160, 2), candidates(40)
    first, second = (Candidate(all_of[0].license_id, all_of[0].holder, n) for n in (0, 1))
    rows = words(parameters, key, [first, second])
    rng = np.random.default_rng(3)
    mixed = rows[rng.integers(0, 2, 160), np.arange(160)]
    found = accuse(parameters, key, [seen(mixed)], [*all_of[1:], first, second])
    best = found.findings[0]
    assert best.named
    assert best.candidate == Candidate(first.license_id, first.holder, ALL_TENURES)
    assert best.to_json()["tenure"] is None


def test_a_mark_that_merging_has_halved_is_stretched_back():
    rng = np.random.default_rng(4)
    bits = rng.integers(0, 2, 100)
    halved = seen(bits * 0.5)
    stretched = halved.stretched()
    assert np.allclose(stretched.fraction, bits)
    assert seen(bits).stretched() is None
    assert seen(bits * 0.0).stretched() is None
    assert Evidence(np.full(9, math.nan), np.full(9, math.inf)).stretched() is None


def test_symbols_tell_each_cell_s_reading():
    spread = [0.03, 0.03, 0.03, 9.0, math.inf]
    evidence = Evidence(np.array([0.1, 0.9, 0.5, 0.0, math.nan]), np.array(spread))
    assert evidence.symbols() == "ABm?-"
    assert Evidence.of_symbols("ABm-").symbols() == "ABm-"
    assert evidence.erased == 1


def test_a_report_shows_nothing_of_an_innocent_s_word(key):
    """Else whoever chooses copies and reads reports would read words out of them, and frame."""
    parameters, all_of = CodeParameters(96, 2), candidates(200)
    rng = np.random.default_rng(8)
    weighted = seen(0.5 + np.exp2(-np.arange(96.0) / 8) / 2)
    for view in (
        weighted,
        seen(rng.uniform(0, 1, 96)),
        seen(words(parameters, key, all_of[:1])[0]),
    ):
        findings = accuse(parameters, key, [view], all_of).findings
        innocent = [one for one in findings if one.candidate != all_of[0]]
        assert sum(one.told for one in innocent) <= 1
        silent = [one for one in innocent if not one.told]
        assert [one.candidate for one in silent] == sorted(one.candidate for one in silent)
        told = {(one.to_json()["log10_p"], one.to_json()["decided_by"]) for one in silent}
        assert told == {(0.0, None)}
        assert all("symmetric_score" not in one.to_json() for one in findings)


def test_what_cannot_be_meant_is_refused(key):
    parameters = CodeParameters(10, 2)
    with pytest.raises(UsageError):
        accuse(parameters, key, [seen([0] * 10)], [])
    with pytest.raises(UsageError):
        accuse(parameters, key, [seen([0] * 9)], candidates(1))
