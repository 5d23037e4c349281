"""Kinds of transactions about models, their titles, and anchors."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.schemas.base import AskedHash
from api.transactions.base import (
    Agreed,
    Agreement,
    Asked,
    AskedAccount,
    Contracts,
    OfModel,
    Proof,
    Time,
    Uint64,
)
from ledger.chain.registry import (
    KIND_DETECTION,
    KIND_DISPUTE,
    KIND_IDENTITY,
    KIND_SEALING,
    REGISTER_TYPE,
    InclusionProof,
    ModelStatus,
    registry_domain,
)
from ledger.chain.transactions import Sender
from ledger.claim import Claim
from ledger.errors import UsageError
from ledger.ids import Address, Digest, ModelId

# -- anchors -------------------------------------------------------------------------------------


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


# -- registration --------------------------------------------------------------------------------


class OfClaim(Asked):
    """About one claim."""

    claim: dict[str, Any] = Field(description="docs/spec/claim.md")
    proof: Proof | None = Field(None, description="of its anchored commitment")

    def given(self) -> tuple[Claim, InclusionProof | None]:
        """The claim, and the proof of its commitment."""
        return Claim.from_json(self.claim), None if self.proof is None else self.proof.of()


class Register(OfClaim):
    """A model to be registered."""

    kind = "register"
    about = "Register a model's claim. Its licensor. This service sees the claim's salt."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.registry.register(sender, *self.given())


class RegisterBatch(Asked):
    """Models to be registered."""

    kind = "register-batch"
    about = "Register claims of one licensor, all or none. This service sees their salts."

    claims: list[dict[str, Any]] = Field(min_length=1, max_length=50)
    proofs: list[Proof | None] = Field(
        default=[], max_length=50, description="one for each claim, or none at all"
    )

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        if self.proofs and len(self.proofs) != len(self.claims):
            raise UsageError(
                f"{len(self.proofs)} proofs are not one for each of {len(self.claims)} claims",
                hint="give null for a claim without one",
            )
        claims = [Claim.from_json(each) for each in self.claims]
        given = self.proofs or [None] * len(claims)
        proofs = [None if proof is None else proof.of() for proof in given]
        return to.registry.register_batch(sender, claims, proofs)


class RegisterBySignature(OfClaim, Agreed):
    """A model to be registered that its licensor signs for, and somebody sends."""

    kind = "register-by-signature"
    about = "Register a model by its licensor's signature. Anyone sends it, and pays the fee."

    def agreement(self, to: Contracts, account: Address) -> Agreement:  # noqa: ARG002  another signs
        """What the licensor signs."""
        claim, proof = self.given()
        # Whatever stands against it is said before anybody signs.
        to.attempt(claim.licensor, lambda s: to.registry.register(s, claim, proof))
        deadline = self.good_until(to.now())
        return Agreement(
            f"let anyone register model {claim.model_id().short} for {claim.licensor}",
            claim.licensor,
            registry_domain(claim.chain_id, claim.registry),
            REGISTER_TYPE,
            {"modelId": Digest(claim.model_id().raw), "deadline": deadline},
            {"deadline": deadline},
        )

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.registry.register_by_sig(
            sender, *self.given(), deadline=self.deadline, signature=self.signed
        )


class ConfirmParent(Asked):
    """A lineage to be agreed to."""

    kind = "parent-confirm"
    about = "Agree that a claimed model descends from one's own. The licensor of the parent."

    claim: dict[str, Any] = Field(description="of the model that descends (docs/spec/claim.md)")
    parent: AskedHash

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        claim = Claim.from_json(self.claim)
        return to.registry.confirm_parent(sender, claim, ModelId.parse(self.parent))


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


# -- titles --------------------------------------------------------------------------------------


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


# -- a lost wallet -------------------------------------------------------------------------------


class SetGuardian(OfModel):
    """Who may recover a title."""

    kind = "guardian-set"
    about = "Name who may recover a title, the zero address for nobody. The licensor."

    guardian: AskedAccount
    delay: Time = Field(604_800, description="seconds from start to finish; a week at least")

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        who = Address.parse(self.guardian)
        return to.registry.set_guardian(sender, self.id, who, self.delay)


class StartRecovery(OfModel):
    """A title to be recovered."""

    kind = "recovery-start"
    about = "Start to move the title of a lost wallet. The model's guardian."

    to: AskedAccount

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.registry.start_recovery(sender, self.id, Address.parse(self.to))


class VetoRecovery(OfModel):
    """A recovery to be stopped."""

    kind = "recovery-veto"
    about = "Stop the recovery of a title. The licensor."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.registry.veto_recovery(sender, self.id)


class FinishRecovery(OfModel):
    """A recovery to be finished."""

    kind = "recovery-finish"
    about = "Move the title of a lost wallet after the delay. The model's guardian."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.registry.finish_recovery(sender, self.id)
