"""Sending: each transaction takes effect once, and every failure says what to do."""

import gc
import multiprocessing
import threading

import pytest

from ledger.chain import reverts, transactions
from ledger.chain.dev import DevChain
from ledger.chain.drafting import _Pen
from ledger.chain.profile import profile_for
from ledger.chain.rpc import Rpc, quantity
from ledger.chain.transactions import Sender, ether, wait_final
from ledger.chain.wallet import LocalWallet, dev_wallet
from ledger.errors import (
    ChainUnavailable,
    InsufficientFunds,
    PendingFinality,
    Reorganised,
    TransactionFailed,
    UsageError,
)
from ledger.ids import Address, Digest

pytestmark = pytest.mark.chain
BOB = dev_wallet("holder").address


def root(number):
    return Digest(number.to_bytes(32, "big"))


def test_a_receipt_tells_block_gas_and_events(deployed):
    receipt = deployed.anchors.anchor(deployed.sender("licensor"), root(1))
    assert receipt.status
    assert receipt.gas_used <= 46_000
    assert deployed.rpc.block(receipt.block_number).hash == receipt.block_hash
    (log,) = receipt.logs
    assert log.address == deployed.anchors.address
    assert log.topics[1] == root(1).raw


def test_a_call_that_the_contract_refuses_is_never_sent(deployed):
    sender = deployed.sender("licensor")
    deployed.anchors.anchor(sender, root(2))
    before = sender._next_nonce()
    with pytest.raises(reverts.AnchorsRootTaken) as caught:
        deployed.anchors.anchor(sender, root(2))
    assert sender._next_nonce() == before
    assert caught.value.arguments["root"] == root(2)


def test_an_account_without_money_is_named_with_what_it_needs(deployed):
    poor = LocalWallet.create()
    sender = Sender(deployed.rpc, poor, deployed.profile)
    with pytest.raises(InsufficientFunds) as caught:
        deployed.anchors.anchor(sender, root(3))
    assert str(poor.address) in caught.value.message
    assert "0.000000 ETH" in caught.value.message
    assert "send it" in caught.value.hint


def test_more_value_than_the_account_has_is_insufficient_funds(deployed):
    with pytest.raises(InsufficientFunds):
        deployed.sender("spare").send(BOB, b"", 20_000 * 10**18)


def test_saying_no_sends_nothing(deployed):
    seen = []

    def refuse(preview):
        seen.append(preview)
        return False

    sender = Sender(deployed.rpc, dev_wallet("buyer"), deployed.profile, confirm=refuse)
    with pytest.raises(UsageError, match="nothing was sent"):
        deployed.anchors.anchor(sender, root(4))
    assert deployed.anchors.anchored_at(root(4)) is None
    (preview,) = seen
    assert preview.account == dev_wallet("buyer").address
    assert preview.max_fee > 0
    assert "anchor root" in preview.purpose


def test_a_test_key_is_refused_on_a_public_chain(deployed):
    with pytest.raises(UsageError, match="test account"):
        Sender(deployed.rpc, dev_wallet("licensor"), profile_for(1))


def test_accounts_that_were_only_asked_about_leave_nothing_behind():
    """A service makes a sender for whatever account a stranger names."""
    before = len(transactions._LOCKS)
    profile = profile_for(31337)
    with Rpc("http://127.0.0.1:9") as rpc:
        one, same = (Sender(rpc, _Pen(BOB), profile) for _ in range(2))
        assert one._lock is same._lock
        for number in range(100):
            Sender(rpc, _Pen(Address(root(number).raw[-20:])), profile)
    gc.collect()
    assert len(transactions._LOCKS) <= before + 1


def test_threads_sharing_an_account_each_get_their_transaction_in(deployed):
    numbers = range(100, 112)
    failures = []

    def work(number):
        try:
            deployed.anchors.anchor(deployed.sender("rival"), root(number))
        except Exception as error:  # noqa: BLE001  shown by the assert below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(deployed.anchors.anchored_at(root(number)) for number in numbers)


def send_many(url, name, count, results):
    with Rpc(url) as rpc:
        sender = Sender(rpc, dev_wallet(name), profile_for(31337))
        for _ in range(count):
            results.put(sender.send(BOB, b"", 1).hash.raw)


