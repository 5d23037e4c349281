"""Who may act for the holder, by commands: contract wallets, fleets, P-256 keys."""

from __future__ import annotations

import json
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from ledger.chain.network import load_live
from ledger.chain.profile import profile_for
from ledger.chain.rpc import Rpc
from ledger.chain.transactions import Sender
from ledger.chain.wallet import dev_wallet
from ledger.eip712 import Domain, StructType
from ledger.ids import Address

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def wallets(live):
    """Contract wallets on the chain of the stack."""
    with Rpc(load_live(live.cwd).rpc_urls) as rpc:
        chain = SimpleNamespace(
            rpc=rpc,
            wallet=dev_wallet,
            sender=lambda name: Sender(rpc, dev_wallet(name), profile_for(31337)),
        )
        yield import_module("wallet_world").Wallets(chain)


@pytest.fixture(scope="module")
def plan(live):
    """A published model's plan with two floating seats."""
    values = np.random.default_rng(5).standard_normal((64, 64)).astype(np.float32)
    save_file({"layer": values}, live.cwd / "m.safetensors")
    assert live("terms", "new", "m.toml").code == 0
    ran = live("publish", "m.safetensors", "--terms", "m.toml", "--seats", 2, "--json")
    assert ran.code == 0, ran.err
    return ran.json["plan"]


@pytest.fixture(scope="module")
def licensed(live, plan):
    """Issues a license with a card; its id."""
    count = iter(range(100))

    def issue(to, card=None):
        card = card or f"{to}-{next(count)}.license.json"
        ran = live("license", "issue", plan, "--to", to, "--card", card, "--wait", "--json")
        assert ran.code == 0, ran.err
        return ran.json["license"], card

    return issue


@pytest.fixture
def host(live, tmp_path):
    """Commands on another machine: a configuration of its own, the same folder."""

    def on(name):
        def run(*words):
            kept = live.env
            live.env = {**kept, "DEED_CONFIG_DIR": str(tmp_path / name)}
            try:
                return live(*words)
            finally:
                live.env = kept

        return run

    return on


def good(ran):
    assert ran.code == 0, ran.err
    return ran


def fill_in(path, signer):
    """Sign what --typed-data wrote, as a wallet elsewhere does: by what it says."""
    document = json.loads(path.read_text())
    for part, data in document["typed_data"].items():
        name, domain = data["primaryType"], data["domain"]
        fields = data["types"][name]
        listed = ",".join(f"{field['type']} {field['name']}" for field in fields)
        kind = StructType.parse(f"{name}({listed})")
        values = {}
        for field in fields:
            value, word = data["message"][field["name"]], field["type"]
            if word.startswith("uint"):
                assert isinstance(value, str)
                value = int(value)
            elif word.startswith(("bytes", "address")):
                value = bytes.fromhex(value[2:])
            values[field["name"]] = value
        made = Domain(
            domain["name"],
            domain["version"],
            domain["chainId"],
            Address.parse(domain["verifyingContract"]),
        )
        document["signatures"][part] = "0x" + signer.sign_typed(made, kind, values).hex()
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("where", ["deployed", "undeployed"])
def test_a_contract_wallet_signs_elsewhere_and_its_runtime_loads(
    live, host, wallets, licensed, where
):
    if where == "deployed":
        wallet = wallets.deployed()
        signer = wallets.signer(wallet)
    else:
        wallet = wallets.undeployed(77)
        signer = wallets.signer(wallet, creation=wallets.creation(77))
    license_id, card = licensed(str(wallet))
    gpu = host(f"gpu-{where}")
    request, draft = f"{where}.request.json", live.cwd / f"{where}.to-sign.json"
    good(gpu("runtime", "init", "--out", request, "--alg", "p256"))
    words = ("runtime", "grant", request, "--license", license_id, "--out", f"{where}.grant.json")
    ran = good(live(*words, "--typed-data", draft.name))
    assert f"--signature-file {draft.name}" in ran.err
    # Nothing is taken before it is signed, nor signed by another.
    assert live(*words, "--signature-file", draft.name).code == 2
    fill_in(draft, wallets.signer(wallet, owner=dev_wallet("rival")))
    ran = live(*words, "--signature-file", draft.name)
    assert ran.code == 1
    assert "is not the holder's" in ran.err
    assert not (live.cwd / f"{where}.grant.json").exists()
    fill_in(draft, signer)
    ran = good(live(*words, "--signature-file", draft.name))
    assert "--contract-wallet" in ran.err
    # The host, which sees no chain, says what it did not check.
    ran = gpu("runtime", "accept", f"{where}.grant.json")
    assert ran.code == 2
    assert "--contract-wallet" in ran.err
    ran = good(gpu("runtime", "accept", f"{where}.grant.json", "--contract-wallet"))
    assert "contract wallet: checked by the broker, not here" in ran.out
    assert "verified" not in ran.out + ran.err
    assert "(contract wallet)" in good(gpu("runtime", "show")).out
    good(gpu("check", card))
    if where == "deployed":
        wallets.turn(wallet, "refuses")
        ran = gpu("check", card)
        assert ran.code == 1
        assert "does not take it for its own" in ran.out + ran.err


