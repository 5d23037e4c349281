"""Endpoints that lie, alone or against others, and what the index must make of them."""

from __future__ import annotations

import time
from importlib import import_module

import pytest
from sqlalchemy import update

from ledger.chain.deployment import Deployment
from ledger.chain.rpc import Rpc
from ledger.errors import ChainUnavailable, LedgerError
from ledger.ids import Digest, keccak256
from ledger.index import tables
from ledger.index.accepting import contradicted
from ledger.index.audit import audit
from ledger.index.database import writing
from ledger.index.endpoints import Endpoints
from ledger.index.follow import Follower
from ledger.index.journal import Journal
from ledger.index.pool import Source

chains = import_module("chain_world")
world = import_module("index_world")
endpoint_world = import_module("endpoint_world")

CODE = Digest(keccak256(bytes.fromhex("6000")))


class Several:
    """One chain, some endpoints of it, and a follower over all of them."""

    def __init__(self, stand, count, roles=(), *, quorum=None, **options):
        self.stand = stand
        self.chain = stand.chain
        self.each = [endpoint_world.Endpoint(stand.chain) for _ in range(count)]
        given = stand.deployment
        identity = Deployment(
            given.chain_id,
            given.genesis_hash,
            given.block,
            given.addresses,
            dict.fromkeys(given.addresses, CODE),
        )
        sources = [
            Source(one.url, role)
            for one, role in zip(self.each, [*roles, *["any"] * count], strict=False)
        ]
        self.clock = [0.0]
        self.node = Endpoints(
            sources,
            identity,
            quorum=quorum,
            survey_seconds=0.0,
            open_rpc=lambda url: Rpc(url, timeout=2.0),
            **options,
        )
        self.follower = Follower(self.node, stand.engine, given, stand.profile)
        self.said = []

    def turns(self, number):
        """Turns as `Follower.run` takes them; whether the last stood on the head."""
        done = False
        for _ in range(number):
            try:
                done = self.follower.step()
            except LedgerError as error:
                done = False
                self.said.append(error.message)
                self.follower._failed(error, 1)
        return done

    def close(self):
        self.node.close()
        for one in self.each:
            one.close()


