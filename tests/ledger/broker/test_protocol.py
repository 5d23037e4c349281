"""The messages of key release, against their vectors."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import errors
from ledger.broker.deposits import KeyDeposit
from ledger.broker.fleet import WorkerCertificate, check_certificate
from ledger.broker.grants import GRANT_TYPE, RuntimeGrant, RuntimeKey
from ledger.broker.leases import Heartbeat, Lease
from ledger.broker.protocol import KeyRequest, audience, release_info
from ledger.broker.signing import BrokerPublicKeys
from ledger.broker.wallet_probe import open_envelope
from ledger.broker.wallet_signatures import account_of
from ledger.errors import FormatError, LedgerError, SignatureInvalid
from ledger.ids import Address
from ledger.licensing.card import ledger_domain

VECTORS = Path(__file__).parents[2] / "vectors" / "key-release"
DOMAIN = ledger_domain(31337, Address(b"\x11" * 20))


def vectors(kind):
    loaded = [(path.stem, json.loads(path.read_text())) for path in sorted(VECTORS.glob("*.json"))]
    chosen = [pytest.param(vector, id=name) for name, vector in loaded if vector["kind"] == kind]
    assert chosen, f"no vectors of kind {kind}"
    return chosen


@pytest.mark.parametrize("vector", vectors("request"))
def test_a_request_verifies_exactly_when_nothing_was_changed_after_signing(vector):
    request = KeyRequest.from_json(vector["message"])
    assert request.to_json() == vector["message"]
    if vector["verifies"]:
        assert str(request.digest(DOMAIN)) == vector["digest"]
        assert str(request.evidence.hash()) == vector["evidence_hash"]
        assert str(request.hash()) == vector["hash"]
        request.runtime.verify(request.signature, request.digest(DOMAIN))
    else:
        with pytest.raises(SignatureInvalid):
            request.runtime.verify(request.signature, request.digest(DOMAIN))


@pytest.mark.parametrize("vector", vectors("malformed"))
def test_a_malformed_request_is_refused(vector):
    with pytest.raises(FormatError):
        KeyRequest.from_json(vector["message"])


@pytest.mark.parametrize("vector", vectors("grant"))
def test_a_grant_recovers_its_holder(vector):
    grant = RuntimeGrant.from_json(vector["message"])
    assert grant.to_json() == vector["message"]
    assert str(DOMAIN.digest(GRANT_TYPE, grant.values())) == vector["digest"]
    assert str(grant.signer(DOMAIN)) == vector["signer"]
    assert grant.nonce == 3


@pytest.mark.parametrize("vector", vectors("contract-grant"))
def test_a_grants_signature_has_any_length_up_to_the_bound(vector):
    if not vector["reads"]:
        with pytest.raises(FormatError):
            RuntimeGrant.from_json(vector["message"])
        return
    grant = RuntimeGrant.from_json(vector["message"])
    assert grant.to_json() == vector["message"]
    assert account_of(grant.digest(DOMAIN), grant.signature) is None


@pytest.mark.parametrize("vector", vectors("envelope"))
def test_an_envelope_opens_only_in_its_one_form(vector):
    signature = bytes.fromhex(vector["signature"][2:])
    if not vector["opens"]:
        with pytest.raises(SignatureInvalid):
            open_envelope(signature)
        return
    factory, creation, inner = open_envelope(signature)
    assert str(factory) == vector["factory"]
    assert ["0x" + creation.hex(), "0x" + inner.hex()] == [vector["creation"], vector["inner"]]


@pytest.mark.parametrize("vector", vectors("certificate"))
def test_a_certificate_passes_exactly_without_a_fault(vector):
    certificate = WorkerCertificate.from_json(vector["message"])
    assert certificate.to_json() == vector["message"]
    assert str(certificate.digest()) == vector["digest"]
    grant, worker = RuntimeGrant.from_json(vector["grant"]), RuntimeKey.from_json(vector["worker"])

    def check():
        return check_certificate(certificate, grant, worker, domain=DOMAIN, at=vector["at"])

    if vector["expect"] == "ok":
        assert certificate.workload in check()
    else:
        with pytest.raises(getattr(errors, vector["expect"])):
            check()


@pytest.mark.parametrize("vector", vectors("lease"))
def test_the_info_of_a_wrap_is_fixed_by_request_and_lease(vector):
    lease, request = Lease.from_json(vector["message"]), KeyRequest.from_json(vector["request"])
    assert lease.to_json() == vector["message"]
    assert "0x" + release_info("content-key", request, lease).hex() == vector["info"]
    assert release_info("share", request, lease) != release_info("content-key", request, lease)
    later = replace(lease, not_after=lease.not_after + 1)
    assert release_info("content-key", request, later) != release_info(
        "content-key", request, lease
    )


@pytest.mark.parametrize("vector", vectors("heartbeat"))
def test_a_heartbeat_has_its_digest(vector):
    beat = Heartbeat.from_json(vector["message"])
    assert beat.to_json() == vector["message"]
    assert str(beat.digest(DOMAIN)) == vector["digest"]


@pytest.mark.parametrize("vector", vectors("deposit"))
def test_a_deposit_recovers_its_licensor_exactly_when_nothing_was_changed(vector):
    deposit = KeyDeposit.from_json(vector["message"])
    assert deposit.to_json() == vector["message"]
    if vector["verifies"]:
        assert str(deposit.values()["wrapsHash"]) == vector["wraps_hash"]
        assert str(deposit.values()["termsHash"]) == vector["terms_hash"]
    assert (str(deposit.signer(DOMAIN)) == vector["signer"]) is vector["verifies"]


@pytest.mark.parametrize("vector", vectors("reply"))
def test_a_reply_needs_both_signatures_over_everything(vector):
    keys = BrokerPublicKeys.from_json(vector["keys"])
    assert str(keys.hash()) == vector["keys_hash"]
    if vector["verifies"]:
        keys.verify(vector["message"])
    else:
        with pytest.raises(SignatureInvalid):
            keys.verify(vector["message"])


def test_an_audience_is_an_id_and_never_a_host_name():
    assert audience(1, Address(b"\xab" * 20), 7) == f"modeldeed-broker:1:0x{'ab' * 20}:7"


REQUEST = json.loads((VECTORS / "key-request.json").read_text())["message"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.sampled_from(sorted(REQUEST)), JSON)
@settings(max_examples=200)
def test_no_changed_request_raises_anything_but_our_errors(member, value):
    try:
        request = KeyRequest.from_json({**REQUEST, member: value})
        request.runtime.verify(request.signature, request.digest(DOMAIN))
    except LedgerError:
        pass
