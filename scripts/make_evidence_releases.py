#!/usr/bin/env python3
"""Freeze the contract code of the version being released in ledger/evidence/releases.json.

Run once per release, after its contracts are final. Bundles made with a release must verify for
ever, so the entries of earlier versions stay as they are, and this one is never written twice with
another content.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

from ledger.evidence.releases import FROZEN, shipped_code

ROOT = Path(__file__).resolve().parent.parent
RELEASES = ROOT / "ledger" / "evidence" / "releases.json"


def main() -> int:
    """Append this version's entry."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    known = json.loads(RELEASES.read_text())
    code = {name: shipped_code(name) for name in FROZEN}
    entry = {
        "release": version,
        "contracts": {
            name: {
                "size": of.size,
                "masked_hash": str(of.masked_hash),
                "immutables": [list(span) for span in of.immutables],
                "init_code_hash": str(of.init_code_hash),
            }
            for name, of in code.items()
        },
    }
    if entry in known:
        return 0
    if any(release["release"] == version for release in known):
        print(f"error: {version} is already frozen with other code", file=sys.stderr)
        print("hint: raise the version in pyproject.toml", file=sys.stderr)
        return 1
    RELEASES.write_text(json.dumps([*known, entry], indent=2) + "\n")
    print(f"wrote {RELEASES.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
