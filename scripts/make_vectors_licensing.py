"""Write the vectors of batches, batch claims and vouchers: one fault each, named for it.

Run again after a change of a format, look at the diff, and say in the specification what changed.
"""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ledger.chain.wallet import dev_wallet
from ledger.ids import Address, Digest
from ledger.licensing import batch as batches
from ledger.licensing import voucher as vouchers
from ledger.licensing.batch import BatchRow
from ledger.licensing.reference import reference_hash
from ledger.licensing.voucher import Voucher

ROOT = Path(__file__).parents[1] / "tests" / "vectors"
CHAIN = 31337
LEDGER = Address(b"\x11" * 20)
MARKET = Address(b"\x22" * 20)
TOKEN = Address(b"\x33" * 20)

Change = Callable[[dict[str, Any]], object]


def fixed(name: str, size: int = 32) -> bytes:
    """Bytes that are the same in every run."""
    return hashlib.shake_256(name.encode()).digest(size)


def write(folder: str, name: str, vector: dict[str, Any]) -> None:
    """Write one vector file."""
    path = ROOT / folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(vector, indent=1, ensure_ascii=False) + "\n")


def write_faults(
    folder: str,
    kind: str,
    good: dict[str, Any],
    faults: dict[str, tuple[str, Change]],
) -> None:
    """Write each fault: the document changed in one place, and the class that refuses it."""
    for name, (expect, change) in faults.items():
        document = copy.deepcopy(good)
        change(document)
        write(folder, name, {"kind": kind, "document": document, "expect": expect})


