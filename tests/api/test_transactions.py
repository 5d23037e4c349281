"""Transactions at the real service over a real chain: prepared, signed elsewhere, passed on."""

from __future__ import annotations

import importlib
import secrets
from typing import Any

import httpx
import pytest
from eth_account import Account

from api.transactions import KINDS
from ledger.chain.wallet import dev_wallet
from ledger.ids import Digest, keccak256
from ledger.licensing import voucher as vouchers
from ledger.licensing.voucher import Voucher

pytestmark = pytest.mark.chain

world: Any = importlib.import_module("access_world")
LICENSOR, HOLDER = world.Wallet.named("licensor"), world.Wallet.named("holder")
RIVAL, STRANGER = world.Wallet.named("rival"), world.Wallet.named("stranger")
HASH = "0x" + "ab" * 32


@pytest.fixture(scope="module")
def service(deployed, published, tmp_path_factory, make):
    """A service whose operator lets it pass transactions on."""
    folder = tmp_path_factory.mktemp("service")
    running = make.service(folder, deployed.network, DEED_API_RELAY="true").start()
    running.caught_up(deployed.rpc)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def tokens(service):
    """A session's token, by name."""
    return {
        name: wallet.sign_in(service.client)["token"]
        for name, wallet in {"licensor": LICENSOR, "holder": HOLDER, "stranger": STRANGER}.items()
    }


@pytest.fixture
def ask(service, tokens):
    """A request in somebody's name."""

    def request(method, path, who="licensor", **options):
        headers = options.pop("headers", {}) | (world.bearer(tokens.get(who, who)) if who else {})
        with httpx.Client(base_url=service.url, timeout=20) as client:
            return client.request(method, path, headers=headers, **options)

    return request


@pytest.fixture
def prepare(ask):
    """A prepared transaction."""

    def made(kind, who="licensor", **asked):
        reply = ask("POST", f"/v1/transactions/{kind}", who, json=asked)
        assert reply.status_code == 200, reply.text
        return reply.json()

    return made


def code(reply):
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    told = reply.json()
    assert told["hint"]
    return reply.status_code, told["code"]


def sign(wallet, prepared, **changed):
    """As a program with eth-account does it: the transaction as it stands."""
    made = wallet.account.sign_transaction(prepared["transaction"] | changed)
    return "0x" + bytes(made.raw_transaction).hex()


def relay(ask, raw, who="licensor"):
    return ask("POST", "/v1/transactions", who, json={"raw": raw})


def mined(service, ask, url):
    """The status as soon as a block holds it and the index has seen that block."""
    found: dict[str, Any] = {}

    def settled():
        found.update(ask("GET", url).json())
        return found["state"] != "pending" and found["indexed"]

    service.until(settled)
    return found


# -- the whole way -------------------------------------------------------------------------------


def test_a_license_is_prepared_signed_by_eth_account_passed_on_and_seen(
    service, ask, prepare, published
):
    made = prepare("issue", plan=published.plan, to=RIVAL.address)
    assert made["account"] == LICENSOR.address
    assert made["what"] == f"issue a license of plan {published.plan} to {RIVAL.address}"
    assert made["call"] == {
        "contract": "LicenseLedger",
        "function": "issue",
        "arguments": {
            "planId": published.plan, "to": RIVAL.address, "notBefore": 0, "notAfter": 0,
        },
    }  # fmt: skip
    assert set(made["transaction"]) == {
        "type", "chainId", "nonce", "to", "value", "data", "gas", "maxFeePerGas",
        "maxPriorityFeePerGas",
    }  # fmt: skip
    promised = int(made["simulation"]["returns"]["licenseId"])
    reply = relay(ask, sign(LICENSOR, made))
    assert reply.status_code == 202, reply.text
    assert reply.headers["location"] == reply.json()["status_url"]
    told = mined(service, ask, reply.json()["status_url"])
    assert (told["state"], told["error"]) == ("mined", None)
    issued = next(each for each in told["events"] if each["event"] == "LicenseIssued")
    assert int(issued["arguments"]["licenseId"]) == promised
    license_ = f"{promised >> 32}.{promised & 0xFFFFFFFF}"
    assert service.get(f"/v1/licenses/{license_}")["license"]["holder"] == RIVAL.address
    listed = service.get("/v1/events", event="LicenseIssued", from_block=told["block"])["events"][0]
    assert {name: listed[name] for name in issued} == issued
    assert listed["tx_hash"] == reply.json()["hash"]


def test_the_same_bytes_again_are_no_failure_and_no_second_license(
    service, ask, prepare, published, deployed
):
    raw = sign(LICENSOR, prepare("issue", plan=published.plan, to=RIVAL.address))
    first = relay(ask, raw)
    mined(service, ask, first.json()["status_url"])
    before = deployed.licenses.plan_of(published.plan)[1].issued
    again = relay(ask, raw)
    assert (again.status_code, again.json()) == (202, first.json())
    assert deployed.licenses.plan_of(published.plan)[1].issued == before


def test_a_life_of_a_license_goes_through_the_service_alone(service, ask, prepare, published):
    def do(kind, wallet=LICENSOR, who="licensor", **asked):
        reply = relay(ask, sign(wallet, prepare(kind, who, **asked)), who)
        assert reply.status_code == 202, reply.text
        told = mined(service, ask, reply.json()["status_url"])
        assert told["state"] == "mined", told
        return told

    model = str(published.model)
    made = do("plan-create", model=model, terms_hash=HASH, transferable=True, broker_set=0)
    plan = next(e for e in made["events"] if e["event"] == "PlanCreated")["arguments"]["planId"]
    do("issue-batch", plan=plan, to=[HOLDER.address, RIVAL.address, HOLDER.address])
    one, two = f"{plan}.1", f"{plan}.3"
    do("renew", license=one)
    do("suspend", license=one, reason="an unpaid invoice")
    do("reinstate", license=one)
    do("transfer", HOLDER, "holder", license=two, to=RIVAL.address)
    do("revoke", license=one, reason="for good")
    do("plan-pause", plan=plan)
    refused = ask("POST", "/v1/transactions/issue", json={"plan": plan, "to": RIVAL.address})
    assert code(refused) == (409, "PLAN_IS_PAUSED")
    do("plan-resume", plan=plan)
    do("plan-roles", plan=plan, account=RIVAL.address, roles=["issuer"])
    do("anchor", root="0x" + secrets.token_hex(32))
    do("commit", commitment="0x" + secrets.token_hex(32))
    do("lodge", STRANGER, "holder", model=model, record="dispute", hash=HASH,
       **{"from": STRANGER.address}) if False else None  # fmt: skip
    do("lodge", HOLDER, "holder", model=model, record="dispute", hash=HASH)
    shown = service.get(f"/v1/licenses/{one}")["license"]
    assert shown["status"] == "revoked"
    assert service.get(f"/v1/licenses/{two}")["license"]["holder"] == RIVAL.address
