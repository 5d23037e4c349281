import contextlib
import json

import pytest
import rlp
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import SignatureInvalid, StateProofInvalid
from ledger.evidence.documents import ReceiptProof
from ledger.evidence.receipts import Receipt, Transaction
from ledger.ids import Address

# Anvil's second test account: a well-known test key, worth nothing anywhere.
TEST_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
COMMON = {"nonce": 7, "gas": 21000, "to": "0x" + "22" * 20, "value": 3, "data": "0xabcdef"}
FEES = {"maxFeePerGas": 10**9, "maxPriorityFeePerGas": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"chainId": 31337, "gasPrice": 10**9},
        {"chainId": 31337, "gasPrice": 10**9, "type": 1, "accessList": []},
        {"chainId": 31337, **FEES, "type": 2},
        {
            "chainId": 31337,
            **FEES,
            "type": 3,
            "maxFeePerBlobGas": 1,
            "blobVersionedHashes": ["0x01" + "00" * 31],
        },
    ],
    ids=["legacy", "access-list", "fee-market", "blob"],
)
def test_sender_chain_and_call_are_read_from_every_type(fields):
    signed = Account.sign_transaction({**COMMON, **fields}, TEST_KEY)
    read = Transaction.parse(bytes(signed.raw_transaction))
    assert str(read.sender) == Account.from_key(TEST_KEY).address
    assert (read.chain_id, read.nonce, read.data) == (31337, 7, b"\xab\xcd\xef")
    assert read.to == Address(b"\x22" * 20)
    assert read.hash.raw == bytes(signed.hash)


def test_a_contract_creation_has_no_addressee():
    fields = {**COMMON, **FEES, "chainId": 1, "type": 2}
    del fields["to"]
    signed = Account.sign_transaction(fields, TEST_KEY)
    assert Transaction.parse(bytes(signed.raw_transaction)).to is None


def test_a_changed_signature_gives_another_sender_or_an_error():
    signed = Account.sign_transaction({**COMMON, **FEES, "chainId": 1, "type": 2}, TEST_KEY)
    raw = bytearray(signed.raw_transaction)
    raw[-1] ^= 1
    with contextlib.suppress(SignatureInvalid):
        assert str(Transaction.parse(bytes(raw)).sender) != Account.from_key(TEST_KEY).address


@settings(deadline=None)
@given(st.binary(max_size=120))
def test_arbitrary_bytes_raise_only_our_errors(raw):
    for parse in (Transaction.parse, Receipt.parse):
        with pytest.raises((StateProofInvalid, SignatureInvalid)):
            parse(raw)


@settings(deadline=None)
@given(
    st.recursive(st.binary(max_size=34), lambda inner: st.lists(inner, max_size=13), max_leaves=30),
    st.sampled_from([b"", b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"]),
)
def test_any_shape_of_list_raises_only_our_errors(shape, kind):
    raw = kind + rlp.encode(shape if isinstance(shape, list) else [shape])
    for parse in (Transaction.parse, Receipt.parse):
        try:
            parse(raw)
        except (StateProofInvalid, SignatureInvalid):
            continue


def test_the_receipts_of_the_vector_bundle_are_of_successful_transactions(members):
    found = [name for name in members if name.startswith("receipts/")]
    assert found
    for name in found:
        proof = ReceiptProof.from_json(json.loads(members[name]))
        receipt = Receipt.parse(proof.receipt)
        assert receipt.succeeded
        assert receipt.logs
        assert Transaction.parse(proof.transaction).chain_id == 31337
