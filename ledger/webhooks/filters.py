"""Which messages an endpoint gets. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

APPLIED: Final = "event.applied"
RETRACTED: Final = "event.retracted"
FINALIZED: Final = "event.finalized"
EXPIRING: Final = "license.expiring"
MISSED: Final = "events.missed"
TEST: Final = "webhook.test"

CHOSEN: Final = (APPLIED, RETRACTED, FINALIZED, EXPIRING)
"""Types that an endpoint may choose; the others tell it about itself."""
USUAL: Final = (APPLIED, RETRACTED, EXPIRING)


@dataclass(frozen=True, slots=True)
class Filter:
    """What an endpoint is to hear of.

    Attributes:
        types: of messages.
        events: names of events; none means all.
        subjects: models and licenses, 32 bytes each.
        licensors: accounts, 20 bytes each. With no subjects and no licensors everything passes.
    """

    types: frozenset[str] = frozenset(USUAL)
    events: frozenset[str] = frozenset()
    subjects: frozenset[bytes] = frozenset()
    licensors: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, told: dict[str, Any]) -> Filter:
        """From the members that the database keeps."""
        return cls(
            frozenset(told["types"]),
            frozenset(told["events"]),
            frozenset(bytes.fromhex(each) for each in told["models"])
            | frozenset(int(each).to_bytes(32, "big") for each in told["licenses"]),
            frozenset(bytes.fromhex(each) for each in told["licensors"]),
        )

    @classmethod
    def parse(cls, text: str) -> Filter:
        """The same, from its text."""
        return cls.of(json.loads(text))

    def about(self, subjects: Collection[bytes], licensors: Collection[bytes]) -> bool:
        """Whether a message about these subjects, of these licensors, is meant."""
        if not self.subjects and not self.licensors:
            return True
        return not self.subjects.isdisjoint(subjects) or not self.licensors.isdisjoint(licensors)

    def event(self, name: str, subjects: Collection[bytes], licensors: Collection[bytes]) -> bool:
        """Whether an event is meant."""
        return (not self.events or name in self.events) and self.about(subjects, licensors)
