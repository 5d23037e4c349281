"""A licensee who wants a copy to name somebody else.

The framer has one license: one form of each cell, its word, the index, and the right to do anything
to the weights. What it lacks is the other form of each cell, and everybody else's words.
"""

import numpy as np
import pytest
from variant_world import all_of, holder, license_id, make_marked, make_source

from ledger.tensors.model import open_model
from ledger.tracing.accusation import Candidate, accuse
from ledger.tracing.extraction import read_suspect

COUNT = 96
FRAMER, VICTIM = 1, 2
CANDIDATES = [Candidate(license_id(n), holder(n), 1) for n in range(1, 101)]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("framing")
    return make_marked(make_source(folder / "model"), folder / "m.sealed", count=COUNT)


@pytest.fixture(scope="module")
def forms(case):
    return [case.open(all_of(COUNT, form)) for form in (0, 1)]


def named(case, forms, tensors, folder):
    from safetensors.numpy import save_file

    save_file(tensors, folder / "s.safetensors")
    with open_model(folder / "s.safetensors") as source:
        evidence = read_suspect(source, *forms).evidence
    views = [view for view in (evidence, evidence.stretched()) if view is not None]
    found = accuse(case.parameters, case.code_key, views, CANDIDATES)
    return {one.candidate for one in found.named}


def places(forms):
    """What the index tells every licensee: tensor and weights of each cell."""
    names, cells = forms[0].keys(), forms[0].cells
    return [
        (names[entry.tensor], slice(entry.offset // 4, (entry.offset + (1 << 14)) // 4))
        for entry in cells.index.entries
    ]


def own_copy(case):
    return {name: array.copy() for name, array in case.copy(FRAMER).items()}


def guessed_marks(case, forms, chance):
    """The victim's word known, the other forms not: cells that must differ get random signs."""
    copy, mine, theirs = own_copy(case), case.word(FRAMER).bits, case.word(VICTIM).bits
    for cell, (name, at) in enumerate(places(forms)):
        if mine[cell] != theirs[cell]:
            weights = copy[name].ravel()
            weights[at] += 0.05 * weights[at].std() * chance.choice([-1, 1], at.stop - at.start)
    return copy


def erased_differences(case, forms, chance):
    """The cells in which it differs from the victim are overwritten."""
    copy, mine, theirs = own_copy(case), case.word(FRAMER).bits, case.word(VICTIM).bits
    for cell, (name, at) in enumerate(places(forms)):
        if mine[cell] != theirs[cell]:
            weights = copy[name].ravel()
            weights[at] = chance.standard_normal(at.stop - at.start) * weights[at].std()
    return copy


def all_cells_random(case, forms, chance):
    copy = own_copy(case)
    for name, at in places(forms):
        weights = copy[name].ravel()
        weights[at] = chance.standard_normal(at.stop - at.start) * weights[at].std()
    return copy


def all_cells_zero(case, forms, chance):
    copy = own_copy(case)
    for name, at in places(forms):
        copy[name].ravel()[at] = 0
    return copy


def doubled_marks(case, forms, chance):
    """Every cell pushed along a guess of its own mark, ten times as far."""
    copy = own_copy(case)
    for name, at in places(forms):
        weights = copy[name].ravel()
        weights[at] += 0.5 * weights[at].std() * chance.choice([-1, 1], at.stop - at.start)
    return copy


@pytest.mark.parametrize("forge", [guessed_marks, all_cells_random, all_cells_zero, doubled_marks])
def test_a_forger_without_the_other_forms_frames_nobody(case, forms, forge, tmp_path):
    for seed in range(3):
        copy = forge(case, forms, np.random.default_rng(seed))
        assert named(case, forms, copy, tmp_path) <= {CANDIDATES[FRAMER - 1]}


def test_even_with_the_victim_s_word_erasing_the_differences_frames_with_its_own_word_too(
    case, forms, tmp_path
):
    """Words are secret, so this needs a broken broker; then both words fit what is left.

    The report says so: whoever knows words could steer a copy, and the framer's own license stands
    in it as high as the victim's.
    """
    copy = erased_differences(case, forms, np.random.default_rng(1))
    found = named(case, forms, copy, tmp_path)
    assert found in (set(), {CANDIDATES[0], CANDIDATES[1]})


def test_what_a_licensee_knows_does_not_contain_the_other_form(case, forms):
    """The difference of the forms is as large in every direction that the own form can tell."""
    for cell, (name, at) in enumerate(places(forms)[:24]):
        forms_of = [form.get_tensor(name).ravel()[at].astype(float) for form in forms]
        mark = forms_of[1] - forms_of[0]
        own = forms_of[case.word(FRAMER).bits[cell]]
        for guess in (np.sign(own), np.sign(own - own.mean()), np.sign(np.diff(own, append=0))):
            assert abs(np.corrcoef(guess, mark)[0, 1]) < 6 / np.sqrt(len(mark))
