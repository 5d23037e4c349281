"""Whatever a forger makes of a bundle, the library and ``verify.py`` end every step alike.

A few hundred forgeries in CI, of every kind; thousands of each in `make deep` (``DEED_DEEP=1``).
Each difference found so stands in ``tests/vectors/evidence`` as a fault of its own.
"""

import contextlib
import json
import math
import os
import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rlp
from bundle_forgery import Forger
from forged_der import Tsa
from hypothesis import given, settings
from hypothesis import strategies as st
from two_verifiers import agree, script

from ledger.canonical import _depth
from ledger.dating import Dating, stamp_bundle
from ledger.errors import LedgerError, StateProofInvalid
from ledger.evidence.bundle import parse_bundle, read_bundle
from ledger.evidence.proofs import prove
from ledger.evidence.rlp_items import read_rlp
from ledger.evidence.wording import is_plain, one_line
from ledger.ids import Digest, keccak256
from ledger.investigation import add_custody_entry, redact_evidence, restore_evidence

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "evidence"
BUNDLES = {
    name: (FOLDER / f"{name}.evidence.zip").read_bytes()
    for name in ("model", "stamped", "redacted", "releases/three", "releases/one", "match")
}
# How often each kind of forgery is tried, for every hundred.
KINDS = {
    "change_document": 20,
    "change_receipt": 12,
    "change_event": 10,
    "forged_receipt": 10,
    "forged_card": 8,
    "change_state": 12,
    "forged_token": 16,
    "change_stamp": 8,
    "spell_document": 6,
    "change_header": 5,
    "change_log": 5,
    "change_index": 4,
    "change_kind": 3,
    "change_list_of_licenses": 3,
    "lose": 3,
    "nest_in_request": 3,
    "change_findings": 2,
    "refit_findings": 4,
}
ROUNDS = 120 if os.environ.get("DEED_DEEP") else 0.5
WITH = {
    "nest_in_request": ("releases/three", "releases/one"),
    "forged_receipt": ("releases/one",),
    "forged_card": ("model", "stamped", "redacted"),
    "change_stamp": ("stamped", "redacted"),
    "change_findings": ("match",),
    "refit_findings": ("match",),
}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_forged_bundle_ends_every_step_alike_in_both(kind):
    for seed in range(math.ceil(KINDS[kind] * ROUNDS)):
        chance = random.Random(f"{kind} {seed}")
        forger = Forger(BUNDLES[chance.choice(WITH.get(kind, tuple(BUNDLES)))], chance)
        getattr(forger, kind)()
        data = forger.close(custody=kind != "change_log", report=chance.random() < 0.7)
        try:
            agree(data)
        except Exception as error:
            raise AssertionError(f"forgery {kind} {seed}, {forger.told}: {error}") from error


@pytest.mark.parametrize("made", [b"", b"\x04\x01x", b"\x30\x00", b"\x1f", b"\x30\x05x"])
def test_the_forger_goes_on_whatever_it_made_of_a_certificate(made):
    for where in ("root", "issuing", "signer"):
        token, pem = Tsa(random.Random(1), lambda _data: made, where).token(bytes(32))
        assert token[:1] == b"\x30"
        assert pem.count(b"BEGIN CERTIFICATE") == 3


items = st.recursive(
    st.binary(max_size=40) | st.sampled_from([b"", b"\0" * 32, b"\x20", b"\x31" + b"\1" * 8]),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, min_size=17, max_size=17),
    max_leaves=24,
)


@settings(max_examples=6000 if os.environ.get("DEED_DEEP") else 300, deadline=None)
@given(items, st.binary(max_size=3), st.lists(items, max_size=2), st.data())
def test_any_nodes_prove_the_same_or_nothing_in_both(top, key, below, data):
    nodes = [rlp.encode(one) for one in below]
    if nodes and isinstance(top, list) and top:
        place = data.draw(st.integers(0, len(top) - 1))
        top = [*top[:place], keccak256(nodes[0]), *top[place + 1 :]]
    nodes.insert(0, rlp.encode(top))
    nodes = nodes[: data.draw(st.integers(1, len(nodes)))]
    root = keccak256(nodes[0])
    try:
        expected = prove(Digest(root), key, nodes)
    except StateProofInvalid:
        expected = None
    try:
        found = script().prove(root, key, nodes)
    except script().Fail:
        found = None
    assert found == expected


@settings(max_examples=4000 if os.environ.get("DEED_DEEP") else 300, deadline=None)
@given(st.binary(max_size=40) | items.map(rlp.encode), st.data())
def test_any_bytes_are_the_same_rlp_or_none_in_both(raw, data):
    raw = bytearray(raw)
    if raw:
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        expected = read_rlp(bytes(raw), "it")
    except StateProofInvalid:
        expected = None
    try:
        found = script().rlp(bytes(raw))
    except script().Fail:
        found = None
    assert found == expected


