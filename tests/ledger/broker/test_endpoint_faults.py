"""Each endpoint fault of docs/spec/endpoint-faults.md, against real nodes behind a real proxy.

``stand`` holds every release against the chain itself: after each test, none was given unless the
license was valid at the true finalized block and at the true head.
"""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest

from ledger.broker import panel
from ledger.chain import health
from ledger.chain.health import BREAKS_AFTER
from ledger.errors import ChainUnavailable, EndpointsDisagree, NoLicense, PendingFinality, Revoked
from ledger.ids import ZERO_DIGEST
from ledger.licensing.entitlement import Code

pytestmark = pytest.mark.chain

PATIENCE = 1.5
SLACK = 3.0
"""What a busy machine may add to a bound that is measured in seconds."""


@pytest.fixture(scope="module")
def make(own_world, faults, fault_stand):
    """A stand over n endpoints, its oracle asked at the end."""

    @contextmanager
    def made(n=3, **options):
        options = {"patience": PATIENCE, **options}
        with fault_stand.stand(own_world, faults, n, **options) as standing:
            yield standing
            standing.no_wrong_release()

    return made


@pytest.fixture
def stand(make):
    with make() as made:
        yield made


@pytest.fixture(scope="module")
def plan_id(own_world):
    return own_world.plan(seats=0)


@pytest.fixture
def licensed(own_world, plan_id):
    """A valid, final license and a runtime that its holder granted."""
    license_id = own_world.license(plan_id)
    return license_id, own_world.runtime(license_id)


@pytest.fixture
def held(own_world):
    """No block is mined but by the test."""
    with own_world.chain.node.hold_finality():
        yield


def released(stand, licensed):
    lease, denial = stand.ask(*licensed)
    assert lease is not None, denial
    return lease


def refused(stand, licensed, kind):
    lease, denial = stand.ask(*licensed)
    assert lease is None
    assert isinstance(denial, kind), repr(denial)
    return denial


def kept_running(stand, licensed, lease):
    """The lease is not extended, and the runtime is not told to unload."""
    extended, denial, unload = stand.beat(licensed[1], lease)
    assert extended is None
    assert denial.retry_after is not None
    assert not unload


# -- on the wire


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("refuse", "down"),
        ("busy", "down"),
        ("redirect", "down"),
        ("hang", "slow"),
        ("trickle", "slow"),
        ("drip", "slow"),
        ("flood", "malformed"),
        ("prose", "malformed"),
        ("deep", "malformed"),
        ("ids", "malformed"),
        ("double", "malformed"),
        ("short", "malformed"),
    ],
)
def test_one_bad_endpoint_of_three_neither_stops_nor_delays_anyone(stand, licensed, fault, kind):
    lease = released(stand, licensed)
    stand.proxies[1].socket_fault = fault
    started = time.monotonic()
    released(stand, licensed)
    assert time.monotonic() - started < PATIENCE + SLACK
    seen = stand.view.health()[1]
    assert seen.faults == {kind: 1}, seen
    assert seen.trouble
    assert lease is not None


@pytest.mark.parametrize("fault", ["order", "object"])
def test_what_json_rpc_allows_is_no_fault(stand, licensed, fault):
    stand.proxies[1].socket_fault = fault
    released(stand, licensed)
    assert [each.trouble for each in stand.view.health()] == [""] * 3


def test_an_endpoint_that_stays_slow_is_waited_for_only_a_few_times(make, licensed, monkeypatch):
    monkeypatch.setattr(health, "FIRST_REST", 600.0)
    with make() as stand:
        released(stand, licensed)
        stand.proxies[2].socket_fault = "hang"
        for _ in range(BREAKS_AFTER):
            started = time.monotonic()
            released(stand, licensed)
            assert time.monotonic() - started >= PATIENCE
        not_asked(stand, licensed, 2)


