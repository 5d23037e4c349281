"""The local chain: finality, memory, survival. Real Anvil processes, really killed."""

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ledger.chain.anvil import StateFile
from ledger.chain.dev import DevChain
from ledger.chain.rpc import Rpc, quantity
from ledger.chain.wallet import dev_wallet
from ledger.errors import ChainUnavailable, ManifestError, UnavailableError, UsageError

pytestmark = pytest.mark.chain
ALICE = str(dev_wallet("licensor").address)
BOB = str(dev_wallet("holder").address)


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except UnavailableError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def gone(pid):
    try:
        # A process that is dead but not reaped by its (possibly foreign) parent counts as gone.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def pay(rpc):
    sent = rpc.call("eth_sendTransaction", [{"from": ALICE, "to": BOB, "value": "0x1"}])
    until(lambda: rpc.call("eth_getTransactionReceipt", [sent]) is not None)
    return sent


def final(rpc, sent):
    number = quantity(rpc.call("eth_getTransactionReceipt", [sent])["blockNumber"])
    return rpc.block("finalized").number >= number


def nonce(rpc):
    return quantity(rpc.call("eth_getTransactionCount", [ALICE, "latest"]))


@pytest.fixture
def state(tmp_path):
    return tmp_path / "chain" / "state"


def test_a_transaction_becomes_final_on_an_otherwise_idle_chain(chain):
    with Rpc(chain.rpc_url) as rpc:
        sent = pay(rpc)
        until(lambda: final(rpc, sent))


def test_an_idle_chain_makes_no_blocks(chain):
    with Rpc(chain.rpc_url) as rpc:
        sent = pay(rpc)
        until(lambda: final(rpc, sent))
        before = rpc.block("latest")
        time.sleep(0.4)
        assert rpc.block("latest") == before


def test_held_finality_lets_a_test_look_at_a_block_that_is_not_final(chain):
    with Rpc(chain.rpc_url) as rpc:
        with chain.hold_finality():
            sent = pay(rpc)
            time.sleep(0.3)
            assert not final(rpc, sent)
        until(lambda: final(rpc, sent))


def test_a_stopped_chain_goes_on_where_it_was_with_the_same_genesis(state):
    with DevChain.start(state=state) as chain, Rpc(chain.rpc_url) as rpc:
        sent, genesis = pay(rpc), rpc.block(0).hash
        head = rpc.block("latest")
    with DevChain.start(state=state) as chain, Rpc(chain.rpc_url) as rpc:
        assert rpc.block(0).hash == genesis
        assert rpc.block(head.number).hash == head.hash
        assert final(rpc, sent)
        assert nonce(rpc) == 1


def test_a_clean_stop_loses_no_transaction_that_still_waits_for_its_block(state):
    for count in range(3):
        with DevChain.start(state=state) as chain, Rpc(chain.rpc_url) as rpc:
            assert nonce(rpc) == count
            # As if the stop came between a transaction's arrival and its block.
            rpc.call("evm_setAutomine", [False])
            rpc.call("eth_sendTransaction", [{"from": ALICE, "to": BOB, "value": "0x1"}])


def test_restarted_many_times_with_writes_in_between_it_stays_the_same_chain(state):
    firsts, counts = set(), []
    for _ in range(6):
        with DevChain.start(state=state) as node, Rpc(node.rpc_url) as rpc:
            firsts.add(rpc.block(0).hash)
            one, other = rpc.call("eth_accounts", [])[:2]
            counts.append(quantity(rpc.call("eth_getTransactionCount", [one, "latest"])))
            rpc.call("eth_sendTransaction", [{"from": one, "to": other, "value": "0x1"}])
        # A chain's first block carries the second it began in.
        time.sleep(1.05)
    assert len(firsts) == 1
    assert counts == [0, 1, 2, 3, 4, 5]


def test_a_transaction_with_one_block_above_it_becomes_final_too(chain):
    with Rpc(chain.rpc_url) as rpc:
        with chain.hold_finality():
            sent = pay(rpc)
            chain.mine(1)
        until(lambda: final(rpc, sent))


def test_state_proofs_at_the_finalized_block_work_right_after_a_restart(state):
    with DevChain.start(state=state) as chain, Rpc(chain.rpc_url) as rpc:
        sent = pay(rpc)
        until(lambda: final(rpc, sent))
    with DevChain.start(state=state) as chain, Rpc(chain.rpc_url) as rpc:
        block = rpc.block("finalized")
        proof = rpc.call("eth_getProof", [BOB, [], hex(block.number)])
        assert quantity(proof["balance"]) == 10_000 * 10**18 + 1
        assert proof["accountProof"]


def test_block_times_and_numbers_never_run_backwards_over_a_restart(state):
    with DevChain.start(state=state) as chain, Rpc(chain.rpc_url) as rpc:
        chain.advance_time(3600)
        before = rpc.block("latest")
        assert before.timestamp >= time.time() + 3500
    with DevChain.start(state=state) as chain, Rpc(chain.rpc_url) as rpc:
        pay(rpc)
        after = rpc.block("latest")
        assert after.number > before.number
        assert after.timestamp >= before.timestamp


