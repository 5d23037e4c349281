"""The page's readers of DER, certificates, tokens and proofs (in node) beside the library's."""

import random
from datetime import timedelta
from pathlib import Path

import openssl_tsa
import page_calls
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from page_calls import Refused, encoded, outcome, shown, tree

from ledger.evidence import der, opentimestamps, timestamps
from ledger.evidence.bundle import read_bundle
from ledger.evidence.certificates import (
    Certificate,
    RevocationList,
    read_certificates,
)
from ledger.evidence.wording import one_line, utc
from ledger.ids import Digest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "ledger" / "evidence" / "verifiers" / "page"
VECTORS = ROOT / "tests" / "vectors" / "evidence"
BUNDLES = sorted(VECTORS.rglob("*.evidence.zip"))
RELEASES = sorted((VECTORS / "releases").glob("*.json"))
CONTENTS = Digest(bytes(range(32)))
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with page_calls.functions(tmp_path_factory.mktemp("page")) as call:
        yield call


# ---- numbers, names, moments --------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=70))
def test_numbers_names_and_bits_are_read_as_the_library_reads_them(page, content):
    node = der.Node(0, content, b"")
    for theirs, ours in (("derName", der.identifier), ("derBoolean", der.boolean)):
        assert outcome(page, f"(c) => {theirs}({{content: c}})", content) == outcome(ours, node)
    number = outcome(page, "(c) => String(derInteger({content: c}))", content)
    assert number == outcome(lambda of: str(der.integer(of)), node)
    found = outcome(page, "(c) => derBits({content: c})", content)
    assert found == outcome(lambda of: shown(der.bits(of)), node)


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.datetimes().map(lambda of: of.strftime("%Y%m%d%H%M%S").zfill(14) + "Z"),
        st.datetimes().map(lambda of: of.strftime("%Y%m%d%H%M%S.%f").zfill(21) + "Z"),
        st.datetimes().map(lambda of: of.strftime("%y%m%d%H%M%SZ")),
        st.from_regex(r"\A[0-9]{12,14}(\.[0-9]{1,7})?Z?\Z"),
        st.from_regex(r"\A(20|00)[0-9][0-9][01][0-9][0-3][0-9][0-2][0-9][0-6][0-9][0-6][0-9]Z\Z"),
    )
)
def test_moments_are_read_as_the_library_reads_them(page, text):
    raw = text.encode()
    token = outcome(page, "(c) => String(derTokenTime({content: c}))", raw)
    assert token == outcome(lambda of: str(der.token_time(of)), der.Node(0, raw, b""))
    for tag in (der.UTC_TIME, der.GENERALIZED_TIME):
        element = bytes([tag, len(raw)]) + raw
        found = outcome(page, "(c) => derTime(new DerFields(c))", element)
        assert found == outcome(der.time_of, der.Fields(element))


@settings(max_examples=200, deadline=None)
@given(st.integers(-(1 << 40), 1 << 40), st.text(max_size=8))
def test_times_and_strangers_texts_are_written_as_the_library_writes_them(page, seconds, text):
    assert page("utc", seconds) == utc(seconds)
    # Characters that a version of Unicode made printable since are not compared.
    plain = "".join(c for c in text if c.isascii() or c in "\xa0\xad\u2028\u202e\ufeff\xe4\u4e2d")
    assert page("oneLine", plain + "\x1b\n\u202e\U000e0001") == one_line(
        plain + "\x1b\n\u202e\U000e0001"
    )


def test_leap_years_are_those_of_the_calendar(page):
    for day in ("19000229", "20000229", "20230229", "20240229", "21000229", "24000229", "00040229"):
        node = der.Node(0, f"{day}235959Z".encode(), b"")
        token = outcome(page, "(c) => String(derTokenTime({content: c}))", node.content)
        assert token == outcome(lambda of: str(der.token_time(of)), node), day


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([0, 1, 127, 128, 255, 256, 70000]), st.integers(0, 5), st.integers(-1, 1))
def test_only_the_shortest_length_is_read(page, size, width, more):
    length = (
        bytes([size % 128])
        if not width
        else bytes([128 | width]) + size.to_bytes(5, "big")[-width:]
    )
    raw = b"\x30" + length + bytes(max(0, size + more))
    found = outcome(page, "(raw) => derRead(raw).content.length", raw)
    assert found == outcome(lambda data: len(der.read(data).content), raw)


# ---- signatures ---------------------------------------------------------------------------------


