"""``deed compare`` and the sketch, as a person uses them."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file


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


@pytest.fixture
def models(deed):
    network(deed.cwd / "ours.safetensors", 1)
    network(deed.cwd / "tuned.safetensors", 1, noise=0.3)
    network(deed.cwd / "other.safetensors", 2)
    return deed


def test_a_derived_model_is_a_yes_with_its_figures(models):
    ran = models("compare", "ours.safetensors", "tuned.safetensors", "--picture", "p.svg")
    assert ran.code == 0
    assert "derived" in ran.out
    assert "not independently initialised" in ran.out
    assert "96/96" in ran.out
    assert (models.cwd / "p.svg").read_text().startswith("<svg")
    made = models("compare", "ours.safetensors", "tuned.safetensors", "--json").json
    assert made["verdict"] == "derived"
    assert made["lineage"]["log10_p_counted"] < -100


def test_an_unrelated_model_is_a_no(models):
    ran = models("compare", "ours.safetensors", "other.safetensors")
    assert ran.code == 1
    assert "nothing found" in ran.out
    assert "That is no proof of it." in ran.out


def test_a_sketch_stands_for_the_model(models):
    made = models("fingerprint", "ours.safetensors", "--sketch", "ours.sketch")
    assert "sketch commitment" in made.out
    assert (models.cwd / "ours.sketch").stat().st_mode & 0o777 == 0o600
    assert models("compare", "ours.sketch", "tuned.safetensors", "--sketch").code == 0
    assert models("compare", "ours.sketch", "other.safetensors", "--sketch").code == 1


@pytest.mark.parametrize(
    "words",
    [
        ("ours.safetensors", "tuned.safetensors", "--picture", "p.png"),
        ("ours.safetensors", "tuned.safetensors", "--sketch"),
        ("ours.safetensors", "none.safetensors"),
        ("ours.safetensors", "tuned.safetensors", "--sketch", "--control", "other.safetensors"),
    ],
)
def test_wrong_use_is_one_error_with_a_hint(models, words):
    ran = models("compare", *words)
    assert ran.code == 2
    assert "hint: " in ran.err


def test_a_sketch_and_a_model_in_each_others_place_are_named(models):
    large = np.zeros((600, 600), np.float32)
    save_file({"w": large}, models.cwd / "large.safetensors")
    ran = models("compare", "--sketch", "large.safetensors", "tuned.safetensors")
    assert (ran.code, "not a lineage sketch" in ran.err) == (2, True)
    assert models("fingerprint", "ours.safetensors", "--sketch", "ours.sketch").code == 0
    ran = models("compare", "ours.sketch", "tuned.safetensors")
    assert ran.code == 2
    assert "is a lineage sketch" in ran.err
    assert "deed compare --sketch" in ran.err
