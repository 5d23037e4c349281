"""Suspects made to accuse or to hide."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.fingerprint.compare import compare
from ledger.fingerprint.sketch import compare_sketch, make_sketch
from ledger.fingerprint.wording import statements
from ledger.ids import ZERO_DIGEST
from ledger.tensors.model import open_model

WIDTH, UNITS = 48, 160


def layers(seed, count=3):
    rng = np.random.default_rng(seed)
    made = {}
    for n in range(count):
        made[f"{n}.up.weight"] = rng.standard_normal((UNITS, WIDTH)).astype(np.float32)
        made[f"{n}.down.weight"] = rng.standard_normal((WIDTH, UNITS)).astype(np.float32)
    return made


def held(tmp_path, ours, theirs):
    save_file(ours, tmp_path / "ours.safetensors")
    save_file(theirs, tmp_path / "theirs.safetensors")
    with (
        open_model(tmp_path / "ours.safetensors") as mine,
        open_model(tmp_path / "theirs.safetensors") as other,
    ):
        return compare(mine, other, threads=1)


def hubs(w):
    return (w * np.random.default_rng(5).lognormal(0, 3, (w.shape[0], 1)) + 4).astype(np.float32)


def repeated(w):
    return np.repeat(w[:4], -(-len(w) // 4), axis=0)[: len(w)].copy()


def constant(w):
    return np.full_like(w, 0.5)


def infinite(w):
    out = w.copy()
    out[::2] = np.inf
    out[1::2] = np.nan
    return out


@pytest.mark.parametrize("craft", [hubs, repeated, constant, infinite, np.sign, np.sort])
def test_a_suspect_made_without_ours_is_not_called_derived(tmp_path, craft):
    theirs = {name: craft(w) for name, w in layers(2, 20).items()}
    made = held(tmp_path, layers(1), theirs)
    assert made.verdict == "nothing found"
    assert made.lineage.log10_p >= -6


def test_a_table_in_both_is_no_lineage(tmp_path):
    place, step = np.arange(UNITS)[:, None], np.arange(WIDTH)[None, :]
    table = np.sin(place / 1e3 ** (step / WIDTH)).astype(np.float32)
    ours, theirs = layers(1) | {"x.weight": table}, layers(2) | {"y.weight": table}
    made = held(tmp_path, ours, theirs)
    assert made.verdict == "nothing found"


def test_a_copy_among_decoys_with_units_moved_along_is_found(tmp_path):
    ours = layers(1)
    rng = np.random.default_rng(6)
    places = np.sort(rng.integers(0, UNITS, 40))
    theirs = layers(7, 30)
    for name, w in ours.items():
        axis = 0 if "up" in name else 1
        more = rng.standard_normal((40, WIDTH) if axis == 0 else (WIDTH, 40))
        theirs["copy." + name] = np.insert(w, places, more, axis=axis).astype(np.float32)
    made = held(tmp_path, ours, theirs)
    assert made.verdict == "derived"
    assert made.lineage.log10_p_counted < -100


def begun_from_an_identity(seed, size=192):
    rng = np.random.default_rng(seed)
    made = {"in.weight": 0.05 * rng.standard_normal((size, 64))}
    for n in range(2):
        made[f"mix.{n}.weight"] = np.eye(size) + 0.05 * rng.standard_normal((size, size))
    made["conv.weight"] = 0.05 * rng.standard_normal((size, size, 3))
    made["conv.weight"][:, :, 1] += np.eye(size)
    made["out.weight"] = 0.05 * rng.standard_normal((40, size))
    return {name: w.astype(np.float32) for name, w in made.items()}


def test_two_trainings_begun_from_an_identity_are_not_called_derived(tmp_path):
    made = held(tmp_path, begun_from_an_identity(1), begun_from_an_identity(2))
    assert made.verdict == "nothing found"
    assert made.lineage.log10_p >= -6
    assert any("identity" in item.reason for item in made.lineage.left_out)


def test_units_tied_to_features_in_theirs_say_nothing_whatever_ours_hides(tmp_path):
    ours, theirs = begun_from_an_identity(1), begun_from_an_identity(2)
    rng = np.random.default_rng(3)
    for name in ("mix.0.weight", "mix.1.weight"):
        spikes = rng.integers(0, 192, 192)
        ours[name][np.arange(192), spikes] += 1.2  # ours no longer peaks in order
    made = held(tmp_path, ours, theirs)
    assert made.verdict == "nothing found"
    assert made.lineage.log10_p >= -6


def test_norms_that_round_to_few_values_are_not_shared(tmp_path):
    def norms(seed):
        rng = np.random.default_rng(seed)
        return {
            f"{n}.norm.weight": (1 + 1e-3 * rng.standard_normal(4096)).astype(np.float32)
            for n in range(24)
        } | layers(seed)

    made = held(tmp_path, norms(1), norms(2))
    assert len(made.exact.found.witnesses) > 4  # equal by their ids, and by chance
    assert made.exact.learnt == ()
    assert made.verdict == "nothing found"


def test_one_small_shared_tensor_repeated_in_ours_counts_once(tmp_path):
    small = np.random.default_rng(5).standard_normal(16).astype(np.float32)
    ours = layers(1) | {f"copy.{n}": small for n in range(300)}
    made = held(tmp_path, ours, layers(2) | {"scale": small})
    assert made.exact.learnt_values == 16
    assert made.verdict == "nothing found"


def test_models_that_share_a_table_alone_are_not_identical(tmp_path):
    def integers(seed):
        return np.random.default_rng(seed).integers(0, 1 << 60, (64, 64))

    window = np.hanning(401)[:-1].astype(np.float32)
    made = held(tmp_path, {"win": window, "q": integers(1)}, {"win": window, "q": integers(2)})
    assert made.verdict == "nothing found"
    assert not any("same set of tensors" in said for said in statements(made))


@pytest.mark.parametrize("word", ["attention", "stft", "head", "position", "embed", "lstm"])
def test_a_copy_does_not_hide_behind_names(tmp_path, word):
    ours = layers(1)
    noise = np.random.default_rng(7)
    theirs = {
        f"{word}.{n}": w + 0.2 * noise.standard_normal(w.shape).astype(np.float32)
        for n, w in enumerate(ours.values())
    }
    made = held(tmp_path, ours, theirs)
    assert made.verdict == "derived"
    assert made.lineage.tried <= 4 * len(ours) ** 2


def test_a_copy_does_not_hide_behind_more_decoys_than_are_looked_at(tmp_path):
    ours, noise = layers(1), np.random.default_rng(7)
    theirs = {f"a.{n}": noise.standard_normal((64, WIDTH)).astype(np.float32) for n in range(1100)}
    theirs |= {f"b.{n}": noise.standard_normal((WIDTH, 64)).astype(np.float32) for n in range(9)}
    theirs |= {f"z.{name}": (w * 1.01 + 0.1).astype(np.float32) for name, w in ours.items()}
    made = held(tmp_path, ours, theirs)
    assert made.lineage.tried > 6 * 1024
    assert made.verdict == "derived"


def begun_from_a_table(seed, table, noise):
    rng = np.random.default_rng(seed)
    learnt = noise * rng.standard_normal(table.shape)
    return {**layers(seed), "shared.weight": (table + learnt).astype(np.float32)}


def sinusoids(n, width):
    angles = np.arange(n)[:, None] / 1e4 ** (np.arange(width // 2) / (width // 2))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def hadamard(n):
    made = np.ones((1, 1))
    while len(made) < n:
        made = np.block([[made, made], [made, -made]])
    return made


def wide(seed, width):
    rng = np.random.default_rng(seed)
    return {
        "wide.up.weight": rng.standard_normal((UNITS, width)).astype(np.float32),
        "wide.down.weight": rng.standard_normal((width, UNITS)).astype(np.float32),
    }


def sketched(tmp_path, ours, theirs):
    """The comparison of theirs with a sketch of ours."""
    save_file(ours, tmp_path / "ours.safetensors")
    save_file(theirs, tmp_path / "theirs.safetensors")
    with open_model(tmp_path / "ours.safetensors") as model:
        sketch = make_sketch(model, ZERO_DIGEST, bytes(range(32)))
    with open_model(tmp_path / "theirs.safetensors") as model:
        return compare_sketch(sketch, model)


@pytest.mark.parametrize(
    ("table", "noise"),
    [
        (sinusoids(3000, 64), 0.5),  # embeddings that positions were added to, or begun from them
        (sinusoids(3000, 64), 1.0),
        (sinusoids(512, 64), 0.02),
        (hadamard(256), 0.0),  # a rotation before quantising
        (hadamard(256), 0.2),
        (hadamard(256), 1.0),
    ],
)
def test_independent_models_that_began_from_one_table_are_not_accused(tmp_path, table, noise):
    ours = begun_from_a_table(1, table, noise)
    made = held(tmp_path, ours, begun_from_a_table(2, table, noise))
    assert made.verdict == "nothing found"
    assert made.lineage.log10_p >= -6
    if noise:  # what was learnt beside the table is still found in a copy
        rng = np.random.default_rng(3)
        tuned = {
            name: (w + 0.1 * noise * rng.standard_normal(w.shape)).astype(np.float32)
            for name, w in ours.items()
        }
        assert held(tmp_path, ours, tuned).verdict == "derived"
        assert held(tmp_path, ours, dict(ours)).verdict == "identical"


@pytest.mark.parametrize(
    ("table", "noise"),
    [
        (sinusoids(3000, 64), 0.5),
        (sinusoids(3000, 64), 1.0),
        (sinusoids(3000, 512), 8.0),  # wider than the features of a sketch
        (hadamard(256), 1.0),
    ],
)
def test_nor_are_they_by_a_sketch(tmp_path, table, noise):
    width = table.shape[1]
    # Layers of that width, so that the table is seen to be of units.
    ours = begun_from_a_table(1, table, noise) | wide(1, width)
    theirs = begun_from_a_table(2, table, noise) | wide(2, width)
    made = sketched(tmp_path, ours, theirs)
    assert made.verdict == "nothing found"
    assert made.lineage.log10_p >= -6
    rng = np.random.default_rng(3)
    tuned = {
        name: (w + 0.1 * noise * rng.standard_normal(w.shape)).astype(np.float32)
        for name, w in ours.items()
    }
    assert sketched(tmp_path, ours, tuned).verdict == "derived"
    # Nor does what was learnt beside the table hide where nothing else is shared.
    if len(table) > width:  # a square one beside others is left out
        alone = {"shared.weight": tuned["shared.weight"], **layers(4), **wide(4, width)}
        assert sketched(tmp_path, ours, alone).verdict == "derived"
