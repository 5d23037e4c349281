"""The custody log: who handled a bundle, each entry chained to the one before by its hash.

The chain shows that no entry was removed, reordered or changed after later ones were written. It
does not show who wrote them or when: times are the writer's own clock, and said to be so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ledger.canonical import hash_json
from ledger.errors import ManifestError, UsageError, VerificationError
from ledger.ids import ZERO_DIGEST, Digest

TAG = "modeldeed/custody/1"
MAX_ENTRIES = 10_000
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
_TEXTS = {"time": 20, "actor": 200, "action": 40, "note": 2000, "software": 80}


@dataclass(frozen=True, slots=True)
class Entry:
    """One act.

    Attributes:
        previous: hash of the entry before, zeros for the first.
        time: UTC, ``2026-11-22T11:40:00Z``, by the writer's clock: claimed, never proven.
        actor: who acted, in their own words.
        action: ``collected``, ``handed over``, ``received``, …
        contents: digest of the bundle's evidence at that time (`ledger.evidence.bundle`).
    """

    sequence: int
    previous: Digest
    time: str
    actor: str
    action: str
    note: str
    software: str
    contents: Digest

    def __post_init__(self) -> None:
        if not _TIME.fullmatch(self.time):
            raise UsageError(f"{self.time!r} is not a UTC time such as 2026-11-22T11:40:00Z")
        for name, limit in _TEXTS.items():
            text = getattr(self, name)
            if len(text) > limit or not text.isprintable():
                raise UsageError(f"a custody entry's {name} is one line of {limit} characters")

    def hash(self) -> Digest:
        """What the next entry names as its previous one."""
        return hash_json(TAG, self._body())

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``custody.json``."""
        return self._body() | {"hash": str(self.hash())}

    def _body(self) -> dict[str, Any]:
        texts: dict[str, Any] = {name: getattr(self, name) for name in _TEXTS}
        return texts | {
            "sequence": self.sequence,
            "previous": str(self.previous),
            "contents": str(self.contents),
        }

    @classmethod
    def from_json(cls, document: Any) -> Entry:
        """Read one untrusted entry.

        Raises:
            ManifestError: other fields or types.
        """
        wanted = {*_TEXTS, "sequence", "previous", "contents", "hash"}
        if not isinstance(document, dict) or set(document) != wanted:
            raise ManifestError("a custody entry has other fields")
        if type(document["sequence"]) is not int or not all(
            isinstance(document[name], str) for name in wanted - {"sequence"}
        ):
            raise ManifestError("a custody entry's field has another type")
        try:
            return cls(
                sequence=document["sequence"],
                previous=Digest.parse(document["previous"]),
                contents=Digest.parse(document["contents"]),
                **{name: document[name] for name in _TEXTS},
            )
        except UsageError as error:
            raise ManifestError(str(error)) from None


def append(
    log: Sequence[Entry],
    *,
    time: str,
    actor: str,
    action: str,
    contents: Digest,
    software: str,
    note: str = "",
) -> tuple[Entry, ...]:
    """`log` with one more entry.

    Raises:
        UsageError: a text is too long or not one line, or the time is not UTC.
    """
    if len(log) >= MAX_ENTRIES:
        raise UsageError(f"a custody log has at most {MAX_ENTRIES} entries")
    previous = log[-1].hash() if log else ZERO_DIGEST
    entry = Entry(len(log) + 1, previous, time, actor, action, note, software, contents)
    return (*log, entry)


def read_log(document: Any, contents: Digest, *, step: int = 0) -> tuple[Entry, ...]:
    """Check an untrusted log against the evidence it speaks of.

    Raises:
        ManifestError: an entry breaks the format.
        VerificationError: the chain is broken, or an entry speaks of other evidence.
    """
    if not isinstance(document, list) or not 0 < len(document) <= MAX_ENTRIES:
        raise ManifestError("a custody log is a list of entries")
    previous = ZERO_DIGEST
    entries = []
    for sequence, item in enumerate(document, start=1):
        entry = Entry.from_json(item)
        if (entry.sequence, entry.previous) != (sequence, previous):
            raise VerificationError(
                f"custody entry {sequence} does not follow the one before", step=step
            )
        previous = entry.hash()
        if item != entry.to_json():
            raise VerificationError(f"custody entry {sequence} was changed", step=step)
        if entry.contents != contents:
            raise VerificationError(
                f"custody entry {sequence} speaks of other evidence than this bundle's", step=step
            )
        entries.append(entry)
    return tuple(entries)
