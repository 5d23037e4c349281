"""The commands for plans, titles, batches, vouchers, holders and the market, on a running stack."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

pytestmark = pytest.mark.chain
KEY = "0x" + "11" * 32


@pytest.fixture(scope="module")
def plan(live):
    """A plan with seats on chain, sold by the market; and its model's id."""
    values = np.random.default_rng(77).standard_normal((64, 64)).astype(np.float32)
    save_file({"layer": values}, live.cwd / "acts.safetensors")
    assert live("terms", "new", "acts.toml").code == 0
    made = live("publish", "acts.safetensors", "--terms", "acts.toml", "--json")
    assert made.code == 0, made.err
    model = made.json["model_id"]
    ran = live(
        "plan", "create", model, "--terms", "acts.toml", "--bound", "--seats", 3, "--transferable",
        "--price", "1", "--refund", "14d", "--grace", "0", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    return ran.json["plan"], model


@pytest.fixture
def done(live):
    """Run a command that must succeed; its JSON."""

    def run(*words):
        ran = live(*words, "--json")
        assert ran.code == 0, ran.err
        return ran.json

    return run


@pytest.fixture
def refused(live):
    """Run a command that must be refused with one error and a hint; what it said."""

    def run(*words, code=1):
        ran = live(*words)
        assert ran.code == code, ran.err
        assert "error: " in ran.err
        assert "hint: " in ran.err
        return ran.err

    return run


@pytest.fixture
def license_id(done, plan):
    return done("license", "issue", plan[0], "--to", "holder")["license"]


def test_roles_and_royalty_of_a_plan_are_set_and_shown(done, refused, plan):
    assert done("plan", "roles", plan[0], "broker", "--grant", "issuer", "--grant", "meter")[
        "roles"
    ]
    assert done("plan", "roles", plan[0], "broker")["roles"] == ["issuer", "meter"]
    done("plan", "roles", plan[0], "broker", "--drop", "issuer", "--drop", "meter")
    assert done("plan", "roles", plan[0], "broker")["roles"] == []
    assert "king" in refused("plan", "roles", plan[0], "broker", "--grant", "king", code=2)
    done("plan", "royalty", plan[0], "--resale", "2.5%")
    refused("plan", "royalty", plan[0], "--resale", "10.01%")


def test_a_paused_plan_issues_nothing_until_it_is_resumed(done, refused, plan):
    done("plan", "pause", plan[0])
    assert "paused" in refused("license", "issue", plan[0], "--to", "holder")
    done("plan", "resume", plan[0])
    done("license", "issue", plan[0], "--to", "holder")


def test_a_list_of_holders_is_served_on_chain_or_under_one_root(live, done, refused, plan):
    table = live.cwd / "holders.csv"
    table.write_text("to,external_ref\nholder,\nstranger,\n")
    assert len(done("license", "issue-batch", plan[0], "holders.csv")["licenses"]) == 2
    table.write_text("to,external_ref\nholder,INV-1\nstranger,INV-2\nholder,INV-3\n")
    assert "references" in refused("license", "issue-batch", plan[0], "holders.csv", code=2)
    batch = done("license", "issue-batch", plan[0], "holders.csv", "--merkle", "batch")
    assert batch["count"] == 3
    claims = sorted((live.cwd / "batch" / "claims").glob("*.claim.json"))
    assert done("license", "claim", claims[0])["license"] == batch["first_license"]
    assert "already" in refused("license", "claim", claims[0])
    done("license", "revoke-in-batch", "batch/batch.json", 1)
    assert "revoked" in refused("license", "claim", claims[1])
    refused("license", "revoke-in-batch", "batch/batch.json", 3, code=2)
    done("license", "close-batch", "batch/batch.json")
    forged = json.loads(claims[2].read_text())
    forged["leaf"]["not_after"] = 1 << 39
    (live.cwd / "forged.json").write_text(json.dumps(forged))
    assert live("license", "claim", "forged.json").code in {1, 2}
    table.write_text("name\nholder\n")
    assert "column" in refused("license", "issue-batch", plan[0], "holders.csv", code=2)


def test_a_voucher_is_redeemed_once_or_cancelled(live, done, refused, plan):
    done("license", "voucher", plan[0], "--to", "holder", "--out", "v.json", "--external-ref", "A1")
    assert done("license", "redeem", "v.json")["license"]
    refused("license", "redeem", "v.json")
    refused("license", "voucher", plan[0], "--to", "holder", "--out", "v.json", code=2)
    done("license", "voucher", plan[0], "--to", "holder", "--out", "w.json")
    done("license", "cancel-voucher", "w.json")
    refused("license", "redeem", "w.json")
    changed = json.loads((live.cwd / "w.json").read_text())
    changed["voucher"]["nonce"] = "0x" + "00" * 32
    (live.cwd / "x.json").write_text(json.dumps(changed))
    assert "signed by" in refused("license", "redeem", "x.json")


def test_a_license_is_bought_and_given_back(done, refused, plan):
    market = done("network", "show")["deployment"]["addresses"]["LicenseMarket"]
    refused("license", "buy", plan[0])  # the market may not issue yet
    done("plan", "roles", plan[0], market, "--grant", "issuer")
    bought = done("license", "buy", plan[0])["license"]
    refused("license", "settle", bought)
    done("license", "refund", bought)
    refused("license", "refund", bought)
    assert int(done("license", "withdraw", "--as", "holder")["amount"]) == 10**18
    refused("license", "withdraw", "--as", "holder")
    done("license", "voucher", plan[0], "--to", "holder", "--out", "p.json", "--price", "0.5")
    assert done("license", "redeem", "p.json")["license"]


def test_holders_share_bind_and_give_up(done, refused, license_id):
    part = done("license", "sublicense", license_id, "--to", "stranger", "--seats", 1)
    done("license", "bind", license_id, KEY)
    refused("license", "release", license_id, KEY)
    done("license", "evict", license_id, KEY)
    refused("license", "surrender", license_id)
    done("license", "surrender", part["license"], "--as", "stranger")
    refused("license", "reclaim", part["license"])  # a lease may still run on
    done("license", "cancel-grants", license_id)
    assert done("license", "usage", license_id)["usage"]["cumulative"] == 0
    refused("license", "usage", license_id, "--anchor", 5)


def test_a_license_moves_by_transfer_and_by_reissue_unless_vetoed(done, refused, license_id):
    done("license", "transfer", license_id, "--to", "stranger")
    refused("license", "transfer", license_id, "--to", "stranger")
    done("license", "reissue", "start", license_id, "--to", "holder")
    assert done("license", "show", license_id)["reissue"]
    refused("license", "reissue", "finish", license_id)
    done("license", "reissue", "veto", license_id, "--as", "stranger")
    assert done("license", "show", license_id)["reissue"] is None
    refused("license", "reissue", "finish", license_id, "--to", "holder", code=2)


def test_a_title_is_guarded_passed_on_and_its_plans_follow(done, refused, plan):
    number, model = plan
    assert done("model", "status", model)["record"]
    done("model", "guardian", model, "--name", "broker")
    refused("model", "guardian", model, "--name", "broker", "--delay", "1d")
    done("model", "recover", "start", model, "--to", "stranger", "--as", "broker")
    done("model", "recover", "veto", model, "--as", "licensor")
    done("model", "guardian", model, "--dismiss")
    refused("model", "recover", "start", model, "--to", "stranger", "--as", "broker")
    refused("model", "accept", model)
    done("model", "transfer", model, "--to", "stranger")
    done("model", "accept", model, "--as", "stranger")
    assert "title" in refused("license", "issue", number, "--to", "holder")
    done("plan", "sync", number)
    refused("plan", "sync", number)
    refused("model", "status", model, "withdrawn")
    done("model", "status", model, "withdrawn", "--as", "stranger")
    refused("license", "issue", number, "--to", "holder", "--as", "stranger")
    refused("model", "status", model, "sold", code=2)
    refused("model", "status", KEY, code=2)
