"""Kinds of transactions about licenses that are promised off chain: batches and vouchers."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from pydantic import Field

from api.schemas.base import AskedHash
from api.transactions.base import (
    AgreedOnce,
    Agreement,
    Asked,
    AskedAccount,
    Contracts,
    OfPlan,
    PlanNumber,
    Reason,
    Time,
    reason_hash,
)
from ledger.chain.market import Price
from ledger.chain.transactions import Sender
from ledger.errors import UsageError
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest
from ledger.licensing.batch import parse_claim
from ledger.licensing.reference import MAX_CHARACTERS, reference_hash
from ledger.licensing.voucher import VOUCHER_TYPE, SignedVoucher, Voucher


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


class OfferVoucher(AgreedOnce):
    """A license to be promised to one buyer, for a price of its own or none."""

    kind = "voucher"
    about = "Promise somebody a license, for a price of its own. The licensor, or an ISSUER."

    plan: PlanNumber
    to: AskedAccount
    price: str = Field(
        "0", pattern="^(0|[1-9][0-9]{0,27})$", description="in its smallest units; 0 is free"
    )
    pay_token: AskedAccount = Field(str(ZERO_ADDRESS), description="zero is the chain's coin")
    not_before: Time = Field(0, description="0: when it is redeemed")
    not_after: Time = 0
    external_ref: str = Field("", max_length=MAX_CHARACTERS)

    def agreement(self, to: Contracts, account: Address) -> Agreement:
        """What the issuer signs."""
        holder, price = Address.parse(self.to), self._price()
        # Whatever stands against it is said before anybody signs.
        to.attempt(
            account,
            lambda s: to.licenses.issue(s, self.plan, holder, self.not_before, self.not_after),
        )
        if price.pay_token != ZERO_ADDRESS:
            to.token_known(price.pay_token, account)
        deadline = self.good_until(to.now())
        offer = self._offer(to, account, secrets.randbits(256), deadline)
        return Agreement(
            f"promise {holder} a license of plan {self.plan} for {price}",
            account,
            to.licenses.domain(),
            VOUCHER_TYPE,
            offer.message(),
            {"deadline": deadline, "nonce": f"0x{offer.nonce:064x}"},
        )

    def made(self, to: Contracts, account: Address) -> SignedVoucher:
        """The voucher, which the ledger would redeem now.

        Raises:
            ContractReverted: it would not: signed by another, or changed since.
        """
        offer = self._offer(to, account, *self.as_signed())
        signed = SignedVoucher(to.profile.chain_id, to.licenses.address, offer, self.signed)
        payer = account if offer.market == ZERO_ADDRESS else offer.market
        to.attempt(payer, lambda s: to.licenses.redeem(s, signed))
        return signed

    def _price(self) -> Price:
        price, token = int(self.price), Address.parse(self.pay_token)
        if not price and token != ZERO_ADDRESS:
            raise UsageError("what is free is paid in no token", hint="leave pay_token away")
        return Price(token, price)

    def _offer(self, to: Contracts, account: Address, nonce: int, deadline: int) -> Voucher:
        price = self._price()
        _, state = to.licenses.plan_of(self.plan)
        return Voucher(
            account,
            self.plan,
            Address.parse(self.to),
            state.plan_digest,
            nonce,
            deadline,
            market=to.market.address if price.amount else ZERO_ADDRESS,
            not_before=self.not_before,
            not_after=self.not_after,
            pay_token=price.pay_token,
            price=price.amount,
            ext_hash=reference_hash(self.external_ref),
        )


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
