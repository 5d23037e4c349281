"""How many colluders a code of k cells can carry: (k, c, ε₁, ε₂), before anything has leaked. Pure.

Two bounds, both finite and exact for the discrete biases of `ledger.sealed.codeword`:

(1) An innocent word is accused: Chernoff's inequality with the largest moment generating function
    over all biases and both symbols, times the number of candidates and scores (Bonferroni).
(2) No colluder is accused: the colluders' summed score stays below c thresholds. Chernoff again,
    with the colluders' choice maximised inside the expectation, so that it holds for every
    strategy, however they confer: the argument of Tardos (J. ACM 55, 2008) for the symmetric score
    of Škorić, Katzenbeisser and Celik (2008), evaluated over the finite distributions of Nuida et
    al. (Des. Codes Cryptogr. 52, 2009) instead of being estimated. It rests on the marking
    assumption: a cell in which all colluders hold one form has that form in the copy.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from ledger.sealed.codeword import MAX_COLLUDERS, CodeParameters
from ledger.sealed.codeword_tables import DISTRIBUTIONS
from ledger.tracing.bounds import Floats, minimum
from ledger.tracing.scores import COUNT, VIEWS, symmetric_values

FALSE_ACCUSATION: Final = 1e-9
MISSED: Final = 0.01
CANDIDATES: Final = 1000
_ONE = float(1 << 64)
_LEAST = 1e-99  # no smaller bound is claimed: a zero would only be a number too small to write


@dataclass(frozen=True, slots=True)
class Distribution:
    """The finite set of biases that a number of colluders is planned with."""

    p: Floats
    weight: Floats


@functools.cache
def distribution(colluders: int) -> Distribution:
    """Biases and their probabilities, as the code words use them."""
    cumulative, values = DISTRIBUTIONS[(colluders + 1) // 2]
    edges = [0, *cumulative, 1 << 64]
    weight = np.array([(b - a) / _ONE for a, b in pairwise(edges)])
    return Distribution(np.array([value / _ONE for value in values]), weight)


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What a code is proven to do.

    Attributes:
        cells: k.
        planned: colluders the biases are made for.
        colluders: c, the coalition this line is about.
        candidates: words that may be tested.
        false_accusation: ε₁, of naming any innocent candidate at all.
        missed: ε₂, the bound on naming none of the colluders; 1 says nothing.
        threshold: score from which a license is named, at worst.
    """

    cells: int
    planned: int
    colluders: int
    candidates: int
    false_accusation: float
    missed: float
    threshold: float

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "k": self.cells,
            "planned_c": self.planned,
            "c": self.colluders,
            "candidates": self.candidates,
            "epsilon_1": self.false_accusation,
            "epsilon_2": self.missed,
        }


def guarantee(
    parameters: CodeParameters,
    colluders: int,
    *,
    candidates: int = CANDIDATES,
    false_accusation: float = FALSE_ACCUSATION,
) -> Guarantee:
    """The proven figures for a coalition of `colluders`."""
    k, biases = parameters.count, distribution(parameters.colluders)
    needed = math.log(candidates * COUNT * VIEWS / false_accusation)

    def least_score(t: float) -> float:
        return (needed + k * _worst_log_mgf(biases, t)) / t

    threshold = minimum(least_score)

    def exponent(s: float) -> float:
        return s * colluders * threshold + k * _coalition_log_mgf(biases, colluders, s)

    missed = max(_LEAST, math.exp(min(0.0, minimum(exponent))))
    return Guarantee(
        k, parameters.colluders, colluders, candidates, false_accusation, missed, threshold
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What to expect of a code.

    Attributes:
        parameters: of the code.
        lines: for one colluder, two, … up to the first that is not carried.
    """

    parameters: CodeParameters
    lines: tuple[Guarantee, ...]

    @property
    def carried(self) -> int:
        """The largest coalition of which a member is named but for ε₂; 0 when not even one is."""
        return max((line.colluders for line in self.lines if line.missed <= MISSED), default=0)

    @property
    def sentence(self) -> str:
        """For people."""
        k, best = self.parameters.count, self.carried
        if best == 0:
            return (
                f"{k} cells carry no proof: not even the copy of one license is named with a "
                f"false-accusation probability of at most {FALSE_ACCUSATION:g}"
            )
        who = "the copy of one license" if best == 1 else f"copies made by up to {best} licenses"
        line = self.lines[best - 1]
        return (
            f"{k} cells trace {who}: k = {k}, c = {best}, epsilon_1 <= "
            f"{line.false_accusation:g} over {line.candidates} candidates, epsilon_2 <= "
            f"{line.missed:.2g}, proven for every strategy under the marking assumption"
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "cells": self.parameters.count,
            "planned_colluders": self.parameters.colluders,
            "carried_colluders": self.carried,
            "lines": [line.to_json() for line in self.lines],
        }


def plan(parameters: CodeParameters, *, candidates: int = CANDIDATES) -> Plan:
    """The guarantees of a code, for coalitions up to the first that it does not carry."""
    lines: list[Guarantee] = []
    for colluders in range(1, MAX_COLLUDERS + 1):
        lines.append(guarantee(parameters, colluders, candidates=candidates))
        if lines[-1].missed > MISSED:
            break
    return Plan(parameters, tuple(lines))


def best_colluders(count: int, *, candidates: int = CANDIDATES) -> int:
    """How many colluders to plan biases for, so that the most are carried; at least 2.

    Of several plans that carry as many, the one for more: beyond what is proven it often holds too.
    """
    options = range(2, MAX_COLLUDERS + 1, 2)
    carried = {c: plan(CodeParameters(count, c), candidates=candidates).carried for c in options}
    most = max(carried.values())
    fitting = [c for c in options if carried[c] == most and c <= 2 * most]
    return max(fitting, default=2)


def _worst_log_mgf(biases: Distribution, t: float) -> float:
    worst = 0.0
    for symbol in (0, 1):
        zero, one = symmetric_values(biases.p, symbol)
        values = np.logaddexp(np.log1p(-biases.p) + t * zero, np.log(biases.p) + t * one)
        worst = max(worst, float(values.max()))
    return worst


def _coalition_log_mgf(biases: Distribution, colluders: int, s: float) -> float:
    """Log of the expectation of exp(-s · summed score) in one cell, at the colluders' best."""
    p, c = biases.p, colluders
    total = -math.inf
    for x in range(c + 1):
        log_words = math.lgamma(c + 1) - math.lgamma(x + 1) - math.lgamma(c - x + 1)
        log_p = np.log(biases.weight) + x * np.log(p) + (c - x) * np.log1p(-p)
        allowed = (1,) if x == c else (0,) if x == 0 else (0, 1)
        best = -math.inf
        for symbol in allowed:
            zero, one = symmetric_values(p, symbol)
            terms = log_p - s * (x * one + (c - x) * zero)
            best = max(best, float(np.logaddexp.reduce(terms)))
        total = float(np.logaddexp(total, log_words + best))
    return total
