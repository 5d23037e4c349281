"""Buying, renewing and refunding licenses, in coins and in a token, on a real node."""

import os
from dataclasses import replace

import pytest

from ledger.chain import reverts
from ledger.chain.erc20 import Erc20
from ledger.chain.licenses import LicenseStatus, Role
from ledger.chain.market import LicenseMarket, Payee, Price, Royalty
from ledger.errors import ChainError, ContractReverted
from ledger.ids import ZERO_ADDRESS, Address, ModelId
from ledger.licensing import voucher
from ledger.licensing.voucher import Voucher

pytestmark = pytest.mark.chain

PRICE = 10**18 + 1


@pytest.fixture(scope="module")
def market(deployed):
    return LicenseMarket(deployed.rpc, deployed.deployment.addresses["LicenseMarket"])


@pytest.fixture(scope="module")
def token(deployed, token_world):
    """A token of which the buyer has some."""
    sender = deployed.sender("deployer")
    at = token_world.deploy_token(sender)
    token_world.mint(sender, at, deployed.wallet("buyer").address, 10**24)
    return Erc20(deployed.rpc, at)


@pytest.fixture
def offered(deployed, licensor, model, new_plan, market):
    """A plan that the market may sell; gives (number, digest, price)."""

    def make(**terms):
        plan = new_plan(licensor, model, **({"price": PRICE, "transferable": True} | terms))
        deployed.licenses.set_roles(licensor, plan, market.address, Role.ISSUER)
        offer, state = deployed.licenses.plan_of(plan)
        return plan, state.plan_digest, Price(offer.pay_token, offer.price)

    return make


@pytest.fixture
def buyer(deployed):
    return deployed.sender("buyer")


def coins(deployed, account):
    return int(deployed.rpc.call("eth_getBalance", [str(account), "latest"]), 16)


def test_a_license_is_bought_with_coins_and_the_licensor_withdraws_them(
    deployed, licensor, buyer, market, offered
):
    plan, digest, price = offered()
    before = market.owed(licensor.address, ZERO_ADDRESS)
    license_id, _ = market.buy(buyer, plan, digest, price, buyer.address)
    assert deployed.licenses.license_of(license_id).holder == buyer.address
    assert market.sale_of(license_id) is None
    assert market.owed(licensor.address, ZERO_ADDRESS) == before + PRICE
    to = Address(os.urandom(20))
    amount, _ = market.withdraw(licensor, ZERO_ADDRESS, to)
    assert (amount, coins(deployed, to)) == (before + PRICE, before + PRICE)
    with pytest.raises(reverts.MarketNothingOwed):
        market.withdraw(licensor, ZERO_ADDRESS, to)


def test_another_price_or_a_changed_plan_sells_nothing(licensor, buyer, market, offered, fresh):
    plan, digest, price = offered()
    for wrong in (replace(price, amount=PRICE - 1), replace(price, amount=PRICE + 1)):
        with pytest.raises(reverts.MarketWrongPayment):
            market.buy(buyer, plan, digest, wrong, buyer.address)
    with pytest.raises(reverts.MarketPlanChanged):
        market.buy(buyer, plan, fresh(), price, buyer.address)


def test_a_market_without_the_role_sells_nothing(
    deployed, licensor, model, buyer, market, new_plan
):
    plan = new_plan(licensor, model, price=PRICE)
    digest = deployed.licenses.plan_of(plan)[1].plan_digest
    with pytest.raises(reverts.PlanNotAuthorized, match="ISSUER"):
        market.buy(buyer, plan, digest, Price(ZERO_ADDRESS, PRICE), buyer.address)


def test_a_token_pays_after_an_exact_allowance(deployed, licensor, buyer, market, token, offered):
    plan, digest, price = offered(pay_token=token.address, price=500)
    with pytest.raises(ContractReverted):
        market.buy(buyer, plan, digest, price, buyer.address)
    token.approve(buyer, market.address, 500)
    assert token.allowance(buyer.address, market.address) == 500
    market.buy(buyer, plan, digest, price, buyer.address)
    assert token.allowance(buyer.address, market.address) == 0
    to = Address(os.urandom(20))
    market.withdraw(licensor, token.address, to)
    assert token.balance_of(to) == 500


def test_a_signature_pays_in_place_of_an_allowance(
    deployed, licensor, buyer, market, token_world, offered
):
    at = token_world.deploy_token(deployed.sender("deployer"), permits=True)
    token_world.mint(deployed.sender("deployer"), at, buyer.address, 1_000)
    token, wallet = Erc20(deployed.rpc, at), deployed.wallet("buyer")
    plan, digest, price = offered(pay_token=at, price=500)
    later = deployed.rpc.block("latest").timestamp + 600
    other = token.permit(deployed.wallet("rival"), market.address, 500, deadline=later)
    with pytest.raises(ContractReverted):
        market.buy(buyer, plan, digest, price, buyer.address, permit=other)
    signed = token.permit(wallet, market.address, 500, deadline=later)
    with pytest.raises(reverts.MarketPermitMalformed):
        market.buy(buyer, plan, digest, price, buyer.address, permit=signed[1:])
    license_id, _ = market.buy(buyer, plan, digest, price, buyer.address, permit=signed)
    signed = token.permit(wallet, market.address, 500, deadline=later)
    market.renew(buyer, license_id, digest, price, permit=signed)
    assert token.balance_of(buyer.address) == 0
    assert token.allowance(buyer.address, market.address) == 0


def test_a_token_without_permits_says_so_before_anything_is_signed(deployed, market, token):
    for at in (token.address, market.address, Address(b"\x99" * 20)):
        with pytest.raises(ChainError, match="takes no permits"):
            Erc20(deployed.rpc, at).permit(
                deployed.wallet("buyer"), market.address, 1, deadline=1 << 39
            )


