"""How an audit's checks end, and the report that they make up (`ledger.index.audit`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

Result = Literal["pass", "fail", "not checked"]
Said = tuple[Result, str]

SHOWN: Final = 5
"""Faults of one check that are spelt out; all of them are counted."""

AGAINST_THE_CHAIN: Final = frozenset({11, 12})
UNMADE: Final = "not checked"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its number in the module's list, what it is about, and how it ended."""

    number: int
    name: str
    result: Result
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one audit, and the block that the index stood at."""

    block: int
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether no check failed."""
        return all(check.result != "fail" for check in self.checks)

    @property
    def uncompared(self) -> str | None:
        """Why the index was not compared with the chain, checks (11) and (12); None if it was."""
        return next(
            (c.detail for c in self.checks if c.number in AGAINST_THE_CHAIN and c.result == UNMADE),
            None,
        )


@dataclass(slots=True)
class Faults:
    """Faults of one check: the first few in words, all in number."""

    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        """Count one; keep its words while they are few."""
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(sentence)

    def said(self, otherwise: str) -> Said:
        """How the check ends: failed with these faults, or passed with `otherwise`."""
        if not self.count:
            return "pass", otherwise
        more = f"; and {self.count - SHOWN} more" if self.count > SHOWN else ""
        return "fail", "; ".join(self.shown) + more