def test_an_endpoint_that_stands_well_and_never_answers_is_not_waited_for_either(
    make, licensed, monkeypatch
):
    monkeypatch.setattr(health, "FIRST_REST", 600.0)

    def slow_reads(question, result):
        if question["method"] == "eth_call":
            time.sleep(2 * PATIENCE)
        return result

    with make() as stand:
        released(stand, licensed)
        stand.proxies[0].change = slow_reads
        for _ in range(BREAKS_AFTER):
            released(stand, licensed)
        not_asked(stand, licensed, 0)


def not_asked(stand, licensed, index):
    """Decisions are made without this endpoint, and are not delayed by it."""
    assert stand.view.health()[index].circuit == "open"
    time.sleep(2 * PATIENCE)  # what was asked before has ended
    asked = stand.proxies[index].asked
    for _ in range(2):
        released(stand, licensed)
    assert stand.proxies[index].asked == asked


def test_an_endpoint_that_comes_back_is_asked_again(make, licensed, monkeypatch):
    rest = 2.0
    monkeypatch.setattr(health, "FIRST_REST", rest)
    with make() as stand:
        stand.proxies[0].socket_fault = "refuse"
        for _ in range(BREAKS_AFTER):
            released(stand, licensed)
        opened, asked = time.monotonic(), stand.proxies[0].asked
        released(stand, licensed)
        assert stand.proxies[0].asked == asked or time.monotonic() - opened > rest / 2
        stand.proxies[0].heal()
        time.sleep(rest)
        deadline = time.monotonic() + 10
        while stand.view.health()[0].circuit != "closed" and time.monotonic() < deadline:
            released(stand, licensed)
        assert stand.view.health()[0].trouble == ""


def test_without_q_endpoints_nothing_is_decided_and_that_within_the_deadline(make, licensed):
    with make(deadline=2.0) as stand:
        lease = released(stand, licensed)
        stand.proxies[0].socket_fault = stand.proxies[1].socket_fault = "hang"
        started = time.monotonic()
        refused(stand, licensed, ChainUnavailable)
        assert time.monotonic() - started < 2.0 + SLACK
        kept_running(stand, licensed, lease)
        stand.proxies[0].heal()
        stand.proxies[1].heal()
        released(stand, licensed)


def test_the_only_endpoint_of_a_local_chain_that_fails_unloads_nobody(make, licensed):
    with make(1) as stand:
        lease = released(stand, licensed)
        for fault in ("refuse", "prose", "ids"):
            stand.proxies[0].socket_fault = fault
            refused(stand, licensed, ChainUnavailable)
            kept_running(stand, licensed, lease)
        stand.proxies[0].heal()
        extended, _, _ = stand.beat(licensed[1], lease)
        assert extended is not None


def test_five_endpoints_stand_two_that_are_down(make, licensed):
    with make(5) as stand:
        stand.proxies[1].socket_fault = stand.proxies[4].socket_fault = "refuse"
        released(stand, licensed)
        stand.proxies[0].socket_fault = "refuse"
        refused(stand, licensed, ChainUnavailable)


# -- stale


def test_one_endpoint_that_stopped_following_changes_nothing(stand, licensed, faults):
    stand.proxies[0].change = faults.frozen(*stand.blocks())
    stand.mine()
    released(stand, licensed)
    stand.revoke(licensed[0])
    assert refused(stand, licensed, Revoked).since


def test_two_that_stopped_following_hide_no_revocation_from_the_third(stand, licensed, faults):
    lease = released(stand, licensed)
    for proxy in stand.proxies[:2]:
        proxy.change = faults.frozen(*stand.blocks())
    stand.revoke(licensed[0])
    stand.mine()
    assert "REVOKED" in refused(stand, licensed, EndpointsDisagree).message
    kept_running(stand, licensed, lease)


@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_revocation_reaches_a_new_request_through_any_one_endpoint(
    stand, licensed, held, faults, first
):
    lease = released(stand, licensed)
    before = stand.blocks()
    for proxy in stand.proxies[:first] + stand.proxies[first + 1 :]:
        proxy.change = faults.frozen(*before)
    stand.revoke(licensed[0])
    refused(stand, licensed, EndpointsDisagree)
    kept_running(stand, licensed, lease)
    for proxy in stand.proxies:
        proxy.heal()
    refused(stand, licensed, Revoked)
    assert stand.beat(licensed[1], lease)[2] is True


