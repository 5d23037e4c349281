"""How a card's broker set stands: which of its brokers answer, and whether enough do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class MemberStanding:
    """One broker of a set; `trouble` says why it does not answer as itself, None when it does."""

    broker: int
    trouble: str | None


@dataclass(frozen=True, slots=True)
class SetStanding:
    """All brokers of a set, in the card's order; `threshold` of them must release."""

    broker_set: int
    threshold: int
    members: tuple[MemberStanding, ...]

    @property
    def answering(self) -> int:
        """How many answer."""
        return sum(each.trouble is None for each in self.members)

    @property
    def reached(self) -> bool:
        """Whether enough answer for a release."""
        return self.answering >= self.threshold

    @property
    def strained(self) -> bool:
        """Whether some are out and none of the others can be spared."""
        return self.answering == self.threshold < len(self.members)

    def text(self) -> str:
        """One line on the set, and one on each broker that does not answer."""
        head = (
            f"broker set {self.broker_set}: {self.answering} of {len(self.members)} answer, "
            f"{self.threshold} must release"
        )
        if not self.reached:
            head += ": too few"
        elif self.strained:
            head += ": when one more fails, no key is released and no lease extended"
        out = [f"  broker {m.broker}: {m.trouble}" for m in self.members if m.trouble is not None]
        return "\n".join([head, *out])

    def to_json(self) -> dict[str, Any]:
        """As commands show it with ``--json``."""
        return {
            "set": self.broker_set,
            "threshold": self.threshold,
            "answering": self.answering,
            "reached": self.reached,
            "members": [{"broker": m.broker, "trouble": m.trouble} for m in self.members],
        }
