"""The LicenseLedger contract: plans, licenses, seats, and the check that decides."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

from ledger.chain.abi_codec import contract
from ledger.chain.logs import find_events
from ledger.chain.profile import profile_for
from ledger.chain.reverts import LicenseNotFound
from ledger.chain.rpc import BlockId, Rpc
from ledger.chain.transactions import Sender, TxReceipt
from ledger.eip712 import Domain
from ledger.ids import ZERO_ADDRESS, ZERO_DIGEST, Address, Digest, LicenseId, ModelId

VALID = 0
REVOKING = 10
_GRANTING = (VALID, REVOKING)
_NO_MEASUREMENT = bytes(20)


class LicenseStatus(IntEnum):
    """As the ledger stores it; an ended license stays ACTIVE, `CheckResult` tells."""

    NONE = 0
    ACTIVE = 1
    SUSPENDED = 2
    REVOKED = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """What a licensor offers; meanings as in ILicenseLedger.PlanTerms. Times in seconds.

    Attributes:
        model_id: what is licensed.
        terms_hash: hash of the terms document (docs/spec/terms.md).
        duration: of a license; 0 is perpetual.
        grace: how long software may go on without a newer answer.
        lease_ttl: length of a broker's lease.
        max_offline: upper bound of lease_ttl + grace that both sides see.
        min_notice: least time between revoking and its effect.
        refund_window: time in which a buyer may step back.
        reissue_delay: time a holder has to veto a reissue.
        seats: runtimes at once; 0 is unlimited.
        supply: licenses in all; 0 is unlimited.
        quota: metered units; 0 is unmetered.
        features: bit set.
        broker_set: BrokerRegistry set that releases keys.
        pay_token: ERC-20 to pay with; zero is the chain's coin.
        price: in the token's smallest unit.
        floating: seats by broker lease (True) or on chain (False).
        warn_only: trial: warn instead of refusing.
        transferable: whether a holder may pass a license on.
    """

    model_id: ModelId
    terms_hash: Digest
    duration: int = 0
    grace: int = 0
    lease_ttl: int = 3600
    max_offline: int = 3600
    min_notice: int = 0
    refund_window: int = 0
    reissue_delay: int = 0
    seats: int = 0
    supply: int = 0
    quota: int = 0
    features: int = 0
    broker_set: int = 0
    pay_token: Address = ZERO_ADDRESS
    price: int = 0
    floating: bool = False
    warn_only: bool = False
    transferable: bool = False


_TERM_NAMES = tuple(
    "".join(part if i == 0 else part.title() for i, part in enumerate(f.name.split("_")))
    for f in fields(PlanTerms)
)


@dataclass(frozen=True, slots=True)
class PlanState:
    """How a plan stands."""

    licensor: Address
    issued: int
    role_epoch: int
    paused: bool
    plan_digest: Digest


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


@dataclass(frozen=True, slots=True)
class Seat:
    """A runtime's seat; all zero when it has none. `until` 0: as long as the license."""

    bound_at: int
    until: int
    measurement: bytes


