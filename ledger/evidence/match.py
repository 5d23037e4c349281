"""Findings about a suspect: the formulas behind their figures, and the rules that bind them.

Rules 1, 2, 4 to 7 and 9 of step 16 (docs/spec/match.md), which need neither chain nor suspect.
Logarithms are to base 10, in millionths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final, NoReturn

from ledger.canonical import hash_json
from ledger.errors import VerificationError
from ledger.evidence.logarithms import LN10, ln, ln_factorial, log10
from ledger.evidence.match_form import MAX_ALL_ASKED, METHODS, read_form
from ledger.ids import Digest

SUSPECT_TAG: Final = "modeldeed/suspect/1"
UNITS_LEVEL: Final = -20_000_000
MARK_LEVEL: Final = -38_531_839
TRACE_LEVEL: Final = -9_000_000
SHARED_VALUES: Final = 4096
_LOG2: Final = log10(2)
_SCALE: Final = 1e100
_SLACK: Final = 1e-4
_BEFORE: Final = frozenset({1, 2, 3, 8})
"""Steps of a watermark's own verification without which it proves nothing to others."""


# -- formulas ------------------------------------------------------------------------------------


def in_millionths(value: float) -> int:
    """A logarithm as it is stated."""
    return round(value * 1e6)


def near(value: float, stated: int) -> bool:
    """Whether a stated logarithm is the computed one."""
    return abs(value * 1e6 - stated) <= 1


def row_bound(rows: int, in_place: int, in_order: int, *, aligned: bool) -> float:
    """Of the order of units of one pair of matrices; each way and the features have a share."""
    place = min(0.0, _LOG2 - ln_factorial(in_place) / LN10)
    ways = (ln_factorial(rows) - ln_factorial(rows - in_order) - 2 * ln_factorial(in_order)) / LN10
    order = min(0.0, 2 * _LOG2 + min(0.0, ways))
    return min(0.0, min(place, order) + (3 if aligned else 0))


def over_pairings(stated: Iterable[int], tried: int) -> float:
    """Bonferroni over pairings; a thousandth more is for tests over aligned features."""
    return min(0.0, times(stated, tried) + log10(1.001))


def fitted(alike: int, other: int) -> bool:
    """Whether the order of a pair may have been made afterwards."""
    return 4 * alike < 3 * other + 1_000_000


def times(stated: Iterable[int], tests: int) -> float:
    """Bonferroni over stated logarithms; 0 where there are none."""
    smallest = min(stated, default=None)
    return 0.0 if smallest is None else min(0.0, smallest / 1e6 + log10(max(1, tests)))


def mark_bound(t: int, v: int) -> float:
    """Of the signs of weights; both sums in thousandths."""
    if t <= 0 or v <= 0:
        return 0.0
    lower, upper = t / 1000 * (1 - _SLACK), v / 1000 * (1 + _SLACK)
    return -lower * lower / (2 * upper) / LN10


def mark_tests(targets: int, commitments: int) -> float:
    """How many tests a watermark's bound counts."""
    return log10(8) + log10(targets + 1) + log10(commitments) + 40 * _LOG2


def answer_bound(asked: int, right: int, answers: int) -> float:
    """Of so many right answers by chance: the binomial tail."""
    if right == 0:
        return 0.0
    first = ln_factorial(asked) - ln_factorial(right) - ln_factorial(asked - right)
    first = first + (asked - right) * ln(answers - 1) - asked * ln(answers)
    # The terms after the first, as multiples of it; scaled down where they grow too large.
    term = total = 1.0
    scaled = 0
    for j in range(right + 1, asked + 1):
        term = term * (asked - j + 1) / (j * (answers - 1))
        total += term
        if total > _SCALE:
            term, total, scaled = term / _SCALE, total / _SCALE, scaled + 1
    return min(0.0, (first + ln(total) + 100 * scaled * LN10) / LN10)


