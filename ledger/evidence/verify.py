"""Offline verification of an evidence bundle, in numbered steps.

    (1) form        the file has the one form that its members have
    (2) contents    every member is the listed one
    (3) headers     raw headers hash and link
    (4) trust       the blocks they end in are blocks the reader vouches for
    (5) contracts   account proofs, released code, addresses that commit to creation
    (6) storage     storage proofs
    (7) events      receipt and transaction proofs
    (8) claim       the preimage of the model id, manifest, tensors
    (9) title       holder and status in the proved state
    (10) history    registration and transfers, complete
    (11) commitment anchored before registration
    (12) sealing    epochs and records
    (13) licenses   words and events
    (14) rivals     other registrations of the same tensors
    (15) releases   receipts of keys that a broker released
    (16) match      findings about a suspect
    (17) timestamps tokens and Bitcoin blocks that date the contents
    (18) custody    the log is unbroken, and signed where it says so
    (19) report     the summary inside says what steps 3 to 18 found
    (20) copies     verifiers and printed forms carried are those of this release

No chain, service, clock or network is used. ``docs/spec/evidence-bundle.md`` defines each step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from ledger.canonical import canonical_json
from ledger.errors import LedgerError, VerificationError
from ledger.evidence import (
    chain_steps,
    copies_steps,
    license_steps,
    match_steps,
    release_steps,
    subject_steps,
    timestamp_steps,
)
from ledger.evidence.bundle import REPORT, REPORT_TEXT, Bundle, read_bundle
from ledger.evidence.case import Case, NotChecked
from ledger.evidence.report import NO_VALUE, TEST_NETWORKS, render, statement
from ledger.evidence.trust import TrustRoot
from ledger.ids import Digest

TRUST_STEP = 4
_REPORT_STEP = 19


class Result(StrEnum):
    """How one step ended."""

    PASS = "pass"  # noqa: S105  # a verdict, not a password
    FAIL = "fail"
    NOT_CHECKED = "not checked"


class Verdict(StrEnum):
    """What all steps come to."""

    VERIFIED = "verified"
    CONDITIONAL = "holds, given the blocks it rests on"
    INCOMPLETE = "not verified"
    BROKEN = "does not hold"


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step.

    Attributes:
        detail: what was found, or why not.
        needed: whether a verdict must wait for it.
    """

    number: int
    title: str
    result: Result
    detail: str
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found.

    Attributes:
        bundle_id: as the bundle says; proven by step 2.
        assumed: (number, hash) of the blocks taken from the bundle.
        statement: the facts shown; None when they could not be established.
        trust: what the reader brought.
    """

    bundle_id: Digest
    chain_id: int
    steps: tuple[Step, ...]
    assumed: tuple[tuple[int, Digest], ...]
    statement: dict[str, Any] | None
    trust: TrustRoot = field(default_factory=TrustRoot)

    @property
    def verdict(self) -> Verdict:
        """Verified only if every needed step passes."""
        if any(step.result is Result.FAIL for step in self.steps):
            return Verdict.BROKEN
        open_steps = {
            step.number for step in self.steps if step.result is Result.NOT_CHECKED and step.needed
        }
        if not open_steps:
            return Verdict.VERIFIED
        return Verdict.CONDITIONAL if open_steps == {TRUST_STEP} else Verdict.INCOMPLETE

    @property
    def holds(self) -> bool:
        """Whether nothing failed and at most the trust step is left to the reader."""
        return self.verdict in {Verdict.VERIFIED, Verdict.CONDITIONAL}

    @property
    def test_network(self) -> bool:
        """Whether the chain's history proves nothing to anyone."""
        return self.chain_id in TEST_NETWORKS

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        blocks = " and ".join(f"block {number} {block}" for number, block in self.assumed)
        match self.verdict:
            case Verdict.VERIFIED:
                return "verified"
            case Verdict.CONDITIONAL:
                verb = "belongs" if len(self.assumed) == 1 else "belong"
                return f"holds, given that {blocks} {verb} to chain {self.chain_id}"
            case Verdict.INCOMPLETE:
                left = self._numbers(Result.NOT_CHECKED)
                return f"not verified: step {left} could not be checked"
        return f"does not hold: step {self._numbers(Result.FAIL)} failed"

    def text(self) -> str:
        """For people: what is trusted from outside, the steps, the verdict, the facts."""
        lines = [f"Trusted from outside: {self.trust or 'nothing yet'}."]
        if self.assumed:
            blocks = ", ".join(f"block {number} {block}" for number, block in self.assumed)
            lines.append(f"Taken from the bundle, not from elsewhere: {blocks}.")
        lines.append(f"Bundle {self.bundle_id}, chain {self.chain_id}.")
        if self.test_network:
            lines.append(f"{NO_VALUE}.")
        lines.append("")
        for step in self.steps:
            lines.append(f"({step.number}) {step.title}: {step.result}")
            lines.append(f"     {step.detail}")
        lines += ["", self.sentence]
        if self.statement is not None and self.holds:
            lines += ["", render(self.statement).rstrip("\n")]
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "bundle": str(self.bundle_id),
            "chain_id": self.chain_id,
            "test_network": self.test_network,
            "verdict": str(self.verdict),
            "sentence": self.sentence,
            "holds": self.holds,
            "assumed": [{"block": number, "hash": str(block)} for number, block in self.assumed],
            "steps": [
                {
                    "number": step.number,
                    "title": step.title,
                    "result": str(step.result),
                    "detail": step.detail,
                    "needed": step.needed,
                }
                for step in self.steps
            ],
            "statement": self.statement if self.holds else None,
        }

    @property
    def reasons(self) -> str:
        """Why it does not hold, or what is left open: the details of those steps."""
        wanted = Result.FAIL if self.verdict is Verdict.BROKEN else Result.NOT_CHECKED
        return "; ".join(
            f"({step.number}) {step.detail}"
            for step in self.steps
            if step.result is wanted and step.needed and step.number != TRUST_STEP
        )

    def _numbers(self, result: Result) -> str:
        wanted = [
            step
            for step in self.steps
            if step.result is result and (step.needed or result is Result.FAIL)
        ]
        return ", ".join(f"{step.number} ({step.title})" for step in wanted)


