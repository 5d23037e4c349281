"""Findings as the library, ``verify.py`` and the page (in node) judge them: figures and lists."""

import copy
import json
import math
import random

import page_calls
import pytest
from page_calls import Refused
from two_verifiers import script

from ledger.canonical import hash_json
from ledger.errors import LedgerError
from ledger.evidence.match import read_match


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with page_calls.functions(tmp_path_factory.mktemp("page")) as call:
        yield call


READ = "(text) => (readMatch(parseJson(utf8(text), 'match.json')), true)"
OWNER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
ROOT, OTHER, MARK = ("0x" + of * 64 for of in "abc")
MODEL = "0x" + "d" * 64


def log10_factorial(n):
    return math.lgamma(n + 1) / math.log(10)


def millionths(value):
    return round(value * 1e6)


def row(rows, in_place, in_order, *, alike=1_000_000, other=387_000, aligned=False):
    place = min(0.0, math.log10(2) - log10_factorial(in_place))
    ways = log10_factorial(rows) - log10_factorial(rows - in_order) - 2 * log10_factorial(in_order)
    order = min(0.0, 2 * math.log10(2) + min(0.0, ways))
    bound = min(0.0, min(place, order) + (3 if aligned else 0))
    return {
        "ours": "h.0", "theirs": "h.0", "role": "hidden units", "units": rows + 2,
        "tested": rows + 1, "rows": rows, "in_place": in_place, "in_order": in_order,
        "alike": alike, "other": other, "fitted": 4 * alike < 3 * other + 1_000_000,
        "turned": False, "aligned": aligned, "log10_p": millionths(bound),
    }  # fmt: skip


def over_pairings(stated, tried):
    bound = min(stated, default=0) / 1e6 + math.log10(tried) + math.log10(1.001)
    return min(0, millionths(bound)) if stated else 0


def corrected(stated, tests):
    return min(0, millionths(min(stated, default=0) / 1e6 + math.log10(tests))) if stated else 0


def comparison(comparisons, rows, *, tensors, sketch=None, root=ROOT):
    tried = 145
    all_rows = over_pairings([of["log10_p"] for of in rows], tried)
    counted = over_pairings([of["log10_p"] for of in rows if not of["fitted"]], tried)
    every = corrected([counted], comparisons)
    verdict = "derived" if every <= -20_000_000 else "nothing found"
    if tensors is not None and tensors["found_values"] >= 4096:
        verdict = "contains"
    if tensors is not None and tensors["same_packed"] and tensors["content_root"] == root:
        verdict = "identical"
    committed = {"hash": OTHER, "owner": OWNER, "number": 3, "block": 16, "time": 1_764_295_200}
    return {
        "ours": {
            "kind": "model" if sketch is None else "sketch", "artifact_root": root,
            "sketch_root": sketch, "commitment": committed if sketch else None,
        },
        "tensors": tensors,
        "units": {
            "tried": tried, "not_tested": 89, "log10_p": all_rows, "log10_p_counted": counted,
            "rows": rows,
        },
        "controls": [
            {"title": "Control one", "log10_p": -30_000_000},
            {"title": "Control \u202e two", "log10_p": -99_999},
        ],
        "log10_p_all": every,
        "verdict": verdict,
    }  # fmt: skip


def shared(values):
    each = [
        {
            "cid": "0x" + f"{i:064x}", "relation": "cast", "elements": size, "packed": i == 2,
            "theirs": f"layer.{i}",
        }
        for i, size in enumerate(values)
    ]  # fmt: skip
    return {
        "content_root": OTHER, "same_packed": True, "of": 102, "found": len(values) - 1,
        "found_values": sum(values), "shared": each, "set_aside": ["0x" + "e" * 64],
    }  # fmt: skip


