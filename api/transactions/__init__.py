"""What the service prepares, passes on and tells of transactions (docs/spec/transactions.md)."""

from __future__ import annotations

from typing import Final

from api.transactions.base import Asked
from api.transactions.licenses import (
    BindRuntime,
    CancelGrants,
    EvictRuntime,
    FinishReissue,
    Issue,
    IssueBatch,
    ReclaimSeats,
    Redeem,
    Reinstate,
    ReleaseRuntime,
    Renew,
    Revoke,
    StartReissue,
    Sublicense,
    Surrender,
    Suspend,
    Transfer,
    VetoReissue,
)
from api.transactions.titles import (
    AcceptTitle,
    AnchorRoot,
    Commit,
    CreatePlan,
    Lodge,
    OfferTitle,
    PausePlan,
    PlanRoles,
    ProveEarlier,
    Register,
    ResumePlan,
    SetStatus,
    SyncPlan,
)

KINDS: Final[tuple[type[Asked], ...]] = (
    Issue, IssueBatch, Renew, Suspend, Reinstate, Revoke, Transfer, Surrender, Sublicense,
    ReclaimSeats, StartReissue, VetoReissue, FinishReissue, Redeem, BindRuntime, ReleaseRuntime,
    EvictRuntime, CancelGrants, CreatePlan, PausePlan, ResumePlan, SyncPlan, PlanRoles,
    AnchorRoot, Commit, Register, ProveEarlier, Lodge, OfferTitle, AcceptTitle, SetStatus,
)  # fmt: skip
"""All of them, in the order of the specification."""
