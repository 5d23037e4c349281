#!/usr/bin/env python3
"""Record the built contract code as this release's in ledger/evidence/releases.json.

    scripts/make_evidence_releases.py            write the entry of the present version
    scripts/make_evidence_releases.py --check    exit 1 when it differs from ledger/chain/abi

Entries of earlier releases stay as they are: bundles made with them must verify for ever.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from ledger.ids import keccak256

ROOT = Path(__file__).resolve().parent.parent
ABI = ROOT / "ledger" / "chain" / "abi"
RELEASES = ROOT / "ledger" / "evidence" / "releases.json"
NAMES = ("Anchors", "ModelRegistry", "LicenseLedger")


def entry(artifact: dict[str, Any]) -> dict[str, Any]:
    """What a verifier needs to know one contract's code again."""
    code = bytearray.fromhex(artifact["deployedBytecode"][2:])
    spans = [[span["start"], span["length"]] for span in artifact["immutableReferences"]]
    for start, length in spans:
        code[start : start + length] = bytes(length)
    return {
        "size": len(code),
        "masked_hash": "0x" + keccak256(code).hex(),
        "immutables": spans,
        "source_hash": artifact["sourceHash"],
    }


def main(argv: list[str] | None = None) -> int:
    """Write the entry, or compare it with ``--check``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; compare")
    check = parser.parse_args(argv).check
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    present = {
        "release": version,
        "contracts": {
            name: entry(json.loads((ABI / f"{name}.json").read_text())) for name in NAMES
        },
    }
    known = json.loads(RELEASES.read_text()) if RELEASES.is_file() else []
    wanted = [*(release for release in known if release["release"] != version), present]
    if known == wanted:
        return 0
    if check:
        print(f"error: {RELEASES.name} does not know the built contracts", file=sys.stderr)
        print("hint: run scripts/make_evidence_releases.py", file=sys.stderr)
        return 1
    RELEASES.write_text(json.dumps(wanted, indent=2) + "\n")
    print(f"wrote {RELEASES.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