def test_two_processes_sending_from_one_account_lose_no_transaction_and_double_none(deployed):
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    before = deployed.sender("operator")._next_nonce()
    processes = [
        spawn.Process(target=send_many, args=(deployed.chain.rpc_url, "operator", 8, results))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    hashes = {results.get(timeout=60) for _ in range(16)}
    for process in processes:
        process.join()
    assert len(hashes) == 16
    assert deployed.sender("operator")._next_nonce() == before + 16


def test_a_transaction_sent_twice_takes_effect_once(deployed):
    """As after an answer that was lost on the way."""
    sender = deployed.sender("auditor")
    call = deployed.anchors._abi.encode("anchor", root(200))
    priced = sender._price(
        {
            "from": str(sender.address),
            "to": str(deployed.anchors.address),
            "data": "0x" + call.hex(),
        },
        0,
    )
    raw, nonce = sender._broadcast(deployed.anchors.address, call, 0, priced)
    first = sender._await(raw, nonce, {})
    sender._look_for(first.hash, raw, nonce)
    assert sender._await(raw, nonce, {}) == first
    assert sender._next_nonce() == nonce + 1


@pytest.mark.parametrize("said", ["already known", "nonce too low", "replacement underpriced"])
def test_a_node_that_refuses_what_it_has_taken_gets_no_second_transaction(
    deployed, serve, reply_error, reply_result, said
):
    """As when the first sending arrived and only its answer was lost."""

    def answer(request):
        done = deployed.rpc.call(request["method"], request["params"])
        if request["method"] == "eth_sendRawTransaction":
            return reply_error(request, -32000, said)
        return reply_result(request, done)

    wallet = dev_wallet("spare")
    with Rpc(serve(answer).url) as rpc:
        sender = Sender(rpc, wallet, deployed.profile)
        before = sender._next_nonce()
        assert sender.send(BOB, b"", 1).status
        assert sender._next_nonce() == before + 1


def test_a_transaction_that_never_reached_the_node_is_sent_again_while_waiting(deployed):
    sender = deployed.sender("auditor")
    nonce = sender._next_nonce()
    raw = sender.signer.sign_transaction(
        {
            "type": 2,
            "chainId": 31337,
            "nonce": nonce,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 1,
            "gas": 21_000,
            "value": 1,
            "data": b"",
            "to": str(BOB),
        }
    )
    assert sender._await(raw, nonce, {}).status


def test_a_transaction_whose_number_another_took_is_reported_as_replaced(deployed):
    sender = deployed.sender("auditor")
    raw = sender.signer.sign_transaction(
        {
            "type": 2,
            "chainId": 31337,
            "nonce": 0,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 1,
            "gas": 21_000,
            "value": 7,
            "data": b"",
            "to": str(BOB),
        }
    )
    with pytest.raises(TransactionFailed, match="replaced"):
        sender._await(raw, 0, {})


def test_a_transaction_that_fails_when_mined_tells_the_contracts_reason(deployed):
    """Both passed the estimate; the other one came first."""
    sender = deployed.sender("broker")
    call = deployed.anchors._abi.encode("anchor", root(300))
    request = {
        "from": str(sender.address),
        "to": str(deployed.anchors.address),
        "data": "0x" + call.hex(),
    }
    priced = sender._price(request, 0)
    deployed.anchors.anchor(deployed.sender("licensor"), root(300))
    raw, nonce = sender._broadcast(deployed.anchors.address, call, 0, priced)
    with pytest.raises(reverts.AnchorsRootTaken):
        sender._await(raw, nonce, request)


def test_waiting_for_finality_ends_when_the_block_is_final(deployed):
    receipt = deployed.anchors.anchor(deployed.sender("licensor"), root(400))
    deployed.sender("licensor").wait_final(receipt, 10)
    assert deployed.rpc.block("finalized").number >= receipt.block_number


def test_what_is_not_final_in_time_says_so_with_a_time_to_retry(deployed):
    with deployed.chain.hold_finality():
        receipt = deployed.anchors.anchor(deployed.sender("licensor"), root(401))
        with pytest.raises(PendingFinality) as caught:
            deployed.sender("licensor").wait_final(receipt, 0.2)
    assert caught.value.retry_after > 0


def test_a_transaction_nobody_mines_is_pending_and_may_still_come(deployed):
    # The chain's keeper mines after an earlier transaction; it must not mine this one.
    with deployed.chain.hold_finality():
        deployed.rpc.call("evm_setAutomine", [False])
        try:
            sender = Sender(deployed.rpc, dev_wallet("spare"), deployed.profile, timeout=0.3)
            with pytest.raises(PendingFinality, match="not mined"):
                deployed.anchors.anchor(sender, root(402))
        finally:
            deployed.rpc.call("evm_setAutomine", [True])
            deployed.chain.mine()
    assert deployed.anchors.anchored_at(root(402)) is not None


def test_a_receipt_from_a_replaced_block_is_noticed():
    with DevChain.start() as chain, Rpc(chain.rpc_url) as rpc:
        sender = Sender(rpc, dev_wallet("licensor"), profile_for(31337))
        with chain.hold_finality():
            receipt = sender.send(BOB, b"", 1)
            rpc.call("anvil_reorg", [1, []])
            chain.mine(2)
        with pytest.raises(Reorganised):
            wait_final(rpc, sender.profile, receipt, 5)


def test_a_chain_that_is_down_is_one_error_with_a_hint():
    with DevChain.start() as chain:
        url = chain.rpc_url
    with Rpc(url) as rpc, pytest.raises(ChainUnavailable) as caught:
        Sender(rpc, dev_wallet("licensor"), profile_for(31337)).send(BOB, b"", 1)
    assert "deed up" in caught.value.hint


def test_amounts_are_rounded_up_so_that_nobody_sends_too_little():
    assert ether(0) == "0.000000 ETH"
    assert ether(1) == "0.000001 ETH"
    assert ether(15 * 10**17) == "1.500000 ETH"


def test_gas_of_a_plain_transfer_is_the_protocols(deployed):
    receipt = deployed.sender("stranger").send(BOB, b"", 1)
    assert receipt.gas_used == 21_000
    assert quantity(hex(receipt.gas_used)) == 21_000
