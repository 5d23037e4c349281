"""Commands about many, sold, shared, moved and metered licenses, against a running stack."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.chain.anchors import Anchors
from ledger.chain.erc20 import Erc20
from ledger.chain.network import load_live
from ledger.chain.registry import InclusionProof, ModelRegistry
from ledger.chain.rpc import Rpc
from ledger.chain.transactions import Sender
from ledger.chain.wallet import dev_wallet
from ledger.claim import Claim
from ledger.cli.output import time_text
from ledger.ids import Address, Digest, ModelId

from .conftest import PROGRAM

pytestmark = pytest.mark.chain

UNKNOWN = "0x" + "11" * 32
KEY = "0x" + "ab" * 32


@pytest.fixture(scope="module")
def model(live):
    """The id of a published model."""
    values = np.random.default_rng(7).standard_normal((8, 8)).astype(np.float32)
    save_file({"layer": values}, live.cwd / "m.safetensors")
    assert live("terms", "new", "m.toml").code == 0
    ran = live("publish", "m.safetensors", "--terms", "m.toml", "--json")
    assert ran.code == 0, ran.err
    return ran.json


@pytest.fixture(scope="module")
def new_plan(live, model):
    def make(*words) -> int:
        ran = live("plan", "create", model["model_id"], "--terms", "m.toml", "--json", *words)
        assert ran.code == 0, ran.err
        return ran.json["plan"]

    return make


@pytest.fixture
def issue(live, new_plan):
    """Issue a license to the holder under a plan of its own; gives its number."""

    def make(*words) -> str:
        ran = live("license", "issue", new_plan(*words), "--to", "holder", "--json")
        assert ran.code == 0, ran.err
        return ran.json["license"]

    return make


@pytest.fixture(scope="module")
def node(live):
    """The chain that the stack runs, and the network as commands see it."""
    network = load_live(live.cwd)
    with Rpc(network.rpc_urls) as rpc:
        yield rpc, network


def sleep(node, seconds):
    node[0].call("evm_increaseTime", [seconds])
    node[0].call("evm_mine")


def good(ran):
    assert ran.code == 0, ran.err
    return ran.json


def refused(ran, code: int, *parts: str) -> None:
    assert ran.code == code, ran.err
    assert ran.err.count("error: ") == 1
    assert ran.err.count("hint: ") == 1
    assert ran.out == ""
    for part in parts:
        assert part in ran.err


def at_terminal(live, *words, typed: str) -> tuple[int, str, str]:
    """Run ``deed`` with a real terminal: exit code, stdout, and what the person saw."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [PROGRAM, *map(str, words)],
        cwd=live.cwd,
        env=live.env,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    out, _ = running.communicate(timeout=60)
    said = b""
    # Linux reports a terminal that nobody holds any more as an I/O error.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 4096):
            said += part
    os.close(ours)
    return running.returncode, out, said.decode()


def address(name: str) -> str:
    return str(dev_wallet(name).address)


def holder_of(live, license_id):
    return live("license", "show", license_id, "--json").json["state"]["holder"]


# -- plans ---------------------------------------------------------------------------------------


def test_a_plan_is_paused_and_resumed(live, new_plan):
    plan = new_plan()
    assert good(live("plan", "pause", plan, "--json"))["paused"] is True
    refused(live("license", "issue", plan, "--to", "holder"), 1, "paused")
    assert good(live("plan", "resume", plan, "--json"))["paused"] is False
    good(live("license", "issue", plan, "--to", "holder", "--json"))
    refused(live("plan", "pause", plan, "--as", "rival"), 1, "lacks the role")


def test_a_plan_that_could_not_be_is_refused_before_anything_is_sent(live, model):
    words = ("plan", "create", model["model_id"], "--terms", "m.toml")
    plans = live("plan", "list", "--json").json["plans"]
    refused(live(*words, "--broker-set", "77"), 1, "77")
    refused(live(*words, "--max-offline", "1h", "--grace", "2h"), 1)
    refused(live(*words, "--token", address("rival")), 1, "does not answer as an ERC-20 token")
    refused(live(*words, "--duration", "999999999999y"), 2, "too long", "34865y")
    refused(live(*words, "--grace", "195d"), 2, "too long", "194d")
    refused(live(*words, "--lease", "137y"), 2, "too long", "136y")
    refused(live(*words, "--price", "1e30"), 2)
    refused(live("plan", "create", "nothing.sealed", *words[3:]), 2, "no file 'nothing.sealed'")
    refused(live("plan", "create", "0x12", *words[3:]), 2, "'0x12' is not a model id")
    refused(live("plan", "create", model["model_id"], "--terms", "m.safetensors"), 2, "not text")
    assert live("plan", "list", "--json").json["plans"] == plans


def test_a_revocation_says_when_it_takes_effect(live, issue):
    license_id = issue()
    later = good(live("license", "revoke", license_id, "--at", "2099-01-01", "--json"))
    ends = live("license", "show", license_id, "--json").json["state"]["not_after"]
    assert (later["status"], later["ends"]) == ("revoked", time_text(ends))