def make_batches() -> None:
    """Batches and claims: the file, and its hashes or the error."""
    wallets = [dev_wallet(name).address for name in ("holder", "buyer", "rival", "spare", "holder")]
    rows = [
        BatchRow(wallets[0]),
        BatchRow(wallets[1], 1_800_000_000, 1_900_000_000, reference_hash("order 4711")),
        BatchRow(wallets[2], 0, (1 << 40) - 1),
        BatchRow(wallets[3], (1 << 40) - 2, 0),
        BatchRow(wallets[4]),
    ]
    for size in (1, 2, 5):
        salts = (fixed(f"salt {i}") for i in range(size))
        made = batches.build(rows[:size], salts, chain_id=CHAIN, ledger=LEDGER, plan=7)
        facts = {
            "expect": "ok",
            "root": str(made.root),
            "leaf_hashes": [str(Digest(leaf)) for leaf in made.hashes],
        }
        write("batch", f"batch-{size}", {"kind": "batch", "document": made.to_json(), **facts})
        claim = made.claim(size - 1)
        write(
            "batch",
            f"claim-{size}",
            {
                "kind": "claim",
                "document": claim.to_json(),
                "expect": "ok",
                "leaf_hash": facts["leaf_hashes"][-1],
            },
        )
    good = made.to_json()
    other = str(Digest(fixed("other")))

    def leaf(document: dict[str, Any], **changes: Any) -> None:
        document["leaves"][1].update(changes)

    write_faults(
        "batch",
        "batch",
        good,
        {
            "batch-later-version": ("UnsupportedVersion", lambda d: d.update(version=2)),
            "batch-another-type": ("ManifestError", lambda d: d.update(type="modeldeed/terms")),
            "batch-unknown-member": ("ManifestError", lambda d: d.update(uri="https://x")),
            "batch-no-leaves": ("ManifestError", lambda d: d.update(leaves=[])),
            "batch-plan-zero": ("ManifestError", lambda d: d.update(plan=0)),
            "batch-plan-beyond-32-bits": ("ManifestError", lambda d: d.update(plan=1 << 32)),
            "batch-root-other": ("ClaimMismatch", lambda d: d.update(root=other)),
            "batch-chain-other": ("ClaimMismatch", lambda d: d["chain"].update(id=1)),
            "batch-ledger-other": (
                "ClaimMismatch",
                lambda d: d["chain"].update(ledger=str(MARKET)),
            ),
            "batch-plan-other": ("ClaimMismatch", lambda d: d.update(plan=8)),
            "batch-holder-other": ("ClaimMismatch", lambda d: leaf(d, to=str(MARKET))),
            "batch-salt-other": ("ClaimMismatch", lambda d: leaf(d, salt=other)),
            "batch-reference-other": ("ClaimMismatch", lambda d: leaf(d, ext_hash=other)),
            "batch-end-other": ("ClaimMismatch", lambda d: leaf(d, not_after=1_900_000_001)),
            "batch-leaves-swapped": ("ClaimMismatch", lambda d: d["leaves"].reverse()),
            "batch-leaf-missing": ("ClaimMismatch", lambda d: d["leaves"].pop()),
            "batch-end-beyond-40-bits": ("ManifestError", lambda d: leaf(d, not_after=1 << 40)),
            "batch-salt-short": ("ManifestError", lambda d: leaf(d, salt="0x12")),
            "batch-begin-as-text": ("ManifestError", lambda d: leaf(d, not_before="0")),
            "batch-leaf-with-index": ("ManifestError", lambda d: leaf(d, index=1)),
        },
    )
    good = made.claim(3).to_json()
    write_faults(
        "batch",
        "claim",
        good,
        {
            "claim-later-version": ("UnsupportedVersion", lambda d: d.update(version=2)),
            "claim-unknown-member": ("ManifestError", lambda d: d.update(uri="https://x")),
            "claim-count-zero": ("ManifestError", lambda d: d.update(count=0)),
            "claim-index-not-below-count": (
                "InclusionProofInvalid",
                lambda d: d["leaf"].update(index=5),
            ),
            "claim-index-other": ("InclusionProofInvalid", lambda d: d["leaf"].update(index=2)),
            "claim-count-other": ("InclusionProofInvalid", lambda d: d.update(count=9)),
            "claim-holder-other": (
                "InclusionProofInvalid",
                lambda d: d["leaf"].update(to=str(MARKET)),
            ),
            "claim-plan-other": ("InclusionProofInvalid", lambda d: d.update(plan=8)),
            "claim-chain-other": ("InclusionProofInvalid", lambda d: d["chain"].update(id=1)),
            "claim-root-other": ("InclusionProofInvalid", lambda d: d.update(root=other)),
            "claim-path-too-short": ("InclusionProofInvalid", lambda d: d["path"].pop()),
            "claim-path-too-long": ("InclusionProofInvalid", lambda d: d["path"].append(other)),
            "claim-path-swapped": ("InclusionProofInvalid", lambda d: d["path"].reverse()),
            "claim-path-beyond-32": ("ManifestError", lambda d: d.update(path=[other] * 33)),
            "claim-path-not-hex": ("ManifestError", lambda d: d.update(path=[7])),
        },
    )


