"""The hostile bundles of README.md: never an exception of another tree, never a yes."""

import json
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
import rlp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.canonical import canonical_json, hash_json
from ledger.errors import FormatError, LedgerError
from ledger.evidence import archive
from ledger.evidence.bundle import INDEX, Subject, contents_of, pack, parse_bundle
from ledger.evidence.report import render
from ledger.evidence.verify import examine

BUNDLE = Path(__file__).resolve().parents[2] / "vectors" / "evidence" / "model.evidence.zip"
GOOD = dict(archive.parse(BUNDLE.read_bytes()).members)
DOCUMENTS = sorted(name for name in GOOD if name.endswith(".json"))
BINARIES = sorted(name for name in GOOD if not name.endswith((".json", ".txt")))

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(max_size=12)
    | st.sampled_from(
        ["0x", "0x0", "0x" + "00" * 32, "0x" + "00" * 20, "1.1", "-1", "0x" + "f" * 64]
    )
    | st.binary(max_size=40).map(lambda raw: "0x" + raw.hex()),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(document, here=()):
    """Every path into a JSON document."""
    yield here
    if isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*here, key))
    elif isinstance(document, list):
        for index, value in enumerate(document[:40]):
            yield from places(value, (*here, index))


def put(document, path, value):
    if not path:
        return value
    *before, last = path
    holder = document
    for key in before:
        holder = holder[key]
    holder[last] = value
    return document


def resealed(members, *, custody=True):
    """The careful forger: custody log and index rebuilt around the altered members."""
    subject = Subject.from_json(json.loads(members[INDEX]))
    evidence = {name: data for name, data in members.items() if name != INDEX}
    if custody:
        log = json.loads(GOOD["custody.json"])
        log[0]["contents"] = str(contents_of(subject, evidence))
        del log[0]["hash"]
        log[0]["hash"] = str(hash_json("modeldeed/custody/1", log[0]))
        evidence["custody.json"] = canonical_json(log)
    return pack(subject, evidence)


def refused(data):
    try:
        report = examine(parse_bundle(data))
    except FormatError:
        return True
    report.text()
    return not report.holds


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_value_in_any_place_of_any_document_is_refused(data):
    name = data.draw(st.sampled_from(DOCUMENTS))
    document = json.loads(GOOD[name])
    path = data.draw(st.sampled_from(list(places(document))))
    changed = put(document, path, data.draw(values))
    members = {**GOOD, name: canonical_json(changed)}
    if members[name] == GOOD[name]:
        return
    try:
        forged = resealed(members, custody=name != "custody.json")
    except LedgerError:
        assert name == INDEX
        return
    if forged == BUNDLE.read_bytes():  # the index was rebuilt from the same subject
        assert name == INDEX
        return
    unproven = name == INDEX and path in {("chain", "genesis"), ("software",)}
    in_the_log = name == "custody.json"
    # Where a card's files and brokers are found is not signed and may be refreshed.
    refreshable = name.startswith("cards/") and bool({"url", "urls"} & set(path))
    assert refused(forged) or unproven or in_the_log or refreshable, (name, path)


def respelled(text):
    """The same address or digest, written differently."""
    if text.startswith("0x") and len(text) in {42, 66}:
        return {text.upper().replace("0X", "0x"), text.lower(), text[2:]} - {text}
    return set()


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != INDEX])
def test_another_spelling_of_the_same_value_is_refused(name):
    """Two files that say the same in different bytes would let people disagree about an id."""
    document = json.loads(GOOD[name])
    tried = 0
    for path in places(document):
        value = document
        for key in path:
            value = value[key]
        if not isinstance(value, str):
            continue
        for other in sorted(respelled(value))[:1]:
            changed = put(json.loads(GOOD[name]), path, other)
            forged = resealed(
                {**GOOD, name: canonical_json(changed)}, custody=name != "custody.json"
            )
            assert refused(forged), path
            tried += 1
        if tried >= 6:
            break


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(BINARIES), st.binary(max_size=700))
def test_noise_in_place_of_headers_and_code_is_refused(name, noise):
    assert refused(resealed({**GOOD, name: noise}))


