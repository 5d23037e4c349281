"""Kinds of transactions about licenses."""

from __future__ import annotations

from pydantic import Field

from api.transactions.base import (
    Asked,
    AskedAccount,
    Contracts,
    OfLicense,
    PlanNumber,
    Reason,
    Signed,
    Time,
    reason_hash,
)
from ledger.chain.transactions import Sender
from ledger.ids import Address, Digest
from ledger.licensing.reference import MAX_CHARACTERS, reference_hash, reference_nonce
from ledger.licensing.voucher import Voucher


class Issue(Asked):
    """A license to be issued."""

    kind = "issue"
    about = "Issue a license. The licensor, or an ISSUER of the plan."

    plan: PlanNumber
    to: AskedAccount
    not_before: Time = 0
    not_after: Time = 0

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        holder = Address.parse(self.to)
        return to.licenses.issue(sender, self.plan, holder, self.not_before, self.not_after)


class IssueByReference(Signed):
    """A license to be issued for an order, once."""

    kind = "issue-by-reference"
    about = "Issue a license for an external reference, once. The licensor, or an ISSUER."

    plan: PlanNumber
    to: AskedAccount
    external_ref: str = Field(min_length=1, max_length=MAX_CHARACTERS)
    not_before: Time = 0
    not_after: Time = 0

    def voucher(self, signer: Address, plan_digest: Digest, deadline: int) -> Voucher:
        """What the ledger redeems: its nonce is made from the reference."""
        ext_hash = reference_hash(self.external_ref)
        return Voucher(
            signer,
            self.plan,
            Address.parse(self.to),
            plan_digest,
            reference_nonce(self.plan, ext_hash),
            deadline,
            not_before=self.not_before,
            not_after=self.not_after,
            ext_hash=ext_hash,
        )


class IssueBatch(Asked):
    """Licenses to be issued, all with one window, all or none."""

    kind = "issue-batch"
    about = "Issue a license to each of many accounts, all or none."

    plan: PlanNumber
    to: list[AskedAccount] = Field(min_length=1, max_length=200)
    not_before: Time = 0
    not_after: Time = 0

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        holders = [Address.parse(each) for each in self.to]
        return to.licenses.issue_batch(sender, self.plan, holders, self.not_before, self.not_after)


class Renew(OfLicense):
    """A license to be renewed."""

    kind = "renew"
    about = "Move a license's end later. The licensor, or an ISSUER."

    not_after: Time = Field(0, description="0: one duration of the plan more")

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.renew(sender, self.id, self.not_after)


class Suspend(OfLicense):
    """A license to be suspended."""

    kind = "suspend"
    about = "Suspend a license until it is reinstated. The licensor, or a GUARDIAN."

    reason: Reason = ""

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.suspend(sender, self.id, reason_hash(self.reason))


class Reinstate(OfLicense):
    """A suspension to be lifted."""

    kind = "reinstate"
    about = "Lift a suspension. The licensor, or a GUARDIAN."

    reason: Reason = ""

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.reinstate(sender, self.id, reason_hash(self.reason))


class Revoke(OfLicense):
    """A license to be revoked."""

    kind = "revoke"
    about = "Revoke a license for good. The licensor, or a REVOKER."

    effective_at: Time = Field(0, description="0: as soon as the plan's notice allows")
    reason: Reason = ""

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.revoke(sender, self.id, self.effective_at, reason_hash(self.reason))


class Transfer(OfLicense):
    """A license to be passed on."""

    kind = "transfer"
    about = "Pass a license on, if its plan lets it move. The holder."

    to: AskedAccount

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.transfer(sender, self.id, Address.parse(self.to))


class Approve(OfLicense):
    """An account to be let move a license."""

    kind = "approve"
    about = "Let one account move or end a license (ERC-721), until it moves. The holder."

    to: AskedAccount = Field(description="the zero address takes it back")

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.approve(sender, self.id, Address.parse(self.to))


class Surrender(OfLicense):
    """A license to be given up."""

    kind = "surrender"
    about = "End a license at once and for good. The holder."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.surrender(sender, self.id)


class Sublicense(OfLicense):
    """Seats to be licensed on."""

    kind = "sublicense"
    about = "License a part of one's seats on. The holder."

    to: AskedAccount
    seats: int = Field(ge=1, lt=1 << 16)
    not_after: Time = Field(0, description="0: with its parent")

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        holder = Address.parse(self.to)
        return to.licenses.sublicense(sender, self.id, holder, self.seats, self.not_after)


class ReclaimSeats(OfLicense):
    """Seats of an ended sublicense to be taken back."""

    kind = "reclaim-seats"
    about = "Take the seats of an ended sublicense back."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.reclaim_seats(sender, self.id)


class StartReissue(OfLicense):
    """A lost wallet's license to be moved."""

    kind = "reissue-start"
    about = "Start to move the license of a lost wallet. The licensor."

    to: AskedAccount

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.start_reissue(sender, self.id, Address.parse(self.to))


class VetoReissue(OfLicense):
    """A reissue to be stopped."""

    kind = "reissue-veto"
    about = "Stop a reissue. The holder, or the licensor."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.veto_reissue(sender, self.id)


class FinishReissue(OfLicense):
    """A reissue to be finished."""

    kind = "reissue-finish"
    about = "Move the license of a lost wallet after the delay. The licensor."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.finish_reissue(sender, self.id)
