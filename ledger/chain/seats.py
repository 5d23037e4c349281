"""Seats of runtimes, grants, and the usage of metered licenses."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.chain.calls import ContractCalls
from ledger.chain.rpc import BlockId
from ledger.chain.transactions import Sender, TxReceipt
from ledger.ids import Digest, LicenseId
from ledger.licensing.binding import RuntimeBinding

NO_MEASUREMENT = bytes(20)


@dataclass(frozen=True, slots=True)
class Seat:
    """A runtime's seat; all zero when it has none. `until` 0: as long as the license."""

    bound_at: int
    until: int
    measurement: bytes


@dataclass(frozen=True, slots=True)
class Usage:
    """What a metered license has used, as last anchored; all zero when it never was.

    Attributes:
        cumulative: units since the license began.
        anchored_at: Unix seconds.
        receipts_root: T1 root of the receipts that show it.
    """

    cumulative: int
    anchored_at: int
    receipts_root: Digest


class SeatCalls(ContractCalls):
    """The part of `ledger.chain.licenses.LicenseLedger` about runtimes and usage."""

    # -- reads -----------------------------------------------------------------------------------

    def seat_of(
        self, license_id: LicenseId, runtime_key: Digest, block: BlockId = "latest"
    ) -> Seat:
        """A runtime's seat on a license."""
        return Seat(*self._read(block, "seatOf", license_id, runtime_key))

    def ever_bound(self, license_id: LicenseId, block: BlockId = "latest") -> bool:
        """Whether a seat was ever bound or sublicensed; then nothing is refunded."""
        (bound,) = self._read(block, "everBound", license_id)
        return bool(bound)

    def grant_nonce_of(self, license_id: LicenseId, block: BlockId = "latest") -> int:
        """The only nonce that a RuntimeGrant of this license may carry."""
        (nonce,) = self._read(block, "grantNonceOf", license_id)
        return int(nonce)

    def usage_of(self, license_id: LicenseId, block: BlockId = "latest") -> Usage:
        """What a metered license has used."""
        return Usage(*self._read(block, "usageOf", license_id))

    # -- the holder's transactions ---------------------------------------------------------------

    def bind_runtime(
        self,
        sender: Sender,
        license_id: LicenseId,
        runtime_key: Digest,
        until: int = 0,
        measurement: bytes = NO_MEASUREMENT,
    ) -> TxReceipt:
        """Give a runtime a seat until a time; zero is as long as the license."""
        purpose = f"bind runtime {runtime_key.short} to license {license_id}"
        return self._send(
            sender, purpose, "bindRuntime", license_id, runtime_key, until, measurement
        )

    def binding(
        self,
        license_id: LicenseId,
        runtime_key: Digest,
        *,
        nonce: int,
        deadline: int,
        until: int = 0,
        measurement: bytes = NO_MEASUREMENT,
    ) -> RuntimeBinding:
        """What the holder signs so that someone else may send it, with today's grant nonce."""
        grant_nonce = self.grant_nonce_of(license_id)
        return RuntimeBinding(
            license_id, runtime_key, grant_nonce, nonce, deadline, until, measurement
        )

    def bind_runtime_by_sig(
        self, sender: Sender, binding: RuntimeBinding, signature: bytes
    ) -> TxReceipt:
        """Send the holder's signed `binding`; the sender pays the gas and gets nothing by it."""
        purpose = f"bind runtime {binding.runtime_key.short} to license {binding.license}"
        return self._send(
            sender,
            purpose,
            "bindRuntimeBySig",
            binding.license,
            binding.runtime_key,
            binding.until,
            binding.measurement,
            binding.nonce,
            binding.deadline,
            signature,
        )

    def release_runtime(
        self, sender: Sender, license_id: LicenseId, runtime_key: Digest
    ) -> TxReceipt:
        """Free a runtime's seat once its time is over. Anyone may."""
        purpose = f"release runtime {runtime_key.short} from license {license_id}"
        return self._send(sender, purpose, "releaseRuntime", license_id, runtime_key)

    def cancel_grants(self, sender: Sender, license_id: LicenseId) -> TxReceipt:
        """Void every RuntimeGrant signed for this license so far."""
        purpose = f"cancel the grants of license {license_id}"
        return self._send(sender, purpose, "cancelGrants", license_id)

    # -- the licensor's transactions -------------------------------------------------------------

    def evict_runtime(
        self, sender: Sender, license_id: LicenseId, runtime_key: Digest
    ) -> TxReceipt:
        """Take a runtime's seat away at once. Licensor or REVOKER."""
        purpose = f"evict runtime {runtime_key.short} from license {license_id}"
        return self._send(sender, purpose, "evictRuntime", license_id, runtime_key)

    def anchor_usage(
        self, sender: Sender, license_id: LicenseId, cumulative: int, receipts_root: Digest
    ) -> TxReceipt:
        """Anchor what a metered license has used in all. Licensor or METER; it must rise."""
        purpose = f"anchor {cumulative} units used of license {license_id}"
        return self._send(sender, purpose, "anchorUsage", license_id, cumulative, receipts_root)
