"""What hits of a suspect's ids come to."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.fingerprint.exact import fingerprint
from ledger.fingerprint.ids import TensorIds
from ledger.fingerprint.search import RELATIONS, searchable, tally
from ledger.tensors.model import open_model

SHAPES = {"up": (32, 16), "down": (16, 32), "bias": (32,)}


def weights(seed=1):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


@pytest.fixture
def deep(tmp_path):
    def made(arrays):
        save_file(arrays, tmp_path / "m.safetensors")
        with open_model(tmp_path / "m.safetensors") as model:
            return fingerprint(model, level="deep")

    return made


def held(registered):
    ids = TensorIds.of(registered)
    return {"cid": set(ids.cids), "vid": set(ids.vids), "cast": set(ids.casts)}


def counts(weighed):
    return [weighed.tensors[relation] for relation in RELATIONS]


def test_each_tensor_counts_once_in_its_strongest_relation(deep):
    registered = held(deep(weights()))
    ours = weights()
    mixed = {
        "same": ours["up"],
        "half": ours["down"].astype(np.float16),
        "turned": np.ascontiguousarray(ours["down"].T),
        "half turned": np.ascontiguousarray(ours["up"].T).astype(np.float16),
        "new": weights(2)["up"],
        "positions": np.arange(512, dtype=np.float32),
    }
    made = deep(mixed)
    weighed = tally(made, registered)
    assert counts(weighed) == [1, 1, 1, 1]
    assert weighed.elements == dict.fromkeys(RELATIONS, 512)
    assert (weighed.found, weighed.found_elements) == (4, 2048)
    # The two in half precision rest on ids that no root covers, and the others do not.
    assert weighed.unbound == 2
    assert searchable(made) == (5, 2560)


def test_the_float32_source_of_a_registered_half_model_rests_on_bound_ids(deep):
    registered = held(deep({n: v.astype(np.float16) for n, v in weights().items()}))
    weighed = tally(deep(weights()), registered)
    assert counts(weighed) == [0, 3, 0, 0]
    assert weighed.unbound == 0


def test_an_id_counts_only_as_the_kind_that_it_is(deep):
    made = deep(weights())
    cids = {tensor.cid for tensor in made.tensors}
    assert tally(made, {"vid": cids}).found == 0
    assert tally(made, {}).found == 0
    assert counts(tally(made, {"cid": cids})) == [3, 0, 0, 0]
