"""What findings say of a file, computed again from it: the page (in node) beside ``verify.py``."""

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import page_calls
import pytest
from safetensors.numpy import save_file
from two_verifiers import script

from ledger.fingerprint.exact import fingerprint
from ledger.tensors.model import open_model

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "evidence"
BUNDLE, SUSPECT = VECTORS / "match.evidence.zip", VECTORS / "match.suspect.safetensors"
OF = "({ size: file.length, read: async (begin, end) => file.slice(begin, end) })"
HELD = f"(bytes, file, proven) => withSuspect(bytes, {OF}, proven)"
IDS = f"""(file) => contentIds({OF}, () => {{}}).catch((error) => {{
  if (error instanceof NotChecked) return null;
  throw error;
}})"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with page_calls.functions(tmp_path_factory.mktemp("page")) as call:
        yield call


def by_script(path):
    """The content ids that the script finds: with identity, and all; None for no safetensors."""
    try:
        return script()._content_ids(str(path))
    except script().NotChecked:
        return None


def by_page(page, path):
    found = page(IDS, path.read_bytes())
    return found and tuple([bytes.fromhex(of["hex"]) for of in found[name]] for name in found)


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("bundle", [BUNDLE, VECTORS / "model.evidence.zip"])
def test_the_page_says_of_a_file_what_the_script_says(page, tmp_path, bundle, flipped, proven):
    path = tmp_path / "found.safetensors"
    data = bytearray(SUSPECT.read_bytes())
    data[-1] ^= flipped
    path.write_bytes(data)
    expected = script().with_suspect(bundle.read_bytes(), str(path), proven=proven)
    told = page(HELD, bundle.read_bytes(), bytes(data), proven)
    assert [(of["title"], of["result"]) for of in told] == [
        (of["title"], of["result"]) for of in expected
    ]
    if proven and not flipped and bundle == BUNDLE:
        assert [of["result"] for of in told] == ["pass", "pass", "not checked"]


def test_content_ids_are_those_of_a_fingerprint(page, tmp_path):
    rng = np.random.default_rng(5)
    path = tmp_path / "m.safetensors"
    save_file(
        {
            "long": rng.standard_normal(300_000).astype(np.float32),
            "half": rng.standard_normal((4, 5)).astype(np.float16),
            "brain": rng.standard_normal((4, 5)).astype(ml_dtypes.bfloat16),
            "eighth": rng.standard_normal((4, 8)).astype(ml_dtypes.float8_e4m3fn),
            "same": np.ones((300, 1000), np.float32),
            "few": rng.standard_normal(15).astype(np.float32),
            "whole": rng.integers(0, 9, (100, 90)),
            "none": np.zeros((0, 3), np.float32),
            "one": np.array(1.5, np.float64),
        },
        path,
    )
    with open_model(path) as model:
        expected = fingerprint(model)
    ids = {of.cid.raw for of in expected.tensors}
    learnt = {of.cid.raw for of in expected.tensors if of.identity}
    for found in (by_script(path), by_page(page, path)):
        assert (set(found[0]), set(found[1])) == (learnt, ids)


GOOD = {"a": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}}


def entry(**changed):
    return json.dumps({"a": GOOD["a"] | changed})


HEADERS = {
    "as it should be": json.dumps(GOOD),
    "with metadata and blanks": json.dumps(GOOD | {"__metadata__": {"x": "y"}}) + "   ",
    "no object": "[]",
    "no JSON": "{",
    "an entry that is none": '{"a": 1}',
    "a type that is none": entry(dtype="F33"),
    "a type of another kind": entry(dtype=["F32"]),
    "a shape of another size": entry(shape=[4, 5]),
    "a shape that is none": entry(shape="44"),
    "a fraction": entry(shape=[4.0, 4]),
    "a fraction elsewhere": entry(more=0.5),
    "a number without end": entry(more=10**16),
    "not a number": entry(more=float("nan")),
    "three offsets": entry(data_offsets=[0, 64, 64]),
    "offsets that are a text": entry(data_offsets="ab"),
    "an end before the beginning": entry(data_offsets=[64, 0]),
    "an end beyond the file": entry(data_offsets=[64, 128]),
    "a name twice": f'{{"a": {json.dumps(GOOD["a"])}, "a": {json.dumps(GOOD["a"])}}}',
    "two over each other": json.dumps(GOOD | {"b": GOOD["a"]}),
    "nesting": entry(more=json.loads("[" * 70 + "]" * 70)),
    "a line feed in a text": '{"a\n": ' + json.dumps(GOOD["a"]) + "}",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_strange_header_is_read_alike_or_not_at_all(page, tmp_path, name):
    head = HEADERS[name].encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(range(64)))
    found = by_script(path)
    assert by_page(page, path) == found
    assert (found is None) == (name not in {"as it should be", "with metadata and blanks"})


@pytest.mark.parametrize("data", [b"", b"x" * 7, bytes(8), b"\xff" * 20, struct.pack("<Q", 2)])
def test_what_is_too_short_is_no_safetensors_file(page, tmp_path, data):
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    assert by_script(path) is None
    assert by_page(page, path) is None
