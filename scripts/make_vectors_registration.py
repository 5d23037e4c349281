"""Write the vectors of the registration: one fault each, named for it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ledger.chain.registration import SignedRegistration
from ledger.chain.wallet import dev_wallet
from ledger.claim import Claim
from ledger.ids import ZERO_DIGEST, Address, Digest

FOLDER = Path(__file__).parents[1] / "tests" / "vectors" / "registration"
LICENSOR = dev_wallet("licensor")
CLAIM = Claim(
    chain_id=31337,
    registry=Address(b"\x22" * 20),
    licensor=LICENSOR.address,
    artifact_root=Digest(b"\x01" * 32),
    fingerprint_digest=Digest(b"\x02" * 32),
    watermark_commitment=ZERO_DIGEST,
    manifest_hash=Digest(b"\x03" * 32),
    parents=(),
    salt=Digest(b"\x04" * 32),
)
GOOD = SignedRegistration.sign(LICENSOR, CLAIM, deadline=1900000000)


def main() -> None:
    """Write all of them."""
    faults: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
        "valid": ("ok", lambda _: None),
        "other-deadline": ("SignatureInvalid", lambda m: m.update(deadline=1900000001)),
        "other-chain": ("SignatureInvalid", lambda m: m["claim"].update(chain_id=1)),
        "other-salt": ("SignatureInvalid", lambda m: m["claim"].update(salt="0x" + "05" * 32)),
        "other-licensor": (
            "SignatureInvalid",
            lambda m: m["claim"].update(licensor=str(dev_wallet("rival").address)),
        ),
        "signature-of-another": (
            "SignatureInvalid",
            lambda m: m.update(
                signature=SignedRegistration.sign(
                    dev_wallet("rival"), CLAIM, deadline=1900000000
                ).to_json()["signature"]
            ),
        ),
        "signature-short": ("SignatureInvalid", lambda m: m.update(signature="0xab")),
        "signature-upper-case": ("ManifestError", lambda m: m.update(signature="0xAB")),
        "signature-empty": ("ManifestError", lambda m: m.update(signature="0x")),
        "signature-too-long": ("ManifestError", lambda m: m.update(signature="0x" + "ab" * 8193)),
        "deadline-beyond-40-bits": ("ManifestError", lambda m: m.update(deadline=1 << 40)),
        "unknown-member": ("ManifestError", lambda m: m.update(proof=None)),
        "claim-without-salt": ("ManifestError", lambda m: m["claim"].pop("salt")),
        "another-type": ("ManifestError", lambda m: m.update(type="modeldeed/voucher")),
        "later-version": ("UnsupportedVersion", lambda m: m.update(version=2)),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (expect, change) in faults.items():
        message = copy.deepcopy(GOOD.to_json())
        change(message)
        vector = {"file": message, "expect": expect}
        if expect == "ok":
            vector["model_id"] = str(CLAIM.model_id())
        (FOLDER / f"{name}.json").write_text(json.dumps(vector, indent=1) + "\n")


if __name__ == "__main__":
    main()
