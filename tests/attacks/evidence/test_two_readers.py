"""Documents inside a bundle, changed at random: both verifiers take and refuse the same ones.

In a bundle most of these would fail for the hash that they no longer have; here each is read alone,
so that what the readers themselves make of it shows.
"""

import copy
import json
import os
import random
import struct
import unicodedata
from pathlib import Path

import pytest
from document_forgery import DocumentForger
from two_verifiers import script, trusting

from ledger.canonical import canonical_json
from ledger.claim import manifest_hash
from ledger.errors import LedgerError
from ledger.evidence import archive
from ledger.evidence.release_steps import signed_by
from ledger.fingerprint.exact import Fingerprint
from ledger.licensing import terms as license_terms
from ledger.sealed.record import SealingRecord

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "evidence"
DATA = (FOLDER / "model.evidence.zip").read_bytes()
MEMBERS = archive.parse(DATA).members
TERMS = json.loads(next(MEMBERS[name] for name in MEMBERS if name.startswith("terms/")))
FULL = TERMS | {
    "not_before": "2026-01-01T00:00:00Z",
    "not_after": "2027-01-01T00:00:00Z",
    "territory": ["CH", "DE"],
    "purposes": ["evaluation", "research"],
    "evidence": ["software", "tee"],
    "windows": [{"days": ["mon", "fri"], "from": "08:00", "to": "24:00"}],
}
TRIES = 40_000 if os.environ.get("DEED_DEEP") else 1500


def deep_fingerprint():
    """The bundle's, with ids of values and of casts, as level deep has them."""
    document = json.loads(MEMBERS["fingerprint.json"])
    document["level"] = "deep"
    for number, tensor in enumerate(document["tensors"]):
        tensor["vid"] = "0x" + f"{number + 1:064x}" if tensor["identity"] else None
        if tensor["dtype"] == "F32" and tensor["identity"]:
            ids = {"cid": "0x" + "07" * 32, "vid": "0x" + "08" * 32}
            tensor["derived"] = [{"dtype": name, **ids} for name in ("F16", "BF16")]
    return document


def rerooted(document):
    """The same with the roots that its tensors have, where it has any."""
    tree, sha256 = script().tree_root, script().sha256
    try:
        mine = [of for of in document["tensors"] if of["identity"]]
        cids = {bytes.fromhex(of["cid"][2:]) for of in mine}
        rows = sorted(
            (unicodedata.normalize("NFC", of["name"]).encode(), bytes.fromhex(of["cid"][2:]))
            for of in mine
        )
        vids = {bytes.fromhex(of["vid"][2:]) for of in mine if of["vid"]}
        floats = [of for of in document["tensors"] if script()._DTYPES[of["dtype"]][1]]
        count = 0
        for of in floats:
            elements = 1
            for size in of["shape"]:
                elements *= size
            count += elements
        named = [
            sha256(b"\0\x22" + struct.pack("<I", len(name)) + name + cid) for name, cid in rows
        ]
        values = "0x" + tree([sha256(b"\0\x21" + vid) for vid in sorted(vids)]).hex()
        document |= {
            "content_root": "0x" + tree([sha256(b"\0\x20" + cid) for cid in sorted(cids)]).hex(),
            "named_root": "0x" + tree(named).hex(),
            "vmd_root": values if document["level"] == "deep" else None,
            "n_params": count,
        }
    except (KeyError, TypeError, ValueError, AttributeError, struct.error):
        pass
    return document


def by_library(kind, document):
    """Whether the library reads it; any exception but its own comes out."""
    try:
        if kind == "manifest":
            manifest_hash(document)
        elif kind == "terms":
            license_terms.validate(document)
        elif kind == "record":
            SealingRecord.from_json(document).hash()
        else:
            made = Fingerprint.from_json(document)
            return canonical_json(made.to_json()) == canonical_json(document)
    except LedgerError:
        return False
    return True


def by_script(kind, document):
    """Whether the script reads it."""
    try:
        if kind == "manifest":
            script()._check_manifest(document)
            script().tagged("modeldeed/manifest/1", document)
        elif kind == "terms":
            script().terms_hash(document)
        elif kind == "record":
            script().record_hash(document)
        else:
            case = script().Case(trusting()[1])
            case.members = {"fingerprint.json": canonical_json(document)}
            root = document.get("content_root") if isinstance(document, dict) else None
            claim = {"artifact_root": script().digest(root), "fingerprint_digest": b""}
            if document.get("level") == "deep":
                claim["fingerprint_digest"] = whole(document)
            script()._check_fingerprint(case, claim)
    except script().Fail:
        return False
    return True


def whole(document):
    roots = [
        script().digest(document.get(key)) for key in ("content_root", "vmd_root", "named_root")
    ]
    count = script().natural(document.get("n_params"))
    return script().sha256(b"\x2f" + b"".join(roots) + struct.pack("<Q", count))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("manifest", json.loads(MEMBERS["manifest.json"])),
        ("terms", TERMS),
        ("terms", FULL),
        ("record", json.loads(MEMBERS["sealing.json"])[0]),
        ("fingerprint", json.loads(MEMBERS["fingerprint.json"])),
        ("fingerprint", rerooted(deep_fingerprint())),
    ],
    ids=["manifest", "terms", "terms-with-all", "record", "fingerprint", "deep-fingerprint"],
)
def test_a_changed_document_is_read_or_refused_by_both(kind, document):
    assert by_library(kind, document)
    assert by_script(kind, document)
    taken, forger = 0, DocumentForger(DATA, random.Random(0))
    for seed in range(TRIES):
        forger.chance = random.Random(f"{kind} {seed}")
        path, changed = forger._changed(copy.deepcopy(document))
        if kind == "fingerprint" and isinstance(changed, dict):
            changed = rerooted(changed)
        try:
            changed = json.loads(canonical_json(changed))  # as it would be read from a member
        except LedgerError:
            continue
        expected = by_library(kind, changed)
        found = by_script(kind, changed)
        assert found is expected, (seed, path, str(changed)[:300])
        taken += expected
    assert 0 < taken < TRIES


@pytest.mark.parametrize(
    "case",
    json.loads((FOLDER / "signatures" / "ed25519.json").read_text()),
    ids=lambda case: case["key"],
)
def test_a_key_of_ed25519_has_one_encoding_in_both(case):
    given = [bytes.fromhex(case[name]) for name in ("public", "signature", "message")]
    assert signed_by(*given) is script()._ed25519(*given) is case["valid"]
