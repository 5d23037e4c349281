"""A second implementation of the proofs, written from the specification and sharing no code.

It uses the standard library and a Keccak only: its own zip reading, RLP and Merkle-Patricia walk.
If it and the verifier agree, what the verifier believes is what the bundle says to anyone.
"""

import hashlib
import itertools
import json
import zipfile
from pathlib import Path

import pytest
from Crypto.Hash import keccak

from ledger.evidence.verify import verify

ABI = Path(__file__).resolve().parents[3] / "ledger" / "chain" / "abi"


def k(data):
    return keccak.new(digest_bits=256, data=data).digest()


def rlp_item(data, at=0):
    """One RLP item: (value, position after it)."""
    first = data[at]
    if first < 0x80:
        return data[at : at + 1], at + 1
    if first < 0xC0:
        size, start = (first - 0x80, at + 1) if first < 0xB8 else _long(data, at, 0xB7)
        return data[start : start + size], start + size
    size, start = (first - 0xC0, at + 1) if first < 0xF8 else _long(data, at, 0xF7)
    items, end = [], start + size
    while start < end:
        item, start = rlp_item(data, start)
        items.append(item)
    return items, end


def _long(data, at, base):
    width = data[at] - base
    return int.from_bytes(data[at + 1 : at + 1 + width], "big"), at + 1 + width


def rlp(data):
    return rlp_item(data)[0]


def rlp_number(number):
    if number == 0:
        return b"\x80"
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return raw if number < 0x80 else bytes([0x80 + len(raw)]) + raw


def walk(root, key, nodes):
    """The value at `key` in the trie with this root, by nodes in path order; None if none."""
    path = [nibble for byte in key for nibble in (byte >> 4, byte & 15)]
    expected, queue = root, list(nodes)
    node = None
    while True:
        if isinstance(expected, bytes):
            if expected == b"":
                return None
            raw = queue.pop(0)
            assert k(raw) == expected, "a node does not hash to what its parent names"
            node = rlp(raw)
        else:
            node = expected
        if len(node) == 17:
            if not path:
                return node[16] or None
            expected, path = node[path[0]], path[1:]
            continue
        flag = [nibble for byte in node[0] for nibble in (byte >> 4, byte & 15)]
        part = flag[1:] if flag[0] & 1 else flag[2:]
        if path[: len(part)] != part:
            return None
        path = path[len(part) :]
        if flag[0] & 2:
            return None if path else node[1]
        expected = node[1]


def unhex(text):
    return bytes.fromhex(text[2:])


