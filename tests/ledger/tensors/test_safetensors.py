"""The header reader beside the reference implementation, on good files, mutated files and noise."""

import contextlib
import json
import struct

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import LedgerError, LimitExceeded, TensorFileError
from ledger.tensors.safetensors import MAX_HEADER_BYTES, header_length, parse_header

NUMPY = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "I64": np.int64, "U8": np.uint8}
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).filter(
    lambda name: name != "__metadata__"
)
MODELS = st.dictionaries(
    NAMES,
    st.tuples(st.sampled_from(sorted(NUMPY)), st.lists(st.integers(0, 5), max_size=4)),
    min_size=1,
    max_size=6,
)
GOOD = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}


def read(content, **more):
    length = header_length(content[:8], len(content), what="it")
    return parse_header(content[: 8 + length], member=0, file_size=len(content), what="it", **more)


def pack(header, payload=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


@given(MODELS, st.dictionaries(st.text("ab", max_size=3), st.text("cd", max_size=3), max_size=2))
def test_what_the_reference_writes_is_read_with_the_same_names_types_shapes_and_bytes(model, notes):
    arrays = {
        name: np.arange(np.prod(shape, dtype=int)).astype(NUMPY[dtype]).reshape(shape)
        for name, (dtype, shape) in model.items()
    }
    content = safetensors.numpy.save(arrays, metadata=notes)
    infos = read(content)
    assert {info.name for info in infos} == set(arrays)
    for info in infos:
        array = arrays[info.name]
        assert (info.dtype, info.shape) == (model[info.name][0], array.shape)
        assert content[info.offset : info.offset + info.nbytes] == array.tobytes()
        assert info.elements == array.size


@given(st.data())
def test_a_mutated_file_is_refused_or_read_as_the_reference_reads_it(data):
    content = bytearray(pack(GOOD | {"b": {"dtype": "U8", "shape": [4], "data_offsets": [24, 28]}}))
    content += bytes(28)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.sampled_from([len(content), len(content) - 1, 40]))])
    try:
        infos = read(content)
    except LedgerError:
        return
    reference = dict(safetensors.deserialize(content))
    assert {info.name for info in infos} == set(reference)
    for info in infos:
        assert list(info.shape) == reference[info.name]["shape"]
        assert content[info.offset : info.offset + info.nbytes] == reference[info.name]["data"]


@given(st.binary(max_size=300))
def test_noise_is_refused_with_an_error_of_ours(content):
    with contextlib.suppress(LedgerError):
        read(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.text(max_size=3),
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "F4", "BOOL"]) | JSON,
                "shape": st.lists(st.integers(-1, 2**70), max_size=3) | JSON,
                "data_offsets": st.lists(st.integers(-1, 64), min_size=2, max_size=2) | JSON,
            }
        )
        | JSON,
    )
    | JSON,
    st.integers(0, 64),
)
def test_any_json_header_is_refused_with_an_error_of_ours_or_covers_the_file(header, size):
    content = pack(header, bytes(size))
    with contextlib.suppress(LedgerError):
        assert sum(info.nbytes for info in read(content)) == size


def test_tensors_come_in_file_order_whatever_the_order_of_the_header():
    header = {
        "z": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "empty": {"dtype": "U8", "shape": [0], "data_offsets": [1, 1]},
        "a": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]},
    }
    shuffled = {name: header[name] for name in ("a", "z", "empty")}
    assert [info.name for info in read(pack(shuffled, bytes(3)))] == ["z", "empty", "a"]


def test_unknown_fields_of_a_tensor_are_passed_over_as_the_reference_does():
    assert read(pack({"a": GOOD["a"] | {"more": 1}}, bytes(24)))[0].name == "a"


def test_a_header_of_spaces_after_the_json_is_padding():
    assert read(pack(json.dumps(GOOD).encode() + b"   ", bytes(24)))


def test_a_header_beyond_the_limit_is_refused_before_it_is_read():
    with pytest.raises(LimitExceeded) as caught:
        header_length(struct.pack("<Q", MAX_HEADER_BYTES + 1), 1 << 40, what="it")
    assert caught.value.hint


def test_a_truncated_payload_says_how_much_is_missing():
    with pytest.raises(TensorFileError, match=r"truncated.*need \d+ bytes, it has \d+"):
        read(pack(GOOD, bytes(23)))
