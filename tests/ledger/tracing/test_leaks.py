"""Leaked copies of the real MiniLM, altered in every way we know: each names its license."""

import ml_dtypes
import numpy as np
import pytest
from minilm_world import embeddings, fine_tuned, path
from safetensors.numpy import save_file
from variant_world import all_of, holder, license_id, make_marked

from ledger.tensors.model import open_model
from ledger.tracing.accusation import Candidate, accuse
from ledger.tracing.extraction import read_suspect

CANDIDATES = [Candidate(license_id(n), holder(n), 1) for n in range(1, 61)]
LEAKER = CANDIDATES[0]


class Case:
    """MiniLM sealed with cells, and what it takes to trace."""

    def __init__(self, folder, count, colluders):
        self.folder = folder
        self.sealed = make_marked(
            path(), folder / "m.sealed", count=count, colluders=colluders, log2_segment=20
        )
        self.forms = [self.sealed.open(all_of(count, form)) for form in (0, 1)]
        self.copies = {}

    def copy(self, serial):
        if serial not in self.copies:
            self.copies[serial] = self.sealed.copy(serial)
        return self.copies[serial]

    def read(self, tensors):
        suspect = self.folder / "suspect.safetensors"
        save_file({n: np.ascontiguousarray(v) for n, v in tensors.items()}, suspect)
        with open_model(suspect) as source:
            return read_suspect(source, *self.forms)

    def named(self, tensors):
        evidence = self.read(tensors).evidence
        views = [view for view in (evidence, evidence.stretched()) if view is not None]
        found = accuse(self.sealed.parameters, self.sealed.code_key, views, CANDIDATES)
        return [finding.candidate for finding in found.named]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """64 cells: enough for the copy of one license."""
    return Case(tmp_path_factory.mktemp("single"), 64, 2)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """400 cells for up to four colluders."""
    return Case(tmp_path_factory.mktemp("many"), 400, 4)


def matrices(change):
    def alter(tensors):
        return {
            name: change(v) if v.ndim == 2 and v.dtype == np.float32 else v
            for name, v in tensors.items()
        }

    return alter


def rng():
    return np.random.default_rng(12)


def int8(w):
    scale = np.abs(w).max(1, keepdims=True) / 127 + 1e-12
    return (np.round(w / scale) * scale).astype(np.float32)


def int8_codes(w):
    return np.round(w / (np.abs(w).max(1, keepdims=True) / 127 + 1e-12)).astype(np.int8)


def int4(w):
    x = w.reshape(-1, 32)
    low = x.min(1, keepdims=True)
    scale = (x.max(1, keepdims=True) - low) / 15 + 1e-12
    return (np.round((x - low) / scale) * scale + low).reshape(w.shape).astype(np.float32)


def pruned(share):
    return lambda w: np.where(np.abs(w) < np.quantile(np.abs(w), share), 0, w).astype(np.float32)


def noisy(size):
    return lambda w: (w + rng().standard_normal(w.shape) * w.std() * size).astype(np.float32)


def rank128(w):
    if max(w.shape) > 2000:
        return w
    u, s, v = np.linalg.svd(w, full_matrices=False)
    return ((u[:, :128] * s[:128]) @ v[:128]).astype(np.float32)


def permuted(w):
    return w[rng().permutation(len(w))][:, rng().permutation(w.shape[1])]


def rescaled(w):
    rows, columns = rng().lognormal(0, 0.6, (len(w), 1)), rng().lognormal(0, 0.4, (1, w.shape[1]))
    return (w * rows * columns).astype(np.float32)


def renamed(tensors):
    names = rng().permutation(sorted(tensors))
    return {f"blob{number}": tensors[name] for number, name in enumerate(names)}


def transposed(tensors):
    return {f"t.{n}": v.T if v.ndim == 2 else v for n, v in tensors.items()}


def a_third_missing(tensors):
    """Of the matrices, not of the biases."""
    weights = [name for name, v in tensors.items() if v.ndim == 2]
    return {n: v for n, v in tensors.items() if n not in weights[::3]}