def algorithm(dotted, *, null):
    """DER of an AlgorithmIdentifier."""
    arcs = [int(arc) for arc in dotted.split(".")]
    content = bytearray()
    for arc in (40 * arcs[0] + arcs[1], *arcs[2:]):
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(0x80 | arc & 0x7F)
        content += bytes(reversed(digits))
    body = bytes([6, len(content)]) + bytes(content) + (b"\x05\0" if null else b"")
    return bytes([0x30, len(body)]) + body


HASHED = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
CHECK = "(a, ...rest) => (checkSignature(derRead(a), ...rest), true)"


def spki(key):
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_ecdsa_of_each_curve_and_hash(page, curve):
    key = ec.generate_private_key(curve)
    for place, kind in enumerate(HASHED.values()):
        name = algorithm(f"1.2.840.10045.4.3.{2 + place}", null=False)
        for message in (b"", b"one", bytes(1000)):
            signature = key.sign(message, ec.ECDSA(kind))
            assert page(CHECK, name, spki(key), message, signature)
            with pytest.raises(Refused, match="does not verify"):
                page(CHECK, name, spki(key), message + b"!", signature)
            flipped = signature[:-1] + bytes([signature[-1] ^ 1])
            with pytest.raises(Refused, match="does not verify"):
                page(CHECK, name, spki(key), message, flipped)
    padded = bytes([0x30, signature[1] + 1, 2, signature[3] + 1, 0]) + signature[4:]
    if signature[1] < 0x7F:
        with pytest.raises(Refused):
            page(CHECK, name, spki(key), message, padded)
    other = ec.generate_private_key(ec.SECP256K1())
    with pytest.raises(Refused, match="is not read"):
        page(CHECK, name, spki(other), b"one", other.sign(b"one", ec.ECDSA(kind)))
    off = bytearray(spki(key))
    off[-1] ^= 1
    with pytest.raises(Refused, match="no point"):
        page(CHECK, name, bytes(off), message, signature)


@pytest.mark.parametrize("size", [2048, 3072, 4096])
def test_rsa_of_each_size_and_hash(page, size):
    key = rsa.generate_private_key(public_exponent=65537, key_size=size)
    for place, kind in enumerate(HASHED.values()):
        name = algorithm(f"1.2.840.113549.1.1.{11 + place}", null=True)
        signature = key.sign(b"one", padding.PKCS1v15(), kind)
        assert page(CHECK, name, spki(key), b"one", signature)
        in_cms = algorithm("1.2.840.113549.1.1.1", null=True)
        assert page(
            CHECK, in_cms, spki(key), b"one", signature, f"2.16.840.1.101.3.4.2.{1 + place}"
        )
        for wrong in (
            signature[:-1] + bytes([signature[-1] ^ 1]),
            signature[1:],
            b"\0" + signature,
        ):
            with pytest.raises(Refused, match="does not verify"):
                page(CHECK, name, spki(key), b"one", wrong)
        pss = key.sign(b"one", padding.PSS(padding.MGF1(kind), 32), kind)
        with pytest.raises(Refused, match="does not verify"):
            page(CHECK, name, spki(key), b"one", pss)
    with pytest.raises(Refused, match="is not read"):
        page(CHECK, in_cms, spki(key), b"one", signature)
    with pytest.raises(Refused, match="different kinds"):
        page(CHECK, algorithm("1.2.840.10045.4.3.2", null=False), spki(key), b"one", signature)


