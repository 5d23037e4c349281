"""The LicenseLedger contract: plans, licenses, seats, and the check that decides.

`LicenseLedger` is the one face of it; its parts stand by noun in ``plans``, ``seats``, ``tenure``
and ``batches``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from ledger.chain.batches import BatchRecord, LeafCheck, PromiseCalls
from ledger.chain.plans import PlanCalls, PlanState, PlanTerms, Role
from ledger.chain.profile import profile_for
from ledger.chain.reverts import LicenseNotFound
from ledger.chain.rpc import BlockId
from ledger.chain.seats import Seat, SeatCalls, Usage
from ledger.chain.tenure import Parentage, Reissue, TenureCalls
from ledger.chain.transactions import Sender, TxReceipt
from ledger.eip712 import Domain
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, LicenseId
from ledger.licensing.card import ledger_domain

__all__ = [
    "REVOKING",
    "VALID",
    "BatchRecord",
    "CheckResult",
    "LeafCheck",
    "LicenseLedger",
    "LicenseState",
    "LicenseStatus",
    "Parentage",
    "PlanState",
    "PlanTerms",
    "Reissue",
    "Role",
    "Seat",
    "Usage",
]

VALID = 0
REVOKING = 10
_GRANTING = (VALID, REVOKING)


class LicenseStatus(IntEnum):
    """As the ledger stores it; an ended license stays ACTIVE, `CheckResult` tells."""

    NONE = 0
    ACTIVE = 1
    SUSPENDED = 2
    REVOKED = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class LicenseState:
    """How a license stands; holder zero and status NONE when it was never issued."""

    holder: Address
    not_before: int
    not_after: int
    status: LicenseStatus
    seats_used: int
    grant_nonce: int
    suspended_at: int


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The contract's answer for one license, holder, runtime and time.

    Attributes:
        code: 0 to 11 as in ILicenseLedger.check.
        not_after: end of the license in Unix seconds.
        grace_until: how long software that saw this answer may go on without a newer one.
        plan: the license's plan.
    """

    code: int
    not_after: int
    grace_until: int
    plan: int

    @property
    def granted(self) -> bool:
        """Whether the answer is yes: VALID, or REVOKING until the revocation's effect."""
        return self.code in _GRANTING


class LicenseLedger(PlanCalls, SeatCalls, TenureCalls, PromiseCalls):
    """Calls of one deployed LicenseLedger. Raises as `ContractCalls` says."""

    contract_name = "LicenseLedger"

    def domain(self) -> Domain:
        """The EIP-712 domain of grants, cards and everything else signed about licenses."""
        profile = profile_for(self._rpc.chain_id())
        return ledger_domain(profile.chain_id, self.address)

    # -- reads -----------------------------------------------------------------------------------

    def license_of(self, license_id: LicenseId, block: BlockId = "latest") -> LicenseState:
        """How a license stands; one that was never issued has status NONE."""
        try:
            found = self._read(block, "licenseOf", license_id)
        except LicenseNotFound:
            return LicenseState(ZERO_ADDRESS, 0, 0, LicenseStatus.NONE, 0, 0, 0)
        holder, not_before, not_after, status, *rest = found
        return LicenseState(holder, not_before, not_after, LicenseStatus(status), *rest)

    def check(
        self,
        license_id: LicenseId,
        holder: Address = ZERO_ADDRESS,
        runtime_key: Digest = ZERO_DIGEST,
        at: int | None = None,
        block: BlockId = "latest",
    ) -> CheckResult:
        """May this holder's runtime use the license at time `at`, as of `block`?

        Args:
            license_id: the license.
            holder: zero asks about no holder.
            runtime_key: zero asks about no seat.
            at: Unix seconds, not before the block's own time; None takes the block's time.
            block: the state that decides.
        """
        block, when = self._moment(block, at)
        return CheckResult(*self._read(block, "check", license_id, holder, runtime_key, when))

    # -- the licensor's transactions -------------------------------------------------------------

    def issue(
        self, sender: Sender, plan: int, to: Address, not_before: int = 0, not_after: int = 0
    ) -> tuple[LicenseId, TxReceipt]:
        """Issue a license; zero times mean now and the plan's duration."""
        purpose = f"issue a license of plan {plan} to {to}"
        receipt = self._send(sender, purpose, "issue", plan, to, not_before, not_after)
        event = self._abi.emitted(receipt.logs, self.address, "LicenseIssued")
        return LicenseId(int(event.arguments["licenseId"])), receipt

    def issue_batch(
        self,
        sender: Sender,
        plan: int,
        to: Sequence[Address],
        not_before: int = 0,
        not_after: int = 0,
    ) -> tuple[tuple[LicenseId, ...], TxReceipt]:
        """Issue a license to each of `to`, all with one window, all or none; ids in their order.

        A block holds some hundreds of them; `anchor_batch` holds any number.
        """
        purpose = f"issue {len(to)} licenses of plan {plan}"
        receipt = self._send(sender, purpose, "issueBatch", plan, tuple(to), not_before, not_after)
        event = self._abi.emitted(receipt.logs, self.address, "LicenseIssued")
        first = int(event.arguments["licenseId"])
        return tuple(LicenseId(first + i) for i in range(len(to))), receipt

    def renew(self, sender: Sender, license_id: LicenseId, not_after: int = 0) -> TxReceipt:
        """Move a license's end later; zero adds the plan's duration."""
        return self._send(sender, f"renew license {license_id}", "renew", license_id, not_after)

    def suspend(
        self, sender: Sender, license_id: LicenseId, reason: Digest = ZERO_DIGEST
    ) -> TxReceipt:
        """Suspend a license until it is reinstated."""
        return self._send(sender, f"suspend license {license_id}", "suspend", license_id, reason)

    def reinstate(
        self, sender: Sender, license_id: LicenseId, reason: Digest = ZERO_DIGEST
    ) -> TxReceipt:
        """Lift a suspension."""
        purpose = f"reinstate license {license_id}"
        return self._send(sender, purpose, "reinstate", license_id, reason)

    def revoke(
        self,
        sender: Sender,
        license_id: LicenseId,
        effective_at: int = 0,
        reason: Digest = ZERO_DIGEST,
    ) -> TxReceipt:
        """Revoke a license for good; zero takes effect as soon as the plan's notice allows."""
        purpose = f"revoke license {license_id}"
        return self._send(sender, purpose, "revoke", license_id, effective_at, reason)
