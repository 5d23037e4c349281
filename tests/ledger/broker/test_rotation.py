"""New keys for a broker: nothing is lost at any kill, and the old keys are gone at the end."""

import json
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.broker import rotation
from ledger.broker.custodians import custodian
from ledger.broker.home import BrokerHome
from ledger.broker.inuse import FolderLock
from ledger.broker.rotation import rotate_kek, rotation_under_way
from ledger.broker.store import BrokerStore
from ledger.broker.vault import Vault
from ledger.errors import (
    ConfigurationError,
    KeyAccessError,
    LedgerError,
    UsageError,
    WrongPassphrase,
)
from ledger.ids import Address, Digest, ModelId
from ledger.sealed.keys import key_commitment
from ledger.sealed.record import SealingRecord

PIN = "86420-pin"
PROGRAM = Path(__file__).parents[2] / "worlds" / "rotation_world.py"

CELLS = bytes(range(256)) * 1024


def broker(folder, secret="pass", **options):
    """A broker with one stored content key, closed; sealing and key."""
    home = BrokerHome.create(folder, secret, cost=14, **options)
    key = bytearray(secrets.token_bytes(32))
    kept = bytes(key)
    record = SealingRecord(
        model_id=ModelId(bytes(32)),
        epoch=1,
        root=Digest(bytes(32)),
        content_tree_root=Digest(bytes(32)),
        commit=key_commitment(key),
    )
    store = BrokerStore(home.database)
    store.add_sealing(record, Address(bytes(20)), now=1)
    vault = Vault(store, home.keystore)
    vault.keep(record, "content-key", key)
    # As many cells as a sealing may have, in one secret; also a token has to take that.
    vault.put(record.hash(), "cell-keys", bytearray(CELLS))
    vault.put(record.hash(), "code-key", bytearray(CELLS[:64]))
    store.close()
    home.keystore.close()
    return record.hash(), kept


