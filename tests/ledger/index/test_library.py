"""Deposited documents: only what the chain's hashes bind is taken, and better replaces worse."""

from __future__ import annotations

import secrets

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.errors import ClaimMismatch, ManifestError
from ledger.fingerprint.exact import fingerprint
from ledger.fingerprint.ids import TensorIds
from ledger.ids import Digest, ModelId
from ledger.index import library
from ledger.index.database import writing
from ledger.index.views import Index
from ledger.tensors.model import open_model

MODEL = ModelId(b"m" * 32)


@pytest.fixture
def both(tmp_path):
    """The core and the deep fingerprint of a small model with a tied tensor."""
    values = np.random.default_rng(secrets.randbits(64)).standard_normal((16, 4)).astype("f4")
    other = np.random.default_rng(secrets.randbits(64)).standard_normal((16, 4)).astype("f4")
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


def deposit_ids(engine, model_id, ids, model):
    found = library.check_ids(ids.to_json(), model)
    with writing(engine) as connection:
        return library.deposit_ids(connection, model_id, found, now_ms=1)


def found(follower, engine, kind, id_):
    with Index(engine, 31337).snapshot() as snapshot:
        return [
            ModelId(bytes(match.model["model_id"])) for match in library.search(snapshot, kind, id_)
        ]


@pytest.fixture
def victim(ledger, follower, both):
    """A registered model, and a later rival with its content root and invented value ids."""
    _, deep = both
    ids = TensorIds.of(deep)
    invented = (Digest(secrets.token_bytes(32)),)
    false = TensorIds(ids.cids, invented, Digest(secrets.token_bytes(32)), 7)
    root = ids.content_root().raw
    model = ledger.register(artifact_root=root, digest=ids.content_id().raw)
    rival = ledger.register(artifact_root=root, digest=false.content_id().raw)
    while not follower.step():
        pass
    return model, ids, rival, false


@pytest.mark.chain
def test_a_rival_registration_takes_no_value_id_from_a_model_and_gives_it_none(
    follower, engine, victim
):
    model, ids, rival, false = victim
    claims = [
        {"artifact_root": i.content_root().raw, "fingerprint_digest": i.content_id().raw}
        for i in (ids, false)
    ]
    deposit_ids(engine, model, ids, claims[0])
    deposit_ids(engine, rival, false, claims[1])
    assert all(found(follower, engine, "vid", vid) == [model] for vid in ids.vids)
    assert found(follower, engine, "vid", false.vids[0]) == [rival]


@pytest.mark.chain
def test_a_content_id_leads_to_every_registration_of_the_root_whoever_deposited_it(
    follower, engine, victim
):
    model, _, rival, false = victim
    claim = {
        "artifact_root": false.content_root().raw,
        "fingerprint_digest": false.content_id().raw,
    }
    deposit_ids(engine, rival, false, claim)
    assert found(follower, engine, "cid", false.cids[0]) == [model, rival]


@pytest.mark.chain
def test_a_core_fingerprint_deposited_later_takes_no_value_id_away(follower, engine, both, victim):
    core, deep = both
    model, ids, _, _ = victim
    deposit_ids(engine, model, ids, row(deep))
    checked, bound = library.check_leaves(core.to_json(), row(deep))
    with writing(engine) as connection:
        library.deposit_leaves(connection, model, checked, bound=bound, now_ms=2)
    assert all(found(follower, engine, "vid", vid) == [model] for vid in ids.vids)
    assert all(found(follower, engine, "cid", cid)[0] == model for cid in ids.cids)


def test_what_is_no_fingerprint_is_refused(both):
    _, deep = both
    for document in (None, [], "x", {}, {"format": "mfp1"}):
        with pytest.raises(ManifestError):
            library.check_leaves(document, row(deep))
