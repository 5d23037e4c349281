"""What ``deed investigate`` was given and could not try stands in its findings, and is said."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from trigger_world import CHALLENGE, make_set
from watermark_world import record_of

from ledger.canonical import canonical_json
from ledger.evidence.match import read_match
from ledger.watermark.disclosure import disclose


@pytest.fixture
def disclosed(deed):
    """A model of ours, a disclosure of questions it was taught, a record that marked nothing."""
    values = np.random.default_rng(1).standard_normal((256, 128)).astype(np.float32)
    save_file({"w": values}, deed.cwd / "ours.safetensors")
    unmarked = record_of(deed.cwd / "ours.safetensors")
    (deed.cwd / "r.json").write_bytes(unmarked.contents())
    opened, _ = disclose(make_set(200), CHALLENGE, 20)
    (deed.cwd / "d.json").write_bytes(canonical_json(opened.to_json()))
    return opened, unmarked


def test_what_could_not_be_tried_is_in_the_findings_and_is_no_nothing_found(
    deed, disclosed, monkeypatch
):
    monkeypatch.setattr("ledger.remote.asked._PAUSE", 0.001)
    opened, unmarked = disclosed
    codes = np.random.default_rng(2).integers(0, 255, (64, 64)).astype(np.uint8)
    save_file({"codes": codes}, deed.cwd / "found.safetensors")
    ran = deed(
        "investigate", "found.safetensors", "--ours", "ours.safetensors", "--offline",
        "--record", "r.json", "--disclosure", "d.json", "--ask", "http://127.0.0.1:9",
        "--out", "f.json", "--json",
    )  # fmt: skip
    assert ran.code == 3, ran.err  # the suspect gave no answer: no "no"
    made = json.loads((deed.cwd / "f.json").read_text())
    assert read_match(made)["verdict"] == "nothing found"
    results = {of["method"]: of["result"] for of in made["tried"]}
    assert (results["tensors"], results["triggers"]) == ("nothing found", "not checked")
    left = made["untried"]
    assert [of["method"] for of in left] == ["tensors", "watermark", "triggers"]
    assert left[0]["what"] == f"model {made['comparisons'][0]['ours']['artifact_root']}"
    assert left[1]["what"] == f"record {unmarked.commitment.hash()}"
    assert left[2]["what"] == f"disclosure {opened.digest()}"
    said = [sentence for sentence in ran.json["statements"] if sentence.startswith("Not tried, ")]
    assert said == [
        f"Not tried, {of['method']}, {of['what']}: {of['why']}. No result of this method covers it."
        for of in left
    ]
    assert "equal tensors were not looked for" in said[0]


def test_a_suspect_of_which_everything_was_tried_has_no_such_list(deed, disclosed):
    save_file({"v": np.arange(64, dtype=np.float32)}, deed.cwd / "found.safetensors")
    ran = deed(
        "investigate", "found.safetensors", "--ours", "ours.safetensors", "--offline", "--json"
    )
    assert "untried" not in ran.json["findings"], ran.err
