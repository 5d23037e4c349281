"""How surprising right answers are: the exact binomial tail, and when it counts.

Section 4 of docs/spec/triggers.md. Sums and comparisons are in integers; only logarithms that are
shown are rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

LOG2_P: Final = -128
LOG2_ATTEMPTS: Final = 40
THRESHOLD: Final = LOG2_P * math.log10(2)
MAX_QUESTIONS: Final = 4096
MAX_ANSWERS: Final = 1 << 31


def tail(asked: int, right: int, answers: int) -> tuple[int, int]:
    """P(at least `right` of `asked` right by chance), as numerator and denominator.

    Each is right with probability ``1 / answers``, independently.
    """
    if right <= 0:
        return 1, 1
    total, term = 0, 1  # of j = asked: C(asked, asked) (answers − 1)^0
    for j in range(asked, right - 1, -1):
        total += term
        term = term * j * (answers - 1) // (asked - j + 1)
    return total, answers**asked


@dataclass(frozen=True, slots=True)
class Score:
    """A model's answers held against those that were drawn.

    Attributes:
        asked: questions that count, burned ones and ones without an answer too.
        right: how many were answered as drawn.
        answers: C, how many answers there are to draw from.
        commitments: of the sender; with 2^40 the number of tests that p is multiplied by.
    """

    asked: int
    right: int
    answers: int
    commitments: int = 1

    @property
    def tests(self) -> int:
        """What p is multiplied by."""
        return max(1, self.commitments) << LOG2_ATTEMPTS

    @property
    def there(self) -> bool:
        """Whether p times the number of tests is at most 2^−128."""
        above, below = tail(self.asked, self.right, self.answers)
        return (above * self.tests) << -LOG2_P <= below

    @property
    def log10_p(self) -> float:
        """Base-10 logarithm of p."""
        above, below = tail(self.asked, self.right, self.answers)
        return min(0.0, math.log10(above) - math.log10(below))

    @property
    def log10_corrected(self) -> float:
        """The same of p times the number of tests, 0 at most."""
        return min(0.0, self.log10_p + math.log10(self.tests))

    @property
    def best(self) -> Score:
        """What as many questions can show, if every one is answered as drawn."""
        return Score(self.asked, self.asked, self.answers, self.commitments)

    def to_json(self) -> dict[str, Any]:
        """As reports carry it."""
        return {
            "asked": self.asked,
            "right": self.right,
            "expected": round(self.asked / self.answers, 3),
            "log10_p": round(self.log10_p, 3),
            "log10_corrected": round(self.log10_corrected, 3),
        }


def least_questions(answers: int, commitments: int = 1) -> int:
    """The fewest questions that can reach the threshold, if all are answered as drawn."""
    needed = Score(0, 0, answers, commitments).tests << -LOG2_P
    asked, reached = 0, 1
    while reached < needed:
        asked, reached = asked + 1, reached * answers
    return asked
