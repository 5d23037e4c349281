"""Which candidates a suspect copy names, and the proven bound on naming an innocent. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ledger.errors import UsageError
from ledger.ids import Address, LicenseId
from ledger.sealed.codeword import CodeParameters, biases, code_word
from ledger.tracing.bounds import Floats, TwoValued
from ledger.tracing.planning import FALSE_ACCUSATION
from ledger.tracing.scores import COUNT, Evidence, scores

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
        """As JSON."""
        return {
            "license": str(self.license_id),
            "holder": str(self.holder),
            "tenure": self.tenure,
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

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            **self.candidate.to_json(),
            "symmetric_score": round(self.score, 4),
            "decided_by": self.best,
            "log10_p": round(self.log10_p, 2),
            "named": self.named,
        }


@dataclass(frozen=True, slots=True)
class Accusation:
    """Every candidate, strongest first.

    Attributes:
        findings: one for each candidate.
        false_accusation: ε₁, over all candidates and scores together.
        threshold: the symmetric score that would name a license by itself; inf when none can.
    """

    findings: tuple[Finding, ...]
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
    evidence: Evidence,
    candidates: Sequence[Candidate],
    *,
    false_accusation: float = FALSE_ACCUSATION,
) -> Accusation:
    """Hold every candidate's word against the evidence.

    The evidence must not depend on any candidate's word other than through the copy itself; that
    is what makes innocents' words independent of it.

    Args:
        parameters: of the sealing's code.
        code_key: its key.
        evidence: one value a cell.
        candidates: the words to test; each counts in the bound.
        false_accusation: ε₁.

    Raises:
        UsageError: no candidates, or evidence of another number of cells.
    """
    tested = sorted(set(candidates))
    if not tested:
        raise UsageError("there is no candidate license to test", hint="name the issued licenses")
    if len(evidence.fraction) != parameters.count:
        raise UsageError("the evidence is of another number of cells than the code has")
    found = scores(bias_values(parameters, code_key), evidence)
    factor = math.log(len(tested) * COUNT)
    limit = math.log(false_accusation)
    findings = []
    for candidate in tested:
        word = code_word(
            parameters, code_key, candidate.license_id, candidate.holder, candidate.tenure
        )
        findings.append(_finding(candidate, word.bits, found, factor, limit))
    findings.sort(key=lambda finding: (finding.log10_p, -finding.score, finding.candidate))
    threshold = found["symmetric"].threshold(limit - factor)
    return Accusation(tuple(findings), false_accusation, threshold)


def _finding(
    candidate: Candidate,
    bits: bytes,
    found: dict[str, TwoValued],
    factor: float,
    limit: float,
) -> Finding:
    best, least = "symmetric", 0.0
    for name, score in found.items():
        tail = score.log_tail(score.score(bits))
        if tail < least:
            best, least = name, tail
    bound = min(0.0, least + factor)
    return Finding(
        candidate, found["symmetric"].score(bits), best, bound / math.log(10), bound <= limit
    )
