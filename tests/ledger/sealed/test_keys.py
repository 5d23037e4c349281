"""What is derived from a content key."""

import hashlib
import hmac

import pytest
from blake3 import blake3

from ledger.errors import UsageError
from ledger.sealed.keys import LABEL_COMMIT, LABEL_INDEX, LABEL_PAYLOAD, LEAF, derive
from ledger.sealed.keys import key_commitment as commitment

KEY = bytes(range(32))


@pytest.mark.parametrize("label", [LABEL_COMMIT, LABEL_INDEX, LABEL_PAYLOAD])
def test_derivation_is_one_block_of_hkdf_expand(label):
    with derive(KEY, label) as out:
        assert bytes(out.view) == hmac.digest(KEY, label + b"\1", "sha256")


def test_a_commitment_tells_keys_apart():
    assert commitment(KEY) == commitment(bytearray(KEY))
    assert commitment(KEY) != commitment(bytes(32))


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_content_key_has_32_bytes(size):
    with pytest.raises(UsageError):
        commitment(bytes(size))


def test_leaves_carry_the_domain_byte():
    assert LEAF[1](b"data") == hashlib.sha256(b"\0data").digest()
    assert LEAF[2](b"data") == blake3(b"\0data").digest()