def check_form(case: Case, step: int) -> str:
    """Reading the file compared it with the archive that its members make; say so."""
    del step  # a file without that form was refused before any step
    return f"{len(case.bundle.members) + 1} members, and no byte beside them"


def check_report(case: Case, step: int) -> str:
    """The summary in the bundle is the one that its proofs give."""
    document = statement(case)
    if case.bundle.member(REPORT) != canonical_json(document):
        raise VerificationError(f"{REPORT} says something else than the proofs", step=step)
    if case.bundle.member(REPORT_TEXT) != render(document).encode():
        raise VerificationError(f"{REPORT_TEXT} says something else than the proofs", step=step)
    return "the summary says what the proofs show"


STEPS: tuple[tuple[str, Callable[[Case, int], str]], ...] = (
    ("form", check_form),
    ("contents", chain_steps.check_contents),
    ("headers", chain_steps.check_headers),
    ("trust", chain_steps.check_trust),
    ("contracts", chain_steps.check_contracts),
    ("storage", chain_steps.check_storage),
    ("events", chain_steps.check_events),
    ("claim", subject_steps.check_claim),
    ("title", subject_steps.check_title),
    ("history", subject_steps.check_history),
    ("commitment", subject_steps.check_commitment),
    ("sealing", subject_steps.check_sealing),
    ("licenses", license_steps.check_licenses),
    ("rivals", subject_steps.check_rivals),
    ("releases", release_steps.check_releases),
    ("match", match_steps.check_match),
    ("timestamps", timestamp_steps.check_timestamps),
    ("custody", subject_steps.check_custody),
    ("report", check_report),
    ("copies", copies_steps.check_copies),
)


def verify(path: Path, *, trust: TrustRoot | None = None) -> Report:
    """Verify a bundle file.

    Args:
        path: the file.
        trust: what the reader knows from elsewhere; without it the verdict is conditional.

    Raises:
        UsageError: the file cannot be read.
        BundleFormatError: not a bundle, or not in the one form a bundle has.
        LimitExceeded: larger than a bundle may be.
        UnsupportedVersion: of another format version.
    """
    return examine(read_bundle(path), trust=trust)


def examine(bundle: Bundle, *, trust: TrustRoot | None = None, draft: bool = False) -> Report:
    """Verify a bundle in memory; a `draft` has no report yet: the last two steps are left out."""
    case = Case(bundle, trust or TrustRoot())
    steps = []
    made = STEPS[: _REPORT_STEP - 1] if draft else STEPS
    for number, (title, check) in enumerate(made, start=1):
        try:
            step = Step(number, title, Result.PASS, check(case, number))
        except NotChecked as reason:
            step = Step(number, title, Result.NOT_CHECKED, str(reason), reason.needed)
        except LedgerError as error:  # a proof that does not hold, or a document that is none
            step = Step(number, title, Result.FAIL, str(error))
        steps.append(step)
    return Report(
        bundle.id,
        bundle.subject.chain_id,
        tuple(steps),
        tuple((header.number, header.hash) for header in chain_steps.unvouched(case)),
        statement(case) if case.history is not None and case.state_header is not None else None,
        case.trust,
    )