def nested(depth):
    raw = b"\xc0"
    for _ in range(depth):
        size = len(raw)
        if size < 56:
            raw = bytes([0xC0 + size]) + raw
        else:
            length = size.to_bytes((size.bit_length() + 7) // 8, "big")
            raw = bytes([0xF7 + len(length)]) + length + raw
    return raw


@pytest.mark.parametrize("member", ["receipt", "transaction", "receiptProof"])
def test_deeply_nested_rlp_is_refused(member):
    document = json.loads(GOOD["receipts/6-0.json"])
    bomb = "0x" + nested(6000).hex()
    document[member] = [bomb] if member == "receiptProof" else bomb
    assert refused(resealed({**GOOD, "receipts/6-0.json": canonical_json(document)}))


def test_a_header_of_nested_lists_is_refused():
    assert refused(resealed({**GOOD, "headers/10.rlp": nested(2400)}))
    assert refused(resealed({**GOOD, "headers/10.rlp": rlp.encode([nested(50)] * 16)}))


@pytest.mark.parametrize("text", [b"[" * 200_000, b'{"a":' * 100_000, b"1" * 100_000, b"NaN"])
def test_json_bombs_are_refused(text):
    for name in (INDEX, "claim.json", "fingerprint.json"):
        assert refused(archive.serialise({**GOOD, name: text}))


def test_ten_thousand_members_over_the_same_bytes_cost_no_memory():
    body = archive.serialise({"a": b"x" * (8 << 20)})
    directory_at = body.rindex(b"PK\x01\x02")
    entry = bytearray(body[directory_at:-22])
    entries = b""
    for number in range(9_999):
        name = b"%04d" % number
        changed = bytearray(entry[:46]) + name
        struct.pack_into("<H", changed, 28, len(name))
        entries += bytes(changed)
    end = struct.pack(
        "<4sHHHHIIH", b"PK\x05\x06", 0, 0, 9_999, 9_999, len(entries), directory_at, 0
    )
    tracemalloc.start()
    began = time.monotonic()
    with pytest.raises(FormatError):
        archive.parse(body[:directory_at] + entries + end)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20
    assert time.monotonic() - began < 10


def test_counts_and_offsets_at_their_extremes_are_refused():
    data = BUNDLE.read_bytes()
    for at in range(len(data) - 22, len(data)):
        for value in (0x00, 0x7F, 0xFF):
            changed = bytearray(data)
            if changed[at] == value:
                continue
            changed[at] = value
            with pytest.raises(FormatError):
                archive.parse(bytes(changed))


def test_a_title_cannot_write_lines_of_the_report_nor_steer_the_terminal():
    statement = json.loads(GOOD["report.json"])
    statement["model"]["title"] = "x\nHolder      0xEvil\x1b[2J\u202e\r"
    text = render(statement)
    assert "\nHolder      0xEvil" not in text
    assert all(line.isprintable() for line in text.split("\n"))


def test_every_state_proof_in_the_place_of_another_is_refused():
    names = [f"state/{name}.json" for name in ("Anchors", "LicenseLedger", "ModelRegistry")]
    for target in names:
        for source in names:
            if source != target:
                assert refused(resealed({**GOOD, target: GOOD[source]}))


def test_every_receipt_in_the_place_of_another_is_refused():
    names = [name for name in DOCUMENTS if name.startswith("receipts/")]
    for target, source in zip(names, [*names[1:], names[0]], strict=True):
        moved = json.loads(GOOD[source])
        block, index = target.removeprefix("receipts/").removesuffix(".json").split("-")
        moved |= {"block": int(block), "index": int(index)}
        for document in (GOOD[source], canonical_json(moved)):
            assert refused(resealed({**GOOD, target: document}))
