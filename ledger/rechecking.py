"""Findings computed again, with the suspect at hand (docs/spec/match.md, after step 16)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ledger.broker.policy import Check
from ledger.errors import ClaimMismatch
from ledger.evidence.bundle import read_bundle
from ledger.evidence.match import read_match
from ledger.examining import of_model, of_sketch
from ledger.fingerprint.compare import compare
from ledger.fingerprint.containment import containment
from ledger.fingerprint.exact import Fingerprint, fingerprint
from ledger.fingerprint.sketch import Sketch, compare_sketch
from ledger.suspects import Received
from ledger.tensors.opening import open_weights


def recheck(
    bundle: Path, suspect: Received, ours: Path | None = None, sketch: Path | None = None
) -> tuple[Check, ...]:
    """Recompute what a bundle's findings say of a suspect file, from that file.

    Args:
        bundle: of kind ``match``; verified elsewhere.
        suspect: the file or folder.
        ours: the registered model, to repeat the comparison with it.
        sketch: likewise a sketch.

    Raises:
        ManifestError: the bundle carries no findings.
        TensorFileError: a file cannot be read.
    """
    opened = read_bundle(bundle)
    found = read_match(opened.json("match.json"))
    checks: list[Check] = []

    def note(title: str, result: str, detail: str) -> None:
        checks.append(Check(len(checks) + 1, title, result, detail))

    (was, size), (here, length) = (
        (record["sha256"], record["size"]) for record in (found["suspect"], suspect.record)
    )
    if (was, size) != (here, length):
        said = f"it is another: {here} ({length} bytes); examined was {was} ({size} bytes)"
        note("it is the file that was examined", "fail", said)
        return tuple(checks)
    note("it is the file that was examined", "pass", here)
    root = opened.json("claim.json")["artifact_root"]
    held = [one for one in found["comparisons"] if one["ours"]["artifact_root"] == root]
    exact = [one for one in held if one["tensors"] is not None]
    with open_weights(suspect.path) as source:
        theirs = None
        if exact and "fingerprint.json" in opened.members:
            theirs = fingerprint(source, level="deep")
            mine = Fingerprint.from_json(opened.json("fingerprint.json"))
            note("it holds the shared tensors", *_holds(exact[0]["tensors"], mine, theirs))
        else:
            why = "the list of our tensors is not in the bundle" if exact else "none were listed"
            note("it holds the shared tensors", "not checked", why)
        title = "the rows of units are as listed"
        if ours is None and sketch is None:
            note(title, "not checked", "give the registered model with --ours, or --sketch")
        if ours is not None and exact:
            with open_weights(ours) as model:
                again = of_model(compare(model, source, measured=theirs), fingerprint(model))
            note(title, *_again(exact[0], again))
        if sketch is not None:
            drawn = Sketch.from_bytes(sketch.read_bytes()[: 1 << 20])
            again = of_sketch(compare_sketch(drawn, source), drawn, None)
            listed = [o for o in held if o["ours"]["sketch_root"] == str(drawn.root)]
            none = ("fail", "no such sketch was held against it")
            note(f"{title}, of the sketch", *(_again(listed[0], again) if listed else none))
        source.ensure_unchanged()
    suspect.ensure_unchanged()
    return tuple(checks)


def _holds(tensors: Any, mine: Fingerprint, theirs: Fingerprint) -> tuple[str, str]:
    """Whether each shared tensor is found again, in a relation at least as strong."""
    names = {of.name: str(of.cid) for of in mine.tensors}
    again = {names[w.ours]: w for w in containment(mine, theirs).witnesses}
    missing = 0
    for of in tensors["shared"]:
        witness = again.get(of["cid"])
        # The order of axes shows in our weights alone; by ids these are the same values.
        wanted = {of["relation"], "multiset"} if of["relation"] in _AXES else {of["relation"]}
        missing += witness is None or str(witness.relation) not in wanted
    if missing:
        return "fail", f"{missing} of {len(tensors['shared'])} are not found so"
    if tensors["content_root"] != str(theirs.content_root):
        return "fail", f"its content root is {theirs.content_root}"
    return "pass", f"{len(tensors['shared'])} are found again"


_AXES: Final = frozenset({"axis_permutation", "reshape"})


def _again(listed: Any, again: Any) -> tuple[str, str]:
    if listed["ours"]["artifact_root"] != again["ours"]["artifact_root"]:
        raise ClaimMismatch(
            "the model given is not the one that was compared",
            hint="give the registered model itself",
        )
    rows, others = listed["units"]["rows"], again["units"]["rows"]
    keys = (
        "ours",
        "theirs",
        "units",
        "tested",
        "rows",
        "in_place",
        "in_order",
        "turned",
        "aligned",
    )
    same = [[row[k] for k in keys] for row in rows] == [[row[k] for k in keys] for row in others]
    tried = listed["units"]["tried"] == again["units"]["tried"]
    return ("pass" if same and tried else "fail"), f"{len(others)} rows computed again"
