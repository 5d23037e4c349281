"""Which chain and contracts a document is of: the object that it names ``chain``.

Apart from the documents, since all of them must say it alike: cards, escrow documents, receipt
proofs and a broker's folder name every contract that they rest on (`ChainContracts`); grants,
bindings, vouchers, batches and claims the license ledger alone (`read_ledger`, `ledger_json`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from ledger.ids import Address
from ledger.licensing.document import Document


@dataclass(frozen=True, slots=True)
class ChainContracts:
    """A chain by its EIP-155 id, and LicenseLedger, ModelRegistry and BrokerRegistry on it."""

    chain_id: int
    ledger: Address
    registry: Address
    brokers: Address

    @classmethod
    def from_json(cls, value: Any, what: str) -> Self:
        """Read the object; messages call it `what`.

        Raises:
            ManifestError: not such an object.
        """
        doc = Document(value, what, ("id", "ledger", "registry", "brokers"))
        return cls(
            doc.integer("id", 1),
            doc.address("ledger"),
            doc.address("registry"),
            doc.address("brokers"),
        )

    def to_json(self) -> dict[str, Any]:
        """The object."""
        return {
            "id": self.chain_id,
            "ledger": str(self.ledger),
            "registry": str(self.registry),
            "brokers": str(self.brokers),
        }


def read_ledger(value: Any, what: str) -> tuple[int, Address]:
    """The chain's id and the license ledger, of a document that rests on that alone.

    Raises:
        ManifestError: not such an object.
    """
    doc = Document(value, what, ("id", "ledger"))
    return doc.integer("id", 1), doc.address("ledger")


def ledger_json(chain_id: int, ledger: Address) -> dict[str, Any]:
    """The object that `read_ledger` reads."""
    return {"id": chain_id, "ledger": str(ledger)}
