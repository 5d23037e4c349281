from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ledger.errors import LedgerError
from ledger.ids import Digest
from ledger.merkle import T1
from ledger.watermark.disclosure import Disclosure
from ledger.watermark.draws import Draws, shuffled
from ledger.watermark.generators import read_generator
from ledger.watermark.triggers import Commitment, Keys, TriggerSet

ROOT = Path(__file__).parents[2] / "vectors" / "triggers"


def read(name):
    return json.loads((ROOT / f"{name}.json").read_text())


def named(prefix):
    return sorted(path.stem for path in ROOT.glob(f"{prefix}-*.json"))


def test_draws_and_shuffles_are_those_of_the_vectors():
    vector = read("draws")
    seed = bytes.fromhex(vector["seed"][2:])
    for bound, numbers in vector["below"].items():
        assert [str(x) for x in Draws(seed).many(6, int(bound))] == numbers
    assert list(shuffled(seed, 20)) == vector["shuffled_20"]


@pytest.mark.parametrize("name", named("generator"))
def test_generators_make_the_bytes_of_the_vectors(name):
    vector = read(name)
    made = read_generator(vector["generator"]).make(bytes.fromhex(vector["seed"][2:]))
    assert (made.dtype.name, list(made.shape)) == (vector["dtype"], vector["shape"])
    assert made.astype(made.dtype.newbyteorder("<")).tobytes().hex() == vector["bytes"][2:]


def test_a_secret_gives_the_root_and_the_lessons_of_the_vector():
    vector = read("triggers")
    secret = bytes.fromhex(vector["secret"][2:])
    commitment = Commitment.from_json(vector["commitment"])
    assert str(commitment.hash()) == vector["hash"]
    keys = Keys(secret, vector["questions"])
    assert T1.root(keys.leaves()) == commitment.root.raw
    made = TriggerSet(secret, vector["questions"], commitment, Digest.parse(vector["beacon"]))
    assert len(made.lessons()) == len(vector["lessons"]) == 20
    for trigger, lesson in zip(made.lessons(), vector["lessons"], strict=True):
        assert trigger.position == lesson["position"]
        assert trigger.answer == lesson["answer"]
        assert np.array_equal(trigger.question, lesson["question"])


@pytest.mark.parametrize("name", named("disclosure"))
def test_a_disclosure_is_read_or_refused_as_its_vector_says(name):
    vector = read(name)

    def outcome():
        try:
            shown = Disclosure.from_json(vector["file"])
            shown.check_positions()
            shown.check_paths()
        except LedgerError as error:
            return error.code
        assert shown.to_json() == vector["file"]
        return "ok"

    assert outcome() == vector["expect"]


def test_there_are_vectors_of_every_kind():
    assert len(named("disclosure")) == 18
    assert len(named("generator")) == 3
