"""Kinds of transactions about the market: putting plans on sale, and buying.

A plan's price is one of its terms, and those are for good: another price is another plan. A plan is
on sale while the market has the role ISSUER on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from api.schemas.base import AskedHash
from api.transactions.base import (
    Agreed,
    Agreement,
    Asked,
    AskedAccount,
    Contracts,
    OfLicense,
    OfPlan,
    PlanNumber,
)
from ledger.chain.erc20 import PERMIT_TYPE, Erc20, permit_bytes
from ledger.chain.licenses import Role
from ledger.chain.market import Price
from ledger.chain.reverts import MarketPlanChanged, PlanNotAuthorized
from ledger.chain.transactions import Sender
from ledger.eip712 import recover
from ledger.errors import (
    AllowanceTooSmall,
    ChainError,
    InsufficientFunds,
    NotOnSale,
    SignatureInvalid,
    UsageError,
)
from ledger.ids import ZERO_ADDRESS, Address, Digest
from ledger.licensing import voucher as vouchers

SeenDigest = Annotated[
    AskedHash | None,
    Field(description="of the plan as the buyer saw it; by default as it stands now"),
]

# -- by the licensor -----------------------------------------------------------------------------


class StartSale(OfPlan):
    """A plan to be put on sale."""

    kind = "sale-start"
    about = "Let the market sell a plan at its price, to anyone (ISSUER). The licensor."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        terms, _ = to.licenses.plan_of(self.plan)
        roles = to.licenses.roles_of(self.plan, to.market.address)
        if roles & Role.ISSUER:
            raise UsageError(f"plan {self.plan} is on sale already", hint="nothing needs doing")
        price = Price(terms.pay_token, terms.price)
        purpose = f"let the market sell licenses of plan {self.plan} to anyone for {price}"
        roles |= Role.ISSUER
        return to.licenses.set_roles(sender, self.plan, to.market.address, roles, purpose=purpose)


class StopSale(OfPlan):
    """A plan to be taken off sale."""

    kind = "sale-stop"
    about = "Have the market sell and renew no more licenses of a plan. The licensor."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        roles = to.licenses.roles_of(self.plan, to.market.address)
        if not roles & Role.ISSUER:
            raise NotOnSale(f"plan {self.plan} is not on sale", hint="nothing needs doing")
        purpose = f"have the market sell no more licenses of plan {self.plan}"
        roles &= ~Role.ISSUER
        return to.licenses.set_roles(sender, self.plan, to.market.address, roles, purpose=purpose)


# -- purchases -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sold:
    """Something that the market sells.

    Attributes:
        price: what it takes.
        made: what the market then has the ledger do.
        bought: the purchase, with a permit or none.
    """

    price: Price
    made: Callable[[Sender], object]
    bought: Callable[[Sender, bytes], object]


class Purchase(Asked):
    """Something to be paid for, in coins, or in a token that the market may take."""

    def sold(self, to: Contracts, account: Address) -> Sold:
        """What is bought, by `account`."""
        raise NotImplementedError

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        with selling(to):
            sold = self.sold(to, sender.address)
            _reachable(to, sender.address, sold)
            return sold.bought(sender, b"")


class Buy(Purchase):
    """A license to be bought."""

    kind = "buy"
    about = "Buy a license at its plan's price. Anyone, for anyone."

    plan: PlanNumber
    to: AskedAccount | None = Field(None, description="who will hold it; by default who pays")
    plan_digest: SeenDigest = None

    def sold(self, to: Contracts, account: Address) -> Sold:
        """A license of the plan, for its holder."""
        holder = account if self.to is None else Address.parse(self.to)
        price, digest = _offered(to, self.plan, self.plan_digest)
        return Sold(
            price,
            lambda s: to.licenses.issue(s, self.plan, holder),
            lambda s, permit: to.market.buy(s, self.plan, digest, price, holder, permit=permit),
        )


class RenewPaid(OfLicense, Purchase):
    """A renewal to be bought."""

    kind = "renew-paid"
    about = "Pay for one duration of the plan more. Anyone, for anyone."

    plan_digest: SeenDigest = None

    def sold(self, to: Contracts, account: Address) -> Sold:  # noqa: ARG002  for its holder
        """One duration more."""
        price, digest = _offered(to, self.id.plan, self.plan_digest)
        return Sold(
            price,
            lambda s: to.licenses.renew(s, self.id),
            lambda s, permit: to.market.renew(s, self.id, digest, price, permit),
        )


class Redeem(Purchase):
    """A voucher to be redeemed, and paid where it has a price."""

    kind = "redeem"
    about = "Take the license that a voucher promises, and pay its price. Who may, it says."

    voucher: dict[str, Any] = Field(description="a voucher file (docs/spec/voucher.md)")

    def sold(self, to: Contracts, account: Address) -> Sold:  # noqa: ARG002  for its holder
        """The license that is promised."""
        signed = vouchers.parse(self.voucher)
        if (signed.chain_id, signed.ledger) != (to.profile.chain_id, to.licenses.address):
            raise UsageError("the voucher is for another chain or ledger", hint="redeem it there")
        offer = signed.voucher
        if offer.market == ZERO_ADDRESS:
            return Sold(
                Price(ZERO_ADDRESS, 0),
                lambda s: to.licenses.redeem(s, signed),
                lambda s, _: to.licenses.redeem(s, signed),
            )
        if offer.market != to.market.address:
            raise UsageError(
                f"the voucher is sold by {offer.market}, which is not this deployment's market",
                hint="redeem it there",
            )
        return Sold(
            Price(offer.pay_token, offer.price),
            lambda s: to.licenses.redeem(s, signed),
            lambda s, permit: to.market.buy_with_voucher(s, signed, permit),
        )


def _offered(to: Contracts, plan: int, seen: str | None) -> tuple[Price, Digest]:
    """A plan's price and digest, of the plan as the buyer saw it."""
    terms, state = to.licenses.plan_of(plan)
    if seen is not None and Digest.parse(seen) != state.plan_digest:
        words = plan.to_bytes(32, "big") + state.plan_digest.raw + Digest.parse(seen).raw
        raise MarketPlanChanged.of(words)
    return Price(terms.pay_token, terms.price), state.plan_digest


