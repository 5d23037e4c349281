"""Write the vectors of the lineage sketch: draws, signed bytes, files with one fault each."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ledger.canonical import canonical_json
from ledger.fingerprint.lineage import drawn
from ledger.fingerprint.sketch import FORMAT, signed_bytes
from ledger.ids import Digest
from ledger.merkle import T1

FOLDER = Path(__file__).parents[1] / "tests" / "vectors" / "lineage"
KEY = bytes(range(32))
ENTRIES: list[dict[str, Any]] = [
    {
        "name": "layers.0.weight",
        "role": "hidden units",
        "units": 40,
        "features": 24,
        "gates": 1,
        "rows": 16,
        "columns": 8,
    },
    {
        "name": "lstm.weight_ih_l0",
        "role": "recurrent units",
        "units": 24,
        "features": 20,
        "gates": 4,
        "rows": 6,
        "columns": 5,
    },
]


def draws() -> dict[str, dict[str, Any]]:
    """Everything, where there is no more than is asked for; some; another key, another label."""
    made = {}
    for name, key, label, size, most in (
        ("all", KEY, "w/rows", 12, 16),
        ("some", KEY, "w/rows", 40, 16),
        ("another-key", bytes(32), "w/rows", 40, 16),
        ("another-label", KEY, "w/features", 40, 16),
        ("name-not-ascii", KEY, "größe/rows", 300, 9),
    ):
        made[f"draw-{name}"] = {
            "key": "0x" + key.hex(),
            "label": label,
            "size": size,
            "most": most,
            "places": drawn(key, label, size, most).tolist(),
        }
    return made


def codes() -> dict[str, dict[str, Any]]:
    """Rows of float32 and their signed bytes."""
    rng = np.random.default_rng(11)
    plain = rng.standard_normal((6, 16)).astype(np.float32)
    odd = plain.copy()
    odd[0, 2], odd[1, 0], odd[2, 5] = np.nan, np.inf, -np.inf
    odd[3] = 0.25  # a row of equal values is empty once it is centred
    odd[4] = np.float32(3e38) * np.where(np.arange(16) % 2, 1, -1)
    odd[5] = np.float32(1e-45)
    # Of mean 0 and largest magnitude 127: what is rounded are halves.
    halves = np.array([[127, -127, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5]], np.float32)
    rows = {"plain": plain, "odd": odd, "halves-to-even": halves}
    return {
        f"codes-{name}": {
            "columns": values.shape[1],
            "rows": values.tobytes().hex(),
            "codes": signed_bytes(values).tobytes().hex(),
        }
        for name, values in rows.items()
    }


def bodies(entries: list[dict[str, Any]]) -> list[bytes]:
    """Bytes for each matrix, of its announced size."""
    rng = np.random.default_rng(5)
    sizes = (entry["rows"] * entry["columns"] * entry["gates"] for entry in entries)
    return [rng.integers(-127, 128, size, np.int8).tobytes() for size in sizes]


def root_of(key: bytes, entries: list[dict[str, Any]], parts: list[bytes]) -> str:
    """The commitment as the page has it, without the code under test."""
    leaves = []
    for index, (entry, part) in enumerate(zip(entries, parts, strict=True)):
        salt = hmac.digest(key, b"salt" + struct.pack("<I", index), "sha256")
        hashed = hashlib.sha256(canonical_json(entry)).digest()
        leaves.append(T1.leaf(b"\x28" + salt + hashed + hashlib.sha256(part).digest()))
    return str(Digest(T1.root(leaves)))


def good() -> dict[str, Any]:
    """The line of a good sketch."""
    return {
        "format": FORMAT,
        "content_root": "0x" + "11" * 32,
        "key": "0x" + KEY.hex(),
        "root": root_of(KEY, ENTRIES, bodies(ENTRIES)),
        "matrices": copy.deepcopy(ENTRIES),
    }


def vector(line: bytes, body: bytes, expect: str) -> dict[str, Any]:
    """One sketch file and what a reader makes of it."""
    made = {"file": base64.b64encode(line + body).decode(), "expect": expect}
    if expect == "ok":
        document = json.loads(line)
        key = bytes.fromhex(document["key"][2:])
        made["root"] = document["root"]
        made["matrices"] = [
            {
                "places": drawn(key, e["name"] + "/rows", e["units"], e["rows"]).tolist(),
                "features": drawn(
                    key, e["name"] + "/features", e["features"], e["columns"]
                ).tolist(),
            }
            for e in document["matrices"]
        ]
    return made


Change = Callable[[dict[str, Any]], object]


def _first(**change: Any) -> Change:
    return lambda document: document["matrices"][0].update(change)


def _many(count: int) -> Change:
    one = ENTRIES[0] | {"rows": 1, "columns": 1}
    return lambda document: document.update(
        matrices=[one | {"name": f"w{number}"} for number in range(count)]
    )


def faults() -> dict[str, dict[str, Any]]:
    """Lines with one fault, whose body and root are right for what they announce."""
    table: dict[str, tuple[str, Change]] = {
        "valid": ("ok", lambda _: None),
        "one-matrix": ("ok", lambda d: d["matrices"].pop()),
        "matrices-32": ("ok", _many(32)),
        # The root binds the matrices; whose they are is said by the commitment that holds the root.
        "another-content-root": ("ok", lambda d: d.update(content_root="0x" + "22" * 32)),
        "later-version": (
            "UnsupportedVersion",
            lambda d: d.update(format="modeldeed/lineage-sketch/2"),
        ),
        "unknown-member": ("ManifestError", lambda d: d.update(owner="me")),
        "no-content-root": ("ManifestError", lambda d: d.pop("content_root")),
        "content-root-short": ("ManifestError", lambda d: d.update(content_root="0x11")),
        "key-short": ("ManifestError", lambda d: d.update(key="0x" + KEY[1:].hex())),
        "key-number": ("ManifestError", lambda d: d.update(key=7)),
        "no-matrices": ("ManifestError", lambda d: d.update(matrices=[])),
        "matrices-33": ("ManifestError", _many(33)),
        "matrices-object": ("ManifestError", lambda d: d.update(matrices={})),
        "entry-unknown-member": ("ManifestError", _first(dtype="F32")),
        "entry-no-role": ("ManifestError", lambda d: d["matrices"][0].pop("role")),
        "role-unknown": ("ManifestError", _first(role="attention heads")),
        "name-number": ("ManifestError", _first(name=5)),
        "name-long": ("ManifestError", _first(name="w" * 1025)),
        "units-15": ("ManifestError", _first(units=15, rows=15)),
        "units-fraction": ("ManifestError", _first(units=40.5)),
        "units-huge": ("ManifestError", _first(units=(1 << 20) + 1)),
        "features-7": ("ManifestError", _first(features=7, columns=7)),
        "gates-zero": ("ManifestError", _first(gates=0)),
        "gates-five": ("ManifestError", _first(gates=5)),
        "rows-zero": ("ManifestError", _first(rows=0)),
        "rows-negative": ("ManifestError", _first(rows=-16)),
        "rows-bool": ("ManifestError", _first(rows=True)),
        "rows-above-units": ("ManifestError", _first(rows=41)),
        "rows-2049": ("ManifestError", _first(units=4096, rows=2049)),
        "columns-above-features": ("ManifestError", _first(columns=25)),
        "columns-2049": ("ManifestError", _first(features=4096, columns=2049, rows=1)),
    }
    made = {}
    for name, (expect, change) in table.items():
        document = good()
        change(document)
        entries = document["matrices"]
        parts: list[bytes] = []
        try:
            parts = bodies(entries)
            document["root"] = root_of(bytes.fromhex(str(document["key"])[2:]), entries, parts)
        except (KeyError, TypeError, ValueError, AttributeError):
            parts = bodies(ENTRIES)  # what it announces has no size
        made[f"sketch-{name}"] = vector(canonical_json(document) + b"\n", b"".join(parts), expect)
    return made


def files() -> dict[str, dict[str, Any]]:
    """Good lines in files that are not: bytes too many or too few, another root, another form."""
    document = good()
    line, parts = canonical_json(document) + b"\n", bodies(ENTRIES)
    body = b"".join(parts)
    changed = bytes([body[0] ^ 1]) + body[1:]
    swapped = document | {"matrices": ENTRIES[::-1]}
    renamed = copy.deepcopy(document)
    renamed["matrices"][0]["name"] = "layers.1.weight"
    other_key = document | {"key": "0x" + bytes(32).hex()}
    other_root = document | {"root": "0x" + "00" * 32}
    spaced = json.dumps(document, sort_keys=True).encode() + b"\n"
    table = {
        "empty": (b"", b"", "ManifestError"),
        "no-line-end": (line[:-1], b"", "ManifestError"),
        "line-end-dos": (line[:-1] + b"\r\n", body, "ManifestError"),
        "line-array": (b"[]\n", b"", "ManifestError"),
        "line-spaced": (spaced, body, "ManifestError"),
        "body-short": (line, body[:-1], "ManifestError"),
        "body-long": (line, body + b"\x00", "ManifestError"),
        "body-changed": (line, changed, "ClaimMismatch"),
        "root-other": (canonical_json(other_root) + b"\n", body, "ClaimMismatch"),
        "key-other": (canonical_json(other_key) + b"\n", body, "ClaimMismatch"),
        "name-other": (canonical_json(renamed) + b"\n", body, "ClaimMismatch"),
        "matrices-swapped": (
            canonical_json(swapped) + b"\n",
            parts[1] + parts[0],
            "ClaimMismatch",
        ),
    }
    return {f"sketch-{name}": vector(*given) for name, given in table.items()}


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, made in (draws() | codes() | faults() | files()).items():
        (FOLDER / f"{name}.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
