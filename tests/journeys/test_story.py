"""``deed demo`` tells the whole story, on any safetensors file, and leaves nothing behind."""

from __future__ import annotations

from .conftest import runner, small_model


def test_the_demo_tells_the_whole_story_on_a_model_never_seen(tmp_path):
    model = small_model(tmp_path / "mine.safetensors", seed=7)

    told = runner(tmp_path)("demo", model, "--keep", tmp_path / "kept", timeout=180)

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
        "block hashes you gave",
        "   verified",
        "does not hold",
        "That was the whole story",
    ]
    at = 0
    for beat in beats:
        found = told.out.find(beat, at)
        assert found >= 0, f"{beat!r} is not told after {told.out[at - 200 : at]!r}"
        at = found
    assert (tmp_path / "kept" / "model.evidence.zip").exists()
