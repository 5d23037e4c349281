"""How an audit's checks end, and the report that they make up (`ledger.index.audit`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

Result = Literal["pass", "fail", "not checked"]
Said = tuple[Result, str]

SHOWN: Final = 5
"""Faults of one check that are spelt out; all of them are counted."""

AGAINST_THE_CHAIN: Final = frozenset({11, 12})
UNMADE: Final = "not checked"

_RENEW: Final = (
    "put a copy back (deed index restore, or pg_restore), or follow the chain into a new database"
)
_REBUILD: Final = "deed index rebuild"
_PROVE: Final = "deed index prove; what it does not find: put a copy back"
# Of each check that fails; docs/guides/keeping-the-index.md says more of each.
_WAYS_OUT: Final = {
    1: f"name another database or network (--database, --network); where they are right, {_RENEW}",
    2: _RENEW,
    3: _RENEW,
    4: _RENEW,
    5: f"{_REBUILD} where subjects alone are others; else {_RENEW}",
    6: _PROVE,
    7: _RENEW,
    8: _PROVE,
    9: f"{_REBUILD}; where a document is gone or another one: put a copy back",
    10: _REBUILD,
    11: f"where final blocks were replaced, deed index status says how to go on; else {_RENEW}",
    12: _RENEW,
    13: f"drop a trigger or rule; {_REBUILD} makes indexes; for the rest put a copy back",
}
# A rebuild takes the journal for true, and whether it is, the chain says.
_FROM_THE_JOURNAL: Final = frozenset({5, 9, 10, 13})


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


def ways_out(checks: Sequence[Check]) -> dict[int, str]:
    """What to do about each check of an index's audit that failed, by its number.

    What is made from the journal is made anew only where the journal is the chain's.
    """
    failed = {check.number for check in checks if check.result == "fail"}
    compared = all(c.result == "pass" for c in checks if c.number in AGAINST_THE_CHAIN)
    found = {}
    for number in sorted(failed):
        way = _WAYS_OUT[number]
        if number in _FROM_THE_JOURNAL and failed & AGAINST_THE_CHAIN:
            way = _RENEW
        elif number in _FROM_THE_JOURNAL and not compared:
            way = (
                "first deed index audit --chain, with an endpoint that shows old receipts; where "
                f"(11) and (12) pass, {way}"
            )
        found[number] = way
    return found


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