def test_an_account_may_sign_elsewhere_too_and_is_checked_everywhere(live, host, licensed):
    license_id, card = licensed("holder")
    gpu, draft = host("gpu-account"), live.cwd / "account.to-sign.json"
    good(gpu("runtime", "init", "--out", "account.request.json"))
    words = ("runtime", "grant", "account.request.json", "--license", license_id)
    good(live(*words, "--typed-data", draft.name))
    fill_in(draft, dev_wallet("holder"))
    # What was signed for one license is not taken for another.
    other, _ = licensed("holder")
    moved = ("runtime", "grant", "account.request.json", "--license", other)
    ran = live(*moved, "--signature-file", draft.name)
    assert (ran.code, "another request or license" in ran.err) == (2, True)
    good(live(*words, "--signature-file", draft.name))
    ran = good(gpu("runtime", "accept", "account.grant.json"))
    assert "by the holder's account, checked" in ran.out
    good(gpu("check", card))


def test_a_fleet_certifies_workers_up_to_the_seats(live, host, licensed):
    license_id, card = licensed("holder")
    control = host("control")
    good(control("runtime", "fleet", "init", "--alg", "p256"))
    good(control("runtime", "fleet", "init"))  # the key is made once
    ran = good(live("runtime", "grant", "fleet.request.json", "--license", license_id))
    assert "certifies any workers" in ran.err
    assert "fleet certify" in ran.err
    image = "sha256:" + "cd" * 32
    for number in range(2):
        worker, request = host(f"worker-{number}"), f"w{number}.request.json"
        good(worker("runtime", "init", "--out", request))
        words = ("runtime", "fleet", "certify", request, "--grant", "fleet.grant.json")
        good(control(*words, "--workload", image, "--hours", 2))
        ran = good(worker("runtime", "accept", f"w{number}.grant.json"))
        assert image in ran.out
        good(worker("check", card))
    words = ("runtime", "fleet", "certify", "w0.request.json", "--grant", "fleet.grant.json")
    for wrong in (
        ("--workload", "latest", "--out", "x.json"),
        ("--workload", image, "--hours", 25, "--out", "x.json"),
        ("--workload", image),  # its file exists
    ):
        assert control(*words, *wrong).code == 2
    # A worker's file is for that worker, and the fleet's own grant for none.
    assert host("worker-1")("runtime", "accept", "w0.grant.json").code == 2
    assert host("worker-1")("runtime", "accept", "fleet.grant.json").code == 2
    good(live("license", "cancel-grants", license_id))
    ran = host("worker-0")("check", card)
    assert ran.code == 1
    assert "cancelled" in ran.out + ran.err


def test_a_key_is_of_one_algorithm(deed):
    assert deed("runtime", "init", "--alg", "rsa").code == 2
    good(deed("runtime", "init", "--alg", "p256"))
    good(deed("runtime", "init"))
    assert deed("runtime", "init", "--alg", "ed25519").code == 2
    assert deed("runtime", "init", "--signer", "none").code == 2


def test_an_unknown_signer_is_named(deed):
    ran = deed("runtime", "init", "--signer", "no-such-token", "--signer-option", "slot=0")
    assert (ran.code, "no-such-token" in ran.err) == (2, True)
    assert deed("runtime", "init", "--signer", "x", "--signer-option", "slot").code == 2
