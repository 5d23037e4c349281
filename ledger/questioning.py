"""Questioning a suspect: a disclosure checked, its questions asked, and what the answers mean.

Section numbers are those of docs/spec/triggers.md. The owner's side is ``ledger.disclosing``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from ledger.broker.policy import Check
from ledger.errors import ClaimMismatch, UnavailableError
from ledger.ids import Digest
from ledger.watermark.answers import THRESHOLD, Score, least_questions
from ledger.watermark.disclosure import Disclosure
from ledger.watermark.generators import Question
from ledger.watermark.triggers import Answers, Trigger

CONTROLS: Final = 3
SUSPICIOUS: Final = -6.0
"""log10 of p times the number of controls, at which a control knows the answers."""
PATIENCE: Final = 8
"""So many questions without any reply, one after the other, and no more are asked."""

Model = Callable[[Question], object]
Progress = Callable[[int, int], None]

MEANING: Final = (
    "H0: nobody who knew the keys made this model, or gave it the answers. Who taught whom "
    "follows from anchored times and custody alone; a model that does not answer is not thereby "
    "independent."
)


# -- asking --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Control:
    """A model that should not know the answers.

    Attributes:
        theirs: whether the other side named it.
    """

    name: str
    model: Model = field(repr=False)
    theirs: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What one model answered.

    Attributes:
        silent: questions without an answer of those that there are; unasked ones too.
        changed: questions answered otherwise when asked again.
        stopped: how many questions it was asked before it replied no more; None when it did not
            stop, or only when it was asked again.
    """

    name: str
    theirs: bool
    score: Score
    silent: int
    changed: int
    stopped: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As reports carry it."""
        return {
            "name": self.name,
            "named_by_other_side": self.theirs,
            **self.score.to_json(),
            "silent": self.silent,
            "changed": self.changed,
            "stopped_after": self.stopped,
        }


def ask(
    name: str,
    model: Model,
    triggers: Sequence[Trigger],
    answers: Answers,
    *,
    counted: int,
    commitments: int = 1,
    theirs: bool = False,
    rng: random.Random | None = None,
    progress: Progress | None = None,
) -> Asked:
    """Ask a model everything twice, in different orders; the first answer is the one that counts.

    Args:
        name: for the report.
        model: takes an input, returns a class or token id; anything else is no answer.
        triggers: the questions that are not burned.
        answers: those that were drawn from.
        counted: how many questions count, burned ones too.
        commitments: of the sender.
        theirs: whether the other side named it.
        rng: draws the orders; they matter to no figure.
        progress: told of each question.

    A model that replies to some and then not to eight running is asked no more; what it was not
    asked counts as missed.

    Raises:
        UnavailableError: it never replied.
    """
    drawn = rng or random.SystemRandom()
    given: list[dict[int, int | None]] = []
    stopped: list[int | None] = []
    for _ in range(2):
        queue = list(triggers)
        drawn.shuffle(queue)
        done = len(given) * len(queue)

        def tell(asked: int, before: int = done, every: int = 2 * len(queue)) -> None:
            if progress is not None:
                progress(before + asked, every)

        replies, end = _round(model, queue, answers, tell, known=bool(given))
        given.append(replies)
        stopped.append(end)
        if end is not None:
            break
    first, again = given[0], given[-1]
    right = sum(first.get(each.position) == each.answer for each in triggers)
    return Asked(
        name,
        theirs,
        Score(counted, right, answers.count, commitments),
        silent=sum(first.get(each.position) is None for each in triggers),
        changed=sum(first[position] != again[position] for position in first if position in again),
        stopped=stopped[0],
    )


def _round(
    model: Model,
    queue: Sequence[Trigger],
    answers: Answers,
    tell: Callable[[int], None],
    *,
    known: bool,
) -> tuple[dict[int, int | None], int | None]:
    """Replies by position, and after how many questions it stopped replying; None if it did not.

    Raises:
        UnavailableError: it stops, and is not `known` to reply nor did so here.
    """
    replies: dict[int, int | None] = {}
    running = 0
    for each in queue:
        try:
            replies[each.position] = _answer(model(each.question), answers)
            running, known = 0, True
        except UnavailableError:
            # One lost reply is a miss. A host that is down is no report.
            replies[each.position] = None
            running += 1
            if running in {PATIENCE, len(queue)}:
                if not known:
                    raise
                return replies, len(replies)
        tell(len(replies))
    return replies, None


def _answer(value: object, answers: Answers) -> int | None:
    """A model's answer as an id, if it is one of those that are drawn from."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return None
    number = int(value)
    return number if answers.first <= number < answers.first + answers.count else None


