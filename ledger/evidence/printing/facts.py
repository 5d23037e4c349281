"""What printed forms are made from: statement and steps as the bundle alone gives them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ledger.errors import VerificationError
from ledger.evidence.bundle import CUSTODY, PRINTED, VERIFIERS, Bundle, pack, parse_bundle
from ledger.evidence.printing.clocks import CLOCKS, Clock
from ledger.ids import Digest

if TYPE_CHECKING:
    from ledger.evidence.verify import Step

# The steps whose results do not hang on the printed forms themselves.
_FIRST, _LAST = 3, 17
_TRUST = 4


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything a form may say.

    Attributes:
        statement: as in report.json.
        steps: 3 to 17, with nothing vouched for by a reader.
        log: custody entries before the one that lists the printed forms first.
        match: match.json, where the bundle shows it.
    """

    contents: str
    collected_by: str
    statement: dict[str, Any]
    steps: tuple[Step, ...]
    log: tuple[dict[str, Any], ...]
    match: dict[str, Any] | None

    @property
    def chain(self) -> int:
        """Chain id."""
        return int(self.statement["chain"]["id"])

    @property
    def clock(self) -> Clock | None:
        """What this release knows of the chain's clock."""
        return CLOCKS.get(self.chain)

    @property
    def open_steps(self) -> list[int]:
        """Needed steps that the bundle alone leaves open, but for the block hash."""
        return [
            step.number
            for step in self.steps
            if str(step.result) == "not checked" and step.needed and step.number != _TRUST
        ]


def findings(bundle: Bundle, log: Sequence[dict[str, Any]] | None = None) -> Findings:
    """What `bundle` proves by itself.

    Args:
        bundle: as read; forms in it do not count.
        log: custody entries to print; None for those before the first that lists the forms in it.

    Raises:
        VerificationError: it does not hold; nothing is printed of such a bundle.
    """
    from ledger.evidence.verify import examine

    kept = {
        name: data for name, data in bundle.members.items() if name not in {*PRINTED, *VERIFIERS}
    }
    bare = parse_bundle(pack(bundle.subject, kept, bundle.left_out))
    report = examine(bare, draft=True)
    steps = tuple(step for step in report.steps if _FIRST <= step.number <= _LAST)
    failed = [
        f"({step.number}) {step.detail}" for step in report.steps if str(step.result) == "fail"
    ]
    if failed or report.statement is None:
        raise VerificationError(
            f"a bundle that does not hold is not printed: {'; '.join(failed) or report.sentence}",
            hint="run deed evidence verify for the whole list of steps",
        )
    if log is None:
        entries = bundle.json(CUSTODY) if CUSTODY in bundle.members else []
        log = entries[: _printed_at(bundle, entries)]
    return Findings(
        contents=str(bare.contents),
        collected_by=bundle.subject.software,
        statement=report.statement,
        steps=steps,
        log=tuple(log),
        match=bundle.json("match.json") if "match.json" in bundle.members else None,
    )


def _printed_at(bundle: Bundle, entries: Sequence[dict[str, Any]]) -> int:
    """How many custody entries there were when the forms in a bundle were printed."""
    forms = {
        name: str(Digest(hashlib.sha256(bundle.members[name]).digest()))
        for name in PRINTED
        if name in bundle.members
    }
    for place, entry in enumerate(entries):
        if forms and forms.items() <= entry.get("printed", {}).items():
            return place
    return len(entries)