ATTACKS = {
    "exact": dict,
    "fp16": matrices(lambda w: w.astype(np.float16)),
    "bf16": matrices(lambda w: w.astype(ml_dtypes.bfloat16)),
    "fp8": matrices(lambda w: w.astype(ml_dtypes.float8_e4m3fn)),
    "int8": matrices(int8),
    "int8 codes without their scales": matrices(int8_codes),
    "int4": matrices(int4),
    "prune 50 %": matrices(pruned(0.5)),
    "prune 70 %": matrices(pruned(0.7)),
    "noise 0.1": matrices(noisy(0.1)),
    "noise 0.3": matrices(noisy(0.3)),
    "rank 128": matrices(rank128),
    "renamed": renamed,
    "transposed": transposed,
    "a third missing": a_third_missing,
    "permuted rows and columns": matrices(permuted),
    "rescaled rows and columns": matrices(rescaled),
    "int4 of a permuted, renamed copy": lambda t: renamed(matrices(lambda w: int4(permuted(w)))(t)),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_altered_copy_names_its_license(single, name):
    assert single.named(ATTACKS[name](single.copy(1))) == [LEAKER]


@pytest.mark.parametrize("name", ["noise 1.0", "merged with another model", "tuned by noise"])
def test_a_copy_that_is_hardly_usable_names_its_license_given_more_cells(many, name):
    alter = {
        "noise 1.0": matrices(noisy(1.0)),
        "merged with another model": matrices(
            lambda w: (w / 2 + rng().standard_normal(w.shape) * w.std() / 2).astype(np.float32)
        ),
        "tuned by noise": matrices(lambda w: noisy(0.5)(int4(w))),
    }[name]
    assert many.named(alter(many.copy(1))) == [LEAKER]


def test_a_merge_with_the_clean_master_names_its_license(single):
    master = single.sealed.master()
    merged = {
        name: (v + master[name]) / 2 if v.dtype == np.float32 else v
        for name, v in single.copy(1).items()
    }
    assert single.named(merged) == [LEAKER]


def test_the_clean_master_and_another_model_name_nobody(single):
    assert single.named(single.sealed.master()) == []
    other = {
        name: rng().permutation(v.ravel()).reshape(v.shape) if v.dtype == np.float32 else v
        for name, v in single.sealed.master().items()
    }
    reading = single.read(other)
    assert all(match.found is None for match in reading.matches)
    assert single.named(other) == []


def test_a_license_that_is_no_candidate_is_never_somebody_else(single):
    assert single.named(single.copy(1000)) == []


@pytest.mark.parametrize("colluders", [2, 3, 5])
@pytest.mark.parametrize("how", ["mean", "int8 of the mean", "each weight from anyone"])
def test_colluders_who_average_are_named(many, how, colluders):
    copies = [many.copy(n) for n in range(1, colluders + 1)]
    mixed = {}
    chance = rng()
    for name, first in copies[0].items():
        stack = np.stack([copy[name] for copy in copies])
        if first.dtype != np.float32:
            mixed[name] = first
        elif how == "each weight from anyone":
            chosen = chance.integers(0, colluders, first.shape)
            mixed[name] = np.take_along_axis(stack, chosen[None], 0)[0]
        else:
            mixed[name] = stack.mean(axis=0, dtype=np.float64).astype(np.float32)
    named = many.named(matrices(int8)(mixed) if how.startswith("int8") else mixed)
    assert named
    assert set(named) <= set(CANDIDATES[:colluders])


@pytest.mark.parametrize("how", ["minority", "majority", "interleaved", "coin"])
def test_two_colluders_who_mix_cells_are_named(many, how):
    one, two = many.copy(1), many.copy(2)
    both = [many.sealed.word(n).bits for n in (1, 2)]
    cells, names = many.forms[0].cells, many.forms[0].keys()
    mixed = {name: v.copy() for name, v in one.items()}
    chance = rng()
    for cell, entry in enumerate(cells.index.entries):
        ones = both[0][cell] + both[1][cell]
        second = {
            "minority": ones == 1 and both[1][cell] == 1,
            "majority": ones == 1 and both[1][cell] == 0,
            "interleaved": bool(cell % 2),
            "coin": bool(chance.integers(0, 2)),
        }[how]
        if second:
            at = slice(entry.offset // 4, (entry.offset + cells.index.cell_bytes) // 4)
            mixed[names[entry.tensor]].ravel()[at] = two[names[entry.tensor]].ravel()[at]
    named = many.named(mixed)
    assert named
    assert set(named) <= set(CANDIDATES[:2])


def test_what_became_of_each_tensor_is_told(single):
    missing = dict(single.copy(1))
    gone = single.read(missing).matches[0].name
    del missing[gone]
    told = {match.name: match for match in single.read(missing).matches}
    assert told[gone].found is None
    assert sum(match.cells for match in told.values()) == 64


@pytest.mark.torch
@pytest.mark.parametrize(("steps", "rate"), [(12, 2e-5), (12, 2e-4), (12, 1e-3)])
def test_a_fine_tuned_copy_names_its_license(single, steps, rate):
    pytest.importorskip("torch", reason="install requirements-torch.txt")
    tuned = fine_tuned(single.copy(1), steps=steps, rate=rate)
    assert single.named(tuned) == [LEAKER]
    assert single.named(matrices(int4)(tuned)) == [LEAKER]


@pytest.mark.torch
@pytest.mark.parametrize("which", ["single", "many"])
def test_a_marked_copy_computes_what_the_model_computes(request, which):
    pytest.importorskip("torch", reason="install requirements-torch.txt")
    case = request.getfixturevalue(which)
    plain = embeddings(case.sealed.master())
    for serial in (1, 2):
        marked = embeddings(case.copy(serial))
        assert (plain * marked).sum(axis=1).mean() >= 0.9995
