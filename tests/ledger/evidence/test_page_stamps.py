"""The page's judgement of stamps and receipts (in node) beside the library's."""

import hashlib
from datetime import timedelta
from pathlib import Path

import openssl_tsa
import page_calls
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from page_calls import Refused, encoded, outcome, shown, tree

from ledger.evidence import der, timestamp_steps, timestamps
from ledger.evidence.certificates import (
    Certificate,
    check_chain,
    to_pem,
)
from ledger.evidence.timestamp_steps import read_stamps
from ledger.ids import Digest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "ledger" / "evidence" / "verifiers" / "page"
VECTORS = ROOT / "tests" / "vectors" / "evidence"
BUNDLES = sorted(VECTORS.rglob("*.evidence.zip"))
RELEASES = sorted((VECTORS / "releases").glob("*.json"))
CONTENTS = Digest(bytes(range(32)))
DAY = timedelta(days=1)


GENESIS = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e"
    "67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with page_calls.functions(tmp_path_factory.mktemp("page")) as call:
        yield call


# ---- chains: every rule of the spec, judged by both ----------------------------------------------


def chain_by_library(chain, at):
    check_chain(tuple(Certificate.parse(one.der) for one in chain), at)
    return True


def chain_by_page(page, chain, at):
    raws = [shown(one.der) for one in chain]
    body = "(at, ...raws) => (checkCertificates(raws.map(readCertificate), at), true)"
    return page(body, at, *[bytes.fromhex(of["hex"]) for of in raws])


def test_chains_are_judged_alike(page):
    ca = openssl_tsa.root("Root")
    now = Certificate.parse(ca.der).not_before + 2 * 86400
    between = ca.issue("Between", authority=True, usage=None)
    narrow = ca.issue("Narrow", authority=True, usage=None, path=0)
    below = narrow.issue("Below", authority=True, usage=None)
    plain = ca.issue("Plain", authority=False, usage=None)
    email = x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION
    stamping = x509.oid.ExtendedKeyUsageOID.TIME_STAMPING
    chains = {
        "direct": [ca.issue("A"), ca],
        "between": [between.issue("A"), between, ca],
        "narrow": [narrow.issue("A"), narrow, ca],
        "too long": [below.issue("A"), below, narrow, ca],
        "no authority": [plain.issue("A"), plain, ca],
        "no root": [between.issue("A"), between],
        "alone": [ca.issue("A")],
        "root alone": [ca],
        "swapped": [ca, ca.issue("A")],
        "not critical": [ca.issue("A", critical=False), ca],
        "two uses": [ca.issue("A", usage=(stamping, email)), ca],
        "no use": [ca.issue("A", usage=None), ca],
        "signs certificates": [ca.issue("A", authority=True), ca],
        "ended": [ca.issue("A", end=DAY / 4), ca],
        "not begun": [ca.issue("A", start=DAY, end=2 * DAY), ca],
        "rsa": [openssl_tsa.root("R", kind="rsa").issue("A"), openssl_tsa.root("R", kind="rsa")],
    }
    held = {}
    for name, chain in chains.items():
        for at in (now, now - 86400 * 4, now + 86400 * 2):
            expected = outcome(chain_by_library, chain, at)
            assert outcome(chain_by_page, page, chain, at) == expected, (name, at)
            held[name] = held.get(name) or expected
    assert {name for name, of in held.items() if of} >= {"direct", "between", "narrow", "not begun"}