def test_rsa_keys_that_are_too_small_are_not_read(page):
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    name = algorithm("1.2.840.113549.1.1.11", null=True)
    signature = key.sign(b"one", padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(Refused, match="1024 bits is not read"):
        page(CHECK, name, spki(key), b"one", signature)


# RFC 8032 section 7.1: public key, message, the signature's halves.
ED25519 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize("vector", ED25519)
def test_ed25519_vectors_of_the_rfc(page, vector):
    key, message, *halves = map(bytes.fromhex, vector)
    signature = b"".join(halves)
    assert page("ed25519Holds", key, message, signature)
    assert not page("ed25519Holds", key, message + b"\0", signature)
    order = (1 << 252) + 27742317777372353535851937790883648493
    larger = int.from_bytes(signature[32:], "little") + order
    assert not page("ed25519Holds", key, message, signature[:32] + larger.to_bytes(32, "little"))


@settings(max_examples=25, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300), st.integers(0, 511))
def test_ed25519_judges_as_openssl_does(page, seed, message, bit):
    private = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    key = private.public_key().public_bytes_raw()
    signature = private.sign(message)
    assert page("ed25519Holds", key, message, signature)
    broken = bytearray(signature)
    broken[bit // 8] ^= 1 << bit % 8
    assert not page("ed25519Holds", key, message, bytes(broken))


def test_keys_that_encode_no_point_of_ed25519_hold_nothing(page):
    p = (1 << 255) - 19
    for raw in (p, p + 1, 1 | 1 << 255, 2):
        assert not page("ed25519Holds", raw.to_bytes(32, "little"), b"", bytes(64))


# ---- readers beside the library's, on real documents and changed ones ----------------------------


def holders(parts):
    yield parts
    for _, inner in parts:
        if not isinstance(inner, bytes):
            yield from holders(inner)


def changed(data, chance):
    """DER with one change inside whose lengths are right, or with any byte changed."""
    if chance.random() < 0.25:
        at = chance.randrange(len(data))
        kept = chance.choice([data[at + 1 :], data[at:]])
        return data[:at] + bytes([chance.randrange(256)]) + kept
    parts = tree(data)
    for _ in range(chance.choice([1, 1, 2])):
        places = [of for of in holders(parts) if of]
        if not places:
            break
        place = chance.choice(places)
        at = chance.randrange(len(place))
        tag, inner = place[at]
        match chance.randrange(6):
            case 0:
                place.insert(at, [tag, inner if isinstance(inner, bytes) else list(inner)])
            case 1:
                del place[at]
            case 2:
                place[at][0] = chance.choice([1, 2, 3, 4, 5, 6, 0x0C, 0x13, 0x17, 0x18, 0x30, 0x31])
            case 3 if isinstance(inner, bytes) and inner:
                spot = chance.randrange(len(inner))
                byte = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
                place[at][1] = inner[:spot] + bytes([byte]) + inner[spot + chance.randrange(2) :]
            case 4:
                place.insert(at, [chance.choice([1, 5, 0x80, 0x81, 0xA0, 0xA1, 0xA3]), b"\xff"])
            case _:
                place.append(place.pop(at))
    return encoded(parts)


def told_certificate(raw):
    of = Certificate.parse(raw)
    return [
        of.version, of.serial.hex(), of.issuer.hex(), of.subject.hex(), of.not_before,
        of.not_after, of.key.hex(), of.signed.hex(), of.signature.hex(), of.name,
        [[name, critical, value.hex()] for name, (critical, value) in of.extensions.items()],
    ]  # fmt: skip


def told_list(raw):
    of = RevocationList.parse(raw)
    return [
        of.issuer.hex(), of.issued, of.signed.hex(), of.signature.hex(),
        [[serial.hex(), when, reason] for serial, (when, reason) in of.revoked.items()],
    ]  # fmt: skip


def told_token(raw):
    of = timestamps.Token.parse(raw)
    return [
        of.imprint.raw.hex(), str(of.generated), of.accuracy and str(of.accuracy),
        of.serial.hex(), of.policy, of.content.hex(), of.digest, of.issuer.hex(),
        of.signer_serial.hex(), of.attributes.hex(), of.signature.hex(), of.time, of.earliest,
        of.latest,
    ]  # fmt: skip


READERS = {
    "certificate": (
        told_certificate,
        """(raw) => {
          const of = readCertificate(raw);
          const told = ([name, { critical, value }]) => [name, critical, hex(value)];
          return [of.version, hex(of.serial), hex(of.issuer), hex(of.subject), of.from, of.until,
            hex(of.key), hex(of.signed), hex(of.signature), of.name,
            [...of.extensions].map(told)];
        }""",
    ),
    "list": (
        told_list,
        """(raw) => {
          const of = readRevocations(raw);
          const revoked = [...of.revoked].map(([serial, e]) => [serial, e.when, e.reason]);
          return [hex(of.issuer), of.issued, hex(of.signed), hex(of.signature), revoked];
        }""",
    ),
    "token": (
        told_token,
        """(raw) => {
          const of = readToken(raw);
          return [hex(of.imprint), String(of.generated), of.accuracy && String(of.accuracy),
            hex(of.serial), of.policy, hex(of.content), of.digest, hex(of.issuer),
            hex(of.signerSerial), hex(of.attributes), hex(of.signature), of.time, of.earliest,
            of.latest];
        }""",
    ),
}


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Real documents of each kind: of the vectors, of OpenSSL, of `cryptography`."""
    ca = openssl_tsa.root("Root of tests", kind="rsa")
    between = ca.issue("Between", authority=True, usage=None, path=0)
    signer = between.issue("Authority of tests", kind="p384")
    tsa = openssl_tsa.Authority(
        tmp_path_factory.mktemp("tsa"), signer, (between, ca), digest="sha512"
    )
    stamped = read_bundle(VECTORS / "stamped.evidence.zip").folder("timestamps")
    crl = ca.revoke(between, at=DAY, reason=x509.ReasonFlags.superseded)
    lists = [x509.load_pem_x509_crl(one) for one in (crl, stamped["1.crl"])]
    return {
        "certificate": [
            *(one.der for one in (ca, between, signer)),
            *(one.raw for one in read_certificates(stamped["1.pem"])),
        ],
        "list": [one.public_bytes(serialization.Encoding.DER) for one in lists],
        "token": [tsa.stamp(CONTENTS.raw), stamped["1.tsr"], stamped["2.tsr"]],
    }


@pytest.mark.parametrize("kind", READERS)
def test_documents_with_any_change_are_taken_or_refused_as_by_the_library(page, material, kind):
    ours, theirs = READERS[kind]
    chance = random.Random(f"page {kind}")  # the same changes in each run
    taken = 0
    for raw in material[kind]:
        assert page(theirs, raw) == ours(raw)
    for _ in range(1500):
        raw = changed(chance.choice(material[kind]), chance)
        expected = outcome(ours, raw)
        # A subject that is not read is refused here, and by the library when it is told.
        assert outcome(page, theirs, raw) == expected, raw.hex()
        taken += expected is not None
    assert taken > 50


def test_proofs_of_opentimestamps_with_any_change_are_read_alike(page):
    def ours(raw):
        digest, attested = opentimestamps.read_proof(raw)
        return [digest.raw.hex(), [[str(height), root.hex()] for height, root in attested]]

    theirs = (
        "(raw) => { const of = readOtsProof(raw); return [hex(of.digest), "
        "of.attested.map(({ height, root }) => [String(height), hex(root)])]; }"
    )
    magic = b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94\x01\x08"
    bitcoin = bytes.fromhex("000588960d73d7190103fe8b15")
    other = bytes.fromhex("0083dfe30d2ef90c8e") + b"\x05\x04http"
    good = magic + CONTENTS.raw + b"\xff" + other
    good += (
        b"\xff\xf0\x03abc\x08" + bitcoin + b"\xf1\x04defg\x02\xff\x08" + bitcoin + b"\x67" + bitcoin
    )
    assert page(theirs, good) == ours(good)
    assert len(ours(good)[1]) == 2
    chance = random.Random("page proofs")
    taken = 0
    for _ in range(2000):
        raw = bytearray(good)
        for _ in range(chance.choice([1, 1, 2, 3])):
            at = chance.randrange(len(raw))
            raw[at : at + chance.randrange(2)] = bytes([chance.randrange(256)])
        expected = outcome(ours, bytes(raw))
        assert outcome(page, theirs, bytes(raw)) == expected, raw.hex()
        taken += expected is not None
    assert taken > 50
    deep = magic + CONTENTS.raw + b"\x08" * 256 + bitcoin
    assert page(theirs, deep) == ours(deep)
    many = magic + CONTENTS.raw + (b"\xff" + other) * 4095 + other
    assert page(theirs, many) == ours(many)
    for raw in (
        deep.replace(b"\x08" * 256, b"\x08" * 257),
        many.replace(other, other + b"\xff" + other, 1),
    ):
        assert outcome(page, theirs, raw) is outcome(ours, raw) is None


def test_headers_of_bitcoin_need_their_work(page):
    raw = GENESIS
    of = opentimestamps.Header.parse(raw)
    found = page("readBitcoinHeader", raw)
    assert found["hash"]["hex"] == of.hash.raw.hex()
    assert found["root"]["hex"] == of.root.hex()
    assert (found["time"], found["latest"]) == (of.time, of.latest)
    chance = random.Random("page headers")
    for _ in range(300):
        other = bytearray(raw)
        other[chance.choice([72, 73, 74, 75, chance.randrange(80)])] = chance.randrange(256)
        parse = opentimestamps.Header.parse
        expected = outcome(lambda data, parse=parse: parse(data).hash.raw.hex(), bytes(other))
        assert outcome(page, "(h) => hex(readBitcoinHeader(h).hash)", bytes(other)) == expected
    for size in (0, 79, 81):
        with pytest.raises(Refused):
            page("readBitcoinHeader", bytes(size))


GENESIS = bytes.fromhex(
    "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e"
    "67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c"
)
