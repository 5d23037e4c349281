"""Write the vectors of the watermark: keys and signs, commitments with one fault each, rows."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ledger.ids import ZERO_DIGEST, Address, Digest
from ledger.watermark.keys import (
    MASTER,
    beacon_of,
    cell_context,
    effective_key,
    sign_bytes,
    unpacked,
)
from ledger.watermark.record import Commitment
from ledger.watermark.weights import marked_rows, row_spread

FOLDER = Path(__file__).parents[1] / "tests" / "vectors" / "watermark"
OWNER = Address(b"\x70" * 20)
GOOD = Commitment(
    chain_id=31337,
    registry=Address(b"\x22" * 20),
    owner=OWNER,
    content_id=Digest(b"\x01" * 32),
    key_hash=Digest(b"\x02" * 32),
    targets_hash=Digest(b"\x03" * 32),
    strength=10_000,
    detector=Digest(b"\x04" * 32),
    sketch_root=ZERO_DIGEST,
    terms_hash=ZERO_DIGEST,
    generator="",
    nonce=Digest(b"\x05" * 32),
)


def keys() -> dict[str, dict[str, Any]]:
    """One beacon of eight blocks, one of a single block, and a cell's key."""
    made = {}
    for name, count, context in (("master", 8, "master"), ("short", 1, "master"), ("cell", 8, 7)):
        mix = [hashlib.sha256(bytes([n])).digest() for n in range(count)]
        secret, content = hashlib.sha256(b"secret").digest(), Digest(b"\x11" * 32)
        cid, beacon = Digest(b"\x33" * 32), beacon_of(mix)
        bound = MASTER if isinstance(context, str) else cell_context(context)
        key = effective_key(secret, beacon, content, OWNER, bound)
        made[f"key-{name}"] = {
            "secret": secret.hex(),
            "mix_hashes": [one.hex() for one in mix],
            "beacon": str(beacon),
            "content_id": str(content),
            "owner": str(OWNER),
            "context": context,
            "effective_key": key.hex(),
            "cid": str(cid),
            "signs": sign_bytes(key, cid, 256).tobytes().hex(),
        }
    return made


def commitments() -> dict[str, dict[str, Any]]:
    """A good one, and one fault each."""
    faults: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
        "valid": ("ok", lambda _: None),
        "with-sketch": ("ok", lambda m: m.update(sketch_root="0x" + "06" * 32)),
        "with-generator": ("ok", lambda m: m.update(generator="tokens/1")),
        "strongest": ("ok", lambda m: m.update(strength=100_000)),
        "too-strong": ("ManifestError", lambda m: m.update(strength=100_001)),
        "strength-zero": ("ManifestError", lambda m: m.update(strength=0)),
        "strength-fraction": ("ManifestError", lambda m: m.update(strength=0.01)),
        "threshold-weaker": ("ManifestError", lambda m: m.update(log2_p=-64)),
        "fewer-attempts": ("ManifestError", lambda m: m.update(log2_attempts=0)),
        "another-scheme": ("UnsupportedVersion", lambda m: m.update(scheme="signmark/2")),
        "later-version": ("UnsupportedVersion", lambda m: m.update(version=2)),
        "another-type": ("ManifestError", lambda m: m.update(type="modeldeed/claim")),
        "unknown-member": ("ManifestError", lambda m: m.update(owner_name="me")),
        "no-nonce": ("ManifestError", lambda m: m.pop("nonce")),
        "owner-short": ("ManifestError", lambda m: m.update(owner="0x70")),
        "key-hash-upper-case": ("ManifestError", lambda m: m.update(key_hash="0x" + "AB" * 32)),
    }
    made = {}
    for name, (expect, change) in faults.items():
        document = copy.deepcopy(GOOD.to_json())
        change(document)
        vector = {"commitment": document, "expect": expect}
        if expect == "ok":
            vector["hash"] = str(Commitment.from_json(document).hash())
        made[f"commitment-{name}"] = vector
    return made


def rows() -> dict[str, dict[str, Any]]:
    """Ordinary rows of each type, and what stays: zeros, infinities, the largest numbers."""
    made = {}
    kinds = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16)}
    for dtype, kind in kinds.items():
        rng = np.random.default_rng(7)
        plain = (rng.standard_normal((4, 32)) * 0.05).astype(kind)
        odd = plain.copy()
        odd[0, 3] = 0
        odd[1, 0] = np.inf
        odd[2, 0] = np.nan
        # Of both signs and near the largest: some would overflow when they grow.
        odd[3] = np.where(np.arange(32) % 2, 1, -1) * float(ml_dtypes.finfo(kind).max)
        for name, stored in (("plain", plain), ("odd", odd)):
            packed = sign_bytes(b"\x09" * 32, Digest(b"\x0a" * 32), stored.size)
            wide = stored.astype(np.float32)
            signs = unpacked(packed, 0, stored.size).reshape(wide.shape)
            out = marked_rows(stored, wide, signs, row_spread(wide), 0.01)
            made[f"rows-{dtype.lower()}-{name}"] = {
                "dtype": dtype,
                "columns": 32,
                "strength": 10_000,
                "rows": stored.tobytes().hex(),
                "signs": packed.tobytes().hex(),
                "marked": out.tobytes().hex(),
            }
    return made


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, vector in (keys() | commitments() | rows()).items():
        (FOLDER / f"{name}.json").write_text(json.dumps(vector, indent=1) + "\n")


if __name__ == "__main__":
    main()
