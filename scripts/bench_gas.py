"""Gas of our contracts beside the peers' figures. `rows()` is read by ``scripts/bench.py gas``.

Ours come from a forge run in isolate mode now: full transactions, intrinsic gas and calldata
included, cancun. The peers' were measured the same way once, on the versions named, with their
surroundings mocked where needed, which favours the peer; they do not change until a peer does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"

UNLOCK = "Unlock PublicLock V15"
STORY = "Story protocol-core v1.3"
EAS = "EAS 1.9.0"
# operation, peer operation, the peer's gas
PEERS = (
    ("issue", f"{UNLOCK} purchase", 246_154),
    ("issue", f"{UNLOCK} grantKeys", 170_286),
    ("issue", f"{STORY} mintLicenseTokens, free", 607_266),
    ("issue", "Nevermined v1.0.4 mint", 184_336),
    ("issue", f"{EAS} attest, 64 bytes", 221_726),
    ("issue", "OpenZeppelin ERC721 mint, nothing else", 68_432),
    ("issueByRole", f"{UNLOCK} grantKeys", 170_286),
    ("issueBatch100PerLicense", f"{STORY} mintLicenseTokens, each of ten", 205_832),
    ("anchorBatch", f"{EAS} timestamp", 45_864),
    ("redeem", f"{UNLOCK} purchase", 246_154),
    ("anchor", f"{EAS} timestamp", 45_864),
    ("revoke", f"{UNLOCK} expireAndRefundFor", 60_301),
    ("revoke", f"{EAS} revoke", 61_801),
    ("renew", f"{UNLOCK} extend", 78_486),
    ("check", f"{UNLOCK} getHasValidKey, one key", 14_576),
    ("check", f"{UNLOCK} getHasValidKey, 50 keys", 255_019),
    ("check", f"{EAS} getAttestation", 21_253),
    ("register", None, None),
    ("bindRuntime", None, None),
    ("checkWithRuntime", None, None),
)


def measure() -> dict[str, int]:
    """Return the gas of each operation, measured now.

    Raises:
        SystemExit: forge is not installed, or the measuring test fails.
    """
    # Not npm's wrapper: it ends with 0 even when tests fail.
    forge = next(CONTRACTS.glob("node_modules/@foundry-rs/forge-*/bin/forge"), None)
    if forge is None:
        raise SystemExit("error: forge is not installed\nhint: make contracts")
    measured = CONTRACTS / "snapshots" / f"measured-{os.getpid()}.json"
    try:
        done = subprocess.run(
            [str(forge), "test", "--match-path", "test/gas/*"],
            cwd=CONTRACTS,
            env={**os.environ, "GAS_SNAPSHOT": str(measured.relative_to(CONTRACTS))},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"error: the gas test fails\n{done.stdout[-2000:]}")
        gas: dict[str, int] = json.loads(measured.read_text())
    finally:
        measured.unlink(missing_ok=True)
    return gas


def rows() -> list[dict[str, Any]]:
    """Return one row per comparison: what, value, unit, against, ratio (ours over the peer's)."""
    measured = measure()
    return [
        {
            "what": what,
            "value": measured[what],
            "unit": "gas",
            "against": "nothing: no peer has it" if gas is None else f"{peer}: {gas}",
            "ratio": None if gas is None else round(measured[what] / gas, 3),
        }
        for what, peer, gas in PEERS
    ]


if __name__ == "__main__":
    json.dump(rows(), sys.stdout, indent=2)
    print()
