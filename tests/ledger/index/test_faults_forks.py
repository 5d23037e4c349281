"""Whatever an endpoint says, no row is wrong, and once it is honest the index equals the chain.

Faults of groups 1, 5 and 7: reorganisations, identity, time. The oracle is
``index_world.Stand.check``. Names say the fault.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import pytest

from ledger.chain.rpc import Rpc
from ledger.errors import ChainUnavailable, LedgerError, Reorganised, WrongNetwork
from ledger.index.fetch import read_heads

world: Any = importlib.import_module("index_world")
chains: Any = importlib.import_module("chain_world")


# -- 1: reorganisations --------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 9, 20, 63])
def test_a_reorganisation_of_any_depth_above_finality(stand, depth):
    stand.chain.grow(100)
    stand.catch_up()
    stand.chain.reorg(depth)
    stand.chain.grow()
    stand.catch_up()
    stand.check()


def test_a_reorganisation_of_the_same_height_is_seen_without_a_new_block(stand):
    stand.chain.grow(20)
    stand.catch_up()
    stand.chain.reorg(3)
    stand.catch_up()
    stand.check()


def test_a_reorganisation_to_blocks_with_the_same_transactions(stand):
    stand.chain.grow(20)
    stand.catch_up()
    dropped = stand.chain.view().blocks[-4:]
    stand.chain.drop(4)
    stand.chain.grow(busy=0)
    for block in dropped:
        again = [
            [
                chains.Emitted(
                    bytes.fromhex(log["address"][2:]),
                    tuple(bytes.fromhex(topic[2:]) for topic in log["topics"]),
                    bytes.fromhex(log["data"][2:]),
                )
                for log in receipt["logs"]
            ]
            for receipt in block.receipts
        ]
        made = stand.chain.grow(transactions=again)
        made.state.__dict__.update(block.state.__dict__)
    stand.catch_up()
    stand.check()


def test_a_reorganisation_to_blocks_without_transactions(stand):
    stand.chain.grow(20)
    stand.catch_up()
    stand.chain.reorg(7, busy=0)
    stand.chain.grow(busy=0)
    stand.catch_up()
    stand.check()


def test_a_reorganisation_across_the_deployment(stand):
    stand.chain.grow(30)
    stand.catch_up()
    stand.chain.reorg(30, 31)
    stand.catch_up()
    stand.check()


def test_a_reorganisation_below_the_block_where_following_began(database_url):
    chain = chains.Chain()
    chain.grow(20, busy=0)
    stand = world.Stand(database_url, chain, first=15)
    chain.grow(5)
    stand.catch_up()
    chain.reorg(15, 5, busy=0)
    chain.grow(13)
    stand.catch_up()
    stand.check()
    stand.close()


def test_two_reorganisations_in_a_row(stand):
    stand.chain.grow(30)
    stand.catch_up()
    stand.chain.reorg(4)
    stand.steps(1)
    stand.chain.reorg(9, 10)
    stand.catch_up()
    stand.check()


def test_a_reorganisation_back_to_the_old_branch(stand):
    stand.chain.grow(30)
    stand.catch_up()
    old = stand.chain.reorg(6, 7)
    stand.catch_up()
    stand.chain.restore(old)
    stand.chain.grow(3)
    stand.catch_up()
    stand.check()


def test_a_reorganisation_to_a_shorter_chain_waits_for_it_to_grow(stand):
    stand.chain.grow(30)
    stand.catch_up()
    stand.chain.reorg(6, 2)
    stand.steps(3)
    assert isinstance(stand.errors[-1], ChainUnavailable)
    stand.chain.grow(5)
    stand.catch_up()
    stand.check()


def test_a_reorganisation_at_the_hand_over_from_history_to_the_head(stand):
    stand.chain.grow(200)
    stand.follower._ahead.blocks = 136  # the end of the first range is the last finalized block
    stand.steps(1)
    assert stand.cursor().block == stand.cursor().finalized == 136
    stand.chain.reorg(63)
    stand.catch_up()
    stand.check()


def test_a_reorganisation_between_the_heads_and_the_range(stand):
    stand.chain.grow(30)
    stand.catch_up()
    stand.chain.grow(5)
    done: list[int] = []

    def before(questions: Any) -> None:
        if not done and any(q["method"] == "eth_getLogs" for q in questions):
            done.append(1)
            stand.chain.reorg(8, 4)

    stand.endpoint.before = before
    stand.steps(1)
    stand.chain.grow(8)
    stand.catch_up()
    stand.check()


def test_a_reorganisation_between_the_logs_and_the_receipts(stand):
    stand.chain.grow(30)
    stand.catch_up()
    stand.chain.grow(5)
    done: list[int] = []

    def before(questions: Any) -> None:
        if not done and any(q["method"] == "eth_getBlockReceipts" for q in questions):
            done.append(1)
            stand.chain.reorg(4)

    stand.endpoint.before = before
    stand.steps(1)
    assert done
    stand.catch_up()
    stand.check()


def test_a_reorganisation_during_a_roll_back(stand):
    stand.chain.grow(40)
    stand.catch_up()
    stand.chain.reorg(10)
    asked: list[int] = []

    def before(questions: Any) -> None:
        numbered = [q for q in questions if str(q["params"][:1]).startswith("['0x")]
        if numbered and len(asked) < 12:
            asked.append(1)
            if len(asked) in {3, 8, 11}:
                stand.chain.reorg(15 - len(asked))

    stand.endpoint.before = before
    stand.steps(4)
    stand.catch_up()
    stand.check()


def test_ranges_read_ahead_from_two_branches_are_not_joined(stand, monkeypatch):
    """As of two backends behind one URL, each of which is at one with itself."""
    monkeypatch.setattr("ledger.index.follow.BACKFILL_BLOCKS", 10)
    stand.chain.final_depth = 0

    def grow(blocks: int) -> None:
        for _ in range(blocks):
            stand.chain.grow(transactions=[stand.chain.story.anchor(None, 0)])

    grow(120)
    old = stand.chain.view()
    stand.chain.drop(90)
    grow(91)
    stand.follower._ahead.blocks = 10
    part = {chains.hex_(block.hash) for block in old.blocks[31:41]}

    def route(question: Any, view: Any) -> Any:
        """Blocks 31 to 40 are of the other branch."""
        what = str(question["params"][:1])
        if question["method"] == "eth_getLogs":
            what = f"['{question['params'][0]['fromBlock']}']"
        numbered = what.startswith("['0x") and len(what) < 20
        return old if what[2:-2] in part or (numbered and 30 < int(what[2:-2], 16) <= 40) else view

    stand.endpoint.route = route
    for _ in range(5):
        # Whatever was read ahead is there before the step that could join it.
        stand.steps(1)
        for *_, future in list(stand.follower._ahead._queue):
            future.exception()
    hashes = {row[2] for row in world.journal(stand.engine)}
    branches = [{block.hash for block in view.blocks} for view in (old, stand.chain.view())]
    assert any(hashes <= branch for branch in branches)
    stand.endpoint.heal()


def test_a_reorganisation_below_finality_stops_the_index_and_changes_nothing(stand):
    stand.chain.grow(100)
    stand.catch_up()
    before = world.state(stand.engine)
    old = stand.chain.reorg(70, 72)
    stand.steps(3)
    assert isinstance(stand.errors[-1], Reorganised)
    assert world.state(stand.engine) == before
    stand.chain.restore(old)
    stand.chain.grow(4)
    stand.catch_up()
    stand.check()


# -- 5: identity ---------------------------------------------------------------------------------


def test_another_chain_id_is_refused_and_changes_nothing(stand):
    stand.chain.grow(20)
    stand.catch_up()
    stand.chain.grow(5)
    stand.endpoint.change = chains.other_chain_id(5)
    stand.follower._identified = False
    stand.steps(2)
    assert isinstance(stand.errors[-1], WrongNetwork)
    assert "chain 5" in stand.errors[-1].message
    stand.check_so_far()
    stand.endpoint.heal()
    stand.catch_up()
    stand.check()


def elsewhere(stand: Any, blocks: int) -> Any:
    """Another chain of the same id with a first block of its own."""
    other = chains.Chain(seed=77, chain_id=stand.chain.chain_id)
    other.grow(blocks)
    return other.view()


def test_the_same_id_with_another_first_block_is_refused_and_changes_nothing(stand):
    stand.chain.grow(20)
    stand.catch_up()
    stand.endpoint.served = elsewhere(stand, 30)
    stand.follower._identified = False
    stand.steps(2)
    assert "another first block" in stand.errors[-1].message
    stand.endpoint.heal()
    stand.catch_up()
    stand.check()


@pytest.mark.parametrize("test_network", [False, True], ids=["public", "test network"])
@pytest.mark.parametrize("blocks", [5, 20, 40], ids=["shorter", "as long", "longer"])
def test_an_endpoint_that_becomes_another_chains_in_mid_run(stand, blocks, test_network):
    follower = stand.new_follower(profile=chains.Profile(test_network=test_network))
    stand.chain.grow(20)
    stand.catch_up(follower)
    before = world.state(stand.engine)
    stand.endpoint.served = elsewhere(stand, blocks)
    stand.steps(5, follower)
    assert isinstance(stand.errors[-1], WrongNetwork)
    assert world.state(stand.engine) == before
    stand.endpoint.heal()
    stand.catch_up(follower)
    stand.check()


def test_a_head_that_falls_by_ten_thousand_is_no_reorganisation(stand):
    stand.chain.grow(10_100, busy=0.005)
    early = chains.View(stand.chain.view().blocks[:101], 36)
    stand.follower._ahead.blocks = 1000
    stand.catch_up()
    before = world.state(stand.engine)
    stand.endpoint.served = early
    stand.steps(4)
    assert "below block" in stand.errors[-1].message
    assert "syncing" in stand.errors[-1].hint
    assert world.state(stand.engine) == before
    stand.endpoint.heal()
    stand.chain.grow()
    stand.catch_up()
    stand.check(clean=False)


def test_a_chain_that_names_no_finalized_block_is_followed_from_its_first(stand):
    stand.chain.final_depth = None
    stand.chain.grow(30)
    stand.catch_up()
    assert stand.cursor().finalized == 0
    stand.chain.reorg(20)
    stand.chain.grow()
    stand.catch_up()
    stand.check()


def test_a_finalized_block_that_moves_back_leaves_ours_where_it_is(stand):
    stand.chain.grow(100)
    stand.catch_up()
    final = stand.cursor().finalized
    stand.chain.final_depth = 95
    stand.chain.grow(3)
    stand.catch_up()
    assert stand.cursor().finalized == final
    stand.check()


def test_a_finalized_block_that_goes_away_leaves_ours_where_it_is(stand):
    stand.chain.grow(100)
    stand.catch_up()
    final = stand.cursor().finalized
    stand.chain.final_depth = None
    stand.chain.grow(3)
    stand.catch_up()
    assert stand.cursor().finalized == final
    stand.check()


def test_a_finalized_block_above_the_head_counts_as_the_head(stand):
    stand.chain.grow(50)
    behind = stand.chain.view()
    stand.chain.grow(30)
    stand.chain.final_depth = 5
    stand.endpoint.route = lambda question, view: (
        behind if question["params"] and question["params"][0] == "latest" else view
    )
    with contextlib.closing(Rpc(stand.endpoint.url)) as rpc:
        heads = read_heads(rpc, depth=0)
    assert heads.finalized == heads.latest.number
    # The hash that came with it is another block's.
    assert heads.final_hash is None
    stand.steps(3)
    assert stand.cursor().finalized <= stand.cursor().block
    stand.endpoint.heal()
    stand.catch_up()
    stand.check()


# -- 7: time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [-86_400, 86_400], ids=["a day slow", "a day fast"])
def test_a_clock_that_is_off_by_a_day(stand, off):
    follower = stand.new_follower(now=lambda: 1_700_000_000 + off)
    stand.chain.grow(20)
    stand.catch_up(follower)
    stand.chain.reorg(3)
    stand.chain.grow()
    stand.catch_up(follower)
    stand.check()


def test_a_clock_that_is_set_back_and_forth_while_following(stand):
    clock = iter([0, 10**6, -(10**6), 5, 0, 10**9] * 1000)
    follower = stand.new_follower(now=lambda: 1_700_000_000 + next(clock))
    for _ in range(6):
        stand.chain.grow(3)
        stand.catch_up(follower)
    stand.check()


def test_blocks_whose_time_is_ahead_of_the_clock(stand):
    stand.chain.grow(3)
    stand.chain.grow(20, step=10**7)
    stand.catch_up()
    stand.check()


def test_blocks_of_one_and_the_same_second(stand):
    stand.chain.grow(30, step=0)
    stand.catch_up()
    stand.chain.reorg(5, step=0)
    stand.chain.grow(step=0)
    stand.catch_up()
    stand.check()


def test_followers_whose_clocks_differ_by_days_leave_the_rows_of_one(stand):
    followers = [
        stand.new_follower(now=lambda off=off: 1_700_000_000 + off) for off in (-86400, 0, 86400)
    ]
    for turn in range(12):
        stand.chain.grow(2)
        try:
            followers[turn % 3].step()
        except LedgerError:
            followers[turn % 3]._stand_by(LedgerError("fenced"))
    stand.catch_up()
    stand.check()
