"""Runtime keys of both algorithms, in a file and behind a plug-in."""

import contextlib
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.broker.client import Asker
from ledger.broker.enrolment import EnrolmentRequest
from ledger.broker.grants import ALG_ED25519, ALG_P256, runtime_message
from ledger.broker.identity import RuntimeIdentity
from ledger.broker.runtime_signers import FileSigner
from ledger.errors import (
    ConfigurationError,
    KeyAccessError,
    LedgerError,
    ManifestError,
    SignatureInvalid,
)
from ledger.ids import Digest

BOTH = pytest.mark.parametrize("alg", [ALG_ED25519, ALG_P256])

PLUGIN = '''
import json
from pathlib import Path
from ledger.broker.runtime_signers import FileSigner

class Token:
    """A token that keeps its key in a file of its own."""

    def __init__(self, path, mood):
        self._path, self._mood = Path(path), mood

    @property
    def _inner(self):
        held = json.loads(self._path.read_text())
        return FileSigner(held["alg"], bytes.fromhex(held["seed"]))

    @property
    def key(self):
        return self._inner.key

    def sign(self, message):
        if self._mood == "locked":
            raise RuntimeError("PIN 1234 is wrong")
        return self._inner.sign(message + b"x" if self._mood == "wrong" else message)

def open_token(options):
    return Token(options["path"], options.get("mood"))
'''


@pytest.fixture
def token(tmp_path, monkeypatch):
    """An installed plug-in package, and a token with a P-256 key in it."""
    site = tmp_path / "site"
    (site / "pocket_token-1.dist-info").mkdir(parents=True)
    (site / "pocket_token.py").write_text(PLUGIN)
    info = site / "pocket_token-1.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pocket-token\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[modeldeed.runtime_signers]\npocket = pocket_token:open_token\n"
    )
    monkeypatch.syspath_prepend(str(site))
    path = tmp_path / "token.json"

    def load(alg=ALG_P256):
        path.write_text(json.dumps({"alg": alg, "seed": FileSigner.generate(alg).seed.hex()}))
        return {"path": str(path)}

    yield load
    sys.modules.pop("pocket_token", None)


@BOTH
def test_a_key_file_of_either_algorithm_comes_back_and_signs(tmp_path, alg):
    made = RuntimeIdentity.create(tmp_path / "runtime.json", alg=alg)
    again = RuntimeIdentity.load(made.path)
    assert again.key == made.key
    assert again.key.alg == alg
    digest = Digest(b"\x01" * 32)
    again.key.verify(again.sign(digest), digest)
    assert EnrolmentRequest.from_json(again.enrolment_request()).runtime == made.key
    assert made.signer.seed.hex() not in repr(made)


@BOTH
@given(st.binary(min_size=64, max_size=64))
def test_no_other_signature_verifies(alg, signature):
    signer = FileSigner(alg, b"\x07" * 32)
    with pytest.raises(SignatureInvalid):
        signer.key.verify(signature, Digest(bytes(32)))


@pytest.mark.parametrize("seed", ["00" * 32, "ff" * 32])
def test_a_seed_that_is_no_p256_key_is_told_at_once(tmp_path, seed):
    made = RuntimeIdentity.create(tmp_path / "runtime.json", alg=ALG_P256)
    document = json.loads(made.path.read_text())
    made.path.write_text(json.dumps({**document, "seed": f"0x{seed}"}))
    with pytest.raises(ManifestError):
        RuntimeIdentity.load(made.path)


def test_a_key_behind_a_plug_in_leaves_no_secret_in_the_key_file(tmp_path, token):
    path = tmp_path / "runtime.json"
    made = RuntimeIdentity.create(path, alg=ALG_P256, plugin="pocket", options=token())
    document = json.loads(path.read_text())
    assert "seed" not in document
    assert document["signer"]["key"] == made.key.to_json()
    again = RuntimeIdentity.load(path)
    digest = Digest(b"\x02" * 32)
    again.key.verify(again.sign(digest), digest)


