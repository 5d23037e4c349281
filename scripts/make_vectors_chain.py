"""Write tests/vectors/chain-profile: every profile, and one file per fault, named for the fault.

Usage: python scripts/make_vectors_chain.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ledger.chain.profile import known_profiles, profile_for

FOLDER = Path(__file__).parents[1] / "tests" / "vectors" / "chain-profile"


def faults() -> dict[str, tuple[Any, str]]:
    """Document and expected error class, by the fault's name."""

    def but(**changes: Any) -> dict[str, Any]:
        return profile_for(31337).to_json() | changes

    def without(name: str) -> dict[str, Any]:
        return {key: value for key, value in but().items() if key != name}

    malformed = "ManifestError"
    return {
        "not-an-object": ([], malformed),
        "version-missing": (without("version"), "UnsupportedVersion"),
        "version-2": (but(version=2), "UnsupportedVersion"),
        "field-missing": (without("proof_kind"), malformed),
        "field-unknown": (but(colour="red"), malformed),
        "chain-id-zero": (but(chain_id=0), malformed),
        "chain-id-text": (but(chain_id="31337"), malformed),
        "chain-id-true": (but(chain_id=True), malformed),
        "chain-id-beyond-2-53": (but(chain_id=1 << 53), malformed),
        "name-empty": (but(name=""), malformed),
        "name-too-long": (but(name="x" * 65), malformed),
        "finality-unknown": (but(finality="soon"), malformed),
        "finality-null": (but(finality=None), malformed),
        "tag-with-depth": (but(finality_depth=3), malformed),
        "depth-without-depth": (but(finality="depth"), malformed),
        "depth-negative": (but(finality="depth", finality_depth=-1), malformed),
        "head-age-zero": (but(max_head_age=0), malformed),
        "head-age-fraction": (but(max_head_age=1.5), malformed),
        "block-number-source-unknown": (but(block_number_source="l3"), malformed),
        "tolerance-negative": (but(timestamp_tolerance=-1), malformed),
        "tolerance-null": (but(timestamp_tolerance=None), malformed),
        "proof-kind-unknown": (but(proof_kind="verkle"), malformed),
        "beacon-kind-unknown": (but(beacon_kind="dice"), malformed),
        "settlement-zero": (but(l1_settlement=0), malformed),
        "test-network-number": (but(test_network=1), malformed),
        "endpoints-zero": (but(min_endpoints=0), malformed),
    }


def main() -> None:
    """Write all vectors and remove those that are no longer made."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    vectors: dict[str, tuple[Any, str]] = {
        f"good-{profile.chain_id}": (profile.to_json(), "ok") for profile in known_profiles()
    }
    depth = profile_for(31337).to_json() | {"finality": "depth", "finality_depth": 12}
    vectors["valid-depth"] = (depth, "ok")
    vectors |= faults()
    for path in FOLDER.glob("*.json"):
        if path.stem not in vectors:
            path.unlink()
    for name, (document, expect) in vectors.items():
        text = json.dumps({"expect": expect, "document": document}, indent=2)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(f"{len(vectors)} vectors in {FOLDER.name}")


if __name__ == "__main__":
    main()
