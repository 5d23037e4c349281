#!/usr/bin/env python3
"""Writes tests/vectors/evidence/releases: a bundle with receipts of a real broker, and its faults.

The chain's clock and the broker's keys are this run's, so each run writes other bytes. Run it after
a deliberate change of the format or of the contracts. Faults are one change of one receipt each:
``{"member", "path", "value"}`` (no value: that member is taken out), closed again with
a new custody log and index; step 15 must be the first to fail.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "tests" / "vectors" / "evidence" / "releases"
_OTHER = "0x" + "5a" * 32
_FAULTS: dict[str, tuple[str, object]] = {
    "granted-no-boolean": ("entry.reply.granted", 0),
    "time-other": ("entry.reply.time", 5),
    "type-other": ("entry.reply.type", "heartbeat"),
    "audience-other": ("entry.reply.audience", "someone else"),
    "lattice-signature-other": ("entry.reply.signature.mldsa65", "AAAA"),
    "license-other": ("entry.request.license", "1.9"),
    "request-other": ("entry.request.issued_at", 1),
    "root-other": ("anchor.root", _OTHER),
    "index-other": ("anchor.index", 63),
    "count-other": ("anchor.count", 64),
    "anchoring-other": ("anchor.sequence", 2),
    "transaction-other": ("anchor.transaction", _OTHER),
    "transaction-missing": ("anchor.transaction", None),
    "chain-other": ("chain.id", 1),
    "brokers-other": ("chain.brokers", "0x" + "11" * 20),
    "broker-other": ("broker", 2),
    "number-other": ("sequence", 77),
    "key-other": ("signing.ed25519", _OTHER),
    "version-other": ("version", 2),
    "member-extra": ("remark", "x"),
}


def main() -> int:
    """Collect the bundles and write the faults."""
    sys.path.insert(0, str(ROOT / "tests" / "worlds"))
    sys.path.insert(0, str(ROOT))
    from release_world import world

    from ledger.investigation import collect_model_evidence

    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as made:
        published = made.made.published
        for name, proofs, one in (
            ("three", ("first", "second", "refused"), False),
            ("one", ("second",), True),
        ):
            dest = OUT / f"{name}.evidence.zip"
            dest.unlink(missing_ok=True)
            collect_model_evidence(
                made.network,
                published.claim,
                published.manifest,
                published.fingerprint,
                dest=dest,
                releases=[made.proofs[of] for of in proofs],
                one=one,
                actor="the vector generator",
                now=datetime(2026, 11, 28, 12, tzinfo=UTC),
            )
    for name, (path, value) in _FAULTS.items():
        fault = {"member": "releases/1.json", "path": path.split(".")}
        if value is not None:
            fault["value"] = value  # type: ignore[assignment]
        text = json.dumps({"edit": fault, "expect": {"first": 15}}, indent=1)
        (OUT / f"{name}.json").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
