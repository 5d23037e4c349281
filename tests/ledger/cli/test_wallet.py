from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

# Anvil's first well-known test key.
TEST_KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
TEST_ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


def test_a_created_wallet_is_an_encrypted_private_file(deed, passphrase):
    ran = deed("wallet", "create", "alice", "--json")
    assert ran.code == 0
    file = ran.json["file"]
    document = json.loads(Path(file).read_text())
    assert document["version"] == 3
    assert document["crypto"]["kdf"] == "scrypt"
    assert stat.S_IMODE((deed.cwd / file).stat().st_mode) == 0o600
    assert ran.json["address"].startswith("0x")
    assert "keep a copy" in ran.err


def test_a_piped_key_is_imported_and_appears_nowhere(deed, passphrase):
    ran = deed("wallet", "import", "bob", stdin=TEST_KEY + "\n")
    assert ran.code == 0
    assert TEST_ADDRESS in ran.out
    for text in (ran.out, ran.err, *(p.read_text() for p in deed.cwd.parent.rglob("*.json"))):
        assert TEST_KEY not in text
        assert passphrase not in text


def test_a_keystore_of_another_program_is_imported(deed, passphrase):
    from eth_account import Account

    key = Account.create()
    (deed.cwd / "theirs.json").write_text(json.dumps(Account.encrypt(key.key, passphrase)))
    ran = deed("wallet", "import", "carol", "--keystore", "theirs.json", "--json")
    assert ran.code == 0
    assert ran.json["address"] == key.address


@pytest.mark.parametrize(
    "typed", ["", "0x12", "zz" * 32, TEST_KEY + "00", "00" * 32, "ff" * 32, TEST_KEY[:-1]]
)
def test_what_is_no_key_is_refused_without_being_repeated(deed, passphrase, typed):
    ran = deed("wallet", "import", "bob", stdin=typed + "\n")
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert "hint: " in ran.err
    if typed:
        assert typed not in ran.err + ran.out
    assert list(deed.cwd.parent.rglob("wallets/*")) == []


@pytest.mark.parametrize("name", ["a/b", ".a", "", "a b"])
def test_a_name_that_cannot_be_one_is_refused_with_what_it_may_have(deed, passphrase, name):
    ran = deed("wallet", "create", name)
    assert ran.code == 2
    assert ran.err.splitlines()[1] == (
        "hint: use letters, digits, dot, - and _, with no dot at the beginning"
    )


def test_a_wallet_is_never_replaced(deed, passphrase):
    assert deed("wallet", "create", "alice").code == 0
    (file,) = deed.cwd.parent.rglob("alice.json")
    before = file.read_bytes()
    ran = deed("wallet", "create", "alice")
    assert ran.code == 2
    assert "already" in ran.err
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["../alice", ".hidden", "a/b", "", "licensor"])
def test_a_name_that_cannot_be_is_refused(deed, passphrase, name):
    ran = deed("wallet", "create", name)
    assert ran.code == 2
    assert list(deed.cwd.parent.rglob("*.json")) == []


def test_a_wrong_passphrase_leaves_no_file(deed, passphrase, tmp_path):
    assert deed("wallet", "create", "alice").code == 0
    (file,) = deed.cwd.parent.rglob("alice.json")
    (tmp_path / "passphrase").write_text("something else\n")
    ran = deed("wallet", "import", "again", "--keystore", file)
    assert ran.code == 2
    assert "passphrase does not open" in ran.err
    assert len(list(file.parent.iterdir())) == 1


@pytest.mark.parametrize("text", ["{}", "[]", "not json", '{"version": 3}'])
def test_a_file_that_is_no_keystore_is_refused(deed, passphrase, text):
    (deed.cwd / "odd.json").write_text(text)
    ran = deed("wallet", "import", "x", "--keystore", "odd.json")
    assert ran.code == 2
    assert "odd.json" in ran.err


def test_without_a_terminal_or_password_file_the_way_out_is_named(deed):
    ran = deed("wallet", "create", "alice")
    assert ran.code == 2
    assert "DEED_WALLET_PASSWORD_FILE" in ran.err


def test_an_empty_password_file_protects_nothing_and_is_refused(deed, passphrase, tmp_path):
    (tmp_path / "passphrase").write_text("\n")
    assert deed("wallet", "create", "alice").code == 2
    assert list(deed.cwd.parent.rglob("*.json")) == []


def test_the_list_shows_names_addresses_and_the_chosen_one(deed, passphrase):
    assert deed("wallet", "list").out == "no wallets; create one with deed wallet create NAME\n"
    deed("wallet", "import", "bob", stdin=TEST_KEY + "\n")
    assert deed("wallet", "use", "bob").code == 0
    (row,) = deed("wallet", "list", "--json").json["wallets"]
    assert row == {"name": "bob", "address": TEST_ADDRESS, "kind": "keystore", "chosen": True}


def test_only_a_wallet_that_exists_can_be_chosen(deed):
    ran = deed("wallet", "use", "nobody")
    assert ran.code == 2
    assert ran.err.endswith("hint: list them with deed wallet list\n")
    assert not (deed.cwd / "deed.toml").exists()


def test_the_names_of_the_test_accounts_are_the_chains():
    from ledger.chain.wallet import DEV_WALLET_NAMES
    from ledger.cli.session import TEST_ACCOUNTS

    assert TEST_ACCOUNTS == DEV_WALLET_NAMES