def test_roles_are_granted_shown_and_dropped(live, new_plan):
    plan = new_plan()
    assert good(live("plan", "roles", plan, "rival", "--json"))["roles"] == []
    words = ("plan", "roles", plan, "rival", "--grant", "issuer", "--grant", "meter", "--json")
    assert good(live(*words))["roles"] == ["issuer", "meter"]
    good(live("license", "issue", plan, "--to", "holder", "--as", "rival", "--json"))
    words = ("plan", "roles", plan, "rival", "--drop", "issuer", "--json")
    assert good(live(*words))["roles"] == ["meter"]
    assert good(live("plan", "roles", plan, address("rival"), "--json"))["roles"] == ["meter"]
    refused(live("license", "issue", plan, "--to", "holder", "--as", "rival"), 1, "ISSUER")
    refused(live("plan", "roles", plan, "rival", "--grant", "king"), 2)
    refused(live("plan", "roles", plan, "rival", "--grant", "meter", "--drop", "meter"), 2)
    refused(live("plan", "roles", plan, "rival", "--grant", "meter", "--as", "rival"), 1)
    refused(live("plan", "roles", 4000, "rival"), 1, "plan 4000")


def test_who_gets_what_of_a_sale_is_set_and_shown(live, model, new_plan):
    plan = new_plan("--price", "1")
    words = ("--pin", f"{model['model_id']}=5%", "--payee", "auditor=2.5%", "--resale", "10%")
    ran = good(live("plan", "royalty", plan, *words, "--json"))
    assert len(ran["transactions"]) == 3
    assert ran["royalties"] == [{"model": model["model_id"], "bps": 500}]
    assert ran["payees"] == [{"account": address("auditor"), "bps": 250}]
    shown = good(live("plan", "royalty", plan, "--json"))
    assert (shown["royalties"], shown["payees"]) == (ran["royalties"], ran["payees"])
    assert shown["resale_bps"] == 1_000
    assert good(live("plan", "royalty", new_plan(), "--json"))["resale_bps"] == 0
    refused(live("plan", "royalty", plan, "--pin", f"{model['model_id']}=1%"), 1, "fixed")
    refused(live("plan", "royalty", plan, "--resale", "11%"), 1)
    refused(live("plan", "royalty", plan, "--payee", "auditor"), 2, "NAME=5%")
    refused(live("plan", "royalty", plan, "--payee", "auditor=150%"), 2, "share")


def test_what_a_new_plan_s_next_line_says_works(live, model, new_plan):
    def follow(ran):
        assert ran.code == 0, ran.err
        (line,) = [line for line in ran.err.splitlines() if line.startswith("next: deed ")]
        said = shlex.split(line.removeprefix("next: deed "))
        words = ["holder" if word == "ADDRESS" else word for word in said]
        (live.cwd / "license.license.json").unlink(missing_ok=True)
        assert live(*words).code == 0
        return said

    create = ("plan", "create", model["model_id"], "--terms")
    assert "--card" in follow(live(*create, "m.toml"))
    assert follow(live(*create, "m.toml", "--as", "licensor"))[-2:] == ["--wallet", "licensor"]
    other = (live.cwd / "m.toml").read_text().replace("Your name or company", "Another name")
    (live.cwd / "other terms.toml").write_text(other)
    said = follow(live(*create, "other terms.toml"))
    assert said[-2:] == ["--terms", "other terms.toml"]
    assert (live.cwd / "license.license.json").exists()
    assert "--card" not in follow(live(*create, "m.toml", "--broker-set", "0"))
    plan = new_plan()
    words = ("license", "issue", plan, "--to", "holder", "--card", "odd.license.json", "--terms")
    refused(live(*words, "other terms.toml"), 1, f"not the terms of plan {plan}", "--terms")
    refused(live(*words, "m.safetensors"), 2)
    assert live("license", "list", "--plan", plan, "--json").json["licenses"] == []


def test_a_plan_is_shown_with_all_that_binds_its_parties(live, new_plan):
    plan = new_plan(
        "--quota", "7", "--bound", "--refund", "2d", "--reissue-delay", "3d", "--features", "5"
    )
    shown = live("plan", "show", plan)
    for part in ("quota       7", "within 2d", "after 3d", "0x5", "as of       block "):
        assert part in shown.out
    assert good(live("plan", "show", plan, "--json"))["as_of"]["block"] > 0
    found = good(live("plan", "list", "--licensor", "licensor", "--json"))["plans"]
    assert plan in [entry["plan"] for entry in found]


def test_a_list_of_licenses_says_which_grant(live, issue):
    one, two = issue(), issue()
    good(live("license", "suspend", two, "--json"))
    listed = good(live("license", "list", "--holder", "holder", "--check", "--json"))["licenses"]
    grants = {entry["license"]: entry["grants"] for entry in listed}
    assert (grants[one], grants[two]) == (True, False)
    plain = good(live("license", "list", "--json"))["licenses"]
    assert "grants" not in plain[0]
    assert "grants" in live("license", "list", "--check").out.splitlines()[0]


# -- titles --------------------------------------------------------------------------------------


