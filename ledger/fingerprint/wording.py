"""What may be said of a comparison, in whole sentences.

They are made here and nowhere else, so that no surface says more than the statistics do.
"""

from __future__ import annotations

import math
from typing import Final

from ledger.fingerprint.compare import DERIVED, SHARED_VALUES, Comparison, Exact
from ledger.fingerprint.containment import Relation, Verdict
from ledger.fingerprint.exact import percent_text
from ledger.fingerprint.lineage import combined

H0: Final = (
    "H0: the hidden units of the two models were put in order independently of each other, as "
    "independent random initialisations do."
)
NOT_INDEPENDENT: Final = (
    "H0 is rejected: for what these matrices hold, the two models were not independently "
    "initialised, unless somebody who had one put the units of the other into its order. "
    '"Derived" means that and no more; it is no probability of descent.'
)
SEED_NOTE: Final = (
    "Two models trained apart look the same to this test when they began from the same seed, or "
    "both derive from a third one. The figures alone cannot tell; a control that is known to share "
    "only that can show whether it is enough."
)
SHARED_NOTE: Final = (
    "Equal tensors are explained by a common source, such as a public model that both took them "
    "from, as well as by one of the two having them from the other."
)
DIRECTION_NOTE: Final = (
    "Which of the two came first is in no such figure: anchored time and custody tell it."
)
ORDER_NOTE: Final = (
    "The bound holds if one of the two was in its order before its maker could have the other; the "
    "files do not show that."
)
SKETCH_NOTE: Final = (
    "Ours is a sketch with the root {}. It can have been made from theirs unless that root was "
    "anchored before theirs could be had{}; of which model it is, its maker alone says."
)
ONE_SUSPECT_NOTE: Final = (
    "The bound is for this one comparison: of N pairs of models looked at, multiply it by N."
)
NOTHING: Final = "H0 is not rejected by the order of units. That is no proof of it."
FITTED: Final = (
    "Left out of the bound, matrices: {count}. Their units stand in the same order, but are "
    "hardly more alike than reordering an unrelated model can make them. Nothing follows from that "
    "alone."
)
ALIGNED: Final = (
    "Tested over features that were aligned first, matrices: {count}. A feature was aligned by its "
    "sorted values, which the order of the units that are tested cannot change."
)
FEW_VALUES: Final = "Fewer than {least:,} values together do not count for the verdict."
WITHOUT_IDENTITY: Final = (
    "Integers, constants and tensors of fewer than 16 values do not count as tensors here; whole "
    "numbers in large tensors, as quantisation makes them, do."
)
_WAYS: Final = {
    Relation.IDENTITY: "value for value",
    Relation.CAST: "rounded to half precision",
    Relation.AXES: "with their axes in another order",
    Relation.RESHAPE: "in another shape",
    Relation.MULTISET: "with the same values in another order",
    Relation.CAST_MULTISET: "rounded and in another order",
}


def power_text(log10_p: float) -> str:
    """A bound for people, rounded upwards."""
    shown = math.ceil(round(log10_p * 10, 6)) / 10
    return "1 (no evidence)" if shown >= 0 else f"10^{shown:.1f}"


def values_text(exact: Exact) -> str:
    """How many values the tensors hold that are in theirs: most tensors may hold next to none."""
    if (held := exact.our_values) is None:
        return f"{exact.learnt_values:,} values"
    return f"{held[0]:,} of {held[1]:,} values of ours ({percent_text(*held)} %)"


def statements(made: Comparison, *, sketch_looked_up: bool = False) -> tuple[str, ...]:
    """All sentences of a comparison, in order.

    Args:
        made: the comparison.
        sketch_looked_up: whether the reader is told elsewhere what a chain shows of our sketch.
    """
    return (*_exact(made), *_lineage(made), *_notes(made, sketch_looked_up))


def _exact(made: Comparison) -> list[str]:
    exact = made.exact
    if exact is None:
        return ["Equal tensors were not looked for: ours is a sketch, or a model has none."]
    found = exact.found
    if exact.identical:
        named = " under the same names" if found.verdict is Verdict.IDENTICAL_NAMED else ""
        return [
            f"Both models hold the same set of tensors{named}, value for value.",
            *(f"Not compared: {item}." for item in found.not_compared),
            WITHOUT_IDENTITY,
        ]
    learnt = exact.learnt
    whole = found.ours.tensors + found.ours.packed
    ways = [
        f"{count} {words}"
        for way, words in _WAYS.items()
        if (count := sum(witness.relation is way for witness in learnt))
    ]
    sentence = f"{len(learnt)} of {whole} tensors of ours are in theirs"
    if ways:
        sentence += f", {', '.join(ways)}: {values_text(exact)}"
    sentence += "."
    if ways and exact.learnt_values < SHARED_VALUES:
        sentence += " " + FEW_VALUES.format(least=SHARED_VALUES)
    tables = len(found.witnesses) - len(learnt)
    if tables:
        looks = "is calculated or looks so" if tables == 1 else "are calculated or look so"
        sentence += (
            f" {tables} more {looks}, as filters and windows do; "
            "independent models can share such tables, so that does not count."
        )
    return [sentence, WITHOUT_IDENTITY]


def _lineage(made: Comparison) -> list[str]:
    lineage = made.lineage
    if not lineage.matrices:
        return ["No matrix of ours has a counterpart in theirs: the order of units was not tested."]
    p = lineage.log10_p_counted
    counted = [m.order.log10_p for m in lineage.matrices if not m.order.fitted]
    bound = (
        f"Over {len(lineage.matrices)} matrices, {lineage.tried} pairings counted, the probability "
        "of so many units at the same places or in the same order is at most "
        f"{power_text(p)} under H0; it is rejected at {power_text(DERIVED)}."
    )
    words = [H0, bound]
    if p <= DERIVED:
        # Each is held against the level as the smallest is: times the number of pairings.
        alone = sum(combined([one], lineage.tried) <= DERIVED for one in counted)
        words += [f"By themselves {alone} of them reach that level.", NOT_INDEPENDENT]
    else:
        words.append(NOTHING)
    aligned = sum(m.aligned > 0 for m in lineage.matrices)
    if aligned:
        words.append(ALIGNED.format(count=aligned))
    if lineage.log10_p < p:
        fitted = [m.order for m in lineage.matrices if m.order.fitted]
        left = sum(combined([one.log10_p], lineage.tried) < p for one in fitted)
        words.append(FITTED.format(count=left))
    return words


def _notes(made: Comparison, sketch_looked_up: bool) -> list[str]:
    words = []
    lineage = made.lineage
    if made.exact is not None and (made.exact.identical or made.exact.learnt):
        words.append(SHARED_NOTE)
    if made.sketch_root is not None:
        unknown = "" if sketch_looked_up else ", which was not looked at here"
        words.append(SKETCH_NOTE.format(made.sketch_root, unknown))
    if lineage.log10_p <= DERIVED:
        words.append(SEED_NOTE)
    if made.verdict != "nothing found" or lineage.log10_p <= DERIVED:
        words.append(DIRECTION_NOTE)
    if lineage.matrices:
        words += [ORDER_NOTE, ONE_SUSPECT_NOTE]
    for control in made.controls:
        if control.log10_p <= DERIVED:
            words.append(
                f"The control {control.title} matches theirs too ({power_text(control.log10_p)}): "
                "what it shares with ours may explain the whole match."
            )
        else:
            words.append(
                f"The control {control.title} does not match theirs "
                f"({power_text(control.log10_p)})."
            )
    if made.two_view is not None:
        words.append(made.two_view.sentence)
    return words