def watermark():
    rows, tests = [], math.log10(8) + math.log10(31) + math.log10(7) + 40 * math.log10(2)
    for t, v in ((45_000, 150_000), (90_000, 210_000), (-3_000, 90_000)):
        rows.append(
            {
                "name": "h.0",
                "found_as": "h.0",
                "weights": 1000,
                "t": t,
                "v": v,
                "log10_p": millionths(mark(t, v)),
            }
        )
    t, v = sum(of["t"] for of in rows), sum(of["v"] for of in rows)
    best = min(mark(t, v), *(of["log10_p"] / 1e6 for of in rows))
    look = {"kind": "blind", "way": "by name", "rows": rows, "weights": 3000, "t": t, "v": v}
    look["log10_p"] = millionths(best)
    empty = {"kind": "informed", "way": "realigned", "rows": [], "weights": 0, "t": 0, "v": 0}
    log10_tests = millionths(tests)
    return {
        "commitment": MARK, "owner": OWNER, "chain_id": 1, "targets": 30, "commitments": 7,
        "looks": [look, {**empty, "log10_p": 0}], "log10_tests": log10_tests,
        "log10_p": min(0, look["log10_p"] + log10_tests), "there": False,
        "checks": [
            {"number": n, "title": "A check", "result": "pass", "detail": ""} for n in (1, 2, 3, 8)
        ],
        "proven": False,
    }  # fmt: skip


def mark(t, v):
    if t <= 0 or v <= 0:
        return 0.0
    return -((t / 1000 * (1 - 1e-4)) ** 2) / (2 * v / 1000 * (1 + 1e-4)) / math.log(10)


def answers(asked, right, of):
    if not right:
        return 0
    tail = sum(math.comb(asked, j) * (of - 1) ** (asked - j) for j in range(right, asked + 1))
    return millionths(math.log10(tail) - asked * math.log10(of))


def triggers():
    bare = answers(64, 60, 10)
    tests = millionths(math.log10(7) + 40 * math.log10(2))
    return {
        "commitment": OTHER, "disclosure": ROOT, "owner": OWNER, "chain_id": 31337, "asked": 64,
        "right": 60, "answers": 10, "commitments": 7, "log10_p": bare, "log10_tests": tests,
        "log10_p_all": min(0, bare + tests), "there": bare + tests <= -38_531_839,
        "controls": [
            {"name": "one", "theirs": True, "asked": 64, "right": 6, "log10_p": answers(64, 6, 10)},
            {"name": "two", "theirs": False, "asked": 64, "right": 0, "log10_p": 0},
        ],
        "checks": [{"number": 1, "title": "A check", "result": "pass", "detail": "said"}],
        "proven": True,
    }  # fmt: skip


def findings():
    """A document with every part, whose figures all follow from each other."""
    files = [
        {"name": f"{of}.safetensors", "size": 10, "sha256": OTHER} for of in ("a", "b", "\u4e2d")
    ]
    rows = [row(1536, 1536, 1536), row(768, 12, 14, alike=0)]
    held = [
        comparison(4, rows, tensors=shared([5000, 1, 7])),
        comparison(4, [row(64, 0, 40)], tensors=shared([16, 17, 18]), root=OTHER),
        comparison(4, [row(128, 30, 40)], tensors=None, sketch=MARK),
        comparison(4, [], tensors={**shared([16, 17, 18]), "content_root": ROOT}),
    ]  # fmt: skip
    ways = {"identity": 0, "cast": 3, "multiset": 0, "cast_multiset": 1}
    model = {
        "licensor": OWNER, "title": "MiniLM", "status": "active", "committed_at": 100,
        "registered_block": 16, "tensors": ways, "elements": ways,
    }  # fmt: skip
    why = {"watermark": "", "search": "", "tensors": "", "units": "", "triggers": "", "trace": ""}
    results = dict.fromkeys(why, "found") | {"watermark": "nothing found"}
    order = ("search", "tensors", "units", "watermark", "triggers", "trace")
    return {
        "format": "modeldeed/match/1", "software": "modeldeed 0.1.0",
        "suspect": {
            "name": "found", "kind": "folder", "size": 30,
            "sha256": str(hash_json("modeldeed/suspect/1", files)),
            "received": "2026-11-28T02:10:00Z", "files": files,
        },
        "verdict": "match",
        "tried": [{"method": of, "result": results[of], "why": why[of]} for of in order],
        "search": {
            "index": "index.example", "tensors": 9, "elements": 9, "more": True,
            "models": [
                {**model, "model_id": OTHER},
                {**model, "model_id": MODEL, "registered_block": 17},
            ],
        },
        "comparisons": held, "watermarks": [watermark()], "triggers": [triggers()],
        "trace": {
            "sealing": OTHER, "model_id": MODEL, "candidates": 5, "tests": 6,
            "named": [{"license": "1.2", "holder": OWNER, "log10_p": -9_000_000}],
            "checks": [], "proven": True,
        },
    }  # fmt: skip


