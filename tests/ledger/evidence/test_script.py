"""The stand-alone script beside the library: every vector, and what hostile bundles do to it."""

import ast
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from coincurve import PrivateKey
from Crypto.Hash import keccak
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from two_verifiers import SCRIPT, agree, script, trusting

from ledger.canonical import canonical_json, parse_json
from ledger.errors import LedgerError, ManifestError
from ledger.evidence import archive
from ledger.ids import keccak256

ROOT = Path(__file__).resolve().parents[3]
VECTORS = ROOT / "tests" / "vectors" / "evidence"
FAULTS = sorted(VECTORS.glob("*.json"))
BUNDLES = sorted(VECTORS.rglob("*.evidence.zip"))
RELEASES = sorted((VECTORS / "releases").glob("*.json"))
NO_SOCKETS = """
import runpy, socket, sys
def refuse(*_args, **_kwargs):
    raise SystemExit("a socket was asked for")
socket.socket = socket.create_connection = socket.getaddrinfo = refuse
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module", name="script")
def the_script():
    return script()


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_library_and_script_end_every_step_of_every_vector_alike(script, path, forge):
    vector = json.loads(path.read_text())
    found = agree(forge(vector), vector.get("trust"))
    expected = vector["expect"]
    ended = "not checked" if expected.get("verdict") == "not verified" else "fail"
    failed = [of[0] for of in found[1] if of[2] == ended and of[3] and of[0] != 4]
    assert found[0] == expected.get("error", expected.get("verdict"))
    assert failed[:1] == ([expected["first"]] if "first" in expected else [])


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
def test_every_good_bundle_is_verified_by_both_once_its_block_is_named(script, path):
    data = path.read_bytes()
    block = json.loads(archive.parse(data).members["bundle.json"])["state"]["hash"]
    assert agree(data)[0] == "holds, given the blocks it rests on"
    assert agree(data, {"blocks": [block]})[0] == "verified"
    assert agree(data, {"blocks": ["0x" + "01" * 32]})[0] == "does not hold"


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.stem)
def test_receipts_of_brokers_end_every_step_alike(path, forge_receipts):
    vector = json.loads(path.read_text())
    found = agree(forge_receipts(vector))
    assert next(of[0] for of in found[1] if of[2] == "fail") == vector["expect"]["first"]


def run(*words):
    """As a stranger runs it: isolated, no site packages, an empty environment, no socket."""
    command = [sys.executable, "-I", "-S", "-c", NO_SOCKETS, str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={}, timeout=60, check=False)


def test_it_runs_alone_says_what_it_trusts_and_ends_with_the_code_of_its_verdict(tmp_path):
    bundle = VECTORS / "model.evidence.zip"
    block = json.loads(archive.parse(bundle.read_bytes()).members["bundle.json"])["state"]["hash"]
    open_ = run(bundle)
    assert (open_.returncode, open_.stderr) == (3, "")
    assert open_.stdout.startswith("Trusted from outside: nothing yet.\nTaken from the bundle")
    named = run(bundle, "--block", block)
    assert named.returncode == 0
    assert named.stdout.startswith(f"Trusted from outside: block {block}.")
    told = run(bundle, "--block=" + "0x" + "01" * 32, "--json")
    assert (told.returncode, json.loads(told.stdout)["verdict"]) == (1, "does not hold")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(bundle.read_bytes()[:-1])
    assert run(cut).returncode == 1
    assert [run().returncode, run(bundle, "--blocks", block).returncode] == [2, 2]
    assert run(bundle, "--block", "0x12").returncode == run(tmp_path / "none.zip").returncode == 2


def test_it_imports_the_standard_library_alone_and_reads_as_python_3_9():
    tree = ast.parse(SCRIPT.read_text("utf-8"), feature_version=(3, 9))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    assert names <= sys.stdlib_module_names
    assert not names & {"socket", "urllib", "http", "subprocess", "ssl"}


def test_its_tables_are_those_of_this_version():
    command = [sys.executable, str(ROOT / "scripts" / "make_verifier_tables.py"), "--check"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, env=environment, timeout=60, check=False).returncode == 0


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_mutated_bundle_never_ends_in_a_traceback_and_is_judged_alike(script, data):
    good = (VECTORS / "stamped.evidence.zip").read_bytes()
    members = dict(archive.parse(good).members)
    name = data.draw(st.sampled_from(sorted(members)))
    content = bytearray(members[name])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    members[name] = bytes(content)
    agree(archive.serialise(members))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused_with_a_reason(script, junk):
    report = script.verify(junk, trusting()[1])
    assert report["verdict"] == "does not hold"
    assert report["steps"][0]["detail"]


def test_keccak_is_that_of_another_library(script):
    for size in (0, 1, 135, 136, 137, 272, 1000):
        data = random.Random(size).randbytes(size)
        assert script.keccak(data) == keccak.new(digest_bits=256, data=data).digest()


@given(st.recursive(st.binary(max_size=70), lambda inner: st.lists(inner, max_size=4)))
def test_rlp_is_read_as_it_was_written(script, value):
    import rlp

    assert script.rlp_encode(value) == rlp.encode(value)
    assert script.rlp(rlp.encode(value)) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)  # fmt: skip


@given(JSON)
def test_canonical_json_is_the_library_s(script, value):
    assert script.canonical(value) == canonical_json(value)


def test_accounts_are_recovered_as_another_library_does(script):
    chance = random.Random(8)
    for _ in range(6):
        key = PrivateKey(chance.randbytes(32))
        message = chance.randbytes(32)
        account = keccak256(key.public_key.format(compressed=False)[1:])[12:]
        assert script.recover(message, key.sign_recoverable(message, hasher=None)) == account


def _algorithm(script, kind, digest):
    names = script._ECDSA_WITH if kind == "ec" else script._RSA_WITH
    name = next(name for name, hashed in names.items() if hashed == digest)
    arcs = [int(part) for part in name.split(".")]
    body = bytes([arcs[0] * 40 + arcs[1]])
    for arc in arcs[2:]:
        part = [arc & 0x7F]
        while arc := arc >> 7:
            part.insert(0, arc & 0x7F | 0x80)
        body += bytes(part)
    return script.der(bytes([0x30, len(body) + 2, 6, len(body)]) + body)


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), None])
def test_signatures_of_another_library_verify_and_changed_ones_do_not(script, curve, digest):
    kind = {"sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}[digest]()
    message = hashlib.sha256(digest.encode()).digest()
    if curve is None:
        key = rsa.generate_private_key(65537, 2048)
        signature = key.sign(message, padding.PKCS1v15(), kind)
    else:
        key = ec.generate_private_key(curve)
        signature = key.sign(message, ec.ECDSA(kind))
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    algorithm = _algorithm(script, "ec" if curve else "rsa", digest)
    script.check_signature(algorithm, public, message, signature)
    with pytest.raises(script.Fail):
        script.check_signature(algorithm, public, message + b"!", signature)
    changed = signature[:-1] + bytes([signature[-1] ^ 1])
    with pytest.raises(script.Fail):
        script.check_signature(algorithm, public, message, changed)


def test_what_is_hashed_side_by_side_is_what_is_hashed_alone():
    chance = random.Random("side by side")
    texts = [chance.randbytes(size) for size in (0, 1, 135, 136, 137, 271, 272, 65_536, 65_537)]
    texts += [chance.randbytes(chance.randrange(700)) for _ in range(700)]
    script().keccak_ahead([*texts, texts[3]])
    assert all(script()._kept[text] == keccak256(text) for text in texts if len(text) <= 65_536)
    assert all(script().keccak(text) == keccak256(text) for text in texts)


def test_a_signature_is_of_the_same_account_whoever_is_thought_to_have_made_it():
    chance = random.Random("whoever")
    makers = [PrivateKey(chance.randbytes(32)) for _ in range(3)]
    accounts = [keccak256(key.public_key.format(compressed=False)[1:])[12:] for key in makers]
    for _ in range(3):
        for key, account in zip(makers, accounts, strict=True):
            digest = chance.randbytes(32)
            signature = bytearray(key.sign_recoverable(digest, hasher=None))
            signature[64] += 27
            for likely in (b"", *accounts):
                assert script().recover(digest, bytes(signature), likely) == account
            signature[64] = 55 - signature[64]  # the other key with that signature
            other = script().recover(digest, bytes(signature))
            assert other != account
            assert script().recover(digest, bytes(signature), account) == other


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"b":[true,null,"\u00e9\\n\\u0001\u007f"]}',
        '{"\ue000":1,"\U00010000":2}',
        '{"\U00010000":2,"\ue000":1}',
        '{"b":1,"a":2}',
        '{"a": 1}',
        '{"a":1.0}',
        '{"a":1.5}',
        '{"a":1e21}',
        '{"a":1e+21}',
        '{"a":-0}',
        '{"a":9007199254740991}',
        '{"a":9007199254740992}',
        '{"a":100000000000000000000}',
        '{"a":"\\/"}',
        '{"a":"\\ud800"}',
        '{"a":"\\u00e9"}',
        "[]",
    ],
)
def test_only_canonical_json_is_read_by_whatever_way(text):
    held = []
    for read, refused in (
        (script().read_json, script().Fail),
        (canonical_only, LedgerError),
    ):
        try:
            held.append(read(text.encode(), "it"))
        except refused:
            held.append(None)
    assert held[0] == held[1]


def canonical_only(data, what):
    value = parse_json(data, what=what)
    if canonical_json(value) != data:
        raise ManifestError("another spelling")
    return value


def test_a_suspect_that_cannot_be_read_is_an_error_and_not_another_file(tmp_path):
    bundle = VECTORS / "match.evidence.zip"
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "a").write_bytes(b"x")
    (linked / "more").symlink_to(tmp_path / "empty")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none", tmp_path / "empty", linked, tmp_path / "pipe"):
        for of in (bundle, VECTORS / "model.evidence.zip"):
            ran = run(of, "--suspect", path)
            assert (ran.returncode, ran.stdout) == (2, "")
            assert ran.stderr.startswith(f"error: cannot read {path}: ")


def test_a_suspect_that_is_another_file_is_told_beside_the_one_examined(tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"x")
    ran = run(VECTORS / "match.evidence.zip", "--suspect", other)
    assert ran.returncode == 1
    for path in (other, VECTORS / "match.suspect.safetensors"):
        data = path.read_bytes()
        assert f"0x{hashlib.sha256(data).hexdigest()} ({len(data)} bytes)" in ran.stdout