@contextmanager
def selling(to: Contracts) -> Iterator[None]:
    """That the market lacks a role is said in a buyer's words."""
    try:
        yield
    except PlanNotAuthorized as error:
        if error.arguments.get("caller") != to.market.address:
            raise
        plan = error.arguments.get("planId")
        raise NotOnSale(
            f"plan {plan} is not on sale: the market may not issue licenses of it",
            hint=f"its licensor puts it on sale (sale-start, or deed plan roles {plan} market "
            "--grant issuer)",
        ) from None


def _reachable(to: Contracts, account: Address, sold: Sold) -> None:
    """Whether the market may take the price, where it is in a token.

    Raises:
        InsufficientFunds: the account has less.
        AllowanceTooSmall: the market may take less.
    """
    price = sold.price
    if price.coins or not price.amount:
        return
    token, market = to.token(price.pay_token), to.market.address
    try:
        has, may = token.balance_of(account), token.allowance(account, market)
    except ChainError as error:
        if type(error) is ChainError:  # no token: the market has its own words for it
            return
        raise
    if has >= price.amount and may >= price.amount:
        return
    # What would be refused anyway is said before anybody allows anything.
    to.attempt(market, sold.made)
    _affordable(account, price, has)
    raise AllowanceTooSmall(
        f"the market may take {may} units of token {price.pay_token} from {account}, and the "
        f"price is {price.amount}",
        hint=f"have allow-market with token {price.pay_token} and amount {price.amount} mined "
        "first; or, where the token takes that, sign it: buy-by-permit, renew-by-permit, "
        "redeem-by-permit",
    )


def _affordable(account: Address, price: Price, has: int) -> None:
    if has < price.amount:
        raise InsufficientFunds(
            f"account {account} has {has} units of token {price.pay_token}, and the price is "
            f"{price.amount}",
            hint="send it some of the token, or have another account pay",
        )


