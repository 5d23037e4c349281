"""Attestation tokens: what a broker believes about hardware, one fault a test."""

import base64
import hashlib
import json
import secrets
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.broker.admitting import Admitted
from ledger.broker.attestation import (
    REPORT_DATA_PATH,
    Attester,
    TeeEvidence,
    measurement_of,
    report_data_of,
)
from ledger.broker.custody import write_private
from ledger.broker.grants import ALG_ED25519, RuntimeKey
from ledger.broker.protocol import Evidence, KeyRequest
from ledger.errors import (
    ConfigurationError,
    KeyRequestRejected,
    LedgerError,
    ManifestError,
    UsageError,
)
from ledger.ids import Digest, LicenseId, ModelId
from ledger.licensing.terms import Use
from ledger.sealed.recipients import KemPrivateKey

NOW, ISSUER = 1_800_000_000, "https://as.example"
MEASURED = "cpu0/ear.veraison.annotated-evidence/measurement"
KEM = KemPrivateKey.generate().public


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Service:
    """An attestation service: a key of its own, and tokens signed with it."""

    def __init__(self, alg="ES256"):
        self.alg = alg
        is_ec = alg == "ES256"
        self.key = (
            ec.generate_private_key(ec.SECP256R1()) if is_ec else Ed25519PrivateKey.generate()
        )

    @property
    def pem(self):
        form = PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(Encoding.PEM, form)

    def sign(self, message):
        if self.alg == "EdDSA":
            return self.key.sign(message)
        r, s = decode_dss_signature(self.key.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def token(self, claims, header=None, *, raw_claims=None, raw_header=None):
        head = raw_header or json.dumps(header or {"alg": self.alg, "typ": "JWT"}).encode()
        body = raw_claims or json.dumps(claims).encode()
        message = f"{encoded(head)}.{encoded(body)}"
        return f"{message}.{encoded(self.sign(message.encode()))}"


@pytest.fixture(scope="module")
def service():
    return Service()


def request(**changes):
    fields = {
        "challenge": b"\x07" * 32,
        "license": LicenseId.of(1, 1),
        "model": ModelId(b"\x03" * 32),
        "kem": KEM,
        "evidence": Evidence("tee", "release", Digest(b"\x04" * 32), Use(), "test", "-"),
        "audience": "modeldeed-broker:31337:0x" + "33" * 20 + ":1",
        "issued_at": NOW,
        "expires_at": NOW + 120,
        "runtime": RuntimeKey(ALG_ED25519, b"\x05" * 32),
        **changes,
    }
    return KeyRequest(**fields)


def claims(asked=None, **changes):
    asked = asked or request()
    return {
        "iss": ISSUER,
        "iat": NOW - 5,
        "exp": NOW + 295,
        "eat_profile": "tag:github.com,2024:confidential-containers/Trustee",
        "eat_nonce": encoded(asked.challenge),
        "submods": {
            "cpu0": {
                "ear.status": "affirming",
                "ear.trustworthiness-vector": {"hardware": 2, "executables": 3, "file-system": 0},
                "ear.veraison.annotated-evidence": {
                    "report_data": report_data_of(asked).hex(),
                    "measurement": "ab" * 48,
                },
            }
        },
        **changes,
    }


def pinned(service, **options):
    return Attester.from_pem(service.pem, issuer=ISSUER, **{"measured": (MEASURED,), **options})


def verify(service, token, asked=None, *, now=NOW, attester=None):
    asked = asked or request()
    verifier = TeeEvidence([attester or pinned(service)], clock=lambda: now)
    return verifier.verify(replace(asked.evidence, token=token), asked)


def refused(service, token, reason, asked=None, **options):
    with pytest.raises(KeyRequestRejected, match=reason) as caught:
        verify(service, token, asked, **options)
    assert caught.value.check == 7


def edited(path, value):
    made = claims()
    *steps, last = path
    inner = made
    for step in steps:
        inner = inner[step]
    inner[last] = value
    return made


# -- what holds


@pytest.mark.parametrize("alg", ["ES256", "EdDSA"])
def test_a_token_of_a_pinned_issuer_for_this_request_shows_its_measurement(alg):
    made = Service(alg)
    detail, measurement = verify(made, made.token(claims()))
    content = json.dumps({MEASURED: "ab" * 48}, separators=(",", ":")).encode()
    tag = b"modeldeed/tee-measurement/1\0"
    assert measurement == hashlib.sha256(tag + content).digest()[:20]
    assert f"attested by {ISSUER}" in detail
    assert measurement.hex() in detail


def test_report_data_is_the_hash_in_the_spec():
    asked = request()
    bound = {
        "audience": asked.audience,
        "challenge": "0x" + "07" * 32,
        "kem_key_hash": str(KEM.hash()),
        "license": "1.1",
        "model": "0x" + "03" * 32,
        "runtime_key_hash": str(asked.runtime.hash()),
    }
    text = json.dumps(bound, separators=(",", ":"), sort_keys=True).encode()
    assert report_data_of(asked) == hashlib.sha512(b"modeldeed/tee-report-data/1\0" + text).digest()


def test_the_numbers_of_the_registry_and_a_missing_nonce_are_fine(service):
    made = edited(("submods", "cpu0", "ear.status"), 2)
    del made["eat_nonce"]
    verify(service, service.token(made))
    verify(service, service.token(claims(eat_nonce=[encoded(b"\x07" * 32)], nbf=NOW)))


def test_without_measured_claims_nothing_is_measured(service):
    token = service.token(claims())
    detail, measurement = verify(service, token, attester=pinned(service, measured=()))
    assert measurement == bytes(20)
    assert "nothing measured" in detail


# -- who signed


def test_a_wrong_issuer_is_refused(service):
    refused(service, service.token(claims(iss="https://evil.example")), "trusts no attester")


def test_no_issuer_is_refused(service):
    made = claims()
    del made["iss"]
    refused(service, service.token(made), "iss must be text")


def test_another_key_under_the_issuers_name_is_refused(service):
    refused(service, Service().token(claims()), "none of the keys pinned")


def test_alg_none_is_refused(service):
    head, body = ({"alg": "none"}, claims())
    bare = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(body).encode())}"
    refused(service, f"{bare}.", "base64url")
    refused(service, f"{bare}.{encoded(bytes(64))}", "alg must be")
    refused(service, service.token(body, head), "alg must be")


