"""Several endpoints: failover, who must agree, and no reorganisation on the word of one."""

from __future__ import annotations

import secrets
import threading
import time
from importlib import import_module

import pytest
from sqlalchemy import func, select

from ledger.chain.deployment import Deployment
from ledger.chain.rpc import Rpc
from ledger.errors import ChainUnavailable, Reorganised, RpcRefused, UsageError, WrongNetwork
from ledger.ids import Digest, keccak256
from ledger.index import tables
from ledger.index.endpoints import Endpoints, settled, vouch
from ledger.index.fetch import read_header, read_heads
from ledger.index.follow import Follower
from ledger.index.pool import Source

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def faults():
    return import_module("fault_world")


@pytest.fixture
def proxies(ledger, faults):
    """Three endpoints over the module's node."""
    made = [faults.FaultProxy(ledger.rpc.urls[0]) for _ in range(3)]
    yield made
    for proxy in made:
        proxy.close()


@pytest.fixture
def manifest(ledger):
    """The deployment with the code hashes that an endpoint is known by."""
    given = ledger.deployment
    code = {name: Digest(keccak256(ledger.rpc.code(at))) for name, at in given.addresses.items()}
    return Deployment(given.chain_id, given.genesis_hash, given.block, given.addresses, code)


@pytest.fixture
def several(manifest):
    """Makes `Endpoints`, with no pause between surveys."""
    made = []

    def make(*urls, **options):
        sources = [url if isinstance(url, Source) else Source.parse(url) for url in urls]
        defaults = {"survey_seconds": 0.0, "open_rpc": lambda url: Rpc(url, timeout=2.0)}
        made.append(Endpoints(sources, manifest, **{**defaults, **options}))
        return made[-1]

    yield make
    for endpoints in made:
        endpoints.close()


def patient(follower, *, turns=60):
    """Step as `run` does: an error of the chain only costs a turn."""
    said = []
    for _ in range(turns):
        try:
            if follower.step():
                return said
        except (ChainUnavailable, RpcRefused) as error:
            said.append(error.message)
            follower._failed(error, 1)
    raise AssertionError(said[-3:])


def reorgs(engine):
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(tables.reorg)).scalar_one()


def test_what_one_does_not_answer_the_next_one_does(ledger, engine, proxies, several, look):
    ledger.busy()
    proxies[0].socket_fault = "refuse"
    endpoints = several(*(proxy.url for proxy in proxies))
    look.catch_up(Follower(endpoints, engine, ledger.deployment, look.Profile()))
    assert look.journal(engine) == ledger.logs()
    first, second, _ = endpoints.shown()
    assert first.health.trouble
    assert (first.answered, second.health.trouble) == (0, "")
    assert second.answered > 0


def test_the_preferred_one_is_asked_again_once_it_is_back(proxies, several):
    clock = [0.0]
    endpoints = several(*(proxy.url for proxy in proxies), monotonic=lambda: clock[0])
    latest = [("eth_getBlockByNumber", ["latest", False])]
    proxies[0].socket_fault = "prose"
    for _ in range(4):
        endpoints.batch(latest)
    proxies[0].heal()
    clock[0] += 100
    endpoints.agreed_final()
    before = proxies[1].asked
    endpoints.batch(latest)
    assert proxies[1].asked == before
    assert endpoints.shown()[0].health.circuit == "closed"


def test_one_that_asks_for_rest_gets_as_much_as_it_asks_for(proxies, several):
    clock = [0.0]
    endpoints = several(*(proxy.url for proxy in proxies), monotonic=lambda: clock[0])
    latest = [("eth_getBlockByNumber", ["latest", False])]
    proxies[0].socket_fault, proxies[0].retry_after = "busy", "30"
    endpoints.batch(latest)
    proxies[0].heal()
    asked = proxies[0].asked
    for clock[0] in (1.0, 29.0):
        endpoints.batch(latest)
        endpoints.agreed_final()
    assert proxies[0].asked == asked
    clock[0] = 31.0
    endpoints.batch(latest)
    assert proxies[0].asked > asked


def test_when_none_answers_the_sentence_names_each_of_them(proxies, several):
    for proxy in proxies:
        proxy.socket_fault = "prose"
    endpoints = several(*(proxy.url for proxy in proxies))
    with pytest.raises(ChainUnavailable) as caught:
        endpoints.batch([("eth_getBlockByNumber", ["latest", False])])
    assert "none of 3 endpoints" in caught.value.message
    assert all(host in caught.value.message for host in endpoints.hosts)


