from __future__ import annotations

import io
import sys

import pytest

from ledger.chain.profile import profile_for
from ledger.chain.transactions import TxPreview
from ledger.cli import settings
from ledger.cli.session import Session, passphrase
from ledger.errors import NoNetwork, NoWallet, UsageError, WalletError
from ledger.ids import Address

PREVIEW = TxPreview(
    chain_id=1,
    chain_name="Ethereum",
    account=Address(b"\x11" * 20),
    to=Address(b"\x22" * 20),
    purpose="register model 0x12",
    value=0,
    gas=60_000,
    max_fee=1_200_000_000_000_000,
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = settings.load(environ={"DEED_CONFIG_DIR": str(tmp_path / "config")}, cwd=tmp_path)
    return Session(found, role="licensor")


@pytest.mark.parametrize(("typed", "sent"), [("y\n", True), ("yes\n", True), ("\n", False)])
def test_on_a_public_chain_chain_account_and_fee_are_shown_and_asked_for(
    session, monkeypatch, capsys, typed, sent
):
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert session.confirm_on(profile_for(1))(PREVIEW) is sent
    shown = capsys.readouterr().err
    assert "(id 1)" in shown
    assert str(PREVIEW.account) in shown
    assert "register model 0x12" in shown
    assert "at most 0.0012" in shown


def test_with_nobody_to_ask_nothing_is_sent_and_yes_is_named(session, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(UsageError) as caught:
        session.confirm_on(profile_for(1))(PREVIEW)
    assert caught.value.hint == "pass --yes"


def test_nothing_is_guessed_where_nothing_is_set_up(session):
    with pytest.raises(NoNetwork):
        _ = session.network
    with pytest.raises(NoWallet):
        _ = session.wallet_name


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "a b", "\0"])
def test_a_wallets_name_never_leads_out_of_its_folder(session, name):
    from ledger.cli.session import wallet_path

    with pytest.raises(WalletError):
        wallet_path(session.settings, name)


def test_a_typed_passphrase_is_asked_twice_and_must_agree(session, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal())
    answers = iter(["one", "two", "", "same", "same"])
    monkeypatch.setattr("getpass.getpass", lambda prompt, stream: next(answers))
    for _ in range(2):
        with pytest.raises(WalletError):
            passphrase(session.settings, "New", new=True)
    assert passphrase(session.settings, "New", new=True) == "same"
