"""Hybrid signatures of brokers."""

import copy

import pytest

from ledger.broker.deposits import Wrap
from ledger.broker.signing import BrokerSigningKeys, without_ciphertexts
from ledger.canonical import canonical_json
from ledger.errors import LedgerError, ManifestError, SignatureInvalid

KEYS = BrokerSigningKeys.generate()


def test_a_signed_reply_verifies_and_its_keys_have_a_hash():
    reply = KEYS.sign({"type": "info", "n": 1})
    KEYS.public.verify(reply)
    assert KEYS.public.hash() != BrokerSigningKeys.generate().public.hash()


@pytest.mark.parametrize("part", ["ed25519", "mldsa65"])
def test_one_good_signature_of_two_is_not_enough(part):
    reply = KEYS.sign({"n": 1})
    other = BrokerSigningKeys.generate().sign({"n": 1})
    reply["signature"][part] = other["signature"][part]
    with pytest.raises(SignatureInvalid):
        KEYS.public.verify(reply)


def test_the_log_form_of_a_reply_still_verifies():
    reply = KEYS.sign({"wraps": [Wrap("content-key", b"secret text").to_json()]})
    kept = without_ciphertexts(reply)
    assert "wrap" not in kept["wraps"][0]
    KEYS.public.verify(kept)


def test_a_swapped_ciphertext_is_noticed():
    reply = KEYS.sign({"wraps": [Wrap("content-key", b"one").to_json()]})
    swapped = copy.deepcopy(reply)
    swapped["wraps"][0]["wrap"] = Wrap("content-key", b"two").to_json()["wrap"]
    with pytest.raises(SignatureInvalid, match="wrapped key"):
        KEYS.public.verify(swapped)


@pytest.mark.parametrize("reply", [None, [], {}, {"signature": 1}, {"wraps": 1, "signature": {}}])
def test_what_is_no_reply_is_refused(reply):
    with pytest.raises(ManifestError):
        KEYS.public.verify(reply)


def test_no_repr_shows_a_seed():
    for text in (repr(KEYS), str(KEYS)):
        assert KEYS.ed25519_seed.hex() not in text
        assert repr(KEYS.ed25519_seed) not in text
        assert repr(KEYS.mldsa65_seed) not in text


def test_an_empty_reply_is_no_crash():
    with pytest.raises(LedgerError):
        KEYS.public.verify({"signature": {"ed25519": "0x", "mldsa65": ""}})


def test_the_canonical_bytes_of_a_signed_reply_are_those_of_its_log_form():
    wraps = [Wrap("content-key", b"secret text").to_json()]
    reply, said = KEYS.sign_whole({"type": "release", "wraps": wraps, "Zeit": 1, "a": None})
    KEYS.public.verify(reply)
    assert said == canonical_json(without_ciphertexts(reply))
    again, same = KEYS.sign_whole(reply)  # a signature is replaced, and never signed
    KEYS.public.verify(again)
    assert same == canonical_json(without_ciphertexts(again))
