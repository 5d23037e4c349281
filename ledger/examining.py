"""Findings about a suspect, put together from what each method found: docs/spec/match.md.

Nothing is decided here: each method's own report is written down in integers, and the rules that
every verifier applies are applied before the findings are handed over.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ledger.broker.leaks import LeakReport
from ledger.broker.policy import Check
from ledger.detecting import Report as MarkReport
from ledger.errors import LedgerError
from ledger.evidence.match import (
    MARK_LEVEL,
    answer_bound,
    answer_tests,
    fitted,
    in_millionths,
    mark_bound,
    mark_tests,
    over_pairings,
    overall,
    read_match,
    results_of,
    row_bound,
    times,
    verdict_of,
)
from ledger.evidence.match_form import FORMAT, METHODS, WAYS
from ledger.evidence.wording import one_line
from ledger.fingerprint.compare import Comparison
from ledger.fingerprint.exact import Fingerprint
from ledger.fingerprint.pairing import MatrixResult
from ledger.fingerprint.search import Tally
from ledger.fingerprint.sketch import Sketch
from ledger.ids import ZERO_DIGEST, Address, Digest
from ledger.questioning import Asked
from ledger.questioning import Report as AnswerReport
from ledger.suspects import Received
from ledger.tensors.regular import shown
from ledger.watermark.disclosure import Disclosure
from ledger.watermark.record import PhaseAPlace, Record

_MILLION: Final = 1_000_000
_LONG: Final = 1000
_TAG: Final = 32  # hexadecimal digits: nobody finds two names of one tag
_MANGLED: Final = re.compile(f"~[0-9a-f]{{{_TAG}}}$")


# -- each method's findings ----------------------------------------------------------------------


def of_model(made: Comparison, ours: Fingerprint) -> dict[str, Any]:
    """What holding a suspect against a model found.

    Args:
        made: the comparison.
        ours: a fingerprint of our model, at any level.
    """
    tensors: dict[str, Any] = {
        "content_root": str(ZERO_DIGEST),
        "same_packed": False,
        "of": len({of.cid for of in ours.tensors if of.identity}),
        "of_values": ours.values,
        "shared": [],
        "set_aside": [],
    }
    if made.exact is not None and made.exact.prints is not None:
        mine, theirs = made.exact.prints
        cids = {of.name: str(of.cid) for of in mine.tensors}
        learnt = {cids[w.ours]: w for w in reversed(made.exact.learnt)}
        found = {cids[w.ours] for w in made.exact.found.witnesses}
        tensors |= {
            "content_root": str(theirs.content_root),
            # Where roots agree and packed weights do not, the two are called no copy.
            "same_packed": made.exact.found.verdict.startswith(("IDENTICAL", "PERMUTED")),
            "shared": [
                {
                    "cid": cid,
                    "relation": str(witness.relation),
                    "elements": witness.elements,
                    "packed": witness.packed,
                    "theirs": _name(witness.theirs),
                }
                for cid, witness in sorted(learnt.items())
            ],
            "set_aside": sorted(found - set(learnt)),
        }
    shared = tensors["shared"]
    tensors["found"] = sum(not of["packed"] for of in shared)
    tensors["found_values"] = sum({of["theirs"]: of["elements"] for of in shared}.values())
    tensors["values"] = sum(of["elements"] for of in shared)
    place = {
        "kind": "model",
        "artifact_root": str(ours.content_root),
        "sketch_root": None,
        "commitment": None,
    }
    return {"ours": place, "tensors": tensors, **_lineage(made)}


def of_sketch(
    made: Comparison, sketch: Sketch, stands: tuple[Digest, Address, PhaseAPlace] | None
) -> dict[str, Any]:
    """What holding a suspect against a sketch found.

    Args:
        made: the comparison.
        sketch: the sketch.
        stands: its commitment, whose it is and where it stands; None when nobody was asked.
    """
    commitment = None
    if stands is not None:
        hash_, owner, at = stands
        commitment = {
            "hash": str(hash_),
            "owner": str(owner),
            "number": at.number,
            "block": at.block,
            "time": at.time,
        }
    place = {
        "kind": "sketch",
        "artifact_root": str(sketch.content_root),
        "sketch_root": str(sketch.root),
        "commitment": commitment,
    }
    return {"ours": place, "tensors": None, **_lineage(made)}


def of_watermark(report: MarkReport, record: Record) -> dict[str, Any]:
    """What looking for a record's mark found."""
    made, finding = record.commitment, report.finding
    looks: list[dict[str, Any]] = []
    for look in finding.looks:
        rows: list[dict[str, Any]] = []
        for name, one in look.found.items():
            t, v = math.floor(one.tally.t * 1000), math.ceil(one.tally.v * 1000)
            sums = {"weights": one.tally.weights, "t": t, "v": v}
            bound = in_millionths(mark_bound(t, v))
            rows.append(
                {"name": _name(name), "found_as": _name(one.name), **sums, "log10_p": bound}
            )
        whole = {key: sum(row[key] for row in rows) for key in ("weights", "t", "v")}
        best = min([mark_bound(whole["t"], whole["v"]), *(r["log10_p"] / _MILLION for r in rows)])
        kinds = {"kind": look.kind, "way": look.way}
        looks.append({**kinds, "rows": rows, **whole, "log10_p": in_millionths(best)})
    tests = in_millionths(mark_tests(finding.targets, finding.commitments))
    corrected = min(0, min(look["log10_p"] for look in looks) + tests)
    return {
        "commitment": str(made.hash()),
        "owner": str(made.owner),
        "chain_id": made.chain_id,
        "targets": finding.targets,
        "commitments": finding.commitments,
        "looks": looks,
        "log10_tests": tests,
        "log10_p": corrected,
        "there": corrected <= MARK_LEVEL,
        "checks": _checks(report.checks),
        "proven": report.proven and corrected <= MARK_LEVEL,
    }


