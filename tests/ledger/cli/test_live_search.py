"""``deed search`` on a running stack: what is registered is found in every form it may take."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.cli import search
from ledger.errors import IndexUnavailable
from ledger.fingerprint.search import AskedId
from ledger.ids import Digest

pytestmark = pytest.mark.chain


def arrays(seed):
    rng = np.random.default_rng(seed)
    return {f"layer.{i}.weight": rng.standard_normal((32, 24)).astype(np.float32) for i in range(4)}


@pytest.fixture(scope="module")
def registered(live):
    """Two published models: ours, and one that holds two of our tensors and two of its own."""
    ours, other = arrays(1), arrays(2)
    mixed = other | {name: ours[name] for name in list(ours)[:2]}
    save_file(ours, live.cwd / "ours.safetensors")
    save_file(mixed, live.cwd / "mixed.safetensors")
    assert live("terms", "new", "terms.toml").code == 0
    for name in ("ours", "mixed"):
        done = live("publish", f"{name}.safetensors", "--terms", "terms.toml", "--out", name)
        assert done.code == 0, done.err
    return live


def found(live, weights):
    save_file(weights, live.cwd / "suspect.safetensors")
    ran = live("search", "suspect.safetensors", "--json")
    return ran.code, [
        (
            one["model"]["title"],
            {k: v["tensors"] for k, v in one["found"].items() if v["tensors"]},
            one["only_by_unbound_ids"],
        )
        for one in ran.json["models"]
    ]


def test_a_copy_is_found_with_every_claim_on_its_tensors_in_time_order(registered):
    code, models = found(registered, arrays(1))
    assert code == 0
    assert [one[1:] for one in models] == [({"identity": 4}, 0), ({"identity": 2}, 0)]
    ran = registered("search", "suspect.safetensors")
    assert "2 registered models hold tensors of suspect.safetensors (4 tensors, 3,072 v" in ran.out
    assert "4/4" in ran.out
    assert "50.0%" in ran.out
    assert search.ORDER in ran.out
    assert search.HIT in ran.out
    assert "word of whoever" not in ran.out


@pytest.mark.parametrize(
    ("change", "relation", "unbound"),
    [
        (lambda w: np.ascontiguousarray(w.T), "multiset", 0),
        (lambda w: w.astype(np.float16), "cast", 4),
        (lambda w: np.ascontiguousarray(w[::-1]).astype(np.float16), "cast_multiset", 4),
    ],
    ids=["reordered", "half", "both"],
)
def test_other_forms_are_found_and_told_apart(registered, change, relation, unbound):
    code, models = found(registered, {n: change(w) for n, w in arrays(1).items()})
    assert code == 0
    assert models[0][1:] == ({relation: 4}, unbound)
    said = registered("search", "suspect.safetensors").out
    assert ("they are the word of whoever deposited them" in said) == bool(unbound)


def test_what_nobody_registered_is_a_no_that_claims_nothing(registered):
    code, models = found(registered, arrays(7))
    assert (code, models) == (1, [])
    assert search.NONE in registered("search", "suspect.safetensors").out


def test_an_index_that_answers_something_else_is_not_believed(registered):
    asked = [AskedId(Digest(b"\x01" * 32), ("cid",), "a", "identity", 20)]
    from ledger.chain.network import load_live

    url = load_live(registered.cwd).api_url
    assert search.ask(url, asked) == ([], False)
    with pytest.raises(IndexUnavailable):
        search.ask("http://127.0.0.1:1", asked)
    with pytest.raises(IndexUnavailable):
        search.ask(url + "/v1/models", asked)  # another route: no answer to a search
    with pytest.raises(ValueError, match="nobody asked"):
        search._among([str(Digest(b"\x02" * 32))], {asked[0].id})
    # More than one request's worth.
    many = [
        dataclasses.replace(asked[0], id=Digest(bytes([n % 256, n // 256] * 16)))
        for n in range(1500)
    ]
    assert search.ask(url, many) == ([], False)


def test_without_an_index_there_is_nobody_to_ask_and_an_index_that_is_gone_is_waited_for(
    registered,
):
    save_file(arrays(1), registered.cwd / "suspect.safetensors")
    shown = registered("network", "show", "--json").json
    from ledger.chain.network import load_live

    load_live(registered.cwd).deployment.save(registered.cwd / "manifest.json")
    added = ("--rpc", shown["rpc"][0], "--deployment", "manifest.json")
    assert registered("network", "add", "bare", *added).code == 0
    ran = registered("search", "suspect.safetensors", "--network", "bare", "--json")
    assert (ran.code, ran.error["code"]) == (2, "USAGE_ERROR")
    assert "--api" in ran.error["hint"]
    gone = ("--api", "http://127.0.0.1:1")
    assert registered("network", "add", "gone", *added, *gone).code == 0
    ran = registered("search", "suspect.safetensors", "--network", "gone", "--json")
    assert (ran.code, ran.error["code"]) == (3, "INDEX_UNAVAILABLE")
