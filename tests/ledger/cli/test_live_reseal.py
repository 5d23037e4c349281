"""A published model sealed anew: killed half way, resumed, and loaded under the new epoch only."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from variant_world import make_source

import ledger
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.recovery import Recovery
from ledger.chain.network import load_live
from ledger.chain.registry import ModelRegistry
from ledger.chain.rpc import Rpc
from ledger.cli import settings
from ledger.cli.lodged import lodging
from ledger.cli.session import Session
from ledger.errors import KeyRequestRejected
from ledger.ids import LicenseId, ModelId
from ledger.sealed.file import inspect, open_sealed

pytestmark = pytest.mark.chain

# Runs ``deed`` and kills the process, as ``kill -9`` would, when a step has come to a point.
KILLED = """
import os, signal, sys
from ledger.publication import Publication
from ledger.cli.main import main
step, phase, *words = sys.argv[1:]
note = Publication._note
begun = Publication._deposit
if phase == "acted":
    def _note(self, at, result, detail):
        if at == step:
            os.kill(os.getpid(), signal.SIGKILL)
        note(self, at, result, detail)
    Publication._note = _note
else:
    def _deposit(self, *given):
        os.kill(os.getpid(), signal.SIGKILL)
    Publication._deposit = _deposit
main(words)
"""


def good(ran):
    assert ran.code == 0, ran.out + ran.err
    return ran


def kill_at(live, step, phase, *words):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, step, phase, *map(str, words)],
        cwd=live.cwd,
        env={**os.environ, **live.env},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def publish(live, name, *more):
    make_source(live.cwd / name, seed=sum(name.encode()))
    if not (live.cwd / "t.toml").exists():
        good(live("terms", "new", "t.toml"))
    return good(live("publish", name, "--terms", "t.toml", *more, "--json")).json


def sealing_of(live, published):
    network = load_live(live.cwd)
    with Rpc(network.rpc_urls) as rpc:
        registry = ModelRegistry(rpc, network.deployment.addresses["ModelRegistry"])
        return registry.sealing_of(ModelId.parse(published["model_id"]))


def identity(live):
    return RuntimeIdentity.load(Path(live.env["DEED_CONFIG_DIR"]) / "runtime.json")


def words_of(live):
    return Path(live.env["DEED_WALLET_PASSWORD_FILE"]).read_text().strip()


@pytest.fixture(scope="module")
def first(live):
    """A model with 24 cells, licensed and loaded once."""
    published = publish(live, "model", "--seats", 4, "--cells", 24)
    good(live("runtime", "init"))
    issue = ("license", "issue", published["plan"], "--to", "holder", "--card", "one.license.json")
    number = good(live(*issue, "--wait", "--json")).json["license"]
    good(live("runtime", "grant", "runtime.request.json", "--license", number))
    good(live("runtime", "accept", "runtime.grant.json"))
    with ledger.load(live.cwd / "one.license.json", runtime=identity(live)) as model:
        assert model.sealed_file.public.epoch == 1
    return published | {"license": number}


@pytest.fixture(scope="module")
def second(live, first):
    """The same under a new key with more cells, killed twice on the way."""
    words = ("reseal", "model", "--from", first["folder"], "--cells", 64)
    kill_at(live, "lodge", "acted", *words)  # sent, and not noted
    assert sealing_of(live, first)[0] == 2
    kill_at(live, "deposit", "begin", *words)
    # Without --cells it goes on with those it began with.
    ran = good(live(*words[:4], "--wait", "--json"))
    assert "lodge the sealing record" in ran.err
    return ran.json


def test_a_resealing_killed_between_lodging_and_deposit_resumes(live, first, second):
    assert second["folder"] == "model.epoch2.published"
    assert (second["epoch"], second["final"]) == (2, True)
    assert (second["model_id"], second["plan"]) == (first["model_id"], first["plan"])
    epoch, lodged = sealing_of(live, first)
    assert (epoch, str(lodged)) == (2, second["sealing_record"])
    info = inspect(live.cwd / second["sealed"])
    assert (info.epoch, info.cells) == (2, 64)
    old, new = (
        Recovery.load(live.cwd / one["recovery"], words_of(live)) for one in (first, second)
    )
    assert old.salt == new.salt
    assert old.claim == new.claim
    assert old.content_key != new.content_key
    assert old.cells.code_key != new.cells.code_key
    assert not list((live.cwd / second["folder"]).glob(".*")), "a temporary file is left"


def test_run_again_it_makes_no_third_epoch(live, first, second):
    again = good(live("reseal", "model", "--from", first["folder"], "--json"))
    assert again.json["sealing_record"] == second["sealing_record"]
    assert "for a further one" in again.err
    assert sealing_of(live, first)[0] == 2


def test_the_old_card_is_refused_and_the_new_one_loads(live, first, second):
    with (
        pytest.raises(KeyRequestRejected, match=r"not the current sealing.*epoch 2"),
        ledger.load(live.cwd / "one.license.json", runtime=identity(live)),
    ):
        pass
    refused = live("check", "one.license.json")
    assert refused.code == 1
    assert "fetch the current file and card" in refused.out + refused.err

    # Both folders are around; the one that is lodged is taken.
    good(live("license", "card", first["license"], "--out", "two.license.json"))
    assert "epoch2" in (live.cwd / "two.license.json").read_text()
    with ledger.load(live.cwd / "two.license.json", runtime=identity(live)) as model:
        assert model.sealed_file.public.epoch == 2
        assert model.sealed_file.marked
        names = set(model.state_dict())
    assert names == set(load_file(live.cwd / "model" / "model.safetensors"))
    named = live("license", "card", first["license"], "--out", "x.json", "--from", first["folder"])
    assert named.code == 1
    assert "deed reseal" in named.err
    issue = ("license", "issue", first["plan"], "--to", "holder", "--card", "new.license.json")
    good(live(*issue, "--from", second["folder"]))


def test_the_old_key_does_not_open_the_new_file(live, first, second):
    old = Recovery.load(live.cwd / first["recovery"], words_of(live))
    with (
        pytest.raises(ledger.LedgerError),
        open_sealed(live.cwd / second["sealed"], old.content_key),
    ):
        pass
    opened = live("open", second["sealed"], "--recovery", second["recovery"], "--verify-content")
    assert "unmarked; 64 cells" in good(opened).out


def test_a_third_epoch_has_the_cells_of_the_second_unless_told_otherwise(live, first, second):
    words = ("reseal", "model", "--from", second["folder"], "--json")
    third = good(live(*words)).json
    assert (third["epoch"], third["folder"]) == (3, "model.epoch3.published")
    assert inspect(live.cwd / third["sealed"]).cells == 64
    fourth = good(live(*words, "--out", "plain", "--cells", 0)).json
    assert (fourth["epoch"], inspect(live.cwd / fourth["sealed"]).cells) == (4, 0)
    # Of four folders around, a card is made from the one whose sealing is lodged.
    good(live("license", "card", first["license"], "--out", "four.license.json"))
    card = json.loads((live.cwd / "four.license.json").read_text())
    assert card["files"][-1]["url"].startswith("plain/")
    # What was overtaken before it was lodged is lodged no more.
    (live.cwd / "late").mkdir()
    journal = json.loads((live.cwd / "plain" / "journal.json").read_text())
    steps = {name: journal["steps"][name] for name in ("recovery", "fingerprint")}
    (live.cwd / "late" / "journal.json").write_text(json.dumps(journal | {"steps": steps}))
    for path in (live.cwd / "plain").glob("*.recovery.json"):
        secrets = Recovery.load(path, words_of(live))
        late = Recovery(bytes(32), secrets.salt)
        (live.cwd / "late" / path.name).write_text(json.dumps(late.encrypt(words_of(live))))
    overtaken = live(*words[:-1], "--out", "late")
    assert overtaken.code == 2
    assert "lodged meanwhile" in overtaken.err


def test_what_cannot_be_sealed_anew_is_refused_before_anything_is_written(live, first, second):
    refusals = [
        (("--out", first["folder"]), "an earlier sealing"),
        (("--out", "never", "--as", "holder"), "is held by"),
        (("--out", "never", "--cells", 64, "--cell-bytes", 5000), "16384"),
    ]
    for words, why in refusals:
        ran = live("reseal", "model", "--from", first["folder"], *words)
        assert (ran.code, why in ran.err) == (2, True), ran.err
    assert live("reseal", "model", "--from", "nowhere").code == 2
    save_file({"w": np.arange(640, dtype=np.float32)}, live.cwd / "other.safetensors")
    other = live("reseal", "other.safetensors", "--from", first["folder"], "--out", "never")
    assert (other.code, "content root" in other.err) == (1, True)
    config = live.cwd / "model" / "config.json"
    kept = config.read_text()
    config.write_text("{}")
    changed = live("reseal", "model", "--from", first["folder"], "--out", "never")
    config.write_text(kept)
    assert (changed.code, "side files" in changed.err) == (1, True)
    assert not (live.cwd / "never").exists()


def test_a_trace_tells_which_licenses_are_older_than_the_sealing(live, first, second, monkeypatch):
    monkeypatch.chdir(live.cwd)
    for name, value in live.env.items():
        monkeypatch.setenv(name, value)
    number = LicenseId.parse(first["license"])
    with contextlib.closing(Session(settings.load())) as session:
        for one, words in ((first, "lodged before license"), (second, "was issued earlier")):
            kept = Recovery.load(live.cwd / one["recovery"], words_of(live))
            found = lodging(session, kept.claim, offline=False)(kept.record, [number])
            assert (found.result, words in found.detail) == ("pass", True), found.detail
            assert session.rpc.block(found.block).timestamp == found.time
        # The same hash on another chain, or another registry, would say nothing of this model.
        other = replace(kept.claim, chain_id=1)
        found = lodging(session, other, offline=False)(kept.record, [number])
        assert (found.result, "choose its network" in found.detail) == ("not checked", True)


def test_no_key_was_printed(live, first, second):
    printed = "\n".join(live.said)
    for one in (first, second):
        kept = Recovery.load(live.cwd / one["recovery"], words_of(live))
        for secret in (kept.content_key, kept.cells.code_key):
            assert secret.hex() not in printed