def of_triggers(report: AnswerReport, disclosure: Disclosure) -> dict[str, Any]:
    """What asking a suspect found."""
    made, score = disclosure.commitment, report.suspect.score
    asked = _asked(report.suspect)
    tests = in_millionths(answer_tests(max(1, score.commitments)))
    return {
        "commitment": str(made.hash()),
        "disclosure": str(disclosure.digest()),
        "owner": str(made.owner),
        "chain_id": made.chain_id,
        "answers": score.answers,
        "commitments": max(1, score.commitments),
        **asked,
        "log10_tests": tests,
        "log10_p_all": min(0, asked["log10_p"] + tests),
        "there": min(0, asked["log10_p"] + tests) <= MARK_LEVEL,
        "controls": [
            {"name": _line(each.name), "theirs": each.theirs, **_asked(each)}
            for each in report.controls
        ],
        "checks": _checks(report.checks),
        "proven": report.proven,
    }


def of_trace(report: LeakReport) -> dict[str, Any]:
    """What tracing found."""
    named = [
        {
            "license": str(one.candidate.license_id),
            "holder": str(one.candidate.holder),
            "log10_p": in_millionths(one.log10_p),
        }
        for one in report.accusation.named
    ]
    return {
        "sealing": str(report.record.hash()),
        "model_id": str(report.record.model_id),
        "candidates": len(report.accusation.findings),
        "tests": report.accusation.tests,
        "named": named,
        "checks": _checks(report.checks),
        "proven": report.proven,
    }


def of_search(
    host: str,
    found: Sequence[tuple[Mapping[str, Any], Tally]],
    *,
    chain_id: int,
    tensors: int,
    elements: int,
    more: bool,
) -> dict[str, Any]:
    """What an index answered.

    Args:
        host: of the index.
        chain_id: of the chain that it follows.
        found: models as the index shows them, with how much of the suspect each holds.
        tensors: of the suspect that were asked for.
        elements: their values.
        more: whether the index left some out.
    """
    models = [
        {
            "model_id": str(model["model_id"]),
            "licensor": str(Address.parse(model["licensor"])),
            "title": _line(str(model.get("title") or "")),
            "status": _line(str(model["status"])),
            "committed_at": int(model["committed_at"]),
            "registered_block": int(model["registered_block"]),
            "place": model["place"],
            "tensors": {way: weight.tensors[way] for way in WAYS},
            "elements": {way: weight.elements[way] for way in WAYS},
        }
        for model, weight in found
    ]
    models.sort(key=lambda of: (of["committed_at"], of["registered_block"], of["model_id"]))
    return {
        "index": _line(host),
        "chain_id": chain_id,
        "tensors": tensors,
        "elements": elements,
        "more": more,
        "models": models,
    }


# -- together ------------------------------------------------------------------------------------