def test_a_title_is_sold_and_its_plans_follow(live, new_plan):
    values = np.random.default_rng(8).standard_normal((8, 8)).astype(np.float32)
    save_file({"layer": values}, live.cwd / "sold.safetensors")
    sold = good(live("publish", "sold.safetensors", "--terms", "m.toml", "--json"))
    model_id, plan = sold["model_id"], sold["plan"]
    refused(live("plan", "sync", plan), 1, "follows the title already")
    refused(live("model", "accept", model_id, "--as", "buyer"), 1)
    refused(live("model", "transfer", model_id), 2)
    assert good(live("model", "transfer", model_id, "--to", "rival", "--json"))
    assert live("model", "transfer", model_id, "--withdraw").code == 0
    refused(live("model", "accept", model_id, "--as", "rival"), 1)
    ran = live("model", "transfer", model_id, "--to", "buyer")
    assert f"deed model accept {model_id}" in ran.err
    status = good(live("model", "status", model_id, "--json"))
    assert status["offered_to"] == address("buyer")
    ran = live("model", "accept", model_id, "--as", "buyer", "--json")
    assert good(ran)["plans_to_sync"] == [plan]
    assert f"next: deed plan sync {plan}" in ran.err
    refused(live("license", "issue", plan, "--to", "holder"), 1, "title is now")
    voucher = ("license", "voucher", plan, "--to", "holder", "--out", "moved.json")
    refused(live(*voucher), 1, "title is now", "deed plan sync")
    assert good(live("plan", "sync", plan, "--json"))["licensor"] == address("buyer")
    good(live("license", "issue", plan, "--to", "holder", "--as", "buyer", "--json"))
    listed = good(live("plan", "list", "--licensor", "buyer", "--json"))["plans"]
    assert [entry["plan"] for entry in listed] == [plan]
    own = good(live("plan", "list", "--licensor", "licensor", "--json"))["plans"]
    assert plan not in [entry["plan"] for entry in own]
    live("model", "transfer", model_id, "--to", "licensor", "--as", "buyer")
    back = good(live("model", "accept", model_id, "--sync", "--as", "licensor", "--json"))
    assert (back["synced"], back["plans_to_sync"]) == ([plan], [])
    live("model", "transfer", model_id, "--to", "buyer")
    code, out, said = at_terminal(live, "model", "accept", model_id, "--as", "buyer", typed="y\n")
    assert (code, f"Bring plan {plan} in step now" in said) == (0, True)
    assert f"plans synced  {plan}" in out
    assert good(live("plan", "show", plan, "--json"))["state"]["licensor"] == address("buyer")
    live("model", "transfer", model_id, "--to", "licensor", "--as", "buyer")
    words = ("model", "accept", model_id, "--as", "licensor")
    code, out, said = at_terminal(live, *words, typed="\n")
    assert (code, f"next: deed plan sync {plan}" in said) == (0, True)


def test_a_withdrawn_model_issues_nothing_until_it_is_active(live, model, new_plan):
    plan, model_id = new_plan(), model["model_id"]
    assert good(live("model", "status", model_id, "withdrawn", "--json"))["status"] == "withdrawn"
    refused(live("license", "issue", plan, "--to", "holder"), 1, "withdrawn")
    refused(live("model", "status", model_id, "active", "--as", "rival"), 1)
    good(live("model", "status", model_id, "active", "--json"))
    good(live("license", "issue", plan, "--to", "holder", "--json"))
    refused(live("model", "status", UNKNOWN), 2, "no model")
    refused(live("model", "status", model_id, "sold"), 2)


def test_a_guardian_recovers_a_lost_title(live, node, model):
    model_id = model["model_id"]
    assert good(live("model", "guardian", model_id, "--json"))["guardian"] is None
    refused(live("model", "guardian", model_id, "--name", "operator", "--delay", "1d"), 1)
    refused(live("model", "guardian", model_id, "--name", "operator", "--dismiss"), 2)
    assert live("model", "guardian", model_id, "--name", "operator").code == 0
    refused(live("model", "recover", "start", model_id), 2, "--to")
    refused(live("model", "recover", "start", model_id, "--to", "spare", "--as", "rival"), 1)
    assert live("model", "recover", "start", model_id, "--to", "spare").code == 0
    assert good(live("model", "guardian", model_id, "--json"))["recovery"]["to"] == address("spare")
    refused(live("model", "recover", "finish", model_id), 1)
    assert live("model", "recover", "veto", model_id, "--as", "licensor").code == 0
    assert live("model", "guardian", model_id, "--dismiss").code == 0
    refused(live("model", "recover", "start", model_id, "--to", "spare"), 1)


def test_a_parent_is_confirmed_from_the_childs_claim(live, node, model):
    rpc, network = node
    registry = ModelRegistry(rpc, network.deployment.addresses["ModelRegistry"])
    parent = ModelId.parse(model["model_id"])
    parts = [Digest(os.urandom(32)) for _ in range(5)]
    buyer = Sender(rpc, dev_wallet("buyer"), network.profile)
    claim = Claim(31337, registry.address, buyer.address, *parts[:4], (parent,), parts[4])
    registry.register(buyer, claim, None)
    (live.cwd / "child.json").write_text(json.dumps(claim.to_json()))
    refused(live("model", "confirm-parent", "child.json", parent, "--as", "rival"), 1)
    ran = good(live("model", "confirm-parent", "child.json", parent, "--json"))
    assert ran["model_id"] == str(claim.model_id())
    assert registry.parent_confirmed_by(claim.model_id(), parent) == dev_wallet("licensor").address
    own = Path(model["folder"]) / "claim.json"
    refused(live("model", "confirm-parent", own, UNKNOWN), 1)
    refused(live("model", "confirm-parent", "m.toml", UNKNOWN), 2)


