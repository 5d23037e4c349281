"""Kinds of transactions about plans, and the brokers that they name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.schemas.base import AskedHash
from api.transactions.base import (
    Asked,
    AskedAccount,
    Contracts,
    OfPlan,
    Time,
    Uint64,
)
from ledger.chain.licenses import PlanTerms, Role
from ledger.chain.transactions import Sender
from ledger.ids import ZERO_ADDRESS, Address, Digest, ModelId


class CreatePlan(Asked):
    """A plan to be offered; meanings as in ILicenseLedger.PlanTerms, times in seconds."""

    kind = "plan-create"
    about = "Offer licenses of a model. Its licensor. A plan's terms are for good."

    model: AskedHash
    terms_hash: AskedHash = Field(description="of the terms document (docs/spec/terms.md)")
    duration: Time = Field(31_536_000, description="of a license; 0 is perpetual")
    grace: int = Field(86_400, ge=0, lt=1 << 24)
    lease_ttl: int = Field(3600, ge=0, lt=1 << 32)
    max_offline: int | None = Field(
        None, ge=0, lt=1 << 32, description="bound on lease and grace; by default their sum"
    )
    min_notice: int = Field(0, ge=0, lt=1 << 32)
    refund_window: int = Field(0, ge=0, lt=1 << 32)
    reissue_delay: int = Field(604_800, ge=0, lt=1 << 32)
    seats: int = Field(1, ge=0, lt=1 << 16, description="0 is unlimited")
    supply: int = Field(0, ge=0, lt=1 << 32, description="0 is unlimited")
    quota: Uint64 = Field(0, description="0 is unmetered")
    features: Uint64 = 0
    broker_set: Uint64 = 1
    pay_token: AskedAccount = Field(str(ZERO_ADDRESS), description="zero is the chain's coin")
    price: str = Field("0", pattern=r"^(0|[1-9][0-9]{0,27})$", description="in its smallest units")
    floating: bool = True
    warn_only: bool = False
    transferable: bool = False

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        given = self.model_dump(
            exclude={"account", "model", "terms_hash", "max_offline", "pay_token", "price"}
        )
        most = self.lease_ttl + self.grace if self.max_offline is None else self.max_offline
        terms = PlanTerms(
            ModelId.parse(self.model),
            Digest.parse(self.terms_hash),
            max_offline=most,
            pay_token=Address.parse(self.pay_token),
            price=int(self.price),
            **given,
        )
        if terms.pay_token != ZERO_ADDRESS:
            # The terms are for good, and the contract looks at the token only when it sells.
            to.token_known(terms.pay_token, sender.address)
        return to.licenses.create_plan(sender, terms)


class PausePlan(OfPlan):
    """A plan to be paused."""

    kind = "plan-pause"
    about = "Stop issuing; licenses that exist go on. The licensor, or a GUARDIAN."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.set_paused(sender, self.plan, paused=True)


class ResumePlan(OfPlan):
    """A plan to be resumed."""

    kind = "plan-resume"
    about = "Issue again. The licensor, or a GUARDIAN."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.set_paused(sender, self.plan, paused=False)


class SyncPlan(OfPlan):
    """A plan to be brought in step with its model's title."""

    kind = "plan-sync"
    about = "Bring a plan in step with its model's title, which ends all roles. Anyone."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.sync_licensor(sender, self.plan)


class PlanRoles(OfPlan):
    """Roles that an account is to have on a plan, these and no others."""

    kind = "plan-roles"
    about = "Give an account exactly these roles on a plan. The licensor."

    who: AskedAccount = Field(alias="account")
    roles: list[Literal["issuer", "revoker", "meter", "guardian"]] = Field(max_length=4)

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        roles = Role(0)
        for name in self.roles:
            roles |= Role[name.upper()]
        return to.licenses.set_roles(sender, self.plan, Address.parse(self.who), roles)


class ResaleRoyalty(OfPlan):
    """What is asked of resales."""

    kind = "plan-royalty"
    about = "Ask a share of resales (ERC-2981), which marketplaces may pay. The licensor."

    bps: int = Field(ge=0, le=1000, description="in 1/10,000 of a resale's price")

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.set_resale_royalty(sender, self.plan, self.bps)


class CreateBrokerSet(Asked):
    """Brokers for a plan to name."""

    kind = "broker-set"
    about = "Make a set of registered brokers, of which a number must agree. Anyone."

    brokers: list[Annotated[int, Field(ge=1, lt=1 << 53)]] = Field(min_length=1, max_length=255)
    threshold: int = Field(1, ge=1, le=255)

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.brokers.create_set(sender, sorted(self.brokers), self.threshold)