@pytest.fixture(scope="module")
def read(bundle_path):
    with zipfile.ZipFile(bundle_path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def index(read):
    return json.loads(read["bundle.json"])


@pytest.fixture(scope="module")
def header(read, index):
    raw = read[f"headers/{index['state']['block']}.rlp"]
    assert "0x" + k(raw).hex() == index["state"]["hash"]
    return rlp(raw)


def words_of(read, header, name):
    proof = json.loads(read[f"state/{name}.json"])
    leaf = walk(header[3], k(unhex(proof["address"])), map(unhex, proof["accountProof"]))
    _, _, storage_root, code_hash = rlp(leaf)
    assert k(read[f"code/{name}.bin"]) == code_hash
    words = {}
    for slot in proof["storageProof"]:
        leaf = walk(storage_root, k(unhex(slot["key"])), map(unhex, slot["proof"]))
        value = int.from_bytes(rlp(leaf), "big") if leaf else 0
        assert value == int(slot["value"], 16)
        words[slot["key"]] = value
    return words


def map_slot(base, key):
    return k(key.rjust(32, b"\0") + base.to_bytes(32, "big"))


def test_members_and_digests_are_those_of_the_index(read, index):
    listed = {entry["name"]: entry for entry in index["members"]}
    assert set(read) == {*listed, "bundle.json"}
    for name, entry in listed.items():
        assert entry["sha256"] == "0x" + hashlib.sha256(read[name]).hexdigest()
        assert entry["size"] == len(read[name])
    stated = index.pop("id")
    canonical = json.dumps(index, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    index["id"] = stated
    digest = hashlib.sha256(b"modeldeed/bundle/1\0" + canonical.encode()).hexdigest()
    assert stated == "0x" + digest


def test_headers_link_by_parent_hash(read, index):
    names = [name for name in read if name.startswith("headers/")]
    chain = sorted((rlp(read[name]), read[name]) for name in names)
    chain.sort(key=lambda pair: int.from_bytes(pair[0][8], "big"))
    for (_, below), (above, _) in itertools.pairwise(chain):
        assert above[0] == k(below)


def test_the_title_word_proves_holder_and_times(read, index, header, bundle_path):
    words = words_of(read, header, "ModelRegistry")
    word = words["0x" + map_slot(0, unhex(index["model"])).hex()]
    told = verify(bundle_path).statement
    assert f"0x{word & ((1 << 160) - 1):040x}" == told["title"]["held_by"].lower()
    assert word >> 160 & 0xFFFFFFFFFF == told["times"][1]["not_later_than"]
    assert word >> 200 & 0xFFFFFFFFFF == told["times"][0]["not_later_than"]
    transfers = words["0x" + map_slot(1, unhex(index["model"])).hex()]
    assert transfers >> 160 == len(told["title"]["transfers"])


def test_the_license_words_prove_who_holds_what(read, header, bundle_path):
    words = words_of(read, header, "LicenseLedger")
    for told in verify(bundle_path).statement["licenses"]:
        plan, serial = map(int, told["id"].split("."))
        token = plan << 32 | serial
        seed = token.to_bytes(32, "big")[:28] + bytes.fromhex("7d882553")
        slot = (2 * token + int.from_bytes(k(seed), "big")) % (1 << 256)
        word = words[f"0x{slot:064x}"]
        assert f"0x{word & ((1 << 160) - 1):040x}" == told["holder"].lower()
        assert word >> 216 == told["not_after"]
        assert {2: "suspended", 3: "revoked"}[word >> 168 & 0xFF] == told["standing"]


def test_the_anchored_root_was_stamped_before_the_registration(read, header, bundle_path):
    words = words_of(read, header, "Anchors")
    root = unhex(json.loads(read["commitment.json"])["root"])
    stamp = words["0x" + map_slot(0, root).hex()]
    anchored, registered = verify(bundle_path).statement["times"][:2]
    assert stamp & 0xFFFFFFFFFF == anchored["not_later_than"]
    assert stamp >> 40 == anchored["block"] < registered["block"]


def test_receipts_and_transactions_are_under_their_headers(read):
    names = [name for name in read if name.startswith("receipts/")]
    assert len(names) >= 8
    for name in names:
        proof = json.loads(read[name])
        header = rlp(read[f"headers/{proof['block']}.rlp"])
        key = rlp_number(proof["index"])
        for root, what in ((header[5], "receipt"), (header[4], "transaction")):
            value = walk(root, key, map(unhex, proof[what + "Proof"]))
            assert value == unhex(proof[what])


def test_the_registration_event_carries_the_claims_facts(read, index):
    claim = json.loads(read["claim.json"])
    topic = k(b"ModelRegistered(bytes32,address,bytes32,bytes32,bytes32,bytes32,uint40,uint40)")
    registry = unhex(index["contracts"]["ModelRegistry"]["address"])
    found = []
    for name in read:
        if name.startswith("receipts/"):
            raw = unhex(json.loads(read[name])["receipt"])
            logs = rlp(raw[1:] if raw[0] < 0xC0 else raw)[3]
            found += [log for log in logs if log[0] == registry and log[1][0] == topic]
    mine = [log for log in found if log[1][1] == unhex(index["model"])]
    assert len(mine) == 1
    (_, topics, data) = mine[0]
    assert topics[2][12:] == unhex(claim["licensor"])
    assert topics[3] == unhex(claim["artifact_root"])
    assert data[:32] == unhex(claim["fingerprint_digest"])
    assert data[64:96] == unhex(claim["manifest_hash"])


def test_the_contracts_addresses_commit_to_the_creation_code_in_the_package(index):
    """EIP-1014: nothing but this creation code can have written what the storage began with."""
    factory = unhex("0x4e59b44847b379578588920cA78FbF26c0B4956C")
    salt, at = k(b"modeldeed/deployment/1"), {}
    ledger = unhex(json.loads((ABI / "LicenseLedger.json").read_text())["bytecode"])
    for name in (
        "Anchors",
        "LicenseRenderer",
        "LicenseExtension",
        "ModelRegistry",
        "LicenseLedger",
    ):
        helpers = [at.get("LicenseRenderer", b""), at.get("LicenseExtension", b"")]
        if name == "ModelRegistry":
            words = [at["Anchors"], factory, salt, (6 * 32).to_bytes(1, "big"), *helpers]
            size = len(ledger).to_bytes(32, "big")
            arguments = b"".join(w.rjust(32, b"\0") for w in words) + size + ledger
            arguments += bytes(-len(ledger) % 32)
        elif name == "LicenseLedger":
            arguments = b"".join(w.rjust(32, b"\0") for w in (at["ModelRegistry"], *helpers))
        else:
            arguments = b""
        code = unhex(json.loads((ABI / f"{name}.json").read_text())["bytecode"]) + arguments
        at[name] = k(b"\xff" + factory + salt + k(code))[12:]
        if name in index["contracts"]:
            assert unhex(index["contracts"][name]["address"]) == at[name]
