"""``deed api``: keys, roles and audit log, beside a service that runs on the same database."""

from __future__ import annotations

import json
import sqlite3

import httpx
import pytest

from ledger.chain.wallet import dev_wallet

pytestmark = pytest.mark.chain

ACCOUNT = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def service(live):
    from ledger.chain.network import load_live

    network = load_live(live.cwd)
    assert network is not None
    return network


def me(live, key):
    url = service(live).broker_url
    return httpx.get(f"{url}/v1/auth/me", headers={"authorization": f"Bearer {key}"}, timeout=20)


def test_a_key_is_made_used_listed_and_revoked(live):
    ran = live(
        "api", "keys", "create", "nightly audit", "--role", "auditor", "--scope", "audit:read"
    )
    assert ran.code == 0, ran.err
    assert "not shown again" in ran.err
    key = ran.out.split()[1]
    told = me(live, key).json()
    assert (told["roles"], told["scopes"]) == (["auditor"], ["audit:read"])
    listed = live("api", "keys", "list", "--json").json["keys"]
    assert listed[0]["name"] == "nightly audit"
    assert key not in json.dumps(listed)
    ran = live("api", "keys", "revoke", told["id"])
    assert ran.code == 0, ran.err
    assert me(live, key).json()["code"] == "CREDENTIAL_REVOKED"
    assert "revoked" in live("api", "keys", "list").out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["keys", "create", "x", "--role", "auditor"], 2, "needs a scope"),
        (["keys", "create", "x", "--scope", "audit:read"], 2, "one of the two"),
        (["keys", "create", "x", "--role", "auditor", "--scope", "all"], 2, "no scope of keys"),
        (
            ["keys", "create", "x", "--role", "auditor", "--scope", "deposits:write"],
            1,
            "may not do",
        ),
        (
            ["keys", "create", "x", "--account", "0x12", "--scope", "audit:read"],
            2,
            "not an address",
        ),
        (["keys", "revoke", "AAAAAAAAAA"], 2, "no such API key"),
        (["roles", "grant", ACCOUNT, "licensor"], 2, "cannot be granted"),
        (["roles", "revoke", ACCOUNT, "auditor"], 1, "was no auditor"),
        (["sessions", "end", "0x12"], 2, "not an address"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said_with_a_way_out(live, words, code, said):
    ran = live("api", *words)
    assert ran.code == code, ran.out + ran.err
    assert said in ran.out + ran.err
    assert code != 2 or "hint: " in ran.err


def test_roles_are_granted_listed_and_taken_back(live):
    assert live("api", "roles", "grant", ACCOUNT, "operator").code == 0
    assert live("api", "roles", "list", "--json").json["roles"][0]["account"] == ACCOUNT
    assert ACCOUNT in live("api", "roles", "list").out
    assert live("api", "roles", "revoke", ACCOUNT, "operator").code == 0
    assert live("api", "roles", "list").out == "no role is granted here\n"


def test_an_operator_sees_everybodys_webhooks_by_host_and_ends_one(live):
    scopes = ("--role", "operator", "--scope", "webhooks:write")
    key = live("api", "keys", "create", "hooks", *scopes).out.split()[1]
    assert live("api", "webhooks", "list").out == "there are no webhooks\n"
    made = httpx.post(
        f"{service(live).broker_url}/v1/webhooks",
        json={"url": "https://hooks.example/deed?token=hunter2"},
        headers={"authorization": f"Bearer {key}"},
        timeout=20,
    )
    assert made.status_code == 201, made.text
    listed = live("api", "webhooks", "list", "--json")
    assert "hunter2" not in listed.out
    (shown,) = listed.json["webhooks"]
    assert (shown["id"], shown["host"]) == (made.json()["id"], "hooks.example")
    assert live("api", "webhooks", "remove", shown["id"]).code == 0
    assert live("api", "webhooks", "list", "--json").json["webhooks"] == []
    assert live("api", "webhooks", "remove", shown["id"]).code == 2


def test_the_log_is_verified_exported_anchored_and_an_altered_entry_named(live, tmp_path):
    for name in ("one", "two", "three"):
        live("api", "keys", "create", name, "--role", "auditor", "--scope", "audit:read")
    first = tmp_path / "first.jsonl"
    assert live("api", "audit", "export", "--out", first).code == 0
    assert live("api", "audit", "export", "--out", first).code == 2  # never over another
    ran = live("api", "audit", "anchor")
    assert ran.code == 0, ran.err
    assert "anchored" in ran.out
    again = live("api", "audit", "anchor", "--json")
    assert again.json == {"anchored": None}
    ran = live("api", "audit", "verify", "--chain", "--extends", first)
    assert ran.code == 0, ran.out
    assert "(7)  pass" in ran.out
    assert "the audit log holds" in ran.out
    second = tmp_path / "second.jsonl"
    assert live("api", "audit", "export", "--out", second).code == 0
    assert live("api", "audit", "verify", "--file", second, "--extends", first, "--chain").code == 0
    # Cut off before what was anchored: what is left names no root, and only the chain knows better.
    cut = tmp_path / "cut.jsonl"
    cut.write_text("".join(first.read_text().splitlines(keepends=True)[:-1]))
    assert live("api", "audit", "verify", "--file", cut, "--chain").code == 0
    broker = dev_wallet("broker").address
    ran = live("api", "audit", "verify", "--file", cut, "--anchored-by", broker)
    assert ran.code == 1
    assert "is on chain, and is the hash of no entry" in ran.out
    ran = live("api", "audit", "verify", "--file", second, "--anchored-by", broker)
    assert ran.code == 0, ran.out
    # Cut off, altered, and in the database.
    ran = live("api", "audit", "verify", "--file", first, "--extends", second)
    assert ran.code == 1
    assert "is gone" in ran.out
    second.write_text(second.read_text().replace("three", "thrice"))
    assert live("api", "audit", "verify", "--file", second).code == 1
    database = service(live).home / "index.sqlite3"
    with sqlite3.connect(database, timeout=20) as raw:
        raw.execute(
            "UPDATE access_audit SET entry = replace(entry, 'auditor', 'operator') "
            "WHERE sequence = (SELECT max(sequence) FROM access_audit WHERE entry LIKE '%three%')"
        )
    ran = live("api", "audit", "verify")
    assert ran.code == 1
    assert "was altered: its hash is another" in ran.out
    assert live("api", "audit", "verify", "--file", tmp_path / "none.jsonl").code == 2