class LicenseLedger:
    """Calls of one deployed LicenseLedger. Raises as `ledger.chain.anchors.Anchors` does."""

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self.address = address
        self._rpc = rpc
        self._abi = contract("LicenseLedger")

    def _read(self, block: BlockId, function: str, *args: Any) -> tuple[Any, ...]:
        call = self._abi.encode(function, *args)
        return self._abi.decode(function, self._rpc.eth_call(self.address, call, block))

    def _send(self, sender: Sender, purpose: str, function: str, *args: Any) -> TxReceipt:
        return sender.send(self.address, self._abi.encode(function, *args), purpose=purpose)

    def domain(self) -> Domain:
        """The EIP-712 domain of grants, cards and everything else signed about licenses."""
        profile = profile_for(self._rpc.chain_id())
        return Domain("modeldeed LicenseLedger", "1", profile.chain_id, self.address)

    # -- reads -----------------------------------------------------------------------------------

    def plan_of(self, plan: int, block: BlockId = "latest") -> tuple[PlanTerms, PlanState]:
        """A plan's terms and state; raises ``PlanUnknown``."""
        terms, state = self._read(block, "planOf", plan)
        values = [terms[name] for name in _TERM_NAMES]
        return PlanTerms(ModelId(values[0].raw), *values[1:]), PlanState(*state.values())

    def plans_of_model(self, model_id: ModelId, *, from_block: int = 0) -> tuple[int, ...]:
        """Numbers of all plans ever created for a model, oldest first, from their events."""
        found = find_events(
            self._rpc,
            self._abi,
            self.address,
            "PlanCreated",
            [None, None, Digest(model_id.raw)],
            from_block=from_block,
        )
        return tuple(int(event.arguments["planId"]) for event in found)

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
        when = self._rpc.block(block).timestamp if at is None else at
        return CheckResult(*self._read(block, "check", license_id, holder, runtime_key, when))

    def seat_of(
        self, license_id: LicenseId, runtime_key: Digest, block: BlockId = "latest"
    ) -> Seat:
        """A runtime's seat on a license."""
        return Seat(*self._read(block, "seatOf", license_id, runtime_key))

    def grant_nonce_of(self, license_id: LicenseId, block: BlockId = "latest") -> int:
        """The lowest nonce that a RuntimeGrant of this license may carry."""
        (nonce,) = self._read(block, "grantNonceOf", license_id)
        return int(nonce)

    def roles_of(self, plan: int, account: Address, block: BlockId = "latest") -> int:
        """An account's role bits on a plan: 1 ISSUER, 2 REVOKER, 4 METER, 8 GUARDIAN."""
        (roles,) = self._read(block, "rolesOf", plan, account)
        return int(roles)

    # -- the licensor's transactions -------------------------------------------------------------

    def create_plan(self, sender: Sender, terms: PlanTerms) -> tuple[int, TxReceipt]:
        """Offer licenses of a model whose title the sender holds; gives the plan's number."""
        purpose = f"create a plan for model {terms.model_id.short}"
        receipt = self._send(sender, purpose, "createPlan", _flat(terms))
        event = self._abi.emitted(receipt.logs, self.address, "PlanCreated")
        return int(event.arguments["planId"]), receipt

    def set_paused(self, sender: Sender, plan: int, *, paused: bool) -> TxReceipt:
        """Stop or resume issuing; licenses that exist go on."""
        what = "pause" if paused else "resume"
        return self._send(sender, f"{what} plan {plan}", "setPaused", plan, paused)

    def set_roles(self, sender: Sender, plan: int, account: Address, roles: int) -> TxReceipt:
        """Give an account exactly these role bits on a plan."""
        purpose = f"set the roles of {account} on plan {plan}"
        return self._send(sender, purpose, "setRoles", plan, account, roles)

    def sync_licensor(self, sender: Sender, plan: int) -> TxReceipt:
        """Bring a plan in step with the title of its model; all roles end."""
        return self._send(sender, f"sync plan {plan} with its title", "syncLicensor", plan)

    def issue(
        self, sender: Sender, plan: int, to: Address, not_before: int = 0, not_after: int = 0
    ) -> tuple[LicenseId, TxReceipt]:
        """Issue a license; zero times mean now and the plan's duration."""
        purpose = f"issue a license of plan {plan} to {to}"
        receipt = self._send(sender, purpose, "issue", plan, to, not_before, not_after)
        event = self._abi.emitted(receipt.logs, self.address, "LicenseIssued")
        return LicenseId(int(event.arguments["licenseId"])), receipt

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

    def evict_runtime(
        self, sender: Sender, license_id: LicenseId, runtime_key: Digest
    ) -> TxReceipt:
        """Take a runtime's seat away."""
        purpose = f"evict runtime {runtime_key.short} from license {license_id}"
        return self._send(sender, purpose, "evictRuntime", license_id, runtime_key)

    # -- the holder's transactions ---------------------------------------------------------------

    def bind_runtime(
        self,
        sender: Sender,
        license_id: LicenseId,
        runtime_key: Digest,
        until: int = 0,
        measurement: bytes = _NO_MEASUREMENT,
    ) -> TxReceipt:
        """Give a runtime a seat until a time; zero is as long as the license."""
        purpose = f"bind runtime {runtime_key.short} to license {license_id}"
        return self._send(
            sender, purpose, "bindRuntime", license_id, runtime_key, until, measurement
        )

    def release_runtime(
        self, sender: Sender, license_id: LicenseId, runtime_key: Digest
    ) -> TxReceipt:
        """Free a runtime's seat once its time is over."""
        purpose = f"release runtime {runtime_key.short} from license {license_id}"
        return self._send(sender, purpose, "releaseRuntime", license_id, runtime_key)

    def cancel_grants(self, sender: Sender, license_id: LicenseId) -> TxReceipt:
        """Void every RuntimeGrant signed for this license so far."""
        purpose = f"cancel the grants of license {license_id}"
        return self._send(sender, purpose, "cancelGrants", license_id)


def _flat(terms: PlanTerms) -> tuple[Any, ...]:
    return tuple(getattr(terms, f.name) for f in fields(terms))
