"""Findings as the library, ``verify.py`` and the page (in node) judge them: figures and lists."""

import copy
import json
import math
import random
from fractions import Fraction

import page_calls
import pytest
from findings_world import (
    MARK,
    MODEL,
    OTHER,
    OWNER,
    ROOT,
    comparison,
    corrected,
    findings,
    millionths,
    nothing_found,
    of_a_sketch,
    over_pairings,
    row,
    shared,
)
from page_calls import Refused
from two_verifiers import script

from ledger.canonical import hash_json
from ledger.errors import LedgerError
from ledger.evidence.logarithms import ln, ln_factorial
from ledger.evidence.match import answer_bound, read_match
from ledger.evidence.match_words import sentences


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with page_calls.functions(tmp_path_factory.mktemp("page")) as call:
        yield call


READ = "(text) => (readMatch(parseJson(utf8(text), 'match.json')), true)"


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
    ((*SHARED, "values"), 5009),
    ((*SHARED, "of_values"), 5007),
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
    (("untried",), []),
    (("untried", 0, "what"), ""),
    (("untried", 0, "why"), ""),
    (("untried", 0, "method"), "trace"),
    (("untried", 1, "what"), f"record {OTHER}"),
    (("untried", 1, "what"), "record \U00010000"),
]


@pytest.mark.parametrize(("path", "value"), FAULTS, ids=str)
def test_each_figure_follows_from_the_others(page, path, value):
    changed = findings()
    if value == "that of 2":
        value = at(changed, ("comparisons", 2, "ours", "commitment"))
    assert at(changed, path) != value
    at(changed, path[:-1])[path[-1]] = value
    assert not read(page, changed)


def files_reversed(made):
    made["suspect"]["files"].reverse()
    made["suspect"]["sha256"] = str(hash_json("modeldeed/suspect/1", made["suspect"]["files"]))


def several_files_are_one(made):
    made["suspect"] |= {"kind": "url", "sha256": made["suspect"]["files"][0]["sha256"]}


def a_sketch_has_tensors(made):
    made["comparisons"][2]["tensors"] = {**shared([16, 17, 18]), "same_packed": False}


def a_model_has_none(made):
    made["comparisons"][1] |= {"tensors": None, "verdict": "derived"}


def more_rows_than_tried(made):
    units = made["comparisons"][0]["units"]
    units |= {"tried": 1, "rows": units["rows"][:1] * 2}
    bound = over_pairings([of["log10_p"] for of in units["rows"]], 1)
    units |= {"log10_p": bound, "log10_p_counted": bound}
    made["comparisons"][0]["log10_p_all"] = corrected([bound], 4)


def fewer_shared_than_counted(made):
    made["comparisons"][3]["tensors"]["found"] -= 1


def shared_beyond_ours(made):
    made["comparisons"][3]["tensors"]["of"] = 1


def counted_otherwise(made):
    one = made["comparisons"][0]
    one["units"]["log10_p_counted"] -= 3
    one["log10_p_all"] -= 3


def one_tensor_of_two_sizes(made):
    tensors = made["comparisons"][0]["tensors"]
    tensors["shared"][1]["theirs"] = tensors["shared"][0]["theirs"]
    tensors["found_values"] -= tensors["shared"][1]["elements"]


def fewer_targets_than_rows(made):
    one = made["watermarks"][0]
    tests = millionths(math.log10(8) + math.log10(3) + math.log10(7) + 40 * math.log10(2))
    best = min(look["log10_p"] for look in one["looks"])
    one |= {"targets": 2, "log10_tests": tests, "log10_p": min(0, best + tests)}


def there_above_the_level(made):
    made["watermarks"][0]["there"] = True
    made["tried"][3]["result"] = "found"


def named_twice(made):
    made["trace"]["named"] *= 2


def traced_against_a_check(made):
    check = {"number": 1, "title": "A check", "result": "fail", "detail": ""}
    made["trace"]["checks"] = [check]


def traced_to_nobody(made):
    made["trace"]["named"] = []
    made["tried"][5]["result"] = "nothing found"


def marked_against_a_check(made):
    made["triggers"][0]["checks"][0]["result"] = "not checked"  # that alone is no failure
    made["triggers"][0]["checks"].append({**made["triggers"][0]["checks"][0], "result": "fail"})


@pytest.mark.parametrize(
    "change",
    [
        files_reversed,
        several_files_are_one,
        a_sketch_has_tensors,
        a_model_has_none,
        more_rows_than_tried,
        fewer_shared_than_counted,
        shared_beyond_ours,
        counted_otherwise,
        one_tensor_of_two_sizes,
        fewer_targets_than_rows,
        there_above_the_level,
        named_twice,
        traced_against_a_check,
        traced_to_nobody,
        marked_against_a_check,
    ],
)
def test_each_rule_holds_by_itself(page, change):
    """All else follows from the change, so that no other rule refuses it."""
    made = findings()
    change(made)
    assert not read(page, made)


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


def test_logarithms_are_the_same_bits_in_all_three(page):
    chance = random.Random("bits")
    numbers = [1, 2, 3, 1.001, (1 << 53) - 1, 1e100, *(chance.uniform(1, 1e9) for _ in range(40))]
    counts = [*range(40), 65_536, *(chance.randrange(65_536) for _ in range(200))]
    asked = [(64, 60, 10), (4096, 1, 2), (4096, 4096, 1 << 31), (4096, 1, 1 << 31), (1, 1, 2)]
    for _ in range(20):
        most = chance.randrange(1, 4097)
        asked.append((most, chance.randrange(1, most + 1), chance.choice((2, 3, 1000))))
    for name, mine, ours, cases in (
        ("naturalLog", ln, script().ln, [(of,) for of in numbers]),
        ("logFactorial", ln_factorial, script()._lf, [(of,) for of in counts]),
        ("answerBound", answer_bound, script().answer_bound, asked),
    ):
        for case in cases:
            assert mine(*case) == ours(*case) == page(name, *case), (name, case)


