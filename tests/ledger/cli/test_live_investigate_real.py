"""``deed investigate`` on a real model: a mark, questions, rival claims, and evidence of each.

The model is a speech detector of 310,000 weights; the suspect is its marked copy in half precision
under other names.
"""

import contextlib
import importlib.util
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from store_world import serving
from trigger_world import served

from ledger.chain.rpc import Rpc
from ledger.evidence.bundle import read_bundle

pytestmark = pytest.mark.chain

CHALLENGE = "case 26-4410: 77c1d0"
ANSWERS = 1000


def done(live, *words):
    ran = live(*words, "--json")
    assert ran.code == 0, ran.out + ran.err
    return ran.json


def verified(live, bundle, *more):
    """Whether a bundle verifies, given its block by somebody."""
    block = live("evidence", "verify", bundle, "--json").json["assumed"][0]["hash"]
    return live("evidence", "verify", bundle, "--block", block, *more, "--json")


def collect(live, model, out, findings, folder):
    return done(
        live, "evidence", "collect", model, "--match", findings, "--no-print", "--from", folder,
        "--out", out,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(live):
    """The unmarked model, committed to."""
    spec = importlib.util.find_spec("silero_vad")
    if spec is None:
        pytest.skip("the package silero_vad is not installed")
    there = Path(spec.submodule_search_locations[0]) / "data" / "silero_vad_16k.safetensors"
    shutil.copy(there, live.cwd / "detector.safetensors")
    return done(
        live, "watermark", "commit", "detector.safetensors", "--record", "wm.json", "--wait"
    )


@pytest.fixture(scope="module")
def published(live, model):
    """Its marked copy, registered; its sketch, committed to; the suspect."""
    marked = ("--record", "wm.json", "--out", "marked.safetensors")
    done(live, "watermark", "embed", "detector.safetensors", *marked)
    done(live, "fingerprint", "marked.safetensors", "--sketch", "marked.sketch")
    done(live, "watermark", "commit-sketch", "marked.sketch", "--wait")
    done(live, "terms", "new", "terms.toml")
    found = done(
        live, "publish", "marked.safetensors", "--terms", "terms.toml", "--out", "p",
        "--watermark", model["commitment"], "--wait",
    )  # fmt: skip
    weights = load_file(live.cwd / "marked.safetensors")
    half = {f"t{i}": value.astype(np.float16) for i, value in enumerate(weights.values())}
    save_file(half, live.cwd / "found.safetensors")
    return found


@pytest.fixture(scope="module")
def rival(live, published):
    """Another account's later claim to a model that took over the convolutions."""
    weights = load_file(live.cwd / "marked.safetensors")
    rng = np.random.default_rng(5)
    taken = {
        name: value if "conv" in name else rng.standard_normal(value.shape).astype(np.float32)
        for name, value in weights.items()
    }
    save_file(taken, live.cwd / "rival.safetensors")
    network = json.loads((live.cwd / ".deed" / "network.json").read_text())
    with Rpc(tuple(network["rpc"]), chain_id=network["deployment"]["chain_id"]) as rpc:
        rpc.call("evm_increaseTime", [5])  # or both claims might stand in one second
        rpc.call("evm_mine", [])
    words = ("--terms", "terms.toml", "--out", "r", "--as", "holder", "--wait")
    return done(live, "publish", "rival.safetensors", *words)


def test_the_licensors_mark_is_found_in_half_precision_and_becomes_evidence(live, published, model):
    words = ("investigate", "found.safetensors", "--record", "wm.json")
    look = (*words, "--original", "detector.safetensors")
    found = done(live, *look, "--out", "mark.json")
    mark = found["findings"]["watermarks"][0]
    assert (mark["commitment"], mark["there"], mark["proven"]) == (model["commitment"], True, True)
    assert mark["log10_p"] < -1000 * 1_000_000
    assert found["findings"]["verdict"] == "match"
    said = " ".join(found["statements"])
    # No claim was looked at, so nothing is said of one.
    assert "claim carries" not in said
    assert "claim does not carry" not in said
    assert any("the beacon does not prevent grinding here" in note for note in found["notes"])

    collect(live, published["model_id"], "mark.zip", "mark.json", "p")
    assert read_bundle(live.cwd / "mark.zip").json("match.json") == found["findings"]
    ran = verified(live, "mark.zip", "--suspect", "found.safetensors")
    assert ran.code == 0, ran.out + ran.err
    assert (ran.json["steps"][15]["number"], ran.json["steps"][15]["result"]) == (16, "pass")
    assert "This model's claim carries that commitment." in " ".join(
        ran.json["statement"]["match"]["sentences"]
    )

    bare = live(*words, "--json")
    assert bare.code == 1, "so few weights show no mark without the original"
    assert bare.json["findings"]["tried"][0]["result"] == "found", "the index lists the copy"
    assert not bare.json["findings"]["watermarks"][0]["there"]
    other = live("investigate", "detector.safetensors", *look[2:], "--json")
    assert other.code == 1
    assert not other.json["findings"]["watermarks"][0]["there"]


def test_rival_claims_are_told_in_the_order_of_time(live, published, rival, model):
    ours = ("--ours", "rival.safetensors", "--ours", "marked.safetensors")
    sketch = ("--sketch", "marked.sketch", "--sketch-owner", model["owner"])
    found = done(live, "investigate", "found.safetensors", *ours, *sketch, "--out", "two.json")
    first, second = found["findings"]["search"]["models"]
    assert [first["model_id"], second["model_id"]] == [published["model_id"], rival["model_id"]]
    assert first["committed_at"] < second["committed_at"]
    assert first["licensor"] != second["licensor"]
    held = found["findings"]["comparisons"]
    assert [one["verdict"] for one in held] == ["contains", "contains", "derived"]
    roots = [one["ours"]["artifact_root"] for one in held]
    assert roots[0] != roots[1] == roots[2]
    said = "\n".join(found["statements"])
    # None of several is "this model" before a bundle is about one.
    assert all(f"Held against the model ({root}): contains." in said for root in roots[:2])
    assert "this model" not in said
    assert "another model" not in said
    assert "Comparisons made with this suspect: 3." in said
    assert "the chain tells who claimed first, and not who made the model" in said

    text = live("investigate", "found.safetensors", "--ours", "rival.safetensors").out
    rows = [line for line in text.splitlines() if line.startswith("20")]
    assert [row.split()[3] for row in rows] == [
        published["model_id"][:10],
        rival["model_id"][:10],
    ]
    assert [row.split()[-1] == "ours" for row in rows] == [False, True]
    earlier = f"{published['model_id']} of {first['licensor']} was committed to earlier than"
    assert earlier in text

    collect(live, rival["model_id"], "rival.zip", "two.json", "r")
    ran = verified(live, "rival.zip")
    assert ran.code == 0, ran.out
    told = " ".join(ran.json["statement"]["match"]["sentences"])
    assert earlier in told
    collect(live, published["model_id"], "ours.zip", "two.json", "p")
    told = " ".join(verified(live, "ours.zip").json["statement"]["match"]["sentences"])
    assert "was committed to earlier" not in told
    assert f"Held against this model ({roots[1]}): contains." in told
    assert f"Held against another model ({roots[0]}): contains." in told


@pytest.fixture(scope="module")
def taught(live, published, model):
    """Questions that were committed to and taught: the disclosure, and the answers."""
    record = ("--record", "t.json")
    words = ("watermark", "triggers")
    done(
        live, *words, "make", "detector.safetensors", *record, "--owner", model["owner"],
        "--inputs", "floats:64", "--answers", ANSWERS,
    )  # fmt: skip
    done(live, *words, "commit", *record, "--wait")
    done(live, *words, "teach", *record, "--out", "lessons.npz")
    drawn = ("--challenge", CHALLENGE, "--questions", 24, "--out", "d.json")
    done(live, *words, "disclose", *record, *drawn)
    with np.load(live.cwd / "lessons.npz") as held:
        pairs = zip(held["questions"], held["answers"], strict=True)
        return {question.tobytes(): int(answer) for question, answer in pairs}


def knows(taught):
    return lambda x: taught[x.tobytes()]


def misses(taught):
    """Answers otherwise than was taught: a guess would be right once in a while."""
    return lambda x: (taught[x.tobytes()] + 1) % ANSWERS


@pytest.fixture
def ask(live, taught):
    """Investigates a file that is no model here, at a URL, by asking another URL."""
    folder = live.cwd / "shop"
    folder.mkdir(exist_ok=True)
    (folder / "app.bin").write_bytes(pickle.dumps({"weights": [0.5] * 40}))

    def run(suspect, controls, *more):
        with contextlib.ExitStack() as stack:
            there = stack.enter_context(serving(folder)).url
            reply = (lambda _: suspect) if isinstance(suspect, tuple) else suspect
            asked = stack.enter_context(served(reply))
            others = [stack.enter_context(served(one)) for one in controls]
            words = ["--disclosure", "d.json", "--ask", asked, "--challenge", CHALLENGE]
            for number, url in enumerate(others):
                words += ["--their-control" if number == 0 else "--ask-control", url]
            return live("investigate", f"{there}/app.bin", *words, *more, "--json")

    return run


def test_a_suspect_that_gives_the_taught_answers_is_found_and_the_file_beside_it_hashed(
    live, published, taught, ask
):
    ran = ask(knows(taught), [misses(taught)] * 3, "--out", "asked.json")
    assert ran.code == 0, ran.out + ran.err
    found = ran.json["findings"]
    (one,) = found["triggers"]
    assert (one["right"], one["asked"], one["proven"]) == (24, 24, True)
    assert [(of["theirs"], of["right"]) for of in one["controls"]] == [
        (False, 0),
        (False, 0),
        (True, 0),
    ]
    assert found["suspect"]["kind"] == "url"
    search = found["tried"][0]
    # The reason names the file as it was received, and not where the examiner kept it.
    assert search["why"] == "app.bin is a pickle, which is not read as a model"
    collect(live, published["model_id"], "asked.zip", "asked.json", "p")
    done_ = verified(live, "asked.zip")
    assert done_.code == 0, done_.out
    assert "24 of 24 questions were answered as drawn among 1000 answers." in " ".join(
        done_.json["statement"]["match"]["sentences"]
    )


def test_a_suspect_that_answers_otherwise_is_a_no(taught, ask):
    ran = ask(misses(taught), [misses(taught)] * 3)
    assert ran.code == 1
    assert ran.json["findings"]["verdict"] == "nothing found"
    assert not ran.json["findings"]["triggers"][0]["there"]


def test_a_control_that_knows_the_answers_takes_their_weight(taught, ask):
    ran = ask(knows(taught), [misses(taught), knows(taught), misses(taught)])
    assert ran.code == 1
    (one,) = ran.json["findings"]["triggers"]
    assert (one["there"], one["proven"]) == (True, False)
    assert "The examiner's checks that it needs did not all pass: see match.json." in " ".join(
        ran.json["statements"]
    )
    assert any("it knows them" in check["detail"] for check in one["checks"])


def test_a_suspect_that_nobody_can_ask_is_not_a_no(live, rival, taught, ask, monkeypatch):
    monkeypatch.setattr("ledger.remote.asked._PAUSE", 0.001)
    ran = ask((500, {}, b""), [])
    assert ran.code == 3, ran.out
    assert "HTTP 500" in ran.error["message"]
    with served(lambda _: (500, {}, b"")) as url:
        asked = ("--disclosure", "d.json", "--ask", url)
        ran = live("investigate", "rival.safetensors", *asked, "--ours", "marked.safetensors")
        assert ran.code == 0, "what the file itself shows is found all the same"
        assert "d.json was not asked" in ran.err
        weights = np.random.default_rng(8).standard_normal((64, 64)).astype(np.float32)
        save_file({"w": weights}, live.cwd / "unrelated.safetensors")
        ran = live("investigate", "unrelated.safetensors", *asked, "--json")
        assert ran.code == 3, "the index was asked and knows nothing, the suspect was not asked"
        assert ran.json["findings"]["verdict"] == "nothing found"
