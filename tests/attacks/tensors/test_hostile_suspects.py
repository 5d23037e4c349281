"""Suspects made to harm whoever examines them: one clear error each, and nothing is run."""

import contextlib
import io
import os
import pickle
import pickletools
import random
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.errors import LedgerError, LimitExceeded, TensorFileError, UnsupportedModel
from ledger.fingerprint.exact import fingerprint
from ledger.tensors import pickles, rebuilt
from ledger.tensors.opening import open_weights
from ledger.tensors.pickles import read_pickle
from ledger.tensors.values import FloatView, is_readable

PROTO = b"\x80\x02"
WEIGHTS = bytes(range(256)) * 4


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def name(module, attribute):
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def tensor(key="0", shape=(16, 16), strides=(16, 1), offset=0, kind="FloatStorage", count=256):
    """Operations that describe a tensor as torch does."""
    reference = (
        b"("
        + text("storage")
        + name("torch", kind)
        + text(key)
        + text("cpu")
        + number(count)
        + b"tQ"
    )
    dims = b"(" + b"".join(map(number, shape)) + b"t"
    steps = b"(" + b"".join(map(number, strides)) + b"t"
    return (
        name("torch._utils", "_rebuild_tensor_v2")
        + b"(" + reference + number(offset) + dims + steps + b"\x89" + b"Ntr"[:1]
        + b"tR"
    )  # fmt: skip


def state(**tensors):
    return PROTO + b"}(" + b"".join(text(n) + ops for n, ops in tensors.items()) + b"u."


def archive(data, storages=None, *, method=zipfile.ZIP_STORED, top="m/"):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as out:
        out.writestr(top + "data.pkl", data)
        out.writestr(top + "byteorder", "little")
        for key, content in (storages if storages is not None else {"0": WEIGHTS}).items():
            out.writestr(f"{top}data/{key}", content)
    return made.getvalue()


KEYS = b"](" + text("0") + b"e."
STORED = struct.pack("<q", 256) + WEIGHTS


def legacy(data, keys=KEYS, storages=STORED):
    magic = PROTO + b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little") + b"."
    return magic + PROTO + b"M\xe9\x03." + PROTO + b"}." + data + PROTO + keys + storages


GOOD = state(w=tensor())


def test_what_these_cases_are_made_of_opens(tmp_path):
    for label, content in (("zip", archive(GOOD)), ("legacy", legacy(GOOD))):
        (tmp_path / label).write_bytes(content)
        with open_weights(tmp_path / label) as model:
            assert [(t.name, t.shape) for t in model.tensors] == [("w", (16, 16))]
            assert bytes(model.read(model.tensors[0])) == WEIGHTS


def npy(header, payload=b"", version=1):
    if isinstance(header, str):
        header = header.encode()
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + payload


