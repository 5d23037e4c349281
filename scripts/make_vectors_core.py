"""Writes tests/vectors/{merkle,fingerprint,claim}: one case a file, named for what it shows.

Each file is ``{"description", "input", "expect"}``; `expect` holds either the values that every
implementation must compute or ``{"error": CODE}``. Run it after a deliberate change of a format;
a test holds the committed files against it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import struct
import tempfile
from pathlib import Path
from typing import Any

from ledger.claim import Claim
from ledger.fingerprint.exact import fingerprint
from ledger.ids import Address, Digest, ModelId
from ledger.merkle import T1, T2
from ledger.tensors.model import open_model

ROOT = Path(__file__).resolve().parents[1]
Case = dict[str, Any]
Row = tuple[str, str, list[int], bytes]


def stream(label: str, size: int) -> bytes:
    """`size` bytes that look random and are the same everywhere."""
    return hashlib.shake_256(label.encode()).digest(size)


def safetensors_bytes(rows: list[Row]) -> bytes:
    """A safetensors file of these tensors, in this order."""
    header: dict[str, Any] = {}
    position = 0
    for name, dtype, shape, data in rows:
        end = position + len(data)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(row[3] for row in rows)


def merkle_cases() -> dict[str, Case]:
    """Roots of 0 to 8 leaves, and proofs with one fault each."""
    cases: dict[str, Case] = {}
    for tree in (T1, T2):
        for size in (0, 1, 2, 3, 4, 5, 7, 8):
            data = [bytes([index]) * index for index in range(size)]
            leaves = [tree.leaf(item) for item in data]
            cases[f"root-{tree.hash_name}-{size}"] = {
                "description": f"the root over {size} leaves",
                "input": {"hash": tree.hash_name, "leaf_data": [item.hex() for item in data]},
                "expect": {"root": tree.root(leaves).hex()},
            }
        leaves = [tree.leaf(bytes([index])) for index in range(7)]
        path = [node.hex() for node in tree.path(leaves, 6)]
        good = {
            "hash": tree.hash_name,
            "leaf": leaves[6].hex(),
            "index": 6,
            "size": 7,
            "path": path,
            "root": tree.root(leaves).hex(),
        }
        name = tree.hash_name
        cases[f"proof-{name}-valid"] = {
            "description": "the last of 7 leaves; its path has two nodes, not three",
            "input": good,
            "expect": {"valid": True},
        }
        faults: dict[str, tuple[str, dict[str, Any]]] = {
            "path-too-short": ("the last node is missing", {"path": path[:-1]}),
            "path-too-long": ("a node follows the last", {"path": [*path, path[0]]}),
            "path-swapped": ("two nodes are swapped", {"path": path[::-1]}),
            "index-other": ("another index", {"index": 5}),
            "index-not-below-size": ("the index equals the size", {"index": 7}),
            "size-other": ("another size", {"size": 9}),
            "size-zero": ("an empty tree holds no leaf", {"index": 0, "size": 0, "path": []}),
            "leaf-other": ("another leaf", {"leaf": leaves[5].hex()}),
            "root-other": ("another root", {"root": leaves[0].hex()}),
        }
        for fault, (text, change) in faults.items():
            cases[f"proof-{name}-{fault}"] = {
                "description": text,
                "input": {**good, **change},
                "expect": {"error": "INCLUSION_PROOF_INVALID"},
            }
    return cases


def _model_case(description: str, rows: list[Row]) -> Case:
    content = safetensors_bytes(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.safetensors"
        path.write_bytes(content)
        with open_model(path) as model:
            made = fingerprint(model, level="deep", threads=1)
    return {
        "description": description,
        "input": {"safetensors": content.hex()},
        "expect": {**made.to_json(), "content_id": str(made.content_id())},
    }


def fingerprint_cases() -> dict[str, Case]:
    """Whole small models, and fingerprint documents with one fault each."""
    weight = ("weight", "F32", [4, 8], stream("weight", 128))
    bias = ("bias", "F32", [16], stream("bias", 64))
    half = ("half", "BF16", [3, 7], stream("half", 42))
    cases = {
        "model-one-tensor": _model_case("the smallest model", [weight]),
        "model-two-tensors": _model_case("two tensors", [weight, bias]),
        "model-reordered": _model_case("the same two in another order", [bias, weight]),
        "model-renamed": _model_case(
            "the same values under other names: only named_root differs",
            [("a", *weight[1:]), ("b", *bias[1:])],
        ),
        "model-tied": _model_case(
            "one value under two names counts once in content_root, twice in named_root",
            [weight, ("tied", *weight[1:])],
        ),
        "model-reshaped": _model_case(
            "another shape is another cid, and the same vid", [("weight", "F32", [8, 4], weight[3])]
        ),
        "model-special-values": _model_case(
            "NaN bits, minus zero and infinities are bytes like any other",
            [("w", "F32", [16], struct.pack("<16I", *range(0x7F800000, 0x7F80000E), 1 << 31, 0))],
        ),
        "model-name-not-nfc": _model_case(
            "names enter named_root in Unicode form NFC", [("cafe\u0301", *weight[1:])]
        ),
        "model-every-float-type": _model_case(
            "every type that can carry identity",
            [
                (name.lower(), name, [16], stream(name, bits * 2))
                for name, bits in (
                    ("F16", 16),
                    ("BF16", 16),
                    ("F32", 32),
                    ("F64", 64),
                    ("C64", 64),
                    ("F8_E4M3", 8),
                    ("F8_E5M2", 8),
                    ("F8_E8M0", 8),
                    ("F8_E4M3FNUZ", 8),
                    ("F8_E5M2FNUZ", 8),
                    ("F4", 4),
                    ("F6_E2M3", 6),
                    ("F6_E3M2", 6),
                )
            ],
        ),
        "model-left-out": _model_case(
            "integers, truth values, constants, 15 values and none at all are left out",
            [
                half,
                ("counts", "I64", [16], stream("counts", 128)),
                ("mask", "BOOL", [16], bytes([0, 1] * 8)),
                ("ones", "F16", [32], struct.pack("<32e", *[1.0] * 32)),
                ("fifteen", "F32", [15], stream("fifteen", 60)),
                ("scalar", "F32", [], stream("scalar", 4)),
                ("nothing", "F32", [0, 4], b""),
            ],
        ),
    }
    good = cases["model-two-tensors"]["expect"]
    del (base := copy.deepcopy(good))["content_id"]

    def faulty(error: str, text: str, **change: Any) -> Case:
        document = copy.deepcopy(base)
        for key, value in change.items():
            target = document["tensors"][0] if key.startswith("t_") else document
            target[key.removeprefix("t_")] = value
        return {"description": text, "input": {"document": document}, "expect": {"error": error}}

    other = str(Digest(stream("other", 32)))
    wrong, broken = "CLAIM_MISMATCH", "MANIFEST_ERROR"
    cases |= {
        "document-content-root-other": faulty(wrong, "another root", content_root=other),
        "document-named-root-other": faulty(wrong, "another named root", named_root=other),
        "document-vmd-root-other": faulty(wrong, "another multiset root", vmd_root=other),
        "document-n-params-other": faulty(wrong, "another count", n_params=49),
        "document-cid-other": faulty(wrong, "one tensor's cid changed", t_cid=other),
        "document-name-other": faulty(wrong, "one tensor renamed", t_name="other"),
        "document-version-other": faulty(broken, "a later format", format="mfp2"),
        "document-level-other": faulty(broken, "no such level", level="shallow"),
        "document-vid-missing": faulty(broken, "deep, but one vid is null", t_vid=None),
        "document-dtype-unknown": faulty(broken, "no such type", t_dtype="F33"),
        "document-shape-not-nbytes": faulty(broken, "shape and bytes disagree", t_shape=[5, 8]),
        "document-shape-bool": faulty(broken, "a truth value as dimension", t_shape=[True, 32]),
        "document-identity-of-integers": faulty(
            broken, "integers cannot carry identity", t_dtype="I32"
        ),
        "document-cid-short": faulty(broken, "a cid of 31 bytes", t_cid=other[:-2]),
    }
    return cases


def claim_cases() -> dict[str, Case]:
    """Claims with their ids, and claims with one fault each."""

    def digest(label: str) -> Digest:
        return Digest(hashlib.sha256(label.encode()).digest())

    def claim(parents: int) -> Claim:
        return Claim(
            chain_id=31337,
            registry=Address(bytes(range(20))),
            licensor=Address(bytes(range(100, 120))),
            artifact_root=digest("artifact"),
            fingerprint_digest=digest("fingerprint"),
            watermark_commitment=Digest(bytes(32)),
            manifest_hash=digest("manifest"),
            parents=tuple(sorted(ModelId(digest(f"parent {n}").raw) for n in range(parents))),
            salt=digest("salt"),
        )

    cases: dict[str, Case] = {}
    for count in (0, 1, 2, 8):
        made = claim(count)
        cases[f"parents-{count}"] = {
            "description": f"a claim with {count} parents",
            "input": made.to_json(),
            "expect": {
                "model_id": str(made.model_id()),
                "commitment_leaf": str(made.commitment_leaf()),
            },
        }
    good = claim(2).to_json()
    nine = sorted(str(digest(f"parent {n}")) for n in range(9))
    faults: dict[str, tuple[str, dict[str, Any]]] = {
        "parents-unsorted": ("parents descend", {"parents": good["parents"][::-1]}),
        "parents-repeated": ("a parent twice", {"parents": [good["parents"][0]] * 2}),
        "parents-nine": ("more than 8 parents", {"parents": nine}),
        "parents-text": ("parents are not a list", {"parents": good["parents"][0]}),
        "chain-id-zero": ("no such chain", {"chain_id": 0}),
        "chain-id-bool": ("a truth value as chain id", {"chain_id": True}),
        "chain-id-text": ("a chain id as text", {"chain_id": "31337"}),
        "chain-id-huge": ("beyond what JSON carries exactly", {"chain_id": 1 << 53}),
        "salt-short": ("31 bytes of salt", {"salt": good["salt"][:-2]}),
        "salt-null": ("no salt", {"salt": None}),
        "licensor-checksum": ("a wrong EIP-55 checksum", {"licensor": _flip(good["licensor"])}),
        "registry-short": ("an address of 19 bytes", {"registry": good["registry"][:-2]}),
        "format-other": ("a later format", {"format": "modeldeed/claim/2"}),
        "field-unknown": ("a field that is not in the format", {"note": ""}),
    }
    for fault, (text, change) in faults.items():
        cases[fault] = {
            "description": text,
            "input": {**good, **change},
            "expect": {"error": "MANIFEST_ERROR"},
        }
    missing = {key: value for key, value in good.items() if key != "manifest_hash"}
    cases["field-missing"] = {
        "description": "no manifest hash",
        "input": missing,
        "expect": {"error": "MANIFEST_ERROR"},
    }
    return cases


def _flip(address: str) -> str:
    """The address with the case of its first letter changed."""
    place = next(i for i, c in enumerate(address) if i > 1 and c.isalpha())
    return address[:place] + address[place].swapcase() + address[place + 1 :]


def all_cases() -> dict[str, Case]:
    """Every vector, by its path below tests/vectors without suffix."""
    groups = {
        "merkle": merkle_cases(),
        "fingerprint": fingerprint_cases(),
        "claim": claim_cases(),
    }
    return {
        f"{group}/{name}": case for group, cases in groups.items() for name, case in cases.items()
    }


def render(case: Case) -> str:
    """A vector file's text."""
    return json.dumps(case, indent=1, ensure_ascii=True) + "\n"


def main() -> None:
    """Write all files and remove those that no case writes."""
    cases = all_cases()
    for group in {name.partition("/")[0] for name in cases}:
        folder = ROOT / "tests" / "vectors" / group
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.json"):
            old.unlink()
    for name, case in cases.items():
        (ROOT / "tests" / "vectors" / f"{name}.json").write_text(render(case), encoding="ascii")
    print(f"{len(cases)} vectors written")


if __name__ == "__main__":
    main()
