"""How a license changes hands or is shared: transfer, surrender, sublicense, reissue."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.chain.calls import ContractCalls
from ledger.chain.rpc import BlockId
from ledger.chain.transactions import Sender, TxReceipt
from ledger.ids import ZERO_ADDRESS, Address, LicenseId


@dataclass(frozen=True, slots=True)
class Parentage:
    """Where a sublicense comes from.

    Attributes:
        parent: the license whose seats it uses.
        seats: how many it was given; 0 once they were taken back.
        depth: 1 or 2.
    """

    parent: LicenseId
    seats: int
    depth: int


@dataclass(frozen=True, slots=True)
class Reissue:
    """A move of a lost wallet's license that is under way; ready at `ready_at`, Unix seconds."""

    to: Address
    ready_at: int


class TenureCalls(ContractCalls):
    """The part of `ledger.chain.licenses.LicenseLedger` about who holds a license."""

    # -- reads -----------------------------------------------------------------------------------

    def parent_of(self, license_id: LicenseId, block: BlockId = "latest") -> Parentage | None:
        """Where a sublicense comes from; None when it is none."""
        parent, seats, depth = self._read(block, "parentOf", license_id)
        return Parentage(LicenseId(parent), seats, depth) if parent else None

    def reissue_of(self, license_id: LicenseId, block: BlockId = "latest") -> Reissue | None:
        """The reissue that is under way, or None."""
        to, ready_at = self._read(block, "reissueOf", license_id)
        return None if to == ZERO_ADDRESS else Reissue(to, ready_at)

    def approved_of(self, license_id: LicenseId, block: BlockId = "latest") -> Address:
        """Who besides the holder may move the token (ERC-721); zero when nobody."""
        (account,) = self._read(block, "getApproved", license_id)
        return Address(account.raw)

    # -- the holder's transactions ---------------------------------------------------------------

    def transfer(self, sender: Sender, license_id: LicenseId, to: Address) -> TxReceipt:
        """Pass a license on, if its plan lets it move. All grants for it are void."""
        purpose = f"transfer license {license_id} to {to}"
        return self._send(sender, purpose, "transferFrom", sender.address, to, license_id)

    def approve(self, sender: Sender, license_id: LicenseId, account: Address) -> TxReceipt:
        """Let one account move or surrender the license (ERC-721); zero takes it back."""
        purpose = f"let {account} move license {license_id}"
        return self._send(sender, purpose, "approve", account, license_id)

    def surrender(self, sender: Sender, license_id: LicenseId) -> TxReceipt:
        """End a license at once and for good. Its seats must be free."""
        return self._send(sender, f"surrender license {license_id}", "surrender", license_id)

    def sublicense(
        self, sender: Sender, parent: LicenseId, to: Address, seats: int, not_after: int = 0
    ) -> tuple[LicenseId, TxReceipt]:
        """License a part of one's seats on, to the parent's end (0) or an earlier one."""
        purpose = f"sublicense {seats} seats of license {parent} to {to}"
        receipt = self._send(sender, purpose, "sublicense", parent, to, not_after, seats)
        event = self._abi.emitted(receipt.logs, self.address, "LicenseSublicensed")
        return LicenseId(int(event.arguments["licenseId"])), receipt

    def reclaim_seats(self, sender: Sender, license_id: LicenseId) -> TxReceipt:
        """Take the seats of an ended sublicense back. Its parent's holder, or the one above."""
        purpose = f"take back the seats of sublicense {license_id}"
        return self._send(sender, purpose, "reclaimSeats", license_id)

    # -- a lost wallet ---------------------------------------------------------------------------

    def start_reissue(
        self, sender: Sender, license_id: LicenseId, to: Address
    ) -> tuple[Reissue, TxReceipt]:
        """Start to move the license of a lost wallet to `to`. Licensor only."""
        purpose = f"start to reissue license {license_id} to {to}"
        receipt = self._send(sender, purpose, "startReissue", license_id, to)
        event = self._abi.emitted(receipt.logs, self.address, "ReissueStarted")
        return Reissue(event.arguments["to"], int(event.arguments["readyAt"])), receipt

    def veto_reissue(self, sender: Sender, license_id: LicenseId) -> TxReceipt:
        """Stop a reissue. The holder, or the licensor."""
        return self._send(
            sender, f"stop the reissue of license {license_id}", "vetoReissue", license_id
        )

    def finish_reissue(self, sender: Sender, license_id: LicenseId) -> TxReceipt:
        """Move the license after the delay. Licensor only; all grants for it are void."""
        return self._send(
            sender, f"finish the reissue of license {license_id}", "finishReissue", license_id
        )