# -- lying about licenses


def test_one_that_says_valid_after_a_revocation_is_outvoted(stand, licensed, faults):
    stand.proxies[0].change = faults.says_code(Code.VALID)
    stand.revoke(licensed[0])
    stand.mine()
    refused(stand, licensed, Revoked)


def test_two_that_say_valid_after_a_revocation_are_refuted_by_one_proof(stand, licensed, faults):
    lease = released(stand, licensed)
    stand.revoke(licensed[0])
    stand.mine()
    for proxy in stand.proxies[:2]:
        proxy.change = faults.no_proofs(faults.says_code(Code.VALID))
    refused(stand, licensed, Revoked)
    assert stand.view.health()[2].contrary == 1
    assert stand.beat(licensed[1], lease)[2] is True


def test_where_a_chain_has_no_proofs_the_same_only_stops_releases(make, licensed, faults):
    with make(profile={"proof_kind": "none"}) as stand:
        lease = released(stand, licensed)
        stand.revoke(licensed[0])
        stand.mine()
        for proxy in stand.proxies[:2]:
            proxy.change = faults.says_code(Code.VALID)
        refused(stand, licensed, EndpointsDisagree)
        kept_running(stand, licensed, lease)


@pytest.mark.parametrize("code", [Code.REVOKED, Code.SUSPENDED, Code.EXPIRED, Code.NOT_FOUND])
def test_one_that_denies_a_valid_license_stops_releases_and_unloads_nobody(
    stand, licensed, faults, code
):
    lease = released(stand, licensed)
    stand.proxies[1].change = faults.no_proofs(faults.says_code(code))
    denial = refused(stand, licensed, EndpointsDisagree)
    assert code.name in denial.message or code is Code.NOT_FOUND
    kept_running(stand, licensed, lease)
    seen = stand.view.health()[1]
    assert seen.contrary == 2
    assert seen.last_trouble[0] in {"contrary", "forged"}
    stand.proxies[1].heal()
    extended, _, _ = stand.beat(licensed[1], lease)
    assert extended is not None


def test_a_proof_does_not_turn_the_no_of_two_into_a_yes(stand, licensed, faults):
    for proxy in stand.proxies[:2]:
        proxy.change = faults.says_code(Code.SUSPENDED)
    lease, denial = stand.ask(*licensed)
    assert lease is None
    assert denial.code == "SUSPENDED"


def test_two_that_name_another_holder_are_refuted_by_one_proof(stand, own_world, plan_id, faults):
    sold = own_world.license(plan_id)
    rival = own_world.runtime()
    own_world.grant(rival, sold, who="rival")
    for proxy in stand.proxies[:2]:
        proxy.change = faults.says_holder(own_world.chain.wallet("rival").address)
    lease, denial = stand.ask(sold, rival)
    assert lease is None
    assert denial.code == "WRONG_HOLDER"
    stand.proxies[2].change = faults.no_proofs(faults.honest)
    for proxy in stand.proxies[:2]:
        proxy.change = faults.no_proofs(proxy.change)
    stand.mine(1)
    refused(stand, (sold, rival), EndpointsDisagree)


def test_a_seat_that_two_invent_is_refuted_by_one_proof(stand, own_world, faults):
    bound = own_world.license(own_world.plan(floating=False))
    runtime = own_world.runtime(bound)
    for proxy in stand.proxies[:2]:
        proxy.change = faults.says_code(Code.VALID)
    lease, denial = stand.ask(bound, runtime)
    assert lease is None
    assert denial.code == "RUNTIME_NOT_BOUND"