def answer_tests(commitments: int) -> float:
    """How many tests the bound of answers counts."""
    return log10(commitments) + 40 * _LOG2


def folder_digest(files: Sequence[Any]) -> Digest:
    """The one digest of a folder's files."""
    return hash_json(SUSPECT_TAG, list(files))


# -- rules ---------------------------------------------------------------------------------------


def read_match(document: Any, *, step: int = 0) -> dict[str, Any]:
    """Untrusted findings, once their form and all figures that follow from others hold.

    Raises:
        ManifestError: not findings.
        VerificationError: a figure, list or verdict is not what the others give.
    """
    found = read_form(document)
    _Rules(step).check(found)
    return found


class _Rules:
    def __init__(self, step: int) -> None:
        self._step = step

    def check(self, found: dict[str, Any]) -> None:
        self._suspect(found["suspect"])
        count = len(found["comparisons"])
        for index, one in enumerate(found["comparisons"]):
            self._comparison(one, count, f"comparison {index + 1}")
        for index, one in enumerate(found["watermarks"]):
            self._watermark(one, f"watermark {index + 1}")
        self._asked(found["triggers"])
        for index, one in enumerate(found["triggers"]):
            self._triggers(one, f"disclosure {index + 1}")
        if found["trace"] is not None:
            self._trace(found["trace"])
        if found["search"] is not None:
            self._search(found["search"])
        self._tried(found)

    def _fail(self, what: str) -> NoReturn:
        raise VerificationError(f"match.json: {what}", step=self._step)

    def _suspect(self, suspect: Any) -> None:
        files = suspect["files"]
        if any(a["name"] >= b["name"] for a, b in pairwise(files)):
            self._fail("the suspect's files are out of order")
        if sum(of["size"] for of in files) != suspect["size"]:
            self._fail("the suspect's size is not that of its files")
        if suspect["kind"] == "folder":
            whole = str(folder_digest(files))
        elif len(files) == 1:
            whole = files[0]["sha256"]
        else:
            self._fail("a suspect that is one file lists several")
        if whole != suspect["sha256"]:
            self._fail("the suspect's digest is not that of its files")

    def _comparison(self, one: Any, comparisons: int, what: str) -> None:
        ours, tensors, units = one["ours"], one["tensors"], one["units"]
        if (ours["kind"] == "sketch") != (ours["sketch_root"] is not None):
            self._fail(f"{what}: a sketch has a root, and a model none")
        if (ours["kind"] == "sketch") != (tensors is None):
            self._fail(f"{what}: tensors are those of a model")
        if ours["commitment"] is not None and ours["kind"] != "sketch":
            self._fail(f"{what}: only a sketch has a commitment of its own here")
        if tensors is not None:
            self._tensors(tensors, what)
        rows = units["rows"]
        for row in rows:
            self._row(row, what)
        if len(rows) > units["tried"]:
            self._fail(f"{what}: more rows than pairings that were tried")
        counted = [row["log10_p"] for row in rows if not row["fitted"]]
        whole = over_pairings((row["log10_p"] for row in rows), units["tried"])
        if not near(whole, units["log10_p"]):
            self._fail(f"{what}: the bound over all rows is another")
        if not near(over_pairings(counted, units["tried"]), units["log10_p_counted"]):
            self._fail(f"{what}: the bound over the rows that count is another")
        if not near(times([units["log10_p_counted"]], comparisons), one["log10_p_all"]):
            self._fail(f"{what}: the bound over all comparisons is another")
        if verdict_of(one) != one["verdict"]:
            self._fail(f"{what}: its verdict does not follow from its figures")

    def _tensors(self, tensors: Any, what: str) -> None:
        shared, aside = tensors["shared"], tensors["set_aside"]
        cids = [of["cid"] for of in shared]
        if any(a >= b for a, b in pairwise(cids)) or any(a >= b for a, b in pairwise(aside)):
            self._fail(f"{what}: tensors repeat or are out of order")
        if set(cids) & set(aside):
            self._fail(f"{what}: a tensor is shared and set aside")
        sizes: dict[str, int] = {}
        for of in shared:
            if sizes.setdefault(of["theirs"], of["elements"]) != of["elements"]:
                self._fail(f"{what}: one tensor of theirs has two sizes")
        if tensors["found_values"] != sum(sizes.values()):
            self._fail(f"{what}: the number of shared values is another")
        if tensors["values"] != sum(of["elements"] for of in shared):
            self._fail(f"{what}: the number of our values that are shared is another")
        if tensors["values"] > tensors["of_values"]:
            self._fail(f"{what}: more of our values are shared than there are")
        if tensors["found"] != sum(not of["packed"] for of in shared):
            self._fail(f"{what}: the number of shared tensors is another")
        if tensors["found"] > tensors["of"]:
            self._fail(f"{what}: more tensors are shared than there are")

    def _row(self, row: Any, what: str) -> None:
        if not row["in_place"] <= row["in_order"] <= row["rows"] <= row["tested"] <= row["units"]:
            self._fail(f"{what}: a row counts more matches than rows")
        if fitted(row["alike"], row["other"]) != row["fitted"]:
            self._fail(f"{what}: a row is fitted or is not, against its figures")
        counts = (row["rows"], row["in_place"], row["in_order"])
        if not near(row_bound(*counts, aligned=row["aligned"]), row["log10_p"]):
            self._fail(f"{what}: the bound of a row is another")

    def _watermark(self, one: Any, what: str) -> None:
        for look in one["looks"]:
            rows = look["rows"]
            if len(rows) > one["targets"]:
                self._fail(f"{what}: a look has more rows than targets")
            if any(look[k] != sum(row[k] for row in rows) for k in ("weights", "t", "v")):
                self._fail(f"{what}: a look is not the sum of its rows")
            if not all(near(mark_bound(row["t"], row["v"]), row["log10_p"]) for row in rows):
                self._fail(f"{what}: the bound of a row is another")
            each = [row["log10_p"] / 1e6 for row in rows]
            if not near(min([0.0, mark_bound(look["t"], look["v"]), *each]), look["log10_p"]):
                self._fail(f"{what}: the bound of a look is another")
        if not near(mark_tests(one["targets"], one["commitments"]), one["log10_tests"]):
            self._fail(f"{what}: the number of tests is another")
        best = min(look["log10_p"] for look in one["looks"])
        self._corrected(one, best, one["log10_p"], what)
        passed = {check["number"] for check in one["checks"] if check["result"] == "pass"}
        if one["proven"] and not passed >= _BEFORE:
            self._fail(f"{what}: it is called proven without the checks that it needs")

    def _asked(self, triggers: Any) -> None:
        # Each answer is a term of a sum: strangers shall not have us add up millions.
        asked = sum(each["asked"] for one in triggers for each in (one, *one["controls"]))
        if asked > MAX_ALL_ASKED:
            self._fail(f"more than {MAX_ALL_ASKED} questions were asked in all")

    def _triggers(self, one: Any, what: str) -> None:
        for each in (one, *one["controls"]):
            if each["right"] > each["asked"]:
                self._fail(f"{what}: more right answers than questions")
            bound = answer_bound(each["asked"], each["right"], one["answers"])
            if not near(bound, each["log10_p"]):
                self._fail(f"{what}: the bound of the answers is another")
        if not near(answer_tests(one["commitments"]), one["log10_tests"]):
            self._fail(f"{what}: the number of tests is another")
        self._corrected(one, one["log10_p"], one["log10_p_all"], what)

    def _corrected(self, one: Any, bare: int, stated: int, what: str) -> None:
        if not near(min(0.0, (bare + one["log10_tests"]) / 1e6), stated):
            self._fail(f"{what}: the corrected bound is another")
        if one["there"] != (stated <= MARK_LEVEL):
            self._fail(f"{what}: what is there does not follow from its bound and the level")
        failed = any(check["result"] == "fail" for check in one["checks"])
        if one["proven"] and (failed or not one["there"]):
            self._fail(f"{what}: it is called proven against its own checks")

    def _trace(self, trace: Any) -> None:
        named = trace["named"]
        if len({(of["license"], of["holder"]) for of in named}) != len(named):
            self._fail("the trace names a license in one hand twice")
        if len(named) > trace["candidates"]:
            self._fail("the trace names more licenses than there were candidates")
        if any(of["log10_p"] > TRACE_LEVEL for of in named):
            self._fail("the trace names a license above its level")
        failed = any(check["result"] == "fail" for check in trace["checks"])
        if trace["proven"] and (failed or not named):
            self._fail("the trace is called proven against its own checks")

    def _search(self, search: Any) -> None:
        models = search["models"]
        order = [(of["committed_at"], of["registered_block"], of["model_id"]) for of in models]
        if any(a >= b for a, b in pairwise(order)):
            self._fail("the registered models are not in the order of time")
        if len({of["model_id"] for of in models}) != len(models):
            self._fail("a registered model is listed twice")
        for of in models:
            for what in ("tensors", "elements"):
                if sum(of[what].values()) > search[what]:
                    self._fail(f"a registered model holds more {what} than were asked for")

    def _tried(self, found: dict[str, Any]) -> None:
        tried = found["tried"]
        if [of["method"] for of in tried] != list(METHODS):
            self._fail("the methods are not listed each once and in order")
        results = results_of(found)
        for of in tried:
            if of["result"] != results[of["method"]]:
                self._fail(f"the result of {of['method']} does not follow from what was found")
            if bool(of["why"]) != (of["result"] == "not checked"):
                self._fail(f"{of['method']}: a reason is said where a method was not tried")
        if found["verdict"] != overall(results):
            self._fail("the verdict does not follow from what was found")
        order = [(METHODS.index(of["method"]), of["what"]) for of in found.get("untried", ())]
        if any(a >= b for a, b in pairwise(order)):
            self._fail("what was not tried repeats or is out of order")


