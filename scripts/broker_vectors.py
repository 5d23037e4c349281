"""What the generators of vectors of terms, license card and key release have in common.

Keys are Anvil's well-known test keys or fixed bytes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.broker.grants import ALG_ED25519, RuntimeKey
from ledger.broker.protocol import audience
from ledger.broker.signing import BrokerSigningKeys
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing import terms as terms_module
from ledger.licensing.card import ledger_domain
from ledger.sealed.recipients import KemPrivateKey
from ledger.sealed.record import SealingRecord

ROOT = Path(__file__).parents[1] / "tests" / "vectors"
CHAIN = 31337
LEDGER, REGISTRY, BROKERS = (Address(bytes([b]) * 20) for b in (0x11, 0x22, 0x33))
DOMAIN = ledger_domain(CHAIN, LEDGER)
LICENSE = LicenseId.of(1, 1)
TERMS = terms_module.parse(terms_module.TEMPLATE.encode()).document


def fixed(name: str, size: int = 32) -> bytes:
    """Bytes that are the same in every run."""
    return hashlib.shake_256(name.encode()).digest(size)


MODEL = ModelId(fixed("model"))
RECORD = SealingRecord(
    model_id=MODEL,
    epoch=1,
    root=Digest(fixed("root")),
    content_tree_root=Digest(fixed("tree")),
    commit=Digest(fixed("commit")),
)
KEYS = BrokerSigningKeys(fixed("ed25519"), fixed("mldsa65"))
KEM = KemPrivateKey(1, fixed("kem"))
RUNTIME = Ed25519PrivateKey.from_private_bytes(fixed("runtime"))
RUNTIME_KEY = RuntimeKey(ALG_ED25519, RUNTIME.public_key().public_bytes_raw())
AUDIENCE = audience(CHAIN, BROKERS, 1)


def write(folder: str, name: str, vector: dict[str, Any]) -> None:
    """Write one vector file."""
    path = ROOT / folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(vector, indent=1, ensure_ascii=False) + "\n")


# -- terms ---------------------------------------------------------------------------------------