# -- the report ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """What the verifier knows from elsewhere; what is None was not looked at.

    Attributes:
        commitment: T, as it stands on chain.
        commitments: how many phase-A commitments its sender made.
        beacon: of the commitment's block.
        challenge: as it was set.
        earlier: disclosures that were made before this one.
        source: where commitment, count and beacon are known from; empty for the chain.
        caveat: why even a proof says little on that chain; empty where it does not.
    """

    commitment: Digest | None = None
    commitments: int | None = None
    beacon: Digest | None = None
    challenge: str | None = None
    earlier: tuple[Disclosure, ...] = ()
    caveat: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of the questions, in the numbered steps of section 6."""

    checks: tuple[Check, ...]
    suspect: Asked
    controls: tuple[Asked, ...]
    caveat: str = ""

    @property
    def proven(self) -> bool:
        """Whether the answers are there and every step holds."""
        return all(check.result == "pass" for check in self.checks)

    @property
    def undecided(self) -> bool:
        """Whether the suspect stopped replying before its answers could tell."""
        return self.suspect.stopped is not None and not self.suspect.score.there

    @property
    def verdict(self) -> str:
        """What came of it, in a sentence."""
        score = self.suspect.score
        bits = math.log2(score.tests)
        figures = (
            f"{score.right} of {score.asked}, log10 p <= {score.log10_corrected:.1f} after "
            f"correction for 2^{bits:.0f} tests"
        )
        if self.undecided:
            return (
                f"not decided: the suspect stopped replying after {self.suspect.stopped} "
                f"questions; what it was not asked counts as missed here, {figures}"
            )
        if not score.there:
            short = "" if score.best.there else f"; {weakness(score)}"
            return f"the answers are not found: {figures}, and {THRESHOLD:.1f} is needed{short}"
        head = f"the answers are there: {figures}"
        failed = [check for check in self.checks if check.result == "fail"]
        if failed:
            return f"{head}; but it proves nothing to others: {failed[0].detail}"
        left = [str(check.number) for check in self.checks if check.result != "pass"]
        if left:
            steps = f"step {left[0]} was" if len(left) == 1 else f"steps {', '.join(left)} were"
            return f"{head}; {steps} not checked, so by itself it proves nothing to others"
        return f"{head} ({self.caveat})" if self.caveat else head

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        score = self.suspect.score
        return {
            "verdict": self.verdict,
            "meaning": MEANING,
            "proven": self.proven,
            "there": score.there,
            "undecided": self.undecided,
            "threshold": round(THRESHOLD, 3),
            "best_log10_corrected": round(score.best.log10_corrected, 3),
            "suspect": self.suspect.to_json(),
            "controls": [each.to_json() for each in self.controls],
            "checks": [check.to_json() for check in self.checks],
        }


def weakness(score: Score) -> str:
    """What so many questions cannot show, for whoever is about to ask them."""
    least = least_questions(score.answers, score.commitments)
    return (
        f"{score.asked} questions of {score.answers} answers show log10 p "
        f"{score.best.log10_corrected:.1f} at best and prove nothing, however answered; "
        f"{least} could"
    )


