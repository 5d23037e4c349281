"""The fixed-word decoder reads every event as a generic ABI decoder does, and refuses the rest."""

from __future__ import annotations

import contextlib
import json

import pytest
from eth_abi import encode
from hypothesis import given
from hypothesis import strategies as st

from ledger.chain.abi_codec import contract
from ledger.errors import LogFormatError
from ledger.evidence.origin import DEPLOYED
from ledger.ids import Address, Digest, keccak256
from ledger.index.decode import EVENTS, EventType, decode, json_values

CONTRACTS = ("Anchors", "ModelRegistry", "LicenseLedger", "BrokerRegistry", "LicenseMarket")


def declared(name):
    return [item for item in contract(name).abi if item["type"] == "event"]


def type_of(field):
    """As a signature spells it: a tuple by its members."""
    members = ",".join(type_of(each) for each in field.get("components", ()))
    return field["type"].replace("tuple", f"({members})")


def test_every_contract_that_emits_is_followed():
    emitting = {name for name in DEPLOYED if declared(name)}
    # Its events are emitted by the ledger, in whose name it runs.
    assert emitting - {"LicenseExtension"} == set(CONTRACTS) == set(EVENTS)


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_event_in_the_abi_has_a_decoder_with_its_fields(name):
    assert declared(name)
    known = {kind.signature: kind for kind in EVENTS[name].values()}
    for item in declared(name):
        signature = f"{item['name']}({','.join(type_of(field) for field in item['inputs'])})"
        kind = known[signature]
        assert len(kind.indexed) == sum(field["indexed"] for field in item["inputs"])
        assert len(kind.words) == sum(not field["indexed"] for field in item["inputs"])


def value_of(kind):
    if kind == "address":
        return st.binary(min_size=20, max_size=20)
    if kind == "bool":
        return st.booleans()
    if kind == "string":
        return st.text(max_size=80)
    if kind == "(address,uint16)[]":
        return st.lists(st.tuples(value_of("address"), value_of("uint16")), max_size=5)
    if kind.endswith("[]"):
        return st.lists(value_of(kind[:-2]), max_size=5)
    if kind.startswith("bytes"):
        return st.binary(min_size=int(kind[5:]), max_size=int(kind[5:]))
    return st.integers(0, 2 ** int(kind[4:]) - 1)


def plain(value):
    if isinstance(value, (Address, Digest)):
        return value.raw
    if isinstance(value, tuple):
        pairs = value and isinstance(value[0], tuple)
        return [(plain(one), two) for one, two in value] if pairs else list(value)
    return value


@given(data=st.data())
def test_any_values_come_back_as_they_were_encoded(data):
    name = data.draw(st.sampled_from(CONTRACTS))
    item = data.draw(st.sampled_from(declared(name)))
    fields = item["inputs"]
    values = [data.draw(value_of(type_of(field))) for field in fields]
    topics = [contract(name).topic(item["name"]).raw]
    topics += [
        encode([type_of(f)], [v]) for f, v in zip(fields, values, strict=True) if f["indexed"]
    ]
    rest = [(type_of(f), v) for f, v in zip(fields, values, strict=True) if not f["indexed"]]
    event = decode(name, topics, encode([t for t, _ in rest], [v for _, v in rest]))
    assert event is not None
    assert event.name == item["name"]
    order = [v for f, v in zip(fields, values, strict=True) if f["indexed"]] + [v for _, v in rest]
    assert [plain(value) for value in event.values.values()] == order
    json.dumps(json_values(event))


@given(st.lists(st.binary(max_size=40), max_size=5), st.binary(max_size=300))
def test_arbitrary_bytes_are_read_or_refused_and_nothing_else(topics, data):
    for name in CONTRACTS:
        for kind in EVENTS[name].values():
            with contextlib.suppress(LogFormatError):
                decode(name, [kind.topic0, *topics], data)


def test_an_event_that_is_not_ours_is_none():
    assert decode("Anchors", [bytes(32)], b"") is None
    assert decode("Anchors", [], b"") is None


WORD = bytes(31) + b"\x01"
TRANSFER = next(k for k in EVENTS["LicenseLedger"].values() if k.name == "Transfer")
PAUSED = next(k for k in EVENTS["LicenseLedger"].values() if k.name == "PlanPaused")
PAYEES = next(k for k in EVENTS["LicenseMarket"].values() if k.name == "PayeesSet")
KEYS = next(k for k in EVENTS["BrokerRegistry"].values() if k.name == "BrokerKeysSet")


