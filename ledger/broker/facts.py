"""What a decision rests on, read beforehand from chain and database. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ledger.broker.leases import BlockRef
from ledger.ids import Address, Digest, LicenseId, ModelId
from ledger.licensing.entitlement import LicenseFacts


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What the ledger holds about a plan. Times in seconds; seats and quota 0: unlimited."""

    id: int
    model: ModelId
    licensor: Address
    terms_hash: Digest
    lease_ttl: int
    grace: int
    seats: int
    quota: int
    features: int
    broker_set: int
    floating: bool
    warn_only: bool

    @classmethod
    def of(cls, plan_id: int, terms: Mapping[str, Any], licensor: Address) -> Self:
        """The facts in the ``PlanTerms`` struct that ``planOf`` answered."""
        return cls(
            id=plan_id,
            model=ModelId(terms["modelId"].raw),
            licensor=licensor,
            terms_hash=terms["termsHash"],
            lease_ttl=int(terms["leaseTtl"]),
            grace=int(terms["grace"]),
            seats=int(terms["seats"]),
            quota=int(terms["quota"]),
            features=int(terms["features"]),
            broker_set=int(terms["brokerSet"]),
            floating=bool(terms["floating"]),
            warn_only=bool(terms["warnOnly"]),
        )


@dataclass(frozen=True, slots=True)
class Side:
    """Everything a decision needs from the chain, read at one block.

    Attributes:
        code: answer of ``LicenseLedger.check`` at the decision's moment.
        title_holder: the registry's licensor of the plan's model.
        model_status: 1 active, 2 withdrawn, 3 compromised.
        sealing_epoch: highest lodged epoch, 0 when none; `sealing`: its record hash.
        brokers: members of the plan's broker set; `threshold`: how many must release.
    """

    block: BlockRef
    code: int
    license: LicenseFacts
    grant_nonce: int
    plan: PlanFacts | None
    title_holder: Address
    model_status: int
    sealing_epoch: int
    sealing: Digest
    brokers: tuple[int, ...]
    threshold: int = 1


@dataclass(frozen=True, slots=True)
class ChainState:
    """The chain by the chain rule: agreed finalized block, agreed head, and who contradicts."""

    finalized: Side
    head: Side
    contrary: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IssuedChallenge:
    """A challenge as it was issued, just consumed; `expires_at` in Unix seconds."""

    license: LicenseId
    model: ModelId
    expires_at: int
