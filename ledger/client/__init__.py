"""A typed client of the service (docs/guides/api.md). Light: httpx, and nothing of the service."""

from ledger.client.answers import (
    Entitlement,
    Event,
    Job,
    Key,
    License,
    Model,
    Plan,
    Prepared,
    Session,
    Statistics,
    Told,
    TransactionStatus,
)
from ledger.client.service import Client

__all__ = [
    "Client",
    "Entitlement",
    "Event",
    "Job",
    "Key",
    "License",
    "Model",
    "Plan",
    "Prepared",
    "Session",
    "Statistics",
    "Told",
    "TransactionStatus",
]