def examine(
    disclosure: Disclosure,
    suspect: Model,
    *,
    name: str = "suspect",
    controls: Sequence[Control] = (),
    known: Known | None = None,
    rng: random.Random | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check a disclosure, ask the suspect and the controls, and report step by step (section 6).

    Raises:
        ClaimMismatch: the disclosure is not of what is known, or does not answer its challenge.
        InclusionProofInvalid: a key was not committed.
        UnavailableError: the suspect never replies. A control that does not is reported.
    """
    known = known or Known()
    checks = _bindings(disclosure, known)
    disclosure.check_positions()  # (5)
    checks.append(_passed(5, "the challenge draws these positions", f"{disclosure.questions}"))
    disclosure.check_paths()  # (6)
    root = disclosure.commitment.root.short
    checks.append(_passed(6, "each opened key was committed", f"under {root}"))
    burned, undated = _burned_before(disclosure, known.earlier)  # (7)
    checks.append(_earlier(disclosure, known.earlier, burned, undated))
    triggers = disclosure.triggers(burned)

    def put(each: Control) -> Asked:
        return ask(
            each.name,
            each.model,
            triggers,
            disclosure.commitment.answers,
            counted=disclosure.questions,
            commitments=known.commitments or 1,
            theirs=each.theirs,
            rng=rng,
            progress=progress,
        )

    asked = put(Control(name, suspect))
    rest = [_perhaps(put, each, asked.score, len(triggers)) for each in controls]
    checks += [_answered(asked, len(triggers)), _controlled(rest), _counted(asked)]
    return Report(tuple(checks), asked, tuple(rest), known.caveat)


def _perhaps(put: Callable[[Control], Asked], each: Control, like: Score, questions: int) -> Asked:
    """What a control answered; when it never replies, that: the suspect's answers are not lost."""
    try:
        return put(each)
    except UnavailableError:
        none = replace(like, right=0)
        return Asked(each.name, each.theirs, none, silent=questions, changed=0, stopped=0)


def _bindings(disclosure: Disclosure, known: Known) -> list[Check]:
    """Steps 1 to 4."""
    shown = disclosure.commitment.hash()
    number = known.commitments
    where = f", {known.source}" if known.source else ""
    return [
        _bound(1, "the commitment is the one that was anchored", shown, known.commitment, where),
        _passed(2, "commitments of the sender are counted", f"{number}{where}")
        if number is not None
        else Check(2, "commitments of the sender are counted", "not checked", "1 is assumed"),
        _bound(3, "the beacon is that of its block", disclosure.beacon, known.beacon, where),
        _bound(4, "the challenge is the one that was set", disclosure.challenge, known.challenge),
    ]


def _bound(
    number: int, title: str, shown: Digest | str, known: Digest | str | None, where: str = ""
) -> Check:
    if known is None:
        return Check(number, title, "not checked", "nobody said which it should be")
    if known != shown:
        raise ClaimMismatch(
            f"the disclosure fails step {number}: {title}",
            step=number,
            hint="it may be of another case or commitment; ask for the one that was meant",
        )
    detail = shown.short if isinstance(shown, Digest) else f"{len(shown)} characters"
    return _passed(number, title, detail + where)


def _burned_before(
    disclosure: Disclosure, earlier: Sequence[Disclosure]
) -> tuple[frozenset[int], frozenset[int]]:
    """Questions opened before: by disclosures that this one names, and by others.

    Whoever has a disclosure has its keys, and can make another of them that looks older. So one
    that is not named here counts for nothing until somebody shows its date.
    """
    opened: set[int] = set()
    undated: set[int] = set()
    for each in earlier:
        digest = each.digest()
        if each.commitment.hash() != disclosure.commitment.hash():
            raise ClaimMismatch(
                "an earlier disclosure is of another commitment",
                step=7,
                hint="give those of the same triggers alone",
            )
        if digest == disclosure.digest():
            raise ClaimMismatch(
                "the disclosure was given as one earlier than itself",
                step=7,
                hint="an answer to an old challenge proves nothing again; set a new challenge",
            )
        if disclosure.digest() in each.earlier:
            raise ClaimMismatch(
                "a disclosure that was given as an earlier one names this one as earlier",
                step=7,
                hint="leave it out: it came later",
            )
        each.check_positions()
        each.check_paths()
        (opened if digest in disclosure.earlier else undated).update(each.opened)
    return frozenset(opened), frozenset(undated - opened)


def _earlier(
    disclosure: Disclosure,
    earlier: Sequence[Disclosure],
    burned: frozenset[int],
    undated: frozenset[int],
) -> Check:
    title = "questions opened before count as missed"
    shown = {each.digest() for each in earlier}
    missing = len(set(disclosure.earlier) - shown)
    unnamed = len(shown - set(disclosure.earlier))
    said = sum(each.kind == "burned" for each in disclosure.positions)
    again = len(burned & disclosure.opened)
    detail = f"{said} burned as it says itself, {again} more by {len(shown) - unnamed} it names"
    if unnamed:
        more = len(undated & disclosure.opened)
        detail = (
            f"{unnamed} shown are not named in it and may have been made of its keys since: were "
            f"they older, {more} more would count as missed; have their date shown, or leave them "
            f"out; {detail}"
        )
    if missing:
        detail = f"{missing} earlier ones are not shown; {detail}"
    if missing or unnamed:
        return Check(7, title, "not checked", detail)
    return _passed(7, title, detail)


def _answered(asked: Asked, questions: int) -> Check:
    detail = f"{questions - asked.silent} of {questions} questions"
    if asked.stopped is not None:
        detail += f"; it stopped replying after {asked.stopped}"
    if asked.changed:
        detail += (
            f"; {asked.changed} otherwise when asked again: it draws its answers, or tells tests "
            "from use"
        )
    title = "the suspect answered"
    if asked.stopped is not None and not asked.score.there:
        return Check(8, title, "not checked", detail)
    return _passed(8, title, detail)


def _controlled(others: Sequence[Asked]) -> Check:
    title = "control models do not know the answers"
    factor = math.log10(max(1, len(others)))
    for each in others:
        if each.score.log10_p + factor <= SUSPICIOUS:
            return Check(
                9,
                title,
                "fail",
                f"{each.name} gives {each.score.right} of {each.score.asked} answers "
                "as drawn: it knows them, so they say nothing of the suspect alone",
            )
    whole = [each for each in others if each.stopped is None]
    theirs = sum(each.theirs for each in whole)
    detail = f"{len(whole)} asked, {theirs} of them named by the other side"
    if len(whole) < len(others):
        detail += f"; {len(others) - len(whole)} more stopped replying"
    if len(whole) < CONTROLS or not theirs:
        return Check(9, title, "not checked", f"{detail}; {CONTROLS} and 1 are wanted")
    return _passed(9, title, detail)


def _counted(asked: Asked) -> Check:
    score = asked.score
    title = "more answers are right than chance explains"
    detail = f"{score.right} of {score.asked}, chance {score.asked / score.answers:.2g}"
    if score.there:
        return _passed(10, title, detail)
    if asked.stopped is not None:
        return Check(10, title, "not checked", f"{detail}, of those it was asked until it stopped")
    if not score.best.there:
        detail += f"; {weakness(score)}"
    return Check(10, title, "fail", detail)


def _passed(number: int, title: str, detail: str) -> Check:
    return Check(number, title, "pass", detail)
