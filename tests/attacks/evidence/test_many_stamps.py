"""Stamps and entries that all hold, so many that their signatures would keep a verifier busy."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import openssl_tsa
import page_calls
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from two_verifiers import agree

from ledger.canonical import canonical_json
from ledger.chain.wallet import dev_wallet
from ledger.errors import UsageError
from ledger.evidence.bundle import CUSTODY, INDEX, pack, read_bundle
from ledger.evidence.certificates import to_pem
from ledger.evidence.custody import MAX_SIGNED, append, read_log
from ledger.evidence.timestamps import IN_ALL, renewal_imprint

MODEL = Path(__file__).resolve().parents[2] / "vectors" / "evidence" / "model.evidence.zip"
UNREAD = x509.ObjectIdentifier("1.3.6.1.4.1.55555.9")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with page_calls.functions(tmp_path_factory.mktemp("page")) as call:
        yield call


@pytest.fixture
def bundle(tmp_path):
    """A bundle with so many tokens of one authority, each with these lists beside it."""

    def make(tokens, *, between=0, lists=0, padding=0):
        base = read_bundle(MODEL)
        members = {name: data for name, data in base.members.items() if name != INDEX}
        above = [openssl_tsa.root("Root")]
        for number in range(between):
            above.insert(0, above[0].issue(f"A{number}", authority=True, usage=None))
        one = above[0].issue("Signer")
        tsa = openssl_tsa.Authority(tmp_path / f"{tokens} {between} {lists}", one)
        pem = to_pem("CERTIFICATE", [one.der, *(of.der for of in above)])
        crl = revocations(above[0], padding) * lists
        earlier = []
        for number in range(1, tokens + 1):
            imprint = renewal_imprint(base.computed_contents, earlier)
            earlier.append(tsa.stamp(imprint.raw, certificates=False))
            members[f"timestamps/{number}.tsr"] = earlier[-1]
            members[f"timestamps/{number}.pem"] = pem
            if lists:
                members[f"timestamps/{number}.crl"] = crl
        return pack(base.subject, members)

    return make


def revocations(authority, padding):
    """A list of nobody, in PEM, with so many bytes that no reader looks into."""
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
    builder = builder.last_update(now).next_update(now + timedelta(days=1))
    builder = builder.add_extension(
        x509.UnrecognizedExtension(UNREAD, bytes(padding)), critical=False
    )
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def step(number, page, data):
    """How all three end it."""
    found = page("(data) => verified_(data, {})", data)["steps"][number - 1]
    assert (found["result"], found["needed"]) == agree(data)[1][number - 1][2:]
    return found


@pytest.mark.parametrize(
    ("more", "few", "many"),
    [
        ({}, None, IN_ALL["tokens"] + 1),
        ({"between": 6}, IN_ALL["certificates"] // 8, IN_ALL["certificates"] // 8 + 1),
        ({"lists": 16}, IN_ALL["lists"] // 16, IN_ALL["lists"] // 16 + 1),
        ({"lists": 1, "padding": 2_200_000}, None, 3),
    ],
    ids=["tokens", "certificates", "lists", "bytes of lists"],
)
def test_more_stamps_than_a_bundle_may_have_fail_step_17_in_all_three(
    page, bundle, more, few, many
):
    if few is not None:  # the last that may be
        assert step(17, page, bundle(few, **more))["result"] == "not checked"
    refused = step(17, page, bundle(many, **more))
    assert refused["result"] == "fail"
    assert "at most" in refused["detail"]


def test_more_signed_entries_than_a_log_may_have_fail_step_18_in_all_three(page):
    base, wallet = read_bundle(MODEL), dev_wallet("auditor")
    log = read_log(base.json(CUSTODY), base.computed_contents)
    stated = {"time": "2026-01-02T00:00:00Z", "actor": "a", "action": "x", "software": "none"}
    for _ in range(MAX_SIGNED):
        log = append(
            log,
            contents=base.computed_contents,
            signer=wallet.address,
            sign=wallet.sign_digest,
            **stated,
        )
    with pytest.raises(UsageError, match="signed entries"):
        append(log, contents=base.computed_contents, sign=wallet.sign_digest, **stated)
    last = replace(log[-1], sequence=len(log) + 1, previous=log[-1].hash())
    last = replace(last, signature=wallet.sign_digest(last.message()))
    members = {name: data for name, data in base.members.items() if name != INDEX}
    members[CUSTODY] = canonical_json([entry.to_json() for entry in (*log, last)])
    refused = step(18, page, pack(base.subject, members))
    assert refused["result"] == "fail"
    assert "256 signed" in refused["detail"]
