"""What the service prepares, passes on and tells of transactions (docs/spec/transactions.md)."""

from __future__ import annotations

from typing import Final

from api.transactions import licenses, plans, proceeds, promises, runtimes, sales, titles
from api.transactions.base import Agreed, Asked

KINDS: Final[tuple[type[Asked], ...]] = (
    licenses.Issue, licenses.IssueBatch, licenses.Renew, licenses.Suspend, licenses.Reinstate,
    licenses.Revoke, licenses.Transfer, licenses.Approve, licenses.Surrender, licenses.Sublicense,
    licenses.ReclaimSeats, licenses.StartReissue, licenses.VetoReissue, licenses.FinishReissue,
    runtimes.BindRuntime, runtimes.ReleaseRuntime, runtimes.EvictRuntime, runtimes.CancelGrants,
    runtimes.AnchorUsage,
    promises.AnchorBatch, promises.Claim, promises.RevokeInBatch, promises.CloseBatch,
    promises.CancelNonce,
    sales.StartSale, sales.StopSale, sales.Buy, sales.RenewPaid, sales.Redeem, sales.AllowMarket,
    proceeds.PinRoyalties, proceeds.SetPayees, proceeds.Refund, proceeds.Settle,
    proceeds.Withdraw, proceeds.TakeRoyalties,
    plans.CreatePlan, plans.PausePlan, plans.ResumePlan, plans.SyncPlan, plans.PlanRoles,
    plans.ResaleRoyalty, plans.CreateBrokerSet,
    titles.AnchorRoot, titles.Commit, titles.Register, titles.RegisterBatch, titles.ProveEarlier,
    titles.ConfirmParent, titles.Lodge, titles.OfferTitle, titles.AcceptTitle, titles.SetStatus,
    titles.SetGuardian, titles.StartRecovery, titles.VetoRecovery, titles.FinishRecovery,
)  # fmt: skip
"""Those that are prepared at once, in the order of the specification."""

AGREED: Final[tuple[type[Agreed], ...]] = (
    runtimes.BindBySignature, titles.RegisterBySignature,
    sales.BuyByPermit, sales.RenewByPermit, sales.RedeemByPermit,
)  # fmt: skip
"""Those that somebody signs something for first."""
