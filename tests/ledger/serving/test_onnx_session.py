"""ONNX Runtime over sealed packages: the outputs of the plain model, and no file anywhere."""

import ctypes
import gc
import os
from pathlib import Path

import numpy as np
import pytest

from ledger.errors import LeaseExpired, UnsupportedModel, UsageError

ort = pytest.importorskip("onnxruntime", reason="install requirements-dev.lock")
onnx = pytest.importorskip("onnx", reason="install requirements-dev.lock")

NAMES = ["silero_vad.onnx", "silero_vad_16k_op15.onnx", "silero_vad_op18_ifless.onnx"]


@pytest.fixture(autouse=True)
def nothing_on_a_disk(tmp_path, monkeypatch):
    """No test of this file may leave anything in the working or temporary folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []


def feed(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "input": rng.standard_normal((1, 576), dtype=np.float32) / 10,
        "state": np.zeros((2, 1, 128), np.float32),
        "sr": np.array(16000, np.int64),
    }


def plain_outputs(path, given):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {i.name: given[i.name] for i in session.get_inputs()}
    return given, session.run(None, given)


@pytest.mark.parametrize("name", NAMES)
def test_a_real_speech_detector_gives_the_plain_models_outputs(opened, real, name):
    source = real("silero_vad", f"data/{name}")
    given, expected = plain_outputs(source, feed())
    with opened(source) as model:
        session = model.onnx_session()
        assert [i.name for i in session.get_inputs()] == list(given)
        for got, wanted in zip(session.run(None, given), expected, strict=True):
            assert np.array_equal(got, wanted)
        assert [o.name for o in session.get_outputs()]
    with pytest.raises(UsageError, match="closed"):
        session.run(None, given)


@pytest.fixture(scope="module")
def external(real, tmp_path_factory):
    """The detector with its weights in a file beside it, as large models are saved."""
    folder = tmp_path_factory.mktemp("external")
    made = onnx.load(real("silero_vad", "data/silero_vad_op18_ifless.onnx"))
    onnx.save_model(
        made, folder / "vad.onnx", save_as_external_data=True, location="vad.data",
        size_threshold=1024,
    )  # fmt: skip
    assert (folder / "vad.data").stat().st_size > 1 << 20
    return folder / "vad.onnx"


def test_a_model_with_external_data_runs_from_memory(opened, external):
    given, expected = plain_outputs(external, feed(1))
    with opened(external) as model:
        assert [m.name for m in model.sealed_file.members] == ["vad.onnx", "vad.data"]
        for got, wanted in zip(model.onnx_session().run(None, given), expected, strict=True):
            assert np.array_equal(got, wanted)


def test_a_session_opens_no_file_and_maps_none(opened, real):
    source = real("silero_vad", "data/silero_vad_op18_ifless.onnx")
    package = str(opened.package(source)[0])
    with opened(source) as model:
        before = set(Path("/proc/self/maps").read_text().split("\n"))
        session = model.onnx_session()
        session.run(None, {k: v for k, v in feed().items() if k != "nothing"})
        for line in set(Path("/proc/self/maps").read_text().split("\n")) - before:
            mapped = line.partition("/")[2]
            assert ".so" in mapped or not mapped, line
        links = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
        targets = {os.readlink(link) for link in links if os.path.exists(link)}
        assert not [t for t in targets if t.endswith((".onnx", ".data"))]
        assert package in targets


def test_the_bytes_that_onnxruntime_insists_on_are_overwritten(opened, real):
    source = real("silero_vad", "data/silero_vad_op18_ifless.onnx")
    with opened(source) as model:
        kept = model.onnx_session().inner._model_bytes
        assert len(kept) == source.stat().st_size
        assert ctypes.string_at(id(kept) + bytes.__basicsize__ - 1, len(kept)) == bytes(len(kept))


def test_saving_the_optimized_model_to_a_disk_is_refused(opened, real):
    with opened(real("silero_vad", "data/silero_vad_op18_ifless.onnx")) as model:
        settings = ort.SessionOptions()
        settings.optimized_model_filepath = "plain.onnx"
        with pytest.raises(UsageError, match="disk"):
            model.onnx_session(sess_options=settings)


def test_without_a_lease_a_session_runs_no_more(opened, real):
    import time

    source = real("silero_vad", "data/silero_vad_op18_ifless.onnx")
    model = opened(source, seconds=2)
    session = model.onnx_session()
    session.run(None, feed())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and session._session is not None:
        time.sleep(0.05)
    with pytest.raises(LeaseExpired):
        session.run(None, feed())
    model.close()


def test_a_package_without_an_onnx_file_says_so(opened, real):
    with (
        opened(real("silero_vad", "data/silero_vad_16k.safetensors")) as model,
        pytest.raises(UnsupportedModel, match="no ONNX file"),
    ):
        model.onnx_session()


def test_what_onnxruntime_refuses_is_our_error(opened, tmp_path_factory):
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("NoSuchOperator", ["w"], ["y"])],
        "g",
        [],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [20])],
        [onnx.numpy_helper.from_array(np.arange(20, dtype=np.float32), "w")],
    )
    path = tmp_path_factory.mktemp("odd") / "odd.onnx"
    onnx.save_model(onnx.helper.make_model(graph), path)
    with opened(path) as model, pytest.raises(UnsupportedModel, match="does not take"):
        model.onnx_session()


def test_options_that_are_used_again_lead_to_no_freed_memory(opened, external):
    """ONNX Runtime keeps bare addresses in them; this ended the process."""
    given, expected = plain_outputs(external, feed(1))
    settings = ort.SessionOptions()
    with opened(external) as model:
        outputs = model.onnx_session(sess_options=settings).run(None, given)
        assert np.array_equal(outputs[0], expected[0])
        with pytest.raises(UsageError, match="another session"):
            model.onnx_session(sess_options=settings)
    del model
    gc.collect()
    again = ort.InferenceSession(
        str(external), sess_options=settings, providers=["CPUExecutionProvider"]
    )
    # What those addresses show is zero, and no other memory.
    assert not np.array_equal(again.run(None, given)[0], expected[0])
