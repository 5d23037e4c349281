"""The hostile models of README.md: one clear error each, nothing run, nothing large allocated."""

import json
import os
import pickle
import socket
import struct
import time
import tracemalloc

import pytest

from ledger.errors import LedgerError, LimitExceeded, TensorFileError, UnsupportedModel
from ledger.fingerprint.exact import fingerprint
from ledger.tensors.model import open_model

GOOD = {"a": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}}
PAYLOAD = bytes(range(64))


def pack(header, payload=PAYLOAD):
    if isinstance(header, str):
        header = header.encode()
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


def table(**entry):
    return pack({"a": GOOD["a"] | entry})


def two(first, second, payload=bytes(128)):
    kind = {"dtype": "F32", "shape": [16]}
    return pack(
        {"a": {**kind, "data_offsets": first}, "b": {**kind, "data_offsets": second}}, payload
    )


class Bomb:
    """Unpickling this would create a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


ONE = '"a":{"dtype":"F32","shape":[4,4],"data_offsets":[0,64]}'
WHOLE = pack(GOOD)
FILES = {
    "empty": b"",
    "one-byte": b"{",
    "seven-bytes": WHOLE[:7],
    "length-only": WHOLE[:8],
    "header-cut": WHOLE[:40],
    "payload-missing": WHOLE[:-64],
    "payload-cut": WHOLE[:-1],
    "byte-appended": WHOLE + b"\0",
    "text": b"this is not a model at all, sorry. " * 10,
    "zeros": bytes(4096),
    "header-length-zero": struct.pack("<Q", 0) + b"{}",
    "header-longer-than-file": struct.pack("<Q", 1 << 20) + b"{}" + bytes(100),
    "header-of-2^63": struct.pack("<Q", 1 << 63) + b"{}" + bytes(100),
    "header-of-2^64-1": b"\xff" * 8 + b"{}" + bytes(100),
    "header-list": pack("[]"),
    "header-number": pack("  7"),
    "header-not-utf8": pack(b'{"\xff":1}'),
    "header-bom": pack(b"\xef\xbb\xbf{" + ONE.encode() + b"}"),
    "header-depth-bomb": pack('{"a":' + "[" * 100_000),
    "header-depth-bomb-objects": pack('{"a":' * 100_000),
    "header-nan": pack('{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,64]}}'),
    "header-infinity-exponent": pack('{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,64]}}'),
    "header-huge-integer": pack(
        '{"a":{"dtype":"F32","shape":[' + "9" * 100_000 + '],"data_offsets":[0,64]}}'
    ),
    "header-large-integer": pack(
        '{"a":{"dtype":"F32","shape":[' + "9" * 4000 + '],"data_offsets":[0,64]}}'
    ),
    "header-two-documents": pack("{" + ONE + "}{}"),
    "no-tensors": pack({}, b""),
    "only-metadata": pack({"__metadata__": {"a": "b"}}, b""),
    "metadata-list": pack({"__metadata__": [], **GOOD}),
    "metadata-number": pack({"__metadata__": {"a": 1}, **GOOD}),
    "repeated-tensor": pack("{" + ONE + "," + ONE + "}"),
    "repeated-field": pack("{" + ONE.replace('"dtype"', '"dtype":"F16","dtype"') + "}"),
    "repeated-metadata": pack('{"__metadata__":{"a":"b","a":"c"},' + ONE + "}"),
    "entry-null": pack({"a": None}),
    "entry-list": pack({"a": [1]}),
    "entry-empty": pack({"a": {}}),
    "dtype-unknown": table(dtype="F33"),
    "dtype-number": table(dtype=7),
    "dtype-list": table(dtype=["F32"]),
    "shape-text": table(shape="4"),
    "shape-null": table(shape=None),
    "shape-negative": table(shape=[-4, -4]),
    "shape-float": table(shape=[4.0, 4.0]),
    "shape-bool": table(shape=[True, 16]),
    "shape-too-large": table(shape=[4, 5]),
    "shape-overflow": table(shape=[1 << 62, 1 << 62]),
    "shape-wraps-to-16": table(shape=[(1 << 32) + 1, (1 << 32) - 1, 16]),
    "shape-2^64": table(shape=[1 << 64]),
    "shape-of-nothing-times-2^53": pack(
        {"a": {"dtype": "F32", "shape": [0, 1 << 53], "data_offsets": [0, 0]}}, b""
    ),
    "shape-of-65-dims": table(shape=[1] * 63 + [4, 4]),
    "shape-of-10^5-dims": table(shape=[1] * 100_000 + [16]),
    "shape-too-small": table(shape=[]),
    "subbyte-inside-byte": pack({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}}, b"x"),
    "offsets-negative": table(data_offsets=[-64, 0]),
    "offsets-reversed": table(data_offsets=[64, 0]),
    "offsets-float": table(data_offsets=[0.0, 64.0]),
    "offsets-bool": table(data_offsets=[False, 64]),
    "offsets-three": table(data_offsets=[0, 32, 64]),
    "offsets-one": table(data_offsets=[0]),
    "offsets-beyond-file": table(shape=[1 << 40], data_offsets=[0, 1 << 42]),
    "offsets-2^70": table(data_offsets=[1 << 70, (1 << 70) + 64]),
    "gap-at-start": pack({"a": GOOD["a"] | {"data_offsets": [4, 68]}}, bytes(68)),
    "overlap-full": two([0, 64], [0, 64], bytes(64)),
    "overlap-part": two([0, 64], [32, 96]),
    "gap": two([0, 64], [68, 132], bytes(132)),
    "tail": two([0, 64], [64, 128], bytes(160)),
    "name-nul": pack({"a\0b": GOOD["a"]}),
    "name-escape-sequence": pack({"\x1b[2Ja": GOOD["a"]}),
    "name-newline": pack({"a\nb": GOOD["a"]}),
    "name-lone-surrogate": pack('{"\\ud800' + ONE[2:] + "}"),
    "name-too-long": pack({"a" * (1 << 20): GOOD["a"]}),
}


@pytest.fixture
def refused():
    """Checks that opening a path is refused at once, with a hint and little memory."""

    def check(path, *kinds):
        tracemalloc.start()
        begin = time.perf_counter()
        try:
            with pytest.raises(LedgerError) as caught:
                open_model(path)
            spent = time.perf_counter() - begin
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert type(caught.value) in (kinds or (TensorFileError,))
        assert caught.value.hint
        assert len(caught.value.message) < 1000
        assert caught.value.message.isprintable()
        assert spent < 5
        assert peak < 32 << 20
        return caught.value

    return check


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused(name, tmp_path, refused):
    path = tmp_path / "m.safetensors"
    path.write_bytes(FILES[name])
    refused(path)
    refused(tmp_path)


def test_every_truncation_of_a_good_file_is_refused(tmp_path, refused):
    path = tmp_path / "m.safetensors"
    for size in range(len(WHOLE)):
        path.write_bytes(WHOLE[:size])
        with pytest.raises(TensorFileError):
            open_model(path)
    path.write_bytes(WHOLE)
    open_model(path).close()


def test_a_sparse_file_that_announces_a_giant_header_is_refused_unread(tmp_path, refused):
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 39) + b"{")
    os.truncate(path, 1 << 40)
    refused(path, LimitExceeded)


def test_a_giant_sparse_tensor_opens_without_being_read(tmp_path):
    path = tmp_path / "m.safetensors"
    size = 1 << 40
    path.write_bytes(
        pack({"a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}, b"")
    )
    os.truncate(path, path.stat().st_size + size)
    tracemalloc.start()
    with open_model(path) as model:
        assert model.tensors[0].nbytes == size
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_strange_but_valid_files_open(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(
        pack(
            {
                "": GOOD["a"],
                "nothing": {"dtype": "F32", "shape": [0, 1 << 50], "data_offsets": [64, 64]},
                "scalar": {"dtype": "U8", "shape": [], "data_offsets": [64, 65]},
                "日本\u202e": {"dtype": "BOOL", "shape": [1] * 64, "data_offsets": [65, 66]},
            },
            bytes(range(66)),
        )
    )
    with open_model(path) as model:
        assert len(model.tensors) == 4
        assert len(fingerprint(model, level="deep").without_identity) == 3


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt", "m.bin"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_named_and_never_run(tmp_path, name, protocol, refused):
    target = tmp_path / "ran"
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(str(target)), protocol))
    refused(tmp_path / name, UnsupportedModel, TensorFileError)
    refused(tmp_path, UnsupportedModel, TensorFileError)
    assert not target.exists()


def test_what_is_not_a_file_is_refused_without_waiting(tmp_path, refused, monkeypatch):
    os.mkfifo(tmp_path / "fifo.safetensors")
    refused(tmp_path / "fifo.safetensors")
    refused(tmp_path)
    monkeypatch.chdir(tmp_path)  # a socket's path may be too long otherwise
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock.safetensors")
        refused("sock.safetensors")
    refused("/dev/zero")
    (tmp_path / "folder.safetensors").mkdir()
    refused(tmp_path / "folder.safetensors")
    refused(tmp_path / "absent.safetensors")
    refused(tmp_path / "absent" / "m.safetensors")
    refused("")
    refused("a\0b.safetensors")
    refused("x" * 5000)
    refused("bad\udcff.safetensors")


def test_links_that_loop_or_leave_the_folder_are_refused(tmp_path, refused):
    (tmp_path / "loop.safetensors").symlink_to("loop.safetensors")
    refused(tmp_path / "loop.safetensors")
    secret = tmp_path / "secret.txt"
    secret.write_text("a private key")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(WHOLE)
    (folder / "vocab.txt").symlink_to("../secret.txt")
    assert "vocab.txt" in refused(folder).message
    (folder / "vocab.txt").unlink()
    (folder / "sub").symlink_to("..")
    refused(folder)
    (folder / "sub").unlink()
    (folder / "config.json").symlink_to("nowhere.json")
    refused(folder)
    (folder / "config.json").unlink()
    open_model(folder).close()


def test_a_fifo_among_the_side_files_is_refused_without_waiting(tmp_path, refused):
    (tmp_path / "model.safetensors").write_bytes(WHOLE)
    os.mkfifo(tmp_path / "config.json")
    refused(tmp_path)


def test_a_folder_with_endless_files_is_refused(tmp_path, refused):
    (tmp_path / "model.safetensors").write_bytes(WHOLE)
    for number in range(5000):
        (tmp_path / f"{number}.txt").touch()
    refused(tmp_path, LimitExceeded)


def test_a_side_file_whose_name_would_move_the_cursor_is_refused(tmp_path, refused):
    (tmp_path / "model.safetensors").write_bytes(WHOLE)
    (tmp_path / "\x1b[2J.txt").touch()
    refused(tmp_path)
    (tmp_path / "\x1b[2J.txt").unlink()
    (tmp_path / "bad\udcff.txt").touch()
    refused(tmp_path)


def index(shard):
    return json.dumps({"weight_map": {"a": shard}})


INDEXES = {
    "above": index("../model.safetensors"),
    "absolute": index("/etc/model.safetensors"),
    "in-sub-folder": index("sub/model.safetensors"),
    "backslash": index("..\\model.safetensors"),
    "nul": index("model\0.safetensors"),
    "not-a-shard": index("config.json"),
    "itself": index("model.safetensors.index.json"),
    "dot-dot": index(".."),
    "missing": index("other.safetensors"),
    "number": index(7),
    "null": index(None),
    "list": index(["model.safetensors"]),
    "escape-sequence": index("\x1b[2J.safetensors"),
    "other-tensor": json.dumps({"weight_map": {"b": "model.safetensors"}}),
    "empty-map": json.dumps({"weight_map": {}}),
    "map-list": json.dumps({"weight_map": ["model.safetensors"]}),
    "no-map": "{}",
    "not-an-object": "[]",
    "not-json": "weight_map",
    "empty": "",
    "depth-bomb": '{"weight_map":' + "[" * 100_000,
    "huge-integer": '{"weight_map":' + "9" * 100_000 + "}",
    "repeated-key": '{"weight_map":{"a":"model.safetensors","a":"model.safetensors"}}',
}


@pytest.mark.parametrize("name", INDEXES)
def test_a_hostile_index_is_refused(name, tmp_path, refused):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for place in (folder, folder / "sub", tmp_path):
        (place / "model.safetensors").write_bytes(WHOLE)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors.index.json").write_text(INDEXES[name])
    refused(folder)


def test_several_indexes_without_a_main_one_are_refused(tmp_path, refused):
    (tmp_path / "model.safetensors").write_bytes(WHOLE)
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors.index.json").write_text(index("model.safetensors"))
    refused(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(index("model.safetensors"))
    open_model(tmp_path).close()


def test_a_folder_or_file_one_may_not_read_is_refused(tmp_path, refused):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = tmp_path / "m.safetensors"
    path.write_bytes(WHOLE)
    path.chmod(0)
    refused(path)