def test_anyone_lodges_a_document_s_hash_under_their_name(live, model):
    model_id = model["model_id"]
    (live.cwd / "report.txt").write_text("seen at example.com")
    words = ("model", "lodge", model_id, "dispute", "report.txt", "--as", "rival", "--json")
    assert good(live(*words))["record"] == (
        "0x" + hashlib.sha256(b"seen at example.com").hexdigest()
    )
    refused(live("model", "lodge", model_id, "sealing", "report.txt"), 2)
    refused(live("model", "lodge", model_id, "dispute", "nothing.txt"), 2, "nothing.txt")
    refused(live("model", "lodge", model_id, "dispute", "."), 2, "folder")
    refused(live("model", "lodge", model_id, "dispute", "/dev/zero"), 2, "not a file")
    refused(live("model", "lodge", UNKNOWN, "dispute", "report.txt"), 2, "no model")


def test_an_earlier_commitment_is_proven_by_itself_or_under_a_root(live, node):
    rpc, network = node
    at = network.deployment.addresses
    anchors, registry = Anchors(rpc, at["Anchors"]), ModelRegistry(rpc, at["ModelRegistry"])
    sender = Sender(rpc, dev_wallet("licensor"), network.profile)
    claims = [
        Claim(
            31337, registry.address, sender.address,
            *(Digest(os.urandom(32)) for _ in range(4)), (), Digest(os.urandom(32)),
        )
        for _ in range(2)
    ]  # fmt: skip
    leaves = [claim.commitment_leaf() for claim in claims]
    proof = InclusionProof.of(leaves, 1)
    anchors.anchor(sender, leaves[0])
    anchors.anchor(sender, proof.root)
    sleep(node, 2)
    for claim in claims:
        registry.register(sender, claim, None)
    one, two = (claim.model_id() for claim in claims)
    refused(live("model", "prove-earlier", two), 1, "anchored")
    good(live("model", "prove-earlier", one, "--as", "stranger", "--json"))
    assert registry.model_of(one).committed
    refused(live("model", "prove-earlier", one), 1)
    refused(live("model", "prove-earlier", two, "--index", 1), 2, "--root")
    words = ("model", "prove-earlier", two, "--root", proof.root, "--index", 1, "--size", 2)
    refused(live(*words), 1, "too short")
    refused(live(*words, "--path", UNKNOWN), 1, "another root")
    refused(live(*words, "--path", "nonsense"), 2)
    good(live(*words, "--path", proof.path[0], "--json"))
    assert registry.model_of(two).committed
    refused(live("model", "prove-earlier", UNKNOWN), 2, "no model")


# -- many ----------------------------------------------------------------------------------------


def test_many_licenses_are_issued_from_a_csv(live, new_plan):
    plan = new_plan()
    lines = ["to", *(str(Address(bytes([1 + i % 250]) * 20)) for i in range(130))]
    (live.cwd / "many.csv").write_text("\n".join(lines) + "\n")
    ran = good(live("license", "issue-batch", plan, "many.csv", "--json"))
    assert len(ran["transactions"]) == 2
    assert [entry["license"] for entry in ran["licenses"]] == [f"{plan}.{i}" for i in range(1, 131)]
    assert holder_of(live, f"{plan}.130") == lines[130]
    rest = good(live("license", "issue-batch", plan, "many.csv", "--skip", 128, "--json"))
    assert len(rest["licenses"]) == 2
    refused(live("license", "issue-batch", plan, "many.csv", "--skip", 130), 2)
    refused(live("license", "issue-batch", plan, "many.csv", "--as", "rival"), 1, "ISSUER")
    refused(live("license", "issue-batch", plan), 2, "no holders")


def test_a_failure_half_way_says_where_to_go_on(live, new_plan):
    plan = new_plan("--supply", 120)
    (live.cwd / "many.json").write_text(json.dumps(["holder"] * 130))
    ran = live("license", "issue-batch", plan, "many.json")
    assert ran.code == 1
    assert "--skip 100" in ran.err


def test_lists_that_are_no_lists_are_refused_by_row(live, new_plan):
    plan = new_plan()
    for text, part in (
        ("to\nholder\nnobody\n", "row 2"),
        ("name\nholder\n", "column"),
        ("to,not_after\nholder\n", "cells"),
        ("to\n", "no holder"),
        ('[{"to": "holder", "not_after": "soon"}]', "row 1"),
        ('[{"to": "holder"', "JSON"),
        ("to,external_ref\nholder,order 1\n", "--merkle"),
        (f"to\nholder\n0x{'00' * 20}\n", "row 2 names the zero address"),
        ("to,not_after\nholder,\nholder,2020-01-01\n", "row 2"),
        ("to,not_before,not_after\nholder,+5d,+4d\n", "row 1"),
    ):
        (live.cwd / "odd.csv").write_text(text)
        refused(live("license", "issue-batch", plan, "odd.csv"), 2, part)
        if "--merkle" not in part:
            refused(live("license", "issue-batch", plan, "odd.csv", "--merkle", "odd"), 2, part)
            assert not (live.cwd / "odd").exists()
    (live.cwd / "odd.csv").write_bytes(b"to\n\xff\xfe\n")
    refused(live("license", "issue-batch", plan, "odd.csv"), 2, "UTF-8")


