"""The chain rule over several endpoints, some of them faulty, on real sockets."""

import time
from dataclasses import replace

import pytest

from ledger.broker.chainview import ChainView
from ledger.chain.rpc import Rpc
from ledger.errors import ChainUnavailable, EndpointsDisagree, UsageError
from ledger.ids import Digest, LicenseId
from ledger.licensing.entitlement import Code, Status

pytestmark = pytest.mark.chain


@pytest.fixture
def endpoints(world, faults):
    made = [faults.FaultProxy(world.chain.node.rpc_url) for _ in range(3)]
    yield made
    for proxy in made:
        proxy.close()


@pytest.fixture
def view(world, endpoints):
    profile = replace(world.chain.profile, min_endpoints=3)
    rpcs = [Rpc(proxy.url, chain_id=31337, timeout=5) for proxy in endpoints]
    made = ChainView(rpcs, world.chain.deployment, profile)
    yield made
    made.close()


@pytest.fixture(scope="module")
def license_id(world):
    return world.license()


def state(world, view, license_id):
    return view.license_state(
        license_id, world.published.model_id, Digest(b"\x01" * 32), now=int(time.time())
    )


def test_three_honest_endpoints_agree(world, view, license_id):
    seen = state(world, view, license_id)
    assert seen.contrary == ()
    assert (seen.head.code, seen.finalized.code) == (0, 0)
    assert seen.head.license.holder == world.chain.wallet("holder").address
    assert seen.head.license.status is Status.ACTIVE
    assert seen.head.plan.model == world.published.model_id
    assert seen.head.sealing == world.published.record.hash()
    assert seen.head.brokers == (world.broker.id,)
    assert seen.finalized.block.number <= seen.head.block.number


def test_one_endpoint_down_of_three_changes_nothing(world, view, endpoints, license_id):
    endpoints[1].socket_fault = "refuse"
    assert state(world, view, license_id).head.code == 0
    assert [bool(health.trouble) for health in view.health()] == [False, True, False]


def test_two_endpoints_down_of_three_is_no_answer(world, view, endpoints, license_id):
    endpoints[0].socket_fault = endpoints[2].socket_fault = "refuse"
    with pytest.raises(ChainUnavailable, match="fewer than 2 of 3"):
        state(world, view, license_id)


def test_one_endpoint_that_shows_a_revocation_is_contrary(
    world, view, endpoints, license_id, faults
):
    endpoints[2].change = faults.says_code(Code.REVOKED)
    seen = state(world, view, license_id)
    assert seen.head.code == 0
    (sentence,) = seen.contrary
    assert "REVOKED" in sentence


def test_one_endpoint_that_lies_a_license_into_being_grants_nothing(world, view, endpoints, faults):
    endpoints[0].change = faults.says_code(Code.VALID)
    seen = view.license_state(
        LicenseId.of(9, 9), world.published.model_id, Digest(bytes(32)), now=int(time.time())
    )
    assert seen.head.code == Code.NOT_FOUND


def test_an_endpoint_of_another_chain_is_unhealthy(world, view, endpoints, license_id):
    endpoints[0].change = lambda q, r: "0x1" if q["method"] == "eth_chainId" else r
    assert state(world, view, license_id).head.code == 0
    assert "chain 1" in view.health()[0].trouble


def test_an_endpoint_with_other_contracts_is_unhealthy(world, view, endpoints, license_id):
    endpoints[0].change = lambda q, r: "0x6000" if q["method"] == "eth_getCode" else r
    state(world, view, license_id)
    assert "other code" in view.health()[0].trouble


def test_a_stale_endpoint_is_unhealthy_where_heads_have_an_age(world, endpoints, license_id):
    profile = replace(world.chain.profile, min_endpoints=3, max_head_age=3600)
    rpcs = [Rpc(proxy.url, chain_id=31337) for proxy in endpoints]
    late = ChainView(rpcs, world.chain.deployment, profile, clock=lambda: time.time() + 7200)
    with pytest.raises(ChainUnavailable, match="s behind"):
        state(world, late, license_id)
    late.close()


