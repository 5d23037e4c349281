"""License cards: signed facts, unsigned hints."""

import contextlib
import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.chain.wallet import dev_wallet
from ledger.errors import ClaimMismatch, LedgerError, ManifestError, SignatureInvalid
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing import card as card_module
from ledger.licensing import terms
from ledger.licensing.card import BrokerSet, CardBroker, CardFile, build, parse

VECTORS = Path(__file__).parents[2] / "vectors" / "license-card"


def digest(byte):
    return Digest(bytes([byte]) * 32)


def card(**changes):
    arguments = {
        "chain_id": 31337,
        "ledger": Address(b"\x11" * 20),
        "registry": Address(b"\x22" * 20),
        "broker_registry": Address(b"\x33" * 20),
        "license_id": LicenseId.of(1, 1),
        "model": ModelId(b"\x44" * 32),
        "sealing": {"any": "record"},
        "sealing_hash": digest(5),
        "terms": terms.parse(terms.TEMPLATE.encode()).document,
        "brokers": BrokerSet(1, 1, (CardBroker(1, digest(6), digest(7), ("http://b",)),)),
        "files": (CardFile("model.sealed", 4096, digest(8)),),
    } | changes
    return build(dev_wallet("licensor"), **arguments)


def test_a_card_survives_its_file_and_verifies():
    made = card()
    read = parse(json.dumps(made).encode())
    read.verify()
    assert read.to_json() == made
    assert read.licensor == dev_wallet("licensor").address


@pytest.mark.parametrize(
    "path",
    [
        ("license",), ("model",), ("sealing", "hash"), ("chain", "id"), ("chain", "ledger"),
        ("brokers", "set"), ("brokers", "members", 0, "signing_key_hash"),
        ("brokers", "members", 0, "kem_key_hash"), ("brokers", "members", 0, "id"), ("licensor",),
    ],
)  # fmt: skip
def test_changing_a_signed_fact_breaks_the_signature(path):
    made = copy.deepcopy(card())
    inner = made
    for step in path[:-1]:
        inner = inner[step]
    value = inner[path[-1]]
    inner[path[-1]] = {
        int: lambda v: v + 1,
        str: lambda v: "1.2" if v == "1.1" else v[:-1] + ("0" if v[-1] != "0" else "1"),
    }[type(value)](value)
    if path[-1] in {"ledger", "licensor"}:
        inner[path[-1]] = inner[path[-1]].lower()
    with pytest.raises(SignatureInvalid):
        parse(made).verify()


def test_changing_a_url_does_not():
    made = card()
    made["brokers"]["members"][0]["urls"] = ["http://elsewhere"]
    made["files"] = [{**made["files"][0], "url": "https://cdn.example/x"}]
    parse(made).verify()


def test_other_terms_than_the_signed_ones_are_refused():
    made = card()
    made["terms"]["document"]["export"] = True
    with pytest.raises(ClaimMismatch) as caught:
        parse(made).verify()
    assert caught.value.step == 2


def test_terms_may_travel_apart():
    made = card()
    made["terms"]["document"] = None
    parse(made).verify()


def test_brokers_are_listed_once_by_rising_id():
    members = tuple(CardBroker(i, digest(6), digest(7)) for i in (2, 1))
    with pytest.raises(ManifestError, match="rising id"):
        parse(card(brokers=BrokerSet(1, 1, members)))


def test_a_threshold_above_the_number_of_brokers_is_refused():
    made = card()
    made["brokers"]["threshold"] = 2
    with pytest.raises(ManifestError):
        parse(made)


def test_the_brokers_hash_leaves_urls_out():
    one = parse(card()).brokers
    member = replace(one.members[0], urls=())
    assert replace(one, members=(member,)).hash() == one.hash()


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.json")), ids=lambda p: p.stem)
def test_vectors(path):
    vector = json.loads(path.read_text())
    try:
        read = parse(json.dumps(vector["card"]).encode())
        read.verify()
    except LedgerError as error:
        outcome = type(error).__name__
    else:
        outcome = "ok"
        assert read.to_json() == vector["card"]
        assert str(read.brokers.hash()) == vector["brokers_hash"]
        digest_ = read.domain.digest(card_module.CARD_TYPE, read.message())
        assert str(digest_) == vector["digest"]
    assert outcome == vector["expect"]


def test_there_are_vectors():
    assert len(list(VECTORS.glob("*.json"))) >= 8


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(card_module._MEMBERS)), JSON)
@settings(max_examples=150)
def test_no_changed_card_raises_anything_but_our_errors(member, value):
    made = {**CARD, member: value}
    with contextlib.suppress(LedgerError):
        parse(made).verify()


CARD = card()
