"""Benchmark of evidence: what verifying a bundle takes, in each verifier, and how large it is.

``rows()`` returns the rows of ``scripts/bench.py evidence --json``, those with a bar by its name.
Verification is compared with only reading the file and hashing its members; the two run
interleaved. Figures are medians. A verifier that this release or this machine has not is left out.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import row
from safetensors.numpy import save_file

from ledger.canonical import canonical_json
from ledger.evidence.bundle import pack, read_bundle
from ledger.evidence.documents import StateProof
from ledger.evidence.headers import Header
from ledger.evidence.proofs import prove_account, prove_word
from ledger.evidence.verify import examine
from ledger.fingerprint.exact import fingerprint
from ledger.tensors.model import open_model

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "tests" / "vectors" / "evidence" / "model.evidence.zip"
VERIFIERS = ROOT / "ledger" / "evidence" / "verifiers"
ROUNDS = 15
SCRIPT_ROUNDS = 5
TENSORS = 1000
_SHA256 = "reading the zip and SHA-256 of its members, same file, same run"


def rows() -> list[dict[str, Any]]:
    """Time verification of the vector bundle and of one storage proof; sizes."""
    verify_times, hash_times = _interleaved(_verify, _hash)
    word_times, _ = _interleaved(_word_proof(), lambda: None)
    ratio = statistics.median(a / b for a, b in zip(verify_times, hash_times, strict=True))
    median = statistics.median(verify_times) * 1e3
    found = [
        row("verify_ms", median, "ms", f"bar 300; ratio: {_SHA256}", ratio),
        row("prove one storage word", statistics.median(word_times) * 1e6, "us", "", None),
        row("size of the bundle", BUNDLE.stat().st_size / 1024, "KiB", "", None),
        row("bundle_mb_1000_tensors", _large() / 1e6, "MB", "bar 2", None),
    ]
    script = VERIFIERS / "verify.py"
    if script.is_file():
        found.append(row("verify_script_ms", _script(script), "ms", "a process of its own", None))
    page = _browser()
    if page is not None:
        found.append(row("verify_browser_ms", page, "ms", "bar 2000", None))
    return found


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


def _large() -> int:
    """Bytes of the vector bundle with the fingerprint of 1,000 tensors in place of its own."""
    generator = np.random.default_rng(1)
    layers = {
        f"model.layers.{n // 10}.block.{n % 10}.projection.weight": generator.standard_normal(
            (4, 4 + n % 7)
        ).astype(np.float32)
        for n in range(TENSORS)
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.safetensors"
        save_file(layers, path)
        with open_model(path) as model:
            listed = fingerprint(model, level="deep").to_json()
    bundle = read_bundle(BUNDLE)
    members = {**bundle.members, "fingerprint.json": canonical_json(listed)}
    return len(pack(bundle.subject, members))


def _script(script: Path) -> float:
    """Milliseconds of the script, its interpreter's start included."""
    times = []
    for _ in range(SCRIPT_ROUNDS):
        began = time.perf_counter()
        ran = subprocess.run(
            [sys.executable, "-I", str(script), str(BUNDLE)], capture_output=True, check=False
        )
        times.append(time.perf_counter() - began)
        if ran.returncode != 3:
            raise SystemExit(f"error: verify.py ended with {ran.returncode}: {ran.stderr[-300:]!r}")
    return statistics.median(times) * 1e3


def _browser() -> float | None:
    """Milliseconds in a real browser, if one is here: see ``bench_evidence_page``."""
    if not (VERIFIERS / "verify.html").is_file():
        return None
    try:
        from bench_evidence_page import verify_milliseconds
    except ImportError:
        return None
    milliseconds: float | None = verify_milliseconds(BUNDLE)
    return milliseconds


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
