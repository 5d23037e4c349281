"""What a report says is never more than its figures do."""

import dataclasses

import pytest

from ledger.fingerprint.compare import DERIVED, Comparison, Exact
from ledger.fingerprint.containment import Containment, Relation, Share, Verdict, Witness
from ledger.fingerprint.lineage import RowOrder
from ledger.fingerprint.pairing import Lineage, MatrixResult
from ledger.fingerprint.picture import picture
from ledger.fingerprint.wording import (
    DIRECTION_NOTE,
    NOT_INDEPENDENT,
    NOTHING,
    ONE_SUSPECT_NOTE,
    ORDER_NOTE,
    SEED_NOTE,
    SHARED_NOTE,
    WITHOUT_IDENTITY,
    power_text,
    statements,
)


def matrix(log10_p, *, fitted=False):
    alike = 0.3 if fitted else 0.9
    return MatrixResult(
        "a", "b", "hidden units", 96, 96, RowOrder(96, 96, 96, 96, log10_p, alike, alike, 0.3)
    )


def compared(*matrices, tried=10, exact=None):
    return Comparison("ours", "theirs", exact, Lineage(matrices, tried, (), ()))


def exact(*witnesses, verdict=Verdict.CONTAINS):
    share = Share(len(witnesses), 10, 1, 1, 0, 0)
    return Exact(Containment(verdict, share, share, witnesses, (), ()), frozenset())


def witness(relation, theirs="w", elements=5000):
    return Witness("w", theirs, relation, "F32", (elements,), elements)


@pytest.mark.parametrize(
    ("log10_p", "text"),
    [
        (0.0, "1 (no evidence)"),
        (-0.04, "1 (no evidence)"),
        (-0.1, "10^-0.1"),
        (-19.96, "10^-19.9"),
        (-20.0, "10^-20.0"),
        (-20.19, "10^-20.1"),
        (-300.30000000000001, "10^-300.3"),
    ],
)
def test_bounds_are_rounded_upwards(log10_p, text):
    assert power_text(log10_p) == text


def test_the_bound_that_is_printed_is_the_one_that_counts():
    """A matrix that may have been reordered to fit lends its figure to nothing else."""
    made = compared(matrix(-300.0, fitted=True), matrix(-22.0))
    said = " ".join(statements(made))
    assert "at most 10^-20.9 under H0" in said
    assert "1 of them reach that level" in said
    assert "Left out of the bound, matrices: 1." in said
    assert "10^-20.9" in picture(made)
    assert "10^-299" not in said + picture(made).partition("<path")[0].split("<rect")[1]


def test_a_fitted_order_alone_rejects_nothing():
    said = statements(compared(matrix(-300.0, fitted=True)))
    assert NOT_INDEPENDENT not in said
    assert NOTHING in said
    assert SEED_NOTE in said
    assert any("at most 1 (no evidence)" in one for one in said)


def test_how_many_matrices_carry_it_is_said():
    """One shared embedding does not speak for the layers beside it."""
    made = compared(matrix(-800.0), *(matrix(-1.0) for _ in range(12)))
    said = statements(made)
    assert "By themselves 1 of them reach that level." in said
    assert said.index("By themselves 1 of them reach that level.") < said.index(NOT_INDEPENDENT)
    assert {SEED_NOTE, DIRECTION_NOTE, ORDER_NOTE, ONE_SUSPECT_NOTE} <= set(said)


def test_short_of_the_level_nothing_is_rejected_and_nothing_denied():
    said = statements(compared(matrix(DERIVED + 3)))
    assert NOTHING in said
    assert "nothing that speaks" not in " ".join(said)
    assert NOT_INDEPENDENT not in said


def test_equal_tensors_name_the_common_source_and_how_they_are_equal():
    made = compared(
        matrix(-1.0),
        exact=exact(
            witness(Relation.IDENTITY, "a"),
            witness(Relation.CAST, "b"),
            witness(Relation.CAST, "c"),
        ),
    )
    said = statements(made)
    assert said[0] == (
        "3 of 10 tensors of ours are in theirs, 1 value for value, 2 rounded to half precision: "
        "15,000 values."
    )
    assert {SHARED_NOTE, WITHOUT_IDENTITY, DIRECTION_NOTE} <= set(said)
    assert (
        "value for value"
        not in statements(dataclasses.replace(made, exact=exact(witness(Relation.CAST))))[0]
    )


def test_few_equal_values_are_said_to_count_for_nothing():
    made = compared(exact=exact(witness(Relation.IDENTITY, elements=20)))
    assert made.verdict == "nothing found"
    said = statements(made)
    assert "Fewer than 4,096 values together do not count for the verdict." in said[0]
    # Nothing was tested, so there is no bound to be multiplied.
    assert ONE_SUSPECT_NOTE not in said
    assert ORDER_NOTE not in said


def test_identical_models_are_identical_in_what_was_compared():
    for verdict in (Verdict.IDENTICAL_NAMED, Verdict.IDENTICAL_CONTENT):
        said = statements(compared(exact=exact(witness(Relation.IDENTITY), verdict=verdict)))
        assert {WITHOUT_IDENTITY, SHARED_NOTE, DIRECTION_NOTE} <= set(said)
