"""Canonical JSON: one byte form for equal documents, strict reading, separated hashes."""

import contextlib
import hashlib
import json
import subprocess
import sys

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ledger import canonical
from ledger.canonical import canonical_json, canonical_object, hash_bytes, hash_json, parse_json
from ledger.errors import LedgerError, LimitExceeded, ManifestError

SAFE = st.integers(-(2**53) + 1, 2**53 - 1)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | SAFE | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(DOCUMENTS)
def test_a_document_reads_back_from_its_canonical_form(document):
    data = canonical_json(document)
    assert parse_json(data, what="it") == document
    assert canonical_json(json.loads(data)) == data


def test_the_order_of_keys_does_not_matter():
    assert canonical_json({"b": 1, "a": 2}) == canonical_json({"a": 2, "b": 1}) == b'{"a":2,"b":1}'


def test_the_example_of_rfc_8785_section_3_2_3_has_its_published_form():
    document = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\u0022\u002f",
        "literals": [None, True, False],
    }
    published = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(document) == published.encode()


@pytest.mark.parametrize(
    "document",
    [
        2**53,
        -(2**53),
        float("nan"),
        float("inf"),
        "\ud800",
        {1: 2},
        pytest.param(object(), id="object"),
        b"bytes",
        {"a": {1}},
    ],
    ids=repr,
)
def test_what_json_cannot_carry_is_refused(document):
    with pytest.raises(ManifestError):
        canonical_json(document)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b'{"a":1,"a":1}', b'{"x":{"a":1,"a":2}}', b"NaN", b"[Infinity]", b"\xff", b"1 2",
     b"[" * 100_000, b"9" * 100_000, b"\xef\xbb\xbf{}", b"'a'", b"{a:1}"],
    ids=lambda data: data[:12].decode("latin-1"),
)  # fmt: skip
def test_what_is_not_strict_json_is_refused(data):
    with pytest.raises(ManifestError):
        parse_json(data, what="the thing")


def test_a_number_of_thousands_of_digits_is_refused_in_our_own_words():
    with pytest.raises(ManifestError, match="the thing holds a number with") as caught:
        parse_json(b'{"a":' + b"9" * 5000 + b"}", what="the thing")
    assert "set_int_max_str_digits" not in caught.value.message


def test_a_document_beyond_the_limit_is_not_even_parsed():
    with pytest.raises(LimitExceeded):
        parse_json(b"[1,2,3]", what="it", limit=6)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail_in_another_way(data):
    with contextlib.suppress(LedgerError):
        parse_json(data, what="it")


def test_a_hash_is_the_tag_a_zero_byte_and_the_canonical_form():
    expected = hashlib.sha256(b'modeldeed/x/1\0{"a":1}').digest()
    assert hash_json("modeldeed/x/1", {"a": 1}).raw == expected
    assert hash_bytes("modeldeed/x/1", b'{"a":1}').raw == expected


def test_no_tag_is_a_prefix_of_another_tags_input():
    assert hash_bytes("a", b"bc") != hash_bytes("ab", b"c")


def test_a_deep_document_is_refused_even_where_the_recursion_limit_was_raised():
    # In a process of its own: without the check, Python's scanner overruns the stack and dies.
    code = (
        "import sys; sys.setrecursionlimit(10**6)\n"
        "from ledger.canonical import parse_json\n"
        "from ledger.errors import ManifestError\n"
        "for data in (b'[' * 10**6, b'{\"a\":' * 10**6, b'[\"\\\\\"\",' * 10**6):\n"
        "    try: parse_json(data, what='it')\n"
        "    except ManifestError: print('refused')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout == "refused\n" * 3, run.stderr[-500:]


def test_brackets_inside_strings_do_not_count_as_depth():
    text = "[" * 1000 + '\\"{'
    assert parse_json(json.dumps([text] * 100).encode(), what="it") == [text] * 100
    assert parse_json(b"[" + b"[]," * 1000 + b"[]]", what="it") == [[]] * 1001


@given(st.text('[]{}",a', max_size=60))
def test_depth_is_the_same_by_either_way_of_leaving_strings_out(text):
    many = text.encode() + b"[]" * 40  # so many brackets that they are looked at
    depth = canonical._depth(many)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canonical, "_SHORT", 0)
        assert canonical._depth(many) == depth


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53) + 1, 2**53 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=30,
    )
)
def test_the_quick_way_writes_the_bytes_of_the_long_one(document):
    try:
        wanted = bytes(rfc8785.dumps(document))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        with pytest.raises(ManifestError):
            canonical_json(document)
    else:
        assert canonical_json(document) == wanted


@pytest.mark.parametrize(
    "value",
    [True, 1, -1, 0, 2**53 - 1, '\x00\x1f\x7f\u2028\ud7ff\U0001f600\\"/\b\f\n\r\t', (), [()]],
)
def test_the_quick_way_on_what_escapes_and_borders_bring(value):
    assert canonical_json({"a": value}) == bytes(rfc8785.dumps({"a": value}))


def test_keys_beyond_ascii_stand_in_the_order_of_utf_16():
    assert canonical_json({"\uff61": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\uff61":1}'.encode()


@pytest.mark.parametrize("value", [2**53, -(2**53), float("nan"), b"x", {1: 2}, {"\ud800": 1}])
def test_the_quick_way_lets_nothing_through_that_the_long_one_refuses(value):
    with pytest.raises(ManifestError):
        canonical_json([value])


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True), DOCUMENTS, max_size=6))
def test_an_object_put_together_of_canonical_members_is_canonical(members):
    parts = {name: canonical_json(value) for name, value in members.items()}
    assert canonical_object(parts) == canonical_json(members)


@pytest.mark.parametrize("name", ["", "a b", 'a"', "ä", "a\n"])
def test_an_object_is_not_put_together_of_names_that_sort_or_escape_otherwise(name):
    with pytest.raises(ManifestError):
        canonical_object({name: b"1"})