@pytest.mark.parametrize("fault", ["chain id", "genesis", "code"])
def test_one_of_another_chain_or_other_contracts_is_not_asked_for_anything(
    fault, ledger, engine, proxies, several, faults, look
):
    def change(question, result):
        if fault == "chain id":
            return faults.other_chain_id(5)(question, result)
        if fault == "code":
            return faults.other_code(question, result)
        if question["method"] == "eth_getBlockByNumber" and question["params"][0] == "0x0":
            return faults.forged(result, extraData="0x77")
        return result

    proxies[0].change = change
    endpoints = several(*(proxy.url for proxy in proxies))
    look.catch_up(Follower(endpoints, engine, ledger.deployment, look.Profile()))
    assert look.journal(engine) == ledger.logs()
    first, second, _ = endpoints.shown()
    assert first.disabled
    assert not second.disabled
    assert (first.to_json()["healthy"], first.answered) == (False, 0)
    for proxy in proxies[1:]:
        proxy.change = change
    endpoints = several(*(proxy.url for proxy in proxies))
    with pytest.raises(WrongNetwork, match="no endpoint serves this chain"):
        endpoints.batch([("eth_chainId", [])])


def test_final_is_what_a_quorum_shows_and_no_more(ledger, engine, proxies, several, faults, look):
    ledger.mine(6)
    head = ledger.rpc.block("latest")

    def eager(question, result):
        if question["method"] == "eth_getBlockByNumber" and question["params"][0] == "finalized":
            return head.raw
        return result

    proxies[0].change = eager
    endpoints = several(*(proxy.url for proxy in proxies))
    follower = Follower(endpoints, engine, ledger.deployment, look.Profile(test_network=False))
    patient(follower)
    with engine.connect() as connection:
        final = connection.execute(select(tables.cursor.c.finalized)).scalar_one()
    assert final == ledger.rpc.block("finalized").number < head.number


def test_safe_is_what_a_quorum_shows_and_no_more(ledger, engine, proxies, several, look):
    ledger.mine(40)
    head = ledger.rpc.block("latest")

    def eager(question, result):
        if question["method"] == "eth_getBlockByNumber" and question["params"][0] == "safe":
            return head.raw
        return result

    proxies[0].change = eager
    endpoints = several(*(proxy.url for proxy in proxies))
    follower = Follower(endpoints, engine, ledger.deployment, look.Profile(test_network=False))
    patient(follower)
    with engine.connect() as connection:
        safe = connection.execute(select(tables.cursor.c.safe)).scalar_one()
    assert safe == ledger.rpc.block("safe").number < head.number


def test_a_block_that_a_quorum_calls_safe_is_not_taken_in_another_form(
    ledger, proxies, several, faults
):
    ledger.mine(40)
    safe = ledger.rpc.block("safe")

    def own(question, result):
        if question["method"] == "eth_getBlockByNumber":
            at = question["params"][0]
            if at == "safe" or (at.startswith("0x") and int(at, 16) == safe.number):
                return faults.forged(result, extraData="0x01")
        return result

    proxies[0].change = own
    endpoints = several(*(proxy.url for proxy in proxies))
    assert endpoints.agreed_safe() == (safe.number, safe.hash.raw)
    heads = settled(endpoints, read_heads(endpoints, depth=0))
    assert (heads.safe, heads.safe_hash) == (safe.number, safe.hash.raw)
    headers = [read_header(endpoints, number) for number in range(safe.number, safe.number + 2)]
    with pytest.raises(ChainUnavailable, match="as safe"):
        vouch(endpoints, headers, heads)
    proxies[1].change = own
    endpoints = several(*(proxy.url for proxy in proxies))
    proxies[2].socket_fault = "prose"
    assert endpoints.agreed_safe() != (safe.number, safe.hash.raw)


def test_finality_stands_still_while_each_shows_another_final_block(
    ledger, proxies, several, faults
):
    def own(mark):
        def change(question, result):
            asked = question["params"][0] if question["params"] else ""
            by_height = question["method"] == "eth_getBlockByNumber"
            lies = by_height and asked in {"finalized", final}
            return faults.forged(result, extraData=mark) if lies else result

        return change

    ledger.mine(3)
    final = hex(ledger.rpc.block("finalized").number)
    proxies[0].change, proxies[1].change = own("0x01"), own("0x02")
    endpoints = several(*(proxy.url for proxy in proxies))
    assert endpoints.agreed_final() is None
    assert "no 2 of 3 endpoints agree on final block" in endpoints.trouble
    proxies[0].heal()
    assert endpoints.agreed_final() == (int(final, 16), ledger.rpc.block("finalized").hash.raw)
    assert endpoints.shown()[1].health.contrary == 1


