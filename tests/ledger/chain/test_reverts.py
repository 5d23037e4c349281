"""Every error a contract can raise reaches a person as a class, a sentence and a way out."""

import pytest
from eth_abi import encode
from hypothesis import given
from hypothesis import strategies as st

from ledger.chain import reverts
from ledger.chain.abi_codec import CONTRACTS, contract
from ledger.chain.solidity_error import BY_SELECTOR, SolidityError, when
from ledger.errors import ContractReverted
from ledger.ids import Address, Digest, keccak256

IN_ABI = {
    item["name"]: item
    for name in CONTRACTS
    for item in contract(name).abi
    if item["type"] == "error"
}


def example(kind):
    if kind == "address":
        return "0x" + "ab" * 20
    return b"\x11" * 32 if kind == "bytes32" else 2


@pytest.mark.parametrize("name", sorted(IN_ABI))
def test_each_solidity_error_has_its_class_with_the_same_arguments(name):
    item = IN_ABI[name]
    kind = reverts.error_classes()[name]
    assert kind.inputs() == tuple((i["type"], i["name"]) for i in item["inputs"])
    assert issubclass(getattr(reverts, name), ContractReverted)


@pytest.mark.parametrize("name", sorted(reverts.error_classes()))
def test_each_class_fills_its_sentence_and_hint_from_revert_data(name):
    kind = reverts.error_classes()[name]
    kinds = [k for k, _ in kind.inputs()]
    error = reverts.decode(kind.selector() + encode(kinds, [example(k) for k in kinds]))
    assert type(error) is kind
    assert error.error_name == name
    assert set(error.arguments) == {n for _, n in kind.inputs()}
    assert not error.message[0].isupper()
    assert "{" not in error.message + error.hint
    assert error.code == error.code.upper()


def test_no_class_stands_for_an_error_that_no_contract_has():
    assert sorted(reverts.error_classes()) == sorted(IN_ABI)


def test_the_sentence_names_license_and_date_as_people_read_them():
    data = reverts.LicenseExpired.selector() + encode(
        ["uint256", "uint40"], [5 << 32 | 1, 1_800_000_000]
    )
    error = reverts.decode(data)
    assert error.message == "license 5.1 expired on 2027-01-15 08:00:00 UTC"
    assert error.arguments == {"licenseId": 5 << 32 | 1, "notAfter": 1_800_000_000}


def test_a_plan_for_a_model_that_nobody_registered_sends_nobody_to_the_zero_address():
    kind, model, caller = reverts.PlanNotTitleHolder, b"\x11" * 32, "0x" + "ab" * 20
    kinds = [each for each, _ in kind.inputs()]
    error = reverts.decode(kind.selector() + encode(kinds, [model, caller, "0x" + "00" * 20]))
    assert "is not registered" in error.message
    assert error.hint == "register the model first"
    error = reverts.decode(kind.selector() + encode(kinds, [model, caller, "0x" + "cd" * 20]))
    assert error.hint.lower() == "use the wallet of 0x" + "cd" * 20


def test_addresses_and_roots_arrive_as_values():
    data = reverts.ModelNotLicensor.selector() + encode(
        ["bytes32", "address"], [b"\1" * 32, "0x" + "ab" * 20]
    )
    error = reverts.decode(data)
    assert error.arguments == {"modelId": Digest(b"\1" * 32), "caller": Address(b"\xab" * 20)}


def test_a_revert_string_is_shown_without_control_characters():
    data = b"\x08\xc3\x79\xa0" + encode(["string"], ["no\x1b[31m way"])
    assert reverts.decode(data).message == "the contract refused: no[31m way"


def test_a_panic_says_what_broke():
    data = b"\x4e\x48\x7b\x71" + encode(["uint256"], [0x11])
    assert "overflow" in reverts.decode(data).message


def test_an_unknown_error_is_named_by_its_selector_and_suggests_another_release():
    error = reverts.decode(bytes.fromhex("deadbeef"))
    assert "0xdeadbeef" in error.message
    assert error.hint


def test_an_empty_revert_shows_the_nodes_words():
    assert "out of gas" in reverts.decode(b"", message="out of gas").message


def test_a_time_without_end_is_for_ever_and_no_number_breaks_the_sentence():
    assert when((1 << 40) - 1) == "for ever"
    assert when((1 << 40) - 2).startswith("second ")


@given(st.binary(max_size=300))
def test_no_bytes_make_decoding_fail(data):
    assert isinstance(reverts.decode(data), ContractReverted)


@given(st.sampled_from(sorted(BY_SELECTOR)), st.binary(max_size=200))
def test_no_bytes_after_a_known_selector_make_decoding_fail(selector, rest):
    assert isinstance(reverts.decode(selector + rest), ContractReverted)


def test_two_errors_never_share_a_selector():
    names = reverts.error_classes()
    assert len({kind.selector() for kind in names.values()}) == len(names)
    assert keccak256(b"PlanUnknown(uint32)")[:4] == reverts.PlanUnknown.selector()


def test_the_machinery_itself_is_no_error():
    assert SolidityError not in BY_SELECTOR.values()