def test_another_token_in_its_place_is_noticed(tmp_path, token):
    path = tmp_path / "runtime.json"
    RuntimeIdentity.create(path, alg=ALG_P256, plugin="pocket", options=token())
    token()
    with pytest.raises(ConfigurationError, match="another key"):
        RuntimeIdentity.load(path)


def test_the_algorithm_must_be_the_tokens(tmp_path, token):
    with pytest.raises(ConfigurationError, match="algorithm 2, not 1"):
        RuntimeIdentity.create(
            tmp_path / "r.json", alg=ALG_ED25519, plugin="pocket", options=token()
        )
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    ("mood", "kind"), [("locked", KeyAccessError), ("wrong", SignatureInvalid)]
)
def test_a_token_that_fails_signs_nothing_and_tells_nothing(tmp_path, token, mood, kind):
    options = {**token(), "mood": mood}
    made = RuntimeIdentity.create(
        tmp_path / "r.json", alg=ALG_P256, plugin="pocket", options=options
    )
    with pytest.raises(kind) as caught:
        made.sign(Digest(bytes(32)))
    assert "1234" not in str(caught.value) + caught.value.hint


def test_a_plug_in_that_is_not_installed_or_does_not_open_is_named(tmp_path, token):
    for plugin, kind in (("none", ConfigurationError), ("pocket", KeyAccessError)):
        with pytest.raises(kind, match=plugin):
            RuntimeIdentity.create(tmp_path / "r.json", alg=ALG_P256, plugin=plugin, options={})


@given(
    st.dictionaries(
        st.sampled_from(["alg", "seed", "signer", "name"]),
        st.none() | st.integers() | st.text(max_size=70) | st.dictionaries(st.text(), st.text()),
    )
)
def test_no_changed_key_file_raises_anything_but_our_errors(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("key") / "runtime.json"
    made = RuntimeIdentity.create(path, alg=ALG_P256)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with contextlib.suppress(LedgerError):
        RuntimeIdentity.load(made.path)


@pytest.mark.chain
@pytest.mark.parametrize("where", ["ed25519", "p256", "plug-in"])
def test_either_algorithm_gets_the_key_and_keeps_its_lease(world, tmp_path, token, where):
    alg = ALG_ED25519 if where == "ed25519" else ALG_P256
    held = {"plugin": "pocket", "options": token()} if where == "plug-in" else {}
    identity = RuntimeIdentity.create(tmp_path / "runtime.json", alg=alg, **held)
    license_id = world.license()
    world.grant(identity, license_id)
    file = identity.grants()[0]
    made = world.published
    with world.broker.client() as client:
        key, lease, _ = client.release(
            Asker(
                identity,
                license_id,
                made.model_id,
                made.record.hash(),
                file.grant,
                file.acceptance,
                world.terms,
            )
        )
        assert key == made.key
        assert lease.runtime_key_hash == identity.key_hash
        assert client.heartbeat(identity, lease)[0] is not None


def test_a_signature_covers_the_tag():
    signer = FileSigner(ALG_P256, b"\x07" * 32)
    bare = signer.sign(b"\x03" * 32)
    with pytest.raises(SignatureInvalid):
        signer.key.verify(bare, Digest(b"\x03" * 32))
    signer.key.verify(signer.sign(runtime_message(Digest(b"\x03" * 32))), Digest(b"\x03" * 32))


def test_what_is_kept_at_rest_by_a_key_behind_a_plug_in_has_a_secret_of_its_own(tmp_path, token):
    path = tmp_path / "runtime.json"
    made = RuntimeIdentity.create(path, alg=ALG_P256, plugin="pocket", options=token())
    derived = made.derived_key(b"purpose")
    assert RuntimeIdentity.load(path).derived_key(b"purpose") == derived
    assert made.derived_key(b"another") != derived
    rest = path.with_name("runtime.rest")
    assert (rest.stat().st_mode & 0o777, rest.stat().st_size) == (0o600, 32)
    rest.write_bytes(bytes(31))
    with pytest.raises(ConfigurationError):
        made.derived_key(b"purpose")
    # A key in its file needs none.
    filed = RuntimeIdentity.create(tmp_path / "filed.json")
    filed.derived_key(b"purpose")
    assert not (tmp_path / "filed.rest").exists()