def test_where_no_two_agree_one_proof_still_denies(stand, licensed, faults):
    stand.act("licensor", "suspend", int(licensed[0]), ZERO_DIGEST)
    stand.mine()
    stand.proxies[0].change = faults.no_proofs(faults.says_code(Code.VALID))
    stand.proxies[1].change = faults.no_proofs(faults.says_code(Code.REVOKING))
    lease, denial = stand.ask(*licensed)
    assert lease is None
    assert denial.code == "SUSPENDED"


def test_five_endpoints_stand_two_liars(make, licensed, faults):
    with make(5) as stand:
        released(stand, licensed)
        stand.revoke(licensed[0])
        stand.mine()
        for proxy in stand.proxies[1:3]:
            proxy.change = faults.says_code(Code.VALID)
        refused(stand, licensed, Revoked)


# -- lying about blocks


def test_one_that_calls_a_block_final_too_early_is_not_believed(
    stand, own_world, plan_id, held, faults
):
    stand.act("licensor", "issue", plan_id, own_world.chain.wallet("holder").address, 0, 0)
    fresh = newest(own_world, plan_id)
    runtime = own_world.runtime(fresh)
    stand.proxies[2].change = faults.tagged(lambda tag, block: stand.blocks()[0])
    refused(stand, (fresh, runtime), PendingFinality)
    stand.mine(2)
    released(stand, (fresh, runtime))


def test_one_whose_forged_blocks_run_ahead_is_left_out(stand, licensed, faults):
    stand.proxies[0].change = faults.tagged(
        lambda tag, block: faults.forged(block, number=hex(10**6))
    )
    released(stand, licensed)
    stand.proxies[0].change = faults.tagged(
        lambda tag, block: faults.forged(block, number=hex(10**6)) if tag == "finalized" else block
    )
    released(stand, licensed)
    assert "finalized block above its head" in stand.view.health()[0].trouble


def test_a_hash_that_its_header_does_not_have_is_not_believed(stand, licensed, faults):
    stand.proxies[0].change = faults.tagged(
        lambda tag, block: {**block, "stateRoot": block["hash"]}
    )
    released(stand, licensed)
    assert stand.view.health()[0].faults == {"forged": 1}
    stand.proxies[1].change = stand.proxies[0].change
    refused(stand, licensed, ChainUnavailable)


def test_two_with_a_whole_chain_of_their_own_release_nothing_that_the_third_denies(
    stand, licensed, faults, own_world
):
    lease = released(stand, licensed)
    with faults.twin(own_world.chain.rpc) as fork:
        stand.revoke(licensed[0])
        stand.mine()
        own_world.chain.rpc.__class__(fork).call("anvil_mine", [hex(9)])
        for proxy in stand.proxies[:2]:
            proxy.target = fork
        lease_, denial = stand.ask(*licensed)
        assert lease_ is None
        assert denial.code in {"ENDPOINTS_DISAGREE", "REORGANISED"}
        assert "REVOKED" in denial.message or denial.code == "REORGANISED"
        kept_running(stand, licensed, lease)


def test_an_endpoint_that_says_this_and_then_that_grants_nothing(stand, licensed, faults):
    old = stand.blocks()
    stand.proxies[0].change = faults.in_turn(
        faults.honest, faults.frozen(*old), faults.says_code(Code.VALID)
    )
    stand.act("licensor", "suspend", int(licensed[0]), ZERO_DIGEST)
    stand.mine()
    for _ in range(6):
        lease, denial = stand.ask(*licensed)
        assert lease is None
        assert denial.code == "SUSPENDED"


# -- other chains


def test_an_endpoint_that_goes_over_to_another_chain_is_noticed_at_once(stand, licensed, faults):
    released(stand, licensed)
    with faults.empty_node() as elsewhere:
        stand.proxies[0].target = elsewhere
        released(stand, licensed)
        assert "another chain" in stand.view.health()[0].trouble
        assert stand.view.health()[0].faults == {"wrong-chain": 1}
        stand.proxies[1].target = elsewhere
        refused(stand, licensed, ChainUnavailable)
    stand.proxies[1].target = stand.proxies[2].target
    stand.proxies[0].change = faults.other_chain_id(1)
    stand.proxies[0].target = stand.proxies[2].target
    released(stand, licensed)
    assert stand.view.health()[0].faults["wrong-chain"] >= 2


