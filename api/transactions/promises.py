"""Kinds of transactions about licenses that are promised off chain: batches, and numbers spent."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from api.schemas import AskedHash
from api.transactions.base import Asked, Contracts, OfPlan, Reason, reason_hash
from ledger.chain.transactions import Sender
from ledger.errors import UsageError
from ledger.ids import ZERO_DIGEST, Digest
from ledger.licensing.batch import parse_claim


class OfBatch(OfPlan):
    """About one batch."""

    root: AskedHash

    @property
    def at(self) -> Digest:
        """The batch's root."""
        return Digest.parse(self.root)


class AnchorBatch(OfBatch):
    """A batch to be issued."""

    kind = "batch-anchor"
    about = "Issue any number of licenses under one root. The licensor, or an ISSUER."

    count: int = Field(ge=1, lt=1 << 32, description="how many leaves it has")
    uri_hash: AskedHash = Field(str(ZERO_DIGEST), description="of where the leaves are kept")

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        uri = Digest.parse(self.uri_hash)
        return to.licenses.anchor_batch(sender, self.plan, self.at, self.count, uri)


class Claim(Asked):
    """A license of a batch to be taken."""

    kind = "claim"
    about = "Take a license out of a batch by its proof. Anyone, for who is named in it."

    claim: dict[str, Any] = Field(description="a claim file (docs/spec/batch.md)")

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        claim = parse_claim(self.claim)
        if (claim.chain_id, claim.ledger) != (sender.profile.chain_id, to.licenses.address):
            raise UsageError("the claim is for another chain or ledger", hint="claim it there")
        claim.verify()
        return to.licenses.claim(sender, claim)


class RevokeInBatch(OfBatch):
    """Licenses of a batch to be revoked."""

    kind = "batch-revoke"
    about = "Revoke licenses of a batch for good. The licensor, or a REVOKER."

    indexes: list[Annotated[int, Field(ge=0, lt=1 << 32)]] = Field(
        min_length=1, max_length=256, description="of leaves, all between two multiples of 256"
    )
    reason: Reason = ""

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        words = {index >> 8 for index in self.indexes}
        if len(words) > 1:
            raise UsageError(
                "one transaction revokes leaves between two multiples of 256, such as 256 to 511",
                hint="ask once for each such range",
            )
        mask = 0
        for index in self.indexes:
            mask |= 1 << (index & 255)
        return to.licenses.revoke_in_batch(
            sender,
            self.plan,
            self.at,
            word=words.pop(),
            mask=mask,
            reason=reason_hash(self.reason),
        )


class CloseBatch(OfBatch):
    """A batch to be closed."""

    kind = "batch-close"
    about = "End what is unclaimed of a batch, with the plan's notice. The licensor, or a REVOKER."

    reason: Reason = ""

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.close_batch(sender, self.plan, self.at, reason_hash(self.reason))


class CancelNonce(Asked):
    """A number to be spent unused."""

    kind = "nonce-cancel"
    about = "Void a voucher or binding that one has signed. Its signer."

    nonce: AskedHash = Field(description="as the voucher or the binding has it")

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        nonce = int(self.nonce, 16)
        if to.licenses.nonce_spent(sender.address, nonce):
            raise UsageError(
                f"{sender.address} has spent that number",
                hint="what it was for was redeemed, bound or cancelled before",
            )
        return to.licenses.cancel_vouchers(sender, nonce >> 8, 1 << (nonce & 255))