def leaves(value, path=()):
    """Where each value that is no list or object stands."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, (dict, list)):
            yield from leaves(inner, (*path, key))
        else:
            yield (*path, key)


def at(document, path):
    for key in path:
        document = document[key]
    return document


def test_findings_whose_figures_follow_are_read(page):
    assert read(page, findings())


UNITS = ("comparisons", 0, "units")
SHARED = ("comparisons", 0, "tensors")
LOOK = ("watermarks", 0, "looks", 0)
# One change, after which the figures no longer follow from each other.
FAULTS = [
    (("suspect", "size"), 31),
    (("suspect", "sha256"), ROOT),
    (("suspect", "kind"), "file"),
    (("suspect", "files", 0, "name"), "c.safetensors"),
    (("suspect", "files", 0, "size"), 11),
    (("suspect", "files", 0, "sha256"), ROOT),
    (("verdict",), "nothing found"),
    (("tried", 0, "result"), "nothing found"),
    (("tried", 1, "result"), "not checked"),
    (("tried", 1, "why"), "because"),
    (("tried", 0, "method"), "trace"),
    (("search",), None),
    (("search", "tensors"), 3),
    (("search", "elements"), 3),
    (("search", "models", 0, "committed_at"), 101),
    (("search", "models", 0, "registered_block"), 18),
    (("search", "models", 1, "model_id"), OTHER),
    (("comparisons", 0, "verdict"), "identical"),
    (("comparisons", 0, "verdict"), "derived"),
    (("comparisons", 2, "verdict"), "contains"),
    (("comparisons", 0, "log10_p_all"), -4_000_000_000),
    (("comparisons", 0, "ours", "kind"), "sketch"),
    (("comparisons", 0, "ours", "sketch_root"), ROOT),
    (("comparisons", 2, "ours", "sketch_root"), None),
    (("comparisons", 0, "ours", "commitment"), "that of 2"),
    (("comparisons", 0, "tensors"), None),
    ((*SHARED, "of"), 1),
    ((*SHARED, "found"), 3),
    ((*SHARED, "found_values"), 5009),
    ((*SHARED, "shared", 0, "cid"), "0x" + "9" * 64),
    ((*SHARED, "shared", 0, "elements"), 5001),
    ((*SHARED, "shared", 0, "packed"), True),
    ((*SHARED, "shared", 2, "packed"), False),
    ((*SHARED, "shared", 1, "theirs"), "layer.0"),
    ((*SHARED, "set_aside", 0), "0x" + f"{1:064x}"),
    ((*UNITS, "tried"), 1),
    ((*UNITS, "tried"), 1450),
    ((*UNITS, "log10_p"), -4_000_000_000),
    ((*UNITS, "log10_p_counted"), -4_000_000_000),
    ((*UNITS, "rows", 0, "units"), 1536),
    ((*UNITS, "rows", 0, "tested"), 1535),
    (("comparisons", 1, "units", "rows", 0, "rows"), 63),
    (("comparisons", 1, "units", "rows", 0, "in_order"), 41),
    ((*UNITS, "rows", 1, "in_place"), 15),
    ((*UNITS, "rows", 1, "in_order"), 769),
    ((*UNITS, "rows", 0, "fitted"), True),
    ((*UNITS, "rows", 0, "alike"), 0),
    ((*UNITS, "rows", 1, "alike"), 1_000_000),
    ((*UNITS, "rows", 0, "log10_p"), -4_000_000_000),
    ((*LOOK, "weights"), 3001),
    ((*LOOK, "t"), 132_001),
    ((*LOOK, "v"), 450_001),
    ((*LOOK, "log10_p"), -1),
    ((*LOOK, "rows", 0, "weights"), 1001),
    ((*LOOK, "rows", 0, "t"), 45_001),
    ((*LOOK, "rows", 0, "v"), 150_001),
    ((*LOOK, "rows", 0, "log10_p"), -1),
    ((*LOOK, "rows", 2, "log10_p"), -2),
    (("watermarks", 0, "targets"), 2),
    (("watermarks", 0, "targets"), 31),
    (("watermarks", 0, "commitments"), 8),
    (("watermarks", 0, "log10_tests"), 1),
    (("watermarks", 0, "log10_p"), -3),
    (("watermarks", 0, "there"), True),
    (("watermarks", 0, "proven"), True),
    (("triggers", 0, "asked"), 65),
    (("triggers", 0, "right"), 61),
    (("triggers", 0, "right"), 65),
    (("triggers", 0, "answers"), 11),
    (("triggers", 0, "commitments"), 8),
    (("triggers", 0, "log10_p"), -1),
    (("triggers", 0, "log10_tests"), 1),
    (("triggers", 0, "log10_p_all"), -1),
    (("triggers", 0, "there"), False),
    (("triggers", 0, "checks", 0, "result"), "fail"),
    (("triggers", 0, "controls", 0, "right"), 7),
    (("triggers", 0, "controls", 0, "log10_p"), 0),
    (("triggers", 0, "controls", 1, "right"), 1),
    (("trace", "candidates"), 0),
    (("trace", "named"), []),
    (("trace", "named", 0, "log10_p"), -8_999_999),
    (("trace", "named", 0, "license"), "01.2"),
    (("trace", "named", 0, "holder"), OWNER.lower()),
]


@pytest.mark.parametrize(("path", "value"), FAULTS, ids=str)
def test_each_figure_follows_from_the_others(page, path, value):
    changed = findings()
    if value == "that of 2":
        value = at(changed, ("comparisons", 2, "ours", "commitment"))
    assert at(changed, path) != value
    at(changed, path[:-1])[path[-1]] = value
    assert not read(page, changed)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(
    "counts", [(40, 0, 0), (1000, 0, 30), (1000, 5, 900), (60_000, 60_000, 60_000)]
)
def test_rows_of_any_size_have_the_librarys_bound(page, counts, aligned):
    changed = findings()
    changed["comparisons"][2] = comparison(
        4, [row(*counts, aligned=aligned)], tensors=None, sketch=ROOT
    )
    assert read(page, changed)
    changed["comparisons"][2]["units"]["rows"][0]["aligned"] = not aligned
    if counts[1] > 0:
        assert not read(page, changed)


def test_a_logarithm_may_be_a_millionth_off_and_no_more(page):
    held = []
    for off in range(-3, 4):
        changed = findings()
        changed["triggers"][0]["controls"][0]["log10_p"] += off
        if read(page, changed):
            held.append(off)
    # A distance of at most one holds two whole numbers, or three.
    assert held in ([-1, 0], [0, 1], [-1, 0, 1])


def read(page, document):
    """Whether the library reads it; the script and the page must say the same."""
    text, held = json.dumps(document), []
    for reader, refusals in (
        (read_match, LedgerError),
        (script().read_findings, script().Fail),
        (lambda _document: page(READ, text), Refused),
    ):
        try:
            reader(json.loads(text))
        except refusals:
            held.append(False)
        else:
            held.append(True)
    assert len(set(held)) == 1, held
    return held[0]


@pytest.mark.parametrize("bad", [None, 1.5, "x", -1, 1 << 60, [], {}, True])
def test_values_of_another_kind_are_refused_anywhere(page, bad):
    good = findings()
    chance = random.Random(f"page match {bad!r}")
    places = list(leaves(good))
    for path in chance.sample(places, 60):
        value = at(good, path)
        if type(value) is type(bad) or (value is None and bad in ({}, [])):
            continue
        changed = copy.deepcopy(good)
        at(changed, path[:-1])[path[-1]] = bad
        assert not read(page, changed)


def test_no_member_may_lack_or_be_added(page):
    good = findings()
    holders = {path[:-1] for path in leaves(good)}
    for path in holders:
        holder = at(good, path)
        if not isinstance(holder, dict):
            continue
        for name in (next(iter(holder)), "remark", "__proto__"):
            changed = copy.deepcopy(good)
            place = at(changed, path)
            if name in place:
                del place[name]
            else:
                place[name] = 1
            assert not read(page, changed)
