"""Findings about a suspect whose figures follow from each other; formulas written out anew."""

import math

from ledger.canonical import hash_json

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
        "found_values": sum(values), "values": sum(values), "of_values": 22_713_216,
        "shared": each, "set_aside": ["0x" + "e" * 64],
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
        "registered_block": 16, "place": None, "tensors": ways, "elements": ways,
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
            "index": "index.example", "chain_id": 1, "tensors": 9, "elements": 9, "more": True,
            "models": [
                {**model, "model_id": OTHER, "place": {"block": 15, "transaction": 2}},
                {**model, "model_id": MODEL, "registered_block": 17},
            ],
        },
        "comparisons": held, "watermarks": [watermark()], "triggers": [triggers()],
        "trace": {
            "sealing": OTHER, "model_id": MODEL, "candidates": 5, "tests": 6,
            "named": [{"license": "1.2", "holder": OWNER, "log10_p": -9_000_000}],
            "checks": [], "proven": True,
        },
        "untried": [
            {"method": "tensors", "what": f"model {ROOT}", "why": "no tensor carries identity"},
            {"method": "watermark", "what": f"record {ROOT}", "why": "nothing was marked"},
            {"method": "watermark", "what": f"record {OTHER}", "why": "nothing was marked"},
        ],
    }  # fmt: skip


def nothing_found():
    """One comparison that shows nothing, and methods that found nothing or were not tried."""
    tensors = {**shared([16, 17, 18]), "same_packed": False, "set_aside": []}
    held = comparison(1, [row(64, 1, 2), row(64, 60, 60, alike=0)], tensors=tensors)
    held["controls"] = []
    made = findings() | {"comparisons": [held], "triggers": [], "search": None}
    made["trace"] |= {"named": [], "proven": False}
    tried = {"tensors": "nothing found", "units": "nothing found", "watermark": "nothing found",
             "trace": "nothing found"}  # fmt: skip
    made["tried"] = [
        {"method": of["method"], "result": tried.get(of["method"], "not checked"),
         "why": "" if of["method"] in tried else "100 %s, 5 %(name)s, {0} and ${x}"}
        for of in made["tried"]
    ]  # fmt: skip
    made["suspect"]["name"] = '%s %(size)d {1} ${y} \\ " \u202e\u4e2d\U0001f600'
    del made["untried"]
    return made | {"verdict": "nothing found"}


def of_a_sketch():
    """A sketch that nobody committed to, of which no matrix has a counterpart."""
    held = comparison(1, [], tensors=None, sketch=MARK)
    held["ours"]["commitment"] = None
    made = nothing_found() | {"comparisons": [held], "trace": None}
    for of in made["tried"]:
        if of["method"] != "watermark":
            of |= {"result": "not checked", "why": "x"}
    return made
