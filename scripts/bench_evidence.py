"""Benchmark of evidence: verifying a bundle, and the parts that grow with it.

``rows()`` returns the rows of ``scripts/bench.py evidence --json``. Verification is compared with
only reading the file and hashing its members; the two run interleaved. Figures are medians.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import row

from ledger.evidence.bundle import read_bundle
from ledger.evidence.documents import StateProof
from ledger.evidence.headers import Header
from ledger.evidence.proofs import prove_account, prove_word
from ledger.evidence.verify import examine

BUNDLE = (
    Path(__file__).resolve().parents[1] / "tests" / "vectors" / "evidence" / "model.evidence.zip"
)
ROUNDS = 15
_SHA256 = "reading the zip and SHA-256 of its members, same file, same run"


def rows() -> list[dict[str, Any]]:
    """Time verification of the vector bundle and of one storage proof."""
    verify_times, hash_times = _interleaved(_verify, _hash)
    proof = _word_proof()
    word_times, _ = _interleaved(proof, lambda: None)
    ratio = statistics.median(a / b for a, b in zip(verify_times, hash_times, strict=True))
    return [
        row(
            "verify a bundle, 16 steps", statistics.median(verify_times) * 1e3, "ms", _SHA256, ratio
        ),
        row("prove one storage word", statistics.median(word_times) * 1e6, "us", "", None),
        row("size of the bundle", BUNDLE.stat().st_size / 1024, "KiB", "", None),
    ]


def _interleaved(
    one: Callable[[], object], other: Callable[[], object]
) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    one(), other()
    for _ in range(ROUNDS):
        for run, kept in zip((one, other), times, strict=True):
            began = time.perf_counter()
            run()
            kept.append(time.perf_counter() - began)
    return times


def _verify() -> None:
    if not examine(read_bundle(BUNDLE)).holds:
        raise SystemExit("error: the vector bundle does not hold")


def _hash() -> None:
    with zipfile.ZipFile(BUNDLE) as archive:
        for name in archive.namelist():
            hashlib.sha256(archive.read(name)).digest()


def _word_proof() -> Callable[[], object]:
    bundle = read_bundle(BUNDLE)
    header = Header.parse(bundle.member(f"headers/{bundle.subject.block}.rlp"))
    proof = StateProof.from_json(bundle.json("state/ModelRegistry.json"))
    slot = proof.slots[0]

    def run() -> object:
        account = prove_account(header.state_root, proof.address, proof.nodes)
        return prove_word(account.storage_root, slot.slot, slot.nodes)

    return run


if __name__ == "__main__":
    print(json.dumps(rows(), indent=2))