def test_endpoints_on_different_forks_give_no_answer(world, view, endpoints, license_id, faults):
    def forked(mark):
        def change(question, result):
            block = question["method"].startswith("eth_getBlock") and isinstance(result, dict)
            if block and int(result["number"], 16) > 0:
                return faults.forged(result, extraData="0x" + mark)
            return result

        return change

    for proxy, mark in zip(endpoints, ("aa", "bb", "cc"), strict=True):
        proxy.change = forked(mark)
    with pytest.raises(EndpointsDisagree):
        state(world, view, license_id)


def test_too_few_endpoints_for_the_chain_are_refused_at_the_start(world):
    profile = replace(world.chain.profile, min_endpoints=3)
    with pytest.raises(UsageError, match="needs 3 RPC endpoints"):
        ChainView([Rpc(world.chain.node.rpc_url)], world.chain.deployment, profile)


def test_titles_and_lodged_sealings_are_read_at_the_head(world, view):
    made = world.published
    holder, lodged = view.title_state(made.model_id, 1)
    assert holder == world.chain.wallet("licensor").address
    assert lodged == made.record.hash()
    assert view.title_state(made.model_id, 2)[1].is_zero


def test_no_url_part_is_shown_of_an_endpoint(world, license_id):
    secret = "an-api-key-in-the-path"
    rpc = Rpc(f"http://127.0.0.1:9/{secret}", chain_id=31337)
    view = ChainView([rpc], world.chain.deployment, world.chain.profile)
    with pytest.raises(ChainUnavailable) as caught:
        state(world, view, license_id)
    assert caught.value.message.startswith("the chain's endpoint is not healthy: ")
    assert secret not in str(caught.value)
    assert secret not in repr(view.health())


# -- one liar of three


def block_of(change):
    """An endpoint that changes the blocks it shows by tag."""

    def changed(question, result):
        by_tag = question["method"] == "eth_getBlockByNumber" and not question["params"][
            0
        ].startswith("0x")
        return {**result, **change(question["params"][0], result)} if by_tag else result

    return changed


def stands_at(number):
    """An endpoint whose head and finalized block stand at an old height, with a fresh time."""
    return block_of(
        lambda tag, block: {
            "number": hex(number),
            "hash": "0x" + "ee" * 32,
            "timestamp": hex(int(time.time())),
        }
    )


def mine(world, count=3):
    world.chain.rpc.call("anvil_mine", [hex(count)])


@pytest.mark.parametrize("liar", [0, 1, 2])
def test_one_endpoint_does_not_hold_the_others_back(world, view, endpoints, liar):
    sold = world.license()
    mine(world)
    before = world.chain.rpc.block("latest").number
    holder, buyer = (world.chain.wallet(name).address for name in ("holder", "buyer"))
    world.chain.send("holder", "LicenseLedger", "transferFrom", holder, buyer, int(sold))
    mine(world)
    endpoints[liar].change = stands_at(before)
    seen = state(world, view, sold)
    assert seen.head.license.holder == seen.finalized.license.holder == buyer
    assert seen.head.block.number > before
    assert seen.finalized.block.number > before


def test_one_endpoint_does_not_hold_titles_back(world, view, endpoints, broker_world):
    before = world.chain.rpc.block("latest").number
    made = broker_world.publish(world.chain, world.folder)
    mine(world)
    endpoints[0].change = stands_at(before)
    holder, lodged = view.title_state(made.model_id, 1)
    assert (holder, lodged) == (world.chain.wallet("licensor").address, made.record.hash())


def test_an_endpoint_ahead_does_not_move_the_head(world, view, endpoints, license_id):
    endpoints[1].change = stands_at(10**6)
    seen = state(world, view, license_id)
    assert seen.head.block.number <= world.chain.rpc.block("latest").number


def test_an_older_head_of_a_real_block_is_contrary_where_the_holder_changed(world, view, endpoints):
    sold = world.license()
    mine(world)
    old = world.chain.rpc.block("latest").raw
    world.chain.send("holder", "LicenseLedger", "cancelGrants", sold)
    mine(world)
    endpoints[2].change = block_of(lambda tag, block: old)
    seen = state(world, view, sold)
    assert seen.head.grant_nonce == 1
    assert len(seen.contrary) == 1