def test_a_mac_under_the_public_key_is_refused(service):
    refused(service, service.token(claims(), {"alg": "HS256"}), "alg must be")


def test_the_other_alg_than_the_keys_is_refused(service):
    refused(service, service.token(claims(), {"alg": "EdDSA"}), "none of the keys pinned")


@pytest.mark.parametrize("member", ["jwk", "jku", "x5c", "x5u", "crit", "b64"])
def test_a_header_that_brings_more_along_is_refused(service, member):
    header = {"alg": "ES256", member: "anything"}
    refused(service, service.token(claims(), header), f"header has a member '{member}'")


def test_another_kid_than_the_pinned_is_refused(service):
    pin = pinned(service, kid="a")
    verify(service, service.token(claims(), {"alg": "ES256", "kid": "a"}), attester=pin)
    for header in ({"alg": "ES256", "kid": "b"}, {"alg": "ES256"}):
        refused(service, service.token(claims(), header), "none of the keys", attester=pin)


def test_a_signature_in_der_is_refused(service):
    head, body, _ = service.token(claims()).split(".")
    der = service.key.sign(f"{head}.{body}".encode(), ec.ECDSA(SHA256()))
    refused(service, f"{head}.{body}.{encoded(der)}", "64 bytes")


def test_a_zero_signature_is_refused(service):
    head, body, _ = service.token(claims()).split(".")
    refused(service, f"{head}.{body}.{encoded(bytes(64))}", "none of the keys pinned")


# -- when


def test_an_expired_token_is_refused(service):
    refused(service, service.token(claims()), "expired", now=NOW + 295)
    verify(service, service.token(claims()), now=NOW + 294)


@pytest.mark.parametrize("member", ["iat", "nbf"])
def test_a_token_that_is_not_yet_valid_is_refused(service, member):
    refused(service, service.token(claims(**{member: NOW + 61})), "not valid yet")
    verify(service, service.token(claims(**{member: NOW + 60})))


def test_a_token_that_lives_long_is_still_no_older_than_the_pin_says(service):
    old = claims(iat=NOW - 301, exp=NOW + 10**6)
    refused(service, service.token(old), "issued 301 s ago")


@pytest.mark.parametrize("member", ["iat", "exp"])
@pytest.mark.parametrize("value", [None, "soon", 1.5, True, -1, 10**30])
def test_a_time_that_is_none_is_refused(service, member, value):
    refused(service, service.token(claims(**{member: value})), f"{member} must be")


# -- for what


def test_another_nonce_is_refused(service):
    token = service.token(claims(eat_nonce=encoded(b"\x08" * 32)))
    refused(service, token, "another challenge")
    refused(service, service.token(claims(eat_nonce=None)), "another challenge")


def test_a_token_shown_again_for_another_challenge_is_refused(service):
    """A replay: only the challenge has changed, and the token tells no nonce."""
    made = claims()
    del made["eat_nonce"]
    token = service.token(made)
    verify(service, token)
    refused(service, token, "another challenge, KEM key", request(challenge=b"\x09" * 32))


def test_another_kem_key_is_refused(service):
    theirs = KemPrivateKey.generate().public
    refused(service, service.token(claims()), "KEM key", request(kem=theirs))


@pytest.mark.parametrize(
    "change",
    [
        {"license": LicenseId.of(1, 2)},
        {"model": ModelId(b"\x06" * 32)},
        {"audience": "modeldeed-broker:31337:0x" + "33" * 20 + ":2"},
        {"runtime": RuntimeKey(ALG_ED25519, b"\x06" * 32)},
    ],
)
def test_another_license_model_broker_or_runtime_is_refused(service, change):
    refused(service, service.token(claims()), "report data is for another", request(**change))


