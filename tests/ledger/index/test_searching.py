"""Many ids at once: what the chain binds counts for every claim, and what it does not for one."""

from __future__ import annotations

import secrets

import numpy as np
import pytest
from safetensors.numpy import save_file
from sqlalchemy import select

from ledger.fingerprint.exact import fingerprint
from ledger.fingerprint.ids import TensorIds
from ledger.fingerprint.search import registered_casts
from ledger.ids import Digest, ModelId
from ledger.index import library, tables
from ledger.index.database import writing
from ledger.index.leaves import examine
from ledger.index.searching import holdings
from ledger.index.views import Index
from ledger.tensors.model import open_model

pytestmark = pytest.mark.chain


@pytest.fixture
def deep(tmp_path):
    rng = np.random.default_rng(secrets.randbits(64))
    arrays = {name: rng.standard_normal((16, 4)).astype("f4") for name in "abc"}
    save_file(arrays, tmp_path / "m.safetensors")
    with open_model(tmp_path / "m.safetensors") as model:
        return fingerprint(model, level="deep")


@pytest.fixture
def two(ledger, follower, deep):
    """The same claim content registered twice, the second time by anybody."""
    ids = TensorIds.of(deep)
    given = {"artifact_root": ids.content_root().raw, "digest": ids.content_id().raw}
    models = [ledger.register(**given) for _ in range(2)]
    while not follower.step():
        pass
    return models, ids


def claim(ids):
    return {
        "artifact_root": ids.content_root().raw,
        "fingerprint_digest": ids.content_id().raw,
    }


def deposit(engine, model, ids):
    found = library.check_ids(ids.to_json(), claim(ids))
    with writing(engine) as connection:
        return library.deposit_ids(connection, model, found, now_ms=1)


def deposit_whole(engine, model, deep):
    found, bound = library.check_leaves(deep.to_json(), claim(TensorIds.of(deep)))
    with writing(engine) as connection:
        return library.deposit_leaves(connection, model, found, bound=bound, now_ms=2)


def asked(engine, limit=50, **ids):
    with Index(engine, 31337).snapshot() as snapshot:
        made = holdings(snapshot, ids, limit=limit)
        return [(ModelId(bytes(one.model["model_id"])), one.ids) for one in made.found], made.more


def stored(engine, model, kind):
    with engine.connect() as connection:
        query = select(tables.leaf.c.id).where(
            tables.leaf.c.model_id == model.raw, tables.leaf.c.kind == kind
        )
        return {Digest(bytes(one)) for one in connection.execute(query).scalars()}


def differed(engine, *, repair=False):
    with writing(engine) as connection:
        return examine(connection, 31337, repair=repair).differed


def test_models_come_in_time_order_with_what_each_holds(engine, two):
    (first, second), ids = two
    deposit(engine, second, ids)
    other = Digest(secrets.token_bytes(32))
    found, more = asked(engine, cid=[*ids.cids[:2], other], vid=[ids.vids[0]], cast=[other])
    held = {"cid": ids.cids[:2], "vid": ids.vids[:1]}
    assert found == [(first, held), (second, held)]
    assert not more
    assert asked(engine, cid=[other]) == ([], False)
    assert asked(engine) == ([], False)


def test_a_model_stands_where_it_was_committed_to_or_else_registered(engine, ledger, follower, two):
    (first, _), ids = two
    deposit(engine, first, ids)
    root, digest = ids.content_root().raw, ids.content_id().raw
    ledger.register(artifact_root=root, digest=digest, committed=False)
    while not follower.step():
        pass
    with Index(engine, 31337).snapshot() as snapshot:
        found = holdings(snapshot, {"cid": ids.cids}, limit=50).found
    assert [one.model["committed"] for one in found] == [True, True, False]
    # The ledger's transactions are each in a block of its own, committing before registering.
    blocks = [one.model["registered_block"] for one in found]
    assert [one.place for one in found] == [(blocks[0] - 1, 0), (blocks[1] - 1, 0), (blocks[2], 0)]


def test_the_earliest_are_answered_and_that_there_are_more_is_said(engine, two):
    (first, _), ids = two
    deposit(engine, first, ids)
    found, more = asked(engine, limit=1, cid=list(ids.cids))
    assert [model for model, _ in found] == [first]
    assert more


def test_an_invented_cast_counts_for_nobody_but_the_model_it_was_deposited_for(engine, two):
    """Registering a rival's public ids again, and adding casts to them, accuses only oneself."""
    (first, second), ids = two
    invented = Digest(secrets.token_bytes(32))
    deposit(engine, first, ids)
    deposit(
        engine, second, TensorIds(ids.cids, ids.vids, ids.named_root, ids.n_params, (invented,))
    )
    assert asked(engine, cast=[invented]) == ([(second, {"cast": (invented,)})], False)
    assert asked(engine, cast=[ids.casts[0]]) == ([(first, {"cast": ids.casts[:1]})], False)
    # A cast is no content id and no value id.
    assert asked(engine, cid=[invented], vid=[invented]) == ([], False)


def test_casts_that_are_there_are_not_replaced_by_later_ones(engine, two, deep):
    (model, _), ids = two
    mine = Digest(secrets.token_bytes(32))
    first = TensorIds(ids.cids, ids.vids, ids.named_root, ids.n_params, (mine,))
    assert deposit(engine, model, first).new
    assert not deposit(engine, model, ids).new
    assert deposit_whole(engine, model, deep).new
    assert stored(engine, model, "cast") == {mine}
    assert differed(engine) == ()


def test_a_whole_fingerprint_brings_the_casts_that_a_list_left_out(engine, two, deep):
    (model, _), ids = two
    deposit(engine, model, TensorIds(ids.cids, ids.vids, ids.named_root, ids.n_params))
    assert stored(engine, model, "cast") == set()
    # The list is public by now: nobody can add casts of invention to it.
    invented = (Digest(secrets.token_bytes(32)),)
    deposit(engine, model, TensorIds(ids.cids, ids.vids, ids.named_root, ids.n_params, invented))
    assert stored(engine, model, "cast") == set()
    deposit_whole(engine, model, deep)
    assert stored(engine, model, "cast") == set(registered_casts(deep)) == set(ids.casts)
    assert differed(engine) == ()


def test_a_rebuild_puts_lost_casts_back(engine, two):
    (model, _), ids = two
    deposit(engine, model, ids)
    with writing(engine) as connection:
        connection.execute(tables.leaf.delete().where(tables.leaf.c.kind == "cast"))
    assert differed(engine, repair=True) == (str(model),)
    assert stored(engine, model, "cast") == set(ids.casts)
    assert differed(engine) == ()