def make_vouchers() -> None:
    """Vouchers: the file, and its digest or the error."""
    licensor = dev_wallet("licensor")
    free = Voucher(
        signer=licensor.address,
        plan=7,
        to=dev_wallet("holder").address,
        plan_digest=Digest(fixed("plan digest")),
        nonce=int.from_bytes(fixed("nonce"), "big"),
        deadline=1_900_000_000,
        ext_hash=reference_hash("order 4711"),
    )
    priced = Voucher(
        signer=licensor.address,
        plan=(1 << 32) - 1,
        to=dev_wallet("holder").address,
        plan_digest=Digest(fixed("plan digest")),
        nonce=(1 << 256) - 1,
        deadline=(1 << 40) - 1,
        market=MARKET,
        not_before=1_800_000_000,
        not_after=(1 << 40) - 1,
        pay_token=TOKEN,
        price=(1 << 96) - 1,
    )
    for name, offer in (("free", free), ("priced", priced)):
        made = vouchers.sign(licensor, offer, chain_id=CHAIN, ledger=LEDGER)
        digest = str(offer.digest(CHAIN, LEDGER))
        vector = {"document": made.to_json(), "expect": "ok", "digest": digest}
        write("voucher", name, {"kind": "voucher", **vector})
    good = made.to_json()
    rival = dev_wallet("rival").address

    def offer_(document: dict[str, Any], **changes: Any) -> None:
        document["voucher"].update(changes)

    high_s = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    raw = bytes.fromhex(good["signature"][2:])
    twin = raw[:32] + (high_s - int.from_bytes(raw[32:64], "big")).to_bytes(32, "big")
    twin += bytes([55 - raw[64]])
    other = str(Digest(fixed("other")))
    write_faults(
        "voucher",
        "voucher",
        good,
        {
            "later-version": ("UnsupportedVersion", lambda d: d.update(version=2)),
            "another-type": ("ManifestError", lambda d: d.update(type="modeldeed/batch")),
            "unknown-member": ("ManifestError", lambda d: d.update(note="for you")),
            "unknown-offer-member": ("ManifestError", lambda d: offer_(d, note="for you")),
            "price-as-number": ("ManifestError", lambda d: offer_(d, price=1)),
            "price-leading-zero": ("ManifestError", lambda d: offer_(d, price="01")),
            "price-hexadecimal": ("ManifestError", lambda d: offer_(d, price="0x1")),
            "price-negative": ("ManifestError", lambda d: offer_(d, price="-1")),
            "price-beyond-96-bits": ("ManifestError", lambda d: offer_(d, price=str(1 << 96))),
            "nonce-decimal": ("ManifestError", lambda d: offer_(d, nonce="7")),
            "nonce-short": ("ManifestError", lambda d: offer_(d, nonce="0x07")),
            "deadline-zero": ("ManifestError", lambda d: offer_(d, deadline=0)),
            "deadline-beyond-40-bits": ("ManifestError", lambda d: offer_(d, deadline=1 << 40)),
            "plan-zero": ("ManifestError", lambda d: offer_(d, plan=0)),
            "signature-missing": ("ManifestError", lambda d: d.pop("signature")),
            "signature-empty": ("ManifestError", lambda d: d.update(signature="0x")),
            "signature-too-long": (
                "ManifestError",
                lambda d: d.update(signature="0x" + "11" * 8193),
            ),
            "signature-short": ("SignatureInvalid", lambda d: d.update(signature="0x" + "11" * 64)),
            "signature-high-s": (
                "SignatureInvalid",
                lambda d: d.update(signature="0x" + twin.hex()),
            ),
            "other-chain": ("SignatureInvalid", lambda d: d["chain"].update(id=1)),
            "other-ledger": ("SignatureInvalid", lambda d: d["chain"].update(ledger=str(MARKET))),
            "other-signer": ("SignatureInvalid", lambda d: offer_(d, signer=str(rival))),
            "other-plan": ("SignatureInvalid", lambda d: offer_(d, plan=7)),
            "other-holder": ("SignatureInvalid", lambda d: offer_(d, to=str(rival))),
            "other-market": ("SignatureInvalid", lambda d: offer_(d, market=str(TOKEN))),
            "other-begin": ("SignatureInvalid", lambda d: offer_(d, not_before=0)),
            "other-end": ("SignatureInvalid", lambda d: offer_(d, not_after=0)),
            "other-token": ("SignatureInvalid", lambda d: offer_(d, pay_token=str(MARKET))),
            "other-price": ("SignatureInvalid", lambda d: offer_(d, price="1")),
            "other-plan-digest": ("SignatureInvalid", lambda d: offer_(d, plan_digest=other)),
            "other-reference": ("SignatureInvalid", lambda d: offer_(d, ext_hash=other)),
            "other-nonce": ("SignatureInvalid", lambda d: offer_(d, nonce=other)),
            "other-deadline": ("SignatureInvalid", lambda d: offer_(d, deadline=1_900_000_000)),
        },
    )


def main() -> int:
    """Write all vectors."""
    make_batches()
    make_vouchers()
    return 0


if __name__ == "__main__":
    sys.exit(main())
