"""From a card and a real broker to a running consumer, for a model that is not safetensors."""

import shutil

import numpy as np
import pytest

import ledger
from ledger.errors import LeaseExpired

ort = pytest.importorskip("onnxruntime", reason="install requirements-dev.lock")
pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def licensed(world, real, serving_world):
    """The published model sealed again, from its ONNX export and with a side file."""
    folder = world.folder / "vad"
    folder.mkdir()
    shutil.copy(real("silero_vad", "data/silero_vad_op18_ifless.onnx"), folder / "vad.onnx")
    (folder / "config.json").write_text('{"rate": 16000}\n')
    made = serving_world.reseal(world.chain, folder, world.published.model_id, epoch=2)
    world.deposit(made)
    license_id = world.license(world.plan(seats=0, leaseTtl=3, grace=2))
    return license_id, world.card(license_id, made), world.runtime(license_id)


def until_it_fails(session, feed):
    for _ in range(100_000):
        session.run(None, feed)


def test_a_licensed_onnx_model_runs_until_it_is_revoked(world, licensed, real):
    license_id, card, identity = licensed
    plain = ort.InferenceSession(
        str(real("silero_vad", "data/silero_vad_op18_ifless.onnx")),
        providers=["CPUExecutionProvider"],
    )
    feed = {
        "input": np.linspace(-1, 1, 576, dtype=np.float32).reshape(1, -1),
        "state": np.zeros((2, 1, 128), np.float32),
        "sr": np.array(16000, np.int64),
    }
    with ledger.load(card, runtime=identity) as model:
        assert bytes(model.files()["config.json"]) == b'{"rate": 16000}\n'
        session = model.onnx_session()
        for got, wanted in zip(session.run(None, feed), plain.run(None, feed), strict=True):
            assert np.array_equal(got, wanted)
        world.chain.send("licensor", "LicenseLedger", "revoke", license_id, 0, bytes(32))
        with pytest.raises(LeaseExpired, match="was revoked"):
            until_it_fails(session, feed)
