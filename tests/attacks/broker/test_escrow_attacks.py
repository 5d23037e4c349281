"""Attacks on escrow: endpoints that lie about a silence, requesters and agents that cheat."""

import json
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from ledger.broker.escrow import DATE, SILENCE, Condition
from ledger.broker.escrow_agent import LOG_FILE, AgentHome, answer, patient_view
from ledger.broker.escrow_holder import EscrowKey, join_answers, make_escrow, make_request
from ledger.chain.rpc import Rpc
from ledger.errors import (
    EndpointsDisagree,
    NoIdentityMatch,
    SharesRejected,
    SignatureInvalid,
    UseNotPermitted,
)
from ledger.ids import Digest
from ledger.licensing import card as card_module

pytestmark = pytest.mark.chain
DAY = 86400


@pytest.fixture(scope="module")
def agents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agents")
    return [AgentHome.create(folder / str(n), f"agent {n}", "words", cost=14) for n in range(2)]


def escrowed(world, agents, *rule):
    return make_escrow(
        world.published.record, world.published.key, [one.agent for one in agents], 2, rule,
        deployment=world.chain.deployment, signer=world.chain.wallet("licensor"),
    )  # fmt: skip


def asked(world, escrow):
    license_id = world.license(world.plan(duration=0))
    identity = world.runtime(license_id, not_after=2**40 - 1)
    card = card_module.parse(json.loads(world.card_file(license_id).read_text()))
    return make_request(card, escrow, identity)


@contextmanager
def endpoints(world, faults, count):
    chain = world.chain
    with ExitStack() as stack:
        proxies = [faults.FaultProxy(chain.node.rpc_url) for _ in range(count)]
        for proxy in proxies:
            stack.callback(proxy.close)
        rpcs = [Rpc(proxy.url, chain_id=31337) for proxy in proxies]
        view = patient_view(rpcs, chain.deployment, chain.profile)
        stack.callback(view.close)
        yield proxies, view


@contextmanager
def endpoints_of_one(world):
    chain = world.chain
    view = patient_view([Rpc(chain.node.rpc_url, chain_id=31337)], chain.deployment, chain.profile)
    try:
        yield view
    finally:
        view.close()


def never_sent(question, result):
    return "0x1" if question["method"] == "eth_getTransactionCount" else result


def test_two_of_three_endpoints_cannot_hide_a_sign_of_life_from_the_third(world, agents, faults):
    escrow = escrowed(world, agents, Condition(SILENCE, 5))
    request = asked(world, escrow)
    for _ in range(2):
        world.chain.rpc.call("evm_increaseTime", [4 * DAY])
        world.plan()  # the licensor is well and sells
        world.chain.rpc.call("anvil_mine", ["0x50"])
    with endpoints(world, faults, 3) as (proxies, view):
        for liar in proxies[:2]:
            liar.change = never_sent
        with pytest.raises(EndpointsDisagree, match="sign"):
            answer(agents[0], escrow, request, view, world.chain.deployment)
        assert agents[0].log()[-1]["granted"] is False


def test_nor_by_being_quicker_than_the_third(world, agents, faults):
    escrow = escrowed(world, agents, Condition(SILENCE, 5))
    request = asked(world, escrow)
    for _ in range(2):
        world.chain.rpc.call("evm_increaseTime", [4 * DAY])
        world.plan()
        world.chain.rpc.call("anvil_mine", ["0x50"])
    with endpoints(world, faults, 3) as (proxies, view):
        for liar in proxies[:2]:
            liar.change = never_sent
        proxies[2].delay = 0.15
        with pytest.raises(EndpointsDisagree, match="sign"):
            answer(agents[0], escrow, request, view, world.chain.deployment)


def test_one_honest_silence_is_still_a_silence_and_one_liar_stops_it(world, agents, faults):
    escrow = escrowed(world, agents, Condition(SILENCE, 5))
    request = asked(world, escrow)
    world.chain.rpc.call("evm_increaseTime", [6 * DAY])
    world.chain.rpc.call("anvil_mine", ["0x50"])
    with endpoints(world, faults, 3) as (proxies, view):
        proxies[2].change = lambda question, result: (
            "0x2a" if question["method"] == "eth_getTransactionCount" else result
        )
        with pytest.raises(EndpointsDisagree):
            answer(agents[0], escrow, request, view, world.chain.deployment)
        proxies[2].heal()
        assert answer(agents[0], escrow, request, view, world.chain.deployment).answer.index == 1
        # Down or without old state is no contradiction.
        proxies[2].socket_fault = "refuse"
        assert answer(agents[1], escrow, request, view, world.chain.deployment).answer.index == 2