def test_a_node_killed_hard_is_started_again_at_the_same_address_with_what_was_final(state):
    with DevChain.start(state=state) as chain, Rpc(chain.rpc_url) as rpc:
        sent = pay(rpc)
        until(lambda: final(rpc, sent))
        first = chain.pid
        os.kill(first, signal.SIGKILL)
        until(lambda: chain.pid != first)
        until(lambda: rpc.call("eth_getTransactionReceipt", [sent]) is not None)
        until(lambda: final(rpc, sent))
        assert nonce(rpc) == 1


def newest_with_transactions(rpc):
    number = rpc.block("latest").number
    while number and not rpc.block(number).raw["transactions"]:
        number -= 1
    return number


def test_a_transaction_is_on_disk_before_it_becomes_final(state, monkeypatch):
    """So that no kill, at whatever moment, loses what was called final."""
    saves = []
    save = StateFile.save

    def watched(file, packed):
        with Rpc(chain.rpc_url) as rpc:
            saves.append((newest_with_transactions(rpc), rpc.block("finalized").number))
        save(file, packed)

    monkeypatch.setattr(StateFile, "save", watched)
    with DevChain.start(state=state) as chain, Rpc(chain.rpc_url) as rpc:
        for _ in range(3):
            sent = pay(rpc)
            until(lambda sent=sent: final(rpc, sent))
    first_of = dict(reversed(saves))  # the first save of each block
    assert len(first_of) == 3
    assert all(finalized < number for number, finalized in first_of.items()), saves


OWNER = """
import sys, time
from pathlib import Path
from ledger.chain.dev import DevChain
chain = DevChain.start(state=Path(sys.argv[1]))
print(chain.rpc_url, chain.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def owner(state):
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(state)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        url, pid = process.stdout.readline().split()
        return process, url, int(pid)

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_when_the_owner_is_killed_hard_the_node_dies_too_and_little_is_lost(owner, state):
    process, url, pid = owner()
    with Rpc(url) as rpc:
        sent = pay(rpc)
        until(lambda: final(rpc, sent))
    process.kill()
    process.wait()
    until(lambda: gone(pid))
    with DevChain.start(state=state) as chain, Rpc(chain.rpc_url) as rpc:
        assert final(rpc, sent)


def test_killed_hard_as_soon_as_it_is_final_nothing_is_lost(owner, state):
    for count in range(1, 4):
        process, url, pid = owner()
        with Rpc(url) as rpc:
            sent = pay(rpc)
            until(lambda rpc=rpc, sent=sent: final(rpc, sent))
        process.kill()
        process.wait()
        until(lambda pid=pid: gone(pid))
        with DevChain.start(state=state) as chain, Rpc(chain.rpc_url) as rpc:
            assert final(rpc, sent)
            assert nonce(rpc) == count


def test_ctrl_c_in_the_owners_terminal_does_not_reach_the_node_directly(owner, state):
    process, url, pid = owner()
    with Rpc(url) as rpc:
        pay(rpc)
        assert os.getpgid(pid) != os.getpgid(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(20)
    until(lambda: gone(pid))
    with DevChain.start(state=state) as chain, Rpc(chain.rpc_url) as rpc:
        assert nonce(rpc) == 1


def test_a_torn_state_file_falls_back_to_the_copy_before_it(state):
    with DevChain.start(state=state) as chain, Rpc(chain.rpc_url) as rpc:
        pay(rpc)
        until(state.exists)
        first = state.read_bytes()
        pay(rpc)
    before = state.with_name("state.previous")
    assert before.exists()
    before.write_bytes(first)  # as if the torn write had been the next one
    state.write_bytes(state.read_bytes()[:-200])
    with DevChain.start(state=state) as chain, Rpc(chain.rpc_url) as rpc:
        assert nonce(rpc) == 1


def test_a_state_damaged_in_both_copies_is_refused_and_left_alone(state):
    state.parent.mkdir()
    for path in (state, state.with_name("state.previous")):
        path.write_bytes(b"not a state")
    with pytest.raises(ManifestError) as caught:
        DevChain.start(state=state)
    assert "--fresh" in caught.value.hint
    assert state.read_bytes() == b"not a state"


def test_a_state_that_anvil_cannot_read_is_refused_with_the_way_out(state):
    state.parent.mkdir(parents=True)
    state.write_bytes(gzip.compress(b'{"block": 7}'))
    with pytest.raises(ChainUnavailable) as caught:
        DevChain.start(state=state)
    assert "--fresh" in caught.value.hint


def test_two_processes_cannot_run_one_chain(state):
    with DevChain.start(state=state), pytest.raises(UsageError, match="another process"):
        DevChain.start(state=state)
    DevChain.start(state=state).stop()


def test_a_port_that_is_taken_is_refused_before_anything_starts(chain, state):
    with pytest.raises(UsageError, match="taken"):
        DevChain.start(state=state, port=chain.port)
    DevChain.start(state=state).stop()


def test_stopping_twice_is_harmless_and_leaves_no_process(state):
    chain = DevChain.start(state=state)
    with Rpc(chain.rpc_url) as rpc:
        pay(rpc)
        until(state.exists)
        time.sleep(0.1)
    pid = chain.pid
    chain.stop()
    chain.stop()
    assert gone(pid)
    kept = {"state", "state.previous", "state.lock"}
    assert {path.name for path in state.parent.iterdir()} <= kept
