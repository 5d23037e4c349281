"""A lineage sketch is committed to on a running chain, and found there by whoever has it."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from watermark_world import make_small

pytestmark = pytest.mark.chain

STRANGER = "0x" + "ab" * 20


def network(path, seed, noise=0.0):
    rng, other = np.random.default_rng(seed), np.random.default_rng(99)
    save_file(
        {
            f"layers.{i}.weight": (
                rng.standard_normal(shape) + noise * other.standard_normal(shape)
            ).astype(np.float32)
            for i, shape in enumerate(((96, 40), (96, 96), (20, 96)))
        },
        path,
    )


@pytest.fixture(scope="module")
def drawn(live):
    network(live.cwd / "ours.safetensors", 1)
    network(live.cwd / "tuned.safetensors", 1, noise=0.3)
    made = live("fingerprint", "ours.safetensors", "--sketch", "ours.sketch", "--json")
    assert made.code == 0, made.err
    return made.json["sketch_root"]


@pytest.fixture(scope="module")
def lodged(live, drawn):
    done = live("watermark", "commit-sketch", "ours.sketch", "--wait", "--json")
    assert done.code == 0, done.err
    assert done.json["final"]
    assert done.json["sketch_root"] == drawn
    return done.json


def held(live, owner, sketch="ours.sketch"):
    words = ("compare", sketch, "tuned.safetensors", "--sketch", "--sketch-owner", owner)
    return live(*words), live(*words, "--json").json


def test_before_it_is_committed_to_a_comparison_says_so(live, drawn):
    owner = live("wallet", "list", "--json").json
    address = owner["wallets"][0]["address"] if "wallets" in owner else STRANGER
    ran, data = held(live, address)
    assert ran.code == 0  # the verdict is that of the weights
    assert data["sketch_commitment"]["hash"] is None
    assert "made no commitment to this sketch that is final" in ran.out
    assert "which was not looked at here" not in ran.out


def test_a_committed_sketch_is_found_by_its_owner_and_nobody_else(live, lodged):
    ran, data = held(live, lodged["owner"])
    assert data["sketch_commitment"] == {
        "hash": lodged["commitment"],
        "owner": lodged["owner"],
        "number": lodged["number"],
        "block": lodged["block"],
        "time": data["sketch_commitment"]["time"],
    }
    assert data["sketch_commitment"]["time"] > 1_600_000_000
    assert f"committed to by {lodged['owner']} in block {lodged['block']}" in ran.out
    other, told = held(live, STRANGER)
    assert told["sketch_commitment"]["hash"] is None
    assert "made no commitment" in other.out


def test_another_sketch_of_the_same_model_is_not_the_committed_one(live, lodged):
    assert live("fingerprint", "ours.safetensors", "--sketch", "again.sketch").code == 0
    _, told = held(live, lodged["owner"], "again.sketch")
    assert told["sketch_commitment"]["hash"] is None


def test_committing_again_finds_the_commitment_that_stands(live, lodged):
    again = live("watermark", "commit-sketch", "ours.sketch", "--json").json
    names = ("commitment", "number", "block")
    assert [again[name] for name in names] == [lodged[name] for name in names]


def test_a_watermarks_commitment_carries_the_sketch_and_shows_it(live, lodged):
    make_small(live.cwd, layers=4)
    made = live("fingerprint", "small.safetensors", "--sketch", "small.sketch", "--json").json
    words = ("watermark", "commit", "small.safetensors", "--record", "wm.json")
    done = live(*words, "--sketch", "small.sketch", "--wait", "--json")
    assert done.code == 0, done.err
    found = live(
        "investigate", "small.safetensors", "--sketch", "small.sketch", "--record", "wm.json",
        "--json",
    ).json["findings"]  # fmt: skip
    ours = found["comparisons"][0]["ours"]
    assert ours["sketch_root"] == made["sketch_root"]
    assert ours["commitment"]["hash"] == done.json["commitment"]
    assert ours["commitment"]["block"] == done.json["block"]
    assert found["comparisons"][0]["verdict"] == "derived"
    refused = live(*words, "--sketch", "ours.sketch", "--json")
    assert refused.error["code"] == "USAGE_ERROR"


def test_a_sketch_of_another_model_is_not_bound_to_a_key(live, lodged):
    ran = live(
        "watermark", "commit", "small.safetensors", "--record", "new.json",
        "--sketch", "ours.sketch", "--json",
    )  # fmt: skip
    assert ran.error["code"] == "CLAIM_MISMATCH"
    assert not (live.cwd / "new.json").exists()


def test_a_model_in_place_of_a_sketch_is_refused(live, lodged):
    ran = live("watermark", "commit-sketch", "ours.safetensors", "--json")
    assert ran.code == 2
    assert ran.error["code"] == "MANIFEST_ERROR"


def test_an_owner_is_asked_about_only_for_a_sketch(live, lodged):
    ran = live(
        "compare", "ours.safetensors", "tuned.safetensors", "--sketch-owner", lodged["owner"],
        "--json",
    )  # fmt: skip
    assert ran.error["code"] == "USAGE_ERROR"