def test_a_batch_under_one_root_is_claimed_by_its_holders(live, node, new_plan):
    plan = new_plan()
    (live.cwd / "staff.csv").write_text(
        f"to,not_after,external_ref\nholder,,order 1\nrival,+10d,order 2\n{address('spare')},,\n"
    )
    ran = good(live("license", "issue-batch", plan, "staff.csv", "--merkle", "staff", "--json"))
    folder = live.cwd / "staff"
    assert (ran["count"], ran["first_license"]) == (3, f"{plan}.1")
    assert (folder / "batch.json").stat().st_mode & 0o077 == 0
    claims = sorted((folder / "claims").iterdir())
    assert len(claims) == 3
    assert live("license", "claim", claims[1], "--check").code == 0
    # Whoever sends it, the leaf's holder gets it.
    claimed = good(live("license", "claim", claims[0], "--as", "stranger", "--json"))
    assert claimed["license"] == f"{plan}.1"
    assert holder_of(live, claimed["license"]) == address("holder")
    refused(live("license", "claim", claims[0]), 1)
    document = json.loads(claims[1].read_text())
    document["leaf"]["to"] = address("stranger")
    (live.cwd / "forged.json").write_text(json.dumps(document))
    refused(live("license", "claim", "forged.json"), 1, "inclusion path")
    refused(live("license", "claim", "m.toml"), 2)
    # Anchoring again finds it done, and a new list does not overwrite the leaves.
    assert "anchored_at" in good(
        live("license", "issue-batch", plan, "--merkle", "staff", "--json")
    )
    refused(live("license", "issue-batch", plan, "staff.csv", "--merkle", "staff"), 2, "exists")
    refused(live("license", "issue-batch", plan + 1, "--merkle", "staff"), 2, f"plan {plan}")
    skipped = ("license", "issue-batch", plan, "staff.csv", "--merkle", "more", "--skip", 3)
    refused(live(*skipped), 2, "--skip")
    assert not (live.cwd / "more").exists()
    root = ran["root"]
    file = folder / "batch.json"
    good(live("license", "revoke-in-batch", file, 1, "--json"))
    checked = live("license", "claim", claims[1], "--check")
    assert (checked.code, "no:" in checked.out) == (1, True)
    refused(live("license", "claim", claims[1]), 1)
    refused(live("license", "revoke-in-batch", file, 1), 1)
    refused(live("license", "revoke-in-batch", file, 3), 2, "from 0 to 2")
    refused(live("license", "close-batch", "--plan", plan, "--root", UNKNOWN), 2, "no batch")
    refused(live("license", "close-batch", file, "--plan", plan), 2, "which batch")
    refused(live("license", "close-batch", file, "--as", "rival"), 1, "REVOKER")
    sleep(node, 2)
    good(live("license", "close-batch", file, "--json"))
    refused(live("license", "close-batch", "--plan", plan, "--root", root), 1)
    sleep(node, 2)
    assert live("license", "claim", claims[2], "--check").code == 1
    refused(live("license", "claim", claims[2]), 1, "closed")


def test_revoking_in_a_batch_goes_on_where_an_earlier_run_stopped(live, new_plan):
    plan = new_plan()
    (live.cwd / "big.json").write_text(json.dumps(["holder"] * 300))
    good(live("license", "issue-batch", plan, "big.json", "--merkle", "big", "--json"))
    words = ("license", "revoke-in-batch", "big/batch.json")
    good(live(*words, 3, "--json"))
    rest = good(live(*words, 3, 299, "--json"))
    assert len(rest["transactions"]) == 1
    assert len(good(live(*words, 4, 298, "--json"))["transactions"]) == 2
    refused(live(*words, 3, 299), 1, "revoked already")


def test_an_anchoring_that_failed_is_taken_up_from_its_folder(live, new_plan):
    plan = new_plan()
    (live.cwd / "two.json").write_text('["holder", "rival"]')
    live("plan", "pause", plan)
    refused(live("license", "issue-batch", plan, "two.json", "--merkle", "two"), 1, "paused")
    before = (live.cwd / "two" / "batch.json").read_bytes()
    live("plan", "resume", plan)
    ran = good(live("license", "issue-batch", plan, "--merkle", "two", "--json"))
    assert ran["first_license"] == f"{plan}.1"
    assert (live.cwd / "two" / "batch.json").read_bytes() == before


def test_an_order_becomes_one_license_whoever_is_named_the_second_time(live, new_plan):
    plan = new_plan()
    words = ("license", "issue", plan, "--external-ref", "order 4711", "--json", "--to")
    first = good(live(*words, "holder"))
    again = good(live(*words, "rival"))
    assert (again["license"], again["before"]) == (first["license"], True)
    assert holder_of(live, first["license"]) == again["holder"] == address("holder")
    assert good(live("license", "issue", plan, "--to", "rival", "--json"))["license"] == f"{plan}.2"
    other = ("license", "issue", plan, "--external-ref", "order 4712", "--to", "rival", "--json")
    assert good(live(*other))["license"] == f"{plan}.3"
    elsewhere = ("license", "issue", new_plan(), "--external-ref", "order 4711", "--to", "rival")
    assert "before" not in good(live(*elsewhere, "--json"))


# -- vouchers and sales --------------------------------------------------------------------------


