"""A typed client of the service (docs/guides/api.md). Light: httpx, and nothing of the service."""

from ledger.client.answers import (
    Entitlement,
    Event,
    Job,
    Key,
    License,
    Model,
    Plan,
    Sale,
    Session,
    Statistics,
    Told,
)
from ledger.client.service import Client
from ledger.client.written import (
    Prepared,
    Step,
    TransactionStatus,
)

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
    "Sale",
    "Session",
    "Statistics",
    "Step",
    "Told",
    "TransactionStatus",
]