# -- paid by a permit ----------------------------------------------------------------------------


class ByPermit(Agreed, Purchase):
    """Something paid for in a token, by a signature in place of an allowance (ERC-2612)."""

    def agreement(self, to: Contracts, account: Address) -> Agreement:
        """What the payer signs."""
        with selling(to):
            sold = self.sold(to, account)
            token = _permitting(to, sold.price)
            to.attempt(to.market.address, sold.made)
        deadline = self.good_until(to.now())
        with _as_asked():
            _affordable(account, sold.price, token.balance_of(account))
            domain, values = token.permit_terms(
                account, to.market.address, sold.price.amount, deadline=deadline
            )
        return Agreement(
            f"let the market take {sold.price} from {account}",
            account, domain, PERMIT_TYPE, values, {"deadline": deadline},
        )  # fmt: skip

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        with selling(to):
            sold = self.sold(to, sender.address)
            token = _permitting(to, sold.price)
            with _as_asked():
                if token.allowance(sender.address, to.market.address) < sold.price.amount:
                    self._held_against(to, token, sender.address, sold.price)
            return sold.bought(sender, permit_bytes(self.deadline, self.signed))

    def _held_against(self, to: Contracts, token: Erc20, account: Address, price: Price) -> None:
        """The market passes over a permit that is no good, and says then what nobody can read.

        Raises:
            SignatureInvalid: its time is over, or it is not this payer's for this price.
        """
        again = "ask once more without deadline and signature, and sign what that gives"
        if self.deadline < to.now():
            raise SignatureInvalid(
                f"the permit was good until second {self.deadline}, which is past", hint=again
            )
        domain, values = token.permit_terms(
            account, to.market.address, price.amount, deadline=self.deadline
        )
        found = recover(domain.digest(PERMIT_TYPE, values), self.signed)
        if found != account:
            raise SignatureInvalid(
                f"the permit is not signed by {account} for {price}, with its present nonce",
                hint=again,
            )


def _permitting(to: Contracts, price: Price) -> Erc20:
    if price.coins or not price.amount:
        raise UsageError(
            f"the price is {price}, which needs no permit",
            hint="buy, renew-paid and redeem take none",
        )
    return to.token(price.pay_token)


@contextmanager
def _as_asked() -> Iterator[None]:
    """A token that is none, or takes no permits, is nothing that the chain failed at."""
    try:
        yield
    except ChainError as error:
        if type(error) is not ChainError:
            raise
        raise UsageError(error.message, hint="have allow-market mined, then buy") from None


class BuyByPermit(ByPermit, Buy):
    """A license to be bought by a permit."""

    kind = "buy-by-permit"
    about = "Buy a license, and sign the payment in a token instead of allowing it first. Anyone."


class RenewByPermit(ByPermit, RenewPaid):
    """A renewal to be bought by a permit."""

    kind = "renew-by-permit"
    about = "Pay for a renewal, and sign the payment instead of allowing it first. Anyone."


class RedeemByPermit(ByPermit, Redeem):
    """A voucher to be paid by a permit."""

    kind = "redeem-by-permit"
    about = "Redeem a voucher, and sign the payment instead of allowing it first. Who may, it says."


class AllowMarket(Asked):
    """A part of a token to be put within the market's reach."""

    kind = "allow-market"
    about = "Let the market take exactly so much of a token from oneself; 0 ends that. Anyone."

    token: AskedAccount
    amount: str = Field(
        pattern="^(0|[1-9][0-9]{0,28})$", description="in its smallest units", examples=["500"]
    )

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        token = to.token(Address.parse(self.token))
        amount = int(self.amount)
        with _as_asked():
            present = token.allowance(sender.address, to.market.address)
        if present == amount:
            raise UsageError(
                f"the market may take {present} units of token {token.address} already",
                hint="nothing needs doing",
            )
        return token.approve(sender, to.market.address, amount)
