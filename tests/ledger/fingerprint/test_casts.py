"""Cast ids: the ids that a file of the rounded values has, without making that file."""

import hashlib
import itertools
import math
import struct
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import ManifestError
from ledger.fingerprint import multiset
from ledger.fingerprint.casts import CASTS, CastHasher, rounded
from ledger.fingerprint.exact import Fingerprint, fingerprint
from ledger.tensors.model import open_model

KINDS = {"F16": np.float16, "BF16": ml_dtypes.bfloat16}


def deep(path, array):
    path.write_bytes(safetensors.numpy.save({"w": array}))
    with open_model(path) as model:
        return fingerprint(model, level="deep", threads=1)


def plain(word):
    """A 16-bit word's exact value is left to struct and to shifting; this is for float32."""
    return Fraction(struct.unpack("<f", struct.pack("<I", word))[0])


def value_of(word, dtype):
    if dtype == "F16":
        return struct.unpack("<e", struct.pack("<H", word))[0]
    return struct.unpack("<f", struct.pack("<I", word << 16))[0]


@given(st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=50))
@settings(max_examples=300)
def test_rounding_takes_the_nearest_and_of_two_the_even_one(words):
    words = [w for w in words if (w & 0x7FFFFFFF) < 0x7F800000]
    for dtype in CASTS:
        for word, got in zip(words, rounded(np.array(words, "<u4"), dtype), strict=True):
            value = value_of(int(got), dtype)
            assert (int(got) >> 15) == (word >> 31)
            if math.isinf(value):
                top = value_of(0x7BFF if dtype == "F16" else 0x7F7F, dtype)
                below = value_of(0x7BFE if dtype == "F16" else 0x7F7E, dtype)
                half_step = (Fraction(top) - Fraction(below)) / 2
                assert abs(plain(word)) >= Fraction(top) + half_step
                continue
            off = abs(plain(word) - Fraction(value))
            for other in (int(got) - 1, int(got) + 1):
                if other >> 15 == int(got) >> 15 and 0 <= other < 1 << 16:
                    near = value_of(other, dtype)
                    if not math.isinf(near):
                        theirs = abs(plain(word) - Fraction(near))
                        assert off < theirs or (off == theirs and int(got) % 2 == 0)


@pytest.mark.parametrize("dtype", CASTS)
@pytest.mark.parametrize("count", [16, 1 << 19, (1 << 20) + 3])
def test_the_cast_ids_are_those_of_a_file_saved_in_half_precision(tmp_path, dtype, count):
    array = np.random.default_rng(count).standard_normal(count, np.float32) * 1e-3
    source = deep(tmp_path / "a.safetensors", array).tensors[0]
    saved = deep(tmp_path / "b.safetensors", array.astype(KINDS[dtype])).tensors[0]
    (derived,) = [one for one in source.derived if one.dtype == dtype]
    assert (derived.cid, derived.vid) == (saved.cid, saved.vid)
    assert saved.derived == ()


def test_ids_are_the_same_when_the_tensor_does_not_fit_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(multiset, "_CHUNK_BYTES", 1 << 14)
    array = np.random.default_rng(1).standard_normal(70_000, np.float32)
    (tmp_path / "m.safetensors").write_bytes(safetensors.numpy.save({"w": array}))
    with open_model(tmp_path / "m.safetensors") as model:
        small, large = (
            multiset.deep_ids(model, [0], 1, lambda _done: None, budget=budget)[0]
            for budget in (1, 1 << 30)
        )
    assert small == large
    assert len(small.casts) == 2


def test_pieces_of_any_size_lead_to_the_same_ids():
    words = np.random.default_rng(2).standard_normal(3 << 17, np.float32).view("<u4")
    risen, results = np.sort(words), []
    for step in (len(words), 1999, 1 << 17, 262_145):
        hasher = CastHasher(len(words))
        for start in range(0, len(words), step):
            hasher.take(words[start : start + step])
        for start in range(0, len(words), step):
            hasher.take_sorted(risen[start : start + step])
        results.append(hasher.roots())
    assert all(one == results[0] for one in results)


def test_a_tensor_with_a_nan_has_no_casts_and_one_that_rounds_to_a_constant_neither(tmp_path):
    nan = np.arange(32, dtype=np.float32)
    nan[3] = np.nan
    assert deep(tmp_path / "n.safetensors", nan).tensors[0].derived == ()
    tiny = np.linspace(1e-30, 2e-30, 32, dtype=np.float32)
    assert [d.dtype for d in deep(tmp_path / "t.safetensors", tiny).tensors[0].derived] == ["BF16"]


def test_casts_change_no_root_and_travel_with_the_document(tmp_path):
    made = deep(tmp_path / "a.safetensors", np.random.default_rng(1).random(64, np.float32))
    document = made.to_json()
    assert Fingerprint.from_json(document) == made
    document["tensors"][0].pop("derived")
    older = Fingerprint.from_json(document)
    assert older.content_id() == made.content_id()
    assert older.tensors[0].derived == ()


def test_documents_with_casts_where_none_can_be_are_refused(tmp_path):
    made = deep(tmp_path / "a.safetensors", np.random.default_rng(1).random(64, np.float32))
    good = made.to_json()["tensors"][0]["derived"]
    for bad in (
        good[::-1],
        good + good[:1],
        [{**good[0], "dtype": "F8_E4M3"}],
        [{**good[0], "cid": "0x12"}],
        [good[0]["cid"]],
        "F16",
        None,
        [{"dtype": ["F16"], "cid": good[0]["cid"], "vid": good[0]["vid"]}],
    ):
        document = made.to_json()
        document["tensors"][0]["derived"] = bad
        with pytest.raises(ManifestError):
            Fingerprint.from_json(document)
    half = deep(tmp_path / "h.safetensors", np.random.default_rng(1).random(64).astype(np.float16))
    document = half.to_json()
    document["tensors"][0]["derived"] = good
    with pytest.raises(ManifestError):
        Fingerprint.from_json(document)


def test_the_ids_are_those_of_the_page_worked_out_by_hand(tmp_path):
    array = np.random.default_rng(9).standard_normal((4, 8), np.float32)
    made = deep(tmp_path / "a.safetensors", array).tensors[0]
    for derived, code in zip(made.derived, (16, 17), strict=True):
        payload = array.astype(KINDS[derived.dtype]).tobytes()
        root = hashlib.sha256(b"\0" + payload).digest()
        head = struct.pack("<HBQQQ", code, 2, 4, 8, 64)
        assert derived.cid.raw == hashlib.sha256(b"\x10mfp1" + head + root).digest()
        words = sorted(struct.unpack("<32H", payload))
        packed = struct.pack("<HQ32H", code, 32, *words)
        assert derived.vid.raw == hashlib.sha256(b"\x11mfp1" + packed).digest()
    assert [d.dtype for d in made.derived] == list(itertools.islice(CASTS, 2))