def test_the_only_endpoint_of_a_local_chain_that_changes_chains_is_noticed(make, licensed, faults):
    with make(1) as stand, faults.empty_node() as elsewhere:
        lease = released(stand, licensed)
        stand.proxies[0].target = elsewhere
        refused(stand, licensed, ChainUnavailable)
        kept_running(stand, licensed, lease)


def test_other_code_is_noticed_when_it_is_looked_at_again(make, licensed, faults, monkeypatch):
    monkeypatch.setattr(panel, "VERIFY_SECONDS", 0.0)
    with make() as stand:
        released(stand, licensed)
        stand.proxies[2].change = faults.other_code
        released(stand, licensed)
        assert "other code" in stand.view.health()[2].trouble


# -- reorganisations


def newest(world, plan_id):
    """The plan's last license."""
    from ledger.ids import LicenseId

    _, state = world.chain.view("LicenseLedger", "planOf", plan_id)
    return LicenseId.of(plan_id, int(state["issued"]))


def test_a_license_that_a_reorganisation_takes_away_was_never_good_for_a_key(
    stand, own_world, plan_id, held
):
    stand.mine(3)
    stand.act("licensor", "issue", plan_id, own_world.chain.wallet("holder").address, 0, 0)
    fresh = newest(own_world, plan_id)
    runtime = own_world.runtime(fresh)
    refused(stand, (fresh, runtime), PendingFinality)
    stand.reorg(1)
    refused(stand, (fresh, runtime), NoLicense)
    stand.mine(3)
    refused(stand, (fresh, runtime), NoLicense)


def test_a_lease_lives_on_across_a_reorganisation(stand, licensed, held):
    stand.mine(3)
    lease = released(stand, licensed)
    for depth in (1, 2, 1):
        stand.reorg(depth)
        lease, denial, _ = stand.beat(licensed[1], lease)
        assert lease is not None, denial
        stand.mine(1)


def test_a_revocation_that_is_reorganised_away_binds_until_then(stand, licensed, held):
    stand.mine(3)
    stand.revoke(licensed[0])
    refused(stand, licensed, Revoked)
    stand.reorg(1)
    released(stand, licensed)


def test_the_finalized_block_never_goes_back(stand, licensed, faults):
    old = stand.blocks()
    stand.mine(3)
    before = released(stand, licensed).finalized.number
    head = stand.blocks()[0]
    for proxy in stand.proxies:
        proxy.change = faults.frozen(head, old[1])
    assert released(stand, licensed).finalized.number >= before > int(old[1]["number"], 16)


def test_another_block_where_a_final_one_stood_ends_all_decisions(
    stand, licensed, faults, own_world
):
    with faults.twin(own_world.chain.rpc) as fork:
        stand.mine(4)
        lease = released(stand, licensed)
        with own_world.chain.rpc.__class__(fork) as other:
            other.call("evm_increaseTime", [5])
            other.call("anvil_mine", [hex(12)])
        for proxy in stand.proxies:
            proxy.target = fork
        lease_, denial = stand.ask(*licensed)
        assert lease_ is None
        assert "was final" in denial.message
        assert denial.code == "CHAIN_UNAVAILABLE" or denial.code == "REORGANISED"
        kept_running(stand, licensed, lease)


# -- what cannot be promised


def test_two_liars_of_three_that_no_third_contradicts_are_believed(stand, licensed, faults):
    """Not a promise but its end: q endpoints that lie together decide, if no other is heard."""
    stand.revoke(licensed[0])
    stand.mine()
    for proxy in stand.proxies[:2]:
        proxy.change = faults.no_proofs(faults.says_code(Code.VALID))
    stand.proxies[2].socket_fault = "refuse"
    lease, _ = stand.ask(*licensed)
    assert lease is not None
    stand.released.clear()
