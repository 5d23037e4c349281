"""Plans: what a licensor offers, who may act on it, and what it asks of resales."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntFlag
from typing import Any

from ledger.chain.calls import ContractCalls
from ledger.chain.logs import find_events
from ledger.chain.market import Price
from ledger.chain.rpc import BlockId
from ledger.chain.transactions import Sender, TxReceipt
from ledger.ids import ZERO_ADDRESS, Address, Digest, LicenseId, ModelId


class Role(IntFlag):
    """What an account other than the licensor may do on a plan."""

    ISSUER = 1  # issue and renew
    REVOKER = 2  # revoke and evict
    METER = 4  # anchor usage
    GUARDIAN = 8  # pause, suspend, reinstate


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


class PlanCalls(ContractCalls):
    """The part of `ledger.chain.licenses.LicenseLedger` about plans."""

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

    def roles_of(self, plan: int, account: Address, block: BlockId = "latest") -> Role:
        """An account's roles on a plan; those of an earlier licensor are void."""
        (roles,) = self._read(block, "rolesOf", plan, account)
        return Role(roles)

    def royalty_info(
        self, license_id: LicenseId, sale_price: int, block: BlockId = "latest"
    ) -> tuple[Address, int]:
        """ERC-2981: (receiver, amount) due of a resale at `sale_price`, in the price's unit.

        Raises ``LicenseNotFound``.
        """
        receiver, amount = self._read(block, "royaltyInfo", license_id, sale_price)
        return receiver, int(amount)

    def create_plan(self, sender: Sender, terms: PlanTerms) -> tuple[int, TxReceipt]:
        """Offer licenses of a model whose title the sender holds; gives the plan's number."""
        price = Price(terms.pay_token, terms.price)
        purpose = f"create a plan for model {terms.model_id.short}, at {price} a license"
        receipt = self._send(sender, purpose, "createPlan", _flat(terms))
        event = self._abi.emitted(receipt.logs, self.address, "PlanCreated")
        return int(event.arguments["planId"]), receipt

    def set_paused(self, sender: Sender, plan: int, *, paused: bool) -> TxReceipt:
        """Stop or resume issuing; licenses that exist go on."""
        what = "pause" if paused else "resume"
        return self._send(sender, f"{what} plan {plan}", "setPaused", plan, paused)

    def set_roles(
        self, sender: Sender, plan: int, account: Address, roles: int, *, purpose: str = ""
    ) -> TxReceipt:
        """Give an account exactly these roles on a plan. Licensor only.

        `purpose` says what for, where that is more than roles.
        """
        purpose = purpose or f"set the roles of {account} on plan {plan}"
        return self._send(sender, purpose, "setRoles", plan, account, int(roles))

    def sync_licensor(self, sender: Sender, plan: int) -> TxReceipt:
        """Bring a plan in step with the title of its model. Anyone may.

        Roles end when the title has changed hands. Raises ``PlanInSync`` when nothing is to do.
        """
        return self._send(sender, f"sync plan {plan} with its title", "syncLicensor", plan)

    def set_resale_royalty(self, sender: Sender, plan: int, bps: int) -> TxReceipt:
        """Ask this share of resales (ERC-2981), in 1/10,000, at most 1,000. Licensor only."""
        purpose = f"set the resale royalty of plan {plan} to {bps / 100:g} %"
        return self._send(sender, purpose, "setResaleRoyalty", plan, bps)


def _flat(terms: PlanTerms) -> tuple[Any, ...]:
    return tuple(getattr(terms, f.name) for f in fields(terms))