def test_missing_report_data_is_refused(service):
    path = ("submods", "cpu0", "ear.veraison.annotated-evidence")
    refused(service, service.token(edited(path, {"measurement": "ab"})), "no report data")
    refused(service, service.token(edited(path, [])), "no report data")


# -- in what state


@pytest.mark.parametrize(
    "status", ["contraindicated", "warning", "none", 0, 32, 96, True, None, {}]
)
def test_any_other_status_than_affirming_is_refused(service, status):
    made = edited(("submods", "cpu0", "ear.status"), status)
    refused(service, service.token(made), "is not affirming")


def test_one_contraindicated_device_among_good_ones_is_refused(service):
    made = claims()
    made["submods"]["gpu0"] = {"ear.status": "contraindicated"}
    refused(service, service.token(made), "'gpu0' is not affirming")


@pytest.mark.parametrize("tier", [32, 96, 127, -33, "2", True, None])
def test_a_vector_that_contradicts_its_status_is_refused(service, tier):
    made = edited(("submods", "cpu0", "ear.trustworthiness-vector", "hardware"), tier)
    refused(service, service.token(made), "'hardware' is not affirming")


def test_no_submodule_or_too_many_are_refused(service):
    made = claims()
    made["submods"] |= {f"gpu{n}": made["submods"]["cpu0"] for n in range(16)}
    refused(service, service.token(made), "1 to 16 submodules")
    refused(service, service.token(claims(submods={})), "no report data")
    refused(service, service.token(claims(submods=[])), "submods must be")


def test_a_measured_claim_that_is_missing_is_refused(service):
    path = ("submods", "cpu0", "ear.veraison.annotated-evidence", "measurement")
    for value in (None, ["ab"], True, {"a": 1}):
        refused(service, service.token(edited(path, value)), "no measured claim")


# -- of what form


def test_an_oversized_token_is_refused(service):
    refused(service, service.token(claims(padding="x" * 32768)), "over 32768")


def test_a_member_twice_is_refused(service):
    text = json.dumps(claims())
    doubled = text[:-1] + f', "iss": "{ISSUER}"}}'
    refused(service, service.token(None, raw_claims=doubled.encode()), "repeats a key")
    header = b'{"alg": "none", "alg": "ES256"}'
    refused(service, service.token(claims(), raw_header=header), "repeats a key")


def test_a_second_spelling_of_the_same_token_is_refused(service):
    token = service.token(claims())
    refused(service, token + "=", "base64url")
    refused(service, " " + token, "base64url")
    # The two lowest bits of the last character carry nothing.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(token[-1]) ^ 1]
    refused(service, token[:-1] + last, "base64url")


@pytest.mark.parametrize("token", ["", ".", "..", "a.b", "a.b.c.d", "é.é.é", "e30.e30." + "A" * 86])
def test_what_is_no_token_is_refused(service, token):
    refused(service, token, "token")


def test_no_token_is_refused(service):
    with pytest.raises(KeyRequestRejected, match="none was shown"):
        verify(service, None)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_change_of_any_character_passes(data):
    made = data.draw(st.sampled_from(_TOKENS))
    at = data.draw(st.integers(0, len(made[1]) - 1))
    other = data.draw(st.characters().filter(lambda c: c != made[1][at]))
    changed = made[1][:at] + other + made[1][at + 1 :]
    with pytest.raises(LedgerError):
        verify(made[0], changed)


_TOKENS = [(made, made.token(claims())) for made in (Service(), Service("EdDSA"))]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), min_size=1, max_size=4))
def test_a_measurement_depends_on_every_measured_claim(values):
    paths = sorted(name for name in values if "/" not in name)
    found = measurement_of(values, paths)
    for name in paths:
        changed = {**values, name: values[name] + "x"}
        assert measurement_of(changed, paths) != found


# -- what the operator admits


def test_the_operators_choice_survives_its_file(service, tmp_path):
    assert sorted(Admitted.load(tmp_path).verifiers()) == ["software"]
    admitted = Admitted(software=False, attesters=(pinned(service, kid="a"),))
    admitted.save(tmp_path)
    assert Admitted.load(tmp_path) == admitted
    assert sorted(admitted.verifiers()) == ["tee"]


def test_a_broken_or_open_file_stops_the_broker(tmp_path):
    path = tmp_path / "evidence.json"
    write_private(path, b'{"type": "modeldeed/broker-evidence", "version": 1}')
    with pytest.raises(ManifestError):
        Admitted.load(tmp_path)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError):
        Admitted.load(tmp_path)


def test_only_public_keys_of_the_two_kinds_are_pinned():
    for pem in (b"nothing", secrets.token_bytes(100)):
        with pytest.raises(UsageError, match="no public key"):
            Attester.from_pem(pem, issuer=ISSUER)
    large = ec.generate_private_key(ec.SECP384R1()).public_key()
    pem = large.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(UsageError, match="Ed25519 or P-256"):
        Attester.from_pem(pem, issuer=ISSUER)
    with pytest.raises(UsageError, match="issuer"):
        Attester.from_pem(Service().pem, issuer="")
    assert REPORT_DATA_PATH.startswith("cpu0/")
