"""Real proofs of Ethereum mainnet (tests/vectors/evidence/mainnet/README.md), and a bit of each."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import LedgerError
from ledger.evidence.documents import ReceiptProof, StateProof
from ledger.evidence.headers import Header
from ledger.evidence.proofs import prove_account, prove_item, prove_word
from ledger.evidence.receipts import Receipt
from ledger.ids import Address, Digest, keccak256

HERE = Path(__file__).resolve().parents[2] / "vectors" / "evidence" / "mainnet"
BLOCK = Digest.parse("0x92dabfa3f61ff1c349d12f5fd0dd4c99760a0a41b77dee8f0a80f83efdcb307a")
DEPOSITS = Address.parse("0x00000000219ab540356cBB839Cbe05303d7705Fa")
LOGS = {0: 8, 150: 1, 201: 0}


def header():
    return Header.parse((HERE / "21925176.rlp").read_bytes())


def state(name):
    return StateProof.from_json(json.loads((HERE / f"{name}.json").read_text()))


def receipt(index):
    return ReceiptProof.from_json(json.loads((HERE / f"receipt-{index}.json").read_text()))


def test_the_raw_header_hashes_to_the_hash_that_everyone_knows():
    found = header()
    assert found.hash == BLOCK
    assert (found.number, found.timestamp) == (21_925_176, 1_740_508_595)


def test_the_deposit_contract_stands_in_the_blocks_state():
    proof = state("deposit-contract")
    account = prove_account(header().state_root, DEPOSITS, proof.nodes)
    assert proof.address == DEPOSITS
    assert (account.nonce, account.balance) == (1, proof.balance)
    # 57.6 million ether were staked then.
    assert account.balance // 10**18 == 57_657_174
    assert account.code_hash == proof.code_hash
    assert account.storage_root == proof.storage_root
    (slot,) = proof.slots
    word = prove_word(account.storage_root, slot.slot, slot.nodes)
    assert int.from_bytes(word, "big") == slot.value != 0


def test_an_account_without_code_stands_there_too():
    proof = state("block-builder")
    account = prove_account(header().state_root, proof.address, proof.nodes)
    assert account.code_hash == Digest(keccak256(b""))
    assert account.nonce == 1_304_478


@pytest.mark.parametrize("index", LOGS)
def test_receipts_stand_under_the_blocks_root(index):
    proof = receipt(index)
    assert prove_item(header().receipts_root, index, proof.receipt_nodes) == proof.receipt
    assert len(Receipt.parse(proof.receipt).logs) == LOGS[index]


def test_the_first_receipt_is_a_deposit_of_wrapped_ether():
    log = Receipt.parse(receipt(0).receipt).logs[0]
    assert log.emitter == Address.parse("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2")
    assert log.topics[0] == keccak256(b"Deposit(address,uint256)")


@given(st.data())
def test_a_flipped_bit_of_the_header_is_another_block(data):
    raw = bytearray((HERE / "21925176.rlp").read_bytes())
    at = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[at // 8] ^= 1 << at % 8
    with contextlib.suppress(LedgerError):
        assert Header.parse(bytes(raw)).hash != BLOCK


def flipped(data, nodes):
    which = data.draw(st.integers(0, len(nodes) - 1))
    node = bytearray(nodes[which])
    at = data.draw(st.integers(0, len(node) * 8 - 1))
    node[at // 8] ^= 1 << at % 8
    return (*nodes[:which], bytes(node), *nodes[which + 1 :])


@given(st.data())
def test_a_flipped_bit_of_any_node_proves_nothing(data):
    proof = state("deposit-contract")
    with pytest.raises(LedgerError):
        prove_account(header().state_root, DEPOSITS, flipped(data, proof.nodes))
    slot = proof.slots[0]
    with pytest.raises(LedgerError):
        prove_word(proof.storage_root, slot.slot, flipped(data, slot.nodes))
    of = receipt(data.draw(st.sampled_from(list(LOGS))))
    with pytest.raises(LedgerError):
        prove_item(header().receipts_root, of.index, flipped(data, of.receipt_nodes))


def test_a_proof_of_one_place_proves_nothing_of_another():
    proof = state("deposit-contract")
    with pytest.raises(LedgerError):
        prove_account(header().state_root, state("block-builder").address, proof.nodes)
    with pytest.raises(LedgerError):
        prove_item(header().receipts_root, 1, receipt(150).receipt_nodes)
    with pytest.raises(LedgerError):
        prove_item(header().transactions_root, 150, receipt(150).receipt_nodes)