def test_logarithms_are_those_of_mathematics():
    for x in (1, 1.001, 2, 7, 1e9, 1e100):
        assert math.isclose(ln(x), math.log(x), rel_tol=1e-15)
    for n in (0, 1, 18, 19, 20, 1000, 65_536):
        assert math.isclose(ln_factorial(n), math.lgamma(n + 1), rel_tol=1e-14, abs_tol=1e-12)
    for asked, right, of in ((64, 60, 10), (4096, 2048, 2), (4096, 1, 1000)):
        tail = sum(math.comb(asked, j) * (of - 1) ** (asked - j) for j in range(right, asked + 1))
        chance = math.log10(Fraction(tail, of**asked))
        assert math.isclose(answer_bound(asked, right, of), chance, rel_tol=1e-9)


@pytest.mark.parametrize("count", [6238, 12_156, 16_949])
@pytest.mark.parametrize("off", [-1, 1])
def test_a_stated_bound_at_the_very_edge_is_judged_alike(page, count, off):
    """Where lgamma and a sum of logarithms lie on the two sides of a whole number."""
    made = findings()
    one = row(count, count, count)
    one["log10_p"] += off
    made["comparisons"][2] = comparison(4, [one], tensors=None, sketch=ROOT)
    read(page, made)


def test_findings_of_which_everything_was_tried_have_no_such_list(page):
    changed = findings()
    del changed["untried"]
    assert read(page, changed)


def test_so_many_questions_are_added_up_and_no_more(page):
    changed = findings()
    asked = {"name": "x", "theirs": False, "asked": 4096, "right": 0, "log10_p": 0}
    room = 262_144 - 3 * 64
    left = {**asked, "asked": room % 4096}
    changed["triggers"][0]["controls"] += [asked] * (room // 4096) + [left]
    assert read(page, changed)
    left["asked"] += 1
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


SAY = """(text, root, mark, model, at, place) => matchSentences(
  { opened: { artifactRoot: root, watermark: mark, modelId: model },
    held: { committedAt: BigInt(at) } },
  readMatch(parseJson(utf8(text), "match.json")),
  place && place.map(BigInt))"""


@pytest.mark.parametrize("made", [findings, nothing_found, of_a_sketch])
@pytest.mark.parametrize(("root", "mark", "at"), [(ROOT, MARK, 101), (OTHER, ROOT, 100)])
def test_findings_are_told_in_the_same_words(page, made, root, mark, at):
    document = made()
    assert read(page, document)
    told(page, document, root, mark, at, None)


@pytest.mark.parametrize(
    ("at", "place", "expected"),
    [
        (99, (16, 0), None),
        (101, (1, 0), "earlier than this model, at second 100"),
        (100, None, "in the same second as this model, at second 100: which came first is not"),
        (100, (16, 0), "earlier than this model, at second 100, in an earlier block."),
        (100, (15, 3), "earlier than this model, at second 100, in the same block."),
        (100, (15, 2), "in the same transaction as this model, at second 100."),
        (100, (15, 1), None),
        (100, (14, 3), None),
    ],
)
def test_within_a_second_the_chain_tells_which_commitment_came_first(page, at, place, expected):
    said = told(page, findings(), ROOT, MARK, at, place)
    when = [of for of in said if of.startswith(f"{OTHER} of ")]
    if expected is None:
        assert when == []
    else:
        assert when[0].startswith(f"{OTHER} of {OWNER} was committed to {expected}")


@pytest.mark.parametrize(
    ("values", "whole", "percent"),
    [
        (0, 0, "0.00"),
        (0, 5, "0.00"),
        (1, 10_001, "less than 0.01"),
        (1, 10_000, "0.01"),
        (29_312, 22_713_216, "0.12"),
        (9_999_999, 10_000_000, "99.99"),
        ((1 << 53) - 1, (1 << 53) - 1, "100.00"),
    ],
)
def test_how_many_of_our_values_are_shared_is_told(page, values, whole, percent):
    document = nothing_found()
    sizes = [values] if values else []
    tensors = {**shared(sizes), "same_packed": False, "set_aside": [], "of_values": whole}
    one = comparison(1, [], tensors=tensors | {"found": len(sizes)})
    document["comparisons"] = [one]
    document["tried"][1]["result"] = "found" if values >= 4096 else "nothing found"
    document["tried"][2] |= {"result": "not checked", "why": "x"}
    document["verdict"] = "match" if values >= 4096 else "nothing found"
    said = told(page, document, ROOT, MARK, 100, None)
    assert any(f"with {values} of {whole} values of ours ({percent} %); 0" in of for of in said)


def told(page, document, root, mark, at, place):
    """The sentences, in which all three agree."""
    facts = {"artifact_root": root, "watermark": mark, "model_id": MODEL, "committed_at": at}
    there = place and {"block": place[0], "transaction": place[1]}
    said = sentences(read_match(document), **facts, place=there)
    assert script()._sentences(document, root, mark, MODEL, at, there) == said
    ids = [bytes.fromhex(of[2:]) for of in (root, mark, MODEL)]
    assert page(SAY, json.dumps(document), *ids, at, place and list(place)) == said
    return said


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