def test_a_free_voucher_is_redeemed_by_its_holder_once(live, new_plan):
    plan = new_plan()
    words = ("license", "voucher", plan, "--to", "holder", "--out")
    made = good(live(*words, "free.json", "--external-ref", "order 7", "--json"))
    assert made["voucher"]["price"] == "0"
    refused(live(*words, "free.json"), 2, "exists")
    refused(live(*words, "no.json", "--as", "rival"), 1)
    refused(live(*words, "no.json", "--deadline", "2020-01-01"), 2, "deadline")
    refused(live(*words, "no.json", "--not-after", "2020-01-01"), 2, "before it begins")
    turned = ("--not-before", "+9d", "--not-after", "+8d")
    refused(live(*words, "no.json", *turned), 2, "before it begins")
    assert not (live.cwd / "no.json").exists()
    redeemed = good(live("license", "redeem", "free.json", "--json"))
    assert holder_of(live, redeemed["license"]) == address("holder")
    refused(live("license", "redeem", "free.json"), 1, "used or cancelled", "ask for another")
    document = json.loads((live.cwd / "free.json").read_text())
    document["voucher"]["to"] = address("rival")
    (live.cwd / "changed.json").write_text(json.dumps(document))
    refused(live("license", "redeem", "changed.json"), 1, "signed by")
    document["chain"]["id"] = 1
    (live.cwd / "elsewhere.json").write_text(json.dumps(document))
    refused(live("license", "redeem", "elsewhere.json"), 2, "chain 1")
    refused(live("license", "redeem", "m.toml"), 2)


def test_a_cancelled_voucher_is_void(live, new_plan):
    plan = new_plan()
    live("license", "voucher", plan, "--to", "holder", "--out", "void.json")
    refused(live("license", "cancel-voucher", "void.json", "--as", "rival"), 2)
    assert live("license", "cancel-voucher", "void.json").code == 0
    refused(live("license", "redeem", "void.json"), 1)
    refused(live("license", "cancel-voucher", "void.json"), 2, "spent")


@pytest.fixture
def for_sale(live, new_plan):
    def make(*words):
        plan = new_plan(*words)
        good(live("plan", "roles", plan, "market", "--grant", "issuer", "--json"))
        return plan

    return make


def test_a_license_is_bought_renewed_and_its_price_withdrawn(live, new_plan, for_sale):
    refused(live("license", "buy", new_plan("--price", "0.5")), 1, "--grant issuer")
    plan = for_sale("--price", "0.5")
    bought = good(live("license", "buy", plan, "--json"))
    assert bought["price"] == str(5 * 10**17)
    assert holder_of(live, bought["license"]) == address("holder")
    other = good(live("license", "buy", plan, "--to", "rival", "--as", "buyer", "--json"))
    assert holder_of(live, other["license"]) == address("rival")
    ends = live("license", "show", bought["license"], "--json").json["state"]["not_after"]
    words = ("license", "renew", bought["license"], "--buy")
    assert live(*words, "--as", "stranger").code == 0
    later = live("license", "show", bought["license"], "--json").json["state"]["not_after"]
    assert later == ends + 365 * 86400
    refused(live(*words, "--until", "+9y"), 2)
    refused(live("license", "renew", bought["license"], "--as", "rival"), 1)
    taken = good(live("license", "withdraw", "--json"))
    assert int(taken["amount"]) >= 15 * 10**17
    refused(live("license", "withdraw"), 1, "nothing is owed")


def test_a_voucher_with_a_price_is_paid_for(live, for_sale):
    plan = for_sale("--price", "1")
    words = ("license", "voucher", plan, "--to", "holder", "--price", "0.25", "--out", "paid.json")
    good(live(*words, "--json"))
    ran = good(live("license", "redeem", "paid.json", "--json"))
    assert ran["price"] == str(25 * 10**16)
    assert holder_of(live, ran["license"]) == address("holder")


def test_an_unused_license_is_refunded_and_a_used_one_settled(live, for_sale):
    plan = for_sale("--price", "1", "--refund", "7d", "--bound")
    one = good(live("license", "buy", plan, "--json"))["license"]
    refused(live("license", "settle", one), 1, "can be refunded")
    refused(live("license", "refund", one, "--as", "rival"), 1, "not held by")
    ran = live("license", "refund", one, "--json")
    assert good(ran)["refunded"] == "1"
    assert "next: deed license withdraw --wallet holder" in ran.err
    assert live("license", "show", one).code == 1
    assert good(live("license", "withdraw", "--as", "holder", "--json"))["amount"] == str(10**18)
    refused(live("license", "refund", one), 1, "no open sale")
    two = good(live("license", "buy", plan, "--json"))["license"]
    assert live("license", "bind", two, KEY).code == 0
    refused(live("license", "refund", two), 1, "has had a runtime")
    assert live("license", "settle", two).code == 0


def test_a_token_pays_and_a_poor_account_is_told(live, node, for_sale, token_world):
    rpc, network = node
    sender = Sender(rpc, dev_wallet("deployer"), network.profile)
    token = token_world.deploy_token(sender)
    plan = for_sale("--price", "500", "--token", token)
    refused(live("license", "buy", plan), 1, "has 0 of token")
    token_world.mint(sender, token, dev_wallet("holder").address, 600)
    bought = good(live("license", "buy", plan, "--json"))
    assert (bought["price"], bought["pay_token"]) == ("500", str(token))
    refused(live("license", "buy", plan), 1, "has 100 of token")
    assert good(live("license", "withdraw", "--token", token, "--json"))["amount"] == "500"


