"""Kinds of transactions about what sales bring: who shares it, refunds, and taking it."""

from __future__ import annotations

from pydantic import Field

from api.schemas.base import AskedHash
from api.transactions.base import (
    Asked,
    AskedAccount,
    Contracts,
    OfLicense,
    OfModel,
    OfPlan,
    Part,
    Shares,
)
from ledger.chain.market import Payee, Royalty
from ledger.chain.reverts import LicenseNotHolder
from ledger.chain.transactions import Sender
from ledger.errors import AllowanceTooSmall
from ledger.ids import ZERO_ADDRESS, Address, ModelId

# -- who shares ----------------------------------------------------------------------------------


class RoyaltyShare(Part):
    """What a model is due of each sale."""

    model: AskedHash
    bps: Shares


class PayeeShare(Part):
    """What an account gets of the licensor's part."""

    account: AskedAccount
    bps: Shares


class PinRoyalties(OfPlan):
    """What a plan's sales owe other models."""

    kind = "royalties-pin"
    about = "Fix for good what a plan's sales owe other models; none, by an empty list. Licensor."

    royalties: list[RoyaltyShare] = Field(max_length=8, description="5,000 in sum, at most")

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        due = [Royalty(ModelId.parse(each.model), each.bps) for each in self.royalties]
        return to.market.pin_royalties(sender, self.plan, due)


class SetPayees(OfPlan):
    """Who shares a plan's sales."""

    kind = "payees-set"
    about = "Say who shares what sales of a plan leave to the licensor: these, only. Licensor."

    payees: list[PayeeShare] = Field(max_length=16, description="10,000 in sum, at most")

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        payees = [Payee(Address.parse(each.account), each.bps) for each in self.payees]
        return to.market.set_payees(sender, self.plan, payees)


# -- afterwards ----------------------------------------------------------------------------------


class Refund(OfLicense):
    """A purchase to be undone."""

    kind = "refund"
    about = "Give an unused license back for its price, within the refund window. The holder."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        try:
            return to.market.refund(sender, self.id)
        except LicenseNotHolder as error:
            # The market itself is what may not end the license.
            if error.arguments.get("caller") != to.market.address:
                raise
            raise AllowanceTooSmall(
                f"a refund ends license {self.id}, and the market may not do that for its holder",
                hint=f"have approve with license {self.id} and to {to.market.address} mined first",
            ) from None


class Settle(OfLicense):
    """A sale to be paid out."""

    kind = "settle"
    about = "Credit a sale to its payees, once nobody can be refunded. Anyone."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.market.settle(sender, self.id)


class OfDebt(Asked):
    """About what the market owes in one token."""

    token: AskedAccount = Field(str(ZERO_ADDRESS), description="zero is the chain's coin")
    to: AskedAccount | None = Field(None, description="who gets it; by default oneself")

    def paid(self, sender: Sender) -> tuple[Address, Address]:
        """The token, and who gets it."""
        payee = sender.address if self.to is None else Address.parse(self.to)
        return Address.parse(self.token), payee


class Withdraw(OfDebt):
    """What the market owes, to be paid."""

    kind = "withdraw"
    about = "Take all that the market owes one in a token: sales, shares, refunds. Who is owed."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.market.withdraw(sender, *self.paid(sender))


class TakeRoyalties(OfModel, OfDebt):
    """Royalties of a model, to be paid."""

    kind = "royalties-take"
    about = "Take all royalties that the market owes a model in a token. Its title's holder."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.market.collect_royalties(sender, self.id, *self.paid(sender))