def test_an_agents_own_log_survives_requests_that_come_at_once(agents):
    """Two entries of one number would make every later decision fail: a log closed for good."""
    agent, before = agents[1], len(agents[1].log())
    start = threading.Barrier(8)

    def note():
        start.wait()
        for _ in range(5):
            agent.note({"granted": False})

    threads = [threading.Thread(target=note) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(agent.log()) == before + 40
    assert (agent.folder / LOG_FILE).stat().st_mode & 0o077 == 0


def test_a_document_that_the_requester_signs_himself_gets_no_share_of_the_licensors(world, agents):
    """The licensor's wraps under a rule of the requester's own."""
    escrow = escrowed(world, agents, Condition(DATE, 4 * 10**9))
    thief = world.chain.wallet("holder")
    mine = replace(escrow, rule=(Condition(DATE, 1),), licensor=thief.address).signed(thief)
    request = asked(world, mine)
    with endpoints_of_one(world) as view, pytest.raises(NoIdentityMatch):
        answer(agents[0], mine, request, view, world.chain.deployment)
    assert agents[0].log()[-1]["granted"] is False


def test_the_licensors_signature_covers_rule_threshold_and_every_wrap(world, agents):
    escrow = escrowed(world, agents, Condition(DATE, 4 * 10**9))
    request = asked(world, escrow)
    with endpoints_of_one(world) as view:
        for change in (
            {"rule": (Condition(DATE, 1),)},
            {"threshold": 1},
            {"seats": escrow.seats[::-1]},
            {"issued_at": 1},
        ):
            with pytest.raises(SignatureInvalid):
                answer(agents[0], replace(escrow, **change), request, view, world.chain.deployment)


def test_an_answer_opens_for_no_request_but_its_own_and_not_as_another_share(world, agents):
    escrow = escrowed(world, agents, Condition(DATE, 1))
    license_id = world.license(world.plan(duration=0))
    identity = world.runtime(license_id, not_after=2**40 - 1)
    card = card_module.parse(json.loads(world.card_file(license_id).read_text()))
    first, second = (make_request(card, escrow, identity) for _ in range(2))
    with endpoints_of_one(world) as view:
        given = answer(agents[0], escrow, first, view, world.chain.deployment).answer
    for cheat in (
        replace(given, request=second.digest()),
        replace(given, index=2),
        replace(given, wrap=given.wrap[:-1] + bytes([given.wrap[-1] ^ 1])),
    ):
        with (
            pytest.warns(UserWarning, match="left out"),
            pytest.raises(SharesRejected, match="0 of the 2"),
        ):
            join_answers(card, escrow, identity, [cheat])
    # A share twice is one share.
    with pytest.raises(SharesRejected, match="1 of the 2"):
        join_answers(card, escrow, identity, [given, given])


def test_a_key_from_escrow_is_bound_by_the_terms_though_the_card_leaves_them_out(world):
    """No broker is asked, so a holder who strips the terms would be bound by none."""
    license_id = world.license(world.plan(duration=0))
    identity = world.runtime(license_id, not_after=2**40 - 1)
    card = card_module.parse(json.loads(world.card_file(license_id).read_text()))
    bare = replace(card, terms=None)
    bare.verify()  # the licensor signed the hash alone
    key = EscrowKey(world.published.key, world.published.record, Digest(bytes(32)), license_id)
    assert key.keys(card, identity, now=int(time.time()))[0].content == world.published.key
    with pytest.raises(UseNotPermitted, match="without its terms"):
        key.keys(bare, identity, now=int(time.time()))


def test_a_request_that_was_never_joined_leaves_no_key_behind_for_a_thief(world, agents):
    escrow = escrowed(world, agents, Condition(DATE, 1))
    license_id = world.license(world.plan(duration=0))
    identity = world.runtime(license_id, not_after=2**40 - 1)
    card = card_module.parse(json.loads(world.card_file(license_id).read_text()))
    old = make_request(card, escrow, identity, clock=lambda: time.time() - 15 * DAY)
    new = make_request(card, escrow, identity)
    folder = identity.path.with_name(identity.path.stem + ".escrow")
    names = {path.stem for path in folder.glob("*.json")}
    assert names == {new.digest().raw.hex()}
    assert old.digest().raw.hex() not in names
