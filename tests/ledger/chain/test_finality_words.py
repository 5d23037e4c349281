"""What a report says about the rule by which its block was final."""

import pytest

from ledger.chain.finality import finality_words
from ledger.chain.profile import profile_for


@pytest.mark.parametrize("chain_id", [1, 11155111, 31337])
def test_an_l1_rests_on_the_nodes_word_alone(chain_id):
    words = finality_words(profile_for(chain_id))
    assert "names final" in words
    assert "dispute" not in words


@pytest.mark.parametrize(
    ("chain_id", "settles_on"), [(10, 1), (8453, 1), (42161, 1), (84532, 11155111)]
)
def test_an_l2_says_what_its_finality_is_worth(chain_id, settles_on):
    words = finality_words(profile_for(chain_id))
    assert f"in a final block of chain {settles_on}," in words
    assert "not that a dispute about its state is over there" in words
    assert words.isprintable()
    assert len(words) < 400
