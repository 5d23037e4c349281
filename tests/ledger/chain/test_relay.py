"""What may be passed on: one kind of transaction, in its only encoding, to our own contracts."""

from __future__ import annotations

import os
import re
import time

import pytest
import rlp
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.chain.abi_codec import contract
from ledger.chain.deployment import Deployment
from ledger.chain.relay import MAX_BYTES, Passed, read_signed, standing
from ledger.chain.transactions import MOST_GAS
from ledger.errors import ContractReverted, TransactionFailed, TransactionRefused
from ledger.ids import ZERO_DIGEST, Address, Digest, keccak256

KEY = Account.from_key("0x" + "11" * 32)
AT = {
    name: Address(keccak256(name.encode())[:20])
    for name in ("Anchors", "ModelRegistry", "LicenseLedger", "BrokerRegistry", "LicenseMarket")
}
HERE = Deployment(31337, ZERO_DIGEST, 0, AT, {})
ANCHOR = contract("Anchors").encode("anchor", Digest(b"\x07" * 32))
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def transaction(**changed):
    return {
        "type": 2, "chainId": 31337, "nonce": 300, "maxPriorityFeePerGas": 1,
        "maxFeePerGas": 10**9, "gas": 60_000, "to": str(AT["Anchors"]), "value": 0,
        "data": ANCHOR,
    } | changed  # fmt: skip


def signed(**changed) -> bytes:
    return bytes(KEY.sign_transaction(transaction(**changed)).raw_transaction)


def members(raw: bytes) -> list:
    return list(rlp.decode(raw[1:]))


def packed(found: list) -> bytes:
    return b"\x02" + rlp.encode(found)


def refused(raw: bytes) -> int:
    with pytest.raises(TransactionRefused) as caught:
        read_signed(raw, HERE)
    return caught.value.step


def test_a_transaction_of_eth_account_is_read_with_its_signer_and_call():
    raw = signed()
    found = read_signed(raw, HERE)
    assert str(found.sender) == KEY.address
    assert found.nonce == 300
    assert found.hash.raw == bytes(KEY.sign_transaction(transaction()).hash)
    assert (found.call.contract, found.call.function) == ("Anchors", "anchor")
    assert found.call.arguments == {"root": "0x" + "07" * 32}


@pytest.mark.parametrize(("changed", "step"), [
    ({"chainId": 1}, 2),
    ({"to": "0x" + "99" * 20}, 3),
    ({"accessList": [{"address": "0x" + "99" * 20, "storageKeys": []}]}, 3),
    ({"data": b""}, 4),
    ({"data": ANCHOR[:4]}, 4),
    ({"data": ANCHOR + b"\0"}, 4),
    ({"data": contract("Anchors").encode("anchoredAt", Digest(b"\x07" * 32))}, 4),
    ({"data": contract("LicenseLedger").encode("surrender", 5)}, 4),
    ({"value": 1}, 4),
])  # fmt: skip
def test_what_is_not_ours_or_changes_nothing_is_refused(changed, step):
    assert refused(signed(**changed)) == step


def test_wei_are_taken_by_the_market_and_by_nothing_else():
    """ERC-721's approve is payable for nobody's good."""
    someone = Address(b"\x05" * 20)
    buy = contract("LicenseMarket").encode("buy", 1, ZERO_DIGEST, someone, b"")
    assert read_signed(signed(to=str(AT["LicenseMarket"]), data=buy, value=7), HERE).call.payable
    approve = contract("LicenseLedger").encode("approve", someone, 5)
    assert read_signed(signed(to=str(AT["LicenseLedger"]), data=approve), HERE).call.payable
    assert refused(signed(to=str(AT["LicenseLedger"]), data=approve, value=7)) == 4


def test_a_contract_is_not_created():
    found = transaction()
    del found["to"]
    assert refused(bytes(KEY.sign_transaction(found).raw_transaction)) == 3


