"""Evidence classes: what a runtime can prove about its environment. Pure; plug-ins implement it."""

from __future__ import annotations

from typing import Protocol

from ledger.broker.protocol import Evidence, KeyRequest
from ledger.errors import KeyRequestRejected


class EvidenceVerifier(Protocol):
    """Judges one class of evidence; attestation plug-ins implement this."""

    def verify(self, evidence: Evidence, request: KeyRequest) -> tuple[str, bytes]:
        """A sentence for the reply, and the 20-byte measurement proven (zeros for none).

        Raises:
            KeyRequestRejected: the evidence does not hold.
        """
        ...


class SoftwareEvidence:
    """The explicit "no attestation" class: it proves nothing, and the reply says so."""

    def verify(self, evidence: Evidence, request: KeyRequest) -> tuple[str, bytes]:
        """Accept, with the words that tell what was not proven."""
        del request
        if evidence.token is not None:
            raise KeyRequestRejected("software evidence carries no token", check=7)
        return "class software: nothing about the host is proven", bytes(20)
