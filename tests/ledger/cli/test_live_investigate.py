"""``deed investigate`` on a running stack: from a file that was found to evidence that verifies."""

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ledger.evidence.bundle import read_bundle

pytestmark = pytest.mark.chain

SHAPES = ((96, 64), (96, 96), (96, 96), (20, 96))


def network(path, seed):
    rng = np.random.default_rng(seed)
    made = {f"layers.{i}.weight": rng.standard_normal(s).astype(np.float32)
            for i, s in enumerate(SHAPES)}  # fmt: skip
    save_file(made, path)


@pytest.fixture(scope="module")
def published(live):
    folder = live.cwd
    network(folder / "ours.safetensors", 1)
    network(folder / "other.safetensors", 2)
    assert live("fingerprint", "ours.safetensors", "--sketch", "ours.sketch").code == 0
    lodged = live("watermark", "commit-sketch", "ours.sketch", "--wait", "--json")
    assert lodged.code == 0, lodged.err
    assert live("terms", "new", "terms.toml").code == 0
    done = live(
        "publish", "ours.safetensors", "--terms", "terms.toml", "--out", "p", "--wait", "--json"
    )
    assert done.code == 0, done.err
    weights = load_file(folder / "ours.safetensors")
    half = {f"t{i}": v.astype(np.float16) for i, v in enumerate(weights.values())}
    save_file(half, folder / "found.safetensors")
    return {"model": done.json["model_id"], "owner": lodged.json["owner"], "lodged": lodged.json}


@pytest.fixture(scope="module")
def findings(live, published):
    before = (live.cwd / "found.safetensors").read_bytes()
    ran = live(
        "investigate", "found.safetensors", "--ours", "ours.safetensors",
        "--sketch", "ours.sketch", "--sketch-owner", published["owner"],
        "--out", "findings.json", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.out + ran.err
    assert (live.cwd / "found.safetensors").read_bytes() == before
    return ran.json


@pytest.fixture(scope="module")
def bundle(live, published, findings):
    ran = live(
        "evidence", "collect", published["model"], "--match", "findings.json", "--no-print",
        "--from", "p", "--out", "match.zip", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.out + ran.err
    return "match.zip"


def test_a_copy_in_half_precision_is_found_by_every_method_tried(live, published, findings):
    found = findings["findings"]
    digest = hashlib.sha256((live.cwd / "found.safetensors").read_bytes()).hexdigest()
    assert found["suspect"]["sha256"] == "0x" + digest
    assert found["verdict"] == "match"
    model, sketch = found["comparisons"]
    assert model["verdict"] == "contains"
    assert {of["relation"] for of in model["tensors"]["shared"]} == {"cast"}
    assert model["tensors"]["found"] == model["tensors"]["of"] == len(SHAPES)
    assert sketch["verdict"] == "derived"
    assert sketch["ours"]["commitment"]["hash"] == published["lodged"]["commitment"]
    assert [one["model_id"] for one in found["search"]["models"]] == [published["model"]]
    results = {of["method"]: of["result"] for of in found["tried"]}
    assert results == {
        "search": "found", "tensors": "found", "units": "found",
        "watermark": "not checked", "triggers": "not checked", "trace": "not checked",
    }  # fmt: skip
    said = " ".join(findings["statements"])
    assert "Comparisons made with this suspect: 2." in said
    assert "Not checked, watermark: no record was given." in said
    assert "stolen" not in said


def test_findings_become_evidence_that_verifies_and_is_computed_again(live, bundle):
    ran = live("evidence", "verify", bundle, "--json")
    assert ran.code == 3, ran.out + ran.err
    block = ran.json["assumed"][0]["hash"]
    sixteen = ran.json["steps"][15]
    assert (sixteen["number"], sixteen["result"]) == (16, "pass")
    assert ran.json["statement"]["about"] == "match"
    words = ("evidence", "verify", bundle, "--block", block)
    assert live(*words).code == 0
    ours = ("--ours", "ours.safetensors", "--sketch", "ours.sketch")
    again = live(*words, "--suspect", "found.safetensors", *ours, "--json")
    assert again.code == 0, again.out
    assert [check["result"] for check in again.json["suspect"]] == ["pass"] * 4
    other = live(*words, "--suspect", "other.safetensors", "--json")
    assert other.code == 1
    assert other.json["suspect"][0]["result"] == "fail"


def test_the_custody_log_begins_with_the_receipt_of_the_suspect(live, bundle, findings):
    log = read_bundle(live.cwd / bundle).json("custody.json")
    assert [entry["action"] for entry in log][-1] == "collected"
    assert len(log) == 2
    assert findings["findings"]["suspect"]["sha256"] in json.dumps(log[0])
    assert log[0]["time"] == findings["findings"]["suspect"]["received"]


def test_a_raised_count_is_refused_before_it_is_evidence(live, published, findings):
    changed = json.loads((live.cwd / "findings.json").read_bytes())
    changed["comparisons"][0]["units"]["rows"][0]["in_place"] -= 1
    (live.cwd / "changed.json").write_text(json.dumps(changed))
    ran = live(
        "evidence", "collect", published["model"], "--match", "changed.json", "--no-print",
        "--from", "p", "--out", "no.zip", "--json",
    )  # fmt: skip
    assert ran.code != 0
    assert "bound of a row" in ran.json["error"]["message"]
    assert not (live.cwd / "no.zip").exists()


def test_an_unrelated_file_is_a_no_that_says_what_was_tried(live, published):
    words = ("investigate", "other.safetensors", "--ours", "ours.safetensors",
             "--sketch", "ours.sketch", "--json")  # fmt: skip
    ran = live(*words)
    assert ran.code == 1
    found = ran.json["findings"]
    assert found["verdict"] == "nothing found"
    assert [one["verdict"] for one in found["comparisons"]] == ["nothing found"] * 2
    said = " ".join(ran.json["statements"])
    assert "H0 is not rejected by the order of units. That is no proof of it." in said
    assert "to which no node showed a commitment" in said
    assert any("--sketch-owner" in note for note in ran.json["notes"])


def test_a_folder_is_one_suspect_with_every_file_hashed(live, published, findings):
    folder = live.cwd / "dump"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((live.cwd / "found.safetensors").read_bytes())
    (folder / "config.json").write_text("{}")
    ran = live("investigate", "dump", "--ours", "ours.safetensors", "--offline", "--json")
    assert ran.code == 0, ran.err
    suspect = ran.json["findings"]["suspect"]
    assert suspect["kind"] == "folder"
    assert [of["name"] for of in suspect["files"]] == ["config.json", "model.safetensors"]
    search = ran.json["findings"]["tried"][0]
    assert search == {"method": "search", "result": "not checked", "why": "--offline was given"}


@pytest.mark.parametrize(
    "words",
    [
        ("nothing.safetensors",),
        ("found.safetensors", "--trace", "r.json"),
        ("found.safetensors", "--disclosure", "d.json"),
        ("found.safetensors", "--out", "findings.json"),
        ("found.safetensors", "--keep", "kept"),
        ("findings.json", "--ours", "ours.safetensors", "--offline"),
    ],
)
def test_wrong_input_is_refused_and_nothing_is_written(live, findings, words):
    before = (live.cwd / "findings.json").read_bytes()
    ran = live("investigate", *words, "--json")
    assert ran.code == 2, ran.out
    assert ran.error["hint"]
    assert (live.cwd / "findings.json").read_bytes() == before