@pytest.mark.parametrize("depth", [63, 64, 65, 66, 2000])
def test_rlp_may_nest_as_deep_in_both(depth):
    value = b"\xc0"
    for _ in range(depth):
        value = script()._rlp_head(0xC0, len(value)) + value
    if depth <= 64:
        assert read_rlp(value, "it") == script().rlp(value)
        return
    with pytest.raises(StateProofInvalid):
        read_rlp(value, "it")
    with pytest.raises(script().Fail):
        script().rlp(value)


def test_every_character_is_plain_or_escaped_alike_in_both():
    for code in range(0x110000):
        char = chr(code)
        assert is_plain(char) is script().is_plain(char)
        assert one_line(char) == script().one_line(char)
        assert is_plain(char) == (one_line(char) == char)


# Letters and signs that are as wide as others and show nothing: fillers of Hangul, a Braille
# pattern without dots, a note without a head.
BLANKS = "\u115f\u1160\u2800\u3164\uffa0\U0001d159"


def test_what_python_calls_printable_is_plain_but_blanks_and_what_nobody_has_assigned():
    import unicodedata

    for code in range(0x110000):
        char = chr(code)
        if unicodedata.category(char) != "Cn":
            assert is_plain(char) is (char.isprintable() and char not in BLANKS), hex(code)


def test_no_stranger_s_text_can_end_the_quotes_it_stands_in():
    from ledger.evidence.wording import in_quotes

    for name in ('x" by "Court', "x\\", 'x\\" (root', "\n\u202e" + '"' + "\u2800" * 3):
        shown = in_quotes(name)
        assert shown == script().in_quotes(name)
        assert not set(BLANKS + "\n\u202e") & set(shown)
        assert json.loads(shown.replace("\\u", "\\\\u")) is not None  # one text, ended once


def test_spaces_in_a_name_cannot_begin_a_line_that_looks_like_ours():
    name = "Foo" + " " * 60 + "Holder      0x00"
    for shown in (one_line(name), script().one_line(name)):
        assert "  " not in shown
        assert shown.startswith("Foo \\x20\\x20")


def test_a_report_with_stamps_of_whoever_does_not_call_them_proved():
    report = parse_bundle(BUNDLES["stamped"]).members["report.txt"].decode()
    assert "taken on trust but what the limits and the time-stamps name." in report
    assert "\nTime-stamps of these contents, at the latest, if their root or" in report
    plain = parse_bundle(BUNDLES["model"]).members["report.txt"].decode()
    assert "taken on trust but what the limits name." in plain


@pytest.mark.parametrize("kind", ["change_document", "change_log", "change_index", "lose"])
def test_a_forged_bundle_given_to_the_other_commands_ends_in_our_errors_alone(kind, tmp_path):
    path, dest = tmp_path / "given.zip", tmp_path / "made.zip"
    names = ("fingerprint.json",)
    who = {"actor": "counsel", "now": datetime(2026, 11, 28, tzinfo=UTC)}
    for seed in range(12):
        chance = random.Random(f"commands {kind} {seed}")
        forger = Forger(BUNDLES[chance.choice(("stamped", "redacted"))], chance)
        getattr(forger, kind)()
        path.write_bytes(forger.close(custody=kind != "change_log", report=False))
        for run in (
            lambda: redact_evidence(path, dest, names, **who),
            lambda: restore_evidence(path, dest, [b"{}"], **who),
            lambda: add_custody_entry(path, dest, action="received", **who),
            lambda: stamp_bundle(path, dest, Dating(), **who),
        ):
            with contextlib.suppress(LedgerError):
                run()
                assert read_bundle(dest).contents == read_bundle(path).contents


def test_an_entry_added_to_a_bundle_that_withholds_members_goes_on_withholding_them(tmp_path):
    path = FOLDER / "redacted.evidence.zip"
    made = add_custody_entry(path, tmp_path / "x.zip", actor="court", action="received")
    assert read_bundle(made).left_out == read_bundle(path).left_out
    assert agree(made.read_bytes())[0] == "holds, given the blocks it rests on"


DEEP = """
import json, sys
sys.setrecursionlimit(1_000_000)
sys.path[:0] = json.loads(sys.argv[1])
from two_verifiers import by_library, by_script, trusting
from document_forgery import DocumentForger
for inner in ("[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000):
    forger = DocumentForger(open(sys.argv[2], "rb").read(), None)
    forger.members["manifest.json"] = inner.encode()
    data = forger.close(report=False)
    for of in (by_library(data, trusting()[0]), by_script(data, trusting()[1])):
        print(of[0], [step[0] for step in of[1] if step[2] == "fail"][:1])
"""


def test_endless_nesting_ends_nobody_s_process_even_where_recursion_is_not_bounded():
    """Python's reader of JSON recurses on the C stack; libraries raise the limit for all."""
    words = [sys.executable, "-c", DEEP, json.dumps(sys.path), str(FOLDER / "model.evidence.zip")]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stdout) == (0, "does not hold [2]\n" * 4), ran.stderr[-2000:]


@given(st.binary(max_size=60) | st.text(alphabet='[]{}"\\\\a:,', max_size=90).map(str.encode))
def test_the_depth_of_json_is_counted_alike_in_both(data):
    filled = b"[" * 65 + b"]" * 65 + data  # so that both look at all
    assert script()._depth(filled) == max(0, _depth(filled))
