import json
from pathlib import Path

import pytest

import ledger
from ledger.errors import StateProofInvalid
from ledger.evidence.events import KINDS, decode, topic_of
from ledger.evidence.receipts import Log
from ledger.ids import Address, Digest, keccak256

ABI = Path(ledger.__file__).parent / "chain" / "abi"
HERE = Address(b"\x01" * 20)


def declared(contract):
    abi = json.loads((ABI / f"{contract}.json").read_text())["abi"]
    return {item["name"]: item for item in abi if item["type"] == "event"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.contract}.{kind.name}")
def test_every_event_we_read_is_declared_so_by_its_contract(kind):
    item = declared(kind.contract)[kind.name]
    shapes = [(i["type"], i["indexed"]) for i in item["inputs"]]
    assert shapes == [(type_name, indexed) for type_name, _, indexed in kind.inputs]
    signature = f"{kind.name}({','.join(i['type'] for i in item['inputs'])})"
    assert kind.topic == keccak256(signature.encode())


def test_an_unknown_event_is_passed_over():
    assert decode(Log(HERE, (b"\x05" * 32,), b""), "ModelRegistry") is None
    assert decode(Log(HERE, (), b"x"), "ModelRegistry") is None


def test_the_same_topic_from_another_contract_of_ours_is_passed_over():
    topic = topic_of("Anchors", "RootAnchored").raw
    assert decode(Log(HERE, (topic, b"\1" * 32, bytes(32)), b""), "LicenseLedger") is None


def test_an_event_is_read_by_name():
    topic = topic_of("Anchors", "RootAnchored").raw
    name, args = decode(Log(HERE, (topic, b"\1" * 32, bytes(12) + b"\2" * 20), b""), "Anchors")
    assert name == "RootAnchored"
    assert args == {"root": Digest(b"\1" * 32), "sender": Address(b"\2" * 20)}


@pytest.mark.parametrize(
    ("topics", "data"),
    [
        ((b"\1" * 32,), b""),
        ((b"\1" * 32, bytes(32), bytes(32)), b""),
        ((b"\1" * 32, bytes(32)), b"\0"),
        ((b"\1" * 32, b"\1" * 32), b""),
    ],
    ids=["topic-missing", "topic-extra", "data-extra", "address-out-of-range"],
)
def test_our_topic_with_another_shape_is_refused(topics, data):
    topic = topic_of("Anchors", "RootAnchored").raw
    with pytest.raises(StateProofInvalid):
        decode(Log(HERE, (topic, *topics), data), "Anchors")
