"""modeldeed: licensing and provenance of machine-learning models.

What most programs need is importable from here; the rest is reached through its own module. Each
name loads its module on first use, so ``import ledger`` is quick and pulls in no chain, web or
database library::

    import ledger

    with ledger.load("model.license.json") as model:
        weight = model.get_tensor("encoder.layer.0.output.dense.weight")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ledger.claim import Claim
    from ledger.errors import (
        ChainError,
        EntitlementError,
        FormatError,
        KeyAccessError,
        LeaseExpired,
        LedgerError,
        UnavailableError,
        VerificationError,
    )
    from ledger.evidence.verify import verify as verify_evidence
    from ledger.fingerprint.exact import Fingerprint
    from ledger.ids import Address, Digest, LicenseId, ModelId
    from ledger.runtime import check, load
    from ledger.sealed.file import inspect, open_sealed, seal
    from ledger.sealed.record import SealingRecord
    from ledger.serving.model import SealedModel
    from ledger.serving.ranks import join
    from ledger.tensors.model import open_model

__version__ = "0.1.0"

__all__ = [
    "Address",
    "ChainError",
    "Claim",
    "Digest",
    "EntitlementError",
    "Fingerprint",
    "FormatError",
    "KeyAccessError",
    "LeaseExpired",
    "LedgerError",
    "LicenseId",
    "ModelId",
    "SealedModel",
    "SealingRecord",
    "UnavailableError",
    "VerificationError",
    "check",
    "inspect",
    "join",
    "load",
    "open_model",
    "open_sealed",
    "seal",
    "verify_evidence",
]

_HOMES: Final[dict[str, tuple[str, ...]]] = {
    "ledger.claim": ("Claim",),
    "ledger.errors": (
        "ChainError",
        "EntitlementError",
        "FormatError",
        "KeyAccessError",
        "LeaseExpired",
        "LedgerError",
        "UnavailableError",
        "VerificationError",
    ),
    "ledger.fingerprint.exact": ("Fingerprint",),
    "ledger.ids": ("Address", "Digest", "LicenseId", "ModelId"),
    "ledger.runtime": ("check", "load"),
    "ledger.sealed.file": ("inspect", "open_sealed", "seal"),
    "ledger.sealed.record": ("SealingRecord",),
    "ledger.serving.model": ("SealedModel",),
    "ledger.serving.ranks": ("join",),
    "ledger.tensors.model": ("open_model",),
}


def __getattr__(name: str) -> Any:
    if name == "verify_evidence":
        return importlib.import_module("ledger.evidence.verify").verify
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'ledger' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
