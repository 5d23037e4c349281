#!/usr/bin/env python3
"""Adds to tests/vectors/evidence: a bundle of findings about a suspect, the suspect, and faults.

Run by make_vectors_evidence.py; run by itself it makes no others anew. What the suspect shares with
the model of ``model.evidence.zip`` is computed from the two. All other figures are made up, and
follow from the ones beside them.
"""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from ledger.canonical import canonical_json
from ledger.dating import close_bundle
from ledger.evidence.bundle import CUSTODY, INDEX, contents_of, parse_bundle
from ledger.evidence.custody import append
from ledger.evidence.match import (
    MARK_LEVEL,
    answer_bound,
    answer_tests,
    fitted,
    in_millionths,
    mark_bound,
    mark_tests,
    over_pairings,
    row_bound,
)
from ledger.examining import findings, of_model
from ledger.fingerprint.compare import compare
from ledger.fingerprint.exact import Fingerprint, fingerprint
from ledger.suspects import Received
from ledger.tensors.model import open_model

OUT = Path(__file__).resolve().parents[1] / "tests" / "vectors" / "evidence"
BUNDLE, SUSPECT = "match.evidence.zip", "match.suspect.safetensors"
_RECEIVED = "2026-01-01T02:00:00Z"
_OTHER, _MARK, _SKETCH = ("0x" + digit * 64 for digit in "5ac")
_STRANGER = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"


def write(folder: Path = OUT) -> int:
    """Write bundle, suspect and faults; returns how many faults."""
    base = parse_bundle((folder / "model.evidence.zip").read_bytes())
    with tempfile.TemporaryDirectory() as scratch:
        suspect, held = _compared(Path(scratch))
    (folder / SUSPECT).write_bytes(suspect)
    found = _findings(suspect, held, base.json("report.json"))
    about = {name: found["suspect"][name] for name in ("sha256", "size", "name")}
    subject = replace(base.subject, kind="match", about=about)
    members = {name: data for name, data in base.members.items() if name != INDEX}
    members["match.json"] = canonical_json(found)
    # Each shared tensor has its proof, so that the list of all can be withheld.
    print_ = Fingerprint.from_json(base.json("fingerprint.json"))
    for of in print_.tensors:
        proof = canonical_json(print_.tensor_proof(of.cid).to_json())
        members[f"tensors/{of.cid.raw.hex()}.json"] = proof
    log = append(
        (),
        time=_RECEIVED,
        actor="the vector generator",
        action="received",
        note=f"suspect {about['name']}, {about['size']} bytes, SHA-256 {about['sha256']}",
        software=subject.software,
        contents=contents_of(subject, members),
    )
    members[CUSTODY] = canonical_json([entry.to_json() for entry in log])
    (folder / BUNDLE).write_bytes(close_bundle(subject, members))
    for old in folder.glob("match-*.json"):
        old.unlink()
    made = faults(found)
    for name, fault in made.items():
        (folder / f"match-{name}.json").write_text(json.dumps(fault, indent=2) + "\n")
    return len(made)


def _compared(folder: Path) -> tuple[bytes, dict[str, Any]]:
    """A file with one of our tensors as it is and one in half precision, held against ours."""
    stream = hashlib.shake_256(b"modeldeed evidence vectors").digest(1280)
    values = np.frombuffer(stream, "<u1").astype("<f4")
    first, second = values[:1024].reshape(32, 32), values[1024:]
    ours, theirs = folder / "ours.safetensors", folder / SUSPECT
    save_file({"a": first, "b": second}, ours)
    save_file({"x": first.astype("<f2"), "y": second}, theirs)
    with open_model(ours) as mine, open_model(theirs) as other:
        return theirs.read_bytes(), of_model(compare(mine, other), fingerprint(mine))