def test_finality_stands_still_while_too_few_say_where_they_stand(
    ledger, engine, proxies, several, look
):
    endpoints = several(*(proxy.url for proxy in proxies))
    follower = Follower(endpoints, engine, ledger.deployment, look.Profile(test_network=False))
    patient(follower)

    def final():
        with engine.connect() as connection:
            return connection.execute(select(tables.cursor.c.finalized)).scalar_one()

    before = final()
    for proxy in proxies[1:]:
        proxy.socket_fault = "refuse"
    ledger.busy()
    patient(follower)
    assert look.journal(engine) == ledger.logs()
    assert final() == before
    assert "only 1 of 3" in endpoints.trouble
    for proxy in proxies[1:]:
        proxy.heal()
    for one in endpoints._all:
        one.record._open_until = None
    ledger.mine()
    patient(follower)
    assert final() > before
    assert endpoints.trouble == ""


def test_old_blocks_of_another_branch_are_not_stored(
    ledger, engine, proxies, several, faults, look
):
    """The first endpoint stands on a fork; the two others vouch for what is final."""
    with faults.twin(ledger.rpc) as url:
        proxies[0].target = url
        with Rpc(url) as fork:
            fork.call("evm_setAutomine", [False])
            for _ in range(9):
                fork.call("evm_mine", [])
        ledger.busy()
        ledger.mine(3)
        endpoints = several(*(proxy.url for proxy in proxies))
        follower = Follower(endpoints, engine, ledger.deployment, look.Profile(test_network=False))
        said = patient(follower)
        assert any("vouch" in sentence for sentence in said)
        assert look.journal(engine) == ledger.logs()
        assert reorgs(engine) == 0
        assert endpoints.shown()[0].health.contrary > 0


def test_a_reorganisation_that_only_one_shows_is_not_believed(
    ledger, engine, proxies, several, faults, look
):
    ledger.mine(3)
    with faults.twin(ledger.rpc) as url, Rpc(url) as fork:
        fork.call("evm_setAutomine", [False])
        ledger.do("Anchors", "anchor", secrets.token_bytes(32))
        endpoints = several(proxies[0].url, proxies[1].url)
        follower = Follower(endpoints, engine, ledger.deployment, look.Profile())
        patient(follower)
        for _ in range(3):
            fork.call("evm_mine", [])
        proxies[0].target = url
        said = patient(follower)
        assert any("still shows ours" in sentence for sentence in said)
        assert reorgs(engine) == 0
        assert look.journal(engine) == ledger.logs()


def test_a_quorum_is_believed_though_one_endpoint_is_stuck_on_the_old_branch(
    ledger, engine, proxies, several, faults, look
):
    ledger.mine(3)
    with faults.twin(ledger.rpc) as url, Rpc(url) as fork:
        fork.call("evm_setAutomine", [False])
        fork.call("evm_mine", [])
        endpoints = several(*(proxy.url for proxy in proxies))
        proxies[0].target = proxies[1].target = proxies[2].target = url
        follower = Follower(endpoints, engine, ledger.deployment, look.Profile())
        patient(follower)
        time.sleep(1.1)  # another second, else the same block
        ledger.mine()
        ledger.do("Anchors", "anchor", secrets.token_bytes(32))
        proxies[0].target = ledger.rpc.urls[0]
        patient(follower)
        assert reorgs(engine) == 0
        proxies[1].target = ledger.rpc.urls[0]
        patient(follower)
        assert reorgs(engine) == 1
        assert look.journal(engine) == ledger.logs()


def test_a_reorganisation_is_not_believed_while_no_second_one_answers(
    ledger, engine, proxies, several, look
):
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    endpoints = several(proxies[0].url, proxies[1].url)
    follower = Follower(endpoints, engine, ledger.deployment, look.Profile())
    patient(follower)
    before = look.journal(engine)
    proxies[1].socket_fault = "refuse"
    ledger.reorg(1)
    ledger.mine()
    with pytest.raises(AssertionError, match="too few other endpoints show the same"):
        patient(follower, turns=4)
    assert look.journal(engine) == before
    proxies[1].heal()
    for one in endpoints._all:
        one.record._open_until = None
    patient(follower)
    assert reorgs(engine) == 1
    assert look.journal(engine) == ledger.logs()


def test_a_lower_head_is_lag_and_another_endpoint_is_asked(
    ledger, engine, proxies, several, faults, look
):
    old = ledger.rpc.block("latest").raw
    final = ledger.rpc.block("finalized").raw
    ledger.busy()
    endpoints = several(proxies[0].url, proxies[1].url)
    follower = Follower(endpoints, engine, ledger.deployment, look.Profile(test_network=False))
    patient(follower)
    proxies[0].change = faults.frozen(old, final)
    ledger.do("Anchors", "anchor", secrets.token_bytes(32))
    said = patient(follower)
    assert any("below block" in sentence for sentence in said)
    assert reorgs(engine) == 0
    assert look.journal(engine) == ledger.logs()