@pytest.mark.parametrize("kind", ["rsa", "p256", "p384"])
@pytest.mark.parametrize("ess", ["sha1", "sha256", "sha512"])
def test_stamps_of_a_real_authority_are_told_alike(page, tmp_path, kind, ess):
    ca = openssl_tsa.root("Root \u4e2d\x1b", kind=kind)
    one = ca.issue("Authority", kind=kind)
    digest = {"sha1": "sha384"}.get(ess, ess)
    tsa = openssl_tsa.Authority(tmp_path / "tsa", one, (ca,), digest=digest, ess=ess)
    first = tsa.stamp(CONTENTS.raw)
    second = tsa.stamp(timestamps.renewal_imprint(CONTENTS, [first]).raw, certificates=False)
    pem = to_pem("CERTIFICATE", [one.der, ca.der])
    harmless, tainting = x509.ReasonFlags.superseded, x509.ReasonFlags.key_compromise
    one_token = {"1.tsr": first, "1.pem": pem}
    other = openssl_tsa.root("X")
    bundles = {
        "both": {**one_token, "2.tsr": second, "2.pem": pem},
        "revoked later": {**one_token, "1.crl": ca.revoke(one, at=DAY, reason=harmless)},
        "compromised": {**one_token, "1.crl": ca.revoke(one, at=DAY, reason=tainting)},
        "no reason": {**one_token, "1.crl": ca.revoke(one, at=DAY)},
        "revoked before": {**one_token, "1.crl": ca.revoke(one, at=-DAY, reason=harmless)},
        "list of another": {**one_token, "1.crl": other.revoke(one, at=DAY)},
        "swapped": {"1.tsr": second, "1.pem": pem, "2.tsr": first, "2.pem": pem},
        "gap": {"2.tsr": first, "2.pem": pem},
        "pem alone": {"1.tsr": first, "1.pem": pem, "2.pem": pem},
        "no pem": {"1.tsr": first},
        "pem with a line": {"1.tsr": first, "1.pem": pem + b"\n"},
        "pem in one line": {"1.tsr": first, "1.pem": pem.replace(b"\n", b"", 3)},
        "header alone": {"1.tsr": first, "1.pem": pem, "0.header": GENESIS},
    }
    held = set()
    for name, members in bundles.items():
        expected = outcome(told_stamps, members)
        assert outcome(page, TOLD, members, CONTENTS.raw) == expected, name
        held |= {name} if expected else set()
    assert held == {"both", "revoked later"}
    for name in ("1.tsr", "1.pem"):
        for at in range(0, len(bundles["both"][name]), 37):
            members = dict(bundles["both"])
            members[name] = (
                members[name][:at] + bytes([members[name][at] ^ 1]) + members[name][at + 1 :]
            )
            expected = outcome(told_stamps, members)
            assert outcome(page, TOLD, members, CONTENTS.raw) == expected, (name, at)


def made_anew(raw, signer, *, generated=None, accuracy=True, serial=None):
    """A real token with another time, accuracy or signer's serial, signed as it would have been."""
    token = tree(raw)
    signed = token[0][1][1][1][0][1]
    statement = signed[2][1][1][1][0]
    fields = statement[1][0][1]
    at = next(i for i, (tag, _) in enumerate(fields) if tag == der.GENERALIZED_TIME)
    if generated is not None:
        fields[at][1] = generated.encode()
    if not accuracy:
        fields[:] = [of for i, of in enumerate(fields) if i <= at or of[0] != der.SEQUENCE]
    info = signed[-1][1][0][1]
    if serial is not None:
        info[1][1][1][1] = serial
    named = bytes.fromhex("2a864886f70d010904")
    digest = next(of[1] for of in info[3][1] if of[1][0][1] == named)
    digest[1][1][0][1] = hashlib.sha256(encoded(statement[1])).digest()
    attributes = encoded([[der.SET, info[3][1]]])
    info[5][1] = signer.key.sign(attributes, ec.ECDSA(hashes.SHA256()))
    return encoded(token)


