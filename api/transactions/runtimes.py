"""Kinds of transactions about runtimes: their seats, and what they have used."""

from __future__ import annotations

import secrets

from pydantic import Field

from api.schemas.base import AskedHash
from api.transactions.base import AgreedOnce, Agreement, Contracts, OfLicense, Time, Uint64
from ledger.chain.transactions import Sender
from ledger.ids import Address, Digest
from ledger.licensing.binding import BINDING_TYPE, RuntimeBinding


class OfRuntime(OfLicense):
    """About a runtime's seat."""

    runtime: AskedHash = Field(description="hash of its key (docs/spec/runtime-binding.md)")

    @property
    def key(self) -> Digest:
        """The hash of the runtime's key."""
        return Digest.parse(self.runtime)


class OfSeat(OfRuntime):
    """About the seat that a runtime is to have."""

    until: Time = Field(0, description="0: as long as the license")
    measurement: str = Field("0x" + "00" * 20, pattern="^0x[0-9a-f]{40}$")

    @property
    def measured(self) -> bytes:
        """What the runtime's code measures to, 20 bytes."""
        return bytes.fromhex(self.measurement[2:])


class BindRuntime(OfSeat):
    """A runtime to be given a seat."""

    kind = "bind-runtime"
    about = "Give a runtime a seat. The holder."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.bind_runtime(sender, self.id, self.key, self.until, self.measured)


class ReleaseRuntime(OfRuntime):
    """A seat to be freed."""

    kind = "release-runtime"
    about = "Free a runtime's seat once its time is over. Anyone."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.release_runtime(sender, self.id, self.key)


class EvictRuntime(OfRuntime):
    """A seat to be taken away."""

    kind = "evict-runtime"
    about = "Take a runtime's seat away at once. The licensor, or a REVOKER."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.evict_runtime(sender, self.id, self.key)


class CancelGrants(OfLicense):
    """Grants to be made void."""

    kind = "cancel-grants"
    about = "Void every runtime grant signed for a license so far. The holder."

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        return to.licenses.cancel_grants(sender, self.id)


class BindBySignature(OfSeat, AgreedOnce):
    """A runtime to be given a seat that its license's holder signs for, and somebody sends."""

    kind = "bind-by-signature"
    about = "Give a runtime a seat by the holder's signature. Anyone sends it, and pays the fee."

    def agreement(self, to: Contracts, account: Address) -> Agreement:  # noqa: ARG002  another signs
        """What the holder signs."""
        holder = to.licenses.license_of(self.id).holder
        # Whatever stands against it is said before anybody signs.
        to.attempt(
            holder,
            lambda s: to.licenses.bind_runtime(s, self.id, self.key, self.until, self.measured),
        )
        deadline = self.good_until(to.now())
        binding = self._binding(to, secrets.randbits(256), deadline)
        return Agreement(
            f"let anyone bind runtime {self.key.short} to license {self.id}",
            holder,
            to.licenses.domain(),
            BINDING_TYPE,
            binding.message(),
            {"deadline": deadline, "nonce": f"0x{binding.nonce:064x}"},
        )

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        binding = self._binding(to, *self.as_signed())
        return to.licenses.bind_runtime_by_sig(sender, binding, self.signed)

    def _binding(self, to: Contracts, nonce: int, deadline: int) -> RuntimeBinding:
        return to.licenses.binding(
            self.id,
            self.key,
            nonce=nonce,
            deadline=deadline,
            until=self.until,
            measurement=self.measured,
        )


class AnchorUsage(OfLicense):
    """What a metered license has used."""

    kind = "anchor-usage"
    about = "Anchor what a metered license has used in all. The licensor, or a METER."

    cumulative: Uint64 = Field(description="units since the license began; it must rise")
    receipts_root: AskedHash = Field(description="T1 root of the receipts that show it")

    def act(self, to: Contracts, sender: Sender) -> object:
        """Send it."""
        root = Digest.parse(self.receipts_root)
        return to.licenses.anchor_usage(sender, self.id, self.cumulative, root)