@pytest.fixture
def several(stand):
    made = []

    def make(*args, **options):
        made.append(Several(stand, *args, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_branch_that_one_endpoint_makes_up_never_becomes_final(stand, several):
    stand.chain.final_depth = 5
    stand.chain.grow(20)
    all_ = several(3)
    assert all_.turns(20)
    honest = stand.chain.view()
    stand.chain.grow(8)
    fork = stand.chain.view()
    stand.chain.restore(honest)
    stand.chain.grow(2)
    all_.each[0].served = fork
    all_.turns(3)
    assert stand.cursor().last_hash == fork.head.hash
    # The others go on: what they call final lies on their branch, and not on the index's.
    stand.chain.grow(11)
    all_.turns(12)
    cursor = stand.cursor()
    assert cursor.last_hash == stand.chain.head.hash
    stand.check()


def test_a_lying_archive_is_blamed_itself_and_does_not_hold_up_a_backfill(stand, several):
    """Its ranges are read by threads beside the one that asks where the chain stands."""
    stand.chain.final_depth = 5
    stand.chain.grow(400, busy=0.05)
    all_ = several(2, ["any", "archive"], quorum=1)
    all_.each[1].change = world.of_blocks(lambda block: block | {"parentHash": "0x" + "22" * 32})
    assert all_.turns(25), all_.said[-1]
    stand.check()


@pytest.mark.parametrize("first", ["lags", "has no receipts", "shows blocks that do not hash"])
def test_an_audit_goes_on_at_another_endpoint_where_one_is_no_use(stand, several, first):
    stand.chain.grow(20)
    behind = stand.chain.view()
    stand.chain.grow(20)
    stand.catch_up()
    all_ = several(2)
    match first:
        case "lags":
            all_.each[0].served = behind
        case "has no receipts":
            all_.each[0].change = lambda question, result: (
                None if question["method"] == "eth_getBlockReceipts" else result
            )
        case _:
            all_.each[0].change = world.of_blocks(lambda block: block | {"gasUsed": "0x7"})
    ends = compared(stand, all_)
    assert [result for result, _ in ends] == ["pass", "pass"], ends


def compared(stand, all_):
    """How checks (11) and (12) end."""
    given = stand.deployment
    report = audit(
        stand.engine,
        given.chain_id,
        genesis=given.genesis_hash,
        addresses=given.addresses,
        node=all_.node,
    )
    return [(check.result, check.detail) for check in report.checks if check.number in {11, 12}]


def branched(stand, final_depth):
    """An index of a chain, and a branch beside it."""
    stand.chain.final_depth = final_depth
    stand.chain.grow(4)
    before = stand.chain.view()
    stand.chain.grow(6)
    fork = stand.chain.view()
    stand.chain.restore(before)
    stand.chain.grow(6)
    stand.catch_up()
    return fork


@pytest.fixture
def forked(stand):
    """That branch, where its final blocks are others."""
    return branched(stand, 2)


def test_a_branch_that_one_endpoint_makes_up_is_no_fault_of_the_index(stand, several, forked):
    all_ = several(3)
    all_.each[0].served = forked
    assert [result for result, _ in compared(stand, all_)] == ["pass", "pass"]


def test_an_index_of_a_branch_that_one_endpoint_makes_up_does_not_hold(stand, several, forked):
    """That endpoint shows each block and receipt as the index has it, and was named first."""
    all_ = several(3)
    for other in all_.each[1:]:
        other.served = forked
    (kept, detail), _ = compared(stand, all_)
    assert (kept, "is another one now" in detail) == ("fail", True)


def test_a_branch_that_is_shorter_than_the_index_is_told(stand, several):
    """Nobody shows the newest block any more, and all call another one final below it."""
    stand.chain.final_depth = 2
    stand.chain.grow(14)
    stand.catch_up()
    stand.chain.reorg(8, 5)
    all_ = several(2)
    (kept, detail), _ = compared(stand, all_)
    assert (kept, "block 7 is another one now" in detail) == ("fail", True), detail
    journal = Journal(stand.deployment.chain_id)
    found = contradicted(stand.engine, journal, all_.node, depth=2)
    assert "contradicts finalized block" in found.message
    assert "accept-reorg 6" in found.hint


@pytest.mark.parametrize("agree", [True, False])
def test_before_anything_is_final_all_are_asked_about_the_last_block(stand, several, agree):
    """The endpoint named first shows each block as the index has it, and the others do not."""
    fork = branched(stand, 100)
    all_ = several(3 if agree else 2)
    for other in all_.each[1:]:
        other.served = fork
    (kept, detail), _ = compared(stand, all_)
    said = "is another one now: follow" if agree else "which is not final"
    assert (kept, said in detail) == ("not checked", True), detail


def test_what_the_index_calls_final_and_the_endpoints_do_not_is_not_called_compared(stand, several):
    stand.chain.final_depth = 5
    stand.chain.grow(20)
    stand.catch_up()
    all_ = several(1)
    assert [result for result, _ in compared(stand, all_)] == ["pass", "pass"]
    with writing(stand.engine) as connection:
        connection.execute(update(tables.cursor).values(finalized=tables.cursor.c.next_block - 1))
    (kept, detail), _ = compared(stand, all_)
    assert (kept, "final, and the index" in detail) == ("not checked", True)


@pytest.mark.parametrize("other", ["shows ours", "is down"])
def test_where_endpoints_show_two_final_blocks_nothing_is_said_of_the_index(
    stand, several, forked, other
):
    all_ = several(2)
    all_.each[1].served = forked
    if other == "is down":
        all_.each[0].socket_fault = "500"
    ends = compared(stand, all_)
    assert [result for result, _ in ends] == [
        "not checked",
        "pass" if other == "shows ours" else "not checked",
    ]
    assert "the endpoints do not agree about block" in ends[0][1]


LIES = {
    "a genesis without its fields": lambda question, result: (
        {"number": "0x0"} if question["params"] and question["params"][0] == "0x0" else result
    ),
    "a head of another type": lambda question, result: (
        ["0x1"] if question["params"] and question["params"][0] == "latest" else result
    ),
    "a number without digits": lambda question, result: (
        "0x" if question["method"] == "eth_chainId" else result
    ),
    "code that is none": lambda question, result: (
        7 if question["method"] == "eth_getCode" else result
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_whatever_one_endpoint_makes_up_the_next_one_is_asked(stand, several, lie):
    stand.chain.grow(20)
    all_ = several(3)
    all_.each[0].change = LIES[lie]
    assert all_.turns(12), all_.said[-1]
    stand.check()


@pytest.mark.parametrize("methods", [{"eth_getBlockByNumber"}, {"eth_getLogs"}, {"eth_getCode"}])
@pytest.mark.parametrize(
    "error",
    [
        {"code": 3, "message": "execution reverted"},
        {"code": 3, "message": "", "data": "0x4e487b71"},
        {"code": -32601, "message": "no such method"},
        {"code": -32600, "message": "plan exceeded"},
    ],
)
def test_an_error_that_no_question_deserves_is_one_endpoints_own(stand, several, error, methods):
    stand.chain.grow(20)
    all_ = several(3)
    one, answer = all_.each[0], all_.each[0]._one

    def refuse(question, view):
        reply = answer(question, view)
        if question["method"] in methods:
            reply = {"jsonrpc": "2.0", "id": question["id"], "error": error}
        return reply

    one._one = refuse
    assert all_.turns(12), all_.said[-1]
    stand.check()


def test_bytes_that_are_no_text_are_one_endpoints_own(stand, several):
    stand.chain.grow(20)
    all_ = several(3)
    reply = all_.each[0]._reply
    all_.each[0]._reply = lambda body, fault: reply(body, fault).replace(b'"0x', b'"\xff\xfe0x')
    assert all_.turns(12), all_.said[-1]
    stand.check()


def test_one_that_claims_a_far_head_is_not_preferred_for_it(stand, several):
    stand.chain.final_depth = 5
    stand.chain.grow(30)
    all_ = several(3)
    assert all_.turns(12)
    all_.each[2].change = lambda question, result: (
        chains.forged(result, number=hex(10**9))
        if question["params"] and question["params"][0] == "latest"
        else result
    )
    stand.chain.grow(3)
    all_.turns(3)
    asked = all_.each[2].asked_methods.count("eth_getLogs")
    for _ in range(5):
        stand.chain.grow(2)
        all_.turns(2)
    assert all_.each[2].asked_methods.count("eth_getLogs") == asked
    stand.check()


def test_a_far_head_shown_once_in_a_backfill_makes_nothing_final(stand):
    stand.chain.final_depth = 5
    stand.chain.grow(3000, busy=0.02, most=1)
    forged = [False]

    def far(question, result):
        if question["params"] and question["params"][0] in ["latest", "safe", "finalized"]:
            forged[0] = True
            return chains.forged(result, number=hex(10**9))
        return result

    stand.endpoint.change = far
    stand.steps(1)
    assert forged[0]
    stand.endpoint.heal()
    stand.catch_up()
    cursor = stand.cursor()
    assert (cursor.finalized, cursor.safe) == (2995, 2995)
    stand.chain.reorg(3)
    stand.catch_up()
    stand.check()


def test_a_tip_in_two_forms_is_a_fault_of_the_endpoint_and_not_a_turn_done(stand, several):
    stand.chain.grow(20)
    all_ = several(2, quorum=1)
    assert all_.turns(12)
    all_.each[0].change = lambda question, result: (
        chains.forged(result, extraData="0x77")
        if question["params"] and question["params"][0] == "latest"
        else result
    )
    assert all_.turns(4), all_.said
    assert any("two forms" in sentence for sentence in all_.said)
    stand.check()


def test_going_back_asks_for_few_blocks_however_many_are_kept(stand):
    stand.chain.final_depth = None
    stand.chain.grow(1200, busy=0.02, most=1)
    stand.catch_up()
    stand.chain.reorg(1000, 1010, busy=0.02, most=1)
    stand.endpoint.asked_methods.clear()
    stand.catch_up()
    walked = [m for m in stand.endpoint.asked_methods if m == "eth_getBlockByNumber"]
    assert len(walked) < 1010 + 200
    stand.check()


@pytest.mark.parametrize("batch", ["batch", "batch_undecoded"])
def test_requests_one_by_one_have_a_bound_together(stand, batch):
    """Each alone comes in time, and a hundred of them would hold the index up for as many."""
    stand.endpoint.socket_fault, stand.endpoint.delay = "single", 0.3
    with Rpc(stand.endpoint.url, timeout=2) as rpc:
        started = time.monotonic()
        with pytest.raises(ChainUnavailable, match="single requests slowly"):
            getattr(rpc, batch)([("eth_blockNumber", [])] * 100)
        assert time.monotonic() - started < 25  # and not the thirty of them all


def test_old_receipts_are_asked_of_an_archive(stand, several):
    stand.chain.final_depth = 5
    stand.chain.grow(400, busy=0.2)
    all_ = several(2, ["any", "archive"], quorum=1)

    def recent_only(question, result):
        if question["method"] != "eth_getBlockReceipts":
            return result
        return result if int(question["params"][0], 16) > stand.chain.head.number - 128 else None

    all_.each[0].change = recent_only
    assert all_.turns(8), all_.said
    assert all_.said == []
    stand.check()
