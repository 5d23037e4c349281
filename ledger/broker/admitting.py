"""Which classes of evidence a broker admits: ``evidence.json`` in its folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ledger.broker.attestation import Attester, TeeEvidence
from ledger.broker.custody import read_private, write_private
from ledger.broker.evidence import EvidenceVerifier, SoftwareEvidence
from ledger.canonical import parse_json
from ledger.licensing.document import Document

FILE: Final = "evidence.json"
_TYPE: Final = "modeldeed/broker-evidence"
_MAX_ATTESTERS: Final = 64


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a broker's operator admits.

    Attributes:
        software: whether the class that proves nothing is.
        attesters: whose tokens are.
    """

    software: bool = True
    attesters: tuple[Attester, ...] = ()

    def verifiers(self, *, clock: Callable[[], float] = time.time) -> dict[str, EvidenceVerifier]:
        """A verifier for each admitted class."""
        made: dict[str, EvidenceVerifier] = {}
        if self.software:
            made["software"] = SoftwareEvidence()
        if self.attesters:
            made["tee"] = TeeEvidence(self.attesters, clock=clock)
        return made

    def to_json(self) -> dict[str, Any]:
        """The file."""
        return {
            "type": _TYPE,
            "version": 1,
            "software": self.software,
            "attesters": [attester.to_json() for attester in self.attesters],
        }

    def save(self, folder: Path) -> None:
        """Write it into a broker's folder; it counts from the broker's next start.

        Raises:
            ConfigurationError: it cannot be written.
        """
        data = json.dumps(self.to_json(), indent=2).encode() + b"\n"
        write_private(folder / FILE, data, replace=True)

    @classmethod
    def load(cls, folder: Path) -> Admitted:
        """Read it; without a file class ``software`` alone is admitted.

        Raises:
            ManifestError, UnsupportedVersion: the file is not one. No broker starts over it.
            ConfigurationError: it can be read by others, or not at all.
        """
        path = folder / FILE
        if not path.exists():
            return cls()
        doc = Document(
            parse_json(read_private(path), what=FILE),
            FILE,
            ("type", "version", "software", "attesters"),
        )
        doc.kind(_TYPE)
        attesters = doc.items("attesters", limit=_MAX_ATTESTERS)
        return cls(doc.boolean("software"), tuple(Attester.from_json(item) for item in attesters))
