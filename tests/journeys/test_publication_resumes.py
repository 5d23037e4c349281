"""A publication that is killed anywhere goes on where it was, and does nothing twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from variant_world import make_source

from ledger.broker.cellplans import CellChoice
from ledger.broker.recovery import Recovery
from ledger.chain.abi_codec import contract
from ledger.chain.licenses import LicenseLedger
from ledger.chain.logs import find_events
from ledger.chain.registry import ModelRegistry
from ledger.chain.rpc import Rpc
from ledger.chain.wallet import dev_wallet
from ledger.errors import CapacityExceeded, ClaimMismatch, UsageError
from ledger.ids import Digest
from ledger.publication import STEPS
from ledger.sealed.file import inspect

from .conftest import small_model
from .publish_until_killed import PASSPHRASE, publish

SCRIPT = Path(__file__).with_name("publish_until_killed.py")
# "acted": done, but not yet noted. "begin": the step before is noted, this one not begun, which is
# safe unless the other is wrong; make deep has all of those.
POINTS = [
    pytest.param(step, phase, marks=pytest.mark.deep)
    if phase == "begin" and step != STEPS[0]
    else (step, phase)
    for step in STEPS
    for phase in ("begin", "acted")
]


@pytest.mark.parametrize(("step", "phase"), POINTS)
def test_killed_there_it_resumes_and_the_chain_holds_each_thing_once(stack, work, step, phase):
    model = small_model(work / "model.safetensors", seed=POINTS.index((step, phase)))
    killed = subprocess.run(
        [sys.executable, SCRIPT, model, work / "out", step, phase], cwd=work, check=False
    )
    assert killed.returncode == -signal.SIGKILL

    done = publish(work, model, work / "out")

    network = stack.network
    addresses = network.deployment.addresses
    with Rpc(network.rpc_urls) as rpc:
        registry = ModelRegistry(rpc, addresses["ModelRegistry"])
        licenses = LicenseLedger(rpc, addresses["LicenseLedger"])
        assert registry.model_of(done.model_id).committed
        assert registry.sealing_of(done.model_id) == (1, done.record.hash())
        assert licenses.plans_of_model(done.model_id) == (done.plan_id,)
        lodged = find_events(
            rpc,
            contract("ModelRegistry"),
            addresses["ModelRegistry"],
            "RecordLodged",
            [Digest(done.model_id.raw)],
            from_block=0,
        )
        assert len(lodged) == 1
    assert inspect(done.sealed).model_id == done.model_id
    assert not list((work / "out").glob(".*")), "a temporary file is left"


def test_a_finished_publication_run_again_changes_nothing(stack, work):
    model = small_model(work / "model.safetensors", seed=99)
    first = publish(work, model, work / "out")
    before = {p.name: p.read_bytes() for p in (work / "out").iterdir()}

    second = publish(work, model, work / "out")

    assert second == first
    assert {p.name: p.read_bytes() for p in (work / "out").iterdir()} == before


def test_another_model_in_the_same_folder_is_refused(stack, work):
    publish(work, small_model(work / "model.safetensors", seed=100), work / "out")

    with pytest.raises(ClaimMismatch, match="changed since"):
        publish(work, small_model(work / "model.safetensors", seed=101), work / "out")


def test_a_recovery_file_that_is_gone_stops_the_publication_instead_of_making_a_second_key(
    stack, work
):
    model = small_model(work / "model.safetensors", seed=103)
    done = publish(work, model, work / "out")
    done.recovery.unlink()

    with pytest.raises(UsageError, match=r"recovery\.json is gone"):
        publish(work, model, work / "out")


class Interrupted(Exception):
    pass


def interrupting(step):
    def observer(at, phase, _detail):
        if (at, phase) == (step, "begin"):
            raise Interrupted

    return observer


@pytest.mark.parametrize(
    "begun",
    [None, pytest.param(CellChoice(24, 1 << 14), marks=pytest.mark.deep), CellChoice(24, 1 << 15)],
)
def test_a_publication_goes_on_with_the_cells_it_began_with_and_no_others(stack, work, begun):
    model, out = make_source(work / "model", seed=begun.cell_bytes if begun else 1), work / "out"
    with pytest.raises(Interrupted):
        publish(work, model, out, interrupting("seal"), cells=begun)
    for other in (CellChoice(25), CellChoice(24, 1 << 16), CellChoice(24, 1 << 14, 3)):
        with pytest.raises(UsageError, match="began with"):
            publish(work, model, out, cells=other)

    info = inspect(publish(work, model, out).sealed)

    assert (info.cells, info.cell_bytes) == ((24, begun.cell_bytes) if begun else (0, 0))
    assert publish(work, model, out, cells=begun).record.root == info.root


def test_more_cells_than_the_model_has_room_for_are_refused_before_anything_is_sent(stack, work):
    model, out = make_source(work / "model"), work / "out"
    with Rpc(stack.network.rpc_urls) as rpc:
        licensor = str(dev_wallet("licensor").address)
        sent = rpc.call("eth_getTransactionCount", [licensor, "pending"])
        for choice in (CellChoice(4000), CellChoice(40, 1 << 16)):
            with pytest.raises(CapacityExceeded, match="has room for"):
                publish(work, model, out, cells=choice)
        assert rpc.call("eth_getTransactionCount", [licensor, "pending"]) == sent
    assert not out.exists()
    publish(work, model, out, cells=CellChoice(24))


def test_no_key_is_in_any_file_but_encrypted(stack, work):
    done = publish(work, small_model(work / "model.safetensors", seed=102), work / "out")
    recovery = Recovery.load(done.recovery, PASSPHRASE)

    assert done.recovery.stat().st_mode & 0o077 == 0
    for path in [*(work / "out").iterdir(), *stack.folder.rglob("*")]:
        if path.is_file():
            data = path.read_bytes()
            assert recovery.content_key not in data
            assert recovery.content_key.hex().encode() not in data