def described(shape, descr="'<f4'", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def npz(**files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as out:
        for label, content in files.items():
            out.writestr(label + ".npy", content)
    return made.getvalue()


def zip_raw(entries):
    """A zip whose directory says what the attacker likes: (name, at, packed, size, method)."""
    body = b"PK\x03\x04" + struct.pack("<5H3I2H", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a" + WEIGHTS
    rows = b"".join(
        b"PK\x01\x02" + struct.pack("<6H3I5H2I", 20, 20, flags, method, 0, 0, 0, packed, size,
                                    len(label), 0, 0, 0, 0, 0, at) + label
        for label, at, packed, size, method, flags in entries
    )  # fmt: skip
    end = b"PK\x05\x06" + struct.pack(
        "<4H2IH", 0, 0, len(entries), len(entries), len(rows), len(body), 0
    )
    return body + rows + end


def nested(depth, close=b""):
    return PROTO + b"]" * depth + b"a" * (depth - 1) + close + b"."


def tuple_key(depth):
    return PROTO + b"}N" + b"\x85" * depth + b"Ns."


FILES = {
    # what a name could do
    "pickle-os-system": archive(PROTO + name("os", "system") + b"(" + text("touch ran") + b"tR."),
    "pickle-posix-instance": archive(PROTO + b"(" + text("touch ran") + b"iposix\nsystem\n."),
    "pickle-builtins-exec": archive(PROTO + name("builtins", "exec") + b"(" + text("1/0") + b"tR."),
    "pickle-stack-global": archive(
        b"\x80\x04\x8c\x02os\x8c\x06system\x93" + text("touch ran") + b"\x85R."
    ),
    "pickle-build-setstate": archive(
        PROTO + name("shelve", "DbfilenameShelf") + b")\x81}" + text("x") + b"Nsb."
    ),
    "pickle-extension": archive(PROTO + b"\x82\x01."),
    "pickle-buffer": archive(PROTO + b"\x97."),
    "pickle-plain-legacy-name": pickle.dumps({"w": 1}),
    # shape of the pickle
    "pickle-empty": archive(b""),
    "pickle-no-end": archive(PROTO + b"N"),
    "pickle-only-end": archive(PROTO + b"."),
    "pickle-nothing-to-call": archive(PROTO + b"R."),
    "pickle-group-not-opened": archive(PROTO + b"Nt."),
    "pickle-memo-empty": archive(PROTO + b"h\x05."),
    "pickle-odd-dict": archive(PROTO + b"(Nd."),
    "pickle-append-to-number": archive(PROTO + b"K\x01Na."),
    "pickle-set-in-list": archive(PROTO + b"]NNs."),
    "pickle-call-mark": archive(PROTO + b"((R."),
    "pickle-text-of-4-GB": archive(PROTO + b"X\xff\xff\xff\xff."),
    "pickle-bytes-of-2^63": archive(PROTO + b"\x8e" + b"\xff" * 7 + b"\x7f."),
    "pickle-long-of-4-GB": archive(PROTO + b"\x8b\xff\xff\xff\x7f."),
    "pickle-memo-at-2^32": archive(PROTO + b"Nr\xff\xff\xff\xff."),
    "pickle-memo-text-huge": archive(PROTO + b"Np" + b"9" * 3000 + b"\n."),
    "pickle-int-line-huge": archive(PROTO + b"I" + b"9" * 4090 + b"\n."),
    "pickle-line-without-end": archive(PROTO + b"c" + b"a" * 100_000),
    "pickle-not-utf8": archive(PROTO + b"X\x02\0\0\0\xff\xfe."),
    "pickle-nested-lists": archive(nested(200_000)),
    "pickle-nested-tuple-as-key": archive(tuple_key(200_000)),
    "pickle-nested-builds": archive(PROTO + name("a", "b") + b")R" * 300_000 + b"."),
    "pickle-list-in-itself": archive(PROTO + b"]q\0h\0a."),
    "pickle-doubling": archive(PROTO + b"]q\0" + b"(h\0h\0lq\0" * 4000 + b"."),
    "pickle-many-marks": archive(PROTO + b"(" * 1_000_000 + b"."),
    # tensors
    "tensor-storage-missing": archive(state(w=tensor(key="9"))),
    "tensor-key-climbs": archive(state(w=tensor(key="../../../etc/passwd"))),
    "tensor-shape-too-large": archive(state(w=tensor(shape=(16, 17)))),
    "tensor-shape-overflow": archive(state(w=tensor(shape=(1 << 52, 1 << 52), strides=(1, 1)))),
    "tensor-shape-negative": archive(state(w=tensor(shape=(-16, -16)))),
    "tensor-strides-negative": archive(state(w=tensor(strides=(-16, -1), offset=255))),
    "tensor-strides-huge": archive(state(w=tensor(strides=((1 << 53) - 1, 1)))),
    "tensor-offset-negative": archive(state(w=tensor(offset=-1))),
    "tensor-offset-beyond": archive(state(w=tensor(offset=1))),
    "tensor-strides-missing": archive(state(w=tensor(strides=(1,)))),
    "tensor-shape-of-texts": archive(state(w=tensor().replace(number(16), text("a")))),
    "tensor-dims-65": archive(state(w=tensor(shape=(1,) * 65, strides=(1,) * 65))),
    "tensor-expanded-to-a-petabyte": archive(
        state(w=tensor(shape=(1 << 40, 256), strides=(0, 1)))
    ),
    "tensor-storage-unknown-type": archive(state(w=tensor(kind="QuantumStorage"))),
    "tensor-name-with-escape": archive(state(**{"w\x1b[2J": tensor()})),
    "tensor-storage-cut": archive(GOOD, {"0": WEIGHTS[:-1]}),
    "tensor-none": archive(PROTO + b"}."),
    # the old layout
    "legacy-cut": legacy(GOOD)[:-1],
    "legacy-no-storages": legacy(GOOD, storages=b""),
    "legacy-keys-number": legacy(GOOD, keys=b"K\x01."),
    "legacy-keys-foreign": legacy(GOOD, keys=b"](" + text("7") + b"e."),
    "legacy-storage-2^63": legacy(GOOD, storages=b"\xff" * 7 + b"\x7f" + WEIGHTS),
    "legacy-version": legacy(GOOD).replace(b"M\xe9\x03.", b"M\xe8\x03.", 1),
    "legacy-number-only": legacy(GOOD)[:30],
    # the archive
    "zip-cut": archive(GOOD)[:-10],
    "zip-half": archive(GOOD)[:700],
    "zip-magic-only": b"PK\x03\x04",
    "zip-end-only": b"PK\x05\x06" + bytes(18),
    "zip-big-endian": archive(GOOD).replace(b"little", b"bigggg"),
    "zip-entries-overlap": zip_raw([(b"m/data.pkl", 0, 900, 900, 0, 0), (b"b", 0, 10, 10, 0, 0)]),
    "zip-entry-twice": zip_raw([(b"m/data.pkl", 0, 9, 9, 0, 0), (b"m/data.pkl", 0, 0, 0, 0, 0)]),
    "zip-entry-outside": zip_raw([(b"m/data.pkl", 1 << 30, 9, 9, 0, 0)]),
    "zip-entry-longer-than-file": zip_raw([(b"m/data.pkl", 0, 1 << 30, 1 << 30, 0, 0)]),
    "zip-entry-announces-4-GB": zip_raw([(b"m/data.pkl", 0, 100, 0xFFFFFFF0, 8, 0)]),
    "zip-entry-stored-larger": zip_raw([(b"m/data.pkl", 0, 100, 200, 0, 0)]),
    "zip-entry-encrypted": zip_raw([(b"m/data.pkl", 0, 100, 100, 0, 1)]),
    "zip-entry-lzma": zip_raw([(b"m/data.pkl", 0, 100, 100, 14, 0)]),
    "zip-entry-name-nul": zip_raw([(b"m\0/data.pkl", 0, 100, 100, 0, 0)]),
    "zip-deflate-noise": zip_raw([(b"m/data.pkl", 0, 100, 100, 8, 0)]),
    "zip-nothing-of-ours": zip_raw([(b"a", 0, 100, 100, 0, 0)]),
    "zip-pickle-bomb": archive(b"\0" * (80 << 20), method=zipfile.ZIP_DEFLATED),
    # NumPy
    "npy-magic-only": b"\x93NUMPY",
    "npy-version": npy(described("(4,)"), bytes(16), version=1).replace(b"\x01\0", b"\x09\0", 1),
    "npy-header-longer": b"\x93NUMPY\x02\0\xff\xff\xff\x7f{",
    "npy-code-as-header": npy("__import__('os').system('touch ran')\n"),
    "npy-code-in-shape": npy(described("(__import__('os').system('touch ran'),)"), bytes(16)),
    "npy-shape-too-large": npy(described("(5,)"), bytes(16)),
    "npy-shape-of-10^30": npy(described("(1" + "0" * 30 + ",)"), bytes(16)),
    "npy-shape-overflow": npy(described("(4294967296, 4294967296, 4)"), bytes(16)),
    "npy-shape-negative": npy(described("(-4,)"), bytes(16)),
    "npy-bytes-left-over": npy(described("(4,)"), bytes(17)),
    "npy-objects": npy(described("(1,)", "'|O'"), pickle.dumps([os.getcwd])),
    "npy-records": npy(described("(1,)", "[('a', '<f4')]"), bytes(4)),
    "npy-dims-65": npy(described("(" + "1, " * 65 + ")"), bytes(4)),
    "npy-depth-bomb": npy("(" * 60_000),
    "npz-empty-entry": npz(a=b""),
    "npz-objects-only": npz(a=npy(described("(1,)", "'|O'"), b"")),
    "npz-entry-cut": npz(a=npy(described("(4,)"), bytes(15))),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_hostile_suspect_ends_in_one_clear_error(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "suspect.pt"
    path.write_bytes(FILES[case])
    begin = time.monotonic()
    with pytest.raises(LedgerError) as refusal, open_weights(path) as model:
        fingerprint(model, level="deep", threads=1)
    assert isinstance(refusal.value, TensorFileError | LimitExceeded | UnsupportedModel)
    assert refusal.value.hint
    assert str(refusal.value).isprintable()
    assert not (tmp_path / "ran").exists()
    assert time.monotonic() - begin < 20


def test_a_pickle_that_would_run_a_command_beside_weights_is_read_and_runs_nothing(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    inner = pickle.dumps(Bomb(), protocol=2)[2:-1]
    for label, content in (
        ("zip", archive(state(w=tensor(), bomb=inner))),
        ("legacy", legacy(state(bomb=inner, w=tensor()))),
    ):
        path = tmp_path / label
        path.write_bytes(content)
        before = set(sys.modules)
        with open_weights(path) as model:
            assert [t.name for t in model.tensors] == ["w"]
        assert not (tmp_path / "ran").exists()
        assert not {m for m in set(sys.modules) - before if not m.startswith("ledger")}


def test_opening_allocates_what_the_file_has_and_not_what_it_announces(tmp_path):
    big = [c for c in FILES if any(w in c for w in ("GB", "2^", "petabyte", "huge", "overflow"))]
    assert len(big) > 8
    for case in big:
        path = tmp_path / case.replace("/", "-")
        path.write_bytes(FILES[case])
        tracemalloc.start()
        with pytest.raises(LedgerError):
            open_weights(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 32 << 20, case


def test_a_deflated_array_that_grows_beyond_the_free_room_is_refused_before_unpacking(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(rebuilt, "FREE_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "bomb.npz", w=np.zeros(1 << 20, np.float64))
    assert (tmp_path / "bomb.npz").stat().st_size < 1 << 16
    with pytest.raises(LimitExceeded) as refusal:
        open_weights(tmp_path / "bomb.npz")
    assert "compression" in refusal.value.hint


def test_many_views_of_one_small_storage_are_not_multiplied_on_disk(tmp_path, monkeypatch):
    # Each view is 64 times its storage; a thousand of the same are made once.
    monkeypatch.setattr(rebuilt, "FREE_BYTES", 1 << 20)
    wide = tensor(shape=(64, 256), strides=(0, 1))
    path = tmp_path / "m.pt"
    path.write_bytes(archive(state(**{f"w{n}": wide for n in range(1000)})))
    with open_weights(path) as model:
        assert len(model.tensors) == 1000
        assert len(model._recipes) == 1
    apart = {f"w{n}": tensor(shape=(60, 64), strides=(0, n)) for n in range(1, 5)}
    apart |= {f"v{n}": tensor(shape=(n, 250), strides=(0, 1)) for n in range(900, 1000)}
    path.write_bytes(archive(state(**apart)))
    with pytest.raises(LimitExceeded):
        open_weights(path)


def test_entries_that_share_bytes_are_refused_for_that(tmp_path):
    (tmp_path / "m.pt").write_bytes(FILES["zip-entries-overlap"])
    with pytest.raises(TensorFileError, match="over another"):
        open_weights(tmp_path / "m.pt")


def test_a_pickle_of_too_many_operations_is_refused(monkeypatch):
    monkeypatch.setattr(pickles, "MAX_OPERATIONS", 1000)
    with pytest.raises(LimitExceeded):
        read_pickle(io.BytesIO(PROTO + b"N0" * 1000 + b"N."), "the file")


def test_keys_made_to_collide_cost_no_more_than_others(tmp_path):
    step = (1 << 61) - 1
    pairs = b"".join(
        b"\x8a\x10" + (step * n).to_bytes(16, "little", signed=True) + b"N" for n in range(30_000)
    )
    path = tmp_path / "m.pt"
    path.write_bytes(archive(PROTO + b"}(" + pairs + text("w") + tensor() + b"u."))
    begin = time.monotonic()
    with open_weights(path) as model:
        assert [t.name for t in model.tensors] == ["w"]
    assert time.monotonic() - begin < 10


def test_a_data_file_outside_the_folder_is_not_read_for_an_onnx_model(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    (tmp_path / "secret").write_bytes(bytes(64))
    inner = tmp_path / "inner"
    inner.mkdir()
    for location in ("../secret", "/etc/hostname", "sub/x", "..", "m.onnx", "link"):
        made = TensorProto(name="w", data_type=1, dims=[16], data_location=TensorProto.EXTERNAL)
        made.external_data.add(key="location", value=location)
        graph = helper.make_graph([], "g", [], [], [made])
        (inner / "m.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
        if not (inner / "link").is_symlink():
            (inner / "link").symlink_to(tmp_path / "secret")
        with pytest.raises(TensorFileError):
            open_weights(inner / "m.onnx")


MUTATED = {
    "zip": archive(state(a=tensor(), b=tensor(shape=(8, 16), strides=(1, 16)))),
    "zip-deflated": archive(GOOD, method=zipfile.ZIP_DEFLATED),
    "legacy": legacy(state(a=tensor(), b=tensor(shape=(8, 16), strides=(1, 16)))),
    "npz": npz(a=npy(described("(16, 16)"), WEIGHTS), b=npy(described("(256,)", "'>f4'"), WEIGHTS)),
    "npy": npy(described("(16, 16)", order="True"), WEIGHTS),
}


@pytest.mark.parametrize("kind", MUTATED)
@settings(
    max_examples=200 if not os.environ.get("DEED_DEEP") else 5000,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 1 << 40), changes=st.integers(1, 6))
def test_a_damaged_suspect_opens_or_ends_in_our_errors(tmp_path, kind, seed, changes):
    source = bytearray(MUTATED[kind])
    draw = random.Random(seed)
    for _ in range(changes):
        at = draw.randrange(len(source))
        act = draw.randrange(5)
        if act == 0:
            source[at] = draw.randrange(256)
        elif act == 1:
            source[at] ^= 1 << draw.randrange(8)
        elif act == 2:
            del source[at : at + draw.randrange(1, 9)]
        elif act == 3:
            source[at:at] = source[draw.randrange(len(source)) :][: draw.randrange(1, 40)]
        else:
            source[at : at + 4] = draw.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"])
        if not source:
            return
    path = tmp_path / "m.pt"
    path.write_bytes(source)
    with contextlib.suppress(LedgerError), open_weights(path) as model:
        for info in model.tensors:
            assert info.nbytes < 1 << 20
            model.read(info)
        view = FloatView(model)
        for info in filter(is_readable, model.tensors):
            view.values(info)


OPCODES = [code.code.encode("latin-1") for code in pickletools.opcodes]


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(OPCODES) | st.binary(min_size=1, max_size=3), max_size=60))
def test_any_row_of_operations_ends_in_a_value_or_in_our_errors(parts):
    with contextlib.suppress(LedgerError):
        read_pickle(io.BytesIO(b"".join(parts) + b"."), "the file")


def test_a_nested_bomb_neither_ends_the_process_nor_takes_its_memory(tmp_path):
    # In a process of its own: what it fears is a crash of the interpreter.
    cases = {
        "lists": nested(800_000),
        "tuples": PROTO + b"N" + b"\x85" * 1_000_000 + b".",
        "key": tuple_key(1_000_000),
        "builds": PROTO + name("a", "b") + b")R" * 500_000 + b".",
        "dicts": PROTO + b"}" + (text("a") + b"}") * 300_000 + b"s" * 300_000 + b".",
    }
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
from ledger.errors import LedgerError
from ledger.tensors.opening import open_weights
for path in sys.argv[1:]:
    try:
        open_weights(path)
    except LedgerError:
        continue
    raise SystemExit("opened " + path)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""
    paths = []
    for label, content in cases.items():
        (tmp_path / label).write_bytes(archive(content))
        paths.append(str(tmp_path / label))
    run = subprocess.run(
        [sys.executable, "-c", code, *paths],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout) < 2500


def test_the_bytes_of_a_stored_entry_are_checked_by_nobody_and_bound_by_the_fingerprint(tmp_path):
    """A zip's CRC is no seal: what counts is the content id of the bytes that are read."""
    good, bad = archive(GOOD), bytearray(archive(GOOD))
    at = bad.index(WEIGHTS)
    bad[at] ^= 1
    made = []
    for label, content in (("a", good), ("b", bad)):
        (tmp_path / label).write_bytes(content)
        with open_weights(tmp_path / label) as model:
            made.append(fingerprint(model).content_root)
    assert made[0] != made[1]


@pytest.mark.timeout(20)
def test_a_shape_of_one_long_number_is_read_in_one_way_only(tmp_path):
    path = tmp_path / "m.npy"
    path.write_bytes(npy(described("(" + "1" * 5000 + "x)")))
    with pytest.raises(LedgerError):
        open_weights(path)


@pytest.mark.timeout(30)
def test_one_list_copied_into_many_mappings_is_refused(monkeypatch):
    monkeypatch.setattr(pickles, "MAX_OPERATIONS", 20_000)
    ordered = name("collections", "OrderedDict") + b"q\x00"
    pairs = b"))\x86q\x01]q\x02(" + b"h\x01" * 1000 + b"e"
    copied = b"(" + b"h\x00h\x02\x85R" * 1000 + b"t."
    with pytest.raises(LimitExceeded, match="copies more"):
        read_pickle(io.BytesIO(PROTO + ordered + pairs + copied), "m.pt")


@pytest.mark.parametrize("strides", [(16, 1), (1, 17)])
def test_many_tensors_over_one_storage_are_bounded_work(tmp_path, monkeypatch, strides):
    monkeypatch.setattr(rebuilt, "FREE_WORK", 1 << 16)
    many = {
        f"t{n}": tensor(shape=(16 - n % 4, 2), strides=strides, offset=n % 7) for n in range(4000)
    }
    path = tmp_path / "m.pt"
    path.write_bytes(archive(state(**many)))
    monkeypatch.setattr(rebuilt, "MAX_GROWTH", 0)
    with pytest.raises(LimitExceeded):
        open_weights(path)


def test_deflated_bytes_that_end_beside_a_whole_piece_are_given_out(tmp_path):
    for size in (1_048_581, 1_048_600, 1_049_000):
        np.savez_compressed(tmp_path / "m.npz", w=np.zeros(size - 128, np.uint8), v=np.ones(16))
        with open_weights(tmp_path / "m.npz") as model:
            assert all(len(model.read(info)) == info.nbytes for info in model.tensors)


def test_an_onnx_tensor_of_countless_dimensions_keeps_none_of_them(tmp_path):
    def field(tag, data):
        size, length = b"", len(data)
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return bytes([tag]) + size + bytes([length]) + data

    crowd = b"\x08\xff\xff\xff\xff\x0f" * 40_000 + b"\x10\x01"  # dims and a type
    many = field(0x3A, field(0x2A, crowd))
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08" + many)
    tracemalloc.start()
    with pytest.raises(LedgerError):
        open_weights(tmp_path / "m.onnx")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
