from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file


def small_model(path, seed=1):
    values = np.random.default_rng(seed).standard_normal((64, 32)).astype(np.float32)
    save_file({"w": values, "b": values[0].copy()}, path)
    return path


def raw(header: object, payload: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


def test_the_same_tensors_under_other_names_and_order_have_the_same_content_root(deed):
    values = np.random.default_rng(2).standard_normal((2, 64, 32)).astype(np.float32)
    save_file({"a": values[0], "b": values[1]}, deed.cwd / "one.safetensors")
    save_file({"z": values[1], "y": values[0]}, deed.cwd / "two.safetensors")
    one = deed("fingerprint", "one.safetensors", "--json").json
    two = deed("fingerprint", "two.safetensors", "--json").json
    assert one["content_root"] == two["content_root"]
    assert one["named_root"] != two["named_root"]


def test_deep_adds_the_content_id_and_tensors_lists_them(deed):
    small_model(deed.cwd / "m.safetensors")
    ran = deed("fingerprint", "m.safetensors", "--deep", "--tensors")
    assert ran.code == 0
    assert "content id" in ran.out
    assert "64x32" in ran.out
    assert "content id" not in deed("fingerprint", "m.safetensors").out


W = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
BAD = {
    "empty": b"",
    "text": b"hello, this is no model at all",
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.",
    "header-larger-than-file": struct.pack("<Q", 1 << 40) + b"{}",
    "no-tensors": raw({}),
    "no-tensors-but-metadata": raw({"__metadata__": {"format": "pt"}}),
    "truncated": raw({"w": {"dtype": "F32", "shape": [64], "data_offsets": [0, 256]}}, b"\0" * 9),
    "overlap": raw({"a": W, "b": W}, b"\0" * 4),
    "unknown-type": raw({"w": {**W, "dtype": "F13"}}, b"\0" * 4),
    "not-json": raw(b"{'w': 1}"),
    "depth-bomb": raw(b"[" * 100_000),
    "control-characters": raw({"\x1b[2J": {**W, "dtype": "F13"}}, b"\0" * 4),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_broken_model_is_one_error_with_a_hint(deed, fault):
    (deed.cwd / "bad.safetensors").write_bytes(BAD[fault])
    ran = deed("fingerprint", "bad.safetensors", "--json")
    assert ran.code == 2
    assert ran.error["message"]
    assert ran.error["hint"]
    assert "\x1b" not in ran.out + ran.err
    assert ran.err.count("error: ") == 1
    assert [path.name for path in deed.cwd.iterdir()] == ["bad.safetensors"]


def test_a_missing_model_is_named(deed):
    ran = deed("fingerprint", "no.safetensors")
    assert ran.code == 2
    assert "no.safetensors" in ran.err


def test_an_empty_folder_is_no_model(deed):
    (deed.cwd / "folder").mkdir()
    ran = deed("fingerprint", "folder")
    assert ran.code == 2
    assert "hint: " in ran.err


def test_other_formats_are_named_and_not_guessed(deed):
    (deed.cwd / "m.gguf").write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(64))
    ran = deed("fingerprint", "m.gguf")
    assert ran.code == 2
    assert "GGUF" in ran.err