@pytest.mark.parametrize(
    ("kind", "topics", "data"),
    [
        (TRANSFER, [WORD, WORD], b""),
        (TRANSFER, [WORD, WORD, WORD, WORD], b""),
        (TRANSFER, [WORD, WORD, WORD[:31]], b""),
        (TRANSFER, [WORD, b"\x01" + WORD[1:], WORD], b""),
        (TRANSFER, [WORD, WORD, WORD], b"\0"),
        (PAUSED, [WORD], WORD[:31]),
        (PAUSED, [WORD], WORD + WORD),
        (PAUSED, [WORD], bytes(31) + b"\x02"),
        (PAUSED, [b"\xff" * 32], WORD),
        (KEYS, [WORD, WORD], bytes(96) + b"\xff" * 32),
        (KEYS, [WORD, WORD], bytes(96) + bytes(31) + b"\x80" + b"\xff" * 32),
        (PAYEES, [WORD, WORD], bytes(31) + b"\x20" + WORD + b"\xff" * 32 + WORD),
        (PAYEES, [WORD, WORD], bytes(31) + b"\x20" + WORD + WORD + b"\xff" * 32),
        (PAYEES, [WORD, WORD], bytes(31) + b"\x20" + WORD + WORD),
    ],
)
def test_a_shape_the_contract_never_emits_is_refused(kind, topics, data):
    with pytest.raises(LogFormatError):
        kind.decode([kind.topic0, *topics], data)
    good = next(_logs_of(kind))
    for place in (0, 1, 2):
        many = [good, good]
        many.insert(place, (b"".join([kind.topic0, *topics]), data))
        with pytest.raises(LogFormatError):
            kind.arguments_of(many)


def _logs_of(kind):
    """Logs of an event whose words count up; what is dynamic is empty."""
    for first in range(1, 250, 7):
        words = [(first + i).to_bytes(32, "big") for i in range(len(kind.names))]
        for i, (_, type_) in enumerate((*kind.indexed, *kind.words)):
            if type_ == "bool":
                words[i] = bytes(31) + bytes([first % 2])
            elif type_ == "bytes20":
                words[i] = words[i][12:] + bytes(12)
        topics = b"".join([kind.topic0, *words[: len(kind.indexed)]])
        head = words[len(kind.indexed) :]
        if kind.dynamic:
            size = 32 * len(head)
            dynamic = {"string", "uint64[]", "payee[]"}
            head = [
                size.to_bytes(32, "big") if type_ in dynamic else word
                for word, (_, type_) in zip(head, kind.words, strict=True)
            ]
            head.append(bytes(32))
        yield topics, b"".join(head)


@pytest.mark.parametrize(
    "kind", [k for kinds in EVENTS.values() for k in kinds.values()], ids=lambda k: k.name
)
def test_many_logs_at_once_are_read_as_one_by_one(kind):
    logs = list(_logs_of(kind))
    one_by_one = [kind.arguments(*log) for log in logs]
    assert kind.arguments_of(logs) == one_by_one
    assert kind.arguments_of(logs[:1]) == one_by_one[:1]
    assert [kind.read(*log) for log in logs] == [
        dict(zip(kind.names, each, strict=True)) for each in one_by_one
    ]


@pytest.mark.parametrize("kind", ["string", "uint64[]"])
def test_an_indexed_value_of_dynamic_size_is_known_by_its_hash_alone(kind):
    made = EventType.parse("Anchors", f"Named({kind} indexed name,uint64 number)")
    hash_ = keccak256(b"what nobody can read back")
    event = made.decode([made.topic0, hash_], WORD)
    assert event.values == {"name": Digest(hash_), "number": 1}
    with pytest.raises(LogFormatError):
        made.decode([made.topic0, hash_], WORD + WORD)


def test_a_url_that_is_no_text_is_still_read():
    tail = bytes(31) + b"\x02" + b"\xff\xfe".ljust(32, b"\0")
    event = KEYS.decode([KEYS.topic0, WORD, WORD], bytes(96) + bytes(31) + b"\x80" + tail)
    assert event.values["url"] == "\ufffd\ufffd"
