"""The file of a signed registration, against its vectors."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import errors
from ledger.chain.registration import MAX_TIME, SignedRegistration, parse
from ledger.chain.wallet import dev_wallet
from ledger.claim import Claim
from ledger.ids import Address, Digest

VECTORS = sorted((Path(__file__).parents[2] / "vectors" / "registration").glob("*.json"))
DIGESTS = st.binary(min_size=32, max_size=32).map(Digest)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_registration_is_read_and_verified_as_its_vector_says(path):
    vector = json.loads(path.read_text())
    raw = json.dumps(vector["file"]).encode()

    def check():
        made = parse(raw)
        assert made.to_json() == vector["file"]
        made.verify()
        return made

    if vector["expect"] == "ok":
        assert str(check().claim.model_id()) == vector["model_id"]
    else:
        with pytest.raises(getattr(errors, vector["expect"])):
            check()


@given(DIGESTS, DIGESTS, st.integers(1, MAX_TIME))
def test_what_is_signed_is_read_the_same_and_verifies(root, salt, deadline):
    licensor = dev_wallet("licensor")
    claim = Claim(1, Address(b"\x22" * 20), licensor.address, root, root, root, root, (), salt)
    made = SignedRegistration.sign(licensor, claim, deadline=deadline)
    read = parse(json.dumps(made.to_json()).encode())
    assert read == made
    read.verify()


def test_a_file_without_end_is_refused():
    with pytest.raises(errors.LimitExceeded):
        parse(b" " * (64 << 10) + b"{}")
