"""``deed demo`` tells the whole story, on any safetensors file, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ledger.cli import story
from ledger.cli.exits import failure_of
from ledger.evidence import archive
from ledger.evidence.bundle import INDEX, pack, read_bundle
from ledger.evidence.verify import Verdict, verify

from .conftest import runner, small_model

VECTORS = Path(__file__).parents[1] / "vectors" / "evidence"


def with_four_bit_floats(path: Path) -> Path:
    """A file with a tensor of type F4, which NumPy lacks: 64 elements, 32 bytes."""
    header = json.dumps(
        {
            "scale": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
            "blocks": {"dtype": "F4", "shape": [8, 8], "data_offsets": [16, 48]},
        }
    ).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(range(48)))
    return path


def test_the_demo_tells_the_whole_story_on_a_model_never_seen(tmp_path):
    model = small_model(tmp_path / "mine.safetensors", seed=7)

    # A relative folder: commands run in it, and must still find what lies there.
    told = runner(tmp_path)("demo", model, "--keep", "kept", timeout=180)

    assert told.code == 0, told.out + told.err
    beats = [
        "the stack is up",
        "create the plan: plan 1",
        "no: this runtime has no grant for license 1.1",
        "(exit code 1",
        "all 3 tensors equal the original, bit for bit",
        "error: license 1.1 was revoked",
        "license 1.1 revoked by",
        "no process is left",
        "Trusted from outside: block 0x",
        "   verified",
        "flipped, in claim.json",
        "does not hold: step 2 (contents)",
        "(exit code 1",
        "That was the whole story",
    ]
    at = 0
    for beat in beats:
        found = told.out.find(beat, at)
        assert found >= 0, f"{beat!r} is not told after {told.out[at - 200 : at]!r}"
        at = found
    assert (tmp_path / "kept" / "model.evidence.zip").exists()
    assert "warning" not in told.out
    stages = told.out.splitlines()
    begun = stages.index(next(line for line in stages if line.startswith("$ deed publish")))
    # What a command says is shown as it was said, from its first line on: indented by three.
    progress = [line for line in stages[begun:] if re.match(r" +\d+\.\d\d s  done", line)]
    assert len(progress) == 9
    assert [line for line in progress if line[9:11] != " s"] == []


@pytest.mark.deep
def test_the_demo_compares_tensors_of_types_that_numpy_lacks(tmp_path):
    model = with_four_bit_floats(tmp_path / "four.safetensors")

    told = runner(tmp_path)("demo", model, timeout=180)

    assert told.code == 0, told.out + told.err
    assert "all 2 tensors equal the original, bit for bit" in told.out


@pytest.mark.parametrize("beside", [0, 1, 4_000, 400_000])
def test_the_flipped_byte_makes_the_evidence_false_wherever_it_lies(tmp_path, beside):
    whole = VECTORS / "model.evidence.zip"
    members = dict(archive.parse(whole.read_bytes()).members)
    del members[INDEX]
    # Cards stand before the claim and tensors behind it: either moves the middle of the file.
    for name in ("cards/1.1.json", f"tensors/{'ab' * 32}.json"):
        forged = tmp_path / "forged.zip"
        forged.write_bytes(pack(read_bundle(whole).subject, members | {name: b" " * beside}))
        before = forged.read_bytes()

        at, size = story.flip_byte(forged, "claim.json")

        after = forged.read_bytes()
        assert [i for i in range(size) if before[i] != after[i]] == [at]
        report = verify(forged)
        assert report.verdict is Verdict.BROKEN
        assert "claim.json" in report.steps[1].detail


def test_a_step_that_does_not_go_as_told_is_our_bug():
    failure = failure_of(story.StoryBroken("deed publish ended with 1"))

    assert failure.exit == 4
    assert "our bug" in failure.hint


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.deep),
        pytest.param(signal.SIGHUP, marks=pytest.mark.deep),
    ],
)
def test_told_to_end_the_demo_leaves_no_folder_with_keys_behind(tmp_path, number):
    model = small_model(tmp_path / "mine.safetensors")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    running = subprocess.Popen(
        [sys.executable, "-m", "ledger.cli.main", "demo", model],
        env=os.environ | {"TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    # The runtime's key comes last of the secrets.
    while not list(scratch.glob("modeldeed-demo-*/gpu-host/*")):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)

    running.send_signal(number)
    out, err = running.communicate(timeout=60)

    assert running.returncode == 130
    assert "Traceback" not in out + err
    assert not list(scratch.glob("modeldeed-demo-*"))
