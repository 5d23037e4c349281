"""``deed broker transfer|accept|move`` on a live stack."""

import pytest

from ledger.chain.wallet import dev_wallet

pytestmark = pytest.mark.chain


def operator_of(live, broker):
    return live("broker", "status", "--json").json["chain"]["operator"]


def test_a_broker_changes_hands_in_two_steps(live):
    ran = live("broker", "transfer", 1, "--to", "operator", "--json")
    assert ran.code == 0, ran.err
    assert operator_of(live, 1) == str(dev_wallet("broker").address)
    refused = live("broker", "accept", 1, "--as", "rival", "--json")
    assert refused.error["code"] == "BROKER_NOT_PENDING_OPERATOR"
    ran = live("broker", "accept", 1)
    assert ran.code == 0, ran.err
    assert "rotate --keys" in ran.err
    assert operator_of(live, 1) == str(dev_wallet("operator").address)
    home = live.cwd / ".deed" / "broker"
    live.env["DEED_BROKER_PASSPHRASE_FILE"] = str(home / "passphrase")
    former = live("broker", "move", 1, "--url", "http://127.0.0.1:7")
    assert former.code != 0
    assert "broker" in former.err
    assert live("broker", "transfer", 1, "--to", "broker", "--as", "operator").code == 0
    assert live("broker", "accept", 1, "--as", "broker").code == 0


def test_an_offer_that_is_withdrawn_cannot_be_accepted(live):
    assert live("broker", "transfer", 1, "--to", "spare").code == 0
    assert live("broker", "transfer", 1, "--withdraw", "--json").json["offered_to"] == "nobody"
    assert live("broker", "accept", 1, "--as", "spare").code != 0


def test_a_broker_moves_and_keeps_its_keys(live):
    before = live("broker", "status", "--json").json["chain"]
    url = live("network", "show", "--json").json["broker"]
    assert live("broker", "move", 1, "--url", url).code == 2  # it is there already
    assert live("broker", "move", 1, "--url", "https://elsewhere.example").code == 0
    try:
        after = live("broker", "status", "--json").json["chain"]
        for name in ("signing_key_hash", "kem_key_hash", "operator"):
            assert after[name] == before[name]
        assert after["url_hash"] != before["url_hash"]
        assert after["epoch"] == before["epoch"] + 1
    finally:
        assert live("broker", "move", 1, "--url", url).code == 0


def test_what_cannot_be_meant_is_said(live):
    assert live("broker", "transfer", 1).code == 2
    assert live("broker", "transfer", 1, "--to", "spare", "--withdraw").code == 2
    assert live("broker", "transfer", 1, "--to", "broker").code == 2
    assert live("broker", "transfer", 99, "--to", "spare").code == 2
    assert live("broker", "accept", 99).code == 2
    assert live("broker", "move", 1, "--url", "ftp://x").code == 2