def findings(
    suspect: Received,
    *,
    software: str,
    comparisons: Sequence[dict[str, Any]] = (),
    watermarks: Sequence[dict[str, Any]] = (),
    triggers: Sequence[dict[str, Any]] = (),
    trace: dict[str, Any] | None = None,
    search: dict[str, Any] | None = None,
    why_not: Mapping[str, str],
    untried: Sequence[tuple[str, str, str]] = (),
) -> dict[str, Any]:
    """``match.json``: everything that was found, and what was not looked for.

    Args:
        suspect: what was examined.
        software: name and version of the program.
        comparisons: with models and sketches, each as `of_model` or `of_sketch` gave it.
        watermarks: as `of_watermark` gave them.
        triggers: as `of_triggers` gave them.
        trace: as `of_trace` gave it.
        search: as `of_search` gave it.
        why_not: for each method that was not tried, why.
        untried: method, name and reason of each single thing that could not be tried.

    Raises:
        VerificationError: the reports contradict themselves, which is our fault.
    """
    held = []
    for one in comparisons:
        bound = in_millionths(times([one["units"]["log10_p_counted"]], len(comparisons)))
        held.append({**one, "log10_p_all": bound, "verdict": ""})
        held[-1]["verdict"] = verdict_of(held[-1])
    document: dict[str, Any] = {
        "format": FORMAT,
        "software": software,
        "suspect": suspect.record,
        "search": search,
        "comparisons": held,
        "watermarks": list(watermarks),
        "triggers": list(triggers),
        "trace": trace,
    }
    results = results_of(document)
    document["tried"] = [
        {
            "method": method,
            "result": results[method],
            "why": _line(why_not.get(method, "not asked for"))
            if results[method] == "not checked"
            else "",
        }
        for method in METHODS
    ]
    document["verdict"] = overall(results)
    left = {(METHODS.index(method), _line(what)): _line(why) for method, what, why in untried}
    if left:
        document["untried"] = [
            {"method": METHODS[place], "what": what, "why": why}
            for (place, what), why in sorted(left.items())
        ]
    return read_match(document)


# -- parts ---------------------------------------------------------------------------------------


def _lineage(made: Comparison) -> dict[str, Any]:
    lineage = made.lineage
    rows = [_row(result) for result in lineage.matrices]
    counted = [row["log10_p"] for row in rows if not row["fitted"]]
    tried = max(lineage.tried, len(rows))
    units = {
        "tried": tried,
        "not_tested": len(lineage.left_out),
        "log10_p": in_millionths(over_pairings((row["log10_p"] for row in rows), tried)),
        "log10_p_counted": in_millionths(over_pairings(counted, tried)),
        "rows": rows,
    }
    controls = [
        {"title": _line(of.title), "log10_p": in_millionths(of.log10_p)} for of in made.controls
    ]
    return {"units": units, "controls": controls}


def _row(result: MatrixResult) -> dict[str, Any]:
    order = result.order
    alike, other = (
        min(_MILLION, max(0, round(value * _MILLION))) for value in (order.alike, order.other)
    )
    aligned = result.aligned > 0
    bound = row_bound(order.rows, order.in_place, order.in_order, aligned=aligned)
    return {
        "ours": _name(result.ours),
        "theirs": _name(result.theirs),
        "role": str(result.role),
        "units": result.units,
        "tested": order.tested,
        "rows": order.rows,
        "in_place": order.in_place,
        "in_order": order.in_order,
        "alike": alike,
        "other": other,
        "fitted": fitted(alike, other),
        "turned": order.turned,
        "aligned": aligned,
        "log10_p": in_millionths(bound),
    }


def _asked(one: Asked) -> dict[str, Any]:
    score = one.score
    bound = in_millionths(answer_bound(score.asked, score.right, score.answers))
    return {"asked": score.asked, "right": score.right, "log10_p": bound}


def _checks(checks: Sequence[Check]) -> list[dict[str, Any]]:
    return [
        {
            "number": check.number,
            "title": _line(check.title),
            "result": str(check.result),
            "detail": _line(check.detail),
        }
        for check in checks
    ]


def _line(text: str) -> str:
    """A text of others on one line, of a length that findings hold."""
    return one_line(text)[:_LONG]


def _name(text: str) -> str:
    """A tensor's name likewise. Two names never become one, whoever chose them.

    A name that cannot be given as it is carries a digest of itself, and so does one that looks as
    if it did.
    """
    line = _line(text)
    if line == text and _MANGLED.search(line) is None:
        return line
    return f"{line}~{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:_TAG]}"


def failed(error: LedgerError, suspect: Received) -> str:
    """Why a method could not be tried; where the examiner kept the suspect is nobody's business."""
    return _line(error.message.replace(shown(suspect.path), suspect.record["name"]))
