"""Typed data: the digests that eth-account makes, and signatures recovered as it makes them."""

import contextlib

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.eip712 import Domain, StructType, recover
from ledger.errors import ManifestError, SignatureInvalid
from ledger.ids import Address, Digest, keccak256

# Anvil's well-known first test key.
TEST_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
DOMAIN = Domain("modeldeed LicenseLedger", "1", 31337, Address(bytes(range(20))))
KIND = StructType.parse(
    "Everything(uint256 big,uint40 time,uint8 small,bytes32 hash,bytes4 selector,"
    "address who,bool flag,string text,bytes blob)"
)
VALUES = st.fixed_dictionaries(
    {
        "big": st.integers(0, 2**256 - 1),
        "time": st.integers(0, 2**40 - 1),
        "small": st.integers(0, 255),
        "hash": st.binary(min_size=32, max_size=32).map(Digest),
        "selector": st.binary(min_size=4, max_size=4),
        "who": st.binary(min_size=20, max_size=20).map(Address),
        "flag": st.booleans(),
        "text": st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        "blob": st.binary(max_size=80),
    }
)
GOOD = {
    "big": 1, "time": 2, "small": 3, "hash": Digest(bytes(32)), "selector": bytes(4),
    "who": Address(bytes(20)), "flag": True, "text": "t", "blob": b"b",
}  # fmt: skip


def eth_account_digest(values):
    message = encode_typed_data(full_message=DOMAIN.typed_data(KIND, values))
    return keccak256(b"\x19" + message.version + message.header + message.body)


@settings(max_examples=40)
@given(VALUES)
def test_the_digest_is_the_one_eth_account_makes(values):
    assert DOMAIN.digest(KIND, values).raw == eth_account_digest(values)


def test_a_wallets_signature_leads_back_to_its_account():
    signed = Account.from_key(TEST_KEY).sign_typed_data(full_message=DOMAIN.typed_data(KIND, GOOD))
    owner = Address.parse(Account.from_key(TEST_KEY).address)
    digest = DOMAIN.digest(KIND, GOOD)
    assert recover(digest, bytes(signed.signature)) == owner
    low_v = bytes(signed.signature[:64]) + bytes([signed.signature[64] - 27])
    assert recover(digest, low_v) == owner
    assert recover(DOMAIN.digest(KIND, {**GOOD, "big": 2}), bytes(signed.signature)) != owner


def test_the_digest_differs_on_another_chain_contract_name_or_version():
    others = [
        Domain("other", "1", 31337, DOMAIN.verifying_contract),
        Domain(DOMAIN.name, "2", 31337, DOMAIN.verifying_contract),
        Domain(DOMAIN.name, "1", 1, DOMAIN.verifying_contract),
        Domain(DOMAIN.name, "1", 31337, Address(bytes(20))),
    ]
    assert len({DOMAIN.digest(KIND, GOOD)} | {d.digest(KIND, GOOD) for d in others}) == 5


def test_the_twin_of_a_signature_with_high_s_is_refused():
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    signed = Account.from_key(TEST_KEY).sign_typed_data(full_message=DOMAIN.typed_data(KIND, GOOD))
    s = order - int.from_bytes(signed.signature[32:64], "big")
    twin = bytes(signed.signature[:32]) + s.to_bytes(32, "big")
    twin += bytes([27 + 28 - signed.signature[64]])
    with pytest.raises(SignatureInvalid, match="malleable"):
        recover(DOMAIN.digest(KIND, GOOD), twin)


@given(st.binary(max_size=70) | st.binary(min_size=65, max_size=65))
def test_any_bytes_recover_an_account_or_are_refused(signature):
    with contextlib.suppress(SignatureInvalid):
        assert isinstance(recover(Digest(bytes(32)), signature), Address)


def test_a_refused_signature_carries_the_step_of_its_specification():
    with pytest.raises(SignatureInvalid) as caught:
        recover(Digest(bytes(32)), b"short", step=4)
    assert caught.value.step == 4


@pytest.mark.parametrize(
    ("field", "value"),
    [("big", 2**256), ("big", -1), ("big", True), ("time", 2**40), ("small", 256), ("small", "3"),
     ("hash", bytes(31)), ("selector", bytes(5)), ("who", bytes(19)), ("flag", 1), ("text", b"t"),
     ("blob", "b"), ("hash", None)],
)  # fmt: skip
def test_a_value_out_of_its_types_range_is_refused(field, value):
    with pytest.raises(ManifestError):
        KIND.hash({**GOOD, field: value})


def test_a_missing_or_superfluous_field_is_refused():
    with pytest.raises(ManifestError):
        KIND.hash({k: v for k, v in GOOD.items() if k != "big"})
    with pytest.raises(ManifestError):
        KIND.hash({**GOOD, "more": 1})


@pytest.mark.parametrize("text", ["", "Mail", "Mail(", "Mail(address to)x", "1Mail()", "A((b c))"])
def test_what_is_not_a_type_is_refused(text):
    with pytest.raises(ManifestError):
        StructType.parse(text)