def test_a_signature_pays_where_the_token_takes_one(live, node, new_plan, for_sale, token_world):
    rpc, network = node
    sender = Sender(rpc, dev_wallet("deployer"), network.profile)
    token = token_world.deploy_token(sender, permits=True)
    token_world.mint(sender, token, dev_wallet("holder").address, 1500)
    plan = for_sale("--price", "500", "--token", token)
    bought = good(live("license", "buy", plan, "--permit", "--json"))["license"]
    words = ("license", "renew", bought, "--as", "holder", "--permit")
    assert live(*words, "--buy").code == 0
    refused(live(*words), 2, "--buy")
    voucher = ("license", "voucher", plan, "--to", "holder", "--price", "500", "--out", "tok.json")
    assert live(*voucher).code == 0
    assert live("license", "redeem", "tok.json", "--permit").code == 0
    assert Erc20(rpc, token).balance_of(dev_wallet("holder").address) == 0
    plain = token_world.deploy_token(sender)
    token_world.mint(sender, plain, dev_wallet("holder").address, 500)
    plan = for_sale("--price", "500", "--token", plain)
    refused(live("license", "buy", plan, "--permit"), 1, "takes no permits", "leave --permit away")
    refused(live("license", "buy", for_sale("--price", "1"), "--permit"), 2, "not in a token")
    live("license", "voucher", plan, "--to", "holder", "--out", "gift.json")
    refused(live("license", "redeem", "gift.json", "--permit"), 2, "free")
    assert live("license", "redeem", "gift.json").code == 0


# -- holders -------------------------------------------------------------------------------------


def test_a_license_is_passed_on_where_its_plan_lets_it(live, issue):
    license_id = issue("--transferable")
    refused(live("license", "transfer", license_id, "--to", "rival", "--as", "buyer"), 1)
    assert live("license", "transfer", license_id, "--to", "rival").code == 0
    assert holder_of(live, license_id) == address("rival")
    held = {}
    for name in ("holder", "rival"):
        ran = good(live("license", "list", "--holder", name, "--json"))
        held[name] = [entry["license"] for entry in ran["licenses"]]
    assert (license_id in held["rival"], license_id in held["holder"]) == (True, False)
    refused(live("license", "transfer", issue(), "--to", "rival"), 1, "forbids transfers")
    refused(live("license", "transfer", "900.1", "--to", "rival"), 1, "no license 900.1")


def test_a_surrendered_license_grants_no_more(live, issue):
    license_id = issue()
    refused(live("license", "surrender", license_id, "--as", "rival"), 1)
    assert live("license", "surrender", license_id).code == 0
    assert live("license", "show", license_id).code == 1


def test_seats_are_sublicensed_and_reclaimed(live, node, issue):
    parent = issue("--transferable", "--bound", "--seats", "3")
    words = ("license", "sublicense", parent, "--to", "rival", "--seats")
    child = good(live(*words, 2, "--json"))
    assert (child["parent"], child["seats"]) == (parent, 2)
    shown = good(live("license", "show", child["license"], "--json"))
    assert shown["parent"] == {"parent": parent, "seats": 2, "depth": 1}
    refused(live(*words, 2), 1, "seats")
    refused(live("license", "reclaim", child["license"]), 1)
    live("license", "revoke", child["license"], "--as", "holder")
    sleep(node, 2 * 86400)
    assert good(live("license", "reclaim", child["license"], "--json"))["seats_taken_back"] == 2
    refused(live("license", "reclaim", parent), 1)


def test_a_sublicense_can_be_given_up_by_who_holds_it(live, issue):
    parent = issue("--transferable", "--bound", "--seats", "2")
    words = ("license", "sublicense", parent, "--to", "rival", "--json")
    child = good(live(*words))["license"]
    refused(live("license", "surrender", parent), 1)
    refused(live("license", "surrender", child, "--as", "holder"), 1)
    assert live("license", "surrender", child, "--as", "rival").code == 0
    # A lease given before may still run on.
    refused(live("license", "reclaim", child), 1)


def test_a_lost_license_is_reissued_unless_the_holder_objects(live, node, issue):
    license_id = issue("--duration", "1y")
    refused(live("license", "reissue", "start", license_id), 2, "--to")
    refused(live("license", "reissue", "finish", license_id, "--to", "spare"), 2)
    refused(live("license", "reissue", "finish", license_id), 1)
    refused(live("license", "reissue", "again", license_id), 2)
    good(live("license", "reissue", "start", license_id, "--to", "spare", "--json"))
    assert "reissue veto" in live("license", "show", license_id).out
    assert live("license", "reissue", "veto", license_id, "--as", "holder").code == 0
    ran = live("license", "reissue", "start", license_id, "--to", "spare")
    assert f"deed license reissue finish {license_id}" in ran.err
    refused(live("license", "reissue", "finish", license_id), 1, "is ready on")
    sleep(node, 8 * 86400)
    assert good(live("license", "reissue", "finish", license_id, "--json"))["holder"] == (
        address("spare")
    )


# -- seats and usage -----------------------------------------------------------------------------