def test_what_is_no_token_says_so(deployed, market):
    for at in (market.address, Address(b"\x99" * 20)):
        with pytest.raises((ChainError, ContractReverted)):
            Erc20(deployed.rpc, at).balance_of(market.address)


def test_a_renewal_is_paid_for_by_anyone(deployed, buyer, market, offered):
    plan, digest, price = offered()
    license_id, _ = market.buy(buyer, plan, digest, price, buyer.address)
    end = deployed.licenses.license_of(license_id).not_after
    market.renew(deployed.sender("stranger"), license_id, digest, price)
    assert deployed.licenses.license_of(license_id).not_after == end + 86_400


def test_an_unused_license_is_given_back_for_its_price(deployed, buyer, market, offered):
    plan, digest, price = offered(refund_window=3600, seats=1)
    license_id, _ = market.buy(buyer, plan, digest, price, buyer.address)
    sale = market.sale_of(license_id)
    assert (sale.amount, sale.pay_token) == (PRICE, ZERO_ADDRESS)
    with pytest.raises(reverts.MarketSaleOpen):
        market.settle(buyer, license_id)
    with pytest.raises(reverts.LicenseNotHolder):
        market.refund(buyer, license_id)
    deployed.licenses.approve(buyer, license_id, market.address)
    market.refund(buyer, license_id)
    assert deployed.licenses.license_of(license_id).status is LicenseStatus.REVOKED
    assert market.owed(buyer.address, ZERO_ADDRESS) == PRICE
    market.withdraw(buyer, ZERO_ADDRESS, buyer.address)
    with pytest.raises(reverts.MarketNoSale):
        market.refund(buyer, license_id)


def test_a_used_license_is_settled_and_not_refunded(
    deployed, licensor, buyer, market, offered, fresh
):
    plan, digest, price = offered(refund_window=3600, seats=1)
    license_id, _ = market.buy(buyer, plan, digest, price, buyer.address)
    deployed.licenses.bind_runtime(buyer, license_id, fresh())
    with pytest.raises(reverts.MarketLicenseUsed):
        market.refund(buyer, license_id)
    before = market.owed(licensor.address, ZERO_ADDRESS)
    market.settle(deployed.sender("stranger"), license_id)
    assert market.owed(licensor.address, ZERO_ADDRESS) == before + PRICE


def test_shares_go_to_parents_payees_and_the_licensor_without_a_rest(
    deployed, licensor, buyer, market, new_claim, offered
):
    plan, digest, price = offered()
    parent, _ = deployed.registry.register(licensor, new_claim(), None)
    other, _ = deployed.registry.register(licensor, new_claim(), None)
    due = [Royalty(max(parent, other), 1_000), Royalty(min(parent, other), 500)]
    market.pin_royalties(licensor, plan, due)
    assert market.royalties_of(plan) == tuple(reversed(due))
    with pytest.raises(reverts.RoyaltiesPinned):
        market.pin_royalties(licensor, plan, due)
    payee = Payee(Address(os.urandom(20)), 2_500)
    market.set_payees(licensor, plan, [payee])
    assert market.payees_of(plan) == (payee,)
    before = market.owed(licensor.address, ZERO_ADDRESS)
    market.buy(buyer, plan, digest, price, buyer.address)
    shares = [
        market.owed_to_model(due[0].model, ZERO_ADDRESS),
        market.owed_to_model(due[1].model, ZERO_ADDRESS),
        market.owed(payee.account, ZERO_ADDRESS),
        market.owed(licensor.address, ZERO_ADDRESS) - before,
    ]
    assert sum(shares) == PRICE
    assert shares[:2] == [PRICE // 10, PRICE // 20]
    to = Address(os.urandom(20))
    amount, _ = market.collect_royalties(licensor, due[0].model, ZERO_ADDRESS, to)
    assert amount == coins(deployed, to) == shares[0]
    with pytest.raises(reverts.MarketNotTitleHolder):
        market.collect_royalties(buyer, due[1].model, ZERO_ADDRESS, to)


def test_only_the_licensor_says_who_shares(deployed, buyer, market, offered):
    plan, _, _ = offered()
    with pytest.raises(reverts.MarketNotLicensor):
        market.set_payees(buyer, plan, [])
    with pytest.raises(reverts.RoyaltyModelUnknown):
        market.pin_royalties(deployed.sender("licensor"), plan, [Royalty(ModelId(b"\1" * 32), 1)])


def test_a_voucher_with_a_price_is_bought_at_its_own_price(
    deployed, licensor, buyer, market, offered
):
    plan, digest, _ = offered()
    offer = Voucher(
        signer=licensor.address,
        plan=plan,
        to=buyer.address,
        plan_digest=digest,
        nonce=int.from_bytes(os.urandom(32), "big"),
        deadline=deployed.rpc.block("latest").timestamp + 600,
        market=market.address,
        price=77,
    )
    at = deployed.licenses.address
    signed = voucher.sign(deployed.wallet("licensor"), offer, chain_id=31337, ledger=at)
    with pytest.raises(reverts.VoucherMarketOnly):
        deployed.licenses.redeem(buyer, signed)
    before = market.owed(licensor.address, ZERO_ADDRESS)
    license_id, _ = market.buy_with_voucher(buyer, signed)
    assert deployed.licenses.license_of(license_id).holder == buyer.address
    assert market.owed(licensor.address, ZERO_ADDRESS) == before + 77
    with pytest.raises(reverts.NonceSpent):
        market.buy_with_voucher(buyer, signed)
    elsewhere = replace(signed, voucher=replace(offer, market=Address(b"\5" * 20)))
    with pytest.raises(reverts.MarketVoucherElsewhere):
        market.buy_with_voucher(buyer, elsewhere)
