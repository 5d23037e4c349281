"""Which candidates a suspect copy names, and the proven bound on naming an innocent. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np

from ledger.errors import UsageError
from ledger.ids import Address, LicenseId
from ledger.sealed.codeword import CodeParameters, biases, code_word
from ledger.tracing.bounds import Floats, Tail, TwoValued
from ledger.tracing.planning import FALSE_ACCUSATION
from ledger.tracing.scores import Evidence, scores

TOLD: Final = -2.0
"""log10 of the bound above which a report says nothing of a candidate that it does not name."""
ALL_TENURES: Final = -1
"""Stands for all words of one holder of one license together, in place of a tenure."""
_ONE = float(1 << 64)


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """A word that was released to somebody: a license in one holder's hands.

    Attributes:
        license_id: the license.
        holder: whom it belonged to.
        tenure: the license's grant nonce then.
    """

    license_id: LicenseId
    holder: Address
    tenure: int

    def to_json(self) -> dict[str, Any]:
        """As JSON; the tenure is null for all words of this holder together."""
        return {
            "license": str(self.license_id),
            "holder": str(self.holder),
            "tenure": None if self.tenure == ALL_TENURES else self.tenure,
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """One candidate against the evidence.

    Attributes:
        candidate: who.
        score: the symmetric score.
        best: name of the score with the smallest bound.
        log10_p: log10 of the bound on the probability that any innocent candidate scores so high
            in any of the scores; at most 0.
        named: whether that is at most ε₁.
    """

    candidate: Candidate
    score: float
    best: str
    log10_p: float
    named: bool

    @property
    def told(self) -> bool:
        """Whether a report shows how this candidate scored.

        A score is a sum over the bits of a word that is secret from everybody but its holder. Who
        can choose the copy and see the reports would read innocents' words out of them, and could
        frame with them. What is shown of any innocent at all, is so in at most 1 % of all traces.
        """
        return self.named or self.log10_p <= TOLD

    def to_json(self) -> dict[str, Any]:
        """As JSON; shows nothing of a candidate that scored as anybody does."""
        return {
            **self.candidate.to_json(),
            "decided_by": self.best if self.told else None,
            "log10_p": round(self.log10_p, 2) if self.told else 0.0,
            "named": self.named,
        }


@dataclass(frozen=True, slots=True)
class Accusation:
    """Every candidate, strongest first; those of which nothing is told by their license.

    Attributes:
        findings: one for each suspect: a candidate, or several words of one holder together.
        tests: how many scores were compared with their threshold; the bounds count all of them.
        false_accusation: ε₁, over all of them together.
        threshold: the symmetric score that would name a license by itself; inf when none can.
    """

    findings: tuple[Finding, ...]
    tests: int
    false_accusation: float
    threshold: float

    @property
    def named(self) -> tuple[Finding, ...]:
        """The licenses that had a part in the copy, but for ε₁."""
        return tuple(finding for finding in self.findings if finding.named)


def bias_values(parameters: CodeParameters, code_key: bytes | bytearray) -> Floats:
    """The secret biases of a code, as numbers between 0 and 1."""
    return np.array([value / _ONE for value in biases(parameters, code_key)])


def accuse(
    parameters: CodeParameters,
    code_key: bytes | bytearray,
    views: Sequence[Evidence],
    candidates: Sequence[Candidate],
    *,
    false_accusation: float = FALSE_ACCUSATION,
) -> Accusation:
    """Hold every candidate's word against the evidence.

    The evidence must not depend on any candidate's word other than through the copy itself; that
    is what makes innocents' words independent of it. Several words of one license and holder, which
    cancelled grants make, are also tested together.

    Args:
        parameters: of the sealing's code.
        code_key: its key.
        views: one or several readings of the same cells, each counted in the bounds.
        candidates: the words to test; each counts in the bounds.
        false_accusation: ε₁.

    Raises:
        UsageError: no candidates, or evidence of another number of cells.
    """
    tested = sorted(set(candidates))
    if not tested:
        raise UsageError("there is no candidate license to test", hint="name the issued licenses")
    if any(len(view.fraction) != parameters.count for view in views):
        raise UsageError("the evidence is of another number of cells than the code has")
    p = bias_values(parameters, code_key)
    found: dict[str, TwoValued] = {}
    for number, view in enumerate(views):
        suffix = f", view {number + 1}" if number else ""
        found |= {f"{name}{suffix}": score for name, score in scores(p, view).items()}
    words = {
        one: code_word(parameters, code_key, one.license_id, one.holder, one.tenure).bits
        for one in tested
    }
    suspects = [(one, [words[one]]) for one in tested]
    for (license_id, holder), group in groupby(tested, lambda c: (c.license_id, c.holder)):
        members = list(group)
        if len(members) > 1:
            together = Candidate(license_id, holder, ALL_TENURES)
            suspects.append((together, [words[one] for one in members]))
    tests = len(suspects) * len(found)
    limit = math.log(false_accusation)
    judge = _Judge(found, math.log(tests), limit)
    findings = sorted(
        (judge.finding(suspect, bits) for suspect, bits in suspects),
        key=lambda finding: (finding.log10_p if finding.told else 0.0, finding.candidate),
    )
    threshold = judge.tail("symmetric", 1).threshold(limit - math.log(tests))
    return Accusation(tuple(findings), tests, false_accusation, threshold)


class _Judge:
    def __init__(self, found: dict[str, TwoValued], factor: float, limit: float) -> None:
        self._found = found
        self._factor = factor
        self._limit = limit
        self._tails: dict[tuple[str, int], Tail] = {}

    def tail(self, name: str, words: int) -> Tail:
        key = (name, words)
        if key not in self._tails:
            self._tails[key] = Tail(self._found[name], words=words)
        return self._tails[key]

    def finding(self, candidate: Candidate, bits: list[bytes]) -> Finding:
        best, least = "symmetric", 0.0
        for name, score in self._found.items():
            value = math.fsum(score.score(word) for word in bits)
            bound = self.tail(name, len(bits)).log_tail(value)
            if bound < least:
                best, least = name, bound
        least = min(0.0, least + self._factor)
        symmetric = math.fsum(self._found["symmetric"].score(word) for word in bits)
        return Finding(candidate, symmetric, best, least / math.log(10), least <= self._limit)
