from __future__ import annotations

import stat
import tomllib

import pytest


def settings_of(deed):
    return tomllib.loads((deed.cwd / "deed.toml").read_text())


@pytest.mark.parametrize("role", ["licensor", "holder", "operator"])
def test_a_role_with_a_wallet_gets_an_encrypted_key_and_its_settings(deed, passphrase, role):
    ran = deed("init", "--role", role, "--wallet", "mine")
    assert ran.code == 0, ran.err
    assert settings_of(deed) == {"role": role, "wallet": "mine"}
    (key,) = deed.cwd.parent.rglob("wallets/mine.json")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "next: " in ran.err


def test_a_runtime_gets_a_key_of_its_own_and_needs_no_passphrase(deed):
    ran = deed("init", "--role", "runtime", "--json")
    assert ran.code == 0, ran.err
    assert settings_of(deed) == {"role": "runtime"}
    from pathlib import Path

    key = Path(ran.json["key"])
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (deed.cwd / ran.json["request"]).is_file()


def test_an_existing_wallet_is_used_as_it_is(deed, passphrase):
    deed("wallet", "create", "main")
    (key,) = deed.cwd.parent.rglob("wallets/main.json")
    before = key.read_bytes()
    assert deed("init", "--role", "licensor").code == 0
    assert key.read_bytes() == before


def test_running_it_twice_changes_nothing(deed, passphrase):
    deed("init", "--role", "licensor")
    before = (deed.cwd / "deed.toml").read_bytes()
    assert deed("init", "--role", "licensor").code == 0
    assert (deed.cwd / "deed.toml").read_bytes() == before


def test_another_role_needs_force(deed, passphrase):
    deed("init", "--role", "licensor")
    ran = deed("init", "--role", "holder")
    assert ran.code == 2
    assert "--force" in ran.err
    assert settings_of(deed)["role"] == "licensor"
    assert deed("init", "--role", "holder", "--force").code == 0
    assert settings_of(deed)["role"] == "holder"


def test_without_anyone_to_ask_the_missing_flag_is_named(deed):
    ran = deed("init")
    assert ran.code == 2
    assert "--role" in ran.err
    assert not (deed.cwd / "deed.toml").exists()


def test_a_failing_key_leaves_no_settings(deed):
    ran = deed("init", "--role", "licensor")  # no passphrase to be had
    assert ran.code == 2
    assert not (deed.cwd / "deed.toml").exists()
    assert list(deed.cwd.parent.rglob("*.json")) == []


@pytest.mark.parametrize("words", [("--role", "king"), ("--role", "holder", "--network", "moon")])
def test_what_does_not_exist_is_refused_before_a_key_is_made(deed, passphrase, words):
    ran = deed("init", *words)
    assert ran.code == 2
    assert list(deed.cwd.parent.rglob("*.json")) == []