def test_a_title_that_an_endpoint_shows_otherwise_is_not_taken(
    world, view, endpoints, broker_world
):
    mine(world)
    old = world.chain.rpc.block("latest").raw
    made = broker_world.publish(world.chain, world.folder)
    mine(world)
    endpoints[2].change = block_of(lambda tag, block: old)
    with pytest.raises(EndpointsDisagree, match="titles or sealings"):
        view.title_state(made.model_id, 1)


def test_the_block_that_is_agreed_on_is_held_against_the_clock(
    world, endpoints, license_id, faults
):
    mine(world)
    block = world.chain.rpc.block("latest")
    profile = replace(world.chain.profile, min_endpoints=3, max_head_age=120)
    rpcs = [Rpc(proxy.url, chain_id=31337) for proxy in endpoints]
    now = block.timestamp + 3600
    late = ChainView(rpcs, world.chain.deployment, profile, clock=lambda: now)
    # Each shows a fresh head of its own; where two agree, the block is an hour old.
    for proxy, height in zip(endpoints, (10**6, block.number, block.number - 1), strict=True):
        shown = {"timestamp": hex(now), "number": hex(height)}
        proxy.change = faults.tagged(lambda tag, block, shown=shown: faults.forged(block, **shown))
    with pytest.raises(ChainUnavailable, match="agree on is 3600 s old"):
        state(world, late, license_id)
    with pytest.raises(ChainUnavailable, match="agree on is 3600 s old"):
        late.title_state(world.published.model_id, 1)
    late.close()


def test_one_false_time_does_not_move_the_moment_of_the_decision(
    world, view, endpoints, license_id
):
    far = hex((1 << 40) - 2)
    for change in (
        {"timestamp": far},
        {"timestamp": far, "number": hex(10**6), "hash": "0x" + "ee" * 32},
    ):
        for proxy in endpoints:
            proxy.change = block_of(lambda tag, block, change=change: change)
            seen = state(world, view, license_id)
            proxy.change = lambda question, result: result
            assert seen.head.code == Code.VALID
            assert seen.head.block.timestamp < 1 << 39


def test_a_head_of_tomorrow_is_unhealthy_where_heads_keep_time(
    world, endpoints, license_id, faults
):
    mine(world)
    profile = replace(world.chain.profile, min_endpoints=3, max_head_age=3600)
    rpcs = [Rpc(proxy.url, chain_id=31337) for proxy in endpoints]
    now = world.chain.rpc.block("latest").timestamp
    made = ChainView(rpcs, world.chain.deployment, profile, clock=lambda: now)
    endpoints[0].change = faults.tagged(
        lambda tag, block: faults.forged(block, timestamp=hex(int(block["timestamp"], 16) + 86400))
    )
    assert state(world, made, license_id).head.code == Code.VALID
    assert "ahead of this clock" in made.health()[0].trouble
    assert [health.trouble for health in made.health()[1:]] == ["", ""]
    made.close()


@pytest.mark.parametrize("liar", [0, 1, 2])
def test_a_false_broker_set_is_not_remembered(world, view, endpoints, license_id, liar, faults):
    endpoints[liar].change = faults.says_set(999)
    seen = state(world, view, license_id)
    assert seen.head.brokers == (world.broker.id,)
    assert len(seen.contrary) == 1
    endpoints[liar].change = lambda question, result: result
    seen = state(world, view, license_id)
    assert (seen.head.brokers, seen.contrary) == ((world.broker.id,), ())


def test_one_endpoint_named_twice_is_not_two_operators(world):
    profile = replace(world.chain.profile, min_endpoints=3)
    url = world.chain.node.rpc_url
    with pytest.raises(UsageError, match="named twice"):
        ChainView([Rpc(url), Rpc(url), Rpc(url + "/")], world.chain.deployment, profile)
