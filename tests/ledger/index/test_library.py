"""Deposited documents: only what the chain's hashes bind is taken, and better replaces worse."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.errors import ClaimMismatch, ManifestError
from ledger.fingerprint.exact import fingerprint
from ledger.ids import ModelId
from ledger.index import library
from ledger.index.database import writing
from ledger.tensors.model import open_model

MODEL = ModelId(b"m" * 32)


@pytest.fixture
def both(tmp_path):
    """The core and the deep fingerprint of a small model with a tied tensor."""
    values = np.random.default_rng(1).standard_normal((16, 4)).astype("f4")
    other = np.random.default_rng(2).standard_normal((16, 4)).astype("f4")
    save_file({"tied.a": values, "tied.b": values, "other": other}, tmp_path / "m.safetensors")
    with open_model(tmp_path / "m.safetensors") as model:
        return fingerprint(model, level="core"), fingerprint(model, level="deep")


def row(deep):
    return {
        "artifact_root": deep.content_root.raw,
        "fingerprint_digest": deep.content_id().raw,
    }


def deposit(engine, document, model):
    found, bound = library.check_leaves(document, model)
    with writing(engine) as connection:
        return library.deposit_leaves(connection, MODEL, found, bound=bound, now_ms=1)


def test_a_core_fingerprint_is_searchable_but_its_names_are_not_vouched_for(engine, both):
    core, deep = both
    done = deposit(engine, core.to_json(), row(deep))
    assert (done.tensors, done.names_verified, done.new) == (3, False, True)


def test_tied_tensors_are_found_under_all_their_names(engine, both):
    _, deep = both
    deposit(engine, deep.to_json(), row(deep))
    tied = next(t for t in deep.tensors if t.name == "tied.a")
    with engine.connect() as connection:
        names, verified = library._names(connection, MODEL.raw, "cid", tied.cid)
    assert (sorted(names), verified) == (["tied.a", "tied.b"], True)


def test_a_deep_fingerprint_replaces_a_core_one_and_never_the_other_way_round(engine, both):
    core, deep = both
    deposit(engine, core.to_json(), row(deep))
    assert deposit(engine, deep.to_json(), row(deep)).names_verified
    again = deposit(engine, core.to_json(), row(deep))
    assert (again.new, again.names_verified) == (False, True)
    with engine.connect() as connection:
        kept = library.document(connection, "fingerprint", MODEL)
    assert kept == (deep.to_json(), True)


def test_a_fingerprint_of_another_model_is_refused(both):
    core, deep = both
    for model in (
        {**row(deep), "artifact_root": b"x" * 32},
        {**row(deep), "fingerprint_digest": b"x" * 32},
    ):
        with pytest.raises(ClaimMismatch) as caught:
            library.check_leaves(deep.to_json(), model)
        assert caught.value.hint
    with pytest.raises(ClaimMismatch):
        library.check_leaves(core.to_json(), {**row(deep), "artifact_root": b"x" * 32})


def test_what_is_no_fingerprint_is_refused(both):
    _, deep = both
    for document in (None, [], "x", {}, {"format": "mfp1"}):
        with pytest.raises(ManifestError):
            library.check_leaves(document, row(deep))
