"""OpenTimestamps proofs: ours, and the client's own examples where they are at hand."""

import contextlib
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import TimestampInvalid
from ledger.evidence.opentimestamps import Header, read_proof
from ledger.ids import Digest

MAGIC = bytes.fromhex("004f70656e54696d657374616d7073000050726f6f6600bf89e2e884e89294")
BITCOIN = bytes.fromhex("0588960d73d71901")
DIGEST = bytes(range(32))
# Block 0 of Bitcoin, as every node has it.
GENESIS = bytes.fromhex(
    "01000000" + "00" * 32 + "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a"
    "29ab5f49ffff001d1dac2b7c"
)
VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "timestamps"


def number(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def attested(height):
    payload = number(height)
    return b"\x00" + BITCOIN + number(len(payload)) + payload


def proof(steps, digest=DIGEST):
    return MAGIC + b"\x01\x08" + digest + steps


def varbytes(text):
    return number(len(text)) + text


def test_operations_lead_to_the_roots_of_blocks():
    steps = b"\xff" + attested(5) + b"\xf0" + varbytes(b"ab") + b"\xff\x08" + attested(700_000)
    steps += b"\xf1" + varbytes(b"c") + b"\x02" + attested(1)
    dated, found = read_proof(proof(steps))
    assert dated == Digest(DIGEST)
    assert found == (
        (5, DIGEST),
        (700_000, hashlib.sha256(DIGEST + b"ab").digest()),
        (1, hashlib.sha1(b"c" + DIGEST + b"ab").digest()),
    )


def test_what_is_not_computed_counts_for_nothing_and_other_attestations_are_read_over():
    pending = b"\x00" + bytes.fromhex("83dfe30d2ef90c8e") + varbytes(b"\x03url")
    for operation in (b"\x03", b"\x67", b"\xf2", b"\xf3"):
        steps = b"\xff" + operation + b"\x08" + attested(9) + b"\xff" + pending + attested(4)
        assert read_proof(proof(steps))[1] == ((4, DIGEST),)


@pytest.mark.parametrize(
    "steps",
    [
        b"",
        b"\xff",
        b"\x08",
        attested(5) + b"\x00",
        b"\xaa" + attested(5),
        b"\xf0\x00" + attested(5),
        b"\xf0" + varbytes(b"x" * 4097) + attested(5),
        b"\xf0" + varbytes(b"x" * 4096) + attested(5),
        b"\x08" * 300 + attested(5),
        b"\x08" * 100_000,
        (b"\xff" + attested(5)) * 5000 + attested(5),
        b"\x00" + BITCOIN + b"\x02\x05\x05",
        b"\x00" + BITCOIN + b"\x00",
        b"\x00" + BITCOIN + number(8193) + b"x" * 8193,
        b"\x00" + BITCOIN + b"\xff" * 20,
        b"\xf0" + b"\x80" * 11 + b"\x01",
        b"\xf0" + number(2**70) + b"x",
    ],
)
def test_hostile_proofs_are_refused(steps):
    with pytest.raises(TimestampInvalid):
        read_proof(proof(steps))


@given(st.binary(max_size=200))
def test_noise_is_refused_or_read(noise):
    for data in (noise, proof(noise)):
        with contextlib.suppress(TimestampInvalid):
            read_proof(data)


def test_another_version_hash_or_size_is_refused():
    for data in (
        MAGIC + b"\x02\x08" + DIGEST + attested(5),
        MAGIC + b"\x01\x02" + DIGEST[:20] + attested(5),
        proof(attested(5)) + b"x",
        b"x" * (1 << 21),
    ):
        with pytest.raises(TimestampInvalid):
            read_proof(data)


def test_a_header_has_the_work_its_bits_say():
    header = Header.parse(GENESIS)
    assert str(header.hash) == "0x000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    assert header.time == 1_231_006_505
    assert header.latest == header.time + 7200
    for at in range(80):
        changed = bytearray(GENESIS)
        changed[at] ^= 1
        with pytest.raises(TimestampInvalid):
            Header.parse(bytes(changed))


@pytest.mark.parametrize("bits", ["ffff7f20", "00008001", "ffffff03", "00000000", "ffff001e"])
def test_bits_that_ask_for_no_work_are_refused(bits):
    """The hash of such a header would be under the target at once."""
    for nonce in range(64):
        raw = GENESIS[:72] + bytes.fromhex(bits) + nonce.to_bytes(4, "little")
        with pytest.raises(TimestampInvalid):
            Header.parse(raw)
    with pytest.raises(TimestampInvalid):
        Header.parse(GENESIS[:-1])


@pytest.mark.parametrize(
    ("name", "height", "root"),
    [
        (
            "different-blockchains.txt.ots",
            455_605,
            "2a19192cf00fb1baeea516b69b3a62195849589b4caafeb6ad6ebba58b9ae69a",
        ),
        (
            "gdp2q25-2nd.pdf.ots",
            912_095,
            "936131994129988e1932d8c1c6a9780fd42ae4c87204cfb0ac852be1250039ae",
        ),
    ],
)
def test_real_proofs_lead_to_the_roots_of_real_blocks(name, height, root):
    """The roots are what this reader computes; the files and heights are the client's examples."""
    _, found = read_proof((VECTORS / name).read_bytes())
    assert found == ((height, bytes.fromhex(root)[::-1]),)
