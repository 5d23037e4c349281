"""Our encoder against web3's, an independent one, and against broken bytes."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3

from ledger.chain.abi_codec import CONTRACTS, contract
from ledger.chain.transactions import Log
from ledger.errors import ChainError, UsageError
from ledger.ids import Address, Digest, LicenseId

WORD = st.binary(min_size=32, max_size=32)
ADDRESS = st.binary(min_size=20, max_size=20)


def theirs(name):
    return Web3().eth.contract(abi=list(contract(name).abi))


@given(ADDRESS, st.lists(WORD, max_size=8), st.lists(WORD, max_size=4), WORD)
def test_a_nested_call_is_encoded_as_web3_encodes_it(licensor, parents, path, word):
    claim = (Address(licensor), *[Digest(word)] * 4, [Digest(p) for p in parents], Digest(word))
    proof = (Digest(word), 3, 4, [Digest(p) for p in path])
    plain = (
        Web3.to_checksum_address("0x" + licensor.hex()),
        *[word] * 4,
        parents,
        word,
    )
    expected = theirs("ModelRegistry").encode_abi("register", [plain, (word, 3, 4, path)])
    assert "0x" + contract("ModelRegistry").encode("register", claim, proof).hex() == expected


def test_results_come_back_as_our_value_types():
    abi = contract("ModelRegistry")
    raw = b"".join((b"\0" * 12 + b"\xab" * 20, *((n).to_bytes(32, "big") for n in (5, 4, 1, 1))))
    assert abi.decode("modelOf", raw) == (Address(b"\xab" * 20), 5, 4, 1, True)


@given(st.binary(max_size=400))
def test_no_result_bytes_raise_anything_but_a_chain_error(raw):
    for function in ("planOf", "licenseOf", "eip712Domain"):
        with contextlib.suppress(ChainError):
            contract("LicenseLedger").decode(function, raw)


def test_an_empty_result_says_that_the_address_may_hold_another_contract():
    with pytest.raises(ChainError, match="cannot be read") as caught:
        contract("Anchors").decode("anchoredAt", b"")
    assert "another contract" in caught.value.hint


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("anchor", ("not a root",)),
        ("anchor", ()),
        ("anchoredAt", (b"\1" * 33,)),
        ("phaseACount", (b"\1" * 3,)),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_sent(function, arguments):
    with pytest.raises(UsageError):
        contract("Anchors").encode(function, *arguments)


def test_a_number_beyond_its_type_is_refused():
    with pytest.raises(UsageError, match="40 bits") as caught:
        contract("LicenseLedger").encode("renew", LicenseId(1), 1 << 40)
    assert "out of its type" in caught.value.hint


def event_log(indexed, rest=b""):
    abi = contract("Anchors")
    topic = abi.topic("RootAnchored").raw
    return Log(Address(b"\1" * 20), (topic, *indexed), rest, 0)


def test_an_event_is_decoded_by_its_topics():
    log = event_log((b"\2" * 32, b"\0" * 12 + b"\3" * 20))
    event = contract("Anchors").event(log.topics, log.data)
    assert (event.name, event.arguments) == (
        "RootAnchored",
        {"root": Digest(b"\2" * 32), "sender": Address(b"\3" * 20)},
    )


def test_an_event_of_another_contract_is_none_and_no_error():
    assert contract("Anchors").event([b"\7" * 32], b"") is None
    assert contract("Anchors").event([], b"") is None


@pytest.mark.parametrize(
    "indexed", [(), (b"\2" * 32,), (b"\2" * 32, b"\xff" * 32), (b"\2" * 31,) * 2]
)
def test_an_event_with_wrong_topics_is_a_chain_error(indexed):
    log = event_log(indexed)
    with pytest.raises(ChainError):
        contract("Anchors").event(log.topics, log.data)


@given(st.binary(max_size=200))
def test_no_event_data_raises_anything_but_a_chain_error(raw):
    abi = contract("BrokerRegistry")
    topics = [abi.topic("BrokerKeysSet").raw, b"\0" * 32, b"\0" * 32]
    with contextlib.suppress(ChainError):
        abi.event(topics, raw)


def test_a_receipt_without_the_expected_event_is_an_error():
    log = event_log((b"\2" * 32, b"\0" * 12 + b"\3" * 20))
    abi = contract("Anchors")
    assert abi.emitted([log], log.address, "RootAnchored").name == "RootAnchored"
    with pytest.raises(ChainError, match="emitted no"):
        abi.emitted([log], Address(b"\2" * 20), "RootAnchored")


@pytest.mark.parametrize("name", CONTRACTS)
def test_each_contract_ships_code_and_interface(name):
    built = contract(name)
    assert len(built.bytecode) > len(built.deployed) > 100


def test_a_contract_we_do_not_have_is_a_usage_error():
    with pytest.raises(UsageError, match="LicenseBazaar"):
        contract("LicenseBazaar")