def verdict_of(one: Any) -> str:
    """Rule 5: what a comparison comes to."""
    tensors = one["tensors"]
    if tensors is not None:
        root = one["ours"]["artifact_root"]
        if tensors["shared"] and tensors["same_packed"] and tensors["content_root"] == root:
            return "identical"
        if tensors["found_values"] >= SHARED_VALUES:
            return "contains"
    return "derived" if one["log10_p_all"] <= UNITS_LEVEL else "nothing found"


def results_of(found: Any) -> dict[str, str]:
    """Rule 9: what each method came to."""
    held = found["comparisons"]
    models, trace = found["search"], found["trace"]
    checked = {
        "search": models is not None and bool(models["models"]),
        "tensors": any(one["verdict"] in {"identical", "contains"} for one in held),
        "units": any(one["log10_p_all"] <= UNITS_LEVEL for one in held),
        "watermark": any(one["there"] for one in found["watermarks"]),
        "triggers": any(one["there"] for one in found["triggers"]),
        "trace": trace is not None and bool(trace["named"]),
    }
    looked = {
        "search": models is not None,
        "tensors": any(one["tensors"] is not None for one in held),
        "units": any(one["units"]["rows"] for one in held),
        "watermark": bool(found["watermarks"]),
        "triggers": bool(found["triggers"]),
        "trace": trace is not None,
    }
    return {
        method: ("found" if checked[method] else "nothing found")
        if looked[method]
        else "not checked"
        for method in METHODS
    }


def overall(results: dict[str, str]) -> str:
    """The verdict over all methods; the word of an index alone is none."""
    own = any(result == "found" for method, result in results.items() if method != "search")
    return "match" if own else "nothing found"