def test_other_types_of_transactions_are_refused():
    old = {"nonce": 1, "gasPrice": 1, "gas": 60_000, "to": str(AT["Anchors"]), "value": 0,
           "data": ANCHOR, "chainId": 31337}  # fmt: skip
    assert refused(bytes(KEY.sign_transaction(old).raw_transaction)) == 1
    assert refused(bytes(KEY.sign_transaction(old | {"type": 1}).raw_transaction)) == 1
    assert refused(b"\x03" + signed()[1:]) == 1


def test_the_other_forms_of_a_signature_are_refused():
    found = members(signed())
    high = ORDER - int.from_bytes(found[11], "big")
    flipped = b"" if found[9] else b"\x01"
    assert refused(packed([*found[:9], flipped, found[10], high.to_bytes(32, "big")])) == 5
    # The parity in the old form: 27 or 28.
    old = bytes([27 + len(found[9])])
    assert refused(packed([*found[:9], old, *found[10:]])) == 5
    assert refused(packed([*found[:10], b"", b""])) == 5
    # Another parity is another account's signature, or none: never ours.
    try:
        other = read_signed(packed([*found[:9], flipped, *found[10:]]), HERE).sender
    except TransactionRefused:
        other = None
    assert str(other) != KEY.address


def test_a_second_encoding_of_the_same_transaction_is_refused():
    raw = signed()
    found = members(raw)
    assert refused(packed([b"\0" + found[0], *found[1:]])) == 1
    assert refused(packed([*found[:2], b"\0" * 3, *found[3:]])) == 1
    assert refused(raw + b"\0") == 1
    assert refused(packed([*found, b""])) == 1
    assert refused(packed(found[:11])) == 1
    assert refused(packed([*found[:5], [found[5]], *found[6:]])) == 1
    assert refused(packed([*found[:8], b"\x01", *found[9:]])) == 1
    # 0xf8 and a length byte, written with two of them.
    assert raw[1] == 0xF8
    assert refused(b"\x02\xf9\x00" + raw[2:]) == 1


def test_a_deep_nest_of_lists_is_refused_without_descending_into_it():
    nested = b"\xc0"
    for _ in range(30_000):
        nested = rlp.codec.length_prefix(len(nested), 0xC0) + nested
    assert refused(b"\x02" + nested) == 1


def test_the_size_is_bounded():
    assert refused(b"\x02" + bytes(MAX_BYTES)) == 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_changed_byte_is_passed_on_in_the_signers_name(data):
    raw = bytearray(signed())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        found = read_signed(bytes(raw), HERE)
    except TransactionRefused:
        return
    assert str(found.sender) != KEY.address


# Reverts with the gas it was given, as an error's four bytes: GAS, MSTORE at 0, REVERT of 28 to 32.
TELLS_ITS_GAS = "0x5a6000526004601cfd"


@pytest.mark.chain
def test_a_failed_transaction_is_run_again_where_it_is_ours_or_was_passed_on_and_with_its_own_gas(
    deployed,
):
    rpc, other = deployed.rpc, Address(os.urandom(20))
    rpc.call("anvil_setCode", [str(other), TELLS_ITS_GAS])
    sender = deployed.wallet("holder").address

    def failed(gas):
        asked = {"from": str(sender), "to": str(other), "gas": hex(gas)}
        sent = rpc.call("eth_sendTransaction", [asked])
        deadline = time.monotonic() + 30  # a node mines it behind its answer
        while rpc.call("eth_getTransactionReceipt", [sent]) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return Digest.parse(sent)

    def told(which, *given):
        found = standing(rpc, which, *given)
        assert found.state == "failed"
        return found.error

    def ran_with(error):
        assert isinstance(error, ContractReverted)
        return int(re.search("0x([0-9a-f]{8})", error.message)[1], 16)

    which = failed(100_000)
    assert isinstance(told(which, None, [deployed.registry.address]), TransactionFailed)
    assert 0 < ran_with(told(which, None, [other])) < 100_000
    assert 0 < ran_with(told(which, Passed(sender, 0))) < 100_000
    assert 0 < ran_with(told(failed(MOST_GAS + 1_000_000), None, [other])) < MOST_GAS
