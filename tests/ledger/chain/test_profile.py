"""Chain profiles against their vectors, and what an unknown chain gets."""

import json
from pathlib import Path

import pytest

import ledger.errors
from ledger.chain.profile import ChainProfile, known_profiles, profile_for
from ledger.errors import WrongNetwork

VECTORS = Path(__file__).parents[2] / "vectors" / "chain-profile"
FILES = sorted(VECTORS.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_vector_is_read_or_refused_as_it_says(path):
    vector = json.loads(path.read_text())
    if vector["expect"] == "ok":
        profile = ChainProfile.from_json(vector["document"])
        assert profile.to_json() == vector["document"]
        return
    with pytest.raises(getattr(ledger.errors, vector["expect"])) as caught:
        ChainProfile.from_json(vector["document"])
    assert type(caught.value).__name__ == vector["expect"]


def test_there_are_vectors_for_every_chain_and_for_faults():
    good = {
        json.loads(p.read_text())["document"]["chain_id"]
        for p in FILES
        if p.stem.startswith("good-")
    }
    assert good == {profile.chain_id for profile in known_profiles()}
    assert len(FILES) > len(good) + 10


def test_every_profile_of_this_release_is_well_formed():
    for profile in known_profiles():
        assert ChainProfile.from_json(profile.to_json()) == profile
        assert profile_for(profile.chain_id) is profile


def test_an_unknown_chain_is_refused_and_the_known_ones_are_named():
    with pytest.raises(WrongNetwork, match="999") as caught:
        profile_for(999)
    assert "31337" in caught.value.hint


def test_outside_test_networks_three_operators_must_be_asked_and_heads_must_be_fresh():
    for profile in known_profiles():
        if not profile.test_network:
            assert profile.min_endpoints >= 3
            assert profile.max_head_age is not None


def test_the_local_chain_counts_as_a_test_network_without_evidentiary_value():
    assert profile_for(31337).test_network
    assert not profile_for(1).test_network