def _findings(suspect: bytes, held: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    sha256 = "0x" + hashlib.sha256(suspect).hexdigest()
    file = {"name": "found.safetensors", "size": len(suspect), "sha256": sha256}
    record = {**file, "kind": "file", "received": _RECEIVED, "files": [file]}
    other = copy.deepcopy(held)
    other["ours"]["artifact_root"] = _OTHER
    other["tensors"]["shared"][0] |= {"packed": True, "theirs": "packed"}
    other["tensors"]["found"] -= 1
    other |= _units([_row(64, 0, 40)])
    sketch = {
        "ours": {
            "kind": "sketch", "artifact_root": held["ours"]["artifact_root"],
            "sketch_root": _SKETCH,
            "commitment": {
                "hash": _OTHER, "owner": _STRANGER, "number": 3, "block": 9, "time": 1_767_225_708,
            },
        },
        "tensors": None, **_units([_row(1536, 900, 1500)]),
    }  # fmt: skip
    rows = [_row(1536, 1536, 1536), _row(768, 12, 14, alike=0, aligned=True)]
    ways = ("identity", "cast", "multiset", "cast_multiset")
    model = {
        "licensor": _STRANGER, "title": "Another model", "status": "active",
        "tensors": dict.fromkeys(ways, 0) | {"cast": 1}, "elements": dict.fromkeys(ways, 320),
    }  # fmt: skip
    times = told["times"]
    listed = [
        {
            **model, "model_id": _OTHER, "committed_at": 1_767_225_000, "registered_block": 2,
            "place": {"block": 1, "transaction": 0},
        },
        {
            **model, "model_id": _MARK, "committed_at": times[0]["not_later_than"],
            "registered_block": 5, "place": None,
        },
        {
            **model, "model_id": told["model"]["id"], "title": told["model"]["title"],
            "licensor": told["title"]["registered_by"],
            "committed_at": times[0]["not_later_than"], "registered_block": times[1]["block"],
            "place": {"block": times[0]["block"], "transaction": 0},
        },
    ]  # fmt: skip
    return findings(
        Received(Path(SUSPECT), record),
        software="modeldeed 0.1.0",
        comparisons=[
            {**held, **_units(rows), "controls": [{"title": "A control", "log10_p": -99_999}]},
            other,
            sketch,
        ],
        watermarks=[_watermark()],
        triggers=[_triggers(told["title"]["registered_by"])],
        trace={
            "sealing": told["sealings"][0]["record_hash"], "model_id": told["model"]["id"],
            "candidates": 2, "tests": 4,
            "named": [{"license": "1.1", "holder": told["licenses"][0]["holder"],
                       "log10_p": -9_000_000}],
            "checks": _checks(1), "proven": True,
        },
        search={"index": "index.example", "chain_id": told["chain"]["id"], "tensors": 2,
                "elements": 1280, "more": False, "models": listed},
        why_not={},
        untried=[
            ("watermark", f"record {_OTHER}", "nothing was marked with it yet"),
            ("watermark", f"record {_SKETCH}", "nothing was marked with it yet"),
        ],
    )  # fmt: skip


def _row(
    rows: int, in_place: int, in_order: int, *, alike: int = 1_000_000, aligned: bool = False
) -> dict[str, Any]:
    bound = row_bound(rows, in_place, in_order, aligned=aligned)
    return {
        "ours": "h.0", "theirs": "h.0", "role": "hidden units", "units": rows + 2,
        "tested": rows + 1, "rows": rows, "in_place": in_place, "in_order": in_order,
        "alike": alike, "other": 387_000, "fitted": fitted(alike, 387_000), "turned": False,
        "aligned": aligned, "log10_p": in_millionths(bound),
    }  # fmt: skip


def _units(rows: list[dict[str, Any]]) -> dict[str, Any]:
    stated = [row["log10_p"] for row in rows]
    counted = [row["log10_p"] for row in rows if not row["fitted"]]
    return {
        "units": {
            "tried": 7, "not_tested": 1, "rows": rows,
            "log10_p": in_millionths(over_pairings(stated, 7)),
            "log10_p_counted": in_millionths(over_pairings(counted, 7)),
        },
        "controls": [],
    }  # fmt: skip


def _checks(*numbers: int) -> list[dict[str, Any]]:
    return [{"number": n, "title": "A check", "result": "pass", "detail": ""} for n in numbers]


def _watermark() -> dict[str, Any]:
    rows = [
        {"name": f"h.{i}", "found_as": f"h.{i}", "weights": 1000, "t": t, "v": v,
         "log10_p": in_millionths(mark_bound(t, v))}
        for i, (t, v) in enumerate(((450_000, 150_000), (90_000, 210_000), (-3_000, 90_000)))
    ]  # fmt: skip
    sums = {name: sum(int(row[name]) for row in rows) for name in ("weights", "t", "v")}
    least = min(mark_bound(sums["t"], sums["v"]), *(row["log10_p"] / 1e6 for row in rows))
    best, tests = in_millionths(least), in_millionths(mark_tests(30, 7))
    return {
        "commitment": _MARK, "owner": _STRANGER, "chain_id": 31337, "targets": 30, "commitments": 7,
        "looks": [
            {"kind": "blind", "way": "by name", "rows": rows, **sums, "log10_p": best},
            {"kind": "informed", "way": "realigned", "rows": [], "weights": 0, "t": 0, "v": 0,
             "log10_p": 0},
        ],
        "log10_tests": tests, "log10_p": min(0, best + tests),
        "there": best + tests <= MARK_LEVEL, "checks": _checks(1, 2, 3, 8), "proven": True,
    }  # fmt: skip


def _triggers(owner: str) -> dict[str, Any]:
    bare, tests = in_millionths(answer_bound(64, 60, 10)), in_millionths(answer_tests(7))
    control = {"name": "control 1", "theirs": True, "asked": 64, "right": 6}
    return {
        "commitment": _OTHER, "disclosure": _MARK, "owner": owner, "chain_id": 31337, "asked": 64,
        "right": 60, "answers": 10, "commitments": 7, "log10_p": bare, "log10_tests": tests,
        "log10_p_all": min(0, bare + tests), "there": bare + tests <= MARK_LEVEL,
        "controls": [{**control, "log10_p": in_millionths(answer_bound(64, 6, 10))}],
        "checks": _checks(1), "proven": True,
    }  # fmt: skip


def faults(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """One change each. Edits: see `forge` in tests/ledger/evidence/conftest.py."""
    broken = {"verdict": "does not hold", "first": 16}
    open_ = {"verdict": "not verified", "first": 16}
    retell = {"op": "retell"}

    def case(description: str, expect: dict[str, Any], *edits: dict[str, Any]) -> dict[str, Any]:
        return {
            "description": description,
            "bundle": BUNDLE,
            "edit": list(edits),
            "reseal": True,
            "expect": expect,
        }

    def other(description: str, *path: Any, value: Any) -> dict[str, Any]:
        edit = {"op": "set", "member": "match.json", "path": list(path), "value": value}
        return case(description, broken, edit)

    def drop(member: str) -> dict[str, Any]:
        return {"op": "remove", "member": member}

    first, look = ("comparisons", 0), ("watermarks", 0, "looks", 0)
    units, shared = (*first, "units"), (*first, "tensors", "shared")
    unrelated = copy.deepcopy(found)
    for one in unrelated["comparisons"]:
        one["ours"]["artifact_root"] = _OTHER
    unrelated["triggers"][0]["owner"] = _STRANGER
    unrelated["search"]["models"].pop()
    unrelated["trace"] = None
    unrelated["tried"][5] |= {"result": "not checked", "why": "no recovery file was given"}
    swapped = list(reversed(found["search"]["models"]))
    return {
        "missing": case("the findings are left out", open_, drop("match.json"), retell),
        "withheld": case(
            "the findings are withheld", open_, {"op": "withhold", "member": "match.json"}, retell
        ),
        "in-model-bundle": case(
            "a bundle about a model carries findings",
            broken,
            {"op": "set", "member": "bundle.json", "path": ["kind"], "value": "model"},
            {"op": "unset", "member": "bundle.json", "path": ["suspect"]},
        ),
        "suspect-other": case(
            "the bundle is about another suspect",
            broken,
            {"op": "set", "member": "bundle.json", "path": ["suspect", "sha256"], "value": _OTHER},
        ),
        "of-another-model": case(
            "nothing in the findings is about this model",
            broken,
            {"op": "add", "member": "match.json", "hex": canonical_json(unrelated).hex()},
        ),
        "proof-missing": case(
            "the list of tensors is left out, and a shared one has no proof of its own",
            open_,
            drop("fingerprint.json"),
            drop(f"tensors/{found['comparisons'][0]['tensors']['shared'][1]['cid'][2:]}.json"),
            retell,
        ),
        "tensors-withheld": case(
            "the list of tensors is withheld, and each shared one has its proof",
            {"verdict": "holds, given the blocks it rests on"},
            {"op": "withhold", "member": "fingerprint.json"},
            retell,
        ),
        "of-other": other("the model has more tensors than it has", *first, "tensors", "of",
                          value=3),
        "of-other-proved": case(
            "likewise, where proofs alone tell",
            broken,
            {"op": "withhold", "member": "fingerprint.json"},
            {"op": "set", "member": "match.json", "path": [*first, "tensors", "of"], "value": 3},
        ),
        "member-extra": other("one member more than the form has", "remark", value=1),
        "text-of-two-lines": other("a text has a line feed", *shared, 0, "theirs", value="a\nb"),
        "file-other": other(
            "the only file has another digest", "suspect", "files", 0, "sha256", value=_OTHER
        ),
        "cid-of-stranger": other(
            "a shared tensor is none of the model's", *shared, 1, "cid", value="0x" + "f" * 64
        ),
        "packed-other": case(
            "a shared tensor with identity is called packed",
            broken,
            {"op": "set", "member": "match.json", "path": [*shared, 0, "packed"], "value": True},
            {
                "op": "set", "member": "match.json", "path": [*first, "tensors", "found"],
                "value": found["comparisons"][0]["tensors"]["found"] - 1,
            },
        ),
        "own-values-other": other("more of our values are shared than listed", *first, "tensors",
                                  "values", value=1279),
        "of-values-other": other("the model has fewer values than it has", *first, "tensors",
                                 "of_values", value=1281),
        "values-other": other("more values are shared than listed", *first, "tensors",
                              "found_values", value=5000),
        "row-bound-other": other("a row's bound is lower than its counts give", *units, "rows", 0,
                                 "log10_p", value=-4_000_000_000),
        "row-fitted-untold": other("a row of fitted order is counted", *units, "rows", 1, "fitted",
                                   value=False),
        "comparisons-uncounted": other(
            "the bound leaves out that several comparisons were made", *first, "log10_p_all",
            value=found["comparisons"][0]["units"]["log10_p_counted"],
        ),
        "verdict-other": other("a comparison is called a copy", *first, "verdict",
                               value="identical"),
        "verdict-of-all-other": other("the verdict is not that of the methods", "verdict",
                                      value="nothing found"),
        "watermark-sum-other": other("a look is not the sum of its rows", *look, "t",
                                     value=900_000),
        "watermark-unchecked": other("a mark is called proven without a check that it needs",
                                     "watermarks", 0, "checks", value=_checks(1, 2, 3)),
        "answers-more": other("more answers are right than their bound says", "triggers", 0,
                              "right", value=61),
        "trace-of-stranger": other("the sealing that was traced is not this model's", "trace",
                                   "sealing", value=_OTHER),
        "trace-above-level": other("a license is named above the level", "trace", "named", 0,
                                   "log10_p", value=-8_999_999),
        "search-order-other": other("registered models are not in the order of time", "search",
                                    "models", value=swapped),
        "search-time-other": other("this model has another time than on chain", "search", "models",
                                   2, "committed_at", value=1_767_225_649),
        "search-place-other": other("this model's commitment is in another transaction than on "
                                    "chain", "search", "models", 2, "place", "transaction",
                                    value=1),
        "search-chain-other": other("an index of another chain lists this model", "search",
                                    "chain_id", value=1),
        "tried-other": other("a method that found something is said to have found nothing",
                             "tried", 3, "result", value="nothing found"),
        "untried-empty": other("a list of what was not tried, without anything", "untried",
                               value=[]),
        "untried-order-other": other("what was not tried is out of order", "untried",
                                     value=list(reversed(found["untried"]))),
        "untried-untold": case(
            "the summary leaves out what was not tried",
            {**broken, "first": 19},
            {"op": "unset", "member": "report.json", "path": ["match", "untried"]},
        ),
    }  # fmt: skip


if __name__ == "__main__":
    print(f"wrote {write()} faults, {BUNDLE} and its suspect")
