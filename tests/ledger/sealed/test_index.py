"""The encrypted tables: strict even when whoever wrote them holds the key."""

import contextlib
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import SealedFormatError
from ledger.ids import Digest
from ledger.merkle import T1
from ledger.sealed.index import (
    MemberEntry,
    Tables,
    TensorEntry,
    join_index,
    package_root,
    safe_path,
    split_index,
)

STEP = 1 << 16
D = "ab" * 32
GOOD = {
    "members": [["c.json", 18, "side", 0, D], ["m.safetensors", 70000, "weights", 1, D]],
    "tensors": [["a", "F32", [4, 4], 1, 100, D], ["b", "F4", [2], 1, 164, D]],
    "version": 1,
}


def parse(document):
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Tables.parse(data, segments=3, segment_bytes=STEP)


def altered(table, row, column, value):
    document = json.loads(json.dumps(GOOD))
    document[table][row][column] = value
    return document


def test_good_tables_read_back_as_written():
    tables = parse(GOOD)
    assert parse(tables.to_bytes()) == tables
    digest = Digest(bytes.fromhex(D))
    assert tables.members[1] == MemberEntry("m.safetensors", 70000, "weights", 1, digest)
    assert tables.tensors[0] == TensorEntry("a", "F32", (4, 4), 1, 100, 64, digest)
    assert tables.tensors[1].nbytes == 1


