"""``deed watermark`` on a running stack: commit, mark, look."""

import json

import pytest
from safetensors.numpy import load_file, save_file
from watermark_world import make_small

pytestmark = pytest.mark.chain


def test_a_model_is_committed_to_marked_and_found(live):
    folder = live.cwd
    make_small(folder, layers=4)
    record = ("--record", "wm.json")
    early = live("watermark", "embed", "small.safetensors", *record, "--out", "m.safetensors")
    assert early.code == 2
    done = live("watermark", "commit", "small.safetensors", *record, "--wait", "--json")
    assert done.code == 0, done.err
    assert done.json["number"] == 1
    assert done.json["final"]
    assert (folder / "wm.json").stat().st_mode & 0o077 == 0
    again = live("watermark", "commit", "small.safetensors", *record, "--json")
    assert again.json["commitment"] == done.json["commitment"]
    assert again.json["number"] == 1
    assert again.json["final"]  # without --wait, and final all the same
    marked = live(
        "watermark", "embed", "small.safetensors", *record, "--out", "m.safetensors", "--json"
    )
    assert marked.code == 0, marked.err
    assert marked.json["realised"] > 0.99
    assert "the beacon does not prevent grinding here" in marked.err
    twice = live("watermark", "embed", "small.safetensors", *record, "--out", "m.safetensors")
    assert twice.code == 2

    look = ("--original", "small.safetensors")
    found = live("watermark", "detect", "m.safetensors", *record, *look)
    assert found.code == 0, found.out + found.err
    assert found.out.startswith("the watermark is there")
    data = live("watermark", "detect", "m.safetensors", *record, *look, "--json").json
    assert data["proven"]
    assert [check["number"] for check in data["checks"]] == list(range(1, 10))
    clean = live("watermark", "detect", "small.safetensors", *record, *look)
    assert clean.code == 1
    assert clean.out.startswith("the watermark is not found")
    assert "without the original this mark cannot be shown" in marked.err  # so small a model
    bare = live("watermark", "detect", "m.safetensors", *record)
    assert bare.code == 1
    assert "with --original a far weaker trace" in bare.err
    offline = live("watermark", "detect", "m.safetensors", *record, *look, "--offline")
    assert offline.code == 1
    assert "proves nothing to others" in offline.out


def test_an_opened_record_detects_and_marks_nothing(live):
    opened = live("watermark", "open", "wm.json", "--out", "opened.json")
    assert opened.code == 0, opened.err
    document = json.loads((live.cwd / "opened.json").read_text())
    look = ("--original", "small.safetensors", "--record", "opened.json")
    assert live("watermark", "detect", "m.safetensors", *look).code == 0
    out = ("--record", "opened.json", "--out", "x.safetensors")
    assert live("watermark", "embed", "small.safetensors", *out).code == 2
    assert not any(document["key"][2:] in said for said in live.said)


def test_another_model_than_the_committed_one_is_refused(live):
    arrays = load_file(live.cwd / "small.safetensors")
    arrays["layer.0.bias"] = arrays["layer.0.bias"] + 1
    save_file(arrays, live.cwd / "other.safetensors")
    out = ("--record", "wm.json", "--out", "y.safetensors")
    ran = live("watermark", "embed", "other.safetensors", *out, "--json")
    assert ran.error["code"] == "CLAIM_MISMATCH"
    assert not (live.cwd / "y.safetensors").exists()
    ran = live("watermark", "commit", "other.safetensors", "--record", "wm.json", "--json")
    assert ran.error["code"] == "CLAIM_MISMATCH"


def test_the_marked_copy_is_published_under_its_commitment(live):
    assert live("terms", "new", "terms.toml").code == 0
    publish = ("publish", "m.safetensors", "--terms", "terms.toml", "--out", "p", "--watermark")
    nobody = live(*publish, "0x" + "ab" * 32, "--json")
    assert nobody.error["code"] == "USAGE_ERROR"
    found = live("watermark", "commit", "small.safetensors", "--record", "wm.json", "--json").json
    done = live(*publish, found["commitment"], "--wait")
    assert done.code == 0, done.err
    look = ("--original", "small.safetensors", "--record", "wm.json", "--json")
    data = live("watermark", "detect", "m.safetensors", *look, "--claim", "p/claim.json").json
    assert data["proven"]
    assert data["checks"][8]["result"] == "pass"
    claim = json.loads((live.cwd / "p" / "claim.json").read_text())
    claim["watermark_commitment"] = "0x" + "00" * 32
    (live.cwd / "other-claim.json").write_text(json.dumps(claim))
    ran = live("watermark", "detect", "m.safetensors", *look, "--claim", "other-claim.json")
    assert ran.code == 1
    assert ran.json["checks"][8]["result"] == "fail"
