"""Tokens from a program on the host, up to a key that a real broker releases for one."""

import sys
import textwrap
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ledger import runtime
from ledger.broker.admitting import Admitted
from ledger.broker.attestation import Attester, measurement_of
from ledger.broker.attesters import program
from ledger.errors import KeyAccessError, ToolMissing, UsageError

ISSUER, MEASURED, IMAGE = "https://as.example", "cpu0/image", "5f" * 32
# What a host would have: it takes report data and challenge, and prints the service's token.
ATTESTER = """
    import base64, json, sys, time
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    def text(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    report_data, challenge = (bytes.fromhex(word[2:]) for word in sys.argv[-2:])
    assert (len(report_data), len(challenge)) == (64, 32)
    annotated = {"report_data": report_data.hex()}
    claims = {
        "iss": "https://as.example", "iat": int(time.time()), "exp": int(time.time()) + 60,
        "eat_nonce": text(challenge),
        "submods": {"cpu0": {
            "ear.status": "affirming", "image": sys.argv[2],
            "ear.veraison.annotated-evidence": annotated,
        }},
    }
    head = text(json.dumps({"alg": "EdDSA", "typ": "JWT"}).encode())
    message = head + "." + text(json.dumps(claims).encode())
    key = load_pem_private_key(open(sys.argv[1], "rb").read(), None)
    print(message + "." + text(key.sign(message.encode())))
"""


def script(folder, text):
    path = folder / "attester.py"
    path.write_text(textwrap.dedent(text))
    return [sys.executable, str(path)]


@pytest.fixture
def service(tmp_path):
    """The key of an attestation service, as a file for the program and as a pin."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "as.pem").write_bytes(pem)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    pin = Attester.from_pem(public, issuer=ISSUER, measured=(MEASURED,))
    return str(tmp_path / "as.pem"), pin


@pytest.mark.chain
def test_a_measured_runtime_gets_the_key_and_another_image_does_not(world, tmp_path, service):
    file, pin = service
    license_id = world.license(world.plan())
    wanted = measurement_of({"cpu0": {"image": IMAGE}}, (MEASURED,))
    identity = world.runtime(license_id, measurement=wanted)
    card = world.card_file(license_id)
    admitted = replace(Admitted(), attesters=(pin,))
    before = world.broker.service._decisions.verifiers
    world.broker.service._decisions.verifiers = admitted.verifiers()
    command = script(tmp_path, ATTESTER)
    try:
        with runtime.load(card, runtime=identity, attest=program([*command, file, IMAGE])) as model:
            assert model.get_tensor("steps").tolist() == list(range(17))
        other = runtime.check(card, runtime=identity, attest=program([*command, file, "60" * 32]))
        assert (other.granted, other.denial.check) == (False, 7)
        none = runtime.check(card, runtime=identity)
        assert (none.granted, none.denial.check) == (False, 7)
    finally:
        world.broker.service._decisions.verifiers = before


def test_a_program_that_is_not_there_is_told_before_anything_is_asked():
    with pytest.raises(ToolMissing, match="no-such-attester"):
        program(["no-such-attester"])
    with pytest.raises(UsageError):
        program([])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("raise SystemExit(3)", "code 3"),
        ("", "no attestation token"),
        ("print('x' * 40000)", "no attestation token"),
        ("print('é')", "no attestation token"),
        ("import time; time.sleep(30)", "no token in"),
    ],
)
def test_a_program_that_fails_gives_no_token(tmp_path, text, told):
    attest = program(script(tmp_path, text), timeout=3)
    with pytest.raises(KeyAccessError, match=told):
        attest(bytes(64), bytes(32))


def test_what_the_program_says_of_its_failure_is_not_repeated(tmp_path):
    attest = program(script(tmp_path, "import sys; sys.exit('hunter2')"))
    with pytest.raises(KeyAccessError) as caught:
        attest(bytes(64), bytes(32))
    assert "hunter2" not in f"{caught.value!r} {caught.value.hint}"


def test_no_shell_reads_the_words(tmp_path):
    attest = program([*script(tmp_path, "import sys; print(len(sys.argv))"), "$(id); a b"])
    assert attest(bytes(64), bytes(32)) == "4"
