"""Kinds of transactions about plans, titles and anchors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas import AskedHash
from api.transactions.base import (
    Asked,
    AskedAccount,
    Contracts,
    OfModel,
    OfPlan,
    Time,
    Uint64,
)
from ledger.chain.licenses import PlanTerms, Role
from ledger.chain.registry import (
    KIND_DETECTION,
    KIND_DISPUTE,
    KIND_IDENTITY,
    KIND_SEALING,
    InclusionProof,
    ModelStatus,
)
from ledger.chain.transactions import Sender
from ledger.claim import Claim
from ledger.ids import ZERO_ADDRESS, Address, Digest, ModelId

# -- plans ---------------------------------------------------------------------------------------


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


# -- titles and anchors --------------------------------------------------------------------------


class Proof(BaseModel):
    """A leaf's place under an anchored T2 root (docs/spec/merkle.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    root: AskedHash
    index: Uint64 = 0
    size: Annotated[int, Field(ge=1, lt=1 << 53)] = 1
    path: Annotated[list[AskedHash], Field(max_length=64)] = []

    def of(self) -> InclusionProof:
        """As the contract's client takes it."""
        path = tuple(Digest.parse(each) for each in self.path)
        return InclusionProof(Digest.parse(self.root), self.index, self.size, path)


class AnchorRoot(Asked):
    """A root to be given a time."""

    kind = "anchor"
    about = "Give a root this time, unless it has an earlier one. Anyone."

    root: AskedHash

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.anchors.anchor(sender, Digest.parse(self.root))


class Commit(Asked):
    """A watermark's commitment."""

    kind = "commit"
    about = "Commit to a watermark before its beacon is known (phase A). Anyone."

    commitment: AskedHash

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.anchors.commit_phase_a(sender, Digest.parse(self.commitment))


class Register(Asked):
    """A model to be registered."""

    kind = "register"
    about = "Register a model's claim. Its licensor. This service sees the claim's salt."

    claim: dict[str, Any] = Field(description="docs/spec/claim.md")
    proof: Proof | None = Field(None, description="of its anchored commitment")

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        proof = None if self.proof is None else self.proof.of()
        return to.registry.register(sender, Claim.from_json(self.claim), proof)


class ProveEarlier(OfModel):
    """An earlier commitment to be proven."""

    kind = "prove-earlier"
    about = "Prove an earlier anchored commitment of a model. Anyone."

    proof: Proof

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.registry.prove_earlier(sender, self.id, self.proof.of())


_RECORDS = {
    "sealing": KIND_SEALING,
    "detection": KIND_DETECTION,
    "dispute": KIND_DISPUTE,
    "identity": KIND_IDENTITY,
}


class Lodge(OfModel):
    """A record's hash to be lodged."""

    kind = "lodge"
    about = "Lodge the hash of a record: a sealing by the licensor, another kind by anyone."

    record: Literal["sealing", "detection", "dispute", "identity"]
    epoch: Uint64 = 0
    hash: AskedHash

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        kind = _RECORDS[self.record]
        return to.registry.lodge(sender, self.id, kind, self.epoch, Digest.parse(self.hash))


class OfferTitle(OfModel):
    """A title to be offered."""

    kind = "title-offer"
    about = "Offer a model's title to an account; the zero address takes that back. The licensor."

    to: AskedAccount

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.registry.propose_transfer(sender, self.id, Address.parse(self.to))


class AcceptTitle(OfModel):
    """A title to be taken."""

    kind = "title-accept"
    about = "Take a model's title that was offered. Who it was offered to."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.registry.accept_transfer(sender, self.id)


class SetStatus(OfModel):
    """A model's new status."""

    kind = "model-status"
    about = "Withdraw a model, take that back, or declare it compromised. The licensor."

    status: Literal["active", "withdrawn", "compromised"]

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.registry.set_status(sender, self.id, ModelStatus[self.status.upper()])
