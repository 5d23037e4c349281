"""A publication that is killed anywhere goes on where it was, and does nothing twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ledger.chain.abi_codec import contract
from ledger.chain.licenses import LicenseLedger
from ledger.chain.logs import find_events
from ledger.chain.registry import ModelRegistry
from ledger.chain.rpc import Rpc
from ledger.ids import Digest, ModelId
from ledger.publication import STEPS
from ledger.sealed.file import inspect

from .conftest import small_model

SCRIPT = Path(__file__).with_name("publish_until_killed.py")
# "begin": the step before is noted, this one not begun. "acted": done, but not yet noted.
POINTS = [(step, phase) for step in STEPS for phase in ("begin", "acted")]


def publish(work: Path, model: Path, step: str = "never", phase: str = "never"):
    return subprocess.run(
        [sys.executable, SCRIPT, model, work / "out", step, phase],
        cwd=work,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(("step", "phase"), POINTS)
def test_killed_there_it_resumes_and_the_chain_holds_each_thing_once(stack, work, step, phase):
    model = small_model(work / "model.safetensors", seed=POINTS.index((step, phase)))
    killed = publish(work, model, step, phase)
    assert killed.returncode == -9, killed.stderr
    assert "published" not in killed.stdout

    resumed = publish(work, model)

    assert resumed.returncode == 0, resumed.stderr
    _, model_id, plan, record = resumed.stdout.strip().splitlines()[-1].split()
    network = stack.network
    addresses = network.deployment.addresses
    with Rpc(network.rpc_urls) as rpc:
        registry = ModelRegistry(rpc, addresses["ModelRegistry"])
        licenses = LicenseLedger(rpc, addresses["LicenseLedger"])
        id_ = ModelId.parse(model_id)
        assert registry.model_of(id_).committed
        assert registry.sealing_of(id_) == (1, Digest.parse(record))
        assert licenses.plans_of_model(id_) == (int(plan),)
        lodged = find_events(
            rpc,
            contract("ModelRegistry"),
            addresses["ModelRegistry"],
            "RecordLodged",
            [Digest(id_.raw)],
            from_block=0,
        )
        assert len(lodged) == 1
    assert inspect(work / "out" / "model.sealed").model_id == id_
    assert not list((work / "out").glob(".*")), "a temporary file is left"


def test_a_finished_publication_run_again_changes_nothing(stack, work):
    model = small_model(work / "model.safetensors", seed=99)
    first = publish(work, model)
    assert first.returncode == 0, first.stderr
    before = {p.name: p.read_bytes() for p in (work / "out").iterdir()}

    second = publish(work, model)

    assert second.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    assert {p.name: p.read_bytes() for p in (work / "out").iterdir()} == before


def test_another_model_in_the_same_folder_is_refused(stack, work):
    publish(work, small_model(work / "model.safetensors", seed=100))

    again = publish(work, small_model(work / "model.safetensors", seed=101))

    assert again.returncode != 0
    assert "ClaimMismatch" in again.stderr


def test_no_key_is_in_any_file_but_encrypted(stack, work):
    publish(work, small_model(work / "model.safetensors", seed=102))
    from ledger.broker.recovery import Recovery

    recovery = Recovery.load(work / "out" / "model.recovery.json", "correct horse battery staple")

    assert (work / "out" / "model.recovery.json").stat().st_mode & 0o077 == 0
    for path in [*(work / "out").iterdir(), *stack.folder.rglob("*")]:
        if path.is_file():
            data = path.read_bytes()
            assert recovery.content_key not in data
            assert recovery.content_key.hex().encode() not in data
