"""Tokens of a real authority (OpenSSL), judged as of their own time."""

import os
import subprocess
import time
from datetime import timedelta

import openssl_tsa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from ledger.errors import TimestampInvalid
from ledger.evidence import timestamps
from ledger.evidence.certificates import to_pem
from ledger.evidence.timestamps import Token, chain_of, renewal_imprint, verify_token
from ledger.ids import Digest

CONTENTS = Digest(bytes(range(32)))
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def ca():
    return openssl_tsa.root("Root of tests")


@pytest.fixture
def stamped(tmp_path, ca):
    """A token and its certificates, by an authority below `ca`."""

    def make(imprint=CONTENTS, *, above=(ca,), certificates=True, authority=None, **signer):
        one = above[0].issue("Authority of tests", **signer)
        tsa = openssl_tsa.Authority(tmp_path / f"tsa{os.urandom(4).hex()}", one, **authority or {})
        raw = tsa.stamp(imprint.raw, certificates=certificates)
        return raw, to_pem("CERTIFICATE", [one.der, *(of.der for of in above)]), one

    return make


@pytest.mark.parametrize("kind", ["rsa", "p256", "p384"])
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_tokens_of_rsa_and_ec_keys_hold(stamped, kind, digest):
    began = int(time.time())
    raw, pem, _ = stamped(kind=kind, authority={"digest": digest})
    stamp = verify_token(raw, pem, None, CONTENTS)
    token = stamp.token
    assert began <= token.time <= time.time() + 1
    assert token.accuracy == 1_500_000
    assert token.earliest < token.time < token.latest
    assert token.latest == -(-(token.generated + 1_500_000) // 1_000_000)
    assert stamp.chain[0].name == "Authority of tests"
    assert stamp.root.name == "Root of tests"


@pytest.mark.parametrize("ess", ["sha1", "sha256", "sha512"])
def test_older_and_newer_names_of_the_signing_certificate_are_read(stamped, ess):
    raw, pem, _ = stamped(authority={"ess": ess})
    assert verify_token(raw, pem, None, CONTENTS).token.imprint == CONTENTS


def test_an_intermediate_authority_and_a_token_without_certificates(stamped, ca):
    between = ca.issue("Between", authority=True, usage=None, path=0)
    raw, pem, one = stamped(above=(between, ca), certificates=False)
    assert Token.parse(raw).embedded == ()
    assert len(verify_token(raw, pem, None, CONTENTS).chain) == 3
    chain = chain_of(Token.parse(raw), [ca.der, one.der, between.der])
    assert to_pem("CERTIFICATE", [of.raw for of in chain]) == pem
    with pytest.raises(TimestampInvalid, match="signing certificate is not here"):
        chain_of(Token.parse(raw), [ca.der])


def test_a_token_that_holds_its_unsorted_chain_is_read(stamped, ca):
    """OpenSSL writes the SET of certificates unsorted; other readers refuse that."""
    between = ca.issue("Between", authority=True, usage=None)
    raw, pem, _ = stamped(above=(between, ca), authority={"chain": (between, ca)})
    assert len(Token.parse(raw).embedded) == 3
    assert verify_token(raw, pem, None, CONTENTS).root.name == "Root of tests"


def test_openssl_alone_checks_a_token_with_the_words_of_the_spec(stamped, tmp_path, ca):
    raw, pem, _ = stamped()
    (tmp_path / "1.tsr").write_bytes(raw)
    (tmp_path / "1.pem").write_bytes(pem)
    (tmp_path / "root.pem").write_bytes(ca.pem)

    def check(contents):
        words = ["openssl", "ts", "-verify", "-digest", contents.raw.hex(), "-in", "1.tsr"]
        words += ["-token_in", "-CAfile", "root.pem", "-untrusted", "1.pem", "-attime"]
        at = str(verify_token(raw, pem, None, CONTENTS).token.time)
        return subprocess.run([*words, at], cwd=tmp_path, capture_output=True, check=False)

    assert check(CONTENTS).returncode == 0
    assert check(Digest(b"\x01" * 32)).returncode != 0


def test_certificates_that_ended_since_hold_and_today_is_never_asked(stamped, tmp_path):
    old = openssl_tsa.root("Old root", end=timedelta(seconds=4))
    raw, pem, _ = stamped(above=(old,), end=timedelta(seconds=4))
    stamp = verify_token(raw, pem, None, CONTENTS)
    while time.time() <= stamp.signer_until + 1:
        time.sleep(0.2)
    assert verify_token(raw, pem, None, CONTENTS).token == stamp.token
    (tmp_path / "1.tsr").write_bytes(raw)
    (tmp_path / "root.pem").write_bytes(old.pem)
    (tmp_path / "1.pem").write_bytes(pem)
    words = ["openssl", "ts", "-verify", "-digest", CONTENTS.raw.hex(), "-in", "1.tsr"]
    words += ["-token_in", "-CAfile", "root.pem", "-untrusted", "1.pem"]

    def run(*more):
        done = subprocess.run([*words, *more], cwd=tmp_path, capture_output=True, check=False)
        return done.returncode

    assert run() != 0
    assert run("-attime", str(stamp.token.time)) == 0


@pytest.mark.parametrize("dates", [{"end": -DAY / 24}, {"start": DAY / 24}])
def test_certificates_not_valid_when_the_token_was_made_are_refused(stamped, dates):
    raw, pem, _ = stamped(**{"start": -2 * DAY, "end": 2 * DAY} | dates)
    with pytest.raises(TimestampInvalid, match="not valid at the token's time"):
        verify_token(raw, pem, None, CONTENTS)


def test_a_token_of_something_else_or_of_another_signer_is_refused(stamped, ca):
    raw, pem, _ = stamped()
    with pytest.raises(TimestampInvalid, match="dates something else"):
        verify_token(raw, pem, None, Digest(b"\x01" * 32))
    other, _, _ = stamped()
    with pytest.raises(TimestampInvalid, match="another signing certificate"):
        verify_token(other, pem, None, CONTENTS)
    impostor = openssl_tsa.root("Root of tests")
    alone = pem.split(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n"
    with pytest.raises(TimestampInvalid, match="does not verify"):
        verify_token(raw, alone + impostor.pem, None, CONTENTS)
    with pytest.raises(TimestampInvalid, match="has no root"):
        verify_token(raw, alone, None, CONTENTS)


@pytest.mark.parametrize(
    "signer",
    [
        {"usage": (ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING)},
        {"critical": False},
    ],
)
def test_a_certificate_that_is_not_for_time_stamps_alone_is_refused(signer, stamped, ca, tmp_path):
    """OpenSSL will not sign with such a certificate, so it is put in place of a good one."""
    good, _, _ = stamped()
    bad = ca.issue("Authority of tests", **signer)
    certificate = timestamps.Certificate.parse(bad.der)
    with pytest.raises(TimestampInvalid, match="not for time-stamps alone"):
        timestamps.check_chain(
            [certificate, timestamps.Certificate.parse(ca.der)], Token.parse(good).time
        )


def test_an_authority_that_may_not_issue_is_refused(stamped, ca):
    leaf = ca.issue("No authority", usage=None)
    raw, pem, _ = stamped(above=(leaf, ca))
    with pytest.raises(TimestampInvalid, match="not of an authority"):
        verify_token(raw, pem, None, CONTENTS)
    first = ca.issue("First", authority=True, usage=None, path=0)
    second = first.issue("Second", authority=True, usage=None)
    raw, pem, _ = stamped(above=(second, first, ca))
    with pytest.raises(TimestampInvalid, match="longer than its authority allows"):
        verify_token(raw, pem, None, CONTENTS)


REASONS = x509.ReasonFlags


@pytest.mark.parametrize(
    ("at", "reason", "fault"),
    [
        (timedelta(hours=-1), REASONS.superseded, "revoked before"),
        (timedelta(hours=-1), None, "revoked before"),
        (timedelta(hours=1), REASONS.superseded, None),
        (timedelta(hours=1), REASONS.cessation_of_operation, None),
        (timedelta(hours=1), REASONS.key_compromise, "taints"),
        (timedelta(hours=1), None, "taints"),
    ],
)
def test_revocation_counts_as_of_the_token_s_time(stamped, ca, at, reason, fault):
    raw, pem, one = stamped()
    lists = ca.revoke(one, at=at, reason=reason)
    if fault is None:
        assert len(verify_token(raw, pem, lists, CONTENTS).lists) == 1
        return
    with pytest.raises(TimestampInvalid, match=fault):
        verify_token(raw, pem, lists, CONTENTS)


def test_a_revocation_list_of_a_stranger_is_refused(stamped, ca):
    raw, pem, one = stamped()
    for stranger, fault in (("Another root", "not of an authority"), ("Root of tests", "verify")):
        lists = openssl_tsa.root(stranger).revoke(one, at=timedelta(hours=1))
        with pytest.raises(TimestampInvalid, match=fault):
            verify_token(raw, pem, lists, CONTENTS)


def test_a_renewal_dates_every_token_before_it(stamped):
    first, pem, _ = stamped()
    imprint = renewal_imprint(CONTENTS, [first])
    second, other, _ = stamped(imprint)
    assert verify_token(second, other, None, imprint)
    assert renewal_imprint(CONTENTS, []) == CONTENTS
    assert renewal_imprint(CONTENTS, [second]) != imprint != renewal_imprint(CONTENTS, [first] * 2)
    stamps = [
        verify_token(first, pem, None, CONTENTS),
        verify_token(second, other, None, imprint),
    ]
    timestamps.check_renewals(stamps)


def test_a_renewal_after_the_certificate_ended_or_before_the_token_is_refused(stamped):
    first, pem, _ = stamped(end=timedelta(seconds=2))
    before = verify_token(first, pem, None, CONTENTS)
    time.sleep(3.2)
    imprint = renewal_imprint(CONTENTS, [first])
    second, other, _ = stamped(imprint)
    after = verify_token(second, other, None, imprint)
    with pytest.raises(TimestampInvalid, match="came after the certificate before it ended"):
        timestamps.check_renewals([before, after])
    with pytest.raises(TimestampInvalid, match="older than the one it renews"):
        timestamps.check_renewals([after, before])


def test_every_changed_byte_of_what_is_signed_is_caught(stamped):
    """A change elsewhere (unread certificates inside) leaves the same statement, or is refused."""
    raw, pem, _ = stamped(certificates=False)
    good = verify_token(raw, pem, None, CONTENTS)
    accepted = []
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1
        try:
            stamp = verify_token(bytes(changed), pem, None, CONTENTS)
        except TimestampInvalid:
            continue
        assert (stamp.token.content, stamp.token.attributes) == (
            good.token.content,
            good.token.attributes,
        )
        accepted.append(at)
    assert len(accepted) <= 20, accepted  # version numbers and the unread list of hashes


def test_every_changed_byte_of_the_signing_certificate_is_caught(stamped):
    raw, pem, one = stamped()
    tail = pem[len(to_pem("CERTIFICATE", [one.der])) :]
    for at in range(len(one.der)):
        changed = bytearray(one.der)
        changed[at] ^= 1
        with pytest.raises(TimestampInvalid):
            verify_token(raw, to_pem("CERTIFICATE", [bytes(changed)]) + tail, None, CONTENTS)


def test_a_pem_member_has_one_spelling(stamped, ca):
    raw, pem, _ = stamped()
    for other in (pem + b"\n", b"x\n" + pem, pem.replace(b"\n", b"\r\n"), b"", pem * 5):
        with pytest.raises(TimestampInvalid):
            verify_token(raw, other, None, CONTENTS)
    private = ca.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(TimestampInvalid):
        verify_token(raw, pem + private, None, CONTENTS)
