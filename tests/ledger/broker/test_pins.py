"""The holder's pin: what a card must say to be believed."""

import contextlib
import json
from pathlib import Path

import pytest

from ledger.broker.pins import PIN_TYPE, RuntimePin
from ledger.errors import ManifestError, SignatureInvalid
from ledger.ids import Address
from ledger.licensing.card import ledger_domain

VECTOR = Path(__file__).parents[2] / "vectors" / "key-release" / "runtime-pin.json"
DOMAIN = ledger_domain(31337, Address(b"\x11" * 20))


@pytest.fixture
def vector():
    return json.loads(VECTOR.read_text())


def test_a_pin_has_the_digest_and_the_signer_of_its_vector(vector):
    pin = RuntimePin.from_json(vector["message"])
    assert str(DOMAIN.digest(PIN_TYPE, pin.values())) == vector["digest"]
    assert str(pin.signer(DOMAIN)) == vector["signer"]
    assert pin.to_json() == vector["message"]


@pytest.mark.parametrize("name", ["runtime_key_hash", "model", "brokers_hash"])
def test_a_pin_changed_after_signing_is_someone_elses(vector, name):
    pin = RuntimePin.from_json({**vector["message"], name: "0x" + "00" * 32})
    with contextlib.suppress(SignatureInvalid):
        assert str(pin.signer(DOMAIN)) != vector["signer"]


def test_a_pin_without_a_licensor_or_with_more_is_refused(vector):
    message = vector["message"]
    for wrong in ({**message, "licensor": None}, {**message, "price": 1}, None):
        with pytest.raises(ManifestError):
            RuntimePin.from_json(wrong)