def stored(folder, secret, sealing):
    home = BrokerHome.open(folder, secret)
    store = BrokerStore(home.database)
    try:
        vault = Vault(store, home.keystore)
        for label, kept in (("cell-keys", CELLS), ("code-key", CELLS[:64])):
            with vault.secret(sealing, label) as secret:
                assert secret == kept
        with vault.secret(sealing, "content-key") as key:
            return bytes(key)
    finally:
        store.close()
        home.keystore.close()


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("file", "pkcs11"),
        pytest.param("file", "file", marks=pytest.mark.deep),
        pytest.param("pkcs11", "pkcs11", marks=pytest.mark.deep),
    ],
)
def test_a_rotation_killed_at_any_step_leaves_a_broker_that_opens_and_goes_on(tmp_path, start, end):
    ran = subprocess.run(
        [sys.executable, PROGRAM, tmp_path, start, end], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout[-500:] + ran.stderr[-3000:]
    done = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(done) > 25
    assert [step["killed"] for step in done] == [True] * (len(done) - 1) + [False]
    assert any(step["under_way"] for step in done)
    assert all(step["left"] == ["broker.lock", "broker.sqlite3", "keys.json"] for step in done), (
        done
    )


def test_after_a_rotation_the_old_kek_opens_nothing(tmp_path):
    sealing, key = broker(tmp_path)
    before = BrokerHome.open(tmp_path, "pass")
    held = (tmp_path / "keys.json").open("rb")
    store = BrokerStore(before.database)
    rows = store.secrets_under(before.keystore.kek_id)
    row = next(row for row in rows if row[1] == "content-key")
    store.close()
    done = rotate_kek(tmp_path, "pass")
    assert (done.former, done.secrets, done.destroyed) == (before.keystore.kek_id, 3, True)
    assert stored(tmp_path, "pass", sealing) == key
    after = BrokerHome.open(tmp_path, "pass")
    assert after.signing_key_hash == before.signing_key_hash
    assert after.kem_key_hash == before.kem_key_hash
    with pytest.raises(KeyAccessError):
        after.keystore.decrypt(row[2], context="any")
    assert set(held.read()) == {0}
    held.close()
    assert row[2] not in (tmp_path / "broker.sqlite3").read_bytes()


def test_a_new_passphrase_replaces_the_old_one(tmp_path):
    sealing, key = broker(tmp_path)
    rotate_kek(tmp_path, "pass", other="new words")
    assert stored(tmp_path, "new words", sealing) == key
    with pytest.raises(WrongPassphrase):
        BrokerHome.open(tmp_path, "pass")


def test_a_kek_moves_from_file_to_token_to_mounted_file(softhsm, tmp_path):
    sealing, key = broker(tmp_path / "b")
    token = softhsm.new_token("moves")
    done = rotate_kek(tmp_path / "b", "pass", other=PIN, keystore="pkcs11", options=token)
    assert done.custodian == "pkcs11"
    assert stored(tmp_path / "b", PIN, sealing) == key
    place = tmp_path / "kek"
    place.write_text("ab" * 32)
    place.chmod(0o600)
    held = BrokerHome.key_file(tmp_path / "b")
    done = rotate_kek(
        tmp_path / "b", PIN, other="", keystore="environment", options={"file": str(place)}
    )
    assert done.destroyed
    assert stored(tmp_path / "b", "", sealing) == key
    with pytest.raises(KeyAccessError, match="does not hold"):
        custodian("pkcs11").open(held.kek_id, held.settings, PIN)
    other = tmp_path / "kek2"
    other.write_text("cd" * 32)
    other.chmod(0o600)
    done = rotate_kek(tmp_path / "b", "", keystore="environment", options={"file": str(other)})
    assert not done.destroyed
    assert stored(tmp_path / "b", "", sealing) == key
    with pytest.raises(UsageError, match="the new KEK is the old one"):
        rotate_kek(tmp_path / "b", "")


def test_a_running_broker_keeps_its_keys(tmp_path):
    broker(tmp_path)
    home = BrokerHome.open(tmp_path, "pass")
    with home.in_use(), pytest.raises(ConfigurationError, match="is running"):
        rotate_kek(tmp_path, "pass")
    rotate_kek(tmp_path, "pass")
    with pytest.raises(ConfigurationError, match="changed meanwhile"):
        home.in_use()
    with (
        FolderLock(tmp_path, exclusive=True),
        pytest.raises(ConfigurationError, match="being rotated"),
    ):
        BrokerHome.open(tmp_path, "pass").in_use()


def test_a_wrong_passphrase_rotates_nothing(tmp_path):
    broker(tmp_path)
    before = (tmp_path / "keys.json").read_bytes()
    with pytest.raises(WrongPassphrase):
        rotate_kek(tmp_path, "guess")
    assert (tmp_path / "keys.json").read_bytes() == before
    assert rotation_under_way(tmp_path) == ""


def test_a_stored_secret_that_does_not_open_stops_the_rotation_before_the_switch(tmp_path):
    sealing, _ = broker(tmp_path)
    home = BrokerHome.open(tmp_path, "pass")
    store = BrokerStore(home.database)
    store.put_secret(sealing, "damaged", home.keystore.kek_id, b"x" * 60)
    store.close()
    with pytest.raises(KeyAccessError):
        rotate_kek(tmp_path, "pass")
    assert BrokerHome.open(tmp_path, "pass").keystore.kek_id == home.keystore.kek_id
    assert not (tmp_path / rotation.FORMER_FILE).exists()


def test_two_rotations_do_not_mix(tmp_path, monkeypatch):
    broker(tmp_path)

    def stop(*_):
        raise RuntimeError

    monkeypatch.setattr(rotation, "_switch", stop)
    with pytest.raises(RuntimeError):
        rotate_kek(tmp_path, "pass")
    assert rotation_under_way(tmp_path) == "kek"
    with pytest.raises(ConfigurationError, match=r"another rotation .* \(kek\)"):
        rotation.rotate_keys(tmp_path, "pass", None, None)


def test_a_folder_that_cannot_be_locked_says_so(tmp_path):
    with pytest.raises(LedgerError, match="holds no broker"):
        rotate_kek(tmp_path, "pass")
    with pytest.raises(ConfigurationError, match="cannot lock"):
        FolderLock(tmp_path / "none", exclusive=True)
    lock = FolderLock(tmp_path, exclusive=True)
    lock.close()
    lock.close()
    assert [path.name for path in tmp_path.iterdir()] == ["broker.lock"]
