"""Classes of evidence over a real chain: what flag, terms and grants ask for."""

import importlib.util
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ledger import runtime
from ledger.broker.admitting import Admitted
from ledger.broker.attestation import Attester
from ledger.broker.carrying import accept_release, answer, make_request
from ledger.broker.client import Asker
from ledger.broker.grants import sign_grant
from ledger.broker.service import BrokerService
from ledger.errors import KeyRequestRejected, UseNotPermitted
from ledger.licensing import card as card_module

pytestmark = pytest.mark.chain

ISSUER = "https://as.example"
MEASURED = "cpu0/ear.veraison.annotated-evidence/measurement"


@pytest.fixture(scope="module")
def tokens():
    """The attestation service of the tests beside."""
    spec = importlib.util.spec_from_file_location(
        "attestation_service", Path(__file__).with_name("test_attestation.py")
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def service(tokens):
    return tokens.Service()


@pytest.fixture
def admit(world, service):
    """Lets the world's broker start anew with what its operator chose, as a restart does."""
    home, before = world.broker.home, world.broker.service

    def restarted(*, software=True, trusted=True):
        pin = Attester.from_pem(service.pem, issuer=ISSUER, measured=(MEASURED,))
        Admitted(software, (pin,) if trusted else ()).save(home.path)
        world.broker.service = BrokerService(home, world.broker.view, store=before.store)
        world.broker.unserve()
        world.broker.serve()

    yield restarted
    (home.path / "evidence.json").unlink(missing_ok=True)
    world.broker.service = before
    world.broker.unserve()
    world.broker.serve()


def attest_with(tokens, service, measurement="ab" * 48):
    def attest(report_data, challenge):
        now = int(time.time())
        cpu = {"report_data": report_data.hex(), "measurement": measurement}
        appraisal = {"ear.status": "affirming", "ear.veraison.annotated-evidence": cpu}
        return service.token(
            {
                "iss": ISSUER,
                "iat": now,
                "exp": now + 300,
                "eat_nonce": tokens.encoded(challenge),
                "submods": {"cpu0": appraisal},
            }
        )

    return attest


def asker(world, identity, license_id, **changes):
    ledger = world.chain.deployment.addresses["LicenseLedger"]
    granted = identity.grant_for(31337, ledger, license_id)
    return Asker(
        identity, license_id, world.published.model_id, world.published.record.hash(),
        granted.grant, granted.acceptance, world.terms, **changes,
    )  # fmt: skip


def test_terms_that_ask_for_attestation_release_to_it_alone(world, admit, tokens, service):
    admit()
    made = world.with_terms(evidence=["tee"])
    license_id = made.license()
    identity = made.runtime(license_id)
    card = made.card_file(license_id)
    with pytest.raises(UseNotPermitted, match="evidence of class tee"):
        runtime.load(card, runtime=identity)
    attest = attest_with(tokens, service)
    with runtime.load(card, runtime=identity, attest=attest) as model:
        assert model.keys()
    decision = runtime.check(card, runtime=identity, attest=attest)
    assert decision.granted
    assert "attested by https://as.example" in decision.checks[6].detail


def test_terms_that_allow_software_alone_refuse_attestation(world, admit, tokens, service):
    admit()
    made = world.with_terms(evidence=["software"])
    license_id = made.license()
    identity = made.runtime(license_id)
    with made.broker.client() as client, pytest.raises(UseNotPermitted, match="class software"):
        client.release(asker(made, identity, license_id, attest=attest_with(tokens, service)))


def test_the_brokers_flag_forbids_software_for_every_plan(world, admit, tokens, service):
    admit(software=False)
    license_id = world.license()
    identity = world.runtime(license_id)
    with world.broker.client() as client:
        with pytest.raises(KeyRequestRejected, match="no evidence of class software") as caught:
            client.release(asker(world, identity, license_id))
        assert caught.value.check == 7
        client.release(asker(world, identity, license_id, attest=attest_with(tokens, service)))


def test_a_broker_that_trusts_nobody_takes_no_token(world, admit, tokens, service):
    admit(trusted=False)
    license_id = world.license()
    identity = world.runtime(license_id)
    shown = asker(world, identity, license_id, attest=attest_with(tokens, service))
    with (
        world.broker.client() as client,
        pytest.raises(KeyRequestRejected, match="no evidence of class tee"),
    ):
        client.release(shown)


def test_a_grant_for_one_measurement_opens_in_that_environment_only(world, admit, tokens, service):
    admit()
    license_id = world.license()
    identity = world.runtime(license_id)
    ledger = world.chain.deployment.addresses["LicenseLedger"]
    plain = identity.grant_for(31337, ledger, license_id).grant
    wanted = tokens.measurement_of(
        {"cpu0": {"ear.veraison.annotated-evidence": {"measurement": "ab" * 48}}}, (MEASURED,)
    )
    measured = sign_grant(
        world.chain.wallet("holder"),
        world.broker.home.identity.domain,
        license_id=license_id,
        runtime_key_hash=identity.key_hash,
        terms_hash=plain.terms_hash,
        grant_nonce=plain.nonce,
        not_after=plain.not_after,
        measurement=wanted,
    )
    with world.broker.client() as client:
        shown = replace(asker(world, identity, license_id), grant=measured)
        client.release(replace(shown, attest=attest_with(tokens, service)))
        for attest in (None, attest_with(tokens, service, "cd" * 48)):
            with pytest.raises(KeyRequestRejected, match="measured environment"):
                client.release(replace(shown, attest=attest))


def test_a_token_seen_on_the_wire_serves_nobody_else(world, admit, tokens, service):
    """A replay over the network: the same token in another request, KEM key and challenge."""
    admit()
    license_id = world.license()
    identity = world.runtime(license_id)
    seen = []

    def spied(report_data, challenge):
        seen.append(attest_with(tokens, service)(report_data, challenge))
        return seen[-1]

    with world.broker.client() as client:
        client.release(asker(world, identity, license_id, attest=spied))
        with pytest.raises(KeyRequestRejected, match="another challenge"):
            client.release(asker(world, identity, license_id, attest=lambda *_: seen[0]))


def test_a_carried_request_can_be_attested_too(world, admit, tokens, service):
    admit(software=False)
    license_id = world.license()
    identity = world.runtime(license_id)
    card = card_module.parse(world.card_file(license_id).read_bytes())
    attest = attest_with(tokens, service)
    bare = make_request(card, identity).to_json()
    assert answer(world.broker.service, bare).reply["denial"]["check"] == 7
    shown = make_request(card, identity, attest=attest).to_json()
    accept_release(identity, answer(world.broker.service, shown).to_json())
