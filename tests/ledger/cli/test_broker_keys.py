"""`deed broker init|rotate|export|restore`, as operator and licensor use them on a live stack."""

import json
import secrets
import stat

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.broker.home import BrokerHome
from ledger.broker.recovery import Recovery

pytestmark = pytest.mark.chain
WORDS = "correct horse battery staple"


def refused(ran, code, *words):
    assert ran.code == code, ran.out + ran.err
    assert "hint: " in ran.err
    for word in words:
        assert word in ran.err


@pytest.fixture(scope="module")
def published(live):
    """A published model; its recovery file."""
    assert live("terms", "new", "t.toml").code == 0
    save_file({"w": np.arange(4096, dtype=np.float32)}, live.cwd / "m.safetensors")
    ran = live("publish", "m.safetensors", "--terms", "t.toml", "--json")
    assert ran.code == 0, ran.err
    live.env["DEED_BROKER_PASSPHRASE_FILE"] = live.env["DEED_WALLET_PASSWORD_FILE"]
    return live.cwd / ran.json["recovery"]


@pytest.fixture(scope="module")
def shares(live, published):
    """Three share files of which two restore."""
    ran = live("broker", "export", published, "--out", "shares", "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["threshold"], ran.json["count"]) == (2, 3)
    return [live.cwd / file for file in ran.json["files"]]


def test_share_files_are_private_and_never_written_over(live, published, shares):
    key = Recovery.load(published, WORDS).content_key.hex()
    for path in shares:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert key not in path.read_text()
    refused(live("broker", "export", published, "--out", "shares"), 2, "already there")
    refused(live("broker", "export", published, "--threshold", 4), 2, "4 of 3")


def test_a_broker_is_restored_from_the_recovery_file_and_from_shares(live, published, shares):
    ran = live("broker", "restore", published, "--home", "one", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["receipt"]["deposit"]["labels"] == ["content-key"]
    # The new broker is lost in its turn; two shares give its number to a third home.
    lost = ran.json["broker"]
    ran = live("broker", "restore", *shares[:2], "--home", "two", "--broker", lost, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["broker"] == lost
    home = BrokerHome.open(live.cwd / "two", WORDS)
    assert str(home.kem_key_hash) == ran.json["kem_key_hash"]
    # Again: it goes on where it was.
    again = live("broker", "restore", *shares[1:], "--home", "two", "--broker", lost, "--json")
    assert again.code == 0, again.err
    assert again.json["kem_key_hash"] == ran.json["kem_key_hash"]


def test_what_does_not_restore_says_why_and_makes_no_broker(live, published, shares):
    refused(live("broker", "restore", shares[0], "--home", "no"), 1, "1 of the 2 shares", "1 more")
    altered = json.loads(shares[1].read_text())
    altered["share"] = "0x" + "00" * 32
    (live.cwd / "bent.json").write_text(json.dumps(altered))
    refused(live("broker", "restore", shares[0], "bent.json", "--home", "no"), 1, "was damaged")
    refused(live("broker", "restore", shares[0], published, "--home", "no"), 2, "not a share file")
    assert not (live.cwd / "no").exists()
    stranger = ("broker", "restore", published, "--home", "three", "--broker", 1, "--as", "rival")
    refused(live(*stranger), 2, "is operated by")


def test_a_kek_and_keys_are_rotated_by_command(live, published):
    assert live("broker", "init", "--home", "r").code == 0
    before = BrokerHome.open(live.cwd / "r", WORDS)
    ran = live("broker", "rotate", "--kek", "--home", "r", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["former"] == before.keystore.kek_id
    assert ran.json["destroyed"] is True
    ran = live("broker", "rotate", "--keys", "--home", "r", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["signing_key_hash"] != str(before.signing_key_hash)
    place = live.cwd / "kek"
    place.write_text(secrets.token_hex(32))
    place.chmod(0o600)
    moved = ("broker", "rotate", "--kek", "--home", "r", "--keystore", "environment")
    ran = live(*moved, "--option", f"file={place}", "--json")
    assert ran.code == 0, ran.err
    after = BrokerHome.open(live.cwd / "r")
    assert str(after.signing_key_hash) != str(before.signing_key_hash)
    assert len(after.former) == 1


def test_a_running_broker_is_not_rotated(live, published):
    folder = live.cwd / ".deed" / "broker"
    (live.cwd / "own").write_text((folder / "passphrase").read_text())
    live.env["DEED_BROKER_PASSPHRASE_FILE"] = str(live.cwd / "own")
    try:
        ran = live("broker", "rotate", "--kek", "--home", folder)
    finally:
        live.env["DEED_BROKER_PASSPHRASE_FILE"] = live.env["DEED_WALLET_PASSWORD_FILE"]
    refused(ran, 2, "is running")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rotate",), "say what to rotate"),
        (("rotate", "--kek", "--keys"), "say what to rotate"),
        (("rotate", "--keys", "--new-phrase"), "go with --kek"),
        (("rotate", "--kek", "--home", "nowhere"), "holds no broker"),
        (("init", "--home", "x", "--keystore", "cloud"), "no key store 'cloud'"),
        (("init", "--home", "x", "--option", "pin"), "NAME=VALUE"),
        (("init", "--home", "x", "--option", "pin=1234"), "no option 'pin'"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(live, published, words, said):
    ran = live("broker", *words)
    refused(ran, 2, said)
    assert "1234" not in ran.err
    assert not (live.cwd / "x" / "keys.json").exists()
