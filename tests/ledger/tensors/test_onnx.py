"""ONNX files: where their tensors lie, held against what the onnx package reads."""

import contextlib
import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import LedgerError, LimitExceeded, TensorFileError
from ledger.fingerprint.exact import fingerprint
from ledger.tensors.model import open_model

onnx = pytest.importorskip("onnx", reason="install requirements-dev.lock")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def real(package, name):
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"install requirements-test-models.lock for {package}")
    return Path(spec.origin).parent / name


def make(tmp_path, *, depth=0, **options):
    """A model with an initializer, a constant and `depth` nested branches, each with its own."""
    rng = np.random.default_rng(4)
    weight = rng.standard_normal((8, 16)).astype(np.float32)
    typed = helper.make_tensor("typed", TensorProto.FLOAT, [40], rng.standard_normal(40).tolist())
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"])]
    constant = numpy_helper.from_array(rng.standard_normal(20).astype(np.float16))
    nodes.append(helper.make_node("Constant", [], ["k"], value=constant))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("m", TensorProto.FLOAT, [1, 16])],
        [numpy_helper.from_array(weight, "w"), typed],
    )
    for _ in range(depth):
        branch = helper.make_node("If", ["c"], ["y"], then_branch=graph)
        graph = helper.make_graph([branch], "outer", [], [], [numpy_helper.from_array(weight, "w")])
    path = tmp_path / "m.onnx"
    onnx.save_model(helper.make_model(graph), path, **options)
    return path


def read(path):
    with open_model(path) as model:
        return {t.name: (t.dtype, t.shape, bytes(model.read(t))) for t in model.tensors}


def test_every_tensor_of_a_real_model_is_found_in_all_its_branches():
    path = real("silero_vad", "data/silero_vad.onnx")
    expected = []

    def walk(graph):
        expected.extend(t.raw_data for t in graph.initializer)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    expected.append(attribute.t.raw_data)
                if attribute.HasField("g"):
                    walk(attribute.g)

    walk(onnx.load(path).graph)
    assert sorted(data for _, _, data in read(path).values()) == sorted(filter(None, expected))


def test_names_shapes_and_bytes_are_those_of_the_onnx_package(tmp_path):
    path = make(tmp_path)
    graph = onnx.load(path).graph
    found = read(path)
    assert set(found) == {"w", "typed", "k"}
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        assert found[tensor.name] == ("F32", array.shape, array.tobytes())
    assert found["k"][:2] == ("F16", (20,))


def test_the_same_weights_have_one_fingerprint_in_onnx_and_in_safetensors():
    roots = []
    for name in ("silero_vad_16k_op15.onnx", "silero_vad_op18_ifless.onnx"):
        with open_model(real("silero_vad", f"data/{name}")) as model:
            roots.append({t.cid for t in fingerprint(model).tensors if t.identity})
    assert len(roots[0] & roots[1]) == 14


def test_a_name_used_in_two_branches_is_told_apart(tmp_path):
    assert {"w", "w#2", "w#3"} <= set(read(make(tmp_path, depth=2)))


def test_graphs_nested_too_deep_are_refused(tmp_path):
    def field(number, data):
        size, length = len(data), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + data

    graph = b""
    for _ in range(40):
        graph = field(1, field(5, field(6, graph)))
    (tmp_path / "m.onnx").write_bytes(field(7, graph))
    with pytest.raises(LimitExceeded):
        read(tmp_path / "m.onnx")


def test_tensors_in_a_data_file_are_read_there(tmp_path):
    inline = read(make(tmp_path))
    (tmp_path / "m.onnx").unlink()
    path = make(tmp_path, save_as_external_data=True, location="m.data", size_threshold=1, depth=0)
    with open_model(path) as model:
        assert [m.name for m in model.members] == ["m.onnx", "m.data"]
        assert {t.member for t in model.tensors} == {0, 1}
    assert read(path)["w"] == inline["w"]
    with open_model(tmp_path) as folder:
        assert {m.name for m in folder.members} == {"m.onnx", "m.data"}
        assert folder.left_out == ()


@pytest.mark.parametrize("location", ["../m.data", "/etc/passwd", "a/b", "..", "m.onnx"])
def test_a_data_file_elsewhere_is_refused(tmp_path, location):
    path = make(tmp_path, save_as_external_data=True, location="m.data", size_threshold=1)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(TensorFileError, match="not a file beside it"):
        open_model(path)


def test_a_data_file_that_is_too_short_or_a_link_out_of_the_folder_is_refused(tmp_path):
    path = make(tmp_path, save_as_external_data=True, location="m.data", size_threshold=1)
    data = (tmp_path / "m.data").read_bytes()
    (tmp_path / "m.data").write_bytes(data[:-1])
    with pytest.raises(TensorFileError, match="truncated"):
        open_model(path)
    outside = tmp_path.parent / f"{tmp_path.name}.data"
    outside.write_bytes(data)
    (tmp_path / "m.data").unlink()
    (tmp_path / "m.data").symlink_to(outside)
    with pytest.raises(TensorFileError, match="leaves the folder"):
        open_model(path)


def test_data_in_a_hugging_face_cache_is_a_link_to_that_models_blobs(tmp_path):
    path = make(tmp_path, save_as_external_data=True, location="m.data", size_threshold=1)
    with open_model(path) as model:
        wanted = [(info.name, bytes(model.read(info))) for info in model.tensors]
    folder = tmp_path / "models--a--b" / "snapshots" / "abc" / "onnx"
    blobs = folder.parents[2] / "blobs"
    for made in (folder, blobs):
        made.mkdir(parents=True)
    for number, name in enumerate((path.name, "m.data")):
        (tmp_path / name).rename(blobs / str(number))
        (folder / name).symlink_to(f"../../../blobs/{number}")
    with open_model(folder / path.name) as model:
        assert [(info.name, bytes(model.read(info))) for info in model.tensors] == wanted
    # What is called blobs must lie there, and not be led to.
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TensorFileError, match="leaves the folder"):
        open_model(folder / path.name)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_file_raises_our_errors_only(data):
    with tempfile.TemporaryDirectory() as name:
        path = make(Path(name), depth=1)
        raw = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
        with contextlib.suppress(LedgerError):
            read(path)
