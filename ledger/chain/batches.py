"""Batches and vouchers: licenses that are promised off chain and taken on chain."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.chain.calls import ContractCalls
from ledger.chain.logs import find_events
from ledger.chain.reverts import NonceSpent
from ledger.chain.rpc import BlockId
from ledger.chain.transactions import Sender, TxReceipt
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, LicenseId
from ledger.licensing.batch import BatchClaim, BatchLeaf
from ledger.licensing.reference import reference_nonce
from ledger.licensing.voucher import SignedVoucher, Voucher, sign


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch as anchored. Times in Unix seconds.

    Attributes:
        count: licenses under the root.
        first_serial: serial of the license at index 0.
        anchored_at: when.
        by_role: whether an ISSUER, not the licensor, anchored it.
        closes_at: when what is not claimed ends; 0 when it was not closed.
    """

    count: int
    first_serial: int
    anchored_at: int
    by_role: bool
    closes_at: int


@dataclass(frozen=True, slots=True)
class LeafCheck:
    """The contract's answer about one license of a batch, claimed or not; as ``CheckResult``."""

    code: int
    not_after: int
    grace_until: int
    license: LicenseId


class PromiseCalls(ContractCalls):
    """The part of `ledger.chain.licenses.LicenseLedger` about batches and vouchers."""

    # -- batches ---------------------------------------------------------------------------------

    def anchor_batch(
        self,
        sender: Sender,
        plan: int,
        root: Digest,
        count: int,
        uri_hash: Digest = ZERO_DIGEST,
    ) -> tuple[LicenseId, TxReceipt]:
        """Issue `count` licenses under one root; gives the id of the one at index 0.

        Args:
            sender: licensor or ISSUER.
            plan: under which they are issued.
            root: T2 root of the leaves (`ledger.licensing.batch.Batch`).
            count: how many leaves it has.
            uri_hash: hash of where the leaves are kept, zero when nowhere public.
        """
        purpose = f"issue {count} licenses of plan {plan} under root {root.short}"
        receipt = self._send(sender, purpose, "anchorBatch", plan, root, count, uri_hash)
        event = self._abi.emitted(receipt.logs, self.address, "BatchAnchored")
        return LicenseId.of(plan, int(event.arguments["firstSerial"])), receipt

    def claim(self, sender: Sender, claim: BatchClaim) -> tuple[LicenseId, TxReceipt]:
        """Make one license of a batch a token of its holder. Anyone may send it, once."""
        purpose = f"claim license {claim.leaf.index} of batch {claim.root.short}"
        path = tuple(claim.path)
        receipt = self._send(
            sender, purpose, "claim", claim.plan, claim.root, claim.leaf.as_tuple(), path
        )
        event = self._abi.emitted(receipt.logs, self.address, "BatchClaimed")
        return LicenseId(int(event.arguments["licenseId"])), receipt

    def revoke_in_batch(
        self,
        sender: Sender,
        plan: int,
        root: Digest,
        *,
        word: int,
        mask: int,
        reason: Digest = ZERO_DIGEST,
    ) -> TxReceipt:
        """Revoke for good the licenses at ``256 * word + i`` for each bit i of `mask`."""
        purpose = f"revoke {mask.bit_count()} licenses of batch {root.short}"
        return self._send(sender, purpose, "revokeInBatch", plan, root, word, mask, reason)

    def close_batch(
        self, sender: Sender, plan: int, root: Digest, reason: Digest = ZERO_DIGEST
    ) -> tuple[int, TxReceipt]:
        """End every unclaimed license of a batch, with the plan's notice; gives the time."""
        purpose = f"close batch {root.short} of plan {plan}"
        receipt = self._send(sender, purpose, "closeBatch", plan, root, reason)
        event = self._abi.emitted(receipt.logs, self.address, "BatchClosed")
        return int(event.arguments["closesAt"]), receipt

    def check_batch_leaf(
        self,
        claim: BatchClaim,
        holder: Address = ZERO_ADDRESS,
        at: int | None = None,
        block: BlockId = "latest",
    ) -> LeafCheck:
        """What ``check`` would answer about a license of a batch, claimed or not.

        Args:
            claim: the leaf and its path; NOT_FOUND when the proof does not hold.
            holder: zero asks about no holder.
            at: Unix seconds, not before the block's own time; None takes the block's time.
            block: the state that decides.
        """
        block, when = self._moment(block, at)
        code, not_after, grace_until, license_id = self._read(
            block,
            "checkBatchLeaf",
            claim.plan,
            claim.root,
            claim.leaf.as_tuple(),
            claim.path,
            holder,
            when,
        )
        return LeafCheck(code, not_after, grace_until, LicenseId(license_id))

    def batch_leaf_hash(self, plan: int, leaf: BatchLeaf, block: BlockId = "latest") -> Digest:
        """A leaf's hash as the contract computes it; equals ``leaf.hash(…)``."""
        (hashed,) = self._read(block, "batchLeafHash", plan, leaf.as_tuple())
        return Digest(hashed.raw)

    def batch_of(self, plan: int, root: Digest, block: BlockId = "latest") -> BatchRecord | None:
        """A batch as anchored, or None."""
        record = BatchRecord(*self._read(block, "batchOf", plan, root))
        return record if record.count else None

    def batch_bits(
        self, plan: int, root: Digest, word: int, block: BlockId = "latest"
    ) -> tuple[int, int]:
        """(claimed, revoked): bit i is the leaf at ``256 * word + i``; revoked while unclaimed."""
        claimed, revoked = self._read(block, "batchBits", plan, root, word)
        return claimed, revoked

    # -- vouchers --------------------------------------------------------------------------------

    def redeem(self, sender: Sender, signed: SignedVoucher) -> tuple[LicenseId, TxReceipt]:
        """Issue what a free voucher promises; one with a market is redeemed there."""
        purpose = f"redeem a voucher of plan {signed.voucher.plan} for {signed.voucher.to}"
        receipt = self._send(sender, purpose, "redeem", signed.voucher.as_tuple(), signed.signature)
        event = self._abi.emitted(receipt.logs, self.address, "VoucherRedeemed")
        return LicenseId(int(event.arguments["licenseId"])), receipt

    def issue_once(
        self,
        sender: Sender,
        plan: int,
        to: Address,
        ext_hash: Digest,
        *,
        deadline: int,
        not_before: int = 0,
        not_after: int = 0,
    ) -> tuple[LicenseId, TxReceipt] | None:
        """Issue a license for an external reference; None where this sender did before.

        By a voucher to oneself whose nonce is made of plan and reference: the ledger refuses the
        second, whoever sends it and however often.

        Args:
            sender: licensor or ISSUER.
            plan: under which plan.
            to: who will hold it.
            ext_hash: hash of the reference (`ledger.licensing.reference`).
            deadline: Unix seconds until which the transaction may be mined.
            not_before: Unix seconds; 0 is when it is mined.
            not_after: 0 is one plan duration later.
        """
        nonce = reference_nonce(plan, ext_hash)
        if self.nonce_spent(sender.address, nonce):
            return None
        (_, state) = self._read("latest", "planOf", plan)
        offer = Voucher(
            sender.address, plan, to, state["planDigest"], nonce, deadline,
            not_before=not_before, not_after=not_after, ext_hash=ext_hash,
        )  # fmt: skip
        signed = sign(sender.signer, offer, chain_id=self._rpc.chain_id(), ledger=self.address)
        try:
            return self.redeem(sender, signed)
        except NonceSpent:  # another process was faster
            return None

    def issued_by_reference(
        self, signer: Address, plan: int, ext_hash: Digest, *, from_block: int
    ) -> LicenseId | None:
        """The license that this account issued for a reference; None where it voided it."""
        topics = [None, Digest(signer.raw.rjust(32, b"\0"))]
        nonce = reference_nonce(plan, ext_hash)
        for event in find_events(
            self._rpc, self._abi, self.address, "VoucherRedeemed", topics, from_block=from_block
        ):
            if event.arguments["nonce"] == nonce:
                return LicenseId(int(event.arguments["licenseId"]))
        return None

    def cancel_vouchers(self, sender: Sender, word: int, mask: int) -> TxReceipt:
        """Spend the sender's nonces ``256 * word + i`` unused, for each bit i of `mask`."""
        purpose = f"cancel {mask.bit_count()} nonces of {sender.address}"
        return self._send(sender, purpose, "cancelVouchers", word, mask)

    def nonces_spent(self, signer: Address, word: int, block: BlockId = "latest") -> int:
        """Bit i: this signer's nonce ``256 * word + i`` is spent."""
        (spent,) = self._read(block, "noncesSpent", signer, word)
        return int(spent)

    def nonce_spent(self, signer: Address, nonce: int, block: BlockId = "latest") -> bool:
        """Whether this signer has spent a nonce."""
        return bool(self.nonces_spent(signer, nonce >> 8, block) >> (nonce & 255) & 1)

    def voucher_digest(self, voucher: Voucher, block: BlockId = "latest") -> Digest:
        """What the signer signs, as the contract computes it; equals ``voucher.digest(…)``."""
        (digest,) = self._read(block, "voucherDigest", voucher.as_tuple())
        return Digest(digest.raw)