@pytest.mark.parametrize(
    ("table", "row", "column", "value"),
    [
        *(
            ("members", 0, 0, name)
            for name in ("../c", "/c", "a//b", "", ".", "c\0", "c:d", "c\\d")
        ),
        ("members", 0, 0, "m.safetensors"),
        ("members", 0, 0, "m.safetensors/c"),
        ("members", 0, 0, "\ud800"),
        ("members", 0, 0, 5),
        ("members", 0, 0, "x" * 1025),
        *(("members", 0, 1, size) for size in (-1, 1.0, True, "18", STEP + 1, 10**30, None)),
        *(("members", 0, 2, role) for role in ("", "code", None)),
        *(("members", 1, 3, first) for first in (0, 2, "1", None)),
        *(("members", 0, 4, digest) for digest in ("", "AB" * 32, "zz" * 32, "ab " * 22, 1, None)),
        *(("tensors", 0, 0, name) for name in ("b", "a\0", "a\n", "x" * 5000, "\ud800", None, 1)),
        *(("tensors", 0, 1, dtype) for dtype in ("PICKLE", "f32", None, 3, [])),
        *(
            ("tensors", 0, 2, shape)
            for shape in (
                [5, 4],
                [1 << 40, 1 << 40],
                [1 << 32, 1 << 32],
                [-4, -4],
                [4.0, 4],
                [True, 16],
                [1] * 65,
                [1 << 60],
                "44",
                None,
                {},
            )
        ),
        ("tensors", 1, 2, [3]),  # 12 bits
        *(("tensors", 0, 3, member) for member in (0, 2, -1, True, "1", None)),
        *(("tensors", 0, 4, offset) for offset in (101, 69999, -1, 100.0, None)),
        ("tensors", 1, 4, 163),  # overlap
        ("tensors", 1, 4, 70000),
        *(("tensors", 0, 5, cid) for cid in ("", "AB" * 32, None)),
    ],
)
def test_a_row_with_one_wrong_value_is_refused(table, row, column, value):
    with pytest.raises(SealedFormatError):
        parse(altered(table, row, column, value))


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        None,
        GOOD | {"version": 2},
        GOOD | {"more": 1},
        GOOD | {"tensors": []},
        GOOD | {"members": []},
        GOOD | {"members": GOOD["members"][:1]},
        GOOD | {"tensors": [["a", "F32", [4, 4], 1, 100]]},
        GOOD | {"tensors": {"a": 1}},
        b"[" * 100_000,
        b"\xff{}",
        json.dumps(GOOD).replace("70000", "9" * 100_000).encode(),
        json.dumps(GOOD).replace('"version": 1', '"version": 1, "version": 1').encode(),
        json.dumps(GOOD).replace("70000", "Infinity").encode(),
    ],
)
def test_tables_of_another_form_are_refused(document):
    with pytest.raises(SealedFormatError):
        parse(document)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutated_tables_raise_our_error_or_still_read(data):
    text = bytearray(json.dumps(GOOD).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(SealedFormatError):
        parse(bytes(text))


def test_an_index_splits_into_what_was_joined():
    assert split_index(join_index(b"table", bytes(96)), 3) == (b"table", bytes(96), b"")
    joined = join_index(b"table", bytes(96), b"c" * 236)
    assert split_index(joined, 3, 1) == (b"table", bytes(96), b"c" * 236)
    with pytest.raises(SealedFormatError):
        split_index(joined, 3)


@pytest.mark.parametrize(
    "data", [b"", b"\0", bytes(99), join_index(b"t", bytes(64)), b"\xff" * 101]
)
def test_an_index_of_another_length_is_refused(data):
    with pytest.raises(SealedFormatError):
        split_index(data, 3)


@given(st.integers(1, 40))
def test_the_package_root_is_the_project_s_tree(count):
    leaves = [T1.leaf(bytes([number])) for number in range(count)]
    assert package_root(b"\7" * 32, b"".join(leaves)).raw == T1.root([b"\7" * 32, *leaves])


def test_the_second_root_moves_with_every_table_byte_and_cid():
    tables = parse(GOOD)
    encoded = tables.to_bytes()
    other = parse(altered("tensors", 0, 5, "cd" * 32))
    roots = {
        tables.content_tree_root(encoded),
        tables.content_tree_root(encoded + b" "),
        other.content_tree_root(encoded),
    }
    assert len(roots) == 3


@given(st.text(max_size=30))
def test_a_safe_path_stays_inside_its_folder(name):
    if safe_path(name):
        parts = name.split("/")
        assert not {"", ".", ".."} & set(parts)
        assert "\\" not in name
        assert "\0" not in name


def test_names_with_hundreds_of_folders_cost_no_more_than_their_bytes():
    """All folders of all names, spelled out, took three hundred times the table."""
    deep = [[f"{number:05}/" + "a/" * 500 + "b", 0, "side", 0, D] for number in range(300)]
    document = {
        "members": [*deep, ["m", 70000, "weights", 0, D]],
        "tensors": [["a", "U8", [1], 300, 0, D]],
        "version": 1,
    }
    data = json.dumps(document).encode()
    tracemalloc.start()
    try:
        Tables.parse(data, segments=2, segment_bytes=STEP)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(data)


@pytest.mark.parametrize(
    "names", [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a-b", "a/b"), ("é/a", "é")]
)
def test_a_file_that_is_a_folder_of_another_is_refused(names):
    side = [[name, 0, "side", 0, D] for name in names]
    document = json.loads(json.dumps(GOOD))
    document["members"] = [*side, ["m", 70000, "weights", 0, D]]
    document["tensors"] = [["t", "U8", [1], len(names), 0, D]]
    with pytest.raises(SealedFormatError, match="folder"):
        Tables.parse(json.dumps(document).encode(), segments=2, segment_bytes=STEP)


def test_names_that_only_begin_like_a_folder_are_read():
    names = ["a", "a-b/c", "a.b", "ab/c", "b/a"]
    document = json.loads(json.dumps(GOOD))
    document["members"] = [[n, 0, "side", 0, D] for n in names] + [["m", 70000, "weights", 0, D]]
    document["tensors"] = [["t", "U8", [1], len(names), 0, D]]
    found = Tables.parse(json.dumps(document).encode(), segments=2, segment_bytes=STEP)
    assert [member.name for member in found.members][:-1] == names


@pytest.mark.parametrize("value", [False, 0.0])
def test_a_place_that_only_equals_a_number_is_refused(value):
    with pytest.raises(SealedFormatError):
        parse(altered("members", 0, 3, value))


@pytest.mark.parametrize("version", [True, 1.0])
def test_a_version_that_only_equals_a_number_is_refused(version):
    with pytest.raises(SealedFormatError):
        parse(GOOD | {"version": version})
