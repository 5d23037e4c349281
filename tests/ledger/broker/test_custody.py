"""Secrets at rest."""

import json
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.broker.custody import (
    LocalKeyStore,
    decrypt_with_passphrase,
    destroy_file,
    encrypt_with_passphrase,
    read_private,
    write_private,
    zero,
)
from ledger.errors import (
    ConfigurationError,
    KeyAccessError,
    LedgerError,
    LimitExceeded,
    ManifestError,
    UsageError,
    WrongPassphrase,
)

SECRET = b"thirty-two bytes of a secret key"


def sealed(**options):
    return encrypt_with_passphrase(SECRET, "pass", purpose="test", cost=14, **options)


def test_a_secret_comes_back_with_its_passphrase():
    document = json.loads(json.dumps(sealed()))
    assert decrypt_with_passphrase(document, "pass", purpose="test") == SECRET
    assert SECRET.hex() not in json.dumps(document)


def test_a_wrong_passphrase_says_so_and_quotes_nothing():
    with pytest.raises(WrongPassphrase) as caught:
        decrypt_with_passphrase(sealed(), "guess", purpose="test")
    assert "guess" not in str(caught.value)


def test_a_file_for_another_purpose_does_not_open():
    with pytest.raises(ManifestError):
        decrypt_with_passphrase(sealed(), "pass", purpose="other")
    relabelled = {**sealed(), "purpose": "other"}
    with pytest.raises(WrongPassphrase):
        decrypt_with_passphrase(relabelled, "pass", purpose="other")


@pytest.mark.parametrize("cost", [0, 13, 21, 63])
def test_parameters_that_would_exhaust_the_machine_are_not_computed(cost):
    document = sealed()
    document["kdf"]["log2_n"] = cost
    with pytest.raises(LimitExceeded):
        decrypt_with_passphrase(document, "pass", purpose="test")


def test_an_empty_passphrase_is_refused():
    with pytest.raises(UsageError):
        encrypt_with_passphrase(SECRET, "", purpose="test")


@given(st.sampled_from(["version", "kdf", "cipher", "ciphertext"]), st.text(max_size=20))
@settings(max_examples=40, deadline=None)
def test_no_altered_file_raises_anything_but_our_errors(member, value):
    with pytest.raises(LedgerError):
        decrypt_with_passphrase({**BASE, member: value}, "pass", purpose="test")


BASE = sealed()


def local():
    return LocalKeyStore(bytearray(secrets.token_bytes(32)), "id")


def test_a_stored_secret_opens_only_in_its_place():
    store, other = local(), local()
    blob = store.encrypt(SECRET, context="a")
    assert store.decrypt(blob, context="a") == SECRET
    altered = blob[:-1] + bytes([blob[-1] ^ 1])
    for keystore, data, context in (
        (store, blob, "b"),
        (other, blob, "a"),
        (store, b"", "a"),
        (store, blob[:20], "a"),
        (store, altered, "a"),
    ):
        with pytest.raises(KeyAccessError):
            keystore.decrypt(data, context=context)


def test_the_key_store_takes_the_key_over_and_shows_none():
    kek = bytearray(SECRET)
    store = LocalKeyStore(kek, "id")
    assert kek == bytes(32)
    assert SECRET.hex() not in repr(store)
    assert repr(SECRET) not in repr(store)


def test_a_closed_key_store_has_no_key():
    store = local()
    blob = store.encrypt(SECRET, context="a")
    store.close()
    assert bytes(store._kek.view) == bytes(32)
    for call in (store.encrypt, store.decrypt):
        with pytest.raises(UsageError, match="closed"):
            call(blob, context="a")


def test_a_private_file_is_never_overwritten_or_left_half_written(tmp_path):
    path = tmp_path / "secret"
    write_private(path, b"one")
    with pytest.raises(ConfigurationError, match="already there"):
        write_private(path, b"two")
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]
    assert read_private(path) == b"one"


def test_a_secret_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "secret"
    write_private(path, b"one")
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="read by others") as caught:
        read_private(path)
    assert "chmod 600" in caught.value.hint


def test_zero_overwrites_in_place():
    secret = bytearray(SECRET)
    zero(secret)
    assert secret == bytes(len(SECRET))


def test_a_destroyed_file_is_overwritten_before_it_goes(tmp_path):
    path, held = tmp_path / "secret", tmp_path / "held"
    write_private(path, SECRET)
    with path.open("rb") as reader:
        destroy_file(path)
        assert reader.read() == bytes(len(SECRET))
    assert not path.exists()
    destroy_file(path)
    write_private(path, SECRET)
    held.hardlink_to(path)
    destroy_file(path)
    assert held.read_bytes() == SECRET
