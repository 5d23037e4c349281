"""Selling and buying: prepared, signed, mined and seen."""

from __future__ import annotations

import importlib
import secrets
from typing import Any

import pytest

from ledger.chain.erc20 import PERMIT_TYPE, Erc20
from ledger.chain.market import LicenseMarket
from ledger.chain.wallet import dev_wallet
from ledger.ids import Address

pytestmark = pytest.mark.chain

writing: Any = importlib.import_module("writing_world")
code, agreed, numbered = writing.code, writing.agreed, writing.numbered
HASH = "0x" + "ab" * 32
ETHER = 10**18


@pytest.fixture(scope="module")
def market(deployed):
    return LicenseMarket(deployed.rpc, deployed.deployment.addresses["LicenseMarket"])


@pytest.fixture(scope="module")
def token(deployed, token_world):
    """A token that takes permits, of which the buyer has some."""
    sender = deployed.sender("deployer")
    at = token_world.deploy_token(sender, permits=True)
    token_world.mint(sender, at, dev_wallet("buyer").address, 10**9)
    return Erc20(deployed.rpc, at)


# -- the whole way -------------------------------------------------------------------------------


def test_who_holds_nothing_yet_buys_a_license_and_the_licensor_takes_the_money(
    desk, service, plan, who, deployed
):
    number = plan(sale=False, price=ETHER // 2)
    asked = {
        "plan": number,
        "plan_digest": service.get(f"/v1/plans/{number}")["plan"]["plan_digest"],
    }
    assert service.get(f"/v1/plans/{number}")["on_sale"] is False
    assert desk.refused("buy", "stranger", **asked) == (409, "NOT_ON_SALE")
    offered = desk.prepare("sale-start", "licensor", plan=number)
    assert offered["what"] == f"let the market sell licenses of plan {number} to anyone for 0.5 ETH"
    desk.sent("licensor", offered)
    assert service.get(f"/v1/plans/{number}")["on_sale"] is True
    assert desk.refused("sale-start", "licensor", plan=number) == (422, "USAGE_ERROR")
    # An account without a role has a session, and nothing but that.
    assert desk.ask("GET", "/v1/auth/me", "stranger").json()["roles"] == []
    ready = desk.prepare("buy", "stranger", **asked)
    assert ready["what"] == (
        f"buy a license of plan {number} for {who['stranger']}, and pay 0.5 ETH"
    )
    assert (ready["pays"], int(ready["transaction"]["value"], 16)) == ("0.5 ETH", ETHER // 2)
    desk.sent("stranger", ready)
    license_ = numbered(ready["simulation"]["returns"]["licenseId"])
    assert service.get(f"/v1/licenses/{license_}")["license"]["holder"] == who["stranger"]
    sale = service.get(f"/v1/licenses/{license_}/sale")
    assert (sale["payer"], sale["amount"], sale["state"]) == (
        who["stranger"], str(ETHER // 2), "settled",
    )  # fmt: skip
    to = Address(secrets.token_bytes(20))
    taken = desk.prepare("withdraw", "licensor", to=str(to))
    assert taken["what"].startswith(f"withdraw 0.5 ETH, which {who['licensor']} is owed")
    desk.sent("licensor", taken)
    assert int(deployed.rpc.call("eth_getBalance", [str(to), "latest"]), 16) == ETHER // 2
    assert desk.refused("withdraw", "licensor") == (409, "MARKET_NOTHING_OWED")
    desk.do("renew-paid", "stranger", license=license_)
    owed = service.get(f"/v1/licensors/{who['licensor']}/statistics")["owed"][0]
    assert (owed["accrued"], owed["withdrawn"]) == (str(ETHER), str(ETHER // 2))
    desk.do("sale-stop", "licensor", plan=number)
    assert desk.refused("sale-stop", "licensor", plan=number) == (409, "NOT_ON_SALE")
    assert desk.refused("buy", "holder", plan=number) == (409, "NOT_ON_SALE")
    assert desk.refused("renew-paid", "holder", license=license_) == (409, "NOT_ON_SALE")


def test_what_cannot_be_bought_is_said_in_a_buyers_words(desk, plan, who):
    number = plan(price=7, supply=1)
    asked = {"plan": number, "to": who["holder"]}
    assert desk.refused("buy", "buyer", **asked, plan_digest=HASH) == (409, "MARKET_PLAN_CHANGED")
    poor = str(Address(secrets.token_bytes(20)))
    assert desk.refused("buy", "buyer", **asked, **{"from": poor}) == (409, "INSUFFICIENT_FUNDS")
    assert desk.refused("buy-by-permit", "buyer", **asked) == (422, "USAGE_ERROR")
    assert desk.refused("buy", "buyer", plan=4_000_000_000) == (409, "PLAN_UNKNOWN")
    desk.do("plan-pause", "licensor", plan=number)
    assert desk.refused("buy", "buyer", **asked) == (409, "PLAN_IS_PAUSED")
    assert desk.service.get(f"/v1/plans/{number}")["on_sale"] is False
    desk.do("plan-resume", "licensor", plan=number)
    sold = desk.do("buy", "buyer", **asked)["LicenseSold"]
    assert sold["payer"] == who["buyer"]
    assert desk.refused("buy", "buyer", **asked) == (409, "PLAN_SUPPLY_EXCEEDED")
    assert desk.service.get(f"/v1/plans/{number}")["on_sale"] is False
    for others in ("sale-stop", "plan-pause"):
        assert desk.refused(others, "rival", plan=number) == (409, "PLAN_NOT_AUTHORIZED")


def test_the_last_license_is_sold_to_one_and_the_other_keeps_the_price(desk, plan, deployed, who):
    number = plan(price=ETHER, supply=1)
    first, second = (desk.prepare("buy", name, plan=number) for name in ("buyer", "rival"))
    before = int(deployed.rpc.call("eth_getBalance", [who["rival"], "latest"]), 16)
    desk.sent("buyer", first)
    url = desk.relay(writing.sign(desk.wallets["rival"], second), "rival").json()["status_url"]
    told = desk.mined(url, "rival")
    assert (told["state"], told["error"]["error_name"]) == ("failed", "PlanSupplyExceeded")
    after = int(deployed.rpc.call("eth_getBalance", [who["rival"], "latest"]), 16)
    assert 0 < before - after <= int(second["most_fee"])


@pytest.mark.parametrize("change", [
    {"plan": -1}, {"plan": 7.0}, {"plan": "7"}, {"plan": "٧"}, {"plan": 1 << 400}, {"plan": True},
    {"to": "0x" + "٣" * 40}, {"to": ""}, {"plan_digest": "0x12"}, {"price": 1}, {"from": "me"},
])  # fmt: skip
def test_a_purchase_that_cannot_be_meant_is_refused_by_its_shape(desk, change):
    assert desk.refused("buy", "buyer", **{"plan": 1} | change) == (422, "INVALID_REQUEST")


@pytest.mark.parametrize("amount", ["-1", "1.5", "1e9", "٣", "1٣", " 1", "01", "1" * 30, 5, None])
def test_an_amount_is_plain_decimal_text(desk, token, amount):
    asked = {"token": str(token.address), "amount": amount}
    assert desk.refused("allow-market", "buyer", **asked) == (422, "INVALID_REQUEST")


def test_what_would_be_lost_for_good_is_not_prepared(desk, plan, published, market, who):
    number = plan(price=7)
    for kind in ("buy", "issue"):
        lost = {"plan": number, "to": str(market.address)}
        assert desk.refused(kind, "licensor", **lost) == (422, "USAGE_ERROR")
    # A plan's token cannot be changed, and nobody could ever pay in this one.
    terms = {"model": str(published.model), "terms_hash": HASH, "price": "5"}
    wrong = {"pay_token": who["rival"]}
    assert desk.refused("plan-create", "licensor", **terms, **wrong) == (422, "USAGE_ERROR")
    ready = desk.prepare("plan-create", "licensor", **terms, broker_set=0)
    assert ready["what"].endswith(", at 0.000000000000000005 ETH a license")


# -- in a token ----------------------------------------------------------------------------------


def test_a_token_pays_once_the_market_may_take_the_price(desk, plan, token, who, market):
    number = plan(price=500, pay_token=token.address)
    reply = desk.asked("buy", "buyer", plan=number)
    assert code(reply) == (409, "ALLOWANCE_TOO_SMALL")
    assert f"allow-market with token {token.address} and amount 500" in reply.json()["hint"]
    assert desk.refused("buy", "rival", plan=number) == (409, "INSUFFICIENT_FUNDS")
    allowing = {"token": str(token.address), "amount": "500"}
    ready = desk.prepare("allow-market", "buyer", **allowing)
    assert ready["call"] == {
        "contract": "ERC-20", "function": "approve",
        "arguments": {"spender": str(market.address), "value": "500"},
    }  # fmt: skip
    desk.sent("buyer", ready)
    assert desk.refused("allow-market", "buyer", **allowing) == (422, "USAGE_ERROR")
    bought = desk.prepare("buy", "buyer", plan=number)
    assert bought["what"].endswith(f"and pay 500 units of token {token.address}")
    assert bought["pays"] == "nothing"
    desk.sent("buyer", bought)
    assert token.allowance(Address.parse(who["buyer"]), market.address) == 0
    license_ = numbered(bought["simulation"]["returns"]["licenseId"])
    assert desk.service.get(f"/v1/licenses/{license_}/sale")["pay_token"] == str(token.address)
    to = Address(secrets.token_bytes(20))
    desk.do("withdraw", "licensor", token=str(token.address), to=str(to))
    assert token.balance_of(to) == 500


def test_nobody_is_asked_to_allow_what_could_not_be_bought(desk, plan, token):
    number = plan(price=500, pay_token=token.address)
    desk.do("plan-pause", "licensor", plan=number)
    for kind in ("buy", "buy-by-permit"):
        assert desk.refused(kind, "buyer", plan=number) == (409, "PLAN_IS_PAUSED")
    desk.do("sale-stop", "licensor", plan=number)
    for kind in ("buy", "buy-by-permit"):
        assert desk.refused(kind, "buyer", plan=number) == (409, "NOT_ON_SALE")


def test_only_a_token_that_plans_name_and_only_the_market_is_let_through(
    desk, deployed, token_world, who, token
):
    other = token_world.deploy_token(deployed.sender("deployer"))
    ready = desk.prepare("allow-market", "buyer", token=str(other), amount="5")
    reply = desk.relay(writing.sign(desk.wallets["buyer"], ready), "buyer")
    assert (code(reply), reply.json()["step"]) == ((422, "TRANSACTION_REFUSED"), 3)
    # The same to a token that is known, with another spender: whose is what it lets him take.
    thief = ready["transaction"]["data"][:10] + who["rival"][2:].lower().rjust(64, "0") + "f" * 64
    raw = writing.sign(desk.wallets["buyer"], ready, to=str(token.address), data=thief)
    reply = desk.relay(raw, "buyer")
    assert (code(reply), reply.json()["step"]) == ((422, "TRANSACTION_REFUSED"), 3)
    nothing = str(Address(secrets.token_bytes(20)))
    assert desk.refused("allow-market", "buyer", token=nothing, amount="5") == (422, "USAGE_ERROR")


def test_a_signature_pays_in_place_of_an_allowance(desk, plan, token, deployed, market):
    number = plan(price=500, pay_token=token.address)
    first = desk.prepare("buy-by-permit", "buyer", plan=number)
    assert first["prepared"] is None
    assert first["sign"]["message"]["value"] == "500"
    assert first["what"].startswith(f"let the market take 500 units of token {token.address}")
    asked = {"plan": number} | first["again"]
    forged = agreed(desk.wallets["rival"], first["sign"])
    wrong = (422, "SIGNATURE_INVALID")
    assert desk.refused("buy-by-permit", "buyer", **asked, signature=forged) == wrong
    mine = agreed(desk.wallets["buyer"], first["sign"])
    assert desk.refused("buy-by-permit", "buyer", plan=number, signature=mine) == (
        422,
        "USAGE_ERROR",
    )
    past = deployed.rpc.block("latest").timestamp - 1
    late = {"plan": number, "deadline": past}
    assert desk.refused("buy-by-permit", "buyer", **late) == (422, "USAGE_ERROR")
    terms = token.permit_terms(dev_wallet("buyer").address, market.address, 500, deadline=past)
    old = dev_wallet("buyer").sign_typed(terms[0], PERMIT_TYPE, terms[1])
    reply = desk.asked("buy-by-permit", "buyer", **late, signature="0x" + old.hex())
    assert code(reply) == wrong
    assert "which is past" in reply.json()["detail"]
    made = desk.prepare("buy-by-permit", "buyer", **asked, signature=mine)
    assert made["sign"] is None
    desk.sent("buyer", made["prepared"])
    # It has bought once; its nonce is used.
    assert desk.refused("buy-by-permit", "buyer", **asked, signature=mine) == wrong
    license_ = numbered(made["prepared"]["simulation"]["returns"]["licenseId"])
    renewal = desk.prepare("renew-by-permit", "buyer", license=license_)
    mine = agreed(desk.wallets["buyer"], renewal["sign"])
    made = desk.prepare(
        "renew-by-permit", "buyer", license=license_, signature=mine, **renewal["again"]
    )
    desk.sent("buyer", made["prepared"])


def test_a_voucher_with_a_price_is_redeemed_for_it(desk, plan, token, who):
    number = plan(price=ETHER, sale=False)

    def offered(**more):
        asked = {"plan": number, "to": who["buyer"]} | more
        first = desk.prepare("voucher", "licensor", **asked)
        asked |= first["again"]
        forged = agreed(desk.wallets["rival"], first["sign"])
        assert desk.refused("voucher", "licensor", **asked, signature=forged) == (
            409, "VOUCHER_NOT_SIGNED",
        )  # fmt: skip
        signature = agreed(desk.wallets["licensor"], first["sign"])
        return desk.prepare("voucher", "licensor", **asked, signature=signature)["voucher"]

    assert desk.refused("voucher", "rival", plan=number, to=who["buyer"])[0] == 409
    ready = desk.prepare("redeem", "buyer", voucher=offered(price="9"))
    assert ready["pays"] == "0.000000000000000009 ETH"
    desk.sent("buyer", ready)
    paper = offered(price="9", pay_token=str(token.address))
    assert desk.refused("redeem", "buyer", voucher=paper) == (409, "ALLOWANCE_TOO_SMALL")
    first = desk.prepare("redeem-by-permit", "buyer", voucher=paper)
    mine = agreed(desk.wallets["buyer"], first["sign"])
    made = desk.prepare(
        "redeem-by-permit", "buyer", voucher=paper, signature=mine, **first["again"]
    )
    desk.sent("buyer", made["prepared"])
    assert desk.refused("redeem-by-permit", "buyer", voucher=paper) == (409, "NONCE_SPENT")
    void = offered(price="9")
    nonce = void["voucher"]["nonce"]
    desk.do("nonce-cancel", "licensor", nonce=nonce)
    assert desk.refused("nonce-cancel", "licensor", nonce=nonce) == (422, "USAGE_ERROR")
    assert desk.refused("redeem", "buyer", voucher=void) == (409, "NONCE_SPENT")


def test_a_purchase_is_given_back_once_the_market_may_end_it(desk, plan, market, who):
    number = plan(price=ETHER, refund_window=86_400)
    license_ = numbered(desk.do("buy", "spare", plan=number)["LicenseSold"]["licenseId"])
    reply = desk.asked("refund", "spare", license=license_)
    assert code(reply) == (409, "ALLOWANCE_TOO_SMALL")
    assert f"approve with license {license_} and to {market.address}" in reply.json()["hint"]
    assert desk.refused("settle", "rival", license=license_) == (409, "MARKET_SALE_OPEN")
    assert desk.refused("refund", "rival", license=license_) == (409, "MARKET_NOT_HOLDER")
    desk.do("approve", "spare", license=license_, to=str(market.address))
    desk.do("refund", "spare", license=license_)
    assert desk.service.get(f"/v1/licenses/{license_}/sale")["state"] == "refunded"
    taken = desk.prepare("withdraw", "spare")
    assert "withdraw 1 ETH" in taken["what"]
    kept = numbered(desk.do("buy", "spare", plan=number)["LicenseSold"]["licenseId"])
    desk.do("bind-runtime", "spare", license=kept, runtime=HASH)
    assert desk.refused("refund", "spare", license=kept) == (409, "MARKET_LICENSE_USED")
    desk.do("settle", "rival", license=kept)
    assert desk.service.get(f"/v1/licenses/{kept}/sale")["state"] == "settled"


def test_who_shares_a_sale_is_said_by_the_licensor(
    desk, plan, published, who, deployed, make, tmp_path
):
    base = make.publish(deployed, tmp_path)
    number = plan(price=1000)
    due = [{"model": str(base.model), "bps": 2000}]
    assert desk.refused("royalties-pin", "rival", plan=number, royalties=due)[1].startswith(
        "MARKET"
    )
    desk.do("royalties-pin", "licensor", plan=number, royalties=due)
    assert desk.refused("royalties-pin", "licensor", plan=number, royalties=due) == (
        409, "ROYALTIES_PINNED",
    )  # fmt: skip
    desk.do("payees-set", "licensor", plan=number, payees=[{"account": who["rival"], "bps": 5000}])
    desk.do("buy", "buyer", plan=number)
    told = desk.service.get(f"/v1/models/{base.model}/royalties")
    assert told["royalties"][0]["accrued"] == "200"
    ready = desk.prepare("withdraw", "rival")
    assert ready["what"].startswith("withdraw 0.0000000000000004 ETH")
    taken = desk.do("royalties-take", "licensor", model=str(base.model))
    assert taken["RoyaltiesCollected"]["amount"] in {200, "200"}
    assert desk.refused("royalties-take", "rival", model=str(base.model)) == (
        409, "MARKET_NOT_TITLE_HOLDER",
    )  # fmt: skip