def test_a_seat_is_bound_by_the_holder_and_evicted_by_the_licensor(live, issue):
    license_id = issue("--bound")
    assert live("runtime", "init").code == 0
    refused(live("license", "bind", license_id, KEY, "--as", "rival"), 1)
    refused(live("license", "bind", license_id, "nothing"), 2)
    refused(live("license", "bind", license_id, KEY, "--measurement", "0x12"), 2, "20 bytes")
    bound = good(live("license", "bind", license_id, "runtime.request.json", "--json"))["bound"]
    refused(live("license", "bind", license_id, KEY), 1, "seats")
    refused(live("license", "release", license_id, bound), 1)
    assert live("license", "evict", license_id, bound).code == 0
    refused(live("license", "evict", license_id, bound), 1)
    measured = (
        "license",
        "bind",
        license_id,
        KEY,
        "--until",
        "+1d",
        "--measurement",
        "0x" + "05" * 20,
    )
    assert live(*measured).code == 1  # the chain's clock is ahead of ours by what tests slept
    assert live(*measured[:4]).code == 0


def test_a_holder_without_coins_signs_a_seat_that_someone_else_sends(live, issue):
    license_id = issue("--bound")
    words = ("license", "bind", license_id, KEY, "--sign")
    # The chain's clock is ahead of ours by what tests slept.
    ran = live(*words, "seat.json", "--deadline", "+60d", "--json")
    assert good(ran)["runtime_key"] == KEY
    assert "next: whoever pays for it runs deed license bind-signed seat.json" in ran.err
    assert (live.cwd / "seat.json").stat().st_mode & 0o077 == 0
    refused(live(*words, "seat.json"), 2, "exists")
    refused(live(*words, "late.json", "--deadline", "2020-01-01"), 2, "deadline")
    refused(live(*words, "rival.json", "--as", "rival"), 1, "not held by")
    assert not (live.cwd / "rival.json").exists()
    document = json.loads((live.cwd / "seat.json").read_text())
    document["binding"]["until"] = 1
    (live.cwd / "changed.json").write_text(json.dumps(document))
    refused(live("license", "bind-signed", "changed.json"), 1, "signed by")
    document["chain"]["id"] = 1
    (live.cwd / "elsewhere.json").write_text(json.dumps(document))
    refused(live("license", "bind-signed", "elsewhere.json"), 2, "chain 1")
    refused(live("license", "bind-signed", "m.toml"), 2)
    refused(live("license", "bind-signed", "nothing.json"), 2)
    sent = good(live("license", "bind-signed", "seat.json", "--as", "stranger", "--json"))
    assert (sent["license"], sent["bound"]) == (license_id, KEY)
    refused(live("license", "bind-signed", "seat.json"), 1)


def test_cancelled_grants_void_a_signed_seat(live, issue):
    license_id = issue("--bound")
    assert (
        live("license", "bind", license_id, KEY, "--sign", "old.json", "--deadline", "+60d").code
        == 0
    )
    assert live("license", "cancel-grants", license_id).code == 0
    refused(live("license", "bind-signed", "old.json"), 1, "signature")


def test_cancelled_grants_raise_the_nonce(live, issue):
    license_id = issue()
    refused(live("license", "cancel-grants", license_id, "--as", "rival"), 1)
    assert good(live("license", "cancel-grants", license_id, "--json"))["grant_nonce"] == 1


def test_usage_is_anchored_and_ends_the_license_at_its_quota(live, issue):
    license_id = issue("--quota", "100")
    words = ("license", "usage", license_id)
    assert good(live(*words, "--json"))["usage"]["cumulative"] == 0
    assert live(*words, "--anchor", 40, "--receipts", UNKNOWN).code == 0
    assert good(live(*words, "--json"))["usage"]["receipts_root"] == UNKNOWN
    refused(live(*words, "--anchor", 40), 1, "not more")
    refused(live(*words, "--anchor", 41, "--as", "rival"), 1, "METER")
    refused(live(*words, "--receipts", UNKNOWN), 2)
    assert live(*words, "--anchor", 100).code == 0
    assert live("license", "show", license_id, "--json").json["code"] == 11
    refused(live("license", "usage", issue(), "--anchor", 5), 1)


# -- the chain -----------------------------------------------------------------------------------


def test_the_status_checks_every_contract(live):
    ran = good(live("chain", "status", "--json"))
    assert len(ran["contracts"]) == 8
    assert all(entry["ok"] and entry["this_release"] for entry in ran["contracts"])
    shown = good(live("network", "show", "--json"))
    manifest = shown["deployment"]
    manifest["code_hashes"]["LicenseMarket"] = UNKNOWN
    (live.cwd / "odd.json").write_text(json.dumps(manifest))
    live("network", "add", "odd", "--rpc", shown["rpc"][0], "--deployment", "odd.json")
    ran = live("chain", "status", "--network", "odd")
    assert ran.code == 1
    assert "other code" in ran.out


def test_an_older_manifest_without_a_market_says_so(live, new_plan):
    shown = good(live("network", "show", "--json"))
    manifest = shown["deployment"]
    for part in ("addresses", "code_hashes"):
        del manifest[part]["LicenseMarket"]
    (live.cwd / "old.json").write_text(json.dumps(manifest))
    live("network", "add", "old", "--rpc", shown["rpc"][0], "--deployment", "old.json")
    ran = live("license", "buy", new_plan(), "--network", "old", "--as", "holder")
    refused(ran, 2, "has no market")