def test_another_branch_with_a_lower_final_block_is_lag_too(ledger, engine, faults, look):
    proxy = faults.FaultProxy(ledger.rpc.urls[0])
    try:
        with Rpc(proxy.url) as rpc:
            follower = Follower(rpc, engine, ledger.deployment, look.Profile(test_network=False))
            ledger.mine(4)
            patient(follower)
            ledger.reorg(1)
            ledger.mine()
            early = ledger.rpc.block(1).raw
            proxy.change = faults.tagged(lambda tag, block: early if tag == "finalized" else block)
            with pytest.raises(ChainUnavailable, match="lies below ours"):
                follower.step()
            proxy.heal()
            patient(follower)
            assert reorgs(engine) == 1
    finally:
        proxy.close()


def test_past_finality_all_of_them_stop_the_index_with_the_way_out(
    ledger, engine, proxies, several, look
):
    ledger.register()
    ledger.mine(8)
    endpoints = several(proxies[0].url, proxies[1].url)
    follower = Follower(endpoints, engine, ledger.deployment, look.Profile(test_network=False))
    patient(follower)
    with engine.connect() as connection:
        final = connection.execute(select(tables.cursor.c.finalized)).scalar_one()
    head = ledger.rpc.block("latest").number
    ledger.reorg(head - final + 2)
    ledger.mine(6)
    endpoints.agreed_final()
    with pytest.raises(Reorganised) as caught:
        follower.step()
    # Empty blocks are not kept below finality: the newest kept one may lie lower than the fork.
    with engine.connect() as connection:
        numbers = connection.execute(select(tables.block.c.number)).scalars().all()
    shared = max(number for number in numbers if number <= final - 2)
    assert caught.value.hint.endswith(f"deed index accept-reorg {shared}")
    follower._failed(caught.value, 1)
    assert follower.status.state == "stopped"
    assert "accept-reorg" in follower.status.reason


def test_old_blocks_are_asked_of_an_archive_first(ledger, proxies, several):
    ledger.mine(140)
    endpoints = several(f"head={proxies[0].url}", f"archive={proxies[1].url}")
    endpoints.batch([("eth_getBlockByNumber", ["latest", False])])
    before = [proxy.asked for proxy in proxies]
    endpoints.batch([("eth_getBlockByNumber", ["0x2", False])])
    assert proxies[0].asked == before[0]
    assert proxies[1].asked > before[1]


@pytest.mark.parametrize(
    ("sources", "options", "said"),
    [
        ([], {}, "no RPC endpoint"),
        (["http://127.0.0.1:1", "http://127.0.0.1:1"], {}, "twice"),
        (["http://127.0.0.1:1"], {"quorum": 2}, "2 of 1"),
        (["full=http://127.0.0.1:1"], {}, "no role"),
    ],
)
def test_endpoints_that_cannot_be_meant_are_refused(sources, options, said, several):
    with pytest.raises(UsageError, match=said) as caught:
        several(*sources, **options)
    assert caught.value.hint


def test_two_of_one_host_are_told_apart_and_no_url_is_shown(several):
    endpoints = several("http://127.0.0.1:9/key-one-long", "http://127.0.0.1:9/key-two-long")
    assert endpoints.hosts == ("127.0.0.1:9", "127.0.0.1:9 #2")
    with pytest.raises(ChainUnavailable) as caught:
        endpoints.batch([("eth_chainId", [])])
    assert "key-" not in caught.value.message


def test_logs_that_one_endpoint_lost_are_read_from_another(ledger, engine, proxies, several, look):
    def forgetful(question, result):
        lost = {"eth_getLogs": [], "eth_getBlockReceipts": None}
        return lost.get(question["method"], result)

    ledger.register()
    proxies[0].change = forgetful
    endpoints = several(proxies[0].url, proxies[1].url)
    follower = Follower(endpoints, engine, ledger.deployment, look.Profile())
    (said,) = patient(follower)
    assert "no receipts of block" in said
    assert look.journal(engine) == ledger.logs()
    forgot, held = endpoints.shown()
    # Two ranges may be read ahead from it at the same time.
    assert forgot.health.contrary in (1, 2)
    assert held.health.contrary == 0


def test_what_another_thread_asks_does_not_shift_the_blame(proxies, several):
    """The keeper asks beside the follower, over the same endpoints."""
    endpoints = several(proxies[0].url, proxies[1].url)
    latest = [("eth_getBlockByNumber", ["latest", False])]
    endpoints.batch(latest)
    proxies[0].socket_fault = "prose"
    beside = threading.Thread(target=endpoints.batch, args=(latest,))
    beside.start()
    beside.join()
    endpoints.blame(ChainUnavailable("the endpoint has lost logs of block 7"))
    first, second = endpoints.shown()
    assert (first.health.contrary, second.health.contrary) == (1, 0)