def test_times_of_tokens_are_judged_alike(page, tmp_path):
    ca = openssl_tsa.root("Root", start=-20 * DAY, end=20 * DAY)
    one = ca.issue("First", start=-10 * DAY, end=DAY)
    two = ca.issue("Second", start=-10 * DAY, end=10 * DAY)
    stamp = [
        openssl_tsa.Authority(tmp_path / name, of).stamp
        for name, of in (("first", one), ("second", two))
    ]
    pems = [to_pem("CERTIFICATE", [of.der, ca.der]) for of in (one, two)]
    ends = [of.certificate.not_valid_after_utc for of in (one, two)]
    starts = [of.certificate.not_valid_before_utc for of in (one, two)]
    second, form = timedelta(seconds=1), "%Y%m%d%H%M%S"
    now = starts[0] + 10 * DAY
    times = [
        [
            starts[0] - second, starts[0], now, ends[0], ends[0] + second,
        ],
        [
            starts[1], now - second, now, now + second, ends[0], ends[0] + second, ends[1],
            ends[1] + second,
        ],
    ]  # fmt: skip
    held = 0
    for first_at in times[0]:
        for fraction in ("", ".5", ".999999"):
            text = first_at.strftime(form) + fraction + "Z"
            for accuracy in (True, False):
                first = made_anew(stamp[0](CONTENTS.raw), one, generated=text, accuracy=accuracy)
                members = {"1.tsr": first, "1.pem": pems[0]}
                expected = outcome(told_stamps, members)
                assert outcome(page, TOLD, members, CONTENTS.raw) == expected, text
                held += expected is not None
    assert held == 3 * 3 * 2
    held = []
    first = made_anew(stamp[0](CONTENTS.raw), one, generated=now.strftime(form) + ".5Z")
    raw = stamp[1](timestamps.renewal_imprint(CONTENTS, [first]).raw)
    for at in times[1]:
        for fraction in ("", ".4", ".5"):
            again = made_anew(raw, two, generated=at.strftime(form) + fraction + "Z")
            members = {"1.tsr": first, "1.pem": pems[0], "2.tsr": again, "2.pem": pems[1]}
            expected = outcome(told_stamps, members)
            assert outcome(page, TOLD, members, CONTENTS.raw) == expected, (at, fraction)
            held += [f"{at}{fraction}"] if expected else []
    assert held[0] == f"{now}.5"
    assert held[-1] == f"{ends[0]}.5"
    members = {"1.tsr": made_anew(first, one, serial=b"\x05"), "1.pem": pems[0]}
    assert outcome(page, TOLD, members, CONTENTS.raw) is outcome(told_stamps, members) is None


TOLD = "(m, contents) => toldTimestamps({ timestamps: readStamps(m, contents) })"


def told_stamps(members):
    class Told:
        timestamps = read_stamps(members, CONTENTS)

    return timestamp_steps.told(Told)


# ---- receipts and what stands on chain about them ------------------------------------------------


PROVEN = """(data, change) => {
  const c = new Case(readIndex(readArchive(data)), { blocks: new Set(), contracts: new Map() });
  for (const step of [stepHeaders, stepStorage, stepEvents, stepClaim, stepLicenses]) step(c);
  const none = hex0x(word(EMPTY));
  const keys = (event) => event.name === "BrokerKeysSet";
  const last = (event) => event.name === "ReceiptsAnchored";
  const all = (which, change) => c.events.filter(which).forEach(change);
  const words = c.words.get("BrokerRegistry");
  const changes = {
    nothing: () => {},
    "no key": () => { c.events = c.events.filter((event) => !keys(event)); },
    "another key": () => all(keys, (of) => { of.args.signingKeyHash = none; }),
    "a later key": () => all(keys, (of) => { of.place = [2n ** 40n, 0n, 0n]; }),
    "a later epoch": () => all(keys, (of) => { of.args.epoch += 100n; }),
    "no anchoring": () => { c.events = c.events.filter((event) => !last(event)); },
    "two anchorings": () => { c.events = [...c.events, ...c.events.filter(last)]; },
    "another root": () => all(last, (of) => { of.args.root = none; }),
    "another count": () => all(last, (of) => { of.args.count += 1n; }),
    "another broker": () => all((of) => keys(of) || last(of), (of) => { of.args.brokerId += 9n; }),
    "no state": () => { words.clear(); },
    "empty state": () => { for (const key of words.keys()) words.set(key, word(EMPTY)); },
    "another license": () => { c.licenses = []; },
    "another chain": () => { c.bundle.chainId += 1; },
    "another model": () => { c.bundle.model = word(EMPTY); },
  };
  changes[change]();
  return stepReleases(c);
}"""


CHANGES = [
    *("no key", "another key", "a later key", "a later epoch", "no anchoring", "two anchorings"),
    *("another root", "another count", "another broker", "no state", "empty state"),
    *("another license", "another chain", "another model"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_receipts_need_their_proofs_on_chain(page, change):
    data = (VECTORS / "releases" / "three.evidence.zip").read_bytes()
    assert page(PROVEN, data, "nothing").startswith("3 release receipts of brokers, anchored")
    with pytest.raises(Refused):
        page(PROVEN, data, change)
